"""The `ichmultitask-train evaluate` command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.model.bundle import ModelBundle, check_bundle_folder, default_bundle

from ..bundles.model_card import record_metrics
from ..evaluation.evaluation import evaluate
from ..evaluation.subgroups import subgroup_text
from .analyzing_options import LABELED_SCANS, RESULT_FOLDER, add_analyzing_options, number_of_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Analyze every scan of a table and compare the results with its volumes and outcomes; where its column split "
        "names test rows, these alone. Writes report.html, metrics.json, predictions.csv and figures."
    )
    parser.add_argument("manifest", type=Path, help=LABELED_SCANS)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    add_analyzing_options(parser)
    parser.add_argument("--record", action="store_true", help="write the metrics into the bundle's model card")
    parser.add_argument(
        "--features", action="store_true", help="write the network's features of each scan, for logistic --features"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    if options.record:
        check_bundle_folder(options.model or default_bundle())
    with ShellProgress() as progress:
        metrics = evaluate(
            options.manifest, options.output, options.model, options.device, progress, options.features,
            number_of_processes(options), unseen=options.record,
        )  # fmt: skip
    if options.record:
        record_metrics(ModelBundle.load(options.model or default_bundle()), metrics)
    print(
        json.dumps(
            {part: metrics[part] for part in ("volume", "prognosis", "hemorrhage", "findings", "attention")}, indent=2
        )
    )
    if len(metrics["subgroups"]) > 1:
        print(subgroup_text(metrics["subgroups"]))
    print(f"Evaluated on {metrics['data']}.")
    print(f"Metrics: {options.output / 'metrics.json'}")
