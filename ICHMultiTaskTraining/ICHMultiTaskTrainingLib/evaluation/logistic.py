"""Logistic regression of death on clinical variables, on a model's predictions for one or two scans, or on both.

It is the baseline for networks with clinical inputs, and shows how much a second scan adds.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import counted
from ICHMultiTaskLib.common.tables import parsed_number, read_csv
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.model.clinical import ClinicalInputs

from ..data.manifest import read_manifest
from ..data.splits import draw_folds
from .evaluation import BEST_PROBABILITY, COLUMNS, known_record, write_evaluation
from .metrics import auc, prognosis_metrics

MIN_PATIENTS = 20
"""With fewer patients, no model is fitted."""
READ = ("predicted_volume_ml", "mortality_probability")
"""Columns of a model's predictions that are used."""


def logistic_baseline(
    manifest_path: str | os.PathLike,
    output: str | os.PathLike,
    clinical: Sequence[str] = (),
    readings: str | os.PathLike | None = None,
    scans: int = 1,
    folds: int = 5,
    seed: int = 0,
) -> dict:
    """Fit logistic regressions, and write their predictions for patients who were not used in the fit.

    Each patient with a bleed counts once. If the manifest marks test rows, the model is fitted on the other rows and
    predictions are written for the test rows only, as in `evaluate`; else it is cross-validated, as it is among the
    test rows if `readings` holds these alone, as `evaluate` writes them. Values are standardized on the patients of
    the fit. Missing values are replaced by the mean, with an indicator variable.

    Parameters
    ----------
    manifest_path : path
    output : path
        New or empty folder, or that of an earlier evaluation; receives `predictions.csv`, one row per
        scan as in `evaluate`, and `metrics.json`.
    clinical : sequence of str
        Columns of the manifest that are listed in `ICHMultiTaskLib.common.clinical_variables.VARIABLES`.
    readings : path, optional
        `predictions.csv` of `evaluate` on the same manifest, for each scan's volume and probability; of all rows, or
        of the test rows.
    scans : int
        Number of scans to use of each patient, starting with the earliest by `onset_hours`.
    folds : int
    seed : int
        Seed of the folds and of the bootstrap.

    Returns
    -------
    dict
        The content of `metrics.json`: `prognosis` and `intervals_95` as in `evaluate`, `auc_best_reachable` by column
        (simulated cohorts only), and `from` (a description of the predictors).

    Raises
    ------
    InputError
    """
    if not clinical and readings is None:
        raise InputError(
            "There are no predictors: expected clinical columns, the predictions of a model, or both; found none."
        )
    if scans > 1 and readings is None:
        raise InputError(
            f"Only the predictions of a model differ between scans: expected readings, found {scans} scans."
        )
    if folds < 2:
        raise InputError(f"There are too few folds: expected at least 2, found {folds}.")
    manifest = read_manifest(manifest_path)
    rows, read = manifest.rows, [None] * len(manifest.rows)
    if readings is not None:
        rows, read = _readings(readings, rows)
    patients = _patients(rows, read, scans)
    if len(patients) < MIN_PATIENTS:
        raise InputError(f"Too few patients with a bleed: expected at least {MIN_PATIENTS}, found {len(patients)}.")
    probability = {}
    for fitted, left in _parts([first for first, _ in patients.values()], folds, seed):
        probability |= _fit(patients, fitted, left, clinical, readings is not None)
    records, first_rows = [], []
    for row in _test_rows(rows) or rows:
        first = row.patient_id in probability and patients[row.patient_id][0] is row
        records.append(known_record(row, bool(clinical)))
        if first:
            first_rows.append(len(records) - 1)
            records[-1]["mortality_probability"] = probability[row.patient_id]
            records[-1]["prognosis"] = "death" if probability[row.patient_id] > 0.5 else "survival"
    done = [records[n] for n in first_rows]
    metrics, intervals = prognosis_metrics(*(
        np.array([record[name] for record in done], float) for name in ("mortality_probability", "died")
    ), seed=seed)  # fmt: skip
    metrics = {
        "prognosis": metrics,
        "intervals_95": {"prognosis": intervals},
        "auc_best_reachable": _best([patients[record["patient_id"]][0] for record in done]),
        "from": _sentence(clinical, readings, scans),
        "data": f"{len(done)} patients with a bleed of {Path(manifest_path).name}",
        "simulated": any(row.extra.get("simulated") == "1" for row in manifest.rows),
    }
    with new_folder(output, "evaluation", overwrite=True, inputs=[manifest_path]) as folder:
        write_evaluation(records, metrics, folder, COLUMNS)
    return metrics


def _sentence(clinical, readings, scans):
    parts = [", ".join(clinical)] if clinical else []
    if readings is not None:
        parts.append(f"the model's volume and probability in the first {scans} scans" if scans > 1 else
                     "the model's volume and probability in the first scan")  # fmt: skip
    return " and ".join(parts)


