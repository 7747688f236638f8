"""Conversion of the network's outputs to mL with an interval and to a probability, and their calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..common.errors import BundleError
from ..common.translation import tr as _

TARGETS = ("cube_root_ml", "cube_root_fraction", "fraction_percent")


def volume_to_output(volume_ml: float | np.ndarray, target: str, crop_volume_mm3: float | np.ndarray) -> np.ndarray:
    """Regression target for a hematoma volume.

    Parameters
    ----------
    volume_ml : float or ndarray
    target : str
        "cube_root_ml": cube root of mL (the paper); "cube_root_fraction": cube root of hematoma ÷ crop volume;
        "fraction_percent": hematoma ÷ crop volume in percent, which a global average pool can sum over its inputs.
    crop_volume_mm3 : float or ndarray
        Physical volume of the network's input.

    Returns
    -------
    ndarray

    Raises
    ------
    BundleError
        If the target is unknown.
    """
    volume_ml = np.asarray(volume_ml, dtype=float)
    if target == "cube_root_ml":
        return np.cbrt(volume_ml)
    fraction = volume_ml * 1000.0 / np.asarray(crop_volume_mm3, dtype=float)
    return np.cbrt(fraction) if target == "cube_root_fraction" else _percent(target) * fraction


def output_to_volume(output: float | np.ndarray, target: str, crop_volume_mm3: float | np.ndarray) -> np.ndarray:
    """Hematoma volume in mL from the regression output; the inverse of `volume_to_output`, never negative."""
    output = np.maximum(np.asarray(output, dtype=float), 0.0)
    if target == "cube_root_ml":
        return output**3
    crop_ml = np.asarray(crop_volume_mm3, dtype=float) / 1000.0
    return (output**3 if target == "cube_root_fraction" else output / _percent(target)) * crop_ml


def _percent(target):
    if target != "fraction_percent":
        raise BundleError(
            _("The model's target is unknown: expected one of {targets}, found {target!r}.").format(
                targets=", ".join(TARGETS), target=target
            )
        )
    return 100.0


CUBE_ROOT_OFFSET_ML = 1.0
"""Added to both volumes before the cube root, which otherwise magnifies errors of a fraction of a milliliter."""
EDGES_ML = (1.0, 10.0, 30.0)
"""Upper limits, in predicted mL, of the strata of the interval; the last stratum has no upper limit."""
MIN_IN_STRATUM = 20
"""Patients per stratum; with fewer, the quantile depends on one or two of them."""
MIN_FOR_CORRECTION = 100
"""Patients; with fewer, chance would change the volumes of large bleeds by 10 %."""
KNOTS_ML = (0.0, 1.5, 6.0, 30.0)
"""Predicted volumes at which the volume correction bends."""
LEAST_SLOPE = 0.1
"""Smallest slope of the volume correction, between cube roots."""
RESOLUTION_CM = 0.02
"""Residual below which the fit of the correction treats deviations as equal."""
ITERATIONS = 60
"""Of the fit of the correction, which converges in fewer."""
MIN_PER_OUTCOME = 10
"""Patients who died, and patients who survived; a slope from fewer is due to chance."""
AS_THE_NETWORK_SAYS = {"temperature": 1.0, "bias": 0.0}


def fit_calibration(
    predicted_ml: np.ndarray | None,
    true_ml: np.ndarray,
    log_odds: np.ndarray | None,
    died: np.ndarray,
    patients: Sequence | None = None,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit the `calibration` of a bundle, on scans used neither to train nor to select the model.

    Parameters
    ----------
    predicted_ml : ndarray of shape (N,) or None
        Uncorrected volumes from the network; None if it was not trained to measure volume.
    true_ml : ndarray of shape (N,)
    log_odds : ndarray of shape (N,) or None
        Log odds of death; None if the network was not trained to predict it.
    died : ndarray of shape (N,)
        0, 1 or a probability.
    patients : sequence of shape (N,), optional
        Patient of each scan; several scans of a patient count as one. None: one scan per patient.
    start : dict, optional
        Calibration to keep if there are too few scans to fit a new one.

    Returns
    -------
    dict
        `volume_correction`, `volume_interval`, `temperature`, `bias`, and `notes`: sentences on what was not fitted.
    """
    start, notes = start or {}, []
    volume = {"volume_correction": None, "volume_interval": None}
    if predicted_ml is not None:
        volume = fit_volume(predicted_ml, true_ml, patients, start.get("volume_correction"))
        if _count(patients, len(true_ml)) < MIN_FOR_CORRECTION and start.get("volume_correction"):
            notes.append(
                f"The earlier volume correction was kept: a new one needs at least {MIN_FOR_CORRECTION} patients."
            )
        if volume["volume_interval"] is None:
            notes.append(f"No interval: {_count(patients, len(true_ml))} patients are too few.")
    if log_odds is None:
        return {**volume, **_base_rate(died, patients), "notes": notes}
    prognosis = fit_prognosis(log_odds, died, patients)
    if prognosis is None:
        prognosis = AS_THE_NETWORK_SAYS | {key: start[key] for key in AS_THE_NETWORK_SAYS if key in start}
        weight = _weights(patients, len(died))
        deaths = float(weight @ np.asarray(died, dtype=float))
        notes.append(
            f"The earlier calibration of the probability was kept: expected at least {MIN_PER_OUTCOME} patients "
            f"of each outcome, found {deaths:.3g} deaths and {weight.sum() - deaths:.3g} survivals."
        )
    return {**volume, **prognosis, "notes": notes}


