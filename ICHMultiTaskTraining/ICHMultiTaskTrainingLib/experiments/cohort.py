"""Patients of a reproduction, simulated or from a hospital, with raters' and formulas' volumes of their hematomas."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.choices import Cohort
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.processes import in_processes
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.tables import parsed_number
from ICHMultiTaskLib.common.writing import write_json
from ICHMultiTaskLib.measures.formulas import DEFINITIONS_VERSION, FORMULAS
from ICHMultiTaskLib.measures.segment import Segment, measure
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.simulation import SimulationSettings, write_cohort
from ICHMultiTaskLib.simulation.cohort import RATERS
from ICHMultiTaskLib.simulation.raters import EXPERIENCE_YEARS

from ..data.cache import content_key
from ..data.manifest import Manifest, Row, read_manifest
from ..data.splits import draw_folds
from .presets import Preset

FOLDER = "cohort"
"""Folder of the simulated scans within that of the reproduction."""
FORMULAS_FILE = "formulas.json"


def the_manifest(
    folder: Path,
    preset: Preset,
    seed: int,
    manifest: str | os.PathLike | None = None,
    processes: int = 1,
    progress: Progress = NO_PROGRESS,
) -> Manifest:
    """Read the given table of scans, or simulate a cohort with the paper's composition.

    Parameters
    ----------
    folder : Path
        Folder of the reproduction. An interrupted simulation is continued.
    preset : Preset
    seed : int
        The same seed gives the same bytes on every machine.
    manifest : path, optional
    processes : int
    progress : callable (fraction, message)

    Returns
    -------
    Manifest
    """
    if manifest is None:
        settings = SimulationSettings(preset.slices, preset.matrix, composition=Cohort.PAPER.value)
        cohort = folder / FOLDER
        manifest = write_cohort(
            preset.patients,
            seed,
            cohort,
            settings=settings,
            processes=processes,
            progress=progress,
            deaths=preset.deaths,
        )
    return read_manifest(manifest)


def check_deaths(rows: Sequence[Row], folds: int) -> None:
    """Check that there are enough deaths and survivors for the folds.

    Parameters
    ----------
    rows : sequence of Row
        Rows of the manifest.
    folds : int

    Raises
    ------
    InputError
        If a fold would have no patient who died, or none who survived, to hold out.
    """
    used = [row for row in rows if row.split != "test"]
    left_out = f" ({len(rows) - len(used)} rows of the split test are not used)" if len(used) < len(rows) else ""
    for outcome, word in ((1, "deaths"), (0, "survivors")):
        found = len({row.patient_id for row in used if row.died == outcome})
        if found < folds:
            raise InputError(
                f"Too few {word} for {folds} folds: expected at least {folds} patients, one to be held out in each, "
                f"found {found}{left_out}. Take fewer folds (--folds, at least 2) or more patients."
            )


def fold_of(rows: Sequence[Row], folds: int, seed: int) -> dict[str, int]:
    """Fold of each patient, assigned as in the trainer; see `draw_folds`."""
    declared = {row.patient_id: row.extra.get("fold") for row in rows if row.split != "test"}
    if any(declared.values()):
        return {name: int(fold) for name, fold in declared.items()}
    return draw_folds([row for row in rows if row.split != "test"], folds, seed)


def held_out_patients(rows: Sequence[Row], folds: int, seed: int) -> list[list[str]]:
    """Patient of each scan that a fold holds out, by fold, in the order of the manifest."""
    fold = fold_of(rows, folds, seed)
    return [[row.patient_id for row in rows if fold.get(row.patient_id) == n] for n in range(folds)]


def median_of_others(rows: Sequence[Row], folds: int, seed: int) -> np.ndarray:
    """Volume that is guessed without an image: the median of the patients that are not in the same fold.

    Parameters
    ----------
    rows : sequence of Row
        Without those of the split "test".
    folds, seed : int
        As in `fold_of`.

    Returns
    -------
    ndarray of shape (N,)
        In mL.
    """
    held_out = fold_of(rows, folds, seed)
    fold, volumes = np.array([held_out[row.patient_id] for row in rows]), np.array([row.volume_ml for row in rows])
    return np.array([np.median(volumes[fold != own]) for own in fold])


def is_simulated(rows: Sequence[Row]) -> bool:
    """Whether any patient is simulated."""
    return any(row.extra.get("simulated") == "1" for row in rows)


def rater_volumes(rows: Sequence[Row]) -> list[tuple[str, float | None, np.ndarray]]:
    """Volumes that the raters in the manifest measured.

    Returns
    -------
    list of (str, float or None, ndarray of shape (N,))
        Name; years of experience, if the rater is simulated; volumes in mL, NaN where missing.
    """
    found = []
    kind = "Simulated rater" if is_simulated(rows) else "Rater"
    for number, (column, years) in enumerate(zip(RATERS, EXPERIENCE_YEARS, strict=True), start=1):
        texts = [row.extra.get(column, "") for row in rows]
        values = [parsed_number(text, decimal_comma=True) for text in texts]
        volumes = np.array([np.nan if value is None else value for value in values], float)
        if np.isfinite(volumes).any():
            found.append((f"{kind} {number}", years if is_simulated(rows) else None, volumes))
    return found


def formula_volumes(
    rows: Sequence[Row], folder: Path, processes: int = 1, progress: Progress = NO_PROGRESS
) -> dict[str, np.ndarray]:
    """Volumes by the bedside formulas, measured on the masks and cached in a file, since that takes a while.

    Parameters
    ----------
    rows : sequence of Row
    folder : Path
        Folder of the reproduction.
    processes : int
    progress : callable (fraction, message)

    Returns
    -------
    dict of str to ndarray of shape (N,)
        Volumes in mL by formula, NaN for rows without a mask; empty if no row has a mask.
    """
    if not any(row.mask for row in rows):
        return {}
    path, version = folder / FORMULAS_FILE, [DEFINITIONS_VERSION, "by content", list(FORMULAS)]
    stored = _stored(path, version)
    # By content, since the masks of a hospital may all have one name, and may be drawn anew.
    keys = [row.mask and content_key(row.mask, {}) for row in rows]
    missing = {key: row.mask for key, row in zip(keys, rows) if key and key not in stored}
    for done, (number, measured) in enumerate(in_processes(_measured, list(missing.values()), processes), 1):
        stored[list(missing)[number]] = measured
        progress(done / len(missing), "Bedside formulas")
    if missing:
        write_json(path, {"version": version, "volumes_ml": stored})
    empty = dict.fromkeys(FORMULAS, np.nan)
    return {name: np.array([stored.get(key, empty)[name] for key in keys]) for name in FORMULAS}


def _stored(path, version):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["volumes_ml"] if found["version"] == version else {}
    except (OSError, ValueError, KeyError):
        return {}


def _measured(path):
    segments = read_segments(path)
    mask = np.any([segment.mask for segment in segments], axis=0)
    if not mask.any():
        return dict.fromkeys(FORMULAS, 0.0)
    return dict(measure(Segment("hematoma", mask, segments[0].ijk_to_ras)).formulas_ml)