def _readings(path, rows):
    """The rows of a table of predictions, all or the test rows, and what was predicted for each.

    That is the cube root of the volume and the log odds of death; None where there is no prediction.
    """
    table = read_csv(Path(path))
    table.require(("patient_id", *READ))
    records = [record for _, record in table.records()]
    test = _test_rows(rows)
    patients = [record["patient_id"] for record in records]
    matching = [some for some in (rows, test) if patients == [row.patient_id for row in some]]
    if not records or not matching:
        some = f", or for each of its {len(test)} test rows" if 0 < len(test) < len(rows) else ""
        raise InputError(
            f"The predictions do not match this manifest: expected one row for each of its {len(rows)} rows{some}, in "
            f"order, as evaluate writes them, found {len(records)} in {path}."
        )
    found = []
    for record in records:
        volume, probability = (_reading(record, name, most) for name, most in zip(READ, (np.inf, 1.0)))
        odds = None if probability is None else np.clip(probability, 1e-4, 1 - 1e-4)
        log_odds = None if odds is None else float(np.log(odds / (1 - odds)))
        found.append((None if volume is None else float(np.cbrt(volume)), log_odds))
    return matching[0], found


def _test_rows(rows):
    return [row for row in rows if row.split == "test"]


def _reading(record, name, most):
    """A prediction, or None where there is none."""
    text = (record[name] or "").strip()
    value = parsed_number(text)
    if text and (value is None or not 0 <= value <= most):
        raise InputError(
            f"The {name} of {record['patient_id']} cannot be used: expected a number from 0"
            f"{f' to {most:g}' if np.isfinite(most) else ''}, found {text!r}."
        )
    return value


def _patients(rows, read, scans):
    """By patient: the row of the first scan, and the concatenated predictions of the first `scans` scans."""
    by_patient = defaultdict(list)
    for n, row in enumerate(rows):
        hours = parsed_number(row.extra.get("onset_hours", "") or "")
        by_patient[row.patient_id].append((np.inf if hours is None else hours, n))
    found = {}
    for patient, entries in by_patient.items():
        order = [n for _, n in sorted(entries)]
        if rows[order[0]].volume_ml > 0:
            values = [value for n in order[:scans] for value in read[n] or (None, None)]
            found[patient] = rows[order[0]], values + [None] * (2 * scans - len(values))
    return found


def _parts(rows, folds, seed):
    """Pairs of patient sets: one to fit on, and one to predict."""
    test = {row.patient_id for row in rows if row.split == "test"}
    if test and len(test) < len({row.patient_id for row in rows}):
        return [({row.patient_id for row in rows} - test, test)]
    fold_of = draw_folds(rows, folds, seed)
    return [({p for p, n in fold_of.items() if n != fold}, {p for p, n in fold_of.items() if n == fold})
            for fold in range(folds)]  # fmt: skip


def _fit(patients, fitted, left, clinical, with_readings):
    from sklearn.linear_model import LogisticRegression

    fitted, left = sorted(fitted), sorted(left)
    died = np.array([patients[p][0].died for p in fitted])
    if len(set(died)) < 2:
        deaths = sum(first.died for first, _ in patients.values())
        raise InputError(
            "The regression cannot be fitted: expected at least one death and one survival among the patients of each "
            f"fit, found {counted(deaths, 'death')} of {len(patients)} patients in all."
        )
    columns = [_standardized(patients, fitted, left)] if with_readings else []
    if clinical:
        inputs = ClinicalInputs.fit(clinical, {p: patients[p][0].extra for p in fitted})
        columns.append([inputs.encode_all([patients[p][0].extra for p in names], names) for names in (fitted, left)])
    train, rest = (np.concatenate(parts, axis=1) for parts in zip(*columns))
    model = LogisticRegression(max_iter=1000).fit(train, died)
    return dict(zip(left, model.predict_proba(rest)[:, 1].tolist()))


def _standardized(patients, fitted, left):
    """Predictions of both groups, standardized on the first; missing values are 0, with indicators of known values."""
    tables = [np.array([[np.nan if v is None else v for v in patients[p][1]] for p in names], float).reshape(
        len(names), -1) for names in (fitted, left)]  # fmt: skip
    known = np.isfinite(tables[0]).any(0)
    mean = np.where(known, np.nanmean(np.where(known, tables[0], 0.0), axis=0), 0.0)
    spread = np.where(known, np.nanstd(np.where(known, tables[0], 0.0), axis=0), 0.0)
    scaled = [np.divide(table - mean, spread, out=np.zeros_like(table), where=spread > 0) for table in tables]
    return [np.concatenate([np.nan_to_num(part), np.isfinite(table)], axis=1) for part, table in zip(scaled, tables)]


def _best(rows):
    """AUC of the probabilities from which the outcomes of a simulated cohort were drawn, by column."""
    died = np.array([row.died for row in rows])
    found = {}
    for column in BEST_PROBABILITY:
        values = [parsed_number(row.extra.get(column, "") or "") for row in rows]
        if None not in values and 0 < died.sum() < len(died):
            found[column] = float(auc(np.array(values), died))
    return found
