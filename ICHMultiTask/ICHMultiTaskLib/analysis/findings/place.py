"""Location of a marked bleed: side, region, and supra- or infratentorial.

The center of the bleed is expressed relative to the intracranial space. The limits of the regions were fitted
to simulated patients, whose locations are those of the clinical scores. For the accuracy see `Docs/user-guide.md`,
"Findings".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...measures.segment import TOUCHING

MIDLINE_MM = 3.5
"""A bleed with its center closer to the midline has no side."""
TENTORIUM_MM, SLOPE, FALL, FALL_FROM_MM = 2.0, 0.5, 0.2, -45.0
"""Height of the tentorium at the midline, its lateral slope, and its posterior slope behind this y."""
BEHIND_MM, PETROUS_SLOPE, PETROUS_MM = -25.0, 0.5, 12.0
"""Anterior limit (y) of the posterior fossa; beyond `PETROUS_MM` from the midline it lies farther back."""
BRAINSTEM = 13.0, (-40.0, -10.0), -13.0
"""Largest distance from the midline, range of y, upper limit of z."""
DEEP = 37.0, (-34.0, 28.0), (-12.0, 26.0)
"""Basal ganglia and thalamus: largest distance from the midline, ranges of y and z."""


@dataclass(frozen=True)
class Place:
    """Proposed location of the bleed, in the terms of the clinical scores.

    Attributes
    ----------
    side : str
        "left" or "right" of the patient, or "midline".
    location : str
        "lobar", "deep", "cerebellum" or "brainstem".
    infratentorial : bool
    """

    side: str
    location: str
    infratentorial: bool


def center_of(index: np.ndarray, points: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Center of the connected component with the most blood in the brain.

    Parameters
    ----------
    index : ndarray of shape (N, 3), int
        Array indices of the bleed's voxels.
    points : ndarray of shape (N, 3)
        Their coordinates.
    share : ndarray of shape (N,)
        Share of each voxel that lies in the brain, 0 to 1.

    Returns
    -------
    ndarray of shape (3,)
        In the coordinates of `points`.
    """
    index = tuple((index - index.min(0)).T)
    mask = np.zeros([int(i.max()) + 1 for i in index], bool)
    mask[index] = True
    weights = share + 1e-6
    parts = ndimage.label(mask, TOUCHING)[0][index]
    most = parts == np.bincount(parts, weights).argmax()
    return np.average(points[most], axis=0, weights=weights[most])


def place(x: float, y: float, z: float) -> Place:
    """Classify the location of a point.

    Parameters
    ----------
    x, y, z : float
        Atlas mm (RAS, origin at the anterior commissure).

    Returns
    -------
    Place
    """
    side, aside = "midline" if abs(x) < MIDLINE_MM else "right" if x > 0 else "left", abs(x)
    width, (back, front), top = BRAINSTEM
    if aside < width and back < y < front and z < top:
        return Place(side, "brainstem", True)
    tentorium = TENTORIUM_MM - SLOPE * aside - FALL * max(FALL_FROM_MM - y, 0.0)
    if y < BEHIND_MM - PETROUS_SLOPE * max(aside - PETROUS_MM, 0.0) and z < tentorium:
        return Place(side, "cerebellum", True)
    width, (back, front), (low, high) = DEEP
    deep = aside < width and back < y < front and low < z < high
    return Place(side, "deep" if deep else "lobar", False)
