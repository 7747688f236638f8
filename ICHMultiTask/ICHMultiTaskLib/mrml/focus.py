"""Show one scan at a time: its map, segmentations and lines, and nothing of other scans. Needs no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import results
from .diameters import remove_diameters
from .hierarchy import identity_of
from .layout import own_composites
from .scene import nodes_of_class
from .segments import belongs_to
from .three_d import hide_skulls
from .translation import tr as _

if TYPE_CHECKING:
    import slicer

_HIDDEN = "ICHMultiTask.HiddenWithItsScan"


def show_scan(scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a scan with its results in the views, and nothing of another patient.

    Its map is overlaid unless it is switched off; segmentations of other scans are hidden until their scan is shown
    again; lines of measured segments are removed; views that were rotated to another scan's slices are reset; table
    views show its result, or become empty if they showed that of another scan.

    Parameters
    ----------
    scene : vtkMRMLScene
    scan : vtkMRMLScalarVolumeNode
    """
    remove_diameters(scene, keep=scan)
    hide_skulls(scene, scan)
    _turn_views_back(scene)
    results.show_overlay(scene, scan, results.map_to_show(scan))
    show_own_segments(scene, scan)
    results.leave_other_tables(scan)
    table = results.result_node(scan, "table")
    if table is not None:
        results.select_table(table)


def show_own_segments(scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Hide the segmentations of other scans until their scan is shown again."""
    for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        _show_or_hide(node, foreign=belongs_to(node, scan) is False)


def scans(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Volumes that can be analyzed, in scene order: no results, labelmaps or hidden nodes."""
    return [
        node
        for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not results.is_result(node)
        and not node.GetHideFromEditors()
    ]


def distinct_names(nodes: Sequence[slicer.vtkMRMLNode]) -> list[str]:
    """Names of scans; where several have one name, as series of one protocol do, with patient and date, or a number."""
    names = [node.GetName() or _("Unnamed scan") for node in nodes]
    stated = [identity_of(node) for node in nodes]
    parts = [", ".join(filter(None, (found.get("patient_id"), found.get("study_date")))) for found in stated]
    longer = [f"{name} ({part})" if part and names.count(name) > 1 else name for name, part in zip(names, parts)]
    return [
        name if longer.count(name) == 1 else f"{name}, {longer[: n + 1].count(name)}" for n, name in enumerate(longer)
    ]


def _show_or_hide(node, foreign):
    """Hide a segmentation of another scan; show it again later, unless the user has hidden it."""
    display = node.GetDisplayNode()
    if display is None:
        return
    if foreign and display.GetVisibility():
        display.SetVisibility(False)
        display.SetAttribute(_HIDDEN, "1")
    elif not foreign and display.GetAttribute(_HIDDEN):
        display.SetVisibility(True)
        display.RemoveAttribute(_HIDDEN)


def _turn_views_back(scene):
    """Reset views of the user's layouts that show an oblique plane to their default orientation."""
    own = {node.GetLayoutName() for node in own_composites(scene)}
    for view in nodes_of_class(scene, "vtkMRMLSliceNode"):
        matrix = view.GetSliceToRAS()
        axes = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
        oblique = np.abs(axes).max(axis=0).min() < 1 - 1e-6
        if oblique and view.GetLayoutName() not in own:
            view.SetOrientationToDefault()


def others_of(scan: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLNode]:
    """Nodes made by this module for a scan, other than results: lines and transforms."""
    scene = scan.GetScene()
    nodes = nodes_of_class(scene, "vtkMRMLMarkupsNode") + nodes_of_class(scene, "vtkMRMLTransformNode")
    return [node for node in nodes if node.GetNodeReferenceID("ICHMultiTask.Scan") == scan.GetID()]
