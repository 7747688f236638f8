"""Bedside measurements (ABC/2) of a simulated hematoma by eight raters."""

from __future__ import annotations

import numpy as np

from ..measures.segment import Segment, measure

EXPERIENCE_YEARS = (2, 3, 3, 4, 4, 8, 15, 20)
"""Experience of raters 1 to 8, as in Gong et al. 2023."""
HABITS = (0.05, -0.03, 0.02, 0.03, -0.03, 0.04, -0.02, 0.01)
"""Relative bias of each rater's diameters; decreases with experience. An assumption."""
EDGE = 0.02
"""Relative bias of all raters' diameters, because the blurred rim is counted as blood."""
LENGTH_SPREAD, CALIPER_MM = 0.06, 0.8
"""Standard deviation of a measured diameter: relative (decreasing with experience), and in mm from the caliper."""


def read_volumes(rng: np.random.Generator, mask: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[float, ...]:
    """Simulate ABC/2 measurements of a hematoma by eight raters.

    A and B are measured on the slice with the largest area. Kothari's weights, strictly applied, make C 0.7 times the
    height, and the volume too small. Published measurements are nevertheless too large (regular +10 %, irregular +18 %,
    multilobular +39 %, PubMed 25316277), so the raters count slices generously: the less experienced, the more.

    Parameters
    ----------
    rng : numpy.random.Generator
    mask : ndarray of bool, shape (K, J, I)
        Visible hematoma on the scan's slices.
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    tuple of 8 floats
        mL; 0 if nothing is visible.
    """
    draws = rng.normal(size=(len(EXPERIENCE_YEARS), 5))
    if not mask.any():
        return (0.0,) * len(EXPERIENCE_YEARS)
    seen = measure(Segment("hematoma", mask, ijk_to_ras))
    height_mm = seen.slices * seen.thickness_mm
    volumes = []
    for years, habit, draw in zip(EXPERIENCE_YEARS, HABITS, draws):
        inexperience = np.sqrt(3.0 / (1.0 + years))
        generosity = 0.45 + 0.25 * inexperience
        counted_mm = seen.c_kothari_mm + generosity * (height_mm - seen.c_kothari_mm)
        factor = 1.0 + EDGE + inexperience * (habit + LENGTH_SPREAD * draw[:3])
        a_mm, b_mm = np.maximum(factor[:2] * (seen.a_mm, seen.b_mm) + CALIPER_MM * draw[3:], 1.0)
        c_mm = np.maximum(factor[2], 0.5) * counted_mm
        volumes.append(round(float(a_mm * b_mm * c_mm) / 2000.0, 1))
    return tuple(volumes)
