"""The `ichmultitask-train reproduce` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive, seed

from ..experiments.presets import PRESETS
from ..experiments.rows import chosen
from ..training.settings_text import parse_assignments
from .analyzing_options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Train every row of the paper's tables under equal settings and put tables and figures on one page, which "
        "lists what is missing. Repeat the command to continue after an interruption. Rows can be trained on "
        "several machines: merge the contents of their rows/ folders and run the command with --page-only."
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the results; finished rows in it are kept"
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default="smoke",
        help="smoke (default): minutes, with meaningless numbers; cpu: hours; paper: the paper's settings",
    )  # fmt: skip
    parser.add_argument("--manifest", type=Path, metavar="CSV", help="a hospital's scans (default: simulated patients)")
    parser.add_argument(
        "--only", action="append", metavar="ROW", help="row to train; repeatable (an unknown name lists the known ones)"
    )
    parser.add_argument("--fold", type=int, metavar="N", help="train only this fold of the rows, from 0")
    parser.add_argument("--folds", type=positive, metavar="K", help="number of folds (default: the preset's)")
    parser.add_argument(
        "--patients", type=positive, metavar="N", help="number of patients to simulate (default: the preset's)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every row's training; repeatable"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of patients and trainings (default: 0)")
    add_device(parser)
    parser.add_argument("--processes", type=positive, default=1, metavar="N", help="processes for the scans")
    parser.add_argument("--page-only", action="store_true", help="do not train; only write the page")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    chosen(options.only)  # found out before the long work starts
    from ..experiments.reproduce import reproduce

    with ShellProgress() as progress:
        page = reproduce(
            options.output, options.preset, progress, options.manifest, options.only, options.fold, options.folds,
            options.patients, parse_assignments(options.set), options.seed, options.device, options.processes,
            options.page_only, options.command_line,
        )  # fmt: skip
    print(f"Page: {page}")
