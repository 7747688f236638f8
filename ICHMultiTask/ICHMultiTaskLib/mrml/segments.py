"""Segments of segmentation nodes and labels of labelmap volume nodes, as `Segment` objects in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from ..common.errors import InputError
from ..common.translation import tr as _
from ..common.translation import translated
from ..measures.segment import DRAFT_TAG, Segment, fingerprint
from ..measures.segment_files import labels_of
from .hierarchy import identity_of
from .scene import nodes_of_class
from .transforms import AFFINE_TOLERANCE_MM, affine_to_world, array_from_image, resample_to_world, slice_steps
from .volumes import ijk_to_ras_of

PROPOSED = "proposed segmentation"
"""Part of the name of a segmentation that this software proposed, until a reader renames it."""
_LABELMAP = "Binary labelmap"
_OUTLINED = "ICHMultiTask.ShownAsOutline"
_REFERENCE_GEOMETRY = "Reference image geometry"
_UNNAMED = _("Unnamed segment")
_NOTHING = np.zeros((1, 1, 1), dtype=bool)


@dataclass(frozen=True)
class SegmentChoice:
    """A segment that can be measured.

    Attributes
    ----------
    node_id, segment_id : str
        Not changed by renaming. For a labelmap volume, `segment_id` is the label value; a labelmap volume without
        labels, such as a scan, is one choice with an empty `segment_id`, which cannot be read.
    name : str
    reader : str
        Name of the segmentation: each reader's segments are expected in a separate one.
    color : tuple of float
        Red, green, blue, 0 to 1.
    hidden : bool
        Whether the views do not show the segment; it can still be measured.
    draft : bool
        Whether it is the model's proposal, not yet edited by a person.
    alone : bool
        Whether it is the only one in its segmentation.
    edited : bool
        Whether it was such a proposal, and nobody has renamed it.
    """

    node_id: str
    segment_id: str
    name: str
    reader: str
    color: tuple
    hidden: bool
    draft: bool = False
    alone: bool = True
    edited: bool = False

    @property
    def short_name(self) -> str:
        """The reader, "Draft" or "Edited draft"; with the name of the segment if the reader has several."""
        if self.draft or self.edited:
            return translated(_("Draft") if self.draft else _("Edited draft"))
        return self.reader if self.alone else f"{self.reader}: {translated(self.name)}"

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the segment in a scene."""
        return self.node_id, self.segment_id


def list_segments(scene: slicer.vtkMRMLScene) -> list[SegmentChoice]:
    """Segments and labels of a scene that a user can choose, in scene order.

    Returns
    -------
    list of SegmentChoice
    """
    nodes = nodes_of_class(scene, "vtkMRMLSegmentationNode") + nodes_of_class(scene, "vtkMRMLLabelMapVolumeNode")
    return [choice for node in nodes if not node.GetHideFromEditors() for choice in segments_of(node)]


def segments_of(node: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode) -> list[SegmentChoice]:
    """Segments of a segmentation, or labels above 0 of a labelmap volume.

    Returns
    -------
    list of SegmentChoice
    """
    return _segments_of_labelmap(node) if _is_labelmap(node) else _segments_of_segmentation(node)


def states(scene: slicer.vtkMRMLScene, choices: list[SegmentChoice]) -> list[tuple[SegmentChoice, int]]:
    """Segments with the time of their latest edit: two lists differ if a segment looks different now."""
    found = []
    for choice in choices:
        segment = scene.GetNodeByID(choice.node_id).GetSegmentation().GetSegment(choice.segment_id)
        image = segment.GetRepresentation(_LABELMAP)
        found.append((choice, image.GetMTime() if image is not None else segment.GetMTime()))
    return found


