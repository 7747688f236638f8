"""Layout with two linked slice views side by side above a table, and back to the user's own layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from .scene import application_logic, let_views_settle, nodes_of_class
from .volumes import world_affine

SIDE_BY_SIDE = 1183
"""ID of the layout, different from those of the application and other extensions."""
LEFT, RIGHT = "ICHMultiTaskLeft", "ICHMultiTaskRight"
_PREVIOUS = "ICHMultiTask.PreviousLayout"
_KEPT_OUT = "ICHMultiTask.KeptOutOfLeftView"
_LABELS = {LEFT: "L", RIGHT: "R"}
_COLORS = {LEFT: (0.902, 0.624, 0.0), RIGHT: (0.337, 0.706, 0.914)}
_LAYOUT = f"""
<layout type="vertical" split="true">
 <item splitSize="680"><layout type="horizontal">
  <item><view class="vtkMRMLSliceNode" singletontag="{LEFT}"/></item>
  <item><view class="vtkMRMLSliceNode" singletontag="{RIGHT}"/></item>
 </layout></item>
 <item splitSize="320"><view class="vtkMRMLTableViewNode" singletontag="TableView1">
  <property name="viewlabel" action="default">T</property>
 </view></item>
</layout>"""


def show_side_by_side(
    scene: slicer.vtkMRMLScene,
    left: tuple[slicer.vtkMRMLVolumeNode, slicer.vtkMRMLVolumeNode | None],
    right: tuple[slicer.vtkMRMLVolumeNode, slicer.vtkMRMLVolumeNode | None],
    position_ras: Sequence[float] | None = None,
    foreground_opacity: float = 0.4,
) -> None:
    """Switch to two linked views in the plane of the right volume's slices, which may be tilted.

    Parameters
    ----------
    scene : vtkMRMLScene
    left, right : (vtkMRMLVolumeNode, vtkMRMLVolumeNode or None)
        Background and foreground of each view.
    position_ras : sequence of 3 float, optional
        World position in mm that both views show.
    foreground_opacity : float
    """
    layout = layout_node(scene)
    current = layout.GetViewArrangement()
    if current != SIDE_BY_SIDE:
        for tag in (LEFT, RIGHT):
            _make_view(scene, tag)
        with slicer.util.NodeModify(layout):  # the application makes all views anew at each event
            register_layout(scene)
            layout.SetAttribute(_PREVIOUS, str(current))
            layout.SetViewArrangement(SIDE_BY_SIDE)
        let_views_settle()
    for tag, (background, foreground) in ((LEFT, left), (RIGHT, right)):
        composite = _composite(scene, tag)
        with slicer.util.NodeModify(composite):
            composite.SetLinkedControl(False)  # otherwise the application copies one view's volumes to the other
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
            composite.SetForegroundOpacity(foreground_opacity)
        _turn_to_slices(slice_node(scene, tag), right[0])
    let_views_settle()
    _fit(scene, right[0])
    for tag in (LEFT, RIGHT):
        composite = _composite(scene, tag)
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        if position_ras is not None:
            slice_node(scene, tag).JumpSlice(*position_ras)


def register_layout(scene: slicer.vtkMRMLScene) -> None:
    """Make the layout known: a scene that was saved in a layout that is not known opens without any view."""
    layout = layout_node(scene)
    if not layout.IsLayoutDescription(SIDE_BY_SIDE):
        layout.AddLayoutDescription(SIDE_BY_SIDE, _LAYOUT)


def leave_side_by_side(scene: slicer.vtkMRMLScene) -> None:
    """Restore the user's layout, and show the segmentations in every view again."""
    layout = layout_node(scene)
    if layout.GetViewArrangement() == SIDE_BY_SIDE:
        layout.SetViewArrangement(int(layout.GetAttribute(_PREVIOUS) or layout.SlicerLayoutFourUpView))
    for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        show_in_all_views(node)


def is_side_by_side(scene: slicer.vtkMRMLScene) -> bool:
    """Whether the layout is active."""
    return layout_node(scene).GetViewArrangement() == SIDE_BY_SIDE


def volume_on(scene: slicer.vtkMRMLScene, tag: str) -> slicer.vtkMRMLVolumeNode | None:
    """Return the background volume of `LEFT` or `RIGHT`, or None if the layout is not active."""
    if not is_side_by_side(scene):
        return None
    return scene.GetNodeByID(_composite(scene, tag).GetBackgroundVolumeID() or "")


