"""Parent transforms of images: affine ones are composed with the geometry, others are applied by resampling."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..scan.geometry import apply_affine, regular_offsets, resample_slices

AFFINE_TOLERANCE_MM = 0.1


def image_from_array(array: np.ndarray) -> vtk.vtkImageData:
    """Wrap a contiguous array of shape (K, J, I) as vtkImageData in voxel coordinates, without copying."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=False))
    return image


def array_from_image(image: vtk.vtkImageData) -> np.ndarray:
    """View an image's voxels as an array of shape (K, J, I)."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def affine_to_world(
    size_ijk: tuple[int, int, int], ijk_to_ras: np.ndarray, parent: slicer.vtkMRMLTransformNode | None
) -> tuple[np.ndarray, float]:
    """Affine from voxel index to world RAS through a parent transform, and its error.

    Parameters
    ----------
    size_ijk : tuple of 3 int
    ijk_to_ras : ndarray of shape (4, 4)
        Of the image itself.
    parent : vtkMRMLTransformNode or None

    Returns
    -------
    affine : ndarray of shape (4, 4)
        Exact without a parent or for a linear one; otherwise the best fit.
    residual_mm : float
        Largest distance between the affine and the transform in the image.
    """
    if parent is None:
        return ijk_to_ras, 0.0
    if parent.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix) @ ijk_to_ras, 0.0
    indices, world = _lattice(size_ijk, ijk_to_ras, parent)
    design = np.c_[indices, np.ones(len(indices))]
    solution = np.linalg.lstsq(design, world, rcond=None)[0]
    fitted = np.vstack([solution.T, [0, 0, 0, 1]])
    return fitted, float(np.linalg.norm(design @ solution - world, axis=1).max())


def world_points(points: np.ndarray, parent: slicer.vtkMRMLTransformNode | None) -> np.ndarray:
    """Transform points of shape (N, 3) to world coordinates; unchanged without a transform node."""
    if parent is None:
        return points
    given, moved = vtk.vtkPoints(), vtk.vtkPoints()
    given.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    moved.SetDataTypeToDouble()
    _to_world(parent).TransformPoints(given, moved)
    return vtk_to_numpy(moved.GetData())


def slice_steps(
    size_ijk: tuple[int, int, int], ijk_to_ras: np.ndarray, parent: slicer.vtkMRMLTransformNode
) -> np.ndarray:
    """World distances in mm from slice to slice, at points distributed over the slices."""
    world = _lattice(size_ijk, ijk_to_ras, parent)[1].reshape(-1, size_ijk[2], 3)
    return np.linalg.norm(np.diff(world, axis=1), axis=-1)


def slices_to_world(
    array: np.ndarray, ijk_to_ras: np.ndarray, parent: slicer.vtkMRMLTransformNode
) -> tuple[np.ndarray, np.ndarray] | None:
    """Interpolate slices that a transform moves as wholes to an even spacing, as the file readers do.

    Parameters
    ----------
    array : ndarray of shape (K, J, I)
    ijk_to_ras : ndarray of shape (4, 4)
        Of the image itself.
    parent : vtkMRMLTransformNode

    Returns
    -------
    (array, affine) or None
        As in `resample_to_world`; None if the transform does more than that.
    """
    size = array.shape[::-1]
    if min(size) < 2:
        return None
    indices, world = _lattice(size, ijk_to_ras, parent)
    planes = world.reshape(-1, size[2], 3)  # (points of a slice, slices, RAS)
    origins = planes[0]
    if np.abs((planes - origins) - (planes[:, :1] - origins[:1])).max() > AFFINE_TOLERANCE_MM:
        return None
    design = np.c_[indices.reshape(-1, size[2], 3)[:, 0, :2], np.ones(len(planes))]
    columns, *_rest = np.linalg.lstsq(design, planes[:, 0], rcond=None)
    direction = (origins[-1] - origins[0]) / np.linalg.norm(origins[-1] - origins[0])
    offsets = (origins - origins[0]) @ direction
    aside = np.abs(origins - origins[0] - offsets[:, None] * direction).max()
    bent = np.abs(design @ columns - planes[:, 0]).max()
    if max(aside, bent) > AFFINE_TOLERANCE_MM or np.diff(offsets).min() <= 0:
        return None
    grid, _is_regular = regular_offsets(offsets)
    affine = np.eye(4)
    affine[:3] = np.column_stack([columns[0], columns[1], direction * (grid[1] - grid[0]), origins[0]])
    return resample_slices(array, offsets, grid), affine


def resample_to_world(
    array: np.ndarray,
    ijk_to_ras: np.ndarray,
    parent: slicer.vtkMRMLTransformNode,
    affine: np.ndarray,
    slice_step_mm: float,
    background: float,
    nearest: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample to a regular grid along the axes of `affine` that contains the whole image.

    Parameters
    ----------
    array : ndarray of shape (K, J, I)
    ijk_to_ras : ndarray of shape (4, 4)
        Of the image itself.
    parent : vtkMRMLTransformNode
    affine : ndarray of shape (4, 4)
        From `affine_to_world`.
    slice_step_mm : float
        Slice step of the new grid.
    background : float
        Value outside the image.
    nearest : bool
        Use nearest neighbor, for labels.

    Returns
    -------
    array : ndarray of shape (K', J', I')
    affine : ndarray of shape (4, 4)
        Voxel index to world RAS.
    """
    affine = affine.copy()
    affine[:3, 2] *= slice_step_mm / np.linalg.norm(affine[:3, 2])
    reached = apply_affine(np.linalg.inv(affine), _lattice(array.shape[::-1], ijk_to_ras, parent)[1])
    low = np.floor(reached.min(axis=0) + 1e-3).astype(int)
    high = np.ceil(reached.max(axis=0) - 1e-3).astype(int)

    back = vtk.vtkGeneralTransform()  # output index -> world -> the image's RAS -> input index
    back.Concatenate(slicer.util.vtkMatrixFromArray(np.linalg.inv(ijk_to_ras)))
    back.Concatenate(_to_world(parent).GetInverse())
    back.Concatenate(slicer.util.vtkMatrixFromArray(affine))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image_from_array(np.ascontiguousarray(array)))
    reslice.SetResliceTransform(back)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputExtent(*np.stack([low, high], axis=1).ravel().tolist())
    if nearest:
        reslice.SetInterpolationModeToNearestNeighbor()
    else:
        reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(background)
    reslice.Update()
    shift = np.eye(4)
    shift[:3, 3] = low
    return array_from_image(reslice.GetOutput()), affine @ shift


def _lattice(size_ijk, ijk_to_ras, parent):
    """Voxel indices (i, j, k) distributed over the image, in every slice, and their world positions."""
    axes = [np.unique(np.linspace(0, n - 1, min(n, 7)).round()) for n in size_ijk[:2]] + [np.arange(size_ijk[2])]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return indices, world_points(apply_affine(ijk_to_ras, indices), parent)


def _to_world(parent):
    transform = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(transform)
    return transform
