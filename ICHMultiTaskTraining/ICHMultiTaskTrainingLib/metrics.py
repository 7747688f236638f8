"""How good volumes and probabilities are, each with a bootstrap interval.

Every metric is computed along the last axis, so that all bootstrap resamples go through it at once. Where it is not
defined (one outcome only, no small bleed, …) it is NaN here and None in what the two public functions return.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import rankdata

SMALL_ML, SEVERE_ML = 5.0, 30.0
"""Below the first, percentages say little; from the second on, a bleed counts as large in the ICH score."""
RESAMPLES = 1000


def volume_metrics(predicted_ml, true_ml, low_ml=None, high_ml=None, seed=0):
    """Agreement of predicted with true hematoma volumes.

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
    low_ml, high_ml : ndarray of shape (N,), optional
        Bounds of the interval given for each prediction.
    seed : int
        Of the bootstrap.

    Returns
    -------
    metrics : dict of str to float, int or None
        `patients`, `mae_ml`, `mse_ml2`; `mape_percent` where the truth is above 0, `mape_percent_from_5_ml` from 5 mL;
        `mean_error_below_5_ml`: mean absolute error below 5 mL; `bias_ml`: mean of predicted − true;
        `limit_low_ml`, `limit_high_ml`: 95 % limits of agreement (Bland and Altman 1986); `icc`: ICC(2,1), absolute
        agreement (Shrout and Fleiss 1979); `r` (Pearson); `within_5_ml`, `within_20_percent` (of bleeds above 0),
        `misclassified_30_ml`: fractions; `no_bleed_below_1_ml`: fraction of scans without a bleed that read below
        1 mL; `interval_coverage` of all, `…_below_5_ml`, `…_5_to_30_ml`, `…_from_30_ml` by the true volume.
    intervals : dict of str to [float, float] or None
        95 % bootstrap percentile intervals over patients.
    """
    columns = [np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)]
    if low_ml is not None:
        columns += [np.asarray(low_ml, dtype=float), np.asarray(high_ml, dtype=float)]
    return _with_intervals(_volume, columns, {"patients": len(columns[0])}, seed)


def prognosis_metrics(probability, died, best_probability=None, seed=0):
    """Discrimination and calibration of the probability of death.

    Parameters
    ----------
    probability : ndarray of shape (N,)
    died : ndarray of shape (N,), 0 or 1
    best_probability : ndarray of shape (N,), optional
        The probability from which a simulated outcome was drawn, given what the image shows.
    seed : int
        Of the bootstrap.

    Returns
    -------
    metrics : dict of str to float, int or None
        `patients`, `deaths`, `auc`, `auprc` (average precision), `accuracy`, `sensitivity`, `specificity` (at a
        probability above 0.5), `brier`, `calibration_slope`, `calibration_intercept` (that of a slope of 1: calibration
        in the large; Van Calster et al. 2019, doi 10.1186/s12916-019-1466-7), `auc_best_reachable` where known.
    intervals : dict of str to [float, float] or None
        95 % bootstrap percentile intervals over patients; not of the calibration.
    """
    columns = [np.asarray(probability, dtype=float), np.asarray(died, dtype=float)]
    counts = {"patients": len(columns[0]), "deaths": int(columns[1].sum())}
    metrics, intervals = _with_intervals(_prognosis, columns, counts, seed)
    slope, intercept = calibration_line(*columns)
    metrics |= {"calibration_slope": slope, "calibration_intercept": intercept, "auc_best_reachable": None}
    if best_probability is not None:
        metrics["auc_best_reachable"] = _plain(auc(np.asarray(best_probability, dtype=float), columns[1]))
    return metrics, intervals


def auc(score, died):
    """Area under the ROC curve along the last axis: the Mann–Whitney statistic, ties counting half."""
    positives = died.sum(-1)
    negatives = died.shape[-1] - positives
    ranks = (rankdata(score, axis=-1) * died).sum(-1)
    return _divide(ranks - positives * (positives + 1) / 2, positives * negatives)


def average_precision(score, died):
    """Area under the precision-recall curve as a step function, along the last axis; as in scikit-learn."""
    order = np.argsort(-score, axis=-1, kind="stable")
    score, died = np.take_along_axis(score, order, -1), np.take_along_axis(died, order, -1)
    count = score.shape[-1]
    # Equal scores cross the threshold together: each takes the precision at the last of its equals.
    last = np.concatenate([score[..., 1:] != score[..., :-1], np.ones((*score.shape[:-1], 1), bool)], axis=-1)
    end = np.where(last, np.arange(count), count)
    end = np.minimum.accumulate(end[..., ::-1], axis=-1)[..., ::-1]
    precision = np.cumsum(died, -1) / np.arange(1, count + 1)
    return _divide((np.take_along_axis(precision, end, -1) * died).sum(-1), died.sum(-1))


def icc(predicted, true):
    """ICC(2,1) along the last axis: two-way random effects, absolute agreement, single measurement."""
    both = np.stack([predicted, true])
    count = both.shape[-1]
    grand = both.mean((0, -1), keepdims=True)
    rows, raters = both.mean(0, keepdims=True), both.mean(-1, keepdims=True)
    mean_square_rows = 2 * ((rows - grand) ** 2).sum((0, -1)) / max(count - 1, 1)
    mean_square_raters = count * ((raters - grand) ** 2).sum((0, -1))
    mean_square_error = ((both - rows - raters + grand) ** 2).sum((0, -1)) / max(count - 1, 1)
    return _divide(
        mean_square_rows - mean_square_error,
        mean_square_rows + mean_square_error + 2 * (mean_square_raters - mean_square_error) / count,
    )


def calibration_line(probability, died):
    """Slope of the outcome's log odds on the predicted ones, and the shift that makes their mean right.

    Returns
    -------
    slope, intercept : float or None
        1 and 0 where calibrated; None where there is one outcome only, the slope also where the prediction separates
        the outcomes completely.
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < died.sum() < len(died):
        return None, None
    log_odds = np.log(np.clip(probability, 1e-9, 1 - 1e-9))
    log_odds -= np.log1p(-np.clip(probability, 1e-9, 1 - 1e-9))
    intercept = brentq(lambda shift: (expit(log_odds + shift) - died).sum(), -60, 60)
    if auc(log_odds, died) in (0.0, 1.0) or np.ptp(log_odds) == 0:
        return None, intercept
    fit = LogisticRegression(C=np.inf, max_iter=1000).fit(log_odds[:, None], died)
    return float(fit.coef_[0, 0]), intercept


