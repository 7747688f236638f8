"""The `ichmultitask-train interpret` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.choices import Device, Stage
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive
from ICHMultiTaskLib.common.writing import check_folder
from ICHMultiTaskLib.model.attention import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("manifest", type=Path, help="CSV of scans with masks that the model was not trained on")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    parser.add_argument(
        "--patients", type=positive, default=8, metavar="N", help="largest number of patients (default 8)"
    )
    parser.add_argument(
        "--method", action="append", choices=tuple(METHODS), help="repeatable; default: all, occlusion takes minutes"
    )
    parser.add_argument(
        "--stage", choices=Stage.values(), default=Stage.STAGE4, help="of the methods that have one (default: the last)"
    )
    parser.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    from ..experiments.interpretation_report import KIND, interpret

    check_folder(options.output, KIND, overwrite=True, inputs=[options.manifest])
    with ShellProgress() as progress:
        measured = interpret(
            options.manifest, options.output, options.model, options.method, options.patients, options.device, progress,
            options.stage,
        )  # fmt: skip
    for row in measured["methods"].values():
        print(
            f"{row['label']:33} maximum inside {row['peak_inside']:4.0%}, share inside {row['share_inside']:5.1%}, "
            f"deletion {row['deletion']:.3f}, insertion {row['insertion']:.3f}, random weights {row['sanity']:+.2f}, "
            f"{row['seconds']:.2f} s"
        )
    print(f"Report: {options.output / 'report.html'}")
