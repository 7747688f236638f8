"""Keep maps and other results of a scan in their place on it, wherever the scan is moved."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..scan.geometry import apply_affine
from .scan_state import indices_of, motion_between, same_shape
from .volumes import ijk_to_ras_of, set_voxels, world_affine

if TYPE_CHECKING:
    from ..scan.head_ct import HeadCT

_ON_GRID = "ICHMultiTask.isOnGridOfScan"
_PEAK, _PEAK_INDEX = "ICHMultiTask.peak_ras_mm", "ICHMultiTask.peak_ijk"
_ALIGNED_MM = 0.1


def is_aligned(volumeNode: slicer.vtkMRMLScalarVolumeNode, head_ct: HeadCT) -> bool:
    """Whether voxel (k, j, i) of the analyzed scan is still voxel (k, j, i) of the node, wherever that was moved."""
    size = volumeNode.GetImageData().GetDimensions()
    if size[::-1] != head_ct.hu.shape:
        return False
    affine, residual = world_affine(volumeNode)
    indices = indices_of(size)
    return residual <= _ALIGNED_MM and same_shape(
        apply_affine(affine, indices), apply_affine(head_ct.ijk_to_ras, indices)
    )


def put_on_scan(
    node: slicer.vtkMRMLScalarVolumeNode,
    array: np.ndarray,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    head_ct: HeadCT,
) -> None:
    """Set the voxels of a map, of shape (K, J, I) as the analyzed scan, in the place of the scan's node.

    It shares the node's matrix and parent transform; in world coordinates if the scan had to be resampled.
    """
    on_grid = is_aligned(volumeNode, head_ct)
    node.SetAttribute(_ON_GRID, str(int(on_grid)))
    set_voxels(node, array, ijk_to_ras_of(volumeNode) if on_grid else head_ct.ijk_to_ras)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID() if on_grid else None)


def follow(node: slicer.vtkMRMLScalarVolumeNode | None, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Move a map that shares the grid of its scan to where the scan is now; no-op for others and None."""
    if node is None or node.GetAttribute(_ON_GRID) != "1":
        return
    matrix = ijk_to_ras_of(volumeNode)
    if not np.allclose(matrix, ijk_to_ras_of(node)):
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    if node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())


def moved(head_ct: HeadCT, before: np.ndarray, now: np.ndarray) -> HeadCT:
    """An analyzed scan in its present place.

    Parameters
    ----------
    head_ct : HeadCT
    before, now : ndarray of shape (27, 3)
        `scan_state.points_of` its node when `head_ct` was read, and now.
    """
    if np.abs(now - before).max() <= _ALIGNED_MM or not same_shape(before, now):
        return head_ct
    return replace(head_ct, ijk_to_ras=motion_between(before, now) @ head_ct.ijk_to_ras)


def keep_peak(
    attentionNode: slicer.vtkMRMLScalarVolumeNode, peak_ras_mm: tuple[float, float, float] | None, head_ct: HeadCT
) -> None:
    """Store the position of the highest attention with its map, which has the grid of the analyzed scan.

    Parameters
    ----------
    attentionNode : vtkMRMLScalarVolumeNode
    peak_ras_mm : tuple of float or None
        Where the scan was when it was read; None: the map is blank.
    head_ct : HeadCT
        The scan as it was read.
    """
    attentionNode.SetAttribute(_PEAK, json.dumps(peak_ras_mm))
    index = None
    if peak_ras_mm is not None:
        index = apply_affine(np.linalg.inv(head_ct.ijk_to_ras), np.array([peak_ras_mm]))[0].round(6).tolist()
    attentionNode.SetAttribute(_PEAK_INDEX, json.dumps(index))


def peak_of(attentionNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float, float] | None:
    """World position in mm of the highest attention, wherever the map was moved; None if it is blank or not stored."""
    index = _point(attentionNode.GetAttribute(_PEAK_INDEX))
    if index is None:  # of an earlier version
        return _point(attentionNode.GetAttribute(_PEAK))
    return tuple(apply_affine(world_affine(attentionNode)[0], np.array([index]))[0].tolist())


def _point(text):
    try:
        x, y, z = json.loads(text or "null")
        return float(x), float(y), float(z)
    except (TypeError, ValueError):
        return None
