"""What the network's two outputs mean: mL with an interval, and a probability. The one place that says so."""

import numpy as np

from ..common.errors import BundleError

TARGETS = ("cube_root_ml", "cube_root_fraction", "fraction_percent")


def volume_to_output(volume_ml, target, crop_volume_mm3):
    """Regression target for a hematoma volume.

    Parameters
    ----------
    volume_ml : float or ndarray
    target : str
        "cube_root_ml": cube root of mL (the paper); "cube_root_fraction": cube root of hematoma ÷ crop volume;
        "fraction_percent": hematoma ÷ crop volume in percent, which a global average pool can add up from its parts.
    crop_volume_mm3 : float or ndarray
        Physical volume of the image that the network sees.
    """
    volume_ml = np.asarray(volume_ml, dtype=float)
    if target == "cube_root_ml":
        return np.cbrt(volume_ml)
    fraction = volume_ml * 1000.0 / np.asarray(crop_volume_mm3, dtype=float)
    return np.cbrt(fraction) if target == "cube_root_fraction" else _percent(target) * fraction


def output_to_volume(output, target, crop_volume_mm3):
    """Hematoma volume in mL from the regression output; the inverse of `volume_to_output`, never negative."""
    output = np.maximum(np.asarray(output, dtype=float), 0.0)
    if target == "cube_root_ml":
        return output**3
    crop_ml = np.asarray(crop_volume_mm3, dtype=float) / 1000.0
    return (output**3 if target == "cube_root_fraction" else output / _percent(target)) * crop_ml


def _percent(target):
    if target != "fraction_percent":
        raise BundleError(f"The model's target is unknown: expected one of {', '.join(TARGETS)}, found {target!r}.")
    return 100.0


CUBE_ROOT_OFFSET_ML = 1.0
"""Added to both volumes before the cube root, which would otherwise blow up errors of a fraction of a milliliter."""
EDGES_ML = (1.0, 10.0, 30.0)
"""Predicted volumes at which a stratum of the interval ends."""
FEWEST_IN_STRATUM = 20
"""Patients; the quantile of fewer rests on one or two of them."""
FEWEST_FOR_CORRECTION = 100
"""Patients; a line through fewer would move large bleeds by a tenth by chance."""
FEWEST_OF_EACH_OUTCOME = 10
"""Patients who died, and who survived; a slope through fewer is chance."""
AS_THE_NETWORK_SAYS = {"temperature": 1.0, "bias": 0.0}


def fit_calibration(predicted_ml, true_ml, log_odds, died, patients=None, start=None):
    """Everything that a bundle's `calibration` holds, from scans that neither trained nor chose the model.

    Parameters
    ----------
    predicted_ml : ndarray of shape (N,) or None
        As the network says them, not corrected; None: its volume was never trained.
    true_ml : ndarray of shape (N,)
    log_odds : ndarray of shape (N,) or None
        Of death; None: the prognosis was never trained.
    died : ndarray of shape (N,)
        0, 1 or a probability.
    patients : sequence of shape (N,), optional
        Whose scan each is; several scans of a patient count as one. None: a patient a scan.
    start : dict, optional
        The calibration that holds where the scans are too few for one of their own.

    Returns
    -------
    dict
        `volume_correction`, `volume_interval`, `temperature`, `bias`, and `notes`: sentences on what was not fitted.
    """
    start, notes = start or {}, []
    volume = {"volume_correction": None, "volume_interval": None}
    if predicted_ml is not None:
        volume = fit_volume(predicted_ml, true_ml, patients, start.get("volume_correction"))
        if _count(patients, len(true_ml)) < FEWEST_FOR_CORRECTION and start.get("volume_correction"):
            notes.append(
                "The volume correction is that of the start: of fewer than "
                f"{FEWEST_FOR_CORRECTION} patients none is fitted."
            )
        if volume["volume_interval"] is None:
            notes.append(f"No interval: {_count(patients, len(true_ml))} patients are too few for one.")
    if log_odds is None:
        return {**volume, **_base_rate(died, patients), "notes": notes}
    prognosis = fit_prognosis(log_odds, died, patients)
    if prognosis is None:
        prognosis = AS_THE_NETWORK_SAYS | {key: start[key] for key in AS_THE_NETWORK_SAYS if key in start}
        weight = _weights(patients, len(died))
        deaths = float(weight @ np.asarray(died, dtype=float))
        notes.append(
            "The probability is calibrated as it was before: expected at least "
            f"{FEWEST_OF_EACH_OUTCOME} patients of each outcome, found {deaths:.3g} deaths and "
            f"{weight.sum() - deaths:.3g} survivals."
        )
    return {**volume, **prognosis, "notes": notes}


