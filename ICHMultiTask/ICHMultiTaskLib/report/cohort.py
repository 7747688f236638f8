"""A cohort comparison as files: report.html for users, report.json and table.csv for programs, figures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.numbers import number, percent, with_interval
from ..common.provenance import provenance, provenance_facts
from ..common.tables import write_csv
from ..common.translation import tr as _
from ..common.writing import new_folder, write_json, write_text
from ..comparison.cohort import CohortComparison, compare_cohort
from ..comparison.cohort_table import Tables
from .cohort_figures import write_cohort_figures
from .pages import render

METRICS = (
    ("mae_ml", "MAE (mL)", 2, 1),
    ("mse_ml2", "MSE (mL²)", 1, 1),
    ("mape_percent", "MAPE (%)", 1, 1),
    ("bias_ml", _("Bias (mL)"), 2, 1),
    ("limit_low_ml", _("Lower limit (mL)"), 1, 1),
    ("limit_high_ml", _("Upper limit (mL)"), 1, 1),
    ("icc", "ICC(2,1)", 3, 1),
    ("within_5_ml", _("Within 5 mL (%)"), 0, 100),
    ("within_20_percent", _("Within 20 % (%)"), 0, 100),
    ("misclassified_30_ml", _("Wrong side of 30 mL (%)"), 0, 100),
)
"""Columns of the table: key, heading, decimals, factor."""


def report_cohort(
    tables: Tables, output: str | os.PathLike, *, percent: bool = False, overwrite: bool = False, **options: Any
) -> CohortComparison:
    """Compare the volumes of a cohort and write the comparison to a folder.

    Parameters
    ----------
    tables
        As in `compare_cohort`.
    output : path
        New or empty folder, written atomically: report.html, report.json, table.csv and figures.
    percent : bool
        Also draw Bland–Altman plots in percent.
    overwrite : bool
        Replace an earlier comparison in `output`.
    **options
        Of `compare_cohort`.

    Returns
    -------
    CohortComparison

    Raises
    ------
    InputError
        From `compare_cohort`.
    OutputError
        If the folder is taken or cannot be written.
    """
    paths = [] if hasattr(tables, "keys") else [tables] if isinstance(tables, (str, Path)) else tables
    inputs = [path for path in (*paths, options.get("experience")) if isinstance(path, (str, Path))]
    with new_folder(output, "comparison", overwrite, inputs) as folder:
        comparison = compare_cohort(tables, **options)
        write_cohort_report(comparison, folder, percent)
    return comparison


def write_cohort_report(comparison: CohortComparison, folder: Path, percent: bool = False) -> None:
    """Write report.html, report.json, table.csv and figures as PNG to an existing folder.

    Parameters
    ----------
    comparison : CohortComparison
    folder : Path
    percent : bool
        Also draw Bland–Altman plots in percent.
    """
    report = comparison.as_dict() | {"provenance": provenance()}
    report["figures"] = write_cohort_figures(comparison, folder, percent)
    write_json(folder / "report.json", report)
    rows = [_flat(row) for row in report["rows"]]
    write_csv(folder / "table.csv", rows, list(dict.fromkeys(key for row in rows for key in row)))
    pictures = {name: (caption, (folder / name).read_bytes()) for name, caption in report["figures"].items()}
    write_text(folder / "report.html", cohort_html(report, pictures))


def summary(comparison: CohortComparison) -> str:
    """Summarize the comparison in plain text: columns, warnings, one row per method.

    Returns
    -------
    str
    """
    report = comparison.as_dict()
    columns = report["columns"]
    simulated = f". {_simulated(report)}." if report["simulated"] else ""
    lines = [f"Patients   {report['patients']}{simulated}", f"Reference  column {columns['reference']}"]
    for title, key in (("Model", "model"), ("Methods", "methods"), ("Raters", "raters"), ("Not used", "not_used")):
        if columns[key]:
            lines.append(f"{title:<10} {f'column {columns[key]}' if key == 'model' else ', '.join(columns[key])}")
    lines += [f"Warning    {sentence}" for sentence in report["warnings"]]
    width = max(len(row["name"]) for row in report["rows"])
    table = [f"{'':<{width}}     n  MAE (mL), 95 % interval   Bias (mL)  ICC(2,1)  Within 20 %  Wrong side of 30 mL"]
    for row in report["rows"]:
        mae = with_interval(row["mae_ml"], row["intervals_95"]["mae_ml"], 2)
        table.append(
            f"{row['name']:<{width}} {row['patients']:>5}  {mae:>23}   {number(row['bias_ml'], 2):>9}  "
            f"{number(row['icc'], 3):>8}  {percent(row['within_20_percent']):>11}  "
            f"{percent(row['misclassified_30_ml']):>19}"
        )
    return "\n".join([*(textwrap.fill(line, 110, subsequent_indent=" " * 11) for line in lines), "", *table])


def cohort_html(report: dict, pictures: Mapping[str, tuple[str, bytes]]) -> str:
    """Make the HTML page.

    Parameters
    ----------
    report : dict
        From `CohortComparison.as_dict`, with `provenance` if known.
    pictures : dict of str to (str, bytes)
        Caption and PNG by file name.

    Returns
    -------
    str
    """
    simulated = _simulated(report) if report["simulated"] else ""
    title = "cohort comparison"
    made = provenance_facts(report.get("provenance"))
    return render(
        "cohort.html", title=title, report=report, metrics=METRICS, simulated=simulated, pictures=pictures, made=made
    )


def _simulated(report):
    count, patients = report["simulated"], report["patients"]
    return "All patients are simulated" if count == patients else f"{count} of {patients} patients are simulated"


def _flat(row):
    """A row with its intervals in separate columns."""
    flat = {key: value for key, value in row.items() if key != "intervals_95"}
    for key, bounds in row["intervals_95"].items():
        flat[f"{key}_ci_low"], flat[f"{key}_ci_high"] = bounds or (None, None)
    return flat
