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
        `size_ijk`; `points_mm`: world positions, through any parent transform, of 27 voxels from corner to corner;
        `crc32` of the voxels. None if there are no voxels.
    """
    image = scan.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    size = image.GetDimensions()
    grid = np.meshgrid(*[(0, (n - 1) / 2, n - 1) for n in size], indexing="ij")
    indices = np.stack(grid, axis=-1).reshape(-1, 3)
    points = world_points(apply_affine(ijk_to_ras_of(scan), indices), scan.GetParentTransformNode())
    return {"size_ijk": list(size), "points_mm": np.round(points, 3).tolist(), "crc32": _checksum(scan, image)}


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
    """Whether two sets of 27 points of `state_of`, of shape (27, 3) in mm, are equal up to a rigid movement."""
    distances = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (first, second)]
    edges = [points[[9, 3, 1]] - points[0] for points in (first, second)]
    mirrored = np.prod(np.sign([np.linalg.det(three) for three in edges])) < 0
    return not mirrored and float(np.abs(np.subtract(*distances)).max()) <= TOLERANCE_MM


def _checksum(scan, image):
    modified = image.GetMTime()  # of the voxels, too; unique
    known = _CHECKSUMS.get(scan.GetID())
    if known is None or known[0] != modified:
        voxels = np.ascontiguousarray(vtk_to_numpy(image.GetPointData().GetScalars()))
        known = _CHECKSUMS[scan.GetID()] = modified, zlib.crc32(voxels)
    return known[1]
