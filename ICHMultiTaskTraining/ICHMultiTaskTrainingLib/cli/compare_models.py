"""The `ichmultitask-train compare-models` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.writing import check_file, write_json
from ICHMultiTaskLib.model.bundle import ModelBundle, check_bundle_folder

from ..bundles.model_card import record_metrics
from ..evaluation.model_comparison import compare_models, comparison_table, is_comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Compare one model with each of the others, patient by patient: differences of the volume's mean absolute "
        "error and of the AUC, with 95 % intervals."
    )
    parser.add_argument("first", type=Path, help="predictions.csv from the evaluation of one model")
    parser.add_argument("others", type=Path, nargs="+", help="the same file of other models, on the same manifest")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="file to write")
    parser.add_argument("--note", default="", metavar="TEXT", help="what is compared; shown above the table")
    parser.add_argument("--record", type=Path, metavar="BUNDLE", help="write the table into this bundle's model card")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compare, write and print."""
    check_file(options.output, is_comparison)
    if options.record:
        check_bundle_folder(options.record)
    comparison = {"note": options.note, **compare_models(options.first, *options.others), "provenance": provenance()}
    write_json(options.output, comparison)
    if options.record:
        record_metrics(ModelBundle.load(options.record), comparison, "comparison")
    print(comparison_table(comparison))
