"""Split patients into training and validation, once per run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import first_few
from ICHMultiTaskLib.common.writing import write_json

from .manifest import Row


def split_rows(
    rows: Sequence[Row], validation_fraction: float, seed: int, path: Path, fold: int | None = None, folds: int = 5
) -> dict[str, list[Row]]:
    """Rows for training and validation, drawn once: written to `path` on the first call, then read from it.

    Parameters
    ----------
    rows, validation_fraction, seed, fold, folds
        As in `draw_split`.
    path : Path

    Returns
    -------
    dict of str to list of Row
        "train" and "validation".

    Raises
    ------
    InputError
        As in `draw_split`.
    """
    if path.exists():
        return _rows_of(_recorded(path), rows)
    split = draw_split(rows, validation_fraction, seed, fold, folds)
    names = {name: sorted({row.patient_id for row in chosen}) for name, chosen in split.items()}
    write_json(path, names)
    return split


def draw_split(
    rows: Sequence[Row], validation_fraction: float, seed: int, fold: int | None = None, folds: int = 5
) -> dict[str, list[Row]]:
    """Rows for training and validation, split by patient, stratified by outcome and volume.

    Rows with "test" in the manifest's `split` column are left out. With a `fold` the others are cross-validated: that
    fold is used for validation; the manifest's `fold` column is followed if there is one. Without a `fold`, the `split`
    column is followed if it names validation rows; otherwise validation patients are drawn.

    Parameters
    ----------
    rows : sequence of Row
    validation_fraction : float
    seed : int
    fold : int or None
        From 0.
    folds : int
        Number of folds.

    Returns
    -------
    dict of str to list of Row
        "train" and "validation".

    Raises
    ------
    InputError
        If a patient would be in both sets or in two folds, a set would be empty, or the split column is filled in only
        some rows.
    """
    if fold is not None:
        return _rows_of(_fold(rows, fold, folds, seed), rows)
    return _rows_of(_declared(rows, validation_fraction, seed), rows)


def check_scans(path: Path, rows: Sequence[Row], files: Sequence[Path | None]) -> None:
    """Refuse to continue a run with other scans than it began with.

    Parameters
    ----------
    path : Path
        File of the split, where the scans are recorded when this is called first.
    rows : sequence of Row
    files : sequence of path or None
        Of `prepare_all`, named after the content of image and mask; None for a row that is left out.

    Raises
    ------
    InputError
        If an image or a mask has changed, or another scan is left out.
    """
    found = _recorded(path)
    names = [file and file.stem for file in files]
    before = found.get("prepared")
    if before is None:
        write_json(path, found | {"prepared": names})
    elif before != names:
        words = {None: "left out"}
        changed = [
            f"{row.patient_id} ({words.get(old, 'used')} then, {words.get(new, 'used with other content')} now)"
            for row, old, new in zip(rows, before, names)
            if old != new
        ]
        raise InputError(
            "The scans have changed since the run began: expected the same images and masks to continue it, found "
            f"{first_few(changed)}."
        )


def _recorded(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found | {name: list(found[name]) for name in ("train", "validation")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The run's patients cannot be read: expected the file of a split, found {path} ({error}). Restore it, or "
            "start the run in a new folder."
        ) from error


def _rows_of(names, rows):
    """The rows of each set's patients; the sets must be disjoint and large enough."""
    test = {row.patient_id for row in rows if row.split == "test"}
    sides = {"training": set(names["train"]), "validation": set(names["validation"]), "test": test}
    for first, second in combinations(sides, 2):
        both = sorted(sides[first] & sides[second])
        if both:
            raise InputError(
                f"Patients are in both {first} and {second}: expected each in one, found {', '.join(both)}."
            )
    split = {
        name: [row for row in rows if row.patient_id in sides[side]]
        for name, side in (("train", "training"), ("validation", "validation"))
    }
    for name, chosen in split.items():
        if len(chosen) < 2:
            raise InputError(f"Too few scans for {name}: expected at least 2, found {len(chosen)}.")
    return split


def _declared(rows, fraction, seed):
    """The sets given in the table; validation patients are drawn if it has none."""
    rows = [row for row in rows if row.split != "test"]
    unmarked = sorted({row.patient_id for row in rows if not row.split})
    if unmarked and len(unmarked) < len({row.patient_id for row in rows}):
        raise InputError(
            "The split column is incomplete: expected train, validation or test in every row, or test alone; found "
            f"none for {', '.join(unmarked)}."
        )
    if not any(row.split == "validation" for row in rows):
        return _drawn(rows, fraction, seed)
    return {name: sorted({row.patient_id for row in rows if row.split == name}) for name in ("train", "validation")}


def _drawn(rows, fraction, seed):
    names = _sorted_by_outcome(rows)
    count = max(1, round(fraction * len(names)))
    rng = np.random.default_rng(seed)
    validation = {names[rng.choice(block)] for block in np.array_split(np.arange(len(names)), count) if len(block)}
    return {"train": [n for n in names if n not in validation], "validation": sorted(validation)}


def _sorted_by_outcome(rows):
    """Patients sorted by outcome, then volume; drawing from each group of neighbors makes both sets similar."""
    patients = {}
    for row in rows:
        patients.setdefault(row.patient_id, row)
    return sorted(patients, key=lambda p: (patients[p].died, patients[p].volume_ml, p))


def _fold(rows, fold, folds, seed):
    rows = [row for row in rows if row.split != "test"]
    declared = any(row.extra.get("fold") for row in rows)
    fold_of = _declared_folds(rows, folds) if declared else draw_folds(rows, folds, seed)
    return {
        "train": sorted(name for name, n in fold_of.items() if n != fold),
        "validation": sorted(name for name, n in fold_of.items() if n == fold),
    }


def _declared_folds(rows, folds):
    fold_of = {}
    for row in rows:
        text = row.extra.get("fold", "")
        if not text.isdecimal() or int(text) >= folds:
            raise InputError(
                f"The fold column is unusable: expected a number from 0 to {folds - 1} in every row, found {text!r} "
                f"for {row.patient_id}."
            )
        if fold_of.setdefault(row.patient_id, int(text)) != int(text):
            raise InputError(f"A patient is in two folds: expected one, found another for {row.patient_id}.")
    return fold_of


def draw_folds(rows: Sequence[Row], folds: int, seed: int) -> dict[str, int]:
    """Fold of every patient, from 0; stratified by outcome and volume.

    Returns
    -------
    dict of str to int
    """
    names, rng = _sorted_by_outcome(rows), np.random.default_rng(seed)
    if len(names) < folds:
        raise InputError(f"Too few patients for the folds: expected at least {folds}, found {len(names)}.")
    order = [n for _ in range(0, len(names), folds) for n in rng.permutation(folds)]
    return dict(zip(names, map(int, order)))
