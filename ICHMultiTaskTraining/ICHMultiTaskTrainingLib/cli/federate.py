"""The `ichmultitask-train federate` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.shell import positive

from ..federated.job import federate
from ..training.config import PRESETS
from ..training.settings_text import parse_assignments
from .analyzing_options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Train one model on several hospitals' manifests. Scans, volumes and outcomes stay with each hospital's "
        "process; only weights are exchanged. Needs NVIDIA FLARE: pip install '.[federated]'."
    )
    parser.add_argument(
        "--site", action="append", required=True, metavar="NAME=MANIFEST", help="one hospital; at least two"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--rounds",
        type=positive,
        default=5,
        metavar="N",
        help="number of rounds, each ending with an average of the weights (default 5)",
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default="default", help="settings to start from (default: default)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in train; repeatable")
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    settings = {"preset": options.preset} | parse_assignments(options.set)
    for name, bundle in federate(
        _sites(options.site), options.output, options.rounds, settings, options.device
    ).items():
        print(f"Model bundle of {name}: {bundle}")


def _sites(texts):
    sites = {}
    for text in texts:
        name, equals, manifest = text.partition("=")
        # FLARE takes no other letters.
        if not equals or not (name.isidentifier() and name.isascii()) or name in ("server", "flare"):
            raise InputError(
                "A site is malformed: expected name=manifest with a name of letters a to z, digits and _, other "
                f"than server and flare; found {text!r}."
            )
        if name in sites:
            raise InputError(f"A site appears twice: expected each once, found {name}.")
        sites[name] = Path(manifest)
    return sites
