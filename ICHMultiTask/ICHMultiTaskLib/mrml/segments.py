"""Segments of segmentation nodes and labels of labelmap volume nodes, as `Segment` objects in world coordinates."""

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from ..common.errors import InputError
from ..measures.segment import DRAFT_TAG, Segment, fingerprint
from ..measures.segment_files import labels_of
from .hierarchy import identity_of
from .scene import nodes_of_class
from .transforms import AFFINE_TOLERANCE_MM, affine_to_world, array_from_image, resample_to_world, slice_steps
from .volumes import ijk_to_ras_of

_LABELMAP = "Binary labelmap"
_OUTLINED = "ICHMultiTask.ShownAsOutline"
_REFERENCE_GEOMETRY = "Reference image geometry"
_NOTHING = np.zeros((1, 1, 1), dtype=bool)


@dataclass(frozen=True)
class SegmentChoice:
    """A segment that can be measured.

    Attributes
    ----------
    node_id, segment_id : str
        Stay the same when a user renames things. The segment of a labelmap volume is named by its label value; one
        that holds no labels, such as a scan, is one choice with an empty `segment_id`, which cannot be read.
    name : str
    reader : str
        Name of the segmentation: each reader's segments are expected in one of their own.
    color : tuple of float
        Red, green, blue, 0 to 1.
    hidden : bool
        A segment that the views do not show; it can be measured all the same.
    draft : bool
        Whether it is the model's proposal, as no person has edited it yet.
    alone : bool
        Whether its segmentation holds no other.
    """

    node_id: str
    segment_id: str
    name: str
    reader: str
    color: tuple
    hidden: bool
    draft: bool = False
    alone: bool = True

    @property
    def short_name(self):
        """Draft, or the reader; with the segment's own name where the reader has drawn several."""
        if self.draft:
            return "Draft"
        return self.reader if self.alone else f"{self.reader}: {self.name}"

    @property
    def key(self):
        """What identifies the segment in a scene."""
        return self.node_id, self.segment_id


def list_segments(scene):
    """Segments and labels of a scene that a user can choose from, in the order of the scene.

    Returns
    -------
    list of SegmentChoice
    """
    nodes = nodes_of_class(scene, "vtkMRMLSegmentationNode") + nodes_of_class(scene, "vtkMRMLLabelMapVolumeNode")
    return [choice for node in nodes if not node.GetHideFromEditors() for choice in segments_of(node)]


def segments_of(node):
    """Segments of one segmentation, or labels above 0 of one labelmap volume.

    Returns
    -------
    list of SegmentChoice
    """
    return _segments_of_labelmap(node) if _is_labelmap(node) else _segments_of_segmentation(node)


def read_segment(node, segment_id):
    """Read a segment in its own grid, moved by the parent transforms into world coordinates.

    A parent transform that acts like an affine is composed into the geometry; any other is applied by resampling a copy
    (nearest neighbor). A segment that exists only as a surface is rasterized in the segmentation's reference geometry.
    The user's nodes are never changed.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode
    segment_id : str
        Of a labelmap volume: the label value.

    Returns
    -------
    Segment
        Empty if nothing is drawn.

    Raises
    ------
    InputError
        If the node or the segment is gone, a labelmap volume holds no labels, or a surface has no geometry to be
        rasterized in.
    """
    if node is None or node.GetScene() is None:
        raise InputError("The segmentation is no longer in the scene.")
    choice = next((c for c in segments_of(node) if c.segment_id == segment_id), None)
    if choice is None:
        raise InputError(f"The segment is no longer in “{node.GetName()}”.")
    if _is_labelmap(node):
        array, affine = array_from_image(node.GetImageData()), ijk_to_ras_of(node)
        if not segment_id:
            labels_of(f"“{node.GetName()}”", array)  # raises, and says why there are none
        mask = array == int(segment_id)
        if not mask.any():  # changed without a word
            raise InputError(f"The segment is no longer in “{node.GetName()}”.")
    else:
        mask, affine = _mask_and_affine(node, choice)
    mask, affine = _in_world(mask, affine, node.GetParentTransformNode())
    return Segment(choice.name, mask, affine, choice.reader, choice.draft)


