"""One scan at a time: views, overlay, segmentations and lines are those of the chosen scan. Needs no Qt."""

import numpy as np

from . import results
from .diameters import remove_diameters
from .layout import own_composites
from .scene import nodes_of_class
from .segments import belongs_to
from .three_d import hide_skulls

_HIDDEN = "ICHMultiTask.HiddenWithItsScan"


def show_scan(scene, scan):
    """Bring a scan into the views, with what belongs to it and nothing of another patient.

    Its map lies over it; segmentations of other scans are hidden until theirs is shown again; lines of measured
    segments go; views that were turned to another scan's slices are turned back. No-op for what is so already.

    Parameters
    ----------
    scene : vtkMRMLScene
    scan : vtkMRMLScalarVolumeNode
    """
    remove_diameters(scene, keep=scan)
    hide_skulls(scene, scan)
    _turn_views_back(scene)
    results.show_overlay(scene, scan, results.result_node(scan, "attention"))
    for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        _show_or_hide(node, foreign=belongs_to(node, scan) is False)
    table = results.result_node(scan, "table")
    if table is not None:
        results.select_table(table)


def scans(scene):
    """Volumes that can be analyzed, in the order of the scene: no result, no labelmap, nothing hidden."""
    return [
        node
        for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not results.is_result(node)
        and not node.GetHideFromEditors()
    ]


def _show_or_hide(node, foreign):
    """Hide a segmentation of another scan; show one again that was hidden so, unless the user hid it himself."""
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
    """The orientation that each view of the user's layouts has by itself, where it shows an oblique plane."""
    own = {node.GetLayoutName() for node in own_composites(scene)}
    for view in nodes_of_class(scene, "vtkMRMLSliceNode"):
        matrix = view.GetSliceToRAS()
        axes = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
        oblique = np.abs(axes).max(axis=0).min() < 1 - 1e-6
        if oblique and view.GetLayoutName() not in own:
            view.SetOrientationToDefault()


def others_of(scan):
    """Nodes of this module's that a scan has beside its results: lines, and transforms made for it."""
    scene = scan.GetScene()
    nodes = nodes_of_class(scene, "vtkMRMLMarkupsLineNode") + nodes_of_class(scene, "vtkMRMLTransformNode")
    return [node for node in nodes if node.GetNodeReferenceID("ICHMultiTask.Scan") == scan.GetID()]