def read_segment(
    node: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode | None, segment_id: str
) -> Segment:
    """Read a segment on its own grid, transformed to world coordinates by the parent transforms.

    An affine parent transform is composed with the geometry; any other is applied by resampling a copy (nearest
    neighbor). A segment that exists only as a surface is rasterized in the segmentation's reference geometry. The
    user's nodes are never changed.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode
    segment_id : str
        Of a labelmap volume: the label value.

    Returns
    -------
    Segment
        Empty if nothing is segmented.

    Raises
    ------
    InputError
        If the node or the segment is gone, a labelmap volume has no labels, or a surface has no reference geometry.
    """
    if node is None or node.GetScene() is None:
        raise InputError(_("The segmentation is no longer in the scene."))
    choice = next((c for c in segments_of(node) if c.segment_id == segment_id), None)
    if choice is None:
        raise InputError(_("The segment is no longer in “{name}”.").format(name=node.GetName()))
    if _is_labelmap(node):
        array, affine = array_from_image(node.GetImageData()), ijk_to_ras_of(node)
        if not segment_id:
            labels_of(f"“{node.GetName()}”", array)  # raises InputError with the reason
        mask = array == int(segment_id)
        if not mask.any():  # changed without an event
            raise InputError(_("The segment is no longer in “{name}”.").format(name=node.GetName()))
    else:
        mask, affine = _mask_and_affine(node, choice)
    mask, affine = _in_world(mask, affine, node.GetParentTransformNode())
    return Segment(choice.name, mask, affine, choice.reader, choice.draft)


