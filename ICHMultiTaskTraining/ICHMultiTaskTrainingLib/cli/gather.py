"""The `ichmultitask-train gather` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evaluation.cross_validation import gather_folds
from .analyzing_options import RESULT_FOLDER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Combine the folds of a cross-validation in one report, in which each patient is predicted by the run that "
        "has not seen it."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run, one per fold")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    gather_folds(options.runs, options.output)
    print(f"Report: {options.output / 'report.html'}")
