"""The `ichmultitask-train calibrate` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.choices import Weights
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.model.bundle import check_bundle_folder

from ..bundles.recalibration import recalibrate
from .analyzing_options import LABELED_SCANS, add_analyzing_options, number_of_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Fit the interval, the corrections of the volume and the probability of a model to scans that it has not "
        "seen; the weights stay."
    )
    parser.add_argument("manifest", type=Path, help=LABELED_SCANS)
    parser.add_argument("--model", type=Path, required=True, metavar="BUNDLE", help="folder of the model bundle")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the new bundle (default: replace the old one)")
    parser.add_argument("--name", help="default: the model's name with -calibrated; unchanged if it is replaced")
    parser.add_argument(
        "--bundle-version", metavar="VERSION", help="default: 0.1.0; unchanged if the model is replaced"
    )
    parser.add_argument(
        "--outcome", default="died", metavar="COLUMN", help="0, 1 or a probability of death (default: died)"
    )
    add_analyzing_options(parser)
    parser.add_argument(
        "--weights",
        choices=Weights.values(),
        help="16 bits, or 8 bits where most weights are (default: as in the model)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    output = options.output or options.model
    check_bundle_folder(output)
    with ShellProgress() as progress:
        bundle = recalibrate(
            options.manifest, options.model, output, options.outcome, options.device, progress,
            options.name, options.bundle_version, options.weights, number_of_processes(options),
        )  # fmt: skip
    for note in bundle.metadata["calibration"]["notes"]:
        print(note)
    print(f"Calibrated model bundle: {bundle.folder}")
