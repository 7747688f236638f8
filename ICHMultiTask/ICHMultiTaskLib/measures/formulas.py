"""Bedside formulas for the volume of a hematoma.

`formula_volumes(a_mm, b_mm, slice_areas_mm2, thickness_mm)` evaluates every formula; `kothari_weights` is the rule for
which slices count. Lengths in mm, areas in mm², volumes in mL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Extent:
    """Input of a bedside formula.

    Attributes
    ----------
    a_mm, b_mm : float
        Greatest diameter on the slice with the largest area, and the greatest at 90° to it.
    height_mm : float
        Number of slices with hematoma × thickness.
    kothari_height_mm : float
        The same with each slice weighted by its area, see `kothari_weights`.
    largest_area_mm2 : float
    """

    a_mm: float
    b_mm: float
    height_mm: float
    kothari_height_mm: float
    largest_area_mm2: float


FORMULAS = {
    "ABC/2": lambda e: e.a_mm * e.b_mm * e.height_mm / 2,  # Tada
    "ABC/2 (Kothari)": lambda e: e.a_mm * e.b_mm * e.kothari_height_mm / 2,
    "ABC/2.4": lambda e: e.a_mm * e.b_mm * e.height_mm / 2.4,
    "ABC/3": lambda e: e.a_mm * e.b_mm * e.height_mm / 3,
    "1/2 Sh": lambda e: e.largest_area_mm2 * e.height_mm / 2,
    "2/3 Sh": lambda e: 2 * e.largest_area_mm2 * e.height_mm / 3,
}
"""Volume in mm³ from an `Extent`, by name, in the order of the tables. A new formula is one line here."""
DEFINITIONS_VERSION = 2
"""Version of the names in `FORMULAS`, stated in every table and report that uses them. Tables of version 1 state none:
they call Kothari's formula "ABC/2", and Tada's "ABC/2 simplified"."""
_NAMES_OF_VERSION_1 = {"ABC/2": "ABC/2 (Kothari)", "ABC/2 simplified": "ABC/2"}


def present_name(name: str, version: int | None) -> str:
    """Translate the name of a formula in an older table to the current one.

    Parameters
    ----------
    name : str
        Names that are not of a formula are returned unchanged.
    version : int or None
        `DEFINITIONS_VERSION` stated in the table; None if it states none.

    Returns
    -------
    str
    """
    return _NAMES_OF_VERSION_1.get(name, name) if version in (None, 1) else name


def kothari_weights(slice_areas_mm2: ArrayLike) -> np.ndarray:
    """Weight of each slice in C: 1 above 75 % of the largest area, 0 below 25 %, else one half.

    Parameters
    ----------
    slice_areas_mm2 : array_like of shape (K,)

    Returns
    -------
    ndarray of shape (K,)
        All 0 without any area.

    References
    ----------
    Kothari et al. 1996, Stroke 27:1304.
    """
    areas = np.asarray(slice_areas_mm2, dtype=float)
    if not areas.size or areas.max() <= 0:
        return np.zeros_like(areas)
    share = areas / areas.max()
    return np.where(share > 0.75, 1.0, np.where(share >= 0.25, 0.5, 0.0))


def formula_volumes(a_mm: float, b_mm: float, slice_areas_mm2: ArrayLike, thickness_mm: float) -> dict[str, float]:
    """Volume by each of `FORMULAS`.

    C and h are the height of the hematoma: number of slices with hematoma × thickness. ABC/2 is Tada's formula, as used
    by surgeons and in the paper; Kothari's weights each slice by its area (`kothari_weights`). S is the largest slice
    area.

    For an ellipsoid, whose volume is π/6·A·B·C, ABC/2 gives 3/π of the volume, ABC/2.4 2.5/π, ABC/3 2/π, 1/2 Sh 3/4
    and 2/3 Sh all of it. On thin slices Kothari's C is (1/2 + √3/2) / 2 = 0.68 of the height of an ellipsoid, so that
    formula gives 0.65 of the volume.

    Parameters
    ----------
    a_mm, b_mm : float
        Greatest diameter on the slice with the largest area, and the greatest at 90° to it.
    slice_areas_mm2 : array_like of shape (K,)
        Area of the hematoma on each slice; at least one above 0.
    thickness_mm : float
        Distance between neighboring slice planes.

    Returns
    -------
    dict of str to float
        mL, by name.
    """
    areas = np.asarray(slice_areas_mm2, dtype=float)
    weighted = thickness_mm * kothari_weights(areas).sum()
    extent = Extent(a_mm, b_mm, thickness_mm * np.count_nonzero(areas), weighted, areas.max())
    return {name: formula(extent) / 1000.0 for name, formula in FORMULAS.items()}
