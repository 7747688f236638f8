"""The `ichmultitask mark` command."""

from pathlib import Path

from ..analysis.analyzer import Analyzer
from ..analysis.marking import mark
from ..common.choices import Device
from ..common.errors import OutputError
from ..common.names import safe_name, stem
from ..common.signature import is_unchanged
from ..common.writing import check_file
from ..model.bundle import ModelBundle, default_bundle
from ..scan.reading import read_head_ct

SUFFIX = ".seg.nrrd"


def add_arguments(parser):
    """Add the command's arguments to its parser."""
    parser.description = (
        "Propose a segmentation of the bleed on one head CT, from the model's attention and volume and the density of "
        "the scan, and write it as an editable segmentation. It is a draft to be corrected by a person."
    )
    parser.epilog = (
        "Exit status: 0 done, also where there is nothing to mark; 1 scan refused or work failed (one sentence on "
        "standard error), 2 wrong usage."
    )
    add = parser.add_argument
    add("path", metavar="PATH", help="folder, file or .zip of DICOM images; NIfTI, NRRD or MetaImage file")
    add("--output", metavar=f"FILE{SUFFIX}", type=Path, help="new file (default: named after PATH, in this folder)")
    add("--overwrite", action="store_true", help="replace an earlier file, unless somebody has changed it")
    add("--volume", metavar="ML", type=float, help="volume to mark (default: the model's)")
    add("--model", metavar="BUNDLE", help="folder of a model bundle (default: the shipped one)")
    add("--device", choices=Device.values(), default=Device.AUTO, help="where the network runs (default: auto)")
    add("--series", metavar="UID", help="DICOM series to analyze (default: the best suited one)")
    parser.set_defaults(run=run)


def run(options):
    """Mark, write and print."""
    destination = options.output or Path(safe_name(stem(options.path), "scan") + SUFFIX)
    _check_destination(destination, options.overwrite)

    bundle = ModelBundle.load(options.model or default_bundle())  # found out before the long work starts
    head_ct = read_head_ct(options.path, options.series)
    analysis = Analyzer(bundle, options.device).analyze(head_ct, attention=False)
    marking = mark(analysis, options.volume)
    if marking.mask.any():
        from ..mrml.marking import write_marking

        write_marking(marking, analysis.head_ct, destination)
    print(summary(marking, destination))


def summary(marking, path):
    """What was marked, in one line.

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
