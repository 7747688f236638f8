"""The reported volume from two readings of a bleed: the network's, and the volume outlined in the scan.

The two err for different reasons. The network reads a small grid of the whole head and is shrunk toward the volumes it
was trained on; the outline follows the borders in the scan, and takes what touches the bleed for bleed. Calibration
says how much each of them counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .volume_correction import CUBE_ROOT_OFFSET_ML, correct_volume, fit_correction, patient_weights

AGREEMENT = 2.0
"""The outline counts up to this multiple of the network's volume, and down to its inverse."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of the outline to choose from."""


def joint_volume(
    network_ml: float | np.ndarray, outlined_ml: float | np.ndarray, outline: Mapping[str, Any]
) -> float | np.ndarray:
    """Combine two readings of a volume.

    Parameters
    ----------
    network_ml : float or ndarray of shape (N,)
        The network's volumes, after `volume_correction`.
    outlined_ml : float or ndarray of shape (N,)
        Outlined volumes; NaN where nothing was outlined, or it is not certainly blood: then the network's volume stays.
    outline : dict
        The bundle's ``calibration.outline``: ``weight`` and ``correction``, see `fit_outline`.

    Returns
    -------
    float or ndarray of shape (N,)
        In mL, never below 0.
    """
    mean = _mean(network_ml, outlined_ml, outline["weight"])
    volume = np.where(np.isnan(outlined_ml), network_ml, correct_volume(mean, outline["correction"]))
    return volume if np.ndim(network_ml) else float(volume)


def _mean(network_ml, outlined_ml, weight):
    network_ml = np.asarray(network_ml, dtype=float)
    outlined_ml = np.clip(outlined_ml, network_ml / AGREEMENT, network_ml * AGREEMENT)
    network, outlined = (np.cbrt(volumes + CUBE_ROOT_OFFSET_ML) for volumes in (network_ml, outlined_ml))
    return ((1 - weight) * network + weight * outlined) ** 3 - CUBE_ROOT_OFFSET_ML


def fit_outline(
    network_ml: np.ndarray, outlined_ml: np.ndarray, true_ml: np.ndarray, patients: Sequence | None = None
) -> dict[str, Any]:
    """Fit how the readings are combined, on scans used neither to train nor to select the model.

    Parameters
    ----------
    network_ml, outlined_ml : ndarray of shape (N,)
        As in `joint_volume`.
    true_ml : ndarray of shape (N,)
    patients : sequence of shape (N,), optional
        As in `fit_calibration`.

    Returns
    -------
    dict
        ``weight``: of the outline, the one of `WEIGHTS` with the least mean absolute error in mL.
        ``correction``: of the mean, as `volume_correction`.
    """
    outlined = ~np.isnan(outlined_ml)
    network_ml, outlined_ml, true_ml = network_ml[outlined], outlined_ml[outlined], true_ml[outlined]
    patients = None if patients is None else np.asarray(patients)[outlined]
    of_scan = patient_weights(patients, len(true_ml))

    def fitted(weight):
        correction = fit_correction(_mean(network_ml, outlined_ml, weight), true_ml, patients)
        return {"weight": weight, "correction": correction}

    def error(outline):
        return of_scan @ np.abs(joint_volume(network_ml, outlined_ml, outline) - true_ml)

    return min(map(fitted, WEIGHTS), key=error)
