"""A cohort comparison as files: report.html for people, report.json and table.csv for programs, figures."""

import base64
import csv
import json
import textwrap
from html import escape

from .cohort_figures import write_cohort_figures
from .html import STYLE

TABLE_STYLE = """
main { max-width: 92rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); font-size: .85rem; width: 100%; }
th, td { padding: .3rem .5rem; border: 1px solid var(--line); text-align: right; vertical-align: top;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
td small { display: block; color: var(--soft); white-space: nowrap; }
tr.model td:first-child { font-weight: 700; }
figure.plot { margin: 1rem 0; background: #fff; border-radius: .5rem; padding: .8rem; break-inside: avoid; }
figure.plot img { display: block; max-width: 100%; margin: auto; }
@media print { table { font-size: 6.5pt; } th, td { padding: .1rem .2rem; } }
figure.plot figcaption { color: #444; font-size: .9rem; }
"""
METRICS = (
    ("mae_ml", "MAE (mL)", 2, 1),
    ("mse_ml2", "MSE (mL²)", 1, 1),
    ("mape_percent", "MAPE (%)", 1, 1),
    ("bias_ml", "Bias (mL)", 2, 1),
    ("limit_low_ml", "Lower limit (mL)", 1, 1),
    ("limit_high_ml", "Upper limit (mL)", 1, 1),
    ("icc", "ICC(2,1)", 3, 1),
    ("within_5_ml", "Within 5 mL (%)", 0, 100),
    ("within_20_percent", "Within 20 % (%)", 0, 100),
    ("misclassified_30_ml", "Wrong side of 30 mL (%)", 0, 100),
)
"""Columns of the table: key, heading, decimals, factor."""
NOTES = """Below each number: its 95 % bootstrap interval over patients ({resamples} resamples, the same for all
methods). MAE, MSE: mean absolute and squared error. MAPE: mean absolute percentage error; it and "within 20 %" are of
patients with a reference above 0. Bias: mean of measured − reference, with its 95 % limits of agreement (Bland and
Altman 1986). ICC(2,1): absolute agreement of single measurements (Shrout and Fleiss 1979). Wrong side of 30 mL: below
it by one of the two volumes, from it on by the other. A dash: not defined, or too few patients."""
TEST_NOTES = """Of patients with both volumes. Difference: mean absolute error of the method − that of {against};
above 0, {against} errs less. Wilcoxon: signed-rank test of the absolute errors. McNemar: exact test of patients whom
only one of the two puts on the wrong side of 30 mL. Holm: corrected for the number of methods ({tests})."""


def write_cohort_report(comparison, folder, percent=False):
    """Write report.html, report.json, table.csv and figures as PNG into an existing folder.

    Parameters
    ----------
    comparison : CohortComparison
    folder : Path
    percent : bool
        Draw Bland–Altman plots in percent, too.
    """
    report = comparison.as_dict()
    report["figures"] = write_cohort_figures(comparison, folder, percent)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    rows = [_flat(row) for row in report["rows"]]
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)  # None is written as an empty field
    pictures = {name: (caption, (folder / name).read_bytes()) for name, caption in report["figures"].items()}
    (folder / "report.html").write_text(cohort_html(report, pictures), encoding="utf-8", newline="\n")


def summary(comparison):
    """The comparison in a few lines of plain text: what was compared, warnings, a row a method.

    Returns
    -------
    str
    """
    report = comparison.as_dict()
    columns = report["columns"]
    simulated = f". {_simulated(report)}." if report["simulated"] else ""
    lines = [f"Patients   {report['patients']}{simulated}", f"Reference  {columns['reference']}"]
    for title, key in (("Model", "model"), ("Methods", "methods"), ("Raters", "raters"), ("Not used", "not_used")):
        if columns[key]:
            lines.append(f"{title:<10} {columns[key] if key == 'model' else ', '.join(columns[key])}")
    lines += [f"Warning    {sentence}" for sentence in report["warnings"]]
    width = max(len(row["name"]) for row in report["rows"])
    table = [f"{'':<{width}}     n  MAE (mL), 95 % interval   Bias (mL)  ICC(2,1)  Within 20 %  Wrong side of 30 mL"]
    for row in report["rows"]:
        low, high = row["intervals_95"]["mae_ml"] or (None, None)
        mae = f"{_number(row['mae_ml'], 2)} ({_number(low, 2)} to {_number(high, 2)})"
        table.append(
            f"{row['name']:<{width}} {row['patients']:>5}  {mae:>23}   {_number(row['bias_ml'], 2):>9}  "
            f"{_number(row['icc'], 3):>8}  {_number(row['within_20_percent'], 0, 100):>9} %  "
            f"{_number(row['misclassified_30_ml'], 0, 100):>17} %"
        )
    return "\n".join([*(textwrap.fill(line, 110, subsequent_indent=" " * 11) for line in lines), "", *table])


