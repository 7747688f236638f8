"""Navigate to the bleed: its slices and components, and moving the views to them. Needs no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..measures.segment import TOUCHING
from ..scan.geometry import apply_affine, voxel_volume_mm3
from .scene import nodes_of_class

if TYPE_CHECKING:
    import slicer

MIN_ML = 0.5
"""Smaller components of a mask are skipped."""


def slices_of(mask: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, int]:
    """Positions at which the views step through a mask, slice by slice.

    Parameters
    ----------
    mask : ndarray of shape (K, J, I), bool
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    points_ras_mm : ndarray of shape (N, 3)
        Along the middle of the mask, one for each of its slices, from inferior to superior; empty without a mask.
    middle : int
        Index of the slice nearest to its center.
    """
    index = np.argwhere(mask)
    if len(index) == 0:
        return np.empty((0, 3)), 0
    center = index.mean(axis=0)
    slices = np.unique(index[:, 0])
    column = np.column_stack([np.full(len(slices), center[2]), np.full(len(slices), center[1]), slices])
    points, middle = apply_affine(ijk_to_ras, column), int(np.abs(slices - center[0]).argmin())
    if points[-1, 2] < points[0, 2]:
        return points[::-1], len(points) - 1 - middle
    return points, middle


def places_of(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """Positions of the components of a mask, largest first; all but the largest are left out below `MIN_ML`.

    Parameters
    ----------
    mask : ndarray of shape (K, J, I), bool
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    ndarray of shape (N, 3)
        RAS mm of the voxel in each component that is nearest to its center.
    """
    labels, count = ndimage.label(mask, TOUCHING)
    if not count:
        return np.empty((0, 3))
    sizes = np.bincount(labels.ravel())[1:]
    order = sorted(range(count), key=lambda n: -sizes[n])
    least, places = MIN_ML * 1000 / voxel_volume_mm3(ijk_to_ras), []
    for number in [n for n in order if n == order[0] or sizes[n] >= least]:
        points = apply_affine(ijk_to_ras, np.argwhere(labels == number + 1)[:, ::-1])
        places.append(points[np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()])
    return np.array(places)


def center_views(scene: slicer.vtkMRMLScene, position_ras: Sequence[float]) -> None:
    """Center every slice view on a position, and turn the 3-D views toward it without moving their cameras."""
    for view in nodes_of_class(scene, "vtkMRMLSliceNode"):
        view.JumpSliceByCentering(*position_ras)
    for camera in nodes_of_class(scene, "vtkMRMLCameraNode"):
        moved = np.subtract(position_ras, camera.GetFocalPoint())
        camera.SetPosition(*np.add(camera.GetPosition(), moved))
        camera.SetFocalPoint(*position_ras)


def step_views(scene: slicer.vtkMRMLScene, position_ras: Sequence[float]) -> None:
    """Move every slice view to the slice of a position, without changing zoom and pan."""
    for view in nodes_of_class(scene, "vtkMRMLSliceNode"):
        view.JumpSlice(*position_ras)
