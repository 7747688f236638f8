"""Patient, study and series of a node, in the subject hierarchy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

if TYPE_CHECKING:
    from ..scan.head_ct import ScanFacts

_UID = "DICOM"
_LEVELS = {
    "Patient": {"patient_id": "DICOM.PatientID", "patient_name": "DICOM.PatientName"},
    "Study": {"study_date": "DICOM.StudyDate", "study_time": "DICOM.StudyTime"},
}
_OWNERS = {
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLScalarVolumeNode": "Volumes",
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLMarkupsLineNode": "Markups",
    "vtkMRMLMarkupsFiducialNode": "Markups",
    "vtkMRMLLinearTransformNode": "Transforms",
    "vtkMRMLGridTransformNode": "Transforms",
}
"""Subject hierarchy plug-in that owns each class of nodes."""


def subject_hierarchy(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSubjectHierarchyNode:
    """Return the scene's subject hierarchy node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def item_of(node: slicer.vtkMRMLNode) -> int:
    """Return the node's subject hierarchy item, which is created if missing, as on slicer-core."""
    hierarchy = subject_hierarchy(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, _OWNERS[node.GetClassName()])
    return item


def identity_of(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """Patient, study and series identifiers of a node, as keyword arguments for ScanFacts."""
    hierarchy = subject_hierarchy(node.GetScene())
    item = item_of(node)
    facts = {"series_uid": hierarchy.GetItemUID(item, _UID)}
    for level, attributes in _LEVELS.items():
        ancestor = hierarchy.GetItemAncestorAtLevel(item, level)
        if ancestor == hierarchy.GetInvalidItemID():
            continue
        facts |= {name: hierarchy.GetItemAttribute(ancestor, attribute) for name, attribute in attributes.items()}
        if level == "Study":
            facts["study_uid"] = hierarchy.GetItemUID(ancestor, _UID)
    return facts


def file_under_study(node: slicer.vtkMRMLNode, facts: ScanFacts) -> None:
    """Place a scan under its patient and study, which are created if missing; does nothing without identifiers."""
    if not (facts.patient_id and facts.study_uid and facts.series_uid):
        return
    hierarchy = subject_hierarchy(node.GetScene())
    item = item_of(node)
    hierarchy.SetItemUID(item, _UID, facts.series_uid)
    known = hierarchy.GetItemByUID(_UID, facts.study_uid) != hierarchy.GetInvalidItemID()
    slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(
        hierarchy, facts.patient_id, facts.study_uid, facts.series_uid
    )
    study = hierarchy.GetItemByUID(_UID, facts.study_uid)
    if known:
        return
    names = {"Patient": facts.patient_name or facts.patient_id, "Study": facts.study_date or "No study date"}
    for level, owner in (("Patient", hierarchy.GetItemParent(study)), ("Study", study)):
        hierarchy.SetItemName(owner, names[level])
        for name, attribute in _LEVELS[level].items():
            hierarchy.SetItemAttribute(owner, attribute, getattr(facts, name))


def file_beside(node: slicer.vtkMRMLNode, scanNode: slicer.vtkMRMLNode) -> None:
    """Place a result next to the scan, under its study or in its folder."""
    hierarchy = subject_hierarchy(node.GetScene())
    hierarchy.SetItemParent(item_of(node), hierarchy.GetItemParent(item_of(scanNode)))
