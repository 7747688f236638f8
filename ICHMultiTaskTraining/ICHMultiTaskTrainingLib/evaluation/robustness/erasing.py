"""Erase the hematoma from a head CT, to test whether a model measures the blood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.measures.grids import box_around
from ICHMultiTaskLib.model.preprocessing import BONE_THRESHOLD_HU
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT

TISSUE_HU = (-10.0, 90.0)
"""Brain, CSF and blood after smoothing; voxels next to bone, fat or air are outside this range."""
SMOOTHING_MM = 1.5
FULL, FADED = 1.0, 3.0
"""Everything within the first distance of the mask is replaced, nothing beyond the second; in mm, or in voxels if
these are larger than 1 mm."""
SKULL_POINTS = 3000


def erase_hematoma(head_ct: HeadCT, mask: np.ndarray) -> HeadCT:
    """Replace a hematoma by the tissue mirrored from the other side of the head's midline plane.

    The replaced region extends slightly beyond the mask, because kernel and slice thickness spread the blood, and fades
    out over about two voxels. If the mirrored tissue is not brain, or is blood of the same hematoma (one that crosses
    the midline), the nearest tissue is used. Edema, mass effect and intraventricular blood remain unless the mask
    includes them.

    Parameters
    ----------
    head_ct : HeadCT
    mask : ndarray of bool, shape (K, J, I)
        On the scan's grid.

    Returns
    -------
    HeadCT
        Same grid and voxel type.

    Raises
    ------
    InputError
        If the mask is empty or on another grid, or the scan has no skull.
    """
    mask = np.asarray(mask) > 0
    if mask.shape != head_ct.hu.shape:
        raise InputError(
            f"The mask is not on the scan's grid: expected {head_ct.hu.shape} voxels (k, j, i), found {mask.shape}."
        )
    if not mask.any():
        raise InputError("There is nothing to erase: expected a mask with a hematoma, found an empty one.")
    spacing = head_ct.spacing_kji
    reach = np.ceil((FADED + SMOOTHING_MM) / np.minimum(spacing, 1.0)).astype(int)
    box = box_around(np.argwhere(mask), reach, mask.shape)
    distance = ndimage.distance_transform_edt(~mask[box], np.minimum(spacing, 1.0))
    here = np.clip(head_ct.hu[box].astype(np.float32), -1024, 3071)
    soft = _is_tissue(here, spacing)
    weight = np.clip((FADED - distance) / (FADED - FULL), 0.0, 1.0) * (soft | mask[box])
    mirrored, known = _mirrored(head_ct, mask, box)
    untouched = soft & (weight == 0)
    replaced = known & (weight > 0)
    if not (replaced | untouched).any():
        raise InputError("The hematoma cannot be erased: expected brain tissue next to or opposite it, found none.")
    nearest = ndimage.distance_transform_edt(
        ~(replaced | untouched), spacing, return_distances=False, return_indices=True
    )
    tissue = np.where(replaced, mirrored, here)[tuple(nearest)]
    hu = head_ct.hu.copy()
    erased = here + weight * (tissue - here)
    hu[box] = np.where(weight > 0, np.rint(erased) if hu.dtype.kind == "i" else erased, head_ct.hu[box])
    return replace(head_ct, hu=hu)


def midline_plane(head_ct: HeadCT) -> tuple[np.ndarray, float]:
    """The plane of best mirror symmetry of the skull.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    normal : ndarray of shape (3,)
        Unit vector in RAS, pointing right.
    offset : float
        In mm: points p of the plane satisfy normal · p = offset.

    Raises
    ------
    InputError
        If the scan has no bone.
    """
    strides = np.maximum(1, np.round(3.0 / head_ct.spacing_kji)).astype(int)
    bone = np.argwhere(head_ct.hu[tuple(slice(None, None, s) for s in strides)] > BONE_THRESHOLD_HU) * strides
    if len(bone) < 100:
        raise InputError(f"The scan has no skull: expected bone above {BONE_THRESHOLD_HU} HU, found none.")
    points = apply_affine(head_ct.ijk_to_ras, bone[:, ::-1])
    center = points.mean(axis=0)
    tree = cKDTree(points - center)
    sample = (points - center)[:: max(1, len(points) // SKULL_POINTS)]

    def asymmetry(parameters):
        distance, _ = tree.query(_reflect(sample, *_plane(parameters)), distance_upper_bound=30.0)
        distance = np.minimum(distance, 30.0)
        # Robust loss: quadratic near 0, linear further out, so that teeth and a cut-off side do not tilt the plane.
        return float((np.sqrt(1.0 + (distance / 3.0) ** 2) - 1.0).mean())

    # Slopes of 0.2 rotate the plane by 11 degrees.
    simplex = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 0, 8.0]])
    found = minimize(
        asymmetry, simplex[0], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 2e-3, "fatol": 1e-4}
    )
    normal, offset = _plane(found.x)
    return normal, float(offset + normal @ center)


def _plane(parameters):
    normal = np.array([1.0, parameters[0], parameters[1]])
    return normal / np.linalg.norm(normal), parameters[2]


def _reflect(points, normal, offset):
    return points - 2.0 * (points @ normal - offset)[..., None] * normal


def _mirrored(head_ct, mask, box):
    """Values mirrored into a box, and whether each comes from brain tissue outside the hematoma."""
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1)
    points = _reflect(apply_affine(head_ct.ijk_to_ras, index[..., ::-1]), *midline_plane(head_ct))
    opposite = apply_affine(np.linalg.inv(head_ct.ijk_to_ras), points)[..., ::-1]
    donor = box_around(opposite.reshape(-1, 3), 4, mask.shape)
    if any(s.stop <= s.start for s in donor):
        return np.zeros(index.shape[:3], np.float32), np.zeros(index.shape[:3], bool)
    hu = head_ct.hu[donor].astype(np.float32)
    spacing = head_ct.spacing_kji
    usable = _is_tissue(hu, spacing)
    if mask[donor].any():
        usable &= ndimage.distance_transform_edt(~mask[donor], np.minimum(spacing, 1.0)) >= FADED
    at = np.moveaxis(opposite - [s.start for s in donor], -1, 0)
    # Cubic interpolation keeps the noise, which linear would smooth; clipping avoids ringing at bone and air.
    values = ndimage.map_coordinates(np.clip(hu, -100.0, 250.0), at, order=3, mode="nearest", output=np.float32)
    known = ndimage.map_coordinates(usable.astype(np.uint8), at, order=0, mode="constant", cval=0) > 0
    return values, known


def _is_tissue(hu, spacing):
    sigma = (0.0, SMOOTHING_MM / spacing[1], SMOOTHING_MM / spacing[2])
    smooth = ndimage.gaussian_filter(np.clip(hu, -200.0, 400.0), sigma, mode="nearest")
    return (smooth > TISSUE_HU[0]) & (smooth < TISSUE_HU[1])