def fit_volume_interval(
    predicted_ml: np.ndarray,
    true_ml: np.ndarray,
    coverage: float = 0.9,
    edges_ml: Sequence[float] = EDGES_ML,
    patients: Sequence | None = None,
) -> dict[str, Any] | None:
    """Split-conformal interval of the volume, by stratum of the predicted volume.

    The half width is the finite-sample quantile of |cube root of truth − cube root of prediction| (Lei et al. 2018,
    doi 10.1080/01621459.2017.1307116), with `CUBE_ROOT_OFFSET_ML` added to both, so that the intervals of small and
    large bleeds are in proportion. Each stratum has its own quantile, so that the coverage holds in each; a stratum
    with too few patients is merged with its smaller neighbor. The scans of a patient share that patient's weight (Lee,
    Barber and Willett 2023, arXiv:2306.06342), so that the coverage holds for a scan of a new patient.

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
        Scans used neither to train nor to select the model.
    coverage : float
    edges_ml : sequence of float
        Upper limits of the strata of the predicted volume.
    patients : sequence of shape (N,), optional
        As in `fit_calibration`.

    Returns
    -------
    dict or None
        The bundle's `volume_interval`: `coverage`, `softening_ml` and `strata` of `up_to_ml`, `half_width_cm` and
        `patients`. None if there are too few patients: if ⌈(patients + 1) × coverage⌉ > patients.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    patients = np.arange(len(true_ml)) if patients is None else np.asarray(patients)
    residuals = np.abs(np.cbrt(true_ml + CUBE_ROOT_OFFSET_ML) - np.cbrt(predicted_ml + CUBE_ROOT_OFFSET_ML))
    stratum = np.digitize(predicted_ml, edges_ml, right=True)
    limits = [*edges_ml, None]
    members = [np.flatnonzero(stratum == n) for n in range(len(limits))]

    def count(rows):
        return len(np.unique(patients[rows]))

    while len(members) > 1:
        counts = [count(rows) for rows in members]
        small = [n for n, c in enumerate(counts) if c < MIN_IN_STRATUM or _rank(c, coverage) > c]
        if not small:
            break
        n = min(small, key=lambda n: counts[n])
        neighbor = min((m for m in (n - 1, n + 1) if 0 <= m < len(members)), key=lambda m: counts[m])
        low, high = sorted((n, neighbor))
        members[low : high + 1] = [np.concatenate([members[low], members[high]])]
        del limits[low]
    if _rank(count(members[0]), coverage) > count(members[0]):
        return None
    strata = [
        {
            "up_to_ml": limit,
            "half_width_cm": _quantile(residuals[rows], coverage, patients[rows]),
            "patients": count(rows),
        }
        for limit, rows in zip(limits, members)
    ]
    return {"coverage": coverage, "softening_ml": CUBE_ROOT_OFFSET_ML, "strata": strata}


def _rank(count, coverage):
    return int(np.ceil((count + 1) * coverage - 1e-9))  # 0.9 × 10 must not round up to 10


def _quantile(values, coverage, patients):
    """Conformal quantile over patients plus one; the scans of a patient share that patient's weight."""
    order = np.argsort(values, kind="stable")
    weight = _weights(patients, len(values))
    reached = np.cumsum(weight[order]) >= (weight.sum() + 1) * coverage - 1e-9
    return float(values[order][np.argmax(reached)])


