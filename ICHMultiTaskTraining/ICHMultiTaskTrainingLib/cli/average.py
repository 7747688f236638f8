"""The `ichmultitask-train average` command."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = "Average the weights of a model and of one or more that were trained further from it."
    add_combining_arguments(parser, "averaged")
    parser.set_defaults(run=run)


def add_combining_arguments(parser: argparse.ArgumentParser, suffix: str) -> None:
    """Add the arguments of a command that makes one bundle from several; `suffix` ends the name of the new one."""
    parser.add_argument("models", type=Path, nargs="+", metavar="BUNDLE", help="at least two")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the new bundle, to be calibrated")
    parser.add_argument("--name", help=f"default: the name of the last model with -{suffix}")
    parser.add_argument("--bundle-version", metavar="VERSION", help="default: 0.1.0")


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    from ..bundles.averaging import average_bundles

    bundle = average_bundles(options.models, options.output, options.bundle_version, options.name)
    print(f"Averaged model bundle, to be calibrated: {bundle.folder}")
