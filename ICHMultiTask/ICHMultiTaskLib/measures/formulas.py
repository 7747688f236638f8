"""Bedside formulas for the volume of a hematoma.

`formula_volumes(a_mm, b_mm, slice_areas_mm2, thickness_mm)` gives every formula; `kothari_weights` is the rule that
decides which slices count. Lengths in mm, areas in mm², volumes in mL.
"""

import numpy as np

FORMULAS = ("ABC/2", "ABC/2 simplified", "ABC/2.4", "ABC/3", "1/2 Sh", "2/3 Sh")
"""In the order of the tables."""


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

    ABC/2 takes Kothari's C. The others take the height of the hematoma (every slice with hematoma × thickness) as C or
    h: ABC/2.4 and ABC/3 are published with C as the vertical diameter. S is the largest slice area.

    On an ellipsoid, whose volume is π/6·A·B·C, ABC/2 simplified reads 3/π of the volume, ABC/2.4 2.5/π, ABC/3 2/π,
    1/2 Sh 3/4 and 2/3 Sh all of it. On thin slices Kothari's C is (1/2 + √3/2) / 2 = 0.68 of the height there,
    so ABC/2 reads 0.65 of the volume.

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
    height_mm = thickness_mm * np.count_nonzero(areas)
    kothari = a_mm * b_mm * thickness_mm * kothari_weights(areas).sum() / 1000.0
    abc = a_mm * b_mm * height_mm / 1000.0
    sh = areas.max() * height_mm / 1000.0
    return dict(zip(FORMULAS, (kothari / 2, abc / 2, abc / 2.4, abc / 3, sh / 2, 2 * sh / 3), strict=True))
