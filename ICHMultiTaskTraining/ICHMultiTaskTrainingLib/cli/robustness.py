"""The `ichmultitask-train robustness` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive, seed
from ICHMultiTaskLib.model.bundle import ModelBundle, check_bundle_folder, default_bundle

from ..bundles.model_card import record_metrics
from ..evaluation.robustness.metrics import summary
from ..evaluation.robustness.run import robustness
from .analyzing_options import RESULT_FOLDER, add_analyzing_options, number_of_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Measure the hematoma in simulated heads scanned in different ways and with the hematoma erased, and in real "
        "heads with inserted hematomas; write robustness.json, readings.csv and figures."
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    add_analyzing_options(parser)
    parser.add_argument("--patients", type=positive, default=20, metavar="N", help="simulated patients (default 20)")
    parser.add_argument(
        "--seed",
        type=seed,
        default=303,
        help="seed of the simulated patients; must not be that of a training cohort (default 303)",
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="CSV", help="also erase the hematomas of these scans, if they have a mask"
    )
    parser.add_argument(
        "--anatomy", type=Path, metavar="FOLDER", help="head CTs without hemorrhage, to insert hematomas into"
    )
    parser.add_argument(
        "--insertions", type=positive, default=8, metavar="N", help="hematomas to insert into each head CT (default 8)"
    )
    parser.add_argument(
        "--masks", type=Path, metavar="FOLDER",
        help="segmentations of real hematomas of other patients, also inserted into the head CTs of --anatomy",
    )  # fmt: skip
    parser.add_argument("--record", action="store_true", help="write the metrics into the bundle's model card")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    if options.record:
        check_bundle_folder(options.model or default_bundle())
    with ShellProgress() as progress:
        results = robustness(
            options.output, options.model, options.device, options.patients, options.seed, options.manifest,
            options.anatomy, options.insertions, progress=progress, masks=options.masks,
            processes=number_of_processes(options),
        )  # fmt: skip
    if options.record:
        record_metrics(ModelBundle.load(options.model or default_bundle()), results, "robustness")
    print(summary(results))
    print(f"Robustness: {options.output / 'robustness.json'}")
