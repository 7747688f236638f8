"""The `ichmultitask-train calibrate` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.choices import Device, Weights
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive
from ICHMultiTaskLib.model.bundle import check_bundle_folder

from ..bundles.recalibration import recalibrate
from ..data.analyzing import PROCESSES_HELP, processes_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the new bundle (default: replace the old one)")
    parser.add_argument("--name", help="default: the model's name with -calibrated; unchanged if it is replaced")
    parser.add_argument("--bundle-version", help="default: 0.1.0; unchanged if the model is replaced")
    parser.add_argument("--outcome", default="died", metavar="COLUMN", help="0, 1 or a probability of death")
    parser.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    parser.add_argument("--processes", type=positive, metavar="N", help=PROCESSES_HELP)
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
            options.name, options.bundle_version, options.weights,
            options.processes or processes_for(options.device),
        )  # fmt: skip
    for note in bundle.metadata["calibration"]["notes"]:
        print(note)
    print(f"Calibrated model bundle: {bundle.folder}")
