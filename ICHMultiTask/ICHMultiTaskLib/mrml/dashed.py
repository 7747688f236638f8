"""Dashed outlines in one slice view: segments of a later scan over an earlier one.

The application draws segments with solid lines only. A surface with gaps, cut by a slice, is a dashed line.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..measures.grids import bounding_box
from ..measures.segment import Segment
from ..scan.geometry import apply_affine
from .results import remove_with_display
from .scene import nodes_of_class
from .segments import SegmentChoice, read_segment
from .three_d import smoothed_contour

DASH_MM = 4.0
_KIND = "ICHMultiTask.DashedOutline"
_LINE_WIDTH = 2


def show_dashed(
    scene: slicer.vtkMRMLScene, choices: list[SegmentChoice], view_id: str
) -> list[slicer.vtkMRMLModelNode]:
    """Show segments as dashed outlines in one slice view.

    Parameters
    ----------
    scene : vtkMRMLScene
    choices : list of SegmentChoice
    view_id : str
        Of the slice node.

    Returns
    -------
    list of vtkMRMLModelNode
        Not saved with the scene; empty segments have none.

    Raises
    ------
    InputError
        If a segment cannot be read.
    """
    nodes = []
    for choice in choices:
        segment = read_segment(scene.GetNodeByID(choice.node_id), choice.segment_id)
        if not segment.mask.any():
            continue
        node = slicer.vtkMRMLModelNode()
        node.SetName(f"{choice.short_name}, dashed")
        node.SetAttribute(_KIND, "1")
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node = scene.AddNode(node)
        node.SetAndObservePolyData(dashed_surface(segment))
        display = slicer.vtkMRMLModelDisplayNode()
        display.SetSaveWithScene(False)
        display.SetColor(*choice.color)
        display.SetVisibility3D(False)
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(_LINE_WIDTH)
        display.AddViewNodeID(view_id)
        node.SetAndObserveDisplayNodeID(scene.AddNode(display).GetID())
        nodes.append(node)
    return nodes


def remove_dashed(scene: slicer.vtkMRMLScene) -> None:
    """Remove the outlines of `show_dashed`."""
    for node in nodes_of_class(scene, "vtkMRMLModelNode"):
        if node.GetAttribute(_KIND):
            remove_with_display(scene, node)


def dashed_surface(segment: Segment) -> vtk.vtkPolyData:
    """Surface of a segment in world coordinates without every other sector around a vertical axis.

    In an axial slice, dashes and gaps are about `DASH_MM` long; in other slices they are longer.

    Parameters
    ----------
    segment : Segment
        Not empty.

    Returns
    -------
    vtkPolyData
    """
    box = bounding_box(segment.mask)
    surface = smoothed_contour(segment.mask[box], 0.5, padding=0, iterations=15)
    ijk = vtk_to_numpy(surface.GetPoints().GetData()) + [part.start for part in reversed(box)]
    points = apply_affine(segment.ijk_to_ras, ijk)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    right, front = (points[triangles].mean(axis=1) - points.mean(axis=0)).T[:2]
    dashes = max(2, round(np.pi * np.hypot(right, front).mean() / DASH_MM))
    angle = np.arctan2(front, right) / np.pi  # -1 to 1
    kept = np.ascontiguousarray(triangles[np.floor(angle * dashes) % 2 == 0])
    polygons = vtk.vtkCellArray()
    polygons.SetData(3, numpy_to_vtk(kept.reshape(-1).astype(np.int64), deep=True, array_type=vtk.VTK_ID_TYPE))
    dashed, corners = vtk.vtkPolyData(), vtk.vtkPoints()
    corners.SetData(numpy_to_vtk(points.astype(np.float32), deep=True))
    dashed.SetPoints(corners)
    dashed.SetPolys(polygons)
    return dashed
