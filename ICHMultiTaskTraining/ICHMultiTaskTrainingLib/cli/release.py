"""The `ichmultitask-train release` command: every step to a model with its model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.choices import Device
from ICHMultiTaskLib.common.shell import positive

from . import COMMANDS
from .steps import RECIPE, finished_steps, read_recipe, run_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Simulate, train, average, calibrate, evaluate: run the commands of a recipe one after the other. Repeat the "
        "same command to continue after an interruption."
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the output of all steps")
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, metavar="FILE", help="default: the recipe of the next shipped model"
    )
    parser.add_argument("--device", choices=Device.values(), help="device for every step")
    parser.add_argument("--processes", type=positive, metavar="N", help="processes for every step")
    parser.add_argument("--list", action="store_true", help="print the steps and which are finished; run nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    steps = read_recipe(options.recipe, COMMANDS)
    if options.list:
        finished = finished_steps(options.output, steps)
        for n, step in enumerate(steps):
            print(f"{'done' if n < finished else 'open'}  {step}")
        return
    run_steps(steps, options.output, COMMANDS, options.device, options.processes)
    print(f"All {len(steps)} steps are finished: {options.output}")
