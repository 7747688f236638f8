"""Volume nodes to HeadCT and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import slicer
import vtk

from ..common.errors import InputError
from ..common.translation import records_of, with_texts
from ..common.translation import tr as _
from ..scan.geometry import tilt_deg
from ..scan.head_ct import HeadCT, ScanFacts
from ..scan.hounsfield import MIN_HU, as_hu
from ..scan.patient_age import patient_age
from ..scan.stated_geometry import checked_affine
from ..scan.stored_volume import ONE_VALUE
from .hierarchy import file_under_study, identity_of
from .transforms import (
    AFFINE_TOLERANCE_MM,
    affine_to_world,
    array_from_image,
    image_from_array,
    resample_to_world,
    slice_steps,
    slices_to_world,
)

_FACTS_ATTRIBUTE = "ICHMultiTask.ScanFacts"
_NODE_FACTS = (
    "series_description", "manufacturer", "kernel", "body_part", "contrast_agent", "slice_thickness_mm",
    "slice_steps_mm", "simulated", "warnings", "patient_age",
)  # fmt: skip
"""Stored on the node. Identifiers are not: they belong to the subject hierarchy and must not enter exported files."""
_DICOM_TAGS = {
    "series_description": "0008,103E",
    "manufacturer": "0008,0070",
    "kernel": "0018,1210",
    "body_part": "0018,0015",
    "contrast_agent": "0018,0010",
}
_AGE_TAGS = ("0010,1010", "0010,0030", "0008,0020")
"""PatientAge, PatientBirthDate, StudyDate."""


def head_ct_from_node(node: slicer.vtkMRMLScalarVolumeNode | None) -> HeadCT:
    """Read a scalar volume node of any orientation and with any parent transform.

    A linear parent is composed with the affine, and so is one that is affine within this volume (the grid transform of
    a tilted scan). Any other is applied by resampling a copy to a regular grid. The user's nodes are never changed.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode

    Returns
    -------
    HeadCT
        In world coordinates. Without resampling, `hu` is a read-only view of the node's voxels.

    Raises
    ------
    InputError
        If the node is not a scalar volume with one value per voxel.
    """
    if node is None:
        raise InputError(_("No volume was given; expected a head CT loaded as a scalar volume."))
    if not isinstance(node, slicer.vtkMRMLNode):
        raise InputError(
            _("No volume was given; expected a head CT loaded as a scalar volume, found {kind}.").format(
                kind=type(node).__name__
            )
        )
    name = node.GetName()
    if node.GetScene() is None:
        raise InputError(_("The volume {name} is no longer in the scene.").format(name=name))
    if node.GetClassName() != "vtkMRMLScalarVolumeNode":
        raise InputError(
            _("{name} is a {kind}; expected a head CT loaded as a scalar volume.").format(
                name=name, kind=node.GetNodeTagName()
            )
        )
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(_("The volume {name} is empty; expected a head CT with voxels.").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        found = image.GetNumberOfScalarComponents()
        raise InputError(
            _("The volume {name} has {found} values per voxel; {expected}.").format(
                name=name, found=found, expected=ONE_VALUE
            )
        )

    scalars, affine, irregular = array_in_world(node)
    affine, geometry_warnings = checked_affine(_("The volume {name}").format(name=name), {"IJK-to-RAS matrix": affine})
    hu, value_warnings = as_hu(scalars)
    hu = hu.view()  # read-only is set for this view only: the node's voxels stay writable
    hu.flags.writeable = False
    warnings = (*irregular.pop("warnings", ()), *geometry_warnings, *_scaling_warnings(node, affine), *value_warnings)
    facts = _facts(node, affine)
    return HeadCT(hu, affine, replace(facts, **irregular, warnings=(*facts.warnings, *warnings)))


def array_in_world(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[np.ndarray, np.ndarray, dict]:
    """Stored voxels of a scalar volume node, and their affine to world coordinates through any parent transform.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode

    Returns
    -------
    array : ndarray of shape (K, J, I)
        A view of the node's voxels, or a resampled copy if the transform is not affine.
    affine : ndarray of shape (4, 4)
        IJK to world RAS.
    irregular : dict
        `slice_steps_mm` and `warnings` of a resampled copy; empty otherwise.
    """
    affine, residual = world_affine(node)
    scalars = array_from_image(node.GetImageData())
    if residual <= AFFINE_TOLERANCE_MM:
        return scalars, affine, {}
    own, parent = ijk_to_ras_of(node), node.GetParentTransformNode()
    steps = slice_steps(node.GetImageData().GetDimensions(), own, parent)
    even = slices_to_world(scalars, own, parent)
    scalars, affine = even or resample_to_world(scalars, own, parent, affine, float(np.median(steps)), MIN_HU)
    found = sorted(set(steps.round(2).ravel().tolist()))
    spread = (
        ", ".join(f"{step:g}" for step in found)
        if len(found) <= 5
        else _("{low:g} to {high:g}").format(low=found[0], high=found[-1])
    )
    sentence = _(
        "The transform {name} is not affine (slices {spread} mm apart); it was applied by resampling to regular slices."
    ).format(name=parent.GetName(), spread=spread)
    return scalars, affine, {"slice_steps_mm": tuple(found), "warnings": (sentence,)}


def _scaling_warnings(node, affine):
    """Warn if a transform, such as the result of a registration, scales or mirrors the head."""
    parent, own = node.GetParentTransformNode(), np.linalg.det(ijk_to_ras_of(node)[:3, :3])
    if parent is None or not parent.IsTransformToWorldLinear():
        return
    factor = np.linalg.det(affine[:3, :3]) / own
    if factor < 0:
        yield _("The transform {name} mirrors the volume: left and right are swapped.").format(name=parent.GetName())
    if abs(abs(factor) - 1) > 0.01:
        yield (
            _(
                "The transform {name} changes the size of the volume by {factor:+.0f} %; every volume "
                "in mL changes with it."
            ).format(name=parent.GetName(), factor=100 * (abs(factor) - 1))
        )


def head_ct_to_node(scene: slicer.vtkMRMLScene, head_ct: HeadCT, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a head CT to the scene as a scalar volume node under its patient and study, in a brain window.

    The node shares the array's memory. Gantry tilt stays in the node's matrix as shear: slice views, NRRD files and
    .mrb scenes keep it.

    Parameters
    ----------
    scene : vtkMRMLScene
    head_ct : HeadCT
    name : str

    Returns
    -------
    vtkMRMLScalarVolumeNode
    """
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.CreateDefaultDisplayNodes()
    show_brain_window(node)  # before the voxels are set, so that no histogram is computed
    set_voxels(node, head_ct.hu, head_ct.ijk_to_ras)
    facts = head_ct.facts
    _keep_facts(node, {key: getattr(facts, key) for key in _NODE_FACTS})
    file_under_study(node, facts)
    return node