def _weights(patients, count):
    """Weight of each scan, 1 ÷ scans of the patient, shape (N,); the sum is the number of patients."""
    if patients is None:
        return np.ones(count)
    _, patient, scans = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return 1.0 / scans[patient]


def _count(patients, count):
    return count if patients is None else len(set(patients))


def fit_volume(
    predicted_ml: np.ndarray,
    true_ml: np.ndarray,
    patients: Sequence | None = None,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit a correction from the predicted volumes to the true ones, and the interval around it.

    Training shrinks predictions toward the mean, and reads a little blood where there is none. The correction reverses
    that: a broken line between cube roots with `CUBE_ROOT_OFFSET_ML` added, with knots at `KNOTS_ML`. It has the least
    absolute deviations (Koenker and Bassett 1978, doi 10.2307/1913643), which makes it the median of the true volumes:
    a bleed that was missed widens the interval, and does not change how others are read. The residuals of the interval
    are cross-fitted: of patients not used for the correction (five-fold).

    Parameters
    ----------
    predicted_ml, true_ml, patients
        As in `fit_calibration`.
    start : dict, optional
        `volume_correction` to keep if there are fewer than `MIN_FOR_CORRECTION` patients.

    Returns
    -------
    dict
        The bundle's `volume_interval` and `volume_correction`: `knots_cm` and `softening_ml`, or None.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    if _count(patients, len(true_ml)) < MIN_FOR_CORRECTION:
        correction, corrected = start, correct_volume(predicted_ml, start)
    else:
        correction = _fit_correction(predicted_ml, true_ml, patients)
        corrected, fold = np.empty_like(predicted_ml), _folds(patients, len(true_ml))
        for n in range(5):
            others = fold != n
            of_others = None if patients is None else np.asarray(patients)[others]
            crosswise = _fit_correction(predicted_ml[others], true_ml[others], of_others)
            corrected[~others] = correct_volume(predicted_ml[~others], crosswise)
    return {
        "volume_correction": correction,
        "volume_interval": fit_volume_interval(corrected, true_ml, patients=patients),
    }


def _folds(patients, count):
    """Fold of each scan, 0 to 4; all scans of a patient are in the same fold."""
    patient = np.arange(count) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    return patient % 5


def _fit_correction(predicted_ml, true_ml, patients):
    """The broken line of least absolute deviations, by iteratively reweighted least squares."""
    predicted, true = (np.cbrt(volumes + CUBE_ROOT_OFFSET_ML) for volumes in (predicted_ml, true_ml))
    places = np.cbrt(np.array(KNOTS_ML) + CUBE_ROOT_OFFSET_ML)
    shares = np.stack([_broken_line(predicted, places, unit) for unit in np.eye(len(places))], axis=1)
    heights, weights = places, _weights(patients, len(true_ml))
    for _iteration in range(ITERATIONS):
        weighted = shares * (weights / np.maximum(np.abs(true - shares @ heights), RESOLUTION_CM))[:, None]
        # One more patient at each knot whose volume is read correctly, so that no knot depends on few.
        prior = np.eye(len(places)) / RESOLUTION_CM
        heights = np.linalg.solve(weighted.T @ shares + prior, weighted.T @ true + prior @ places)
    # A larger prediction never becomes a smaller volume.
    steps = np.maximum(np.diff(heights), LEAST_SLOPE * np.diff(places))
    heights = heights[0] + np.r_[0.0, np.cumsum(steps)]
    return {"knots_cm": np.stack([places, heights], axis=1).tolist(), "softening_ml": CUBE_ROOT_OFFSET_ML}


def _broken_line(values, places, heights):
    """Linear between the knots, and beyond the last one as between the last two."""
    slope = (heights[-1] - heights[-2]) / (places[-1] - places[-2])
    beyond = heights[-1] + slope * (values - places[-1])
    return np.where(values > places[-1], beyond, np.interp(values, places, heights))


def knots(correction: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Cube roots in cm at the knots of a `volume_correction`, before and after it; earlier versions have one line."""
    if "knots_cm" in correction:
        places, heights = np.array(correction["knots_cm"], float).T
        return places, heights
    places = np.array([0.0, 10.0])
    return places, correction["slope"] * places + correction["offset_cm"]


def is_increasing(values: np.ndarray) -> bool:
    """Whether there are at least two values, all finite, and each is larger than the one before."""
    return len(values) > 1 and bool(np.isfinite(values).all() and (np.diff(values) > 0).all())


def correct_volume(volume_ml: float | np.ndarray, correction: Mapping[str, Any] | None) -> float | np.ndarray:
    """Apply the bundle's `volume_correction` to a predicted volume, never below 0; without one it stays unchanged."""
    if not correction:
        return volume_ml
    softening = correction["softening_ml"]
    root = _broken_line(np.cbrt(np.asarray(volume_ml) + softening), *knots(correction))
    return np.maximum(root**3 - softening, 0.0)


def before_correction(volume_ml: float | np.ndarray, correction: Mapping[str, Any] | None) -> float | np.ndarray:
    """Invert `correct_volume`; never below 0."""
    if not correction:
        return volume_ml
    softening = correction["softening_ml"]
    places, heights = knots(correction)
    root = _broken_line(np.cbrt(np.asarray(volume_ml) + softening), heights, places)
    return np.maximum(root**3 - softening, 0.0)


def fit_prognosis(log_odds: np.ndarray, died: np.ndarray, patients: Sequence | None = None) -> dict[str, float] | None:
    """Fit temperature and bias that calibrate the probability of death (Platt scaling).

    The outcomes are smoothed as by Platt (1999, "Probabilistic outputs for support vector machines", section 2.2): a
    death counts (D + 1) ÷ (D + 2), a survival 1 ÷ (S + 2) of a death, where D and S are their numbers. This keeps the
    probabilities away from 0 and 1 if a few patients are separated perfectly.

    Parameters
    ----------
    log_odds, died : ndarray of shape (N,)
        `died` may hold probabilities, if known from a simulation.
    patients : sequence of shape (N,), optional
        As in `fit_calibration`.

    Returns
    -------
    dict or None
        `temperature` and `bias` for `ModelBundle.probability`; None if fewer than `MIN_PER_OUTCOME` patients
        died or survived.
    """
    from sklearn.linear_model import LogisticRegression

    log_odds, died = np.asarray(log_odds, dtype=float), np.asarray(died, dtype=float)
    weight = _weights(patients, died.size)
    deaths = weight @ died
    survivals = weight.sum() - deaths
    if min(deaths, survivals) < MIN_PER_OUTCOME:
        return None
    smoothed = died * (deaths + 1) / (deaths + 2) + (1 - died) / (survivals + 2)
    # Each patient counts as a death with the weight of its probability, and as a survival with the rest.
    outcome, weight = np.repeat([1, 0], died.size), np.concatenate([weight * smoothed, weight * (1 - smoothed)])
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    fit.fit(np.tile(log_odds, 2)[:, None], outcome, sample_weight=weight)
    slope = float(fit.coef_[0, 0])
    if slope > 0:
        return {"temperature": 1.0 / slope, "bias": float(fit.intercept_[0])}
    # The head has learned nothing: the base rate is the best estimate.
    return _base_rate(died, patients)


def _base_rate(died, patients):
    died, weight = np.asarray(died, dtype=float), _weights(patients, len(died))
    deaths = weight @ died
    return {"temperature": 1e6, "bias": float(np.log((deaths + 0.5) / (weight.sum() - deaths + 0.5)))}
