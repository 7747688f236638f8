"""Bedside formulas for the volume of a hematoma.

`formula_volumes(a_mm, b_mm, slice_areas_mm2, thickness_mm)` gives every formula; `kothari_weights` is the rule that
decides which slices count. Lengths in mm, areas in mm², volumes in mL.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Extent:
    """What a bedside formula is given.

    Attributes
    ----------
    a_mm, b_mm : float
        Greatest diameter on the slice with the largest area, and the greatest at 90° to it.
    height_mm : float
        Every slice with hematoma × thickness.
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
"""Volume in mm³ from an `Extent`, by name, in the order of the tables. A new formula is a line here."""
DEFINITIONS_VERSION = 2
"""Of the names in `FORMULAS`; every table and report that holds them states it. Version 1 stated none: it called
Kothari's formula "ABC/2", and Tada's "ABC/2 simplified"."""
_NAMES_OF_VERSION_1 = {"ABC/2": "ABC/2 (Kothari)", "ABC/2 simplified": "ABC/2"}


def present_name(name, version):
    """Name of a formula today, as a table of another version of the definitions calls it.

    Parameters
    ----------
    name : str
        A name that is not a formula's stays as it is.
    version : int or None
        Of the table; None: it states none.

    Returns
    -------
    str
    """
    return _NAMES_OF_VERSION_1.get(name, name) if version in (None, 1) else name


def kothari_weights(slice_areas_mm2):
    """How much each slice counts for C: 1 above 75 % of the largest area, 0 below 25 %, else one half.

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


def formula_volumes(a_mm, b_mm, slice_areas_mm2, thickness_mm):
    """Volume by each of `FORMULAS`.

    C and h are the height of the hematoma: every slice with hematoma × thickness. ABC/2 is Tada's formula, as surgeons
    and the paper use it; Kothari's weighs each slice by its area (`kothari_weights`). S is the largest slice area.

    On an ellipsoid, whose volume is π/6·A·B·C, ABC/2 reads 3/π of the volume, ABC/2.4 2.5/π, ABC/3 2/π, 1/2 Sh 3/4
    and 2/3 Sh all of it. On thin slices Kothari's C is (1/2 + √3/2) / 2 = 0.68 of the height there, so that formula
    reads 0.65 of the volume.

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
