"""Logistic regression of death on clinical variables, and on a model's predictions or features of one or more scans.

It is the baseline for networks with clinical inputs, and shows how much a second scan adds. On features it is the
prognosis head of a network whose frozen encoder is applied to each scan.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import counted
from ICHMultiTaskLib.common.tables import parsed_number, read_csv
from ICHMultiTaskLib.common.writing import check_folder, new_folder
from ICHMultiTaskLib.model.clinical import ClinicalInputs

from ..data.manifest import Row, read_manifest
from ..data.splits import draw_folds
from .evaluation import BEST_PROBABILITY, COLUMNS, known_record, write_evaluation
from .features import read_features
from .metrics import auc, prognosis_metrics

MIN_PATIENTS = 20
"""With fewer patients, no model is fitted."""
READ = ("predicted_volume_ml", "mortality_probability")
"""Columns of a model's predictions that are used."""
PENALTIES = tuple(10.0**n for n in range(-5, 2))
"""Inverse strengths of the penalty on the weights of features (scikit-learn's C): the one with the least log loss in
INNER_FOLDS folds of the patients of the fit is taken, since features are more than patients."""
INNER_FOLDS = 5


def logistic_baseline(
    manifest_path: str | os.PathLike,
    output: str | os.PathLike,
    clinical: Sequence[str] = (),
    readings: str | os.PathLike | None = None,
    scans: int = 1,
    folds: int = 5,
    seed: int = 0,
    features: str | os.PathLike | None = None,
    last: bool = False,
) -> dict:
    """Fit logistic regressions, and write their predictions for patients who were not used in the fit.

    Each patient with a bleed counts once. If the manifest marks test rows, the model is fitted on the other rows and
    predictions are written for the test rows only, as in `evaluate`; else it is cross-validated, as it is among the
    test rows if `readings` or `features` hold these alone, as `evaluate` writes them. Values are standardized on the
    patients of the fit. Missing values are replaced by the mean, with an indicator variable.

    From `features` of several scans, the predictors are the features of each and the last − the first: the prognosis
    head of a network that applies one frozen encoder to each scan.

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
    features : path, optional
        `features.npz` of `evaluate` on the same manifest, in place of `readings`.
    last : bool
        Use the last `scans` scans of each patient. Clinical values are always those of the first.

    Returns
    -------
    dict
        The content of `metrics.json`: `prognosis` and `intervals_95` as in `evaluate`, `auc_best_reachable` by column,
        of the last scan that is used (simulated cohorts only), and `from` (a description of the predictors).

    Raises
    ------
    InputError
    """
    if readings is not None and features is not None:
        raise InputError("A model's readings come from its features: expected one of both, found both.")
    kind = "readings" if readings is not None else "features" if features is not None else None
    if not clinical and kind is None:
        raise InputError(
            "There are no predictors: expected clinical columns, the predictions of a model, or both; found none."
        )
    if (scans > 1 or last) and kind is None:
        found = f"{scans} scans" if scans > 1 else "the last scans"
        raise InputError(
            f"Only the predictions of a model differ between scans: expected readings or features, found {found}."
        )
    if folds < 2:
        raise InputError(f"There are too few folds: expected at least 2, found {folds}.")
    inputs = [path for path in (manifest_path, readings, features) if path is not None]
    check_folder(output, "evaluation", overwrite=True, inputs=inputs)
    manifest = read_manifest(manifest_path)
    rows, read = manifest.rows, np.empty((len(manifest.rows), 0))
    if kind:
        path, readers = (readings, _readings) if kind == "readings" else (features, read_features)
        names, read = readers(path)
        rows = _rows_of(names, rows, path)
    most = max(Counter(row.patient_id for row in rows).values())
    if scans > most:
        raise InputError(f"No patient has so many scans: expected at most {most}, found {scans}.")
    patients = _patients(rows, read, scans, last, kind == "features")
    if len(patients) < MIN_PATIENTS:
        raise InputError(f"Too few patients with a bleed: expected at least {MIN_PATIENTS}, found {len(patients)}.")
    probability = {}
    for fitted, left in _parts([patient.first for patient in patients.values()], folds, seed):
        probability |= _fit(patients, fitted, left, clinical, kind, seed)
    records, first_rows = [], []
    for row in _test_rows(rows) or rows:
        first = row.patient_id in probability and patients[row.patient_id].first is row
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
        "auc_best_reachable": _best([patients[record["patient_id"]].last for record in done]),
        "from": _sentence(clinical, kind, scans, last),
        "data": f"{len(done)} patients with a bleed of {Path(manifest_path).name}",
        "simulated": any(row.extra.get("simulated") == "1" for row in manifest.rows),
    }
    with new_folder(output, "evaluation", overwrite=True, inputs=inputs) as folder:
        write_evaluation(records, metrics, folder, COLUMNS)
    return metrics


@dataclass(frozen=True)
class _Patient:
    """A patient with a bleed: rows of the first scan and of the last that is used, and the model's predictors."""

    first: Row
    last: Row
    values: np.ndarray


def _sentence(clinical, kind, scans, last):
    parts = [", ".join(clinical)] if clinical else []
    which = "last" if last else "first"
    if kind:
        what = "volume and probability" if kind == "readings" else "features"
        parts.append(f"the model's {what} in the {which} {f'{scans} scans' if scans > 1 else 'scan'}")
    return " and ".join(parts)


