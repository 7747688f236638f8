"""Conversion of the network's outputs to mL with an interval and to a probability, and their calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..common.errors import BundleError
from ..common.translation import tr as _
from .two_readings import fit_outline, joint_volume
from .volume_correction import CUBE_ROOT_OFFSET_ML, correct_volume, fit_correction, patient_weights

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


EDGES_ML = (1.0, 10.0, 30.0)
"""Upper limits, in predicted mL, of the strata of the interval; the last stratum has no upper limit."""
MIN_IN_STRATUM = 20
"""Patients per stratum; with fewer, the quantile depends on one or two of them."""
MIN_FOR_CORRECTION = 100
"""Patients; with fewer, chance would change the volumes of large bleeds by 10 %."""
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
    outlined_ml: np.ndarray | None = None,
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
    outlined_ml : ndarray of shape (N,), optional
        Outlined volumes, see `two_readings.joint_volume`. None: the volume is the network's reading alone.

    Returns
    -------
    dict
        `volume_correction`, `outline`, `volume_interval`, `temperature`, `bias`, and `notes`: sentences on what was not
        fitted.
    """
    start, notes = start or {}, []
    volume = {"volume_correction": None, "outline": None, "volume_interval": None}
    if predicted_ml is not None:
        volume = fit_volume(predicted_ml, true_ml, patients, start, outlined_ml)
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
        weight = patient_weights(patients, len(died))
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
    weight = patient_weights(patients, len(values))
    reached = np.cumsum(weight[order]) >= (weight.sum() + 1) * coverage - 1e-9
    return float(values[order][np.argmax(reached)])


def _count(patients, count):
    return count if patients is None else len(set(patients))


def fit_volume(
    predicted_ml: np.ndarray,
    true_ml: np.ndarray,
    patients: Sequence | None = None,
    start: Mapping[str, Any] | None = None,
    outlined_ml: np.ndarray | None = None,
) -> dict[str, Any]:
    """Fit a correction from the predicted volumes to the true ones, and the interval around it.

    Training shrinks predictions toward the mean, and reads a little blood where there is none. The correction reverses
    that: a broken line between cube roots with `CUBE_ROOT_OFFSET_ML` added, with knots at `KNOTS_ML`. It has the least
    absolute deviations (Koenker and Bassett 1978, doi 10.2307/1913643), which makes it the median of the true volumes:
    a bleed that was missed widens the interval, and does not change how others are read. The residuals of the interval
    are cross-fitted: of patients not used for the correction (five-fold).

    Parameters
    ----------
    predicted_ml, true_ml, patients, outlined_ml
        As in `fit_calibration`.
    start : dict, optional
        Calibration whose `volume_correction` and `outline` are kept if there are fewer than `MIN_FOR_CORRECTION`
        patients.

    Returns
    -------
    dict
        The bundle's `volume_correction` (`knots_cm` and `softening_ml`, or None), `outline` (see `fit_outline`, or
        None) and `volume_interval`.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    start = start or {}

    def fit(rows):
        of_rows = None if patients is None else np.asarray(patients)[rows]
        correction = fit_correction(predicted_ml[rows], true_ml[rows], of_rows)
        if outlined_ml is None:
            return {"volume_correction": correction, "outline": None}
        network_ml = correct_volume(predicted_ml[rows], correction)
        return {
            "volume_correction": correction,
            "outline": fit_outline(network_ml, outlined_ml[rows], true_ml[rows], of_rows),
        }

    def read(rows, fitted):
        network_ml = correct_volume(predicted_ml[rows], fitted["volume_correction"])
        return joint_volume(network_ml, outlined_ml[rows], fitted["outline"]) if fitted["outline"] else network_ml

    every = np.ones(len(true_ml), bool)
    if _count(patients, len(true_ml)) < MIN_FOR_CORRECTION:
        kept = None if outlined_ml is None else start.get("outline")
        fitted = {"volume_correction": start.get("volume_correction"), "outline": kept}
        volumes = read(every, fitted)
    else:
        fitted, fold = fit(every), _folds(patients, len(true_ml))
        volumes = np.empty_like(predicted_ml)
        for n in range(5):
            volumes[fold == n] = read(fold == n, fit(fold != n))
    return {**fitted, "volume_interval": fit_volume_interval(volumes, true_ml, patients=patients)}


def _folds(patients, count):
    """Fold of each scan, 0 to 4; all scans of a patient are in the same fold."""
    patient = np.arange(count) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    return patient % 5


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
    weight = patient_weights(patients, died.size)
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
    died, weight = np.asarray(died, dtype=float), patient_weights(patients, len(died))
    deaths = weight @ died
    return {"temperature": 1e6, "bias": float(np.log((deaths + 0.5) / (weight.sum() - deaths + 0.5)))}
