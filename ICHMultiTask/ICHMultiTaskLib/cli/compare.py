"""The `ichmultitask compare` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.shell import seed
from ..report.cohort import report_cohort, summary

EPILOG = """
Recognized columns: patient_id; volume_ml or reference, ground_truth, manual, …; predicted_volume_ml or model, with
interval_low_ml and interval_high_ml; rater_1, "Reader A (8 years)", …; other columns with names that end in mL or
contain ABC or Sh. A manifest of ichmultitask-train simulate and predictions.csv of its evaluate need no options.
"""


_NO_ARGUMENTS = ("run", "parser", "command_line", "tables", "output")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Compare volumes of a model, of formulas and of raters with reference volumes and write report.html, "
        "report.json, table.csv and figures."
    )
    parser.epilog = EPILOG
    add = parser.add_argument
    add("tables", nargs="+", metavar="TABLE", type=Path, help="CSV, one row per patient; several are joined by patient")
    add("--output", metavar="DIR", type=Path, required=True, help="new or empty folder for the result")
    add("--overwrite", action="store_true", help="replace an earlier comparison in DIR")
    add("--patient", metavar="COLUMN", help="column that names the patient; several with commas: site,case")
    add("--reference", metavar="COLUMN", help="column of the reference volumes")
    add(
        "--model", metavar="COLUMN", help="method that the others are tested against (default: the model, or the first)"
    )
    add("--methods", metavar="COLUMN", nargs="+", help="volumes of other methods, instead of those recognized by name")
    add("--raters", metavar="COLUMN", nargs="+", help="volumes of raters, instead of those recognized by name")
    add("--experience", metavar="CSV", type=Path, help="years of experience: a table with the columns rater, years")
    add("--method-column", metavar="COLUMN", help="names of the methods, in a table with a row per patient and method")
    add("--volume-column", metavar="COLUMN", help="volumes of the methods in such a table")
    add("--unit", choices=("ml", "mm3"), default="ml", help="unit of all volumes (default: ml)")
    add("--complete", action="store_true", help="only patients that have every volume")
    add("--percent", action="store_true", help="also draw Bland–Altman plots in percent")
    add("--resamples", metavar="N", type=int, default=2000, help="bootstrap resamples (default: 2000)")
    add("--seed", metavar="N", type=seed, default=0, help="seed of the bootstrap (default: 0)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compare, write and print."""
    arguments = {name: value for name, value in vars(options).items() if name not in _NO_ARGUMENTS}
    comparison = report_cohort(options.tables, options.output, **arguments)
    print(summary(comparison))
    print(f"\nReport  {(options.output / 'report.html').resolve()}")
