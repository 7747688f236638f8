"""Metrics of predicted probabilities of death, with bootstrap intervals; for volumes see `ICHMultiTaskLib.comparison`.

Every metric is computed along the last axis, for all bootstrap resamples at once. An undefined metric (only one
outcome, …) is NaN here and None in the result of `prognosis_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import rankdata

from ICHMultiTaskLib.comparison.statistics import (
    count_deaths,
    count_patients,
    divide,
    mean_where,
    plain,
    with_intervals,
)


def prognosis_metrics(
    probability: np.ndarray,
    died: np.ndarray,
    best_probability: np.ndarray | None = None,
    seed: int = 0,
    patients: Sequence | None = None,
) -> tuple[dict, dict]:
    """Discrimination and calibration of the probability of death.

    Parameters
    ----------
    probability : ndarray of shape (N,)
    died : ndarray of shape (N,), 0 or 1
    best_probability : ndarray of shape (N,), optional
        The probability that a simulated outcome was drawn from, given the image.
    seed : int
        Seed of the bootstrap.
    patients : sequence of shape (N,), optional
        As in `ICHMultiTaskLib.comparison.statistics.with_intervals`.

    Returns
    -------
    metrics : dict of str to float, int or None
        `patients`, `scans` (if some patients have several), `deaths` (patients), `auc`, `auprc` (average precision),
        `accuracy`, `sensitivity`, `specificity` (at a probability above 0.5), `brier`, `calibration_slope`,
        `calibration_intercept` (with a slope of 1: calibration-in-the-large; Van Calster et al. 2019, doi
        10.1186/s12916-019-1466-7), and for simulated outcomes `auc_best_reachable` and `calibration_slope_known`, both
        from the probabilities that the outcomes were drawn from.
    intervals : dict of str to [float, float] or None
        95 % bootstrap percentile intervals over patients; none for the calibration.
    """
    columns = [np.asarray(probability, dtype=float), np.asarray(died, dtype=float)]
    counts = count_patients(np.ones(len(columns[0]), bool), patients) | {"deaths": count_deaths(columns[1], patients)}
    metrics, intervals = with_intervals(_prognosis, columns, counts, seed, patients=patients)
    slope, intercept = calibration_line(*columns)
    metrics |= {"calibration_slope": slope, "calibration_intercept": intercept}
    metrics |= {"auc_best_reachable": None, "calibration_slope_known": None}
    if best_probability is not None:
        best_probability = np.asarray(best_probability, dtype=float)
        metrics["auc_best_reachable"] = plain(auc(best_probability, columns[1]))
        metrics["calibration_slope_known"], _ = calibration_line(columns[0], best_probability)
    return metrics, intervals


def auc(score: np.ndarray, died: np.ndarray) -> np.ndarray:
    """Area under the ROC curve along the last axis: the Mann–Whitney statistic, ties counting half."""
    positives = died.sum(-1)
    negatives = died.shape[-1] - positives
    ranks = (rankdata(score, axis=-1) * died).sum(-1)
    return divide(ranks - positives * (positives + 1) / 2, positives * negatives)


def average_precision(score: np.ndarray, died: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a step function, along the last axis; as in scikit-learn."""
    order = np.argsort(-score, axis=-1, kind="stable")
    score, died = np.take_along_axis(score, order, -1), np.take_along_axis(died, order, -1)
    count = score.shape[-1]
    # Equal scores cross the threshold together: each gets the precision at the last of them.
    last = np.concatenate([score[..., 1:] != score[..., :-1], np.ones((*score.shape[:-1], 1), bool)], axis=-1)
    end = np.where(last, np.arange(count), count)
    end = np.minimum.accumulate(end[..., ::-1], axis=-1)[..., ::-1]
    precision = np.cumsum(died, -1) / np.arange(1, count + 1)
    return divide((np.take_along_axis(precision, end, -1) * died).sum(-1), died.sum(-1))


def calibration_line(probability: np.ndarray, died: np.ndarray) -> tuple[float | None, float | None]:
    """Calibration slope (observed on predicted log odds) and intercept (calibration-in-the-large).

    Parameters
    ----------
    probability, died : ndarray of shape (N,)
        `died` may contain the probabilities that outcomes were drawn from; the slope then has no sampling error.

    Returns
    -------
    slope, intercept : float or None
        1 and 0 if calibrated; None with only one outcome. The slope is also None if the prediction separates the
        outcomes, whether or not a death and a survival share the value at the border: it is infinite then.
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < died.sum() < len(died):
        return None, None
    log_odds = np.log(np.clip(probability, 1e-9, 1 - 1e-9))
    log_odds -= np.log1p(-np.clip(probability, 1e-9, 1 - 1e-9))
    intercept = brentq(lambda shift: (expit(log_odds + shift) - died).sum(), -60, 60)
    spread = float(np.std(log_odds)) if np.ptp(log_odds) > 0 else 0.0
    if spread == 0 or (np.isin(died, (0, 1)).all() and _separates(log_odds, died == 1)):
        return None, intercept
    outcome, weight = np.repeat([1, 0], len(died)), np.concatenate([died, 1.0 - died])
    # Standardized, since the solver stops too early where the log odds hardly differ.
    values = np.tile((log_odds - log_odds.mean()) / spread, 2)[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(values, outcome, sample_weight=weight)
    return float(fit.coef_[0, 0]) / spread, intercept


def _separates(score, died):
    lived = ~died
    return score[lived].max() <= score[died].min() or score[died].max() <= score[lived].min()


def _prognosis(probability, died):
    called = probability > 0.5
    return {
        "auc": auc(probability, died),
        "auprc": average_precision(probability, died),
        "accuracy": (called == died).mean(-1),
        "sensitivity": mean_where(called, died == 1),
        "specificity": mean_where(~called, died == 0),
        "brier": ((probability - died) ** 2).mean(-1),
    }