def keep_out_of_view(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode, tag: str) -> None:
    """Show a segmentation in every view except `LEFT` or `RIGHT`; does nothing if the user has chosen its views."""
    display = node.GetDisplayNode()
    if display is None or (display.GetNumberOfViewNodeIDs() and not display.GetAttribute(_KEPT_OUT)):
        return
    out = slice_node(scene, tag)
    views = nodes_of_class(scene, "vtkMRMLSliceNode") + nodes_of_class(scene, "vtkMRMLViewNode")
    wanted = [view.GetID() for view in views if view is not out]
    if [display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs())] == wanted:
        return
    with slicer.util.NodeModify(display):
        display.RemoveAllViewNodeIDs()
        display.SetAttribute(_KEPT_OUT, "1")
        for view_id in wanted:
            display.AddViewNodeID(view_id)


def show_in_all_views(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Undo `keep_out_of_view`."""
    display = node.GetDisplayNode()
    if display is not None and display.GetAttribute(_KEPT_OUT):
        display.RemoveAllViewNodeIDs()
        display.RemoveAttribute(_KEPT_OUT)


def own_composites(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceCompositeNode]:
    """Composite nodes of the two views, if they exist; they do not show the user's choice of volumes."""
    return [n for n in nodes_of_class(scene, "vtkMRMLSliceCompositeNode") if n.GetLayoutName() in (LEFT, RIGHT)]


def layout_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLLayoutNode:
    """Return the scene's layout node."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def slice_node(scene: slicer.vtkMRMLScene, tag: str) -> slicer.vtkMRMLSliceNode:
    """Return the slice node of `LEFT` or `RIGHT`, which exists once the layout was shown."""
    return next(n for n in nodes_of_class(scene, "vtkMRMLSliceNode") if n.GetLayoutName() == tag)


def _make_view(scene, tag):
    """Add a view's slice node if it is missing; each new view takes the application a while, so one at a time."""
    if any(node.GetLayoutName() == tag for node in nodes_of_class(scene, "vtkMRMLSliceNode")):
        return
    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName(tag)
    node.SetName(tag)
    node.SetLayoutLabel(_LABELS[tag])
    node.SetLayoutColor(*_COLORS[tag])
    node.SetViewGroup(SIDE_BY_SIDE)
    scene.AddNode(node)
    let_views_settle()


def _composite(scene, tag):
    """The view's composite node, which is created if missing, as outside the application."""
    for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        if node.GetLayoutName() == tag:
            return node
    node = slicer.vtkMRMLSliceCompositeNode()
    node.SetLayoutName(tag)
    node.SetSingletonTag(tag)
    return scene.AddNode(node)


def _turn_to_slices(view, volume):
    """Turn a view into the plane of a volume's slices, patient left on its right and front up."""
    affine = world_affine(volume)[0]
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    across = columns[:, 0] * (-1 if columns[0, 0] > 0 else 1)
    normal = np.cross(columns[:, 0], columns[:, 1])
    normal *= (-1 if normal[2] < 0 else 1) / np.linalg.norm(normal)
    matrix = view.GetSliceToRAS()
    for column, direction in enumerate((across, -np.cross(normal, across), normal)):
        for row in range(3):
            matrix.SetElement(row, column, direction[row])
    view.UpdateMatrices()


def _fit(scene, volume):
    """Fit both views to the volume of the right one, with the thickness of its slices."""
    ids = {node.GetID() for node in own_composites(scene)}
    for logic in application_logic().GetSliceLogics() or ():
        if logic.GetSliceCompositeNode().GetID() in ids:
            logic.FitSliceToBackground()
    steps = world_affine(volume)[0][:3, :3]
    thickness = abs(np.linalg.det(steps)) / np.linalg.norm(np.cross(steps[:, 0], steps[:, 1]))
    left, right = (slice_node(scene, tag) for tag in (LEFT, RIGHT))
    pixel_mm = right.GetFieldOfView()[0] / max(right.GetDimensions()[0], 1)
    left.GetSliceToRAS().DeepCopy(right.GetSliceToRAS())
    for view in (left, right):
        # On a sheared volume the fit gives a thickness of 0, which disables scrolling and markups.
        view.SetSliceSpacingModeToPrescribed()
        view.SetPrescribedSliceSpacing(1, 1, thickness)
        width, height, _depth = view.GetDimensions()
        view.SetFieldOfView(width * pixel_mm, height * pixel_mm, thickness)
        view.UpdateMatrices()
