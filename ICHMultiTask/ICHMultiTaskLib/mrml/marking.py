"""A proposed segmentation of the bleed as a segmentation node, editable in the Segment Editor, and as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk

from ..common.errors import InputError, OutputError
from ..common.signature import sign
from ..common.translation import joined
from ..common.translation import tr as _
from ..common.writing import whole_path
from ..measures.segment import DRAFT_TAG, fingerprint
from .hierarchy import file_beside
from .placement import is_aligned
from .segments import PROPOSED, show_as_outline
from .volumes import ijk_to_ras_of

if TYPE_CHECKING:
    from ..analysis.marking import Marking
    from ..scan.head_ct import HeadCT

SEGMENT_NAME = "Hemorrhage"
SUFFIX = ".seg.nrrd"
_TERMINOLOGY = (
    "Segmentation category and type - DICOM master list",
    *("49755003", "SCT", "Morphologically Abnormal Structure"),
    *("50960005", "SCT", "Hemorrhage"),
    *("", "", ""),
    "Anatomic codes - DICOM master list",
    *("12738006", "SCT", "Brain"),
    *("", "", ""),
)
"""DICOM CID 7150 and 7159, as in 3D Slicer's terminology selector."""
_COLOR = (188 / 255, 65 / 255, 28 / 255)
"""Color of hemorrhage in 3D Slicer's terminology."""


def show_marking(
    scene: slicer.vtkMRMLScene, marking: Marking, head_ct: HeadCT, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """Add a proposed segmentation to the scene, next to its scan; earlier ones, which may have been edited, stay.

    Parameters
    ----------
    scene : vtkMRMLScene
    marking : Marking
    head_ct : HeadCT
        The analyzed scan.
    volumeNode : vtkMRMLScalarVolumeNode
        The node it was read from.

    Returns
    -------
    vtkMRMLSegmentationNode
        With one segment, in the scan's geometry and under its parent transform; its status is "in progress", or
        "flagged" if its volume differs from the model's. If the scan had to be resampled for the analysis, the
        segmentation is in world coordinates.

    Raises
    ------
    InputError
        If nothing was marked or the scan is no longer in the scene.
    """
    if volumeNode is None or volumeNode.GetScene() is not scene:
        raise InputError(_("The scan is no longer in the scene: it was removed while the bleed was marked."))
    aligned = is_aligned(volumeNode, head_ct)
    image = _labelmap(marking, ijk_to_ras_of(volumeNode) if aligned else head_ct.ijk_to_ras)
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} {PROPOSED}")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    if aligned:
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    else:
        _set_geometry(node, image)
    _add_segment(node, image, marking)
    show_as_outline(node)
    file_beside(node, volumeNode)
    return node


def write_marking(marking: Marking, head_ct: HeadCT, path: str | os.PathLike) -> Path:
    """Write a proposed segmentation as a file that 3D Slicer opens as an editable segmentation.

    Parameters
    ----------
    marking : Marking
    head_ct : HeadCT
    path : path-like
        Must end in ".seg.nrrd". An existing file is replaced when the new one is complete.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If nothing was marked or the name has another suffix.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIX):
        raise InputError(
            _("A segmentation is saved as a file that ends in {suffix}; the name given is {name}.").format(
                suffix=SUFFIX, name=path.name
            )
        )
    image = _labelmap(marking, head_ct.ijk_to_ras)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", SEGMENT_NAME)
    _set_geometry(node, image)
    _add_segment(node, image, marking)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetCropToMinimumExtent(False)  # on the scan's grid, also for other readers
    with whole_path(path) as draft:
        storage.SetFileName(str(draft))
        if not storage.WriteData(node):
            reason = storage.GetUserMessages().GetAllMessagesAsString().strip().splitlines()
            raise OutputError(
                _("{path} could not be written{reason}.").format(path=path, reason=": " + reason[0] if reason else "")
            )
        sign(draft)
    return path


def _labelmap(marking, ijk_to_ras):
    if not marking.mask.any():
        raise InputError(joined(" ", marking.notes) or _("Nothing is marked."))
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(marking.mask.shape[::-1])
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(np.asarray(ijk_to_ras)))
    image.GetPointData().SetScalars(numpy_to_vtk(marking.mask.astype(np.uint8).reshape(-1), deep=True))
    return image


def _set_geometry(node, image):
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(image)
    node.GetSegmentation().SetConversionParameter("Reference image geometry", geometry)


def _add_segment(node, image, marking):
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    identifier = node.AddSegmentFromBinaryLabelmapRepresentation(image, SEGMENT_NAME, _COLOR)
    segment = node.GetSegmentation().GetSegment(identifier)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    entry = slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(*_TERMINOLOGY)
    segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
    segment.SetTag(DRAFT_TAG, fingerprint(marking.mask))
    logic.SetSegmentStatus(segment, logic.InProgress if marking.agrees else logic.Flagged)
