"""The scans of each head in a robustness run, one after the other.

For every scan, a generator yields its row of `readings.csv` and a function that takes this row and returns the scan
and, if the attention is to be compared with it, the hematoma's mask. If there is no such scan, `problem` states why,
and the function is None. `n` is the number of the head among those of its kind.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.scan.geometry import voxel_volume_mm3
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.simulation import (
    Anatomy,
    SimulationSettings,
    insert_hematoma,
    insert_mask,
    patient_seed,
    simulate_patient,
)
from ICHMultiTaskLib.simulation.hematoma import LARGEST_ML, LOCATIONS

from ...data.labels import read_mask
from ...data.manifest import Row, read_manifest
from .erasing import erase_hematoma
from .variations import REFERENCE, scan_variations, shifted

PARTS = ("simulated", "manifest", "anatomy")
SMALLEST_ML = 5.0
"""For smaller volumes, a change in percent is not meaningful."""
INSERTED_ML = (5.0, 80.0)
AS_IT_IS, ERASED, INSERTED, REAL_SHAPE = "as_it_is", "erased", "inserted", "real_shape"
SHAPES_ML = (4.0, 60.0)
"""Volumes of the inserted masks: percentage errors of smaller ones are large, and larger ones rarely fit."""
OFFSETS = {AS_IT_IS: 0, "offset_minus_6_hu": -6, "offset_plus_6_hu": 6}


def simulated_scans(n: int, seed: int, matrix: int) -> Iterator[tuple[dict, Callable | None]]:
    """A simulated patient with a bleed of at least 5 mL: reference scan, without the hematoma, and all variations."""
    chosen, tiny = _draw_patient(patient_seed(seed, n))
    of_patient = {
        "part": "simulated", "case": n, "patient_id": f"patient {n + 1}", "location": tiny.location,
        "volume_ml": tiny.volume_ml,
    }  # fmt: skip
    for name, scan, mask in scan_variations(chosen, matrix):
        yield of_patient | {"scan": name}, partial(_as_scanned, scan)
        if name == REFERENCE:
            yield of_patient | {"scan": ERASED}, partial(_erased, scan, mask)


def _as_scanned(scan, record):
    return scan, None


def _erased(scan, mask, record):
    return erase_hematoma(scan, mask), None


def _draw_patient(seed):
    """Seed of the first patient with a bleed of at least 5 mL in a sequence, and a tiny scan of that patient."""
    # The head and its bleed do not depend on the scan settings.
    settings = SimulationSettings(slices=2, matrix=32, bleed=True)
    for attempt in itertools.count():
        chosen = patient_seed(seed, attempt)
        patient = simulate_patient(chosen, settings)
        if patient.volume_ml >= SMALLEST_ML:
            return chosen, patient


def manifest_scans(n: int, row: Row) -> Iterator[tuple[dict, Callable | None]]:
    """A scan of a manifest, unchanged and with the hematoma erased."""
    record = {
        "part": "manifest", "case": n, "patient_id": row.patient_id, "location": row.extra.get("location", ""),
        "volume_ml": row.volume_ml, "scan": AS_IT_IS,
    }  # fmt: skip
    try:
        scan = read_head_ct(row.image)
        mask = read_mask(row.mask, scan)
    except ICHMultiTaskError as error:
        yield record | {"problem": str(error)}, None
        return
    yield record, partial(_as_scanned, scan)
    yield record | {"scan": ERASED}, partial(_erased, scan, mask)


def rows_with_mask(path: str | os.PathLike) -> list[Row]:
    """Rows of a manifest (or of its test split, if any) with a mask and at least 5 mL."""
    rows = read_manifest(path).rows
    rows = [row for row in rows if row.split == "test"] or rows
    rows = [row for row in rows if row.mask is not None and row.volume_ml >= SMALLEST_ML]
    if not rows:
        raise InputError(
            f"No hematoma can be erased: expected rows with a mask and a volume_ml of at least {SMALLEST_ML:g}, "
            f"found none in {path}."
        )
    return rows


def read_masks(folder: str | os.PathLike) -> list[tuple[float, Path]]:
    """Real hematomas of 4 to 60 mL, smallest first, from the segmentations in a folder.

    A mask is read again when it is inserted, since all masks of a data set may not fit into memory.

    Returns
    -------
    list of (float, Path)
        Volume in mL and file.

    Raises
    ------
    InputError
        If the folder is missing or contains no such mask.
    """
    folder = Path(folder)
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            segment = read_segments(path)[0]
        except InputError:
            continue  # not a segmentation
        volume = float(segment.mask.sum() * voxel_volume_mm3(segment.ijk_to_ras) / 1000.0)
        if SHAPES_ML[0] <= volume <= SHAPES_ML[1]:
            found.append((volume, path))
    if not found:
        raise InputError(
            f"No mask can be inserted: expected segmentations of {SHAPES_ML[0]:g} to {SHAPES_ML[1]:g} mL in {folder}, "
            "found none."
        )
    return sorted(found)


def anatomy_scans(
    n: int, path: Path, insertions: int, seed: int, masks: Sequence[tuple[float, Path]] = ()
) -> Iterator[tuple[dict, Callable | None]]:
    """A head CT without hemorrhage: unchanged, with shifted HU, and with inserted hematomas.

    It gets `insertions` simulated hematomas of 5 to 80 mL, and as many of the `masks` of real ones.
    """
    record = {"part": "anatomy", "case": n, "patient_id": path.name, "volume_ml": 0.0, "scan": AS_IT_IS}
    try:
        scan = read_head_ct(path)
    except ICHMultiTaskError as error:
        yield record | {"problem": str(error)}, None
        return
    for name, hu in OFFSETS.items():
        yield record | {"scan": name}, partial(_as_scanned, shifted(scan, hu))
    try:
        anatomy = Anatomy(scan)
    except ICHMultiTaskError as error:
        yield record | {"scan": INSERTED, "problem": str(error)}, None
        return
    for m, volume in enumerate(np.linspace(*INSERTED_ML, insertions)):
        load = partial(_with_hematoma, anatomy, float(volume), patient_seed(patient_seed(seed, n), m))
        yield record | {"scan": INSERTED, "volume_ml": float(volume)}, load
    for m in np.unique(np.linspace(0, len(masks) - 1, min(insertions, len(masks))).round().astype(int)):
        volume, path = masks[m]
        load = partial(_with_mask, anatomy, path, patient_seed(patient_seed(seed, n), int(m)))
        yield record | {"scan": REAL_SHAPE, "volume_ml": volume, "location": path.name}, load


def _with_hematoma(anatomy, volume_ml, seed, record):
    patient = _insert(anatomy, SimulationSettings(bleed=True, volume_ml=volume_ml), seed)
    record.update(volume_ml=patient.volume_ml, location=patient.location)
    return patient.head_ct, patient.mask


def _with_mask(anatomy, path, seed, record):
    segment = read_segments(path)[0]
    scan, mask, record["volume_ml"] = insert_mask(anatomy, segment.mask, segment.ijk_to_ras, seed)
    return scan, mask


def _insert(anatomy, settings, seed):
    """Insert a hematoma at a location that allows its volume; try another location if it does not fit this head."""
    places = [place for place in LOCATIONS if LARGEST_ML[place] >= settings.volume_ml]
    share = np.array([LOCATIONS[place] for place in places])
    rng = np.random.default_rng(seed)
    problem = None
    for place in rng.choice(places, len(places), replace=False, p=share / share.sum()):
        try:
            return insert_hematoma(anatomy, seed, replace(settings, location=str(place)))
        except InputError as error:
            problem = error
    raise problem
