"""Masks, and checks of the labels in a table of scans before hours of training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import first_few
from ICHMultiTaskLib.measures.labeled_scan import same_grid
from ICHMultiTaskLib.measures.segment import LARGEST_ML
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.identity import image_identity

from .manifest import Row

MASK_FACTOR = 10.0
"""Largest plausible ratio between a stated volume and that of the mask."""
MIN_ML = 1.0
"""Smaller volumes are not compared with their masks: a few voxels would make a large factor."""


def check_labels(rows: Sequence[Row], with_prognosis: bool = True) -> None:
    """Refuse a table with impossible labels.

    Parameters
    ----------
    rows : sequence of Row
        Training and validation rows.
    with_prognosis : bool
        Whether a prognosis is trained on the column `died`, which then needs both outcomes.

    Raises
    ------
    InputError
        With all problems at once.
    """
    problems = [*_volumes(rows), *_images(rows), *_masks(rows), *_outcomes(rows, with_prognosis)]
    if problems:
        raise InputError(f"{len(problems)} labels are impossible: " + "; ".join(problems) + ".")


def read_mask(path: Path, scan: HeadCT) -> np.ndarray:
    """Read the mask of a scan.

    Returns
    -------
    ndarray of bool, shape (K, J, I)
        Where any segment is.

    Raises
    ------
    InputError
        If it cannot be read, contains no labels (a map of probabilities) or is on another grid.
    """
    segments = read_segments(path)
    shape = segments[0].mask.shape
    if not same_grid(shape, segments[0].ijk_to_ras, scan):
        raise InputError(
            f"The mask {path.name} is not on the grid of its scan: expected {scan.hu.shape} voxels (k, j, i) at the "
            f"scan's positions, found {shape}."
        )
    return np.any([segment.mask for segment in segments], axis=0)


def check_mask_volume(row: Row, mask_ml: float) -> None:
    """Refuse a volume that does not fit the scan's mask.

    Raises
    ------
    InputError
    """
    smaller, larger = sorted((row.volume_ml, mask_ml))
    if larger >= MIN_ML and larger > MASK_FACTOR * smaller:
        raise InputError(
            f"volume_ml and mask do not match: expected volumes within a factor of {MASK_FACTOR:g}, found "
            f"{row.volume_ml:.1f} mL and a mask of {mask_ml:.1f} mL"
        )


def _volumes(rows):
    large = [row for row in rows if row.volume_ml > LARGEST_ML]
    if not large:
        return
    names = first_few([f"{row.patient_id} ({row.volume_ml:g})" for row in large])
    hint = "; are they in mm³?" if len(large) > len([row for row in rows if row.volume_ml > 0]) / 2 else ""
    yield f"volume_ml above {LARGEST_ML:g} mL in {len(large)} of {len(rows)} rows: {names}{hint}"


def _outcomes(rows, with_prognosis):
    by_patient = defaultdict(set)
    for row in rows:
        by_patient[row.patient_id].add(row.died)
    both = sorted(name for name, found in by_patient.items() if len(found) > 1)
    if both:
        yield f"died is both 0 and 1 for {', '.join(both)}"
    found = set().union(*by_patient.values())
    if with_prognosis and len(found) == 1:
        what = "no patient died" if found == {0} else "all patients died"
        yield f"{what} of {len(by_patient)}, so no prognosis can be learned (tasks=volume trains only the volume)"


def _images(rows):
    same = defaultdict(list)
    for row in rows:
        same[image_identity(row.image)].append(row)
    for copies in same.values():
        patients = sorted({row.patient_id for row in copies})
        volumes = sorted({row.volume_ml for row in copies})
        if len(patients) > 1:
            yield f"the same image is listed for {', '.join(patients)}: {copies[0].image.name}"
        elif len(volumes) > 1:
            texts = " and ".join(f"{volume:g}" for volume in volumes)
            yield f"one image of {patients[0]} has volumes of {texts} mL: {copies[0].image.name}"
        elif len(copies) > 1:
            yield f"one image of {patients[0]} is listed {len(copies)} times: {copies[0].image.name}"


def _masks(rows):
    same = defaultdict(list)
    for row in rows:
        if row.mask is not None and row.volume_ml > 0:  # all scans without a bleed may share an empty one
            same[row.mask.resolve()].append(row.patient_id)
    for mask, found in same.items():
        if len(patients := sorted(set(found))) > 1:
            yield f"the same mask is listed for {', '.join(patients)}: {mask.name}"
