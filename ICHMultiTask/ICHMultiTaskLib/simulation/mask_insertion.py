"""Insert blood with the shape of a real hematoma, segmented in another head, into a head CT without hemorrhage."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..common.errors import InputError
from ..scan.geometry import apply_affine, spacing_kji, voxel_volume_mm3
from ..scan.head_ct import HeadCT
from .insertion import LAYER_MM, SOFT_HU, Anatomy, scan_noise

BLOOD_HU = (56.0, 68.0)
ROOM = 0.97
"""Share of the blood that must lie within the cranial cavity, by at least `MARGIN_MM`."""
MARGIN_MM = 1.5
HEIGHT_MM = (-20.0, 45.0)
"""Allowed height of the bleed's center above the head's: the center of a stack is a poor estimate of the head's."""
STEPS, STEP = 25, 0.88
SMOOTH_MM = 0.8
"""Standard deviation of the in-plane blur that smooths the steps of a mask's outline."""


def insert_mask(
    anatomy: Anatomy, mask: np.ndarray, ijk_to_ras: np.ndarray, seed: int = 0
) -> tuple[HeadCT, np.ndarray, float]:
    """Insert blood with a mask's shape into a head CT, as close to its original position as it fits.

    The center of the mask's grid is taken as the center of its head, so that its scan is not needed. The blood is
    homogeneous, with the partial volume, blur and noise of the scan, and without mass effect or edema.

    Parameters
    ----------
    anatomy : Anatomy
        A head CT without a hemorrhage.
    mask : ndarray of bool, shape (K, J, I)
    ijk_to_ras : ndarray of shape (4, 4)
        Affine of the mask, mm; sheared axes are allowed.
    seed : int
        Seed of the density.

    Returns
    -------
    head_ct : HeadCT
    inserted : ndarray of bool
        Voxels of the scan that are at least half filled with blood.
    volume_ml : float
        Volume of these voxels.

    Raises
    ------
    InputError
        If the mask is empty or does not fit into the scanned part of the cranial cavity.
    """
    mask = np.asarray(mask) > 0
    if not mask.any():
        raise InputError("The mask is empty: expected a hematoma to insert, found no voxel above 0.")
    scan = anatomy.head_ct
    index = np.argwhere(mask)[:, ::-1]  # i, j, k
    centroid = index.mean(axis=0)
    grid_center = (np.array(mask.shape[::-1]) - 1) / 2
    linear = ijk_to_ras[:3, :3]
    rng = np.random.default_rng(seed)
    points = (index[rng.integers(0, len(index), 1500)] - centroid) @ linear.T
    center = linear @ (centroid - grid_center)
    center[2] = np.clip(center[2], *HEIGHT_MM)
    for _ in range(STEPS):
        if _has_room(anatomy, points + center):
            break
        center *= STEP  # toward the center of the head
    else:
        volume = mask.sum() * voxel_volume_mm3(ijk_to_ras) / 1000.0
        raise InputError(
            f"The mask does not fit: expected room for {volume:.1f} mL within the "
            f"{anatomy.head.found.volume_ml:.0f} mL of the cranial cavity that were scanned, found none between its "
            "position and the center of the head."
        )
    low, high = (points + center).min(axis=0) - 8.0, (points + center).max(axis=0) + 8.0
    box = anatomy.box(low, high)
    coverage = _coverage(anatomy, mask, ijk_to_ras, centroid, center, box)
    inserted = np.zeros(scan.hu.shape, bool)
    inserted[box] = coverage >= 0.5
    weight = ndimage.gaussian_filter(coverage, anatomy.psf_mm / scan.spacing_kji, mode="nearest")
    hu = scan.hu.astype(np.float32)
    blood = rng.uniform(*BLOOD_HU) + anatomy.offset_hu - np.minimum(hu[box], SOFT_HU)
    hu[box] += weight * (blood + scan_noise(scan.hu[box], anatomy.pixel_mm))
    if scan.hu.dtype.kind == "i":
        hu = np.rint(hu)
    facts = replace(scan.facts, series_description="Head CT with the shape of a real hematoma", simulated=True)
    volume = float(inserted.sum() * scan.voxel_volume_mm3 / 1000.0)
    return HeadCT(hu.astype(scan.hu.dtype), scan.ijk_to_ras, facts), inserted, volume


def _has_room(anatomy, points):
    """Whether at least `ROOM` of the points (in the rigid head) lie in the cavity and within the scan."""
    atlas = (points / anatomy.head.scale).astype(np.float32).T
    inside = anatomy.head.cavity(*atlas) > MARGIN_MM
    index = apply_affine(np.linalg.inv(anatomy.to_rigid), points)[:, ::-1]
    scanned = ((index > 0.5) & (index < np.array(anatomy.head_ct.hu.shape) - 1.5)).all(axis=1)
    return (inside & scanned).mean() >= ROOM


def _coverage(anatomy, mask, ijk_to_ras, centroid, center, box):
    """Share of each voxel of the box that is filled with blood, float32 (K, J, I)."""
    spacing = spacing_kji(ijk_to_ras)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), (0.0, *(SMOOTH_MM / spacing[1:])))
    to_index = np.linalg.inv(ijk_to_ras[:3, :3]).astype(np.float32)
    coverage = np.zeros(tuple(s.stop - s.start for s in box), np.float32)
    layers = int(np.clip(np.ceil(anatomy.thickness_mm / LAYER_MM), 1, 10)) | 1
    steep = float(spacing[1]) * 2 / anatomy.pixel_mm
    for n in range(len(coverage)):
        k = slice(box[0].start + n, box[0].start + n + 1)
        for layer in range(layers):
            offset = anatomy.thickness_mm * ((layer + 0.5) / layers - 0.5)
            ras = np.stack([p[0] for p in np.broadcast_arrays(*anatomy.rigid_points(k, box[1], box[2], offset))])
            ras -= center.astype(np.float32)[:, None, None]
            index = np.tensordot(to_index, ras, 1) + centroid.astype(np.float32)[:, None, None]
            value = ndimage.map_coordinates(smooth, index[::-1], order=1, mode="constant")
            coverage[n] += np.clip((value - 0.5) * steep + 0.5, 0.0, 1.0) / np.float32(layers)
    return coverage
