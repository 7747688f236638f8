"""Correction of the network's volumes: a broken line between cube roots, and its inverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CUBE_ROOT_OFFSET_ML = 1.0
"""Added to both volumes before the cube root, which otherwise magnifies errors of a fraction of a milliliter."""
KNOTS_ML = (0.0, 1.5, 6.0, 30.0)
"""Predicted volumes at which the volume correction bends."""
LEAST_SLOPE = 0.1
"""Smallest slope of the volume correction, between cube roots."""
RESOLUTION_CM = 0.02
"""Residual below which the fit of the correction treats deviations as equal."""
ITERATIONS = 60
"""Of the fit of the correction, which converges in fewer."""


def patient_weights(patients: Sequence | None, count: int) -> np.ndarray:
    """Weight of each of `count` scans, 1 ÷ scans of its patient; without `patients`, one scan per patient.

    Returns
    -------
    ndarray of shape (count,)
        Its sum is the number of patients.
    """
    if patients is None:
        return np.ones(count)
    _, patient, scans = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return 1.0 / scans[patient]


def fit_correction(predicted_ml: np.ndarray, true_ml: np.ndarray, patients: Sequence | None = None) -> dict[str, Any]:
    """Fit the broken line of least absolute deviations, by iteratively reweighted least squares.

    Parameters
    ----------
    predicted_ml, true_ml : ndarray of shape (N,)
    patients : sequence of shape (N,), optional
        Patient of each scan; several scans of a patient count as one.

    Returns
    -------
    dict
        ``knots_cm``: cube roots before and after the correction; ``softening_ml``: added before the cube root.
    """
    predicted, true = (np.cbrt(volumes + CUBE_ROOT_OFFSET_ML) for volumes in (predicted_ml, true_ml))
    places = np.cbrt(np.array(KNOTS_ML) + CUBE_ROOT_OFFSET_ML)
    shares = np.stack([_broken_line(predicted, places, unit) for unit in np.eye(len(places))], axis=1)
    heights, weights = places, patient_weights(patients, len(true_ml))
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