def show_as_outline(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a segmentation as an outline, so that it does not cover the bleed; only once, to keep the user's choice."""
    display = node.GetDisplayNode()
    if display is not None and display.IsA("vtkMRMLSegmentationDisplayNode") and not display.GetAttribute(_OUTLINED):
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetAttribute(_OUTLINED, "1")


def belongs_to(
    node: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode, scan_node: slicer.vtkMRMLScalarVolumeNode
) -> bool | None:
    """Whether a segmentation or labelmap belongs to a scan.

    Returns
    -------
    bool or None
        True: segmented on it, or in its study. False: segmented on another volume, or in another patient or study.
        None: unknown.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn_on = node.GetNodeReference(role)
    if drawn_on is not None:
        return drawn_on is scan_node
    mine, other = identity_of(scan_node), identity_of(node)
    for key in ("study_uid", "patient_id"):
        if mine.get(key) and other.get(key):
            return mine[key] == other[key]
    return None


def concerns(
    node: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode, scan_node: slicer.vtkMRMLScalarVolumeNode
) -> list[str]:
    """Reasons why a segmentation may not belong to a scan.

    Returns
    -------
    list of str
        Empty if there is no doubt.
    """
    sentences = []
    patient, other = (identity_of(n).get("patient_id") for n in (scan_node, node))
    if patient and other and patient != other:
        sentences.append(_("“{name}” is filed under another patient than the scan.").format(name=node.GetName()))
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn_on = node.GetNodeReference(role)
    if drawn_on is not None and drawn_on is not scan_node and not sentences:
        sentences.append(
            _("“{name}” was drawn on another volume, “{other}”.").format(name=node.GetName(), other=drawn_on.GetName())
        )
    return sentences


def _is_labelmap(node):
    return node.IsA("vtkMRMLLabelMapVolumeNode")


def _segments_of_segmentation(node):
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    shown = display is not None and display.GetVisibility()
    choices, alone = [], segmentation.GetNumberOfSegments() == 1
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        hidden = not (shown and display.GetSegmentVisibility(segment_id))
        names, draft = (segment.GetName() or _UNNAMED, _reader(node)), _is_draft(node, segment_id)
        proposed = segment.GetTag(DRAFT_TAG, vtk.reference("")) and PROPOSED in _reader(node)
        look = segment.GetColor(), hidden, draft, alone, bool(proposed and alone and not draft)
        choices.append(SegmentChoice(node.GetID(), segment_id, *names, *look))
    return choices


def _reader(node):
    return node.GetName() or translated(_("Unnamed segmentation"))


def _is_draft(node, segment_id):
    """Whether a segment is an unchanged proposal of this software."""
    segment, proposed = node.GetSegmentation().GetSegment(segment_id), vtk.reference("")
    labelmap = segment.GetRepresentation(_LABELMAP)
    if not segment.GetTag(DRAFT_TAG, proposed) or labelmap is None:
        return False
    key = labelmap.GetMTime(), segment.GetLabelValue()
    return _once(_FINGERPRINTS, key, lambda: _fingerprint(node, segment_id)) == str(proposed)


def _fingerprint(node, segment_id):
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    if image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return ""
    return fingerprint(array_from_image(image) != 0)


_COUNTED, _FINGERPRINTS = {}, {}
"""Cached contents of the latest images, by their modification time, which is unique."""


def _once(known, key, find):
    """Look up a cached value, or compute and cache it; only the latest are kept."""
    if key not in known:
        while len(known) >= 32:
            del known[next(iter(known))]
        known[key] = find()
    return known[key]


def _segments_of_labelmap(node):
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetNumberOfScalarComponents() != 1:
        return []
    colors = node.GetDisplayNode() and node.GetDisplayNode().GetColorNode()
    choices = []
    try:
        labels = _once(_COUNTED, image.GetMTime(), lambda: labels_of(node.GetName(), array_from_image(image)))
    except InputError:
        return [SegmentChoice(node.GetID(), "", _reader(node), _reader(node), (1.0, 0.0, 0.0), False)]
    for value in labels:
        rgba, name = [1.0, 0.0, 0.0, 1.0], None
        if colors is not None and colors.GetColor(value, rgba):
            name = colors.GetColorName(value)
        name = name or _("Label {value}").format(value=value)
        color, alone = tuple(rgba[:3]), len(labels) == 1
        choices.append(SegmentChoice(node.GetID(), str(value), name, _reader(node), color, False, alone=alone))
    return choices


def _mask_and_affine(node, choice):
    """Mask and its affine in the segmentation's coordinates."""
    segmentation = node.GetSegmentation()
    image = slicer.vtkOrientedImageData()
    if segmentation.ContainsRepresentation(_LABELMAP):
        node.GetBinaryLabelmapRepresentation(choice.segment_id, image)
    elif segmentation.GetSegment(choice.segment_id).GetRepresentation(segmentation.GetSourceRepresentationName()):
        image = _rasterized(node, choice)
    if image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return _NOTHING, np.eye(4)
    matrix, shift = vtk.vtkMatrix4x4(), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    shift[:3, 3] = image.GetExtent()[::2]
    return array_from_image(image) != 0, slicer.util.arrayFromVTKMatrix(matrix) @ shift


def _rasterized(node, choice):
    """Labelmap of a segment without one, created on a copy."""
    segmentation = node.GetSegmentation()
    geometry = segmentation.GetConversionParameter(_REFERENCE_GEOMETRY)
    if not geometry:
        raise InputError(
            _(
                "“{name}” of “{reader}” is a surface without reference geometry: expected a binary "
                "labelmap, or a reference volume to convert it (Segmentations module, Representations)."
            ).format(name=choice.name, reader=choice.reader)
        )
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    copy.SetConversionParameter(_REFERENCE_GEOMETRY, geometry)
    copy.CopySegmentFromSegmentation(segmentation, choice.segment_id)
    if not copy.CreateRepresentation(_LABELMAP):
        raise InputError(
            _("“{name}” of “{reader}” cannot be converted to a binary labelmap.").format(
                name=choice.name, reader=choice.reader
            )
        )
    return copy.GetSegment(choice.segment_id).GetRepresentation(_LABELMAP)


def _in_world(mask, affine, parent):
    size = mask.shape[::-1]
    world, residual = affine_to_world(size, affine, parent)
    if residual <= AFFINE_TOLERANCE_MM:
        return mask, world
    step = float(np.median(slice_steps(size, affine, parent)))
    array, world = resample_to_world(mask.astype(np.uint8), affine, parent, world, step, 0, nearest=True)
    return array != 0, world
