"""The paper's tables, computed from the predictions of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit

from ICHMultiTaskLib.common.tables import parsed_number
from ICHMultiTaskLib.comparison.cohort import CohortComparison, compare
from ICHMultiTaskLib.comparison.cohort_columns import Cohort, Method
from ICHMultiTaskLib.comparison.statistics import count_deaths, with_intervals

from ..data.manifest import Row
from ..evaluation.delong import delong
from ..evaluation.metrics import auc, average_precision, prognosis_metrics
from .cohort import is_simulated
from .rows import OURS, SINGLE_PROGNOSIS
from .store import Fold

PAPER = {"mae_ml": 4.91, "mse_ml2": 51.92, "mape_percent": 43.00, "accuracy": 0.0566, "auc": 0.0568}
"""Values stated in the paper's text: its own network in Table 1, and the gain over a single task in Table 2. The tables
themselves are only available as pictures, whose other numbers cannot be recovered."""
RESAMPLES = 2000
PROGNOSIS = ("accuracy", "auc", "sensitivity", "specificity", "auprc", "brier")


def by_patient(rows: Sequence[Row], folds: Sequence[Fold], name: str) -> np.ndarray:
    """One column of the predictions, in the order of the manifest.

    Parameters
    ----------
    rows : sequence of Row
        Rows of the manifest; a patient may have several.
    folds : sequence of Fold
        All folds of one row of the reproduction.
    name : str
        Name of the column.

    Returns
    -------
    ndarray of shape (N,)
        NaN where there is no prediction.
    """
    found = {}
    for fold in folds:
        for record in fold.records:
            found.setdefault(record["patient_id"], []).append(record[name])
    taken = {patient: iter(values) for patient, values in found.items()}
    values = [next(taken.get(row.patient_id, iter(())), None) for row in rows]
    return np.array([np.nan if value is None else value for value in values], float)


def volume_table(
    rows: Sequence[Row],
    networks: Sequence[tuple[str, np.ndarray]],
    formulas: Mapping[str, np.ndarray],
    raters: Sequence[tuple[str, float | None, np.ndarray]],
    seed: int = 0,
) -> CohortComparison | None:
    """Table 1: every network, formula and rater against the reference volumes.

    Parameters
    ----------
    rows : sequence of Row
        Of the manifest.
    networks : list of (str, ndarray of shape (N,))
        Label and volumes in mL; the first is the one that all others are tested against.
    formulas : dict of str to ndarray of shape (N,)
        Volumes by other rules, such as the bedside formulas.
    raters : list of (str, float or None, ndarray of shape (N,))
    seed : int
        Of the bootstrap.

    Returns
    -------
    CohortComparison or None
        None if there are no measurements.
    """
    methods = [Method(label, "model", "", volumes) for label, volumes in networks]
    methods += [Method(label, "method", "", volumes) for label, volumes in formulas.items()]
    methods += [Method(label, "rater", "", volumes, years) for label, years, volumes in raters]
    if not methods:
        return None
    reference = np.array([row.volume_ml for row in rows], float)
    patients = tuple(row.patient_id for row in rows)
    cohort = Cohort(patients, reference, tuple(methods), len(rows) * is_simulated(rows), {}, ())
    return compare(cohort, seed, RESAMPLES)


def prognosis_table(rows: Sequence[Row], log_odds: Mapping[str, np.ndarray], seed: int = 0) -> dict:
    """Table 2: the prognosis of each network, and the multi-task network against the single-task one.

    Parameters
    ----------
    rows : sequence of Row
        Of the manifest.
    log_odds : dict of str to ndarray of shape (N,)
        Log odds of death, by name of the row of the reproduction.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `rows`: by name `metrics` and `intervals_95`, as returned by `prognosis_metrics`; `volume_auc`: of the true
        volume alone; `best_reachable_auc`: upper limit for simulated outcomes, else None; `difference` (multi-task −
        single-task): `patients`, each of `PROGNOSIS`, `intervals_95` and `delong`, or None.
    """
    died = np.array([row.died for row in rows], float)
    patients = np.array([row.patient_id for row in rows])
    best = np.array([_known_probability(row) for row in rows], float)
    found = {}
    for name, odds in log_odds.items():
        known = np.isfinite(odds)
        metrics, intervals = prognosis_metrics(expit(odds[known]), died[known], seed=seed, patients=patients[known])
        found[name] = {"metrics": metrics, "intervals_95": intervals}
    difference = None
    if OURS in log_odds and SINGLE_PROGNOSIS in log_odds:
        difference = _difference(log_odds[OURS], log_odds[SINGLE_PROGNOSIS], died, patients, seed)
    volume = np.array([row.volume_ml for row in rows], float)
    of_volume, reachable = (
        float(auc(score, died)) if np.isfinite(score).all() and 0 < died.sum() < len(died) else None
        for score in (volume, best)
    )
    return {"rows": found, "volume_auc": of_volume, "best_reachable_auc": reachable, "difference": difference}


def _difference(multi, single, died, patients, seed):
    known = np.isfinite(multi) & np.isfinite(single)
    multi, single, died = expit(multi[known]), expit(single[known]), died[known]
    counts = {"patients": len(set(patients[known].tolist())), "deaths": count_deaths(died, patients[known])}
    metrics, intervals = with_intervals(
        _differences, [multi, single, died], counts, seed, RESAMPLES, patients[known].tolist()
    )
    return metrics | {"intervals_95": intervals, "delong": delong(multi, single, died)}


def _differences(multi, single, died):
    of_multi, of_single = _measures(multi, died), _measures(single, died)
    return {name: of_multi[name] - of_single[name] for name in PROGNOSIS}


def _measures(probability, died):
    called, deaths = probability > 0.5, died.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": (called == died).mean(-1),
            "auc": auc(probability, died),
            "sensitivity": (called * died).sum(-1) / deaths,
            "specificity": (~called * (1 - died)).sum(-1) / (died.shape[-1] - deaths),
            "auprc": average_precision(probability, died),
            "brier": ((probability - died) ** 2).mean(-1),
        }


def _known_probability(row):
    value = parsed_number(row.extra.get("death_probability_image") or "", decimal_comma=True)
    return np.nan if value is None else value
