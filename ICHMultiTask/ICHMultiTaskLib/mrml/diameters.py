"""The diameters A, B and C of a measured segment as line markups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

from ..scan.geometry import apply_affine
from .hierarchy import file_beside
from .layout import own_composites
from .results import remove_with_display
from .scene import nodes_of_class

if TYPE_CHECKING:
    from ..measures.segment import Segment, SegmentMeasures

_KIND = "ICHMultiTask.Diameter"
_SCAN_ROLE = "ICHMultiTask.Scan"
_BESIDE_MM = 4.0
"""Distance from the bleed to a label."""
_COLORS = {"A": (0.9, 0.6, 0.0), "B": (0.35, 0.7, 0.9), "C": (0.0, 0.62, 0.45)}


def show_diameters(
    scene: slicer.vtkMRMLScene,
    measures: SegmentMeasures,
    scan_node: slicer.vtkMRMLScalarVolumeNode,
    segment: Segment | None = None,
    jump: bool = True,
) -> list[slicer.vtkMRMLMarkupsLineNode]:
    """Draw A, B and C of a segment in the views, with their lengths beside it.

    A view beside them that shows another scan is left alone.

    Parameters
    ----------
    scene : vtkMRMLScene
    measures : SegmentMeasures
    scan_node : vtkMRMLScalarVolumeNode
        The lines are placed next to it in the subject hierarchy.
    segment : Segment, optional
        The measured segment, which the labels do not cover. Without it, they do not cover the lines.
    jump : bool
        Go to the slice of A and B.

    Returns
    -------
    list of vtkMRMLMarkupsLineNode
        Locked lines whose lengths are the diameters; empty if nothing was measured.
    """
    lines = {letter: getattr(measures, f"{letter.lower()}_line_ras_mm") for letter in _COLORS}
    lines = {letter: line for letter, line in lines.items() if line is not None}
    others = {
        node.GetLayoutName() for node in own_composites(scene) if node.GetBackgroundVolumeID() != scan_node.GetID()
    }
    views = [view for view in nodes_of_class(scene, "vtkMRMLSliceNode") if view.GetLayoutName() not in others]
    nodes = []
    # In sagittal and coronal views, A and B would overlap; in axial views, C would be a point on the bleed.
    axial = {view.GetID(): _is_axial(view) for view in views}
    for letter, line in lines.items():
        node = slicer.vtkMRMLMarkupsLineNode()
        node.SetName(f"{letter} ({measures.reader or measures.name})")
        wanted = [view_id for view_id, is_axial in axial.items() if is_axial == (letter != "C")]
        nodes.append(_add(scene, node, line, [""] * 2, _COLORS[letter], wanted, scan_node, letter))
    for letters, point in _label_places(lines, segment).items():
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(f"{', '.join(letters)} ({measures.reader or measures.name})")
        # One text of several lines, which keep their distance in views of any size.
        text = "\n".join(f"{letter} {getattr(measures, f'{letter.lower()}_mm'):.0f} mm" for letter in letters)
        wanted = [view_id for view_id, is_axial in axial.items() if is_axial == (letters != "C")]
        _add(scene, node, [point], [text], (1.0, 1.0, 1.0), wanted, scan_node, letters)
    if nodes and jump:
        for view in views:
            view.JumpSlice(*measures.a_line_ras_mm.mean(axis=0))
    return nodes


def _add(scene, node, points, texts, color, view_ids, scan_node, kind):
    """Add a markup only when it is complete, since each change of a markup in the scene redraws all views."""
    node.SetScene(scene)  # whose units its length is measured in, from the second point on
    node.SetAttribute(_KIND, kind)
    node.AddNodeReferenceID(_SCAN_ROLE, scan_node.GetID())
    node.SetControlPointLabelFormat("")
    for index, (point, text) in enumerate(zip(points, texts)):
        node.AddControlPointWorld(vtk.vtkVector3d(*point))
        node.SetNthControlPointLabel(index, text)
    node.SetLocked(True)
    display = slicer.vtkMRMLMarkupsFiducialDisplayNode() if any(texts) else slicer.vtkMRMLMarkupsDisplayNode()
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetGlyphScale(0.1 if any(texts) else 1.5)
    display.SetTextScale(3.0)
    display.SetSliceProjection(True)
    display.SetSliceProjectionOpacity(0.4)
    display.SetPropertiesLabelVisibility(False)  # its position is the middle, where the lines cross
    display.SetPointLabelsVisibility(any(texts))
    display.SetVisibility3D(False)
    for view_id in view_ids:
        display.AddViewNodeID(view_id)
    scene.AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
    scene.AddNode(node)
    file_beside(node, scan_node)
    return node


def _label_places(lines, segment):
    """Positions of the labels by their letters, RAS mm: A and B to the right of the bleed in the view, C above it.

    In radiological orientation, the right of the view is the patient's left.
    """
    places = {}
    flat = {letter: line for letter, line in lines.items() if letter != "C"}
    if flat:
        center = np.mean([line.mean(axis=0) for line in flat.values()], axis=0)
        edge = min(line[:, 0].min() for line in flat.values())
        if segment is not None:
            edge = min(edge, _left_edge(segment, center))
        places["".join(flat)] = np.array([edge - _BESIDE_MM, *center[1:]])
    if "C" in lines:
        top = lines["C"][lines["C"][:, 2].argmax()]
        places["C"] = top + (0, 0, _BESIDE_MM)
    return places


def _left_edge(segment, center):
    """How far to the patient's left a segment reaches, in RAS mm, in the slice of a point."""
    k = int(np.round(apply_affine(np.linalg.inv(segment.ijk_to_ras), center)[2]))
    index = np.argwhere(segment.mask[int(np.clip(k, 0, len(segment.mask) - 1))])
    if len(index) == 0:
        return center[0]
    return apply_affine(segment.ijk_to_ras, np.column_stack([index[:, ::-1], np.full(len(index), k)]))[:, 0].min()


def _is_axial(view):
    """Whether a view shows slices as they were acquired, nearly axial."""
    matrix = view.GetSliceToRAS()
    return abs(matrix.GetElement(2, 2)) > 0.7


def keep_diameters_out_of_view(scene: slicer.vtkMRMLScene, view: slicer.vtkMRMLSliceNode) -> None:
    """Hide the lines and labels that `show_diameters` drew in a view, which shows another scan."""
    for node in nodes_of_class(scene, "vtkMRMLMarkupsNode"):
        if node.GetAttribute(_KIND) is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().RemoveViewNodeID(view.GetID())


def remove_diameters(scene: slicer.vtkMRMLScene, keep: slicer.vtkMRMLScalarVolumeNode | None = None) -> None:
    """Remove the lines and labels that `show_diameters` drew, except those of the scan `keep`."""
    for node in nodes_of_class(scene, "vtkMRMLMarkupsNode"):
        mine = keep is not None and node.GetNodeReferenceID(_SCAN_ROLE) == keep.GetID()
        if node.GetAttribute(_KIND) is not None and not mine:
            remove_with_display(scene, node)
