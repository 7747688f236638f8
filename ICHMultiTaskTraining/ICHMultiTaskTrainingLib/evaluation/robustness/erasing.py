"""Take the hematoma out of a head CT, to see whether it is the blood that a model measures."""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.preprocessing import BONE_THRESHOLD_HU
from ICHMultiTaskLib.scan.geometry import apply_affine

TISSUE_HU = (-10.0, 90.0)
"""Of brain, CSF and blood after smoothing; what lies next to bone, fat or air is none of them."""
SMOOTHING_MM = 1.5
FULL, FADED = 1.0, 3.0
"""Up to the first distance from the mask everything is replaced, from the second on nothing; in mm, in voxels where
these are larger."""
SKULL_POINTS = 3000


def erase_hematoma(head_ct, mask):
    """Replace a hematoma by the tissue at its mirror image across the head's midline plane.

    The replaced part reaches a little beyond the mask, where kernel and slice thickness have spread the blood, and
    fades out over about two voxels. Where the mirror image is no brain tissue, or is blood of the same hematoma (one
    that crosses the midline), the nearest tissue takes its place. Edema, mass effect and blood in the ventricles stay,
    unless the mask holds them.

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
        raise InputError("There is nothing to erase: expected a mask with a hematoma in it, found it empty.")
    spacing = head_ct.spacing_kji
    reach = np.ceil((FADED + SMOOTHING_MM) / np.minimum(spacing, 1.0)).astype(int)
    box = _box(np.argwhere(mask), reach, mask.shape)
    distance = ndimage.distance_transform_edt(~mask[box], np.minimum(spacing, 1.0))
    here = np.clip(head_ct.hu[box].astype(np.float32), -1024, 3071)
    soft = _is_tissue(here, spacing)
    weight = np.clip((FADED - distance) / (FADED - FULL), 0.0, 1.0) * (soft | mask[box])
    mirrored, known = _mirrored(head_ct, mask, box)
    untouched = soft & (weight == 0)
    replaced = known & (weight > 0)
    if not (replaced | untouched).any():
        raise InputError("The hematoma cannot be erased: expected brain tissue beside or opposite to it, found none.")
    nearest = ndimage.distance_transform_edt(
        ~(replaced | untouched), spacing, return_distances=False, return_indices=True
    )
    tissue = np.where(replaced, mirrored, here)[tuple(nearest)]
    hu = head_ct.hu.copy()
    erased = here + weight * (tissue - here)
    hu[box] = np.where(weight > 0, np.rint(erased) if hu.dtype.kind == "i" else erased, head_ct.hu[box])
    return replace(head_ct, hu=hu)


def midline_plane(head_ct):
    """The plane across which the skull is its own mirror image best.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    normal : ndarray of shape (3,)
        Unit vector in RAS, to the right.
    offset : float
        In mm: points p of the plane have normal · p = offset.

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
        # As least squares near by, as absolute distances far off: teeth and a cut-off side must not turn the plane.
        return float((np.sqrt(1.0 + (distance / 3.0) ** 2) - 1.0).mean())

    # Slopes of 0.2 turn it by 11 degrees.
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
    """What lies opposite to the voxels of a box, and where that is brain tissue without blood of the mask."""
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1)
    points = _reflect(apply_affine(head_ct.ijk_to_ras, index[..., ::-1]), *midline_plane(head_ct))
    opposite = apply_affine(np.linalg.inv(head_ct.ijk_to_ras), points)[..., ::-1]
    donor = _box(opposite.reshape(-1, 3), np.array([4, 4, 4]), mask.shape)
    if any(s.stop <= s.start for s in donor):
        return np.zeros(index.shape[:3], np.float32), np.zeros(index.shape[:3], bool)
    hu = head_ct.hu[donor].astype(np.float32)
    spacing = head_ct.spacing_kji
    usable = _is_tissue(hu, spacing)
    if mask[donor].any():
        usable &= ndimage.distance_transform_edt(~mask[donor], np.minimum(spacing, 1.0)) >= FADED
    at = np.moveaxis(opposite - [s.start for s in donor], -1, 0)
    # Cubic keeps the noise, which linear interpolation would smooth; bone and air would ring in it.
    values = ndimage.map_coordinates(np.clip(hu, -100.0, 250.0), at, order=3, mode="nearest", output=np.float32)
    known = ndimage.map_coordinates(usable.astype(np.uint8), at, order=0, mode="constant", cval=0) > 0
    return values, known


def _is_tissue(hu, spacing):
    sigma = (0.0, SMOOTHING_MM / spacing[1], SMOOTHING_MM / spacing[2])
    smooth = ndimage.gaussian_filter(np.clip(hu, -200.0, 400.0), sigma, mode="nearest")
    return (smooth > TISSUE_HU[0]) & (smooth < TISSUE_HU[1])


def _box(index, margin, shape):
    """Slices around points (k, j, i) with a margin, within the scan."""
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + margin + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high))
