"""The `ichmultitask-train predict` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.progress import ShellProgress

from ..evaluation.prediction import FILE, predict
from .analyzing_options import RESULT_FOLDER, add_analyzing_options, number_of_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Analyze every scan of a folder of which nothing is known and write predictions.csv, one row per scan."
    )
    parser.add_argument("folder", type=Path, help="scans: subfolders of DICOM files, .zip, NIfTI, NRRD, MetaImage")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=RESULT_FOLDER)
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    add_analyzing_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    with ShellProgress() as progress:
        records = predict(
            options.folder, options.output, options.model, options.device, progress, number_of_processes(options)
        )  # fmt: skip
    left_out = sum(bool(record["problem"]) for record in records)
    print(f"{len(records) - left_out} of {len(records)} scans: {options.output / FILE}")
