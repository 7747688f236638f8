"""The `ichmultitask-train networks` command."""

from __future__ import annotations

import argparse

from ICHMultiTaskLib.common.shell import positive

GRIDS = ((32, 224, 224), (32, 112, 112))
"""Inputs of the presets `paper` and `default`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "List the networks with their parameters, their multiply-adds and what a training step keeps in memory."
    )
    parser.add_argument(
        "--shape",
        type=positive,
        nargs=3,
        action="append",
        metavar=("SLICES", "ROWS", "COLUMNS"),
        help="input to give the cost for; repeatable (default: those of the presets paper and default)",
    )
    parser.add_argument(
        "--time",
        action="store_true",
        help="time each network on a scan, too: on the CPU, and on a CUDA GPU if any",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    from ..evaluation.network_costs import cost_rows, markdown, timed_devices

    devices = timed_devices() if options.time else ()
    print(markdown(*cost_rows([tuple(shape) for shape in options.shape or GRIDS], devices)))
