"""Masks: bounding boxes, and resampling to other grids."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..scan.geometry import apply_affine

if TYPE_CHECKING:
    from .segment import Segment


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Smallest box that contains a mask.

    Parameters
    ----------
    mask : ndarray of bool

    Returns
    -------
    tuple of slice, or None if the mask is empty
    """
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        if not found.size:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def box_corners(box: tuple[slice, ...], affine: np.ndarray) -> np.ndarray:
    """Outer corners of a box in array indices (k, j, i), mapped through an affine of (i, j, k).

    Returns
    -------
    ndarray of shape (8, 3)
        In array order.
    """
    bounds = [(part.start - 0.5, part.stop - 0.5) for part in reversed(box)]
    return apply_affine(affine, np.array(list(product(*bounds))))[:, ::-1]


def box_around(positions_kji: np.ndarray, margin: int | np.ndarray, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """Smallest box of voxels around positions (N, 3) in array indices, with a margin, clipped to a grid.

    Parameters
    ----------
    positions_kji : ndarray of shape (N, 3)
    margin : int or ndarray of shape (3,)
        Voxels on each side.
    shape : (int, int, int)
        The grid's number of voxels along k, j, i.

    Returns
    -------
    tuple of slice
        Empty slices where the positions lie outside the grid by more than the margin.
    """
    start = np.clip(np.floor(positions_kji.min(axis=0)).astype(int) - margin, 0, shape)
    stop = np.clip(np.ceil(positions_kji.max(axis=0)).astype(int) + margin + 1, start, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop))


def on_grid(positions_kji: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Whether positions (..., 3) in array indices lie within a grid, up to the outer faces of its voxels; bool."""
    return ((positions_kji >= -0.5 - 1e-6) & (positions_kji <= np.array(shape) - 0.5 + 1e-6)).all(-1)


def resampled_part(
    mask: np.ndarray,
    box: tuple[slice, ...],
    mask_ijk_to_ras: np.ndarray,
    ijk_to_ras: np.ndarray,
    shape: tuple[int, int, int],
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Resample a mask to another grid: a voxel there is inside if its center lies in a voxel of the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (K, J, I)
    box : tuple of slice
        The mask's `bounding_box`.
    mask_ijk_to_ras, ijk_to_ras : ndarray of shape (4, 4)
        Affines of the mask and of the other grid.
    shape : (int, int, int)
        The other grid's number of voxels along k, j, i.

    Returns
    -------
    part : tuple of slice
        Box on the other grid; empty if the mask lies outside of it.
    inside : ndarray of bool
        The voxels of that part.
    """
    corners = box_corners(box, np.linalg.inv(ijk_to_ras) @ mask_ijk_to_ras)
    part = box_around(corners, 0, shape)
    found = np.zeros([axis.stop - axis.start for axis in part], np.uint8)
    if found.size:
        to_mask = np.linalg.inv(mask_ijk_to_ras) @ ijk_to_ras
        matrix = to_mask[2::-1, 2::-1]
        offset = to_mask[2::-1, 3] + matrix @ [axis.start for axis in part]
        # "grid-constant" includes the outer half of the outermost voxels.
        ndimage.affine_transform(mask.view(np.uint8), matrix, offset, output=found, order=0, mode="grid-constant")
    return part, found.view(bool)


def resampled_mask(segment: Segment, ijk_to_ras: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample a whole `Segment` to another grid, as in `resampled_part`.

    Returns
    -------
    ndarray of bool, shape (K, J, I)
    """
    result = np.zeros(shape, dtype=bool)
    box = bounding_box(segment.mask)
    if box is not None:
        part, inside = resampled_part(segment.mask, box, segment.ijk_to_ras, ijk_to_ras, shape)
        result[part] = inside
    return result
