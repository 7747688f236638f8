"""Affine geometry of voxel grids.

Arrays are indexed [k, j, i]; affines map homogeneous (i, j, k, 1) to RAS millimeters, as in MRML.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def spacing_kji(ijk_to_ras: ArrayLike) -> np.ndarray:
    """Distance between voxel centers along each array axis.

    Parameters
    ----------
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    ndarray of shape (3,)
        Millimeters, in the order k, j, i. On a tilted scan the k step is longer than the distance
        between the slice planes: use `voxel_volume_mm3` for volumes.
    """
    return np.linalg.norm(np.asarray(ijk_to_ras, dtype=float)[:3, :3], axis=0)[::-1]


def voxel_volume_mm3(ijk_to_ras: ArrayLike) -> float:
    """Volume of one voxel in mm³: the determinant, which accounts for the shear of a gantry tilt."""
    return float(abs(np.linalg.det(np.asarray(ijk_to_ras, dtype=float)[:3, :3])))


def apply_affine(affine: ArrayLike, points: ArrayLike) -> np.ndarray:
    """Map points of shape (..., 3) through a 4×4 affine."""
    affine = np.asarray(affine, dtype=float)
    return np.asarray(points, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def tilt_deg(ijk_to_ras: ArrayLike) -> float:
    """Angle in degrees between the slice normal and the step from slice to slice.

    Zero for an orthogonal grid. The sign is that of the step's component along the in-plane
    column axis (j), which for axial head CT is the sign of the anterior-posterior shear.
    """
    matrix = np.asarray(ijk_to_ras, dtype=float)[:3, :3]
    i, j, k = (matrix[:, n] / np.linalg.norm(matrix[:, n]) for n in range(3))
    normal = np.cross(i, j)
    normal /= np.linalg.norm(normal)
    along = abs(float(np.dot(k, normal)))
    across = float(np.dot(k, j))
    sideways = float(np.linalg.norm(k - np.dot(k, normal) * normal))
    return float(np.degrees(np.arctan2(sideways, along)) * (-1.0 if across < 0 else 1.0))


def stack_affine(position: ArrayLike, orientation: ArrayLike, pixel_spacing: ArrayLike, step: ArrayLike) -> np.ndarray:
    """IJK-to-RAS affine of a stack of DICOM slices.

    Parameters
    ----------
    position : array_like of 3
        ImagePositionPatient of the first slice: LPS mm of its first voxel's center.
    orientation : array_like of 6
        ImageOrientationPatient: direction in which the column index grows (i), then the row index (j).
    pixel_spacing : array_like of 2
        PixelSpacing: mm between rows (j), then between columns (i).
    step : array_like of 3
        LPS mm from one slice to the next; not along the slice normal when the gantry is tilted.

    Returns
    -------
    ndarray of shape (4, 4)
        DICOM PS3.3 section C.7.6.2.1.1, then LPS to RAS.
    """
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(orientation[:3], dtype=float) * pixel_spacing[1]
    affine[:3, 1] = np.asarray(orientation[3:], dtype=float) * pixel_spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    return LPS_TO_RAS @ affine


def distinct_steps(offsets: np.ndarray, tolerance: float = 0.05) -> list[tuple[float, int]]:
    """Distances between neighboring slices, close ones merged.

    Parameters
    ----------
    offsets : ndarray of shape (K,)
        Ascending slice offsets in mm.
    tolerance : float
        Steps that differ by less than this many mm are one.

    Returns
    -------
    list of (float, int)
        Step in mm (mean of its group) and its count, ascending.
    """
    steps = np.sort(np.diff(offsets))
    groups = np.split(steps, np.flatnonzero(np.diff(steps) > tolerance) + 1)
    return [(float(group.mean()), len(group)) for group in groups if len(group)]


def regular_offsets(offsets: ArrayLike, tolerance: float = 0.1) -> tuple[np.ndarray, bool]:
    """Regular grid for slices at the given offsets, and whether they already lie on it.

    The grid keeps the first and the last slice. Its step is the smallest one that accounts for at least a fifth of
    all steps: a block of thin slices keeps its detail, and one overlapping pair does not define the grid.

    Parameters
    ----------
    offsets : ndarray of shape (K,), K >= 2
        Ascending slice offsets in mm.
    tolerance : float
        Slices within this many mm of a regular grid need no resampling (rounded positions).

    Returns
    -------
    grid : ndarray of shape (M,)
    is_regular : bool
    """
    offsets = np.asarray(offsets, dtype=float)
    even = np.linspace(offsets[0], offsets[-1], len(offsets))
    if np.abs(offsets - even).max() <= min(tolerance, 0.1 * (even[1] - even[0])):
        return even, True
    common = [step for step, count in distinct_steps(offsets) if count >= 0.2 * (len(offsets) - 1)]
    step = min(common, default=float(np.median(np.diff(offsets))))
    count = int(round((offsets[-1] - offsets[0]) / step)) + 1
    return np.linspace(offsets[0], offsets[-1], max(count, 2)), False


def resample_slices(array: np.ndarray, offsets: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Interpolate slices linearly from ascending `offsets` onto `grid` (both mm along the slice step).

    Parameters
    ----------
    array : ndarray of shape (K, J, I)
    offsets : ndarray of shape (K,)
    grid : ndarray of shape (M,)
        Within the range of `offsets`.

    Returns
    -------
    ndarray of shape (M, J, I)
        Same type as `array`; integers are rounded.
    """
    upper = np.clip(np.searchsorted(offsets, grid), 1, len(offsets) - 1)
    weights = ((grid - offsets[upper - 1]) / (offsets[upper] - offsets[upper - 1])).astype(np.float32)
    resampled = np.empty((len(grid), *array.shape[1:]), dtype=array.dtype)
    for index, (above, weight) in enumerate(zip(upper, weights, strict=True)):
        plane = array[above - 1] * (1 - weight) + array[above] * weight
        resampled[index] = np.rint(plane) if array.dtype.kind == "i" else plane
    return resampled
