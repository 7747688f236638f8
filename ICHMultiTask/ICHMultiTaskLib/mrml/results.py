"""Results as nodes: a color-mapped attention volume and a table, next to the scan in the subject hierarchy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import slicer
import vtk

from ..analysis.second_look import WITHOUT_PROGNOSIS, Hemorrhage
from ..common.clinical_variables import read_with
from ..common.errors import InputError
from ..common.numbers import NOT_COMPUTED, interval, number, probability, probability_range
from ..common.research_use import RESEARCH_USE
from ..common.translation import translated
from ..common.words import word
from ..model.attention import SHOWN_FROM
from .hierarchy import file_beside
from .layout import own_composites
from .placement import keep_peak, peak_of, put_on_scan
from .scene import INFERNO_ID, application_logic, nodes_of_class
from .translation import tr as _
from .volumes import show_brain_window

if TYPE_CHECKING:
    from ..analysis.attention import Attention
    from ..analysis.result import Analysis

FOREGROUND_OPACITY = 0.4

_SCAN_ROLE = "ICHMultiTask.Scan"
_KIND = "ICHMultiTask.Result"
_IS_ON = "ICHMultiTask.isOn"
_CLASSES = {"attention": "vtkMRMLScalarVolumeNode", "facts": "vtkMRMLTextNode", "skull": "vtkMRMLModelNode"}
"""Node class of each kind of result; all other kinds are tables."""


@dataclass(frozen=True)
class ResultNodes:
    """Nodes of one analysis; `attention` is None if there is no map."""

    attention: slicer.vtkMRMLScalarVolumeNode | None
    table: slicer.vtkMRMLTableNode


def show_analysis(
    scene: slicer.vtkMRMLScene,
    analysis: Analysis,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    in_views: bool = True,
) -> ResultNodes:
    """Show an analysis with its scan; results of an earlier run on the same scan are replaced.

    The views show the map and jump to its peak, unless no hemorrhage was found.

    Parameters
    ----------
    scene : vtkMRMLScene
    analysis : Analysis
    volumeNode : vtkMRMLScalarVolumeNode
        The scan that was analyzed.
    in_views : bool
        False if the views and tables show another scan, and shall go on with it: only the nodes are made.

    Returns
    -------
    ResultNodes

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    table = write_analysis(scene, analysis, volumeNode)
    if in_views:
        select_table(table)
    if analysis.attention is None:
        remove_result(scene, volumeNode, "attention")
        return ResultNodes(None, table)
    # Without a hemorrhage the highest attention is nowhere in particular, and its color would look like a finding.
    found = analysis.hemorrhage != Hemorrhage.NONE
    node = show_attention(scene, analysis, analysis.attention, volumeNode, found, found, in_views)
    return ResultNodes(node, table)


