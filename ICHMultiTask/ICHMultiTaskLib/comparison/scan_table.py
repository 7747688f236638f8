"""A table of scans with the volumes of their segments and the outcomes of their patients, extended scan by scan.

`ichmultitask-train` trains and evaluates on it. Paths are relative to the table, and the scans are stored next to it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.names import safe_name
from ..common.progress import Progress
from ..common.tables import parsed_number, read_csv, write_csv
from ..common.translation import joined
from ..common.translation import tr as _
from ..measures.grids import resampled_mask
from ..measures.labeled_scan import Label, label_of
from ..measures.segment import Segment
from ..scan.head_ct import HeadCT
from ..scan.identity import image_identity
from ..simulation.writers import write_nifti

COLUMNS = ("patient_id", "image", "volume_ml", "died", "mask", "segment")
IMAGES, MASKS = "images", "masks"


@dataclass(frozen=True)
class Addition:
    """A scan that can be added to a table.

    Attributes
    ----------
    patient_id : str
    died : int
        1 if dead within 30 days.
    head_ct : HeadCT
    segment : Segment
    label : Label
    """

    patient_id: str
    died: int
    head_ct: HeadCT
    segment: Segment
    label: Label


@dataclass(frozen=True)
class Added:
    """Result of an addition: the new row, and the number of scans in the table."""

    row: dict
    scans: int


def check_addition(
    table: str | os.PathLike,
    patient_id: str,
    died: int | None,
    head_ct: HeadCT,
    segment: Segment,
    may_be_empty: bool = False,
) -> Addition:
    """Measure a segment and check that the scan can be added to a table.

    Parameters
    ----------
    table : path
        A CSV file; need not exist.
    patient_id : str
    died : int or None
        None: not known.
    head_ct : HeadCT
    segment : Segment
    may_be_empty : bool
        As in `label_of`.

    Returns
    -------
    Addition

    Raises
    ------
    InputError
        Lists all reasons why it cannot be added.
    """
    problems = []
    patient_id = patient_id.strip()
    if not patient_id:
        problems.append(_("the patient has no name in the table: expected an ID, found none"))
    if died not in (0, 1):
        problems.append(
            _("the outcome is not known: expected whether the patient died within 30 days, found no answer")
        )
    label = label_of(segment, head_ct, may_be_empty)
    problems += label.problems
    for row in _rows(table)[0]:
        if row["patient_id"] == patient_id and died in (0, 1) and row["died"] != str(died):
            problems.append(
                _("the table says another outcome of {patient_id}: expected {died}, found {given}").format(
                    patient_id=patient_id, died=row["died"], given=died
                )
            )
            break
    if problems:
        raise InputError(
            _("The scan cannot be added to the table: {problems}.").format(problems=joined("; ", problems))
        )
    return Addition(patient_id, int(died), head_ct, segment, label)


def add_scan(table: str | os.PathLike, addition: Addition, progress: Progress | None = None) -> Added:
    """Save a scan and its mask next to a table and add its row, completely or not at all.

    Parameters
    ----------
    table : path
    addition : Addition
    progress : callable (fraction, message), optional
        May raise Canceled; nothing is written then.

    Returns
    -------
    Added

    Raises
    ------
    InputError
        If the same image is in the table already.
    OutputError
    """
    table = Path(table)
    rows, columns = _rows(table)
    folders = [table.parent / name for name in (IMAGES, MASKS)]
    made = [folder for folder in folders if not folder.exists()]
    name = _unused_name(folders, addition.patient_id)
    image, mask = (folder / f"{name}.nii.gz" for folder in folders)
    try:
        for folder in made:
            folder.mkdir(parents=True)
        hu = np.rint(addition.head_ct.hu).astype(np.int16)
        inside = resampled_mask(addition.segment, addition.head_ct.ijk_to_ras, hu.shape)
        if progress:
            progress(0.3, _("Writing the scan"))
        write_labeled(image, mask, hu, inside, addition.head_ct.ijk_to_ras)
        _check_new(image, table, rows)
        row = {
            "patient_id": addition.patient_id,
            "image": image.relative_to(table.parent).as_posix(),
            "volume_ml": f"{addition.label.volume_ml:.4f}",
            "died": addition.died,
            "mask": mask.relative_to(table.parent).as_posix(),
            "segment": addition.segment.label,
        }
        if addition.head_ct.facts.simulated:
            row["simulated"] = 1
        if progress:
            progress(0.9, _("Writing the table"))
        write_csv(table, [*rows, row], [*columns, *(name for name in row if name not in columns)])
    except BaseException:
        for path in (image, mask):
            path.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
    return Added(row, len(rows) + 1)


def write_labeled(image: Path, mask: Path, hu: np.ndarray, inside: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Write a scan and its mask as NIfTI files, which contain no information about the patient.

    Parameters
    ----------
    image, mask : Path
    hu : ndarray of shape (K, J, I), int16
    inside : ndarray of shape (K, J, I), bool
    ijk_to_ras : ndarray of shape (4, 4)
    """
    write_nifti(hu, ijk_to_ras, image, "Head CT")
    write_nifti(inside.astype(np.uint8), ijk_to_ras, mask, "Hemorrhage")


def _rows(table):
    """Rows and columns of a table as stored; empty if there is no table yet."""
    table = Path(table)
    if not table.exists():
        if not table.name.lower().endswith(".csv"):
            raise InputError(
                _("The table of scans needs the ending .csv: expected such a name, found {name}.").format(
                    name=table.name
                )
            )
        return [], list(COLUMNS)
    found = read_csv(table)
    found.require(COLUMNS[:4])
    rows = [record for _, record in found.records()]
    for row in rows:  # the table will be written with decimal points and commas
        number = parsed_number(row["volume_ml"], found.decimal_comma)
        row["volume_ml"] = row["volume_ml"] if number is None else f"{number:g}"
    return rows, [name for name in found.header if name]


def _unused_name(folders, patient_id):
    base = safe_name(patient_id, "scan")
    taken = {path.name.casefold() for folder in folders if folder.is_dir() for path in folder.iterdir()}
    names = [base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))]
    return next(name for name in names if f"{name}.nii.gz".casefold() not in taken)


def _check_new(image, table, rows):
    identity = image_identity(image)
    for row in rows:
        other = table.parent / row["image"]
        if other != image and other.is_file() and image_identity(other) == identity:
            raise InputError(
                _("The scan is in the table already, as {image} of {patient_id}: expected each scan once.").format(
                    image=row["image"], patient_id=row["patient_id"]
                )
            )
