"""The `ichmultitask-train interpret` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.choices import Stage
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive
from ICHMultiTaskLib.common.writing import check_folder
from ICHMultiTaskLib.model.attention import METHODS

from .analyzing_options import RESULT_FOLDER, add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Measure attention methods on scans with masks: how much of each map lies in the hematoma, whether it shows "
        "what the network reads. Writes report.html with a table, curves and pictures."
    )
    parser.add_argument("manifest", type=Path, help="table of scans with masks that the model was not trained on")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
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
    add_device(parser)
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
