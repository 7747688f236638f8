"""An evaluation or a training run on one HTML page: numbers with their intervals, figures, settings."""

import base64
import json
from html import escape

from ICHMultiTaskLib.report.cohort import TABLE_STYLE
from ICHMultiTaskLib.report.html import RESEARCH_USE, STYLE

from .figures import CAPTIONS

CURVES = "curves.png"
TABLES = {
    "volume": (
        "Hematoma volume",
        (
            ("mae_ml", "Mean absolute error", "mL", 2, 1),
            ("mse_ml2", "Mean squared error", "mL²", 1, 1),
            ("mape_percent", "Mean absolute percentage error, bleeds", "%", 1, 1),
            ("mape_percent_from_5_ml", "… from 5 mL up", "%", 1, 1),
            ("mean_error_below_5_ml", "Mean absolute error below 5 mL", "mL", 2, 1),
            ("bias_ml", "Bias (predicted − true)", "mL", 2, 1),
            ("limit_low_ml", "Lower 95 % limit of agreement", "mL", 1, 1),
            ("limit_high_ml", "Upper 95 % limit of agreement", "mL", 1, 1),
            ("icc", "ICC(2,1)", "", 3, 1),
            ("r", "Pearson's r", "", 3, 1),
            ("within_5_ml", "Within 5 mL", "%", 0, 100),
            ("within_20_percent", "Bleeds within 20 %", "%", 0, 100),
            ("misclassified_30_ml", "Wrong side of 30 mL", "%", 0, 100),
            ("no_bleed_below_1_ml", "Scans without a bleed that read below 1 mL", "%", 0, 100),
            ("interval_coverage", "Interval holds the true volume", "%", 0, 100),
            ("interval_coverage_below_5_ml", "… below 5 mL", "%", 0, 100),
            ("interval_coverage_5_to_30_ml", "… 5 to 30 mL", "%", 0, 100),
            ("interval_coverage_from_30_ml", "… from 30 mL up", "%", 0, 100),
        ),
    ),
    "prognosis": (
        "Prognosis",
        (
            ("auc", "AUC", "", 3, 1),
            ("auc_best_reachable", "Best reachable AUC (simulated outcomes)", "", 3, 1),
            ("auprc", "Area under the precision-recall curve", "", 3, 1),
            ("accuracy", "Accuracy at 50 %", "%", 0, 100),
            ("sensitivity", "Sensitivity", "%", 0, 100),
            ("specificity", "Specificity", "%", 0, 100),
            ("brier", "Brier score", "", 3, 1),
            ("calibration_slope", "Calibration slope", "", 2, 1),
            ("calibration_slope_known", "The same against the simulated probabilities", "", 2, 1),
            ("calibration_intercept", "Calibration in the large", "", 2, 1),
        ),
    ),
    "attention": (
        "Attention of the volume head",
        (
            ("peak_inside_fraction", "Maximum inside the hematoma", "%", 0, 100),
            ("peak_distance_median_mm", "Median distance of the maximum", "mm", 1, 1),
            ("attention_share_inside", "Share of the map inside the hematoma", "%", 0, 100),
        ),
    ),
}
"""Title of each table and its rows: key, label, unit, decimals, factor."""


def write_report(path, title, metrics, figures, remarks=(), settings=None):
    """Write the page.

    Parameters
    ----------
    path : path
    title : str
    metrics : dict
        As `evaluate` returns them; a part may be None or missing.
    figures : sequence of path
        PNG files, put into the page; captions by their names.
    remarks : sequence of str
        Sentences that the reader needs to judge the numbers.
    settings : dict, optional
        Shown at the end.
    """
    model = metrics.get("model") or {}
    statement = f"<strong>Model trained on:</strong> {escape(model['training_data'])}<br>" if model else ""
    simulated = ""
    if metrics["simulated"]:
        simulated = "<strong>All patients here are simulated.</strong> Nothing here says how it works on patients.<br>"
    tables = "".join(_table(metrics, part) for part in TABLES)
    pictures = "".join(_figure(figure) for figure in figures)
    path.write_text(
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ICHMultiTask: {escape(title)}</title>
<style>{STYLE}{TABLE_STYLE}
main {{ max-width: 78rem; }}
.tables, .plots {{ display: grid; gap: 0 1.5rem; align-items: start; }}
.tables {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }}
.plots {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }}
.tables td:first-child {{ white-space: normal; }}
figure.wide {{ grid-column: 1 / -1; }}
</style>
</head>
<body><main>
<header><h1>{escape(title)}</h1><span class="soft">{escape(metrics["data"])}</span></header>
<p class="statement">{simulated}{statement}{RESEARCH_USE}</p>
{_list("Remarks", remarks)}
<div class="tables">{tables}</div>
<p class="soft">In parentheses: 95 % bootstrap intervals over patients. A dash: not defined on these patients.</p>
{_list("Left out", [f"{row['patient_id']}: {row['reason']}" for row in metrics.get("skipped", ())])}
{f'<h2>Figures</h2><div class="plots">{pictures}</div>' if pictures else ""}
{_settings(settings)}
</main></body>
</html>
""",
        encoding="utf-8",
        newline="\n",
    )


def _table(metrics, part):
    values = metrics.get(part)
    if not values or not values["patients"]:
        return ""
    title, rows = TABLES[part]
    intervals = metrics["intervals_95"].get(part) or {}
    body = "".join(
        f"<tr><td>{escape(label)}</td><td>{_cell(values[key], intervals.get(key), unit, digits, factor)}</td></tr>"
        for key, label, unit, digits, factor in rows
        if key in values
    )
    deaths = f", {values['deaths']} deaths" if "deaths" in values else ""
    return (
        f'<section><h2>{title}</h2><p class="soft">{values["patients"]} patients{deaths}</p>'
        f'<div class="table"><table>{body}</table></div></section>'
    )


def _cell(value, interval, unit, digits, factor):
    if value is None:
        return "–"
    text = f"{_number(value, digits, factor)} {unit}"
    if interval is not None:
        low, high = (_number(bound, digits, factor) for bound in interval)
        text += f"<small>({low} to {high})</small>"
    return text


def _number(value, digits, factor):
    return f"{value * factor:.{digits}f}".replace("-", "−")


def _list(title, sentences):
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<section class="warnings"><strong>{title}</strong><ul>{items}</ul></section>'


def _figure(path):
    wide = path.name in ("attention.png", "histogram.png", CURVES)
    captions = CAPTIONS | {CURVES: "Losses, errors and AUC by epoch, in training and on the validation patients."}
    caption = escape(captions[path.name])
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure class="plot{" wide" if wide else ""}"><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _settings(settings):
    if not settings:
        return ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_plain(value))}</dd>" for name, value in settings.items())
    return f'<h2>Settings</h2><div class="card"><dl>{rows}</dl></div>'


def _plain(value):
    return value if isinstance(value, str) else json.dumps(value)