def fit_volume_interval(predicted_ml, true_ml, coverage=0.9, edges_ml=EDGES_ML, patients=None):
    """Split-conformal interval of the volume, by stratum of the predicted volume.

    The half width is the finite-sample quantile of |cube root of truth − cube root of prediction| (Lei et al. 2018,
    doi 10.1080/01621459.2017.1307116), `CUBE_ROOT_OFFSET_ML` added to both, so that small and large bleeds get
    intervals in proportion. Each stratum has a quantile of its own, so that the coverage holds in each; one of too
    few patients is merged with its smaller neighbor. The scans of a patient share that patient's weight (Lee, Barber
    and Willett 2023, arXiv:2306.06342), so that the coverage holds for a scan of a new patient.

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
        Of cases used neither for training nor for choosing the model.
    coverage : float
    edges_ml : sequence of float
        Predicted volumes up to which a stratum goes.
    patients : sequence of shape (N,), optional
        As in `fit_calibration`.

    Returns
    -------
    dict or None
        The bundle's `volume_interval`: `coverage`, `softening_ml` and `strata` of `up_to_ml`, `half_width_cm` and
        `patients`. None where there are too few for the coverage: where ⌈(patients + 1) × coverage⌉ > patients.
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
        small = [n for n, c in enumerate(counts) if c < FEWEST_IN_STRATUM or _rank(c, coverage) > c]
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
    """Smallest value that holds `coverage` of the patients and one more, each of whose scans has an equal part."""
    order = np.argsort(values, kind="stable")
    weight = _weights(patients, len(values))
    reached = np.cumsum(weight[order]) >= (weight.sum() + 1) * coverage - 1e-9
    return float(values[order][np.argmax(reached)])


def _weights(patients, count):
    """Part of each scan in its patient, shape (N,); sums up to the number of patients."""
    if patients is None:
        return np.ones(count)
    _, patient, scans = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return 1.0 / scans[patient]


def _count(patients, count):
    return count if patients is None else len(set(patients))


def fit_volume(predicted_ml, true_ml, patients=None, start=None):
    """Straight line that takes the predicted volumes to the true ones, and the interval around it.

    Squared errors draw predictions toward the middle; the line, between cube roots with `CUBE_ROOT_OFFSET_ML` added,
    takes that back. The residuals of the interval are of patients who had no part in their line (five-fold).

    Parameters
    ----------
    predicted_ml, true_ml, patients
        As in `fit_calibration`.
    start : dict, optional
        The `volume_correction` that is kept where there are fewer than `FEWEST_FOR_CORRECTION` patients.

    Returns
    -------
    dict
        The bundle's `volume_interval` and `volume_correction`: `slope`, `offset_cm` and `softening_ml`, or None.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    if _count(patients, len(true_ml)) < FEWEST_FOR_CORRECTION:
        line, corrected = start, correct_volume(predicted_ml, start)
    else:
        line = _fit_line(predicted_ml, true_ml, patients)
        corrected, fold = np.empty_like(predicted_ml), _folds(patients, len(true_ml))
        for n in range(5):
            others = fold != n
            of_others = None if patients is None else np.asarray(patients)[others]
            crosswise = _fit_line(predicted_ml[others], true_ml[others], of_others)
            corrected[~others] = correct_volume(predicted_ml[~others], crosswise)
    return {
        "volume_correction": line,
        "volume_interval": fit_volume_interval(corrected, true_ml, patients=patients),
    }


