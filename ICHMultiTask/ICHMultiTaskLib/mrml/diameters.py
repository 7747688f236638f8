"""The diameters A, B and C of a measured segment as line markups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hierarchy import file_beside
from .scene import nodes_of_class

if TYPE_CHECKING:
    import slicer

    from ..measures.segment import SegmentMeasures

_KIND = "ICHMultiTask.Diameter"
_SCAN_ROLE = "ICHMultiTask.Scan"
_COLORS = {"A": (0.9, 0.6, 0.0), "B": (0.35, 0.7, 0.9), "C": (0.0, 0.62, 0.45)}


def show_diameters(
    scene: slicer.vtkMRMLScene, measures: SegmentMeasures, scan_node: slicer.vtkMRMLScalarVolumeNode, jump: bool = True
) -> list[slicer.vtkMRMLMarkupsLineNode]:
    """Draw A, B and C of a segment in the views.

    Parameters
    ----------
    scene : vtkMRMLScene
    measures : SegmentMeasures
    scan_node : vtkMRMLScalarVolumeNode
        The lines are placed next to it in the subject hierarchy.
    jump : bool
        Jump to the slice of A and B.

    Returns
    -------
    list of vtkMRMLMarkupsLineNode
        Locked lines as long as the diameters; none if nothing was measured.
    """
    nodes, views = [], nodes_of_class(scene, "vtkMRMLSliceNode")
    for letter, color in _COLORS.items():
        line = getattr(measures, f"{letter.lower()}_line_ras_mm")
        if line is None:
            continue
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", f"{letter} ({measures.reader or measures.name})")
        node.SetAttribute(_KIND, letter)
        node.AddNodeReferenceID(_SCAN_ROLE, scan_node.GetID())
        node.CreateDefaultDisplayNodes()
        node.SetControlPointLabelFormat("")
        # The label starts at the end on the right of the views (radiological convention) and extends away from the
        # bleed; vertical lines have it on top.
        first = line[:, 2].argmax() if letter == "C" else line[:, 0].argmin()
        for point in (line[first], line[1 - first]):
            node.AddControlPointWorld(*point)
        node.SetNthControlPointLabel(0, f"{letter} {getattr(measures, f'{letter.lower()}_mm'):.0f} mm")
        node.SetLocked(True)
        display = node.GetDisplayNode()
        display.SetSelectedColor(*color)
        display.SetColor(*color)
        display.SetGlyphScale(1.5)
        display.SetTextScale(3.0)
        display.SetSliceProjection(True)
        display.SetSliceProjectionOpacity(0.4)
        display.SetPropertiesLabelVisibility(False)  # it would be in the middle, where the lines cross
        display.SetPointLabelsVisibility(True)
        for view in views:  # in side views A and B overlap; in axial views C is a point on the bleed
            if _is_axial(view) == (letter != "C"):
                display.AddViewNodeID(view.GetID())
        file_beside(node, scan_node)
        nodes.append(node)
    if nodes and jump:
        for view in views:
            view.JumpSlice(*measures.a_line_ras_mm.mean(axis=0))
    return nodes


def _is_axial(view):
    """Whether a view is nearly axial."""
    matrix = view.GetSliceToRAS()
    return abs(matrix.GetElement(2, 2)) > 0.7


def remove_diameters(scene: slicer.vtkMRMLScene, keep: slicer.vtkMRMLScalarVolumeNode | None = None) -> None:
    """Remove the lines drawn by `show_diameters`, except those of the scan `keep`."""
    for node in nodes_of_class(scene, "vtkMRMLMarkupsLineNode"):
        mine = keep is not None and node.GetNodeReferenceID(_SCAN_ROLE) == keep.GetID()
        if node.GetAttribute(_KIND) is not None and not mine:
            scene.RemoveNode(node)
