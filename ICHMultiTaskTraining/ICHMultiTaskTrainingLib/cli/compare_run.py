"""The `ichmultitask-train compare-run` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.progress import ShellProgress

from ..evaluation.model_comparison import comparison_table
from ..evaluation.run_comparison import COMPARISON, compare_run
from .analyzing_options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = "Compare the model of a finished run with another model on the run's validation patients."
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="the other model (default: the shipped one)")
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate, compare and print."""
    with ShellProgress() as progress:
        comparison = compare_run(options.folder, options.model, options.device, progress)
    print(comparison_table(comparison))
    print(comparison["note"])
    print(f"Comparison: {options.folder / COMPARISON}")