def _folds(patients, count):
    """Fold of each scan, 0 to 4, all scans of a patient in one."""
    patient = np.arange(count) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    return patient % 5


def _fit_line(predicted_ml, true_ml, patients):
    roots = (np.cbrt(volumes + CUBE_ROOT_OFFSET_ML) for volumes in (predicted_ml, true_ml))
    # The square root, as polyfit squares its weights.
    slope, offset = np.polyfit(*roots, 1, w=np.sqrt(_weights(patients, len(true_ml))))
    return {"slope": float(slope), "offset_cm": float(offset), "softening_ml": CUBE_ROOT_OFFSET_ML}


def correct_volume(volume_ml, correction):
    """A predicted volume moved along the bundle's `volume_correction`, never below 0; as it is where that is None."""
    if not correction:
        return volume_ml
    softening = correction["softening_ml"]
    root = correction["slope"] * np.cbrt(np.asarray(volume_ml) + softening) + correction["offset_cm"]
    return np.maximum(root**3 - softening, 0.0)


def before_correction(volume_ml, correction):
    """The volume that `correct_volume` takes to `volume_ml`, never below 0: its inverse."""
    if not correction:
        return volume_ml
    softening = correction["softening_ml"]
    root = (np.cbrt(np.asarray(volume_ml) + softening) - correction["offset_cm"]) / correction["slope"]
    return np.maximum(root**3 - softening, 0.0)


def fit_prognosis(log_odds, died, patients=None):
    """Temperature and bias which make the probability of death calibrated (Platt scaling).

    The outcomes are smoothed as by Platt (1999, "Probabilistic outputs for support vector machines", section 2.2): a
    death counts (D + 1) ÷ (D + 2), a survival 1 ÷ (S + 2) of a death, D and S being their numbers. No probability
    then comes near 0 or 1 because a few patients were told apart.

    Parameters
    ----------
    log_odds, died : ndarray of shape (N,)
        `died` may hold probabilities, where a simulation knows them.
    patients : sequence of shape (N,), optional
        As in `fit_calibration`.

    Returns
    -------
    dict or None
        `temperature` and `bias`, as `ModelBundle.probability` uses them; None where fewer than
        `FEWEST_OF_EACH_OUTCOME` patients died or survived.
    """
    from sklearn.linear_model import LogisticRegression

    log_odds, died = np.asarray(log_odds, dtype=float), np.asarray(died, dtype=float)
    weight = _weights(patients, died.size)
    deaths = weight @ died
    survivals = weight.sum() - deaths
    if min(deaths, survivals) < FEWEST_OF_EACH_OUTCOME:
        return None
    smoothed = died * (deaths + 1) / (deaths + 2) + (1 - died) / (survivals + 2)
    # Each case counts as a death by its probability and as a survival by the rest.
    outcome, weight = np.repeat([1, 0], died.size), np.concatenate([weight * smoothed, weight * (1 - smoothed)])
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    fit.fit(np.tile(log_odds, 2)[:, None], outcome, sample_weight=weight)
    slope = float(fit.coef_[0, 0])
    if slope > 0:
        return {"temperature": 1.0 / slope, "bias": float(fit.intercept_[0])}
    # A head that has learned nothing or worse: the base rate is all that can honestly be said.
    return _base_rate(died, patients)


def _base_rate(died, patients):
    died, weight = np.asarray(died, dtype=float), _weights(patients, len(died))
    deaths = weight @ died
    return {"temperature": 1e6, "bias": float(np.log((deaths + 0.5) / (weight.sum() - deaths + 0.5)))}