def cohort_html(report, pictures):
    """Make the page.

    Parameters
    ----------
    report : dict
        As `CohortComparison.as_dict` makes it.
    pictures : dict of str to (str, bytes)
        Caption and PNG by file name.

    Returns
    -------
    str
    """
    reference = report["reference"]
    simulated = ""
    if report["simulated"]:
        simulated = (
            f'<p class="statement"><strong>{_simulated(report)}.</strong> Nothing here says how well any method works '
            "on patients.</p>"
        )
    warnings = "".join(f"<li>{escape(sentence)}</li>" for sentence in report["warnings"])
    if warnings:
        warnings = f'<section class="warnings"><strong>Warnings</strong><ul>{warnings}</ul></section>'
    figures = "".join(
        f'<figure class="plot"><img alt="{escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(data).decode("ascii")}"><figcaption>{escape(caption)}</figcaption></figure>'
        for caption, data in pictures.values()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ICHMultiTask: cohort comparison</title>
<style>{STYLE}{TABLE_STYLE}</style>
</head>
<body><main>
<header><h1>Hematoma volumes of a cohort</h1>
<span class="soft">{_counted(report["patients"], "patient")}</span></header>
{simulated}{warnings}
<p>Reference: {escape(reference["column"])}, median {reference["median_ml"]:.1f} mL ({reference["lowest_ml"]:.1f} to
{reference["highest_ml"]:.1f} mL); {reference["patients_above_0"]} above 0,
{reference["patients_from_30_ml"]} from 30 mL on.</p>
<h2>Agreement with the reference</h2>
{_table(report["rows"])}
{_coverage(report["rows"])}
<p class="soft">{NOTES.format(resamples=report["bootstrap"]["resamples"])}</p>
{_tests(report)}
{_raters(report["raters"])}
{f"<h2>Figures</h2>{figures}" if figures else ""}
<p class="soft">Columns not used: {escape(", ".join(report["columns"]["not_used"])) or "none"}. Research use only.</p>
</main></body>
</html>
"""


def _table(rows):
    body = ""
    for row in rows:
        cells = "".join(_cell(row[key], row["intervals_95"][key], *form) for key, _, *form in METRICS)
        count = f"{row['patients']}<small>{row['patients_above_0']} above 0</small>"
        body += f'<tr class="{row["kind"]}"><td>{escape(row["name"])}</td><td>{count}</td>{cells}</tr>'
    return _html_table(("", "n", *(title for _, title, *_ in METRICS)), body)


def _html_table(head, body):
    head = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f'<div class="table"><table><tr>{head}</tr>{body}</table></div>'


def _coverage(rows):
    known = [row for row in rows if row.get("interval_coverage") is not None]
    return "".join(
        f"<p>The interval given by {escape(row['name'])} held the reference in "
        f"{_number(row['interval_coverage'], 0, 100)} % of the patients.</p>"
        for row in known
    )


def _tests(report):
    if not report["tests"]:
        return ""
    against = escape(report["against"])
    head = (
        "", "n", "Difference of MAE (mL)", "Wilcoxon p", "Holm", "Only this on the wrong side",
        f"Only {report['against']} on the wrong side", "McNemar p", "Holm",
    )  # fmt: skip
    body = "".join(
        f"<tr><td>{escape(test['name'])}</td><td>{test['patients']}</td>"
        f"{_cell(test['mae_difference_ml'], test['mae_difference_ml_interval'], 2, 1)}"
        f"<td>{_p(test['wilcoxon_p'])}</td><td>{_p(test['wilcoxon_p_holm'])}</td>"
        f"<td>{test['only_first_misclassified']}</td><td>{test['only_second_misclassified']}</td>"
        f"<td>{_p(test['mcnemar_p'])}</td><td>{_p(test['mcnemar_p_holm'])}</td></tr>"
        for test in report["tests"]
    )
    return (
        f"<h2>Against {against}</h2>{_html_table(head, body)}"
        f'<p class="soft">{TEST_NOTES.format(against=against, tests=len(report["tests"]))}</p>'
    )


def _raters(raters):
    if raters is None:
        return ""
    interval = raters["icc_all_interval"]
    between = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    names, body = raters["names"], ""
    for name, *rows in zip(names, raters["icc"], raters["mae_ml"], raters["patients"]):
        body += f"<tr><td>{escape(name)}</td>"
        for value, mae, count in zip(*rows):
            pair = "–" if count is None else f"{_number(value, 3)}<small>{_number(mae, 1)} mL, n = {count}</small>"
            body += f"<td>{pair}</td>"
        body += "</tr>"
    return (
        f"<h2>Rater against rater</h2><p>ICC(2,1) of all {len(names)} raters: {_number(raters['icc_all'], 3)}{between},"
        f" of {_counted(raters['patients_all'], 'patient')} whom all of them measured. In the table: ICC(2,1) and mean "
        f"absolute difference of each pair.</p>{_html_table(('', *names), body)}"
    )


def _cell(value, interval, digits, factor):
    if value is None:
        return "<td>–</td>"
    low_high = ""
    if interval is not None:
        low_high = f"<small>{_number(interval[0], digits, factor)} to {_number(interval[1], digits, factor)}</small>"
    return f"<td>{_number(value, digits, factor)}{low_high}</td>"


def _number(value, digits, factor=1):
    if value is None:
        return "–"
    return f"{value * factor:.{digits}f}".replace("-", "−")


def _p(value):
    if value is None:
        return "–"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _simulated(report):
    count, patients = report["simulated"], report["patients"]
    return "All patients are simulated" if count == patients else f"{count} of {patients} patients are simulated"


def _counted(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _flat(row):
    """A row with its intervals in columns of their own."""
    flat = {key: value for key, value in row.items() if key != "intervals_95"}
    for key, interval in row["intervals_95"].items():
        flat[f"{key}_ci_low"], flat[f"{key}_ci_high"] = interval or (None, None)
    return flat
