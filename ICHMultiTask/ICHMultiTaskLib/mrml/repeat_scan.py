"""Two scans of one patient: growth as a table, and the earlier scan aligned with the later one by a transform node."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from ..analysis.alignment import Alignment
from ..analysis.repeat import RepeatScan
from ..analysis.result import Analysis
from ..common.errors import InputError
from ..common.numbers import number, with_interval
from ..report.comparison import growth_verdict
from . import results
from .hierarchy import file_beside
from .scene import nodes_of_class
from .translation import tr as _

TABLE = "growth"
_KIND = "ICHMultiTask.Alignment"
_MOVED = "ICHMultiTask.Moved"


@dataclass(frozen=True)
class SceneRepeat:
    """Two analyzed scans of one patient, and their nodes.

    Attributes
    ----------
    earlier_node, later_node : vtkMRMLScalarVolumeNode
    later : Analysis
    repeat : RepeatScan
        The earlier scan's analysis, growth and alignment.
    reused : bool
        Whether the later scan had been analyzed before.
    """

    earlier_node: slicer.vtkMRMLScalarVolumeNode
    later_node: slicer.vtkMRMLScalarVolumeNode
    later: Analysis
    repeat: RepeatScan
    reused: bool = False


def check_pair(
    earlier_node: slicer.vtkMRMLScalarVolumeNode | None, later_node: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Raise InputError unless two different nodes are given."""
    if earlier_node is None or later_node is None:
        raise InputError(_("A repeat scan needs two scans of one patient; choose the earlier one."))
    if earlier_node is later_node:
        raise InputError(
            _("“{name}” is selected as both scans; expected an earlier scan of the patient.").format(
                name=later_node.GetName()
            )
        )


def show_repeat_scan(
    scene: slicer.vtkMRMLScene, shown: SceneRepeat
) -> tuple[slicer.vtkMRMLTableNode, slicer.vtkMRMLLinearTransformNode | None]:
    """Write the growth to a table of the later scan, and align the earlier scan with it if that succeeded.

    The transform becomes the outermost parent of the earlier scan, which keeps its other parent transforms, and of its
    map, its skull and the segmentations that were drawn on it.

    Returns
    -------
    table : vtkMRMLTableNode
    transform : vtkMRMLLinearTransformNode or None

    Raises
    ------
    InputError
        If a scan is no longer in the scene.
    """
    earlier, later, alignment = shown.earlier_node, shown.later_node, shown.repeat.alignment
    for node in (earlier, later):
        if node.GetScene() is not scene:
            raise InputError(_("A scan is no longer in the scene: it was removed while it was analyzed."))
    table = results.write_rows(scene, later, TABLE, (_("Measure"), _("Value"), _("Unit")), rows(shown))
    remove_alignment(scene, earlier)
    if not alignment.succeeded or _moves(_outermost(earlier), later):
        return table, None
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{earlier.GetName()} on {later.GetName()}")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(alignment.moving_to_fixed))
    transform.SetAttribute(_KIND, "1")
    transform.AddNodeReferenceID(_MOVED, earlier.GetID())
    file_beside(transform, later)
    for node in [earlier, *_drawn_on(scene, earlier)]:
        outermost = _outermost(node)
        if outermost is not transform and not _moves(outermost, later):
            outermost.SetAndObserveTransformNodeID(transform.GetID())
    return table, transform


def remove_alignment(scene: slicer.vtkMRMLScene, earlier_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Undo the transform that `show_repeat_scan` applied to a scan."""
    for node in nodes_of_class(scene, "vtkMRMLLinearTransformNode"):
        if node.GetAttribute(_KIND) and node.GetNodeReferenceID(_MOVED) == earlier_node.GetID():
            scene.RemoveNode(node)


def rows(shown: SceneRepeat) -> list[tuple[str, str, str]]:
    """Cells of the growth table, as text: measure, value and unit; the verdict first, the alignment last."""
    notes = [(_("Note"), sentence, "") for sentence in shown.repeat.notes]
    verdict = (_("Verdict"), growth_verdict(shown.repeat.growth), "")
    return [verdict, *growth_rows(shown), *notes, *alignment_rows(shown.repeat.alignment)]


def growth_rows(shown: SceneRepeat) -> list[tuple[str, str, str]]:
    """Volumes of both scans and the growth between them, as rows of the table."""
    found, previous = shown.repeat.growth, shown.repeat.previous
    earlier, later = (with_interval(scan.volume_ml, scan.volume_interval_ml) for scan in (previous, shown.later))
    absolute = with_interval(found.absolute_ml, found.absolute_interval_ml, sign=True)
    relative = with_interval(found.relative_percent, found.relative_interval_percent, sign=True)
    lines = [
        (_("Earlier: {scan}").format(scan=shown.earlier_node.GetName()), earlier, "mL"),
        (_("Later: {scan}").format(scan=shown.later_node.GetName()), later, "mL"),
        (_("Growth"), absolute, "mL"),
        (_("Growth, relative"), relative, "%"),
    ]
    if found.coverage is not None:
        lines.append((_("Coverage of the intervals"), number(found.coverage, 0, 100), "%"))
    return lines


def alignment_rows(alignment: Alignment) -> list[tuple[str, str, str]]:
    """Quality and extent of the alignment, as rows of the table."""
    lines = [(_("Agreement of bone after alignment"), number(alignment.correlation, 2), "")]
    if alignment.succeeded:
        lines.append((_("Rotation of the head"), number(alignment.rotation_deg), "°"))
        lines.append((_("Translation of the head"), number(alignment.translation_mm), "mm"))
    return lines


def _outermost(transformable):
    while transformable.GetParentTransformNode() is not None:
        transformable = transformable.GetParentTransformNode()
    return transformable


def _drawn_on(scene, scan):
    """What shows something of a scan in its place: its map and skull, and segmentations drawn on it."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn = [n for n in nodes_of_class(scene, "vtkMRMLSegmentationNode") if n.GetNodeReference(role) is scan]
    return [*filter(None, (results.result_node(scan, kind) for kind in ("attention", "skull"))), *drawn]


def _moves(transformable, other):
    """Whether `other` is below the same node in the transform hierarchy."""
    while other is not None:
        if other is transformable:
            return True
        other = other.GetParentTransformNode()
    return False
