"""The `ichmultitask-train ensemble` command."""

from __future__ import annotations

import argparse

from .average import add_combining_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = "Combine models, such as those of folds, in one bundle that outputs the mean of their outputs."
    add_combining_arguments(parser, "ensemble")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    from ..bundles.averaging import ensemble_bundles

    bundle = ensemble_bundles(options.models, options.output, options.bundle_version, options.name)
    print(f"Model bundle of {len(options.models)} models, to be calibrated: {bundle.folder}")
