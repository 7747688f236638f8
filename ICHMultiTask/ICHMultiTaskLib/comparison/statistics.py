"""Agreement of volumes, intraclass correlation, bootstrap intervals and paired tests.

Metrics are computed along the last axis, so that all bootstrap resamples are processed at once. NaN marks a missing
volume; its patient is left out of the metrics that need it. An undefined metric (no bleed, one patient, …) is NaN in
arrays and None in dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..model.calibration import EDGES_ML

SMALL_ML, SEVERE_ML = 5.0, 30.0
"""Below the first, percentages mean little; from the second, a bleed counts as large in the ICH score."""
RESAMPLES = 1000


def volume_metrics(
    measured_ml: ArrayLike,
    reference_ml: ArrayLike,
    low_ml: ArrayLike | None = None,
    high_ml: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    patients: Sequence | None = None,
) -> tuple[dict[str, float | int | None], dict[str, list[float] | None]]:
    """Agreement of measured or predicted hematoma volumes with reference volumes.

    Parameters
    ----------
    measured_ml, reference_ml : ndarray of shape (N,)
        NaN if missing.
    low_ml, high_ml : ndarray of shape (N,), optional
        Bounds of the interval of each measured volume.
    seed, resamples : int
        Of the bootstrap. Calls with the same seed and N draw the same resamples, so that their results are paired.
    patients : sequence of shape (N,), optional
        As in `with_intervals`.

    Returns
    -------
    metrics : dict of str to float, int or None
        `patients` with both volumes and, if some have several, `scans`; `mae_ml`, `mse_ml2`; `mape_percent` for
        references above 0, `mape_percent_from_5_ml` from 5 mL; `mean_error_below_5_ml`: mean absolute error below 5 mL;
        `bias_ml`: mean of
        measured − reference; `limit_low_ml`, `limit_high_ml`: 95 % limits of agreement (Bland and Altman 1986); `icc`:
        see `icc`; `r` (Pearson); `within_5_ml`, `within_20_percent` (of bleeds above 0), `misclassified_30_ml`:
        fractions; `no_bleed_below_1_ml`: fraction of scans without a bleed measured below 1 mL; `interval_coverage`
        of all, and `…_up_to_1_ml`, `…_1_to_10_ml`, `…_10_to_30_ml`, `…_above_30_ml` by the measured volume, since the
        coverage is guaranteed per stratum of it.
    intervals : dict of str to [float, float] or None
        95 % bootstrap percentile intervals over patients.
    """
    columns = [np.asarray(measured_ml, dtype=float), np.asarray(reference_ml, dtype=float)]
    counts = count_patients(np.isfinite(columns[0] + columns[1]), patients)
    if low_ml is not None:
        columns += [np.asarray(low_ml, dtype=float), np.asarray(high_ml, dtype=float)]
    return with_intervals(_agreement, columns, counts, seed, resamples, patients)


def icc(*ratings: ArrayLike) -> np.ndarray:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement.

    Parameters
    ----------
    *ratings : ndarray of shape (..., N)
        Two or more raters of the same N patients; patients that one of them did not rate (NaN) are left out.

    Returns
    -------
    ndarray of shape (...)
        NaN if undefined.

    References
    ----------
    Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability. Psychol Bull 1979; 86:420.
    """
    ratings = np.stack([np.asarray(rating, dtype=float) for rating in ratings])
    known = np.isfinite(ratings).all(0)
    ratings = ratings - _lowest(np.where(known, ratings, np.inf).min(0), known)
    raters, patients = len(ratings), known.sum(-1)
    of_patient = ratings.mean(0)
    of_rater = mean_where(ratings, np.broadcast_to(known, ratings.shape))
    grand = of_rater.mean(0)
    between_patients = raters * _sum((of_patient - grand[..., None]) ** 2, known)
    between_raters = patients * ((of_rater - grand) ** 2).sum(0)
    residual = _sum((ratings - of_patient - of_rater[..., None] + grand[..., None]) ** 2, known).sum(0)
    mean_square_patients = divide(between_patients, patients - 1)
    mean_square_raters = between_raters / (raters - 1)
    mean_square_error = divide(residual, (patients - 1) * (raters - 1))
    return divide(
        mean_square_patients - mean_square_error,
        mean_square_patients
        + (raters - 1) * mean_square_error
        + divide(raters * (mean_square_raters - mean_square_error), patients),
    )


