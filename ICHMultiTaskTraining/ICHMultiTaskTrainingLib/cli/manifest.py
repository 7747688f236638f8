"""The `ichmultitask-train manifest` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHMultiTaskLib.common.errors import DependencyError, InputError
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.writing import check_file

from ..data.labeled_files import find_labeled
from ..data.labeling import (
    Outcomes,
    check_output,
    check_twice,
    is_manifest,
    listing,
    measure_pair,
    name_patients,
    write_manifest,
)

EPILOG = """
A segmentation is assigned to the scan in the same patient folder, or to the scan of the same name, also in a parallel
folder (images/p1.nii.gz and masks/p1_mask.nii.gz); a DICOM SEG to the series that it references. Without --output, the
scans are listed and nothing is written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Make the table of scans for training from scans and their segmentations (.seg.nrrd, NIfTI, NRRD, MetaImage, "
        "DICOM SEG, scenes .mrb and .mrml): volumes are measured, checked and listed."
    )
    parser.epilog = EPILOG
    parser.add_argument("folder", type=Path, help="scans and segmentations, in subfolders too")
    parser.add_argument(
        "--outcomes", type=Path, metavar="CSV", help="table of patient_id and died (0 or 1); other columns are kept"
    )
    parser.add_argument("--output", type=Path, metavar="CSV", help="the table to write; without it, scans are listed")
    parser.add_argument("--segment", metavar="NAME", help="segment of the bleed, if a segmentation has several")
    parser.add_argument(
        "--segmentation", metavar="PATTERN", help="segmentation file, if a scan has several: *_reader1*"
    )
    parser.add_argument("--allow-empty", action="store_true", help="an empty segment means no hemorrhage, 0 mL")
    parser.add_argument("--skip-unusable", action="store_true", help="leave unusable scans out of the table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    folder = options.folder
    outcomes = Outcomes(options.outcomes)
    if options.output is not None:
        if options.outcomes is None:
            raise InputError(
                "A table of scans needs outcomes: expected --outcomes with patient_id and died, found none."
            )
        if options.output.suffix.lower() != ".csv":
            raise InputError(f"The output is a table: expected a name ending in .csv, found {options.output.name}.")
        check_file(options.output, is_manifest)
    with ShellProgress() as progress:
        found = find_labeled(folder, progress)
        if options.segmentation:
            found.alone = [(path, why) for path, why in found.alone if path.match(options.segmentation)]
        if not found.pairs and not found.scenes:
            raise InputError(f"{folder} contains no scan: expected DICOM, NIfTI, NRRD or MetaImage files or scenes.")
        entries, ids = [], {}
        total = len(found.pairs) + len(found.scenes)
        for n, pair in enumerate(found.pairs):
            progress(n / total, f"Measuring scan {n + 1} of {total}")
            entries.append(measure_pair(pair, options.segment, options.segmentation, options.allow_empty))
            ids[pair.scan.path] = pair.scan.patient_id
        for n, scene in enumerate(found.scenes, start=len(found.pairs)):
            progress(n / total, f"Measuring scan {n + 1} of {total}")
            entries += _measured_scene(scene, options)
        name_patients(entries, folder, outcomes, ids)
        check_twice(entries)
        print("\n".join(listing(entries, found, outcomes, folder)))
        if options.output is None:
            return
        good = [entry for entry in entries if not entry.problems]
        left = len(entries) - len(good) + len(found.alone) + len(found.unreadable)
        if not good or (left and not options.skip_unusable):
            raise InputError(
                f"Nothing was written: {left} of the files above cannot be used"
                + ("." if not good else "; correct them, or leave them out with --skip-unusable.")
            )
        check_output(options.output, good)
        write_manifest(good, options.output, progress)
    print(f"Table of scans: {options.output} ({len(good)} scans)")


def _measured_scene(path, options):
    try:
        from ..mrml.labeled_scenes import measure_scene
    except ImportError as error:
        raise DependencyError(
            f"Scenes are read by 3D Slicer's libraries: expected the package slicer-core, found none ({path.name})."
        ) from error
    return measure_scene(path, options.segment, options.allow_empty)
