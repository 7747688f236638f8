"""The bleed in the 3-D views: the skull transparent, segments solid, the cameras pointed at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..scan.geometry import apply_affine
from . import results
from .hierarchy import file_beside
from .scene import let_views_settle, nodes_of_class
from .segments import belongs_to
from .transforms import image_from_array

if TYPE_CHECKING:
    import slicer

    from ..scan.head_ct import HeadCT

_BONE_HU = 250.0
_COARSE_MM = 2.0
_GLASS = 0.12
_BONE_COLOR = (0.95, 0.91, 0.83)
_DISTANCE_MM = 480.0


def skull_surface(head_ct: HeadCT) -> vtk.vtkPolyData:
    """Compute the surface of the bone in world coordinates; accesses no node, so that it can run in a thread.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    vtkPolyData
    """
    steps = np.maximum(1, np.floor(_COARSE_MM / head_ct.spacing_kji + 0.1)).astype(int)
    shape = [size - size % step for size, step in zip(head_ct.hu.shape, steps)]
    blocks = head_ct.hu[tuple(slice(size) for size in shape)].reshape(
        *(n for size, step in zip(shape, steps) for n in (size // step, step))
    )
    coarse = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    surface = smoothed_contour(coarse, _BONE_HU, padding=-1000, iterations=12)
    index = vtk_to_numpy(surface.GetPoints().GetData())
    ijk = index * steps[::-1] + (steps[::-1] - 1) / 2
    surface.GetPoints().SetData(numpy_to_vtk(apply_affine(head_ct.ijk_to_ras, ijk).astype(np.float32), deep=True))
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(surface)
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()


def smoothed_contour(array: np.ndarray, level: float, padding: float, iterations: int) -> vtk.vtkPolyData:
    """Closed contour of an array, without the steps of its voxels.

    Parameters
    ----------
    array : ndarray of shape (K, J, I)
    level : float
    padding : float
        Value beyond the array.
    iterations : int
        Number of smoothing steps.

    Returns
    -------
    vtkPolyData
        Triangles; points in array indices (i, j, k).
    """
    contour = vtk.vtkFlyingEdges3D()
    image = image_from_array(np.pad(array, 1, constant_values=padding).astype(np.float32))
    image.SetOrigin(-1.0, -1.0, -1.0)  # of the padding
    contour.SetInputData(image)
    contour.SetValue(0, level)
    contour.ComputeNormalsOff()
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(contour.GetOutputPort())
    smooth.SetNumberOfIterations(iterations)
    smooth.SetPassBand(0.1)
    smooth.Update()
    return smooth.GetOutput()


def show_in_3d(
    scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLScalarVolumeNode, surface: vtk.vtkPolyData
) -> slicer.vtkMRMLModelNode:
    """Show a scan's skull as a transparent surface around its segments, and point the 3-D views at them.

    Parameters
    ----------
    scene : vtkMRMLScene
    scan : vtkMRMLScalarVolumeNode
    surface : vtkPolyData
        From `skull_surface`.

    Returns
    -------
    vtkMRMLModelNode

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    node = results.make_result_node(scene, scan, "skull")
    node.SetAndObservePolyData(surface)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetColor(*_BONE_COLOR)
        display.SetOpacity(_GLASS)
        display.SetBackfaceCulling(False)
        display.SetScalarVisibility(False)  # it has no values to color it by, which VTK would complain of
        display.SetVisibility2D(False)
    node.GetDisplayNode().SetVisibility(True)
    file_beside(node, scan)
    bounds = vtk.vtkBoundingBox()
    for segmentation in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        display = segmentation.GetDisplayNode()
        if display is None or not display.GetVisibility() or belongs_to(segmentation, scan) is False:
            continue
        let_views_settle()  # the window must not stand still until all surfaces are made
        segmentation.CreateClosedSurfaceRepresentation()
        display.SetVisibility3D(True)
        display.SetOpacity3D(1.0)
        box = [0.0] * 6
        segmentation.GetRASBounds(box)
        if box[0] <= box[1]:
            bounds.AddBounds(box)
    if not bounds.IsValid():
        bounds.AddBounds(surface.GetBounds())
    center = [0.0] * 3
    bounds.GetCenter(center)
    _turn_cameras(scene, np.array(center), np.array(surface.GetCenter()))
    return node


def _turn_cameras(scene, center, head_center):
    """View the bleed from its side of the head, slightly from above and in front."""
    side = 1.0 if center[0] >= head_center[0] else -1.0
    direction = np.array([0.8 * side, 0.5, 0.35])
    for camera in nodes_of_class(scene, "vtkMRMLCameraNode"):
        camera.SetFocalPoint(*center)
        camera.SetPosition(*(center + _DISTANCE_MM * direction / np.linalg.norm(direction)))
        camera.SetViewUp(0, 0, 1)
        camera.ResetClippingRange()


def hide_skulls(scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Hide the skulls of other scans."""
    for node in nodes_of_class(scene, "vtkMRMLModelNode"):
        if results.kind_of(node) == "skull" and node is not results.result_node(scan, "skull"):
            node.GetDisplayNode().SetVisibility(False)