def show_as_outline(node):
    """Show a segmentation's border instead of covering the bleed, once: what the user then chooses stays."""
    display = node.GetDisplayNode()
    if display is not None and display.IsA("vtkMRMLSegmentationDisplayNode") and not display.GetAttribute(_OUTLINED):
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetAttribute(_OUTLINED, "1")


def belongs_to(node, scan_node):
    """Whether a segmentation or labelmap is of a scan.

    Returns
    -------
    bool or None
        True: drawn on it, or in its study. False: drawn on another volume, or filed under another patient or study, or
        beside another scan. None: nothing tells.
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


def concerns(node, scan_node):
    """Why a segmentation may not belong to a scan.

    Returns
    -------
    list of str
        Sentences; empty if there is no doubt.
    """
    sentences = []
    patient, other = (identity_of(n).get("patient_id") for n in (scan_node, node))
    if patient and other and patient != other:
        sentences.append(f"“{node.GetName()}” is filed under another patient than the scan.")
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn_on = node.GetNodeReference(role)
    if drawn_on is not None and drawn_on is not scan_node and not sentences:
        sentences.append(f"“{node.GetName()}” was drawn on another volume, “{drawn_on.GetName()}”.")
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
        names, draft = (segment.GetName(), node.GetName()), _is_draft(node, segment_id)
        choices.append(SegmentChoice(node.GetID(), segment_id, *names, segment.GetColor(), hidden, draft, alone))
    return choices


def _is_draft(node, segment_id):
    """Whether a segment is what this software proposed, unchanged."""
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
"""What the latest images hold, by the time of their modification, which no two have in common."""


def _once(known, key, find):
    """Look something up, or find it and keep it among the latest."""
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
        return [SegmentChoice(node.GetID(), "", node.GetName(), node.GetName(), (1.0, 0.0, 0.0), False)]
    for value in labels:
        rgba, name = [1.0, 0.0, 0.0, 1.0], None
        if colors is not None and colors.GetColor(value, rgba):
            name = colors.GetColorName(value)
        name = name or f"Label {value}"
        color, alone = tuple(rgba[:3]), len(labels) == 1
        choices.append(SegmentChoice(node.GetID(), str(value), name, node.GetName(), color, False, alone=alone))
    return choices


def _mask_and_affine(node, choice):
    """Mask and its affine in the segmentation's own coordinates."""
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
    """Labelmap of a segment that has none, made on a copy."""
    segmentation = node.GetSegmentation()
    geometry = segmentation.GetConversionParameter(_REFERENCE_GEOMETRY)
    if not geometry:
        raise InputError(
            f"“{choice.name}” of “{choice.reader}” is a surface without reference geometry: expected a binary "
            "labelmap, or a reference volume to draw it on (Segmentations module, Representations)."
        )
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    copy.SetConversionParameter(_REFERENCE_GEOMETRY, geometry)
    copy.CopySegmentFromSegmentation(segmentation, choice.segment_id)
    if not copy.CreateRepresentation(_LABELMAP):
        raise InputError(f"“{choice.name}” of “{choice.reader}” cannot be turned into a binary labelmap.")
    return copy.GetSegment(choice.segment_id).GetRepresentation(_LABELMAP)


def _in_world(mask, affine, parent):
    size = mask.shape[::-1]
    world, residual = affine_to_world(size, affine, parent)
    if residual <= AFFINE_TOLERANCE_MM:
        return mask, world
    step = float(np.median(slice_steps(size, affine, parent)))
    array, world = resample_to_world(mask.astype(np.uint8), affine, parent, world, step, 0, nearest=True)
    return array != 0, world
