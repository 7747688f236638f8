"""Split patients into training and validation, once and for good."""

import json

import numpy as np

from ICHMultiTaskLib.errors import InputError


def split_rows(rows, validation_fraction, seed, path):
    """Rows for training and for validation, split by patient, stratified by outcome and volume.

    The manifest's own `split` column is followed where there is one (rows marked "test" are left out). The split is
    written to `path` on the first call and read from it afterwards.

    Returns
    -------
    dict of str to list of Row
        "train" and "validation".

    Raises
    ------
    InputError
        If a patient would be on both sides, or a side would be empty.
    """
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
    else:
        stored = _declared(rows) if any(row.split for row in rows) else _drawn(rows, validation_fraction, seed)
        path.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    both = set(stored["train"]) & set(stored["validation"])
    if both:
        raise InputError(
            f"Patients stand in both training and validation: expected each in one, found {', '.join(sorted(both))}."
        )
    split = {name: [row for row in rows if row.patient_id in set(stored[name])] for name in ("train", "validation")}
    for name, chosen in split.items():
        if len(chosen) < 2:
            raise InputError(f"Too few scans for {name}: expected at least 2, found {len(chosen)}.")
    return split


def _declared(rows):
    unknown = sorted({row.split for row in rows} - {"train", "validation", "test", ""})
    if unknown:
        raise InputError(f"The split column has unknown values: expected train, validation or test, found {unknown}.")
    return {name: sorted({row.patient_id for row in rows if row.split == name}) for name in ("train", "validation")}


def _drawn(rows, fraction, seed):
    patients = {}
    for row in rows:
        patients.setdefault(row.patient_id, []).append(row)
    # By outcome, then by volume; every stretch of neighbors gives its share, so both sides look alike.
    names = sorted(patients, key=lambda p: (patients[p][0].died, patients[p][0].volume_ml, p))
    count = max(1, round(fraction * len(names)))
    rng = np.random.default_rng(seed)
    validation = {names[rng.choice(block)] for block in np.array_split(np.arange(len(names)), count) if len(block)}
    return {"train": [n for n in names if n not in validation], "validation": sorted(validation)}