def _volume(predicted, true, low=None, high=None):
    error = predicted - true
    size = np.abs(error)
    bled = true > 0
    relative = _divide(size, true)
    bias = error.mean(-1)
    spread = error.std(-1, ddof=1) if error.shape[-1] > 1 else np.full(bias.shape, np.nan)
    metrics = {
        "mae_ml": size.mean(-1),
        "mse_ml2": (error**2).mean(-1),
        "mape_percent": 100 * _mean(relative, bled),
        "mape_percent_from_5_ml": 100 * _mean(relative, true >= SMALL_ML),
        "mean_error_below_5_ml": _mean(size, true < SMALL_ML),
        "bias_ml": bias,
        "limit_low_ml": bias - 1.96 * spread,
        "limit_high_ml": bias + 1.96 * spread,
        "icc": icc(predicted, true),
        "r": _correlation(predicted, true),
        "within_5_ml": (size <= 5).mean(-1),
        "within_20_percent": _mean(relative <= 0.2, bled),
        "misclassified_30_ml": ((predicted >= SEVERE_ML) != (true >= SEVERE_ML)).mean(-1),
        "no_bleed_below_1_ml": _mean(predicted < 1, ~bled),
    }
    if low is not None:
        inside = (low <= true) & (true <= high)
        metrics |= {
            "interval_coverage": inside.mean(-1),
            "interval_coverage_below_5_ml": _mean(inside, true < SMALL_ML),
            "interval_coverage_5_to_30_ml": _mean(inside, (true >= SMALL_ML) & (true < SEVERE_ML)),
            "interval_coverage_from_30_ml": _mean(inside, true >= SEVERE_ML),
        }
    return metrics


def _prognosis(probability, died):
    called = probability > 0.5
    return {
        "auc": auc(probability, died),
        "auprc": average_precision(probability, died),
        "accuracy": (called == died).mean(-1),
        "sensitivity": _mean(called, died == 1),
        "specificity": _mean(~called, died == 0),
        "brier": ((probability - died) ** 2).mean(-1),
    }


def _with_intervals(function, columns, counts, seed):
    metrics = counts | {name: _plain(value) for name, value in function(*columns).items()}
    rows = np.random.default_rng(seed).integers(0, len(columns[0]), (RESAMPLES, len(columns[0])))
    intervals = {}
    for name, values in function(*(column[rows] for column in columns)).items():
        values = values[np.isfinite(values)]
        # A resample may lack what the metric needs; where half of them do, the rest says nothing.
        enough = metrics[name] is not None and len(values) > RESAMPLES / 2
        intervals[name] = [float(v) for v in np.percentile(values, [2.5, 97.5])] if enough else None
    return metrics, intervals


def _mean(values, where):
    """Mean along the last axis of the values that count; NaN where none does."""
    return _divide(np.where(where, values, 0).sum(-1), where.sum(-1))


def _correlation(a, b):
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    return _divide((a * b).sum(-1), np.sqrt((a**2).sum(-1) * (b**2).sum(-1)))


def _divide(numerator, denominator):
    denominator = np.asarray(denominator, dtype=float)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)


def _plain(value):
    value = float(value)
    return value if np.isfinite(value) else None
