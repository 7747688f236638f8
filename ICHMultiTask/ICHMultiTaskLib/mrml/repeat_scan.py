"""Two scans of one patient: growth as a table, and the earlier scan laid on the later one by a transform node."""

from dataclasses import dataclass

import slicer

from ..analysis.analyzer import Analysis
from ..analysis.growth import EXPANSION_ML, EXPANSION_PERCENT
from ..analysis.repeat import RepeatScan
from ..common.errors import InputError
from . import results
from .comparison import NOT_COMPUTED, number, verdict
from .hierarchy import file_beside
from .scene import nodes_of_class

TITLES = ("Measure", "Value", "Unit")
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
    """

    earlier_node: object
    later_node: object
    later: Analysis
    repeat: RepeatScan


def check_pair(earlier_node, later_node):
    """Raise InputError unless two different nodes are given."""
    if earlier_node is None or later_node is None:
        raise InputError("A repeat scan needs two scans of one patient; choose the earlier one.")
    if earlier_node is later_node:
        raise InputError(f"“{later_node.GetName()}” is chosen as both scans; expected an earlier scan of the patient.")


def show_repeat_scan(scene, shown):
    """Write the growth into a table of the later scan, and lay the earlier scan on it where the alignment succeeded.

    The transform becomes the outermost parent of the earlier scan, so that the parents it had stay.

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
            raise InputError("A scan is no longer in the scene: it was removed while it was analyzed.")
    table = results.write_rows(scene, later, TABLE, TITLES, rows(shown))
    remove_alignment(scene, earlier)
    outermost = earlier
    while outermost.GetParentTransformNode() is not None:
        outermost = outermost.GetParentTransformNode()
    if not alignment.succeeded or _moves(outermost, later):
        return table, None
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{earlier.GetName()} on {later.GetName()}")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(alignment.moving_to_fixed))
    transform.SetAttribute(_KIND, "1")
    transform.AddNodeReferenceID(_MOVED, earlier.GetID())
    file_beside(transform, later)
    outermost.SetAndObserveTransformNodeID(transform.GetID())
    return table, transform


def remove_alignment(scene, earlier_node):
    """Put a scan back where it was before `show_repeat_scan` moved it."""
    for node in nodes_of_class(scene, "vtkMRMLLinearTransformNode"):
        if node.GetAttribute(_KIND) and node.GetNodeReferenceID(_MOVED) == earlier_node.GetID():
            scene.RemoveNode(node)


def rows(shown):
    """Cells of the growth table, as text, in the order of TITLES."""
    found, alignment = shown.repeat.growth, shown.repeat.alignment
    lines = [
        (f"Earlier: {shown.earlier_node.GetName()}", _with_interval(shown.repeat.previous), "mL"),
        (f"Later: {shown.later_node.GetName()}", _with_interval(shown.later), "mL"),
        ("Growth", _signed(found.absolute_ml, found.absolute_interval_ml, "+.1f"), "mL"),
        ("Growth, relative", _signed(found.relative_percent, found.relative_interval_percent, "+.0f"), "%"),
        (f"Expansion (from {EXPANSION_ML:g} mL or {EXPANSION_PERCENT:g} %)", verdict(found.is_expansion), ""),
        ("Expansion within the intervals", found.verdict or NOT_COMPUTED, ""),
        ("Coverage of the intervals", number(_percent(found.coverage), ".0f"), "%"),
        ("Agreement of bone after alignment", number(alignment.correlation, ".2f"), ""),
    ]
    if alignment.succeeded:
        lines.append(("Head turned by", number(alignment.rotation_deg), "°"))
        lines.append(("Head moved by", number(alignment.translation_mm), "mm"))
    return lines + [("Note", sentence, "") for sentence in shown.repeat.notes]


def _moves(transformable, other):
    """Whether `other` hangs under the same node."""
    while other is not None:
        if other is transformable:
            return True
        other = other.GetParentTransformNode()
    return False


def _with_interval(analysis):
    interval = analysis.volume_interval_ml
    span = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    return f"{analysis.volume_ml:.1f}{span}"


def _signed(value, interval, spec):
    if value is None or interval is None:
        return number(value, spec)
    low, high = interval
    span = f"{number(low, spec)} to {number(high, spec)}" if high is not None else f"{number(low, spec)} or more"
    return f"{number(value, spec)} ({span})"


def _percent(fraction):
    return None if fraction is None else 100 * fraction
