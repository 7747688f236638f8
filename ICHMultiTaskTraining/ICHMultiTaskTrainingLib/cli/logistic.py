"""The `ichmultitask-train logistic` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.clinical_variables import VARIABLES
from ICHMultiTaskLib.common.shell import positive

from ..evaluation.logistic import logistic_baseline
from .analyzing_options import LABELED_SCANS, RESULT_FOLDER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Predict death by logistic regression of clinical columns, of a model's readings, or of both, or by a head on "
        "a network's features. Cross-validated, or on the table's test rows. Writes predictions.csv and metrics.json."
    )
    parser.add_argument("manifest", type=Path, help=LABELED_SCANS)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
    parser.add_argument(
        "--clinical", nargs="+", default=[], metavar="COLUMN", help=f"columns of the manifest: {', '.join(VARIABLES)}"
    )
    parser.add_argument(
        "--readings",
        type=Path,
        metavar="CSV",
        help="predictions.csv of evaluate on the same manifest, with all of its rows or its test rows",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="NPZ",
        help="features.npz of evaluate --features: a prognosis head is trained on the frozen network's features of "
        "each scan, and with several scans on their difference",
    )
    parser.add_argument(
        "--scans",
        type=positive,
        default=1,
        metavar="N",
        help="number of each patient's scans to use, earliest first (default 1)",
    )
    parser.add_argument("--last", action="store_true", help="use each patient's last scans, not the earliest")
    parser.add_argument(
        "--folds",
        type=positive,
        default=5,
        metavar="K",
        help="folds of the cross-validation, used without test rows (default 5)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    metrics = logistic_baseline(
        options.manifest,
        options.output,
        options.clinical,
        options.readings,
        options.scans,
        options.folds,
        features=options.features,
        last=options.last,
    )
    found, interval = metrics["prognosis"], metrics["intervals_95"]["prognosis"]["auc"]
    span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    print(f"From {metrics['from']}: AUC {found['auc']:.3f}{span} of {metrics['data']}, {found['deaths']} died.")
    for column, value in metrics["auc_best_reachable"].items():
        print(f"Best reachable, by {column}: {value:.3f}")
    print(f"Predictions: {options.output / 'predictions.csv'}")