def _rows_of(names, rows, path):
    """The rows of a table of predictions, of whose patients are `names`: all rows of the manifest or the test rows."""
    test = _test_rows(rows)
    matching = [some for some in (rows, test) if names and names == [row.patient_id for row in some]]
    if not matching:
        some = f", or for each of its {len(test)} test rows" if 0 < len(test) < len(rows) else ""
        raise InputError(
            f"The predictions do not match this manifest: expected one row for each of its {len(rows)} rows{some}, in "
            f"order, as evaluate writes them, found {len(names)} in {path}."
        )
    return matching[0]


def _test_rows(rows):
    return [row for row in rows if row.split == "test"]


def _readings(path):
    """Patients, and cube root of the volume and log odds of death [N, 2]; NaN where there is no prediction."""
    table = read_csv(Path(path))
    table.require(("patient_id", *READ))
    names, found = [], []
    for _, record in table.records():
        volume, probability = (_reading(record, name, most) for name, most in zip(READ, (np.inf, 1.0)))
        odds = np.nan if probability is None else np.clip(probability, 1e-4, 1 - 1e-4)
        names.append(record["patient_id"])
        found.append((np.nan if volume is None else np.cbrt(volume), np.log(odds / (1 - odds))))
    return names, np.array(found, float)


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


def _patients(rows, read, scans, last, with_difference):
    """By patient with a bleed: a `_Patient`; values of missing scans are NaN."""
    by_patient = defaultdict(list)
    for n, row in enumerate(rows):
        hours = parsed_number(row.extra.get("onset_hours", "") or "", decimal_comma=True)
        by_patient[row.patient_id].append((np.inf if hours is None else hours, n))
    found = {}
    for patient, entries in by_patient.items():
        order = [n for _, n in sorted(entries)]
        if rows[order[0]].volume_ml > 0:
            used = order[-scans:] if last else order[:scans]
            values = np.full((scans, read.shape[1]), np.nan)
            values[: len(used)] = read[used]
            if with_difference and scans > 1:
                values = np.concatenate([values, values[-1:] - values[:1]])
            found[patient] = _Patient(rows[order[0]], rows[used[-1]], values.ravel())
    return found


def _parts(rows, folds, seed):
    """Pairs of patient sets: one to fit on, and one to predict."""
    test = {row.patient_id for row in rows if row.split == "test"}
    if test and len(test) < len({row.patient_id for row in rows}):
        return [({row.patient_id for row in rows} - test, test)]
    fold_of = draw_folds(rows, folds, seed)
    return [({p for p, n in fold_of.items() if n != fold}, {p for p, n in fold_of.items() if n == fold})
            for fold in range(folds)]  # fmt: skip


def _fit(patients, fitted, left, clinical, kind, seed):
    fitted, left = sorted(fitted), sorted(left)
    died = np.array([patients[p].first.died for p in fitted])
    least = 2 if kind == "features" else 1  # the penalty is chosen by predicting some of the patients from the others
    if min(died.sum(), len(died) - died.sum()) < least:
        deaths = sum(patient.first.died for patient in patients.values())
        raise InputError(
            f"The regression cannot be fitted: expected at least {counted(least, 'death')} and as many survivals among "
            f"the patients of each fit, found {counted(deaths, 'death')} of {len(patients)} patients in all."
        )
    columns = [_standardized(patients, fitted, left)] if kind else []
    if clinical:
        inputs = ClinicalInputs.fit(clinical, {p: patients[p].first.extra for p in fitted})
        columns.append([inputs.encode_all([patients[p].first.extra for p in names], names) for names in (fitted, left)])
    train, rest = (np.concatenate(parts, axis=1) for parts in zip(*columns))
    model = _regression(kind, died, seed).fit(train, died)
    return dict(zip(left, model.predict_proba(rest)[:, 1].tolist()))


def _regression(kind, died, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    model = LogisticRegression(max_iter=1000)
    if kind != "features":
        return model
    inner = StratifiedKFold(min(INNER_FOLDS, *np.bincount(died)), shuffle=True, random_state=seed)
    return GridSearchCV(model, {"C": PENALTIES}, scoring="neg_log_loss", cv=inner)


def _standardized(patients, fitted, left):
    """Predictors of both groups, standardized on the first.

    Missing values become the mean; predictors that some of the first group lack get indicators of known values.
    """
    tables = [np.stack([patients[p].values for p in names]) for names in (fitted, left)]
    known = np.isfinite(tables[0])
    some = known.any(0)
    filled = np.where(some, tables[0], 0.0)
    mean, spread = np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)
    scaled = [np.divide(table - mean, spread, out=np.zeros_like(table), where=spread > 0) for table in tables]
    lacking = some & ~known.all(0)
    return [
        np.concatenate([np.nan_to_num(part), np.isfinite(table[:, lacking])], axis=1)
        for part, table in zip(scaled, tables)
    ]


def _best(rows):
    """AUC of the probabilities from which the outcomes of a simulated cohort were drawn, by column."""
    died = np.array([row.died for row in rows])
    found = {}
    for column in BEST_PROBABILITY:
        values = [parsed_number(row.extra.get(column, "") or "", decimal_comma=True) for row in rows]
        if None not in values and 0 < died.sum() < len(died):
            found[column] = float(auc(np.array(values), died))
    return found
