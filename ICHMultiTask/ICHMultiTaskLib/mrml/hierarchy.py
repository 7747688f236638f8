"""Patient, study and series of a node, in the subject hierarchy."""

import slicer

_UID = "DICOM"
_LEVELS = {
    "Patient": {"patient_id": "DICOM.PatientID", "patient_name": "DICOM.PatientName"},
    "Study": {"study_date": "DICOM.StudyDate"},
}
_OWNERS = {
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLScalarVolumeNode": "Volumes",
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLMarkupsLineNode": "Markups",
    "vtkMRMLLinearTransformNode": "Transforms",
    "vtkMRMLGridTransformNode": "Transforms",
}
"""Plug-ins that show a class of nodes in the application's tree."""


def subject_hierarchy(scene):
    """Return the scene's subject hierarchy node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def item_of(node):
    """Return the node's subject hierarchy item; the application makes one for every node, slicer-core does not."""
    hierarchy = subject_hierarchy(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, _OWNERS[node.GetClassName()])
    return item


def identity_of(node):
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


def file_under_study(node, facts):
    """Put a scan under its patient and study, which are made if they are not there; no-op without identifiers."""
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


def file_beside(node, scanNode):
    """Put a result under the scan's study, or in whatever folder the scan is."""
    hierarchy = subject_hierarchy(node.GetScene())
    hierarchy.SetItemParent(item_of(node), hierarchy.GetItemParent(item_of(scanNode)))
