"""Split patients into training and validation, once and for good."""

import json
from itertools import combinations

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.writing import write_json


def split_rows(rows, validation_fraction, seed, path, fold=None, folds=5):
    """Rows for training and for validation, drawn once: written to `path` on the first call, read from it afterwards.

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
        As `draw_split`.
    """
    if path.exists():
        return _rows_of(json.loads(path.read_text(encoding="utf-8")), rows)
    split = draw_split(rows, validation_fraction, seed, fold, folds)
    names = {name: sorted({row.patient_id for row in chosen}) for name, chosen in split.items()}
    write_json(path, names)
    return split


def draw_split(rows, validation_fraction, seed, fold=None, folds=5):
    """Rows for training and for validation, split by patient, stratified by outcome and volume.

    Rows that the manifest's `split` column marks "test" are left out. With a `fold` the others are cross-validated:
    that fold is for validation, by the manifest's `fold` column where there is one. Without, the `split` column is
    followed where it names validation rows, and validation patients are drawn where it does not.

    Parameters
    ----------
    rows : sequence of Row
    validation_fraction : float
    seed : int
    fold : int or None
        From 0.
    folds : int
        Their number.

    Returns
    -------
    dict of str to list of Row
        "train" and "validation".

    Raises
    ------
    InputError
        If a patient would be on two sides or in two folds, a side would be empty, or the split column names a side in
        some rows only.
    """
    if fold is not None:
        return _rows_of(_fold(rows, fold, folds, seed), rows)
    return _rows_of(_declared(rows, validation_fraction, seed), rows)


def _rows_of(names, rows):
    """The rows of the patients on each side, after a check that the sides are apart and large enough."""
    test = {row.patient_id for row in rows if row.split == "test"}
    sides = {"training": set(names["train"]), "validation": set(names["validation"]), "test": test}
    for first, second in combinations(sides, 2):
        both = sorted(sides[first] & sides[second])
        if both:
            raise InputError(
                f"Patients stand in both {first} and {second}: expected each in one, found {', '.join(both)}."
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
    """The sides that the table names; who validates is drawn where it names nobody for that."""
    unknown = sorted({row.split for row in rows} - {"train", "validation", "test", ""})
    if unknown:
        raise InputError(f"The split column has unknown values: expected train, validation or test, found {unknown}.")
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
    names = _alike(rows)
    count = max(1, round(fraction * len(names)))
    rng = np.random.default_rng(seed)
    validation = {names[rng.choice(block)] for block in np.array_split(np.arange(len(names)), count) if len(block)}
    return {"train": [n for n in names if n not in validation], "validation": sorted(validation)}


def _alike(rows):
    """Patients by outcome, then by volume: every stretch of neighbors that gives its share makes both sides alike."""
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
            raise InputError(f"A patient stands in two folds: expected one, found another for {row.patient_id}.")
    return fold_of


def draw_folds(rows, folds, seed):
    """Fold of every patient, from 0; stratified by outcome and volume.

    Returns
    -------
    dict of str to int
    """
    names, rng = _alike(rows), np.random.default_rng(seed)
    if len(names) < folds:
        raise InputError(f"Too few patients to fold: expected at least {folds}, found {len(names)}.")
    order = [n for _ in range(0, len(names), folds) for n in rng.permutation(folds)]
    return dict(zip(names, map(int, order)))
