"""Location of a marked bleed: side, region, above or below the tentorium.

The center of the bleed is expressed relative to the intracranial space. The limits of the regions were set on simulated
patients, which have the locations of the clinical scores. How often they are right: `Docs/user-guide.md`, "Findings".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ...measures.segment import TOUCHING

MIDLINE_MM = 3.5
"""Closer to the midline no side is named."""
TENTORIUM_MM, SLOPE, FALL, FALL_FROM_MM = 2.0, 0.5, 0.2, -45.0
"""Height of the tentorium at the midline, its fall to the side, and its fall behind a y."""
BEHIND_MM, PETROUS_SLOPE, PETROUS_MM = -25.0, 0.5, 12.0
"""The posterior fossa begins at this y, and farther back beyond this distance from the midline."""
BRAINSTEM = 13.0, (-40.0, -10.0), -13.0
"""Largest distance from the midline, range of y, upper end."""
DEEP = 37.0, (-34.0, 28.0), (-12.0, 26.0)
"""Basal ganglia and thalamus: largest distance from the midline, ranges of y and z."""


class Place(NamedTuple):
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
    """Locate the center of the connected part that holds the most blood in the brain.

    Parameters
    ----------
    index : ndarray of shape (N, 3), int
        Of the bleed's voxels.
    points : ndarray of shape (N, 3)
        Where they lie.
    share : ndarray of shape (N,)
        How much each lies in the brain, 0 to 1.

    Returns
    -------
    ndarray of shape (3,)
        Among `points`.
    """
    index = tuple((index - index.min(0)).T)
    mask = np.zeros([int(i.max()) + 1 for i in index], bool)
    mask[index] = True
    weights = share + 1e-6
    parts = ndimage.label(mask, TOUCHING)[0][index]
    most = parts == np.bincount(parts, weights).argmax()
    return np.average(points[most], axis=0, weights=weights[most])


def place(x: float, y: float, z: float) -> Place:
    """Name the location of a point.

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