def write_analysis(
    scene: slicer.vtkMRMLScene, analysis: Analysis, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLTableNode:
    """Fill the result table of a scan. Returns and raises the same as `write_rows`."""
    return write_rows(scene, volumeNode, "table", (_("Measure"), _("Value"), _("Unit")), result_rows(analysis))


def write_rows(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    kind: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> slicer.vtkMRMLTableNode:
    """Fill one of a scan's tables, which is created if missing.

    Parameters
    ----------
    scene : vtkMRMLScene
    volumeNode : vtkMRMLScalarVolumeNode
        The scan.
    kind : str
        Name of the table.
    titles : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str

    Returns
    -------
    vtkMRMLTableNode

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    table = make_result_node(scene, volumeNode, kind)
    fill_table(table, titles, rows)
    file_beside(table, volumeNode)
    return table


def select_table(table: slicer.vtkMRMLTableNode) -> None:
    """Show a table in the table views of the layout."""
    logic = application_logic()
    logic.GetSelectionNode().SetActiveTableID(table.GetID())
    logic.PropagateTableSelection()


def leave_other_tables(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Empty the table views that show a result of another scan: its numbers would stand beside this one's name."""
    scene, selection = volumeNode.GetScene(), application_logic().GetSelectionNode()
    for view in nodes_of_class(scene, "vtkMRMLTableViewNode"):
        if _is_of_another(view.GetTableNode(), volumeNode):
            view.SetTableNodeID(None)
    if _is_of_another(scene.GetNodeByID(selection.GetActiveTableID() or ""), volumeNode):
        selection.SetActiveTableID(None)


def _is_of_another(node, volumeNode):
    """Whether a node is the result of another scan."""
    return node is not None and is_result(node) and node.GetNodeReferenceID(_SCAN_ROLE) != volumeNode.GetID()


def show_attention(
    scene: slicer.vtkMRMLScene,
    analysis: Analysis,
    attention: Attention,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    jump: bool = True,
    shown: bool = True,
    in_views: bool = True,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Overlay an attention map on its scan in the slice views.

    Parameters
    ----------
    scene : vtkMRMLScene
    analysis : Analysis
    attention : Attention
        Of this analysis.
    volumeNode : vtkMRMLScalarVolumeNode
    jump : bool
        Whether the views jump to its peak.
    shown : bool
        Whether it is overlaid at once, or only made.
    in_views : bool
        As of `show_analysis`.

    Returns
    -------
    vtkMRMLScalarVolumeNode
        Values 0 to 1 in the scan's geometry, with the scan's matrix and parent transform. If the scan had to be
        resampled for the analysis, it is in world coordinates.

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    node = make_result_node(scene, volumeNode, "attention")
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()  # before the voxels are set, so that no histogram is computed
        display = node.GetScalarVolumeDisplayNode()
        display.SetAndObserveColorNodeID(INFERNO_ID)
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 1)
        display.SetThreshold(SHOWN_FROM, 1)
        display.SetApplyThreshold(True)
        _add_scale(scene, node)
    head_ct = analysis.head_ct
    with slicer.util.NodeModify(node):  # the application draws its views anew at each event
        put_on_scan(node, attention.array, volumeNode, head_ct)
        for key in ("head", "stage", "method"):
            node.SetAttribute(f"ICHMultiTask.{key}", getattr(attention, key))
        keep_peak(node, attention.peak_ras_mm, head_ct)
    file_beside(node, volumeNode)
    show_brain_window(volumeNode)
    node.SetAttribute(_IS_ON, str(int(shown)))
    if in_views:
        show_overlay(scene, volumeNode, map_to_show(volumeNode))
    peak = peak_of(node)
    if in_views and jump and peak is not None:
        for sliceNode in nodes_of_class(scene, "vtkMRMLSliceNode"):
            sliceNode.JumpSlice(*peak)
    return node


def _add_scale(scene, node):
    """Show the map's colors as a scale in the views that show the map."""
    scale = slicer.vtkMRMLColorLegendDisplayNode()
    scale.SetTitleText(_("Attention"))
    scale.SetAndObserveColorNodeID(INFERNO_ID)
    scale.SetNumberOfLabels(3)
    scale.SetMaxNumberOfColors(256)
    scale.SetLabelFormat("%.1f")
    scale.SetSize(0.06, 0.5)  # the font follows from the width; in a low view the labels need the height
    scale.SetPosition(0.98, 0.5)
    for text in (scale.GetTitleTextProperty(), scale.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.ItalicOff()
    scene.AddNode(scale)
    scale.SetAndObservePrimaryDisplayNode(node.GetScalarVolumeDisplayNode())
    node.AddAndObserveDisplayNodeID(scale.GetID())


def _refresh_scale(node):
    """Make the views draw or remove the scale of a map: they are not notified that they show the map, or no longer."""
    for n in range(node.GetNumberOfDisplayNodes()):
        if node.GetNthDisplayNode(n).IsA("vtkMRMLColorLegendDisplayNode"):
            node.GetNthDisplayNode(n).Modified()


def switch_map(scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLScalarVolumeNode, on: bool) -> None:
    """Show or hide the map of a scan over it, and remember that for this scan."""
    node = result_node(volumeNode, "attention")
    if node is not None:
        node.SetAttribute(_IS_ON, str(int(on)))
    show_overlay(scene, volumeNode, map_to_show(volumeNode))


def map_to_show(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the map of a scan, unless there is none or it is switched off."""
    node = result_node(volumeNode, "attention")
    return None if node is None or node.GetAttribute(_IS_ON) == "0" else node


def show_overlay(
    scene: slicer.vtkMRMLScene, background: slicer.vtkMRMLVolumeNode, foreground: slicer.vtkMRMLVolumeNode | None
) -> None:
    """Show a scan, with an optional map over it, in every slice view of the user's layouts.

    Views that showed another scan are fitted to it.
    """
    own = own_composites(scene)
    composites = [node for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode") if node not in own]
    changed = {node.GetID() for node in composites if node.GetBackgroundVolumeID() != background.GetID()}
    foregroundID = foreground.GetID() if foreground else None
    maps = {node.GetForegroundVolumeID() for node in composites} | {foregroundID}
    for node in composites:
        with slicer.util.NodeModify(node):  # one event, since the application redraws all annotations at each
            node.SetBackgroundVolumeID(background.GetID())
            if node.GetForegroundVolumeID() != foregroundID:
                node.SetForegroundVolumeID(foregroundID)
                node.SetForegroundOpacity(FOREGROUND_OPACITY)
    _fit(changed)
    for node in map(scene.GetNodeByID, filter(None, maps)):
        if node is not None:
            _refresh_scale(node)


def fit_views(scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLVolumeNode) -> None:
    """Fit the slice views of the user's layouts that show a scan to it, as after its position has changed."""
    own = own_composites(scene)
    composites = [node for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode") if node not in own]
    _fit({node.GetID() for node in composites if node.GetBackgroundVolumeID() == volumeNode.GetID()})


def _fit(composite_ids):
    """Fit the views of these composite nodes; outside the application there are none."""
    for logic in application_logic().GetSliceLogics() or ():
        if logic.GetSliceCompositeNode().GetID() in composite_ids:
            logic.FitSliceToBackground()


def set_overlay(volumeNode: slicer.vtkMRMLScalarVolumeNode, opacity: float, threshold: float) -> None:
    """Set the map's opacity in the views that show it, and the threshold below which attention is not shown."""
    node = result_node(volumeNode, "attention")
    if node is None:
        return
    for composite in nodes_of_class(node.GetScene(), "vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundOpacity(opacity)
    node.GetScalarVolumeDisplayNode().SetThreshold(threshold, 1)


def is_result(node: slicer.vtkMRMLNode) -> bool:
    """Whether a node is the result of an analysis rather than a scan."""
    return node.GetAttribute(_KIND) is not None


def kind_of(node: slicer.vtkMRMLNode) -> str | None:
    """Kind of a result node: "attention", "facts" or the name of a table; None for other nodes."""
    return node.GetAttribute(_KIND)


def result_node(volumeNode: slicer.vtkMRMLScalarVolumeNode, kind: str) -> slicer.vtkMRMLNode | None:
    """Return the node of a scan's latest results, or None; `kind` is "attention", "facts" or the name of a table."""
    for node in nodes_of_class(volumeNode.GetScene(), _CLASSES.get(kind, "vtkMRMLTableNode")):
        if node.GetAttribute(_KIND) == kind and node.GetNodeReferenceID(_SCAN_ROLE) == volumeNode.GetID():
            return node
    return None


def results_of(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLNode]:
    """Every result node of a scan: map, tables, facts."""
    classes = ("vtkMRMLTableNode", *_CLASSES.values())
    nodes = [node for name in classes for node in nodes_of_class(volumeNode.GetScene(), name)]
    return [node for node in nodes if is_result(node) and node.GetNodeReferenceID(_SCAN_ROLE) == volumeNode.GetID()]


def result_rows(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Rows of the result table: measure, value, unit.

    Returns
    -------
    list of tuple of str
    """
    bounds = analysis.volume_interval_ml
    rows = [(_("Hemorrhage"), analysis.hemorrhage_reason, "")] if analysis.hemorrhage_reason else []
    rows.append((_("Hematoma volume"), number(analysis.volume_ml), "mL"))
    if bounds is not None:
        rows.append((_("{coverage:.0%} interval").format(coverage=analysis.interval_coverage), interval(bounds), "mL"))
    if analysis.outlined_volume_ml is not None:
        rows.append((_("Read by the network"), number(analysis.network_volume_ml), "mL"))
        rows.append((_("Outlined in the scan"), number(analysis.outlined_volume_ml), "mL"))
    rows += [
        *_prognosis_rows(analysis),
        (_("Model"), f"{analysis.model['name']} {analysis.model['version']}", ""),
        (_("Training data"), analysis.model["training_data"], ""),
        (_("Weights (SHA-256)"), analysis.model["sha256"], ""),
        (_("Intended use"), RESEARCH_USE, ""),
    ]
    attention = analysis.attention
    if attention is not None and attention.peak_ras_mm is not None:
        peak = ", ".join(f"{value:.1f}" for value in attention.peak_ras_mm)
        rows.append((_("Attention peak (R, A, S)"), peak, "mm"))
    return rows + [(_("Warning"), sentence, "") for sentence in analysis.warnings]


def _prognosis_rows(analysis):
    if analysis.hemorrhage in WITHOUT_PROGNOSIS:
        return [(_("Prognosis"), WITHOUT_PROGNOSIS[analysis.hemorrhage], "")]
    return [
        (_("30-day mortality probability"), probability(analysis.mortality_probability), ""),
        (_("Range of its readings"), probability_range(analysis.mortality_range), ""),
        (_("Prognosis"), word(analysis.prognosis or NOT_COMPUTED), ""),
        *([(_("Prognosis read"), read_with(analysis.clinical), "")] if analysis.clinical else []),
    ]


def fill_table(node: slicer.vtkMRMLTableNode, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Fill a table node with text.

    Parameters
    ----------
    node : vtkMRMLTableNode
    titles : sequence of str
    rows : sequence of sequence of str
        Shown in the user's language. A saved scene keeps neither an empty first cell (the others would move to its
        place) nor tabs, line breaks and straight quotation marks: a dash, spaces and apostrophes stand for them.
    """
    node.RemoveAllColumns()
    for index, title in enumerate(titles):
        column = vtk.vtkStringArray()
        column.SetName(translated(title))
        for row in rows:
            text = re.sub(r"[\t\r\n]+", " ", translated(row[index])).replace('"', "'")
            column.InsertNextValue(text if text or index else NOT_COMPUTED)
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)


def make_result_node(
    scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLScalarVolumeNode, kind: str
) -> slicer.vtkMRMLNode:
    """Node of a result: that of an earlier run, so that the user's colors and thresholds stay, or a new one.

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    if volumeNode is None or volumeNode.GetScene() is not scene:
        raise InputError(_("The scan is no longer in the scene: it was removed while it was analyzed."))
    node = result_node(volumeNode, kind)
    if node is None:
        title = {"table": "hemorrhage analysis"}.get(kind, kind)
        className = _CLASSES.get(kind, "vtkMRMLTableNode")
        node = scene.AddNewNodeByClass(className, f"{volumeNode.GetName()} {title}")
        node.SetAttribute(_KIND, kind)
        node.AddNodeReferenceID(_SCAN_ROLE, volumeNode.GetID())
    return node


def remove_result(scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLScalarVolumeNode, kind: str) -> None:
    """Remove one of a scan's results, if it exists."""
    node = result_node(volumeNode, kind)
    if node is not None:
        remove_with_display(scene, node)


def remove_with_display(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    """Remove a node with its display nodes, such as its color scale."""
    displays = []
    if node.IsA("vtkMRMLDisplayableNode"):
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    scene.RemoveNode(node)
    for display in filter(None, displays):
        if display.GetScene() is scene:  # a display node that nothing else needs may have left with its node
            scene.RemoveNode(display)
