"""What the measurements of a scan depend on, its voxels and its shape, to notice later that the scan was changed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from ..scan.geometry import apply_affine
from .transforms import world_points
from .volumes import ijk_to_ras_of

if TYPE_CHECKING:
    import slicer

TOLERANCE_MM = 0.1
"""Shapes differ if distances between points of the scan differ by more."""
_CHECKSUMS = {}
"""By the ID of a scan: when its latest image was modified, which identifies that image, and the checksum."""


def state_of(scan: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any] | None:
    """Describe the voxels and the shape of a scan.

    Parameters
    ----------
    scan : vtkMRMLScalarVolumeNode

    Returns
    -------
    dict or None
        `size_ijk`, `points_mm` of `points_of`, and `crc32` of the voxels. None if there are no voxels.
    """
    image = scan.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    points = points_of(scan).round(3).tolist()
    return {"size_ijk": list(image.GetDimensions()), "points_mm": points, "crc32": _checksum(scan, image)}


def points_of(scan: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """World positions in mm, through any parent transform, of 27 points of a scan from corner to corner: (27, 3)."""
    indices = indices_of(scan.GetImageData().GetDimensions())
    return world_points(apply_affine(ijk_to_ras_of(scan), indices), scan.GetParentTransformNode())


def indices_of(size_ijk: tuple[int, int, int]) -> np.ndarray:
    """Voxel indices (i, j, k) of the 27 points of `points_of`, of shape (27, 3)."""
    grid = np.meshgrid(*[(0, (n - 1) / 2, n - 1) for n in size_ijk], indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3)


def is_changed(before: dict[str, Any] | None, scan: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a scan has other voxels or another shape than before; a rigid movement changes neither.

    Parameters
    ----------
    before : dict or None
        From `state_of`; None: not known, as of a result of an earlier version, which counts as unchanged.
    scan : vtkMRMLScalarVolumeNode
    """
    if before is None:
        return False
    now = state_of(scan)
    if now is None:
        return True
    try:
        same = all(before[key] == now[key] for key in ("size_ijk", "crc32"))
        return not (same and same_shape(np.array(before["points_mm"]), np.array(now["points_mm"])))
    except (KeyError, TypeError, ValueError):  # a changed scene file
        return False


def same_shape(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two results of `points_of` are equal up to a rigid movement."""
    distances = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (first, second)]
    edges = [points[[9, 3, 1]] - points[0] for points in (first, second)]
    mirrored = np.prod(np.sign([np.linalg.det(three) for three in edges])) < 0
    return not mirrored and float(np.abs(np.subtract(*distances)).max()) <= TOLERANCE_MM


def motion_between(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Rigid movement, of shape (4, 4), that brings points of `points_of` closest to those of another time."""
    centers = before.mean(axis=0), now.mean(axis=0)
    left, _scales, right = np.linalg.svd((before - centers[0]).T @ (now - centers[1]))
    turn = right.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(right.T @ left.T))]) @ left.T
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, centers[1] - turn @ centers[0]
    return motion


def _checksum(scan, image):
    modified = image.GetMTime()  # of the voxels, too; unique
    known = _CHECKSUMS.get(scan.GetID())
    if known is None or known[0] != modified:
        voxels = np.ascontiguousarray(vtk_to_numpy(image.GetPointData().GetScalars()))
        known = _CHECKSUMS[scan.GetID()] = modified, zlib.crc32(voxels)
    return known[1]