def set_voxels(node: slicer.vtkMRMLVolumeNode, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Set the voxels of a volume node to an array of shape (K, J, I), not copied if contiguous, and its geometry."""
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(ijk_to_ras)))
    node.SetAndObserveImageData(image_from_array(np.ascontiguousarray(array)))


def add_warning(node: slicer.vtkMRMLScalarVolumeNode, sentence: str) -> None:
    """Store a warning on a scan's node: `head_ct_from_node` adds it to the warnings from now on."""
    facts = _kept_facts(node)
    if sentence not in (warnings := facts.get("warnings", ())):
        _keep_facts(node, facts | {"warnings": (*warnings, sentence)})


def show_brain_window(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Apply Slicer's CT-Brain preset (window 100, level 50 HU), unless the user has chosen a window."""
    display = node.GetScalarVolumeDisplayNode()
    if display and display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(100, 50)


def ijk_to_ras_of(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the node's own IJK-to-RAS matrix, without parent transforms, as an array of shape (4, 4)."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def world_affine(node: slicer.vtkMRMLVolumeNode) -> tuple[np.ndarray, float]:
    """As `transforms.affine_to_world`, for a volume node."""
    return affine_to_world(node.GetImageData().GetDimensions(), ijk_to_ras_of(node), node.GetParentTransformNode())


def _keep_facts(node, facts):
    """Store facts on the node, in English, with what makes their sentences translatable."""
    node.SetAttribute(_FACTS_ATTRIBUTE, json.dumps(facts | {"texts": records_of(facts)}))


def _kept_facts(node):
    """Facts stored on the node by `head_ct_to_node`; unknown or changed ones of a newer version are ignored."""
    try:
        kept = json.loads(node.GetAttribute(_FACTS_ATTRIBUTE) or "{}")
    except ValueError:
        return {}
    kept = with_texts(kept, kept.pop("texts", None)) if isinstance(kept, dict) else {}
    facts = {}
    for key in _NODE_FACTS:
        default, value = getattr(ScanFacts, key), kept.get(key)
        value = tuple(value) if isinstance(value, list) else value
        number = key in ("slice_thickness_mm", "patient_age") and isinstance(value, (int, float))
        if value is not None and (number or isinstance(value, type(default))):
            facts[key] = value
    return facts


def scan_facts(node: slicer.vtkMRMLScalarVolumeNode) -> ScanFacts:
    """Facts about a volume node's scan, without reading its voxels."""
    return _facts(node, ijk_to_ras_of(node))


def _facts(node, affine):
    """Facts about the scan from the subject hierarchy, the node and the application's DICOM database."""
    facts = {"path": node.GetName(), "format": "MRML node", "gantry_tilt_deg": round(tilt_deg(affine), 2)}
    facts |= identity_of(node)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if uids and database is not None:
        facts |= {key: database.instanceValue(uids[0], tag) for key, tag in _DICOM_TAGS.items()}
        facts["patient_age"] = patient_age(*(database.instanceValue(uids[0], tag) for tag in _AGE_TAGS))
    facts |= _kept_facts(node)
    return ScanFacts(**facts)
