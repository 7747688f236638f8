"""The `ichmultitask mark` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.marking import Marking, check_volume, mark
from ..common.errors import OutputError
from ..common.names import safe_name, stem
from ..common.signature import is_unchanged
from ..common.writing import check_file
from ..model.bundle import ModelBundle, default_bundle
from ..scan.reading import read_head_ct
from . import scan_options

SUFFIX = ".seg.nrrd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Propose a segmentation of the bleed on one head CT, from the model's attention and the density of the scan, "
        "and write it as an editable segmentation. It is a draft to be corrected by a person."
    )
    parser.epilog = "Where there is nothing to mark, that is printed and nothing is written."
    scan_options.add_options(parser)
    add = parser.add_argument
    add("--output", metavar=f"FILE{SUFFIX}", type=Path, help="new file (default: named after PATH, in this folder)")
    add("--overwrite", action="store_true", help="replace an earlier file, unless it was changed since")
    add("--volume", metavar="ML", type=float, help="move the border toward this volume, as far as the scan allows")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Mark, write and print."""
    destination = options.output or Path(safe_name(stem(options.path), "scan") + SUFFIX)
    _check_destination(destination, options.overwrite)
    if options.volume is not None:
        check_volume(options.volume)
    bundle = ModelBundle.load(options.model or default_bundle())  # fails before the long work starts, as the above
    head_ct = read_head_ct(options.path, options.series)
    analysis = scan_options.load_analyzer(options, bundle).analyze(head_ct, attention=False)
    marking = mark(analysis, options.volume)
    if marking.mask.any():
        from ..mrml.marking import write_marking

        write_marking(marking, analysis.head_ct, destination)
    print(summary(marking, destination))


def summary(marking: Marking, path: Path) -> str:
    """Summarize what was marked, in one line.

    Parameters
    ----------
    marking : Marking
    path : Path
        Where it was written.

    Returns
    -------
    str
    """
    if not marking.mask.any():
        return " ".join(marking.notes)
    count = len(marking.components_ml)
    parts = "" if count == 1 else f" in {count} parts"
    return " ".join([f"{marking.volume_ml:.1f} mL marked{parts}: {path.resolve()}.", *marking.notes])


def _check_destination(path, overwrite):
    if not path.name.endswith(SUFFIX):
        raise OutputError(f"The output is a segmentation; expected a name that ends in {SUFFIX}, found {path.name}.")
    if path.is_file() and not overwrite:
        raise OutputError(f"{path} exists; expected a new file, or --overwrite to replace it.")
    check_file(path, is_unchanged)