def compare_errors(
    first_ml: ArrayLike,
    second_ml: ArrayLike,
    reference_ml: ArrayLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
    patients: Sequence | None = None,
) -> dict[str, float | int | list[float] | None]:
    """Paired comparison of two methods by their errors against the same reference.

    Parameters
    ----------
    first_ml, second_ml, reference_ml : ndarray of shape (N,)
        NaN if missing; patients with all three are compared.
    seed, resamples : int
        Of the bootstrap.
    patients : sequence of shape (N,), optional
        As in `with_intervals`. The scans of a patient count as one in both tests, which assume independence: by the
        mean of their differences.

    Returns
    -------
    dict of str to float, int, list or None
        `patients`; `mae_difference_ml`: mean absolute error of the first − that of the second, and its 95 % bootstrap
        interval `mae_difference_ml_interval`; `wilcoxon_p`: two-sided signed-rank test of the absolute errors (Wilcoxon
        1945); `only_first_misclassified`, `only_second_misclassified`: patients whom only one of the two puts on the
        wrong side of 30 mL (of several scans, more of them), and their `mcnemar_p` (exact; McNemar 1947). A test is
        None if there is no patient or no difference in any patient.
    """
    from scipy.stats import binomtest, wilcoxon

    columns = [np.asarray(volumes, dtype=float) for volumes in (first_ml, second_ml, reference_ml)]
    known = np.isfinite(np.stack(columns)).all(0)
    counts = count_patients(known, patients)
    result, intervals = with_intervals(_error_difference, columns, counts, seed, resamples, patients)
    first, second, reference = (column[known] for column in columns)
    # Rounded, so that equal differences have equal ranks despite rounding errors.
    of_patients = None if patients is None else np.asarray(patients)[known]
    difference = np.abs(first - reference) - np.abs(second - reference)
    difference = np.round(_patient_means(difference, of_patients), 9)
    severe = reference >= SEVERE_ML
    first_wrong, second_wrong = (first >= SEVERE_ML) != severe, (second >= SEVERE_ML) != severe
    more_wrong = _patient_means(first_wrong.astype(float) - second_wrong, of_patients)
    only_first, only_second = int((more_wrong > 0).sum()), int((more_wrong < 0).sum())
    discordant = only_first + only_second
    return result | {
        "mae_difference_ml_interval": intervals["mae_difference_ml"],
        "wilcoxon_p": plain(wilcoxon(difference).pvalue) if difference.any() else None,
        "only_first_misclassified": only_first,
        "only_second_misclassified": only_second,
        "mcnemar_p": plain(binomtest(only_first, discordant).pvalue) if discordant else None,
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for multiple testing (Holm 1979); None, which means no test, stays None."""
    tested = sorted((p, n) for n, p in enumerate(p_values) if p is not None)
    corrected, highest = [None] * len(p_values), 0.0
    for rank, (p, n) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        corrected[n] = highest
    return corrected


def count_patients(known: np.ndarray, patients: Sequence | None = None) -> dict[str, int]:
    """Count the patients of the scans that are `known`, bool of shape (N,), and the scans if there are more.

    Returns
    -------
    dict of str to int
    """
    scans = int(known.sum())
    if patients is None or (count := len(set(np.asarray(patients)[known].tolist()))) == scans:
        return {"patients": scans}
    return {"patients": count, "scans": scans}


def count_deaths(died: np.ndarray, patients: Sequence | None = None) -> int:
    """Count the patients who died; `died` is 0 or 1 for each scan, of shape (N,)."""
    return count_patients(np.asarray(died) == 1, patients)["patients"]


def with_intervals(
    function: Callable[..., dict[str, np.ndarray]],
    columns: Sequence[np.ndarray],
    counts: dict[str, int],
    seed: int = 0,
    resamples: int = RESAMPLES,
    patients: Sequence | None = None,
) -> tuple[dict[str, float | int | None], dict[str, list[float] | None]]:
    """Metrics of a table and their 95 % bootstrap percentile intervals over its patients.

    Parameters
    ----------
    function : callable
        Takes the columns, each of shape (..., N), and returns a dict of str to ndarray of shape (...).
    columns : sequence of ndarray of shape (N,)
    counts : dict
        Added in front of the metrics.
    seed, resamples : int
    patients : sequence of shape (N,), optional
        Patient of each row. Patients are drawn with all their rows, which are correlated (cluster bootstrap, Davison
        and Hinkley 1997, section 3.8). None: one patient per row.

    Returns
    -------
    metrics : dict of str to float, int or None
    intervals : dict of str to [float, float] or None
        None if a metric is undefined on the table or on half of its resamples, or if there is only one patient.
    """
    metrics = counts | {name: plain(value) for name, value in function(*columns).items()}
    intervals = {}
    for name, values in _bootstrap(function, columns, seed, resamples, patients).items():
        values = values[np.isfinite(values)]
        # The metric may be undefined on some resamples; if it is on half of them, the rest is not representative.
        enough = metrics[name] is not None and counts.get("patients") != 1 and len(values) > resamples / 2
        intervals[name] = [float(v) for v in np.percentile(values, [2.5, 97.5])] if enough else None
    return metrics, intervals


def mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the values selected by `where`; NaN if none is."""
    return divide(_sum(values, where), where.sum(-1))


def divide(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """Quotient; NaN, without a warning, where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)


def plain(value: float | np.ndarray) -> float | None:
    """A number for JSON: None instead of NaN and infinity."""
    value = float(value)
    return value if np.isfinite(value) else None


def _bootstrap(function, columns, seed, resamples, patients=None):
    generator, count = np.random.default_rng(seed), len(columns[0])
    if patients is not None and len(set(patients)) < count:
        rows_of = [np.flatnonzero(np.asarray(patients) == name) for name in dict.fromkeys(patients)]
        parts = []
        for _ in range(resamples):  # one by one, since they differ in their number of rows
            drawn = generator.integers(0, len(rows_of), len(rows_of))
            rows = np.concatenate([rows_of[n] for n in drawn])[None]
            parts.append(function(*(column[rows] for column in columns)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    at_once = max(1, 2**17 // max(count, 1))  # keeps memory flat in the number of patients
    parts = []
    for start in range(0, resamples, at_once):
        rows = generator.integers(0, count, (min(at_once, resamples - start), count))
        parts.append(function(*(column[rows] for column in columns)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _patient_means(values, patients):
    """Mean of each patient's values, from one value per scan."""
    if patients is None:
        return values
    patient = np.unique(patients, return_inverse=True)[1]
    return np.bincount(patient, values) / np.bincount(patient)


def _agreement(measured, reference, low=None, high=None):
    error = measured - reference
    known = np.isfinite(error)
    size = np.abs(error)
    bled = known & (reference > 0)
    relative = divide(size, reference)
    bias = mean_where(error, known)
    spread = np.sqrt(divide(_sum((error - bias[..., None]) ** 2, known), np.maximum(known.sum(-1) - 1, 0)))
    # Rounded, so that 3.6 mL is within 20 % of 3 mL despite rounding errors.
    within_5, within_20 = np.round(size, 9) <= 5, np.round(relative, 9) <= 0.2
    metrics = {
        "mae_ml": mean_where(size, known),
        "mse_ml2": mean_where(error**2, known),
        "mape_percent": 100 * mean_where(relative, bled),
        "mape_percent_from_5_ml": 100 * mean_where(relative, known & (reference >= SMALL_ML)),
        "mean_error_below_5_ml": mean_where(size, known & (reference < SMALL_ML)),
        "bias_ml": bias,
        "limit_low_ml": bias - 1.96 * spread,
        "limit_high_ml": bias + 1.96 * spread,
        "icc": icc(measured, reference),
        "r": _correlation(measured, reference, known),
        "within_5_ml": mean_where(within_5, known),
        "within_20_percent": mean_where(within_20, bled),
        "misclassified_30_ml": mean_where((measured >= SEVERE_ML) != (reference >= SEVERE_ML), known),
        "no_bleed_below_1_ml": mean_where(measured < 1, known & (reference <= 0)),
    }
    if low is not None:
        inside = (low <= reference) & (reference <= high)
        known = known & np.isfinite(low) & np.isfinite(high)
        metrics["interval_coverage"] = mean_where(inside, known)
        low_edge, middle, high_edge = EDGES_ML
        stratum = np.digitize(measured, EDGES_ML, right=True)
        names = (
            f"up_to_{low_edge:g}_ml", f"{low_edge:g}_to_{middle:g}_ml", f"{middle:g}_to_{high_edge:g}_ml",
            f"above_{high_edge:g}_ml",
        )  # fmt: skip
        for n, name in enumerate(names):
            metrics[f"interval_coverage_{name}"] = mean_where(inside, known & (stratum == n))
    return metrics


def _error_difference(first, second, reference):
    difference = np.abs(first - reference) - np.abs(second - reference)
    return {"mae_difference_ml": mean_where(difference, np.isfinite(difference))}


def _correlation(a, b, where):
    a, b = (values - _lowest(values, where) for values in (a, b))
    a, b = (values - mean_where(values, where)[..., None] for values in (a, b))
    return divide(_sum(a * b, where), np.sqrt(_sum(a**2, where) * _sum(b**2, where)))


def _lowest(values, where):
    """Lowest of the values along the last axis, which is kept; without it, equal values leave no rounding errors."""
    return np.min(values, axis=-1, where=where, initial=np.inf, keepdims=True)


def _sum(values, where):
    return np.where(where, values, 0).sum(-1)
