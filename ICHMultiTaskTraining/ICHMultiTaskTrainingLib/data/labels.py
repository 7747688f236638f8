"""Labels that cannot be: what a table of scans says, held against itself before hours are spent on it."""

from collections import defaultdict
from collections.abc import Sequence

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.measures.labeled_scan import LARGEST_ML
from ICHMultiTaskLib.scan.identity import image_identity

from .manifest import Row

MASK_FACTOR = 10.0
"""A volume and that of its mask differ by less, however the mask was drawn."""
MIN_ML = 1.0
"""Volumes below it are not held against their masks, in which a few voxels make a factor."""


def check_labels(rows: Sequence[Row], with_prognosis: bool = True) -> None:
    """Refuse a table whose labels cannot be true.

    Parameters
    ----------
    rows : sequence of Row
        Those that train and validate.
    with_prognosis : bool
        Whether the column `died` is learned from.

    Raises
    ------
    InputError
        With everything that was found, all at once.
    """
    problems = [*_volumes(rows), *_images(rows)]
    if with_prognosis:
        problems += _outcomes(rows)
    if problems:
        raise InputError(f"{len(problems)} labels cannot be: " + "; ".join(problems) + ".")


def check_mask_volume(row: Row, mask_ml: float) -> None:
    """Refuse a volume that cannot be that of the scan's mask.

    Raises
    ------
    InputError
    """
    smaller, larger = sorted((row.volume_ml, mask_ml))
    if larger >= MIN_ML and larger > MASK_FACTOR * smaller:
        raise InputError(
            f"volume_ml and mask do not belong together: expected volumes within a factor of {MASK_FACTOR:g}, found "
            f"{row.volume_ml:.1f} mL and a mask of {mask_ml:.1f} mL"
        )


def _volumes(rows):
    large = [row for row in rows if row.volume_ml > LARGEST_ML]
    if not large:
        return
    names = ", ".join(f"{row.patient_id} ({row.volume_ml:g})" for row in large[:5]) + (", …" if len(large) > 5 else "")
    hint = "; are they in mm³?" if len(large) > len([row for row in rows if row.volume_ml > 0]) / 2 else ""
    yield f"volume_ml above {LARGEST_ML:g} mL in {len(large)} of {len(rows)} rows: {names}{hint}"


def _outcomes(rows):
    by_patient = defaultdict(set)
    for row in rows:
        by_patient[row.patient_id].add(row.died)
    both = sorted(name for name, found in by_patient.items() if len(found) > 1)
    if both:
        yield f"died is both 0 and 1 for {', '.join(both)}"
    found = set().union(*by_patient.values())
    if len(found) == 1:
        what = "no patient died" if found == {0} else "all patients died"
        yield f"{what} of {len(by_patient)}, so that no prognosis can be learned (tasks=volume trains the volume alone)"


def _images(rows):
    same = defaultdict(list)
    for row in rows:
        same[image_identity(row.image)].append(row)
    for copies in same.values():
        patients = sorted({row.patient_id for row in copies})
        volumes = sorted({row.volume_ml for row in copies})
        if len(patients) > 1:
            yield f"the same image stands under {', '.join(patients)}: {copies[0].image.name}"
        elif len(volumes) > 1:
            texts = " and ".join(f"{volume:g}" for volume in volumes)
            yield f"one image of {patients[0]} has volumes of {texts} mL: {copies[0].image.name}"
