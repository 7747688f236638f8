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


SOFTENING_ML = 1.0
"""Added to both volumes before the cube root, which would otherwise blow up errors of a fraction of a milliliter."""


def fit_volume_interval(predicted_ml, true_ml, coverage=0.9, edges_ml=(1.0, 10.0, 30.0)):
    """Split-conformal interval of the volume, by stratum of the predicted volume.

    The half width is the finite-sample quantile of |cube root of truth − cube root of prediction| (Lei et al. 2018,
    doi 10.1080/01621459.2017.1307116), `SOFTENING_ML` added to both, so that small and large bleeds get intervals in
    proportion.

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
        Of cases used neither for training nor for choosing the model.
    coverage : float
    edges_ml : sequence of float
        Predicted volumes up to which a stratum goes; one of fewer than 20 cases takes the quantile of all.

    Returns
    -------
    dict
        The bundle's `volume_interval`: `coverage`, `softening_ml` and `strata` of `up_to_ml` and `half_width_cm`.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    residuals = np.abs(np.cbrt(true_ml + SOFTENING_ML) - np.cbrt(predicted_ml + SOFTENING_ML))
    stratum = np.digitize(predicted_ml, edges_ml, right=True)
    strata = []
    for n, edge in enumerate([*edges_ml, None]):
        values = residuals[stratum == n] if (stratum == n).sum() >= 20 else residuals
        rank = min(int(np.ceil((len(values) + 1) * coverage)), len(values))
        strata.append({"up_to_ml": edge, "half_width_cm": float(np.sort(values)[rank - 1])})
    return {"coverage": coverage, "softening_ml": SOFTENING_ML, "strata": strata}


FEWEST_FOR_CORRECTION = 100
"""A line through fewer scans would move large bleeds by a tenth by chance."""


def fit_volume(predicted_ml, true_ml):
    """Straight line that takes the predicted volumes to the true ones, and the interval around it.

    Squared errors draw predictions toward the middle; the line, between cube roots with `SOFTENING_ML` added, takes
    that back. The residuals of the interval are of scans that had no part in their line (five-fold).

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
        As in `fit_volume_interval`; of fewer than `FEWEST_FOR_CORRECTION` the predictions stay as they are.

    Returns
    -------
    dict
        The bundle's `volume_interval` and `volume_correction`: `slope`, `offset_cm` and `softening_ml`, or None.
    """
    predicted_ml, true_ml = np.asarray(predicted_ml, dtype=float), np.asarray(true_ml, dtype=float)
    if len(true_ml) < FEWEST_FOR_CORRECTION:
        return {"volume_correction": None, "volume_interval": fit_volume_interval(predicted_ml, true_ml)}
    corrected, fold = np.empty_like(predicted_ml), np.arange(len(true_ml)) % 5
    for n in range(5):
        line = _fit_line(predicted_ml[fold != n], true_ml[fold != n])
        corrected[fold == n] = correct_volume(predicted_ml[fold == n], line)
    line = _fit_line(predicted_ml, true_ml)
    return {"volume_correction": line, "volume_interval": fit_volume_interval(corrected, true_ml)}


def _fit_line(predicted_ml, true_ml):
    roots = (np.cbrt(volumes + SOFTENING_ML) for volumes in (predicted_ml, true_ml))
    slope, offset = np.polyfit(*roots, 1)
    return {"slope": float(slope), "offset_cm": float(offset), "softening_ml": SOFTENING_ML}


def correct_volume(volume_ml, correction):
    """A predicted volume moved along the bundle's `volume_correction`, never below 0; as it is where that is None."""
    if not correction:
        return volume_ml
    softening = correction["softening_ml"]
    root = correction["slope"] * np.cbrt(np.asarray(volume_ml) + softening) + correction["offset_cm"]
    return np.maximum(root**3 - softening, 0.0)


def fit_prognosis(log_odds, died):
    """Temperature and bias which make the probability of death calibrated (Platt scaling).

    Parameters
    ----------
    log_odds, died : ndarray of shape (N,)
        `died` may hold probabilities, where a simulation knows them.

    Returns
    -------
    dict
        `temperature` and `bias`, as `ModelBundle.probability` uses them.
    """
    from sklearn.linear_model import LogisticRegression

    died = np.asarray(died, dtype=float)
    if 0 < died.sum() < died.size:
        # Each case counts as a death by its probability and as a survival by the rest.
        log_odds = np.tile(np.asarray(log_odds, dtype=float), 2)[:, None]
        outcome = np.repeat([1, 0], died.size)
        fit = LogisticRegression(C=np.inf).fit(log_odds, outcome, sample_weight=np.concatenate([died, 1.0 - died]))
        slope = float(fit.coef_[0, 0])
        if slope > 0:
            return {"temperature": 1.0 / slope, "bias": float(fit.intercept_[0])}
    # One outcome alone, or a head that has learned nothing or worse: the base rate is all that can honestly be said.
    return {"temperature": 1e6, "bias": float(np.log((died.sum() + 0.5) / (died.size - died.sum() + 0.5)))}
