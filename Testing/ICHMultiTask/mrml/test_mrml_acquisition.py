"""One scan, whichever way it came into the scene: its geometry is that of its files."""

import struct
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")

from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.mrml import acquisition, scene, volumes  # noqa: E402
from ICHMultiTaskLib.report.result import write_nrrd  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.reading import read_head_ct  # noqa: E402


def load(mrmlScene, path):
    """As slicer.util.loadVolume does it: one file is named, ITK finds and stacks its series."""
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Loaded")
    kind = "vtkMRMLNRRDStorageNode" if path.suffix == ".nrrd" else "vtkMRMLVolumeArchetypeStorageNode"
    storage = mrmlScene.AddNewNodeByClass(kind)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def corrected(node):
    found = acquisition.correction(acquisition.source_files(node), acquisition.own_grid(node))
    if found is not None:
        acquisition.correct(node, found)
    return found, volumes.head_ct_from_node(node)


def density(head_ct):
    """Above air, from which no grid can hide anything: volume in mL and center in mm."""
    weight = np.clip(head_ct.hu.astype(float) + 1000, 0, None)
    index = np.argwhere(weight > 0)
    center = np.average(apply_affine(head_ct.ijk_to_ras, index[:, ::-1]), axis=0, weights=weight[tuple(index.T)])
    return weight.sum() * head_ct.voxel_volume_mm3 / 1e6, center


def same(found, expected, moved=(0, 0, 0)):
    (found_ml, found_mm), (expected_ml, expected_mm) = density(found), density(expected)
    assert found_ml == pytest.approx(expected_ml, rel=0.02)
    np.testing.assert_allclose(found_mm, np.add(expected_mm, moved), atol=0.5)


def uneven(slices):
    """A fourth of the slices farther apart, as scanners change their step above the skull base."""
    return np.cumsum([0, *(1.0 if k < slices // 2 else 1.6 for k in range(slices - 1))])


@pytest.mark.parametrize("tilt, variable", [(0, False), (18, False), (-12, False), (0, True), (18, True)])
@pytest.mark.parametrize("upward", [True, False])
def test_dicom_series_loaded_by_one_of_its_files(mrmlScene, tmp_path, dicom_files, tilt, variable, upward):
    affine = dicom_files.affine(tilt)
    offsets = uneven(32) if variable else np.arange(32.0)
    names = {"offsets": offsets if upward else offsets[::-1]}
    hu = dicom_files.head(affine)
    paths = dicom_files.write(tmp_path / "scan", hu if upward else hu[::-1], affine, **names)
    expected = read_head_ct(tmp_path / "scan")
    node = load(mrmlScene, paths[0])
    found, head_ct = corrected(node)
    assert (found is not None) == variable, "a tilt alone is kept by the reader, as shear"
    same(head_ct, expected)
    assert (acquisition.NOTE in head_ct.facts.warnings) == (found is not None)
    assert corrected(node)[0] is None, "once is enough"


def test_a_scan_that_was_moved_as_a_whole_stays_where_it_is(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(0)
    node = load(mrmlScene, dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine)[0])
    turn = np.array([[0.8, -0.6, 0, 9], [0.6, 0.8, 0, -4], [0, 0, 1, 30], [0, 0, 0, 1]])
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turn @ volumes.ijk_to_ras_of(node)))
    assert corrected(node)[0] is None


def test_correction_lies_under_the_transforms_that_the_scan_has(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(18)
    written = dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine, offsets=uneven(32))
    node = load(mrmlScene, written[0])
    parent = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    move = np.eye(4)
    move[:3, 3] = 5, 6, 7
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(move))
    node.SetAndObserveTransformNodeID(parent.GetID())
    found, head_ct = corrected(node)
    assert found is not None and node.GetParentTransformNode().GetParentTransformNode() is parent
    same(head_ct, read_head_ct(tmp_path / "scan"), moved=(5, 6, 7))


def test_slices_that_cannot_be_assigned_are_refused(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(18)
    paths = dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine)
    node = load(mrmlScene, paths[0])
    paths[7].unlink()
    with pytest.raises(InputError, match="31 instead of the 32 expected"):
        corrected(node)


def test_upright_slices_with_missing_files_are_accepted(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(0)
    paths = dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine)
    node = load(mrmlScene, paths[0])
    paths[-1].unlink()
    assert corrected(node)[0] is None


def write_nifti(path, hu, affine):
    """A NIfTI-1 file whose sform says it all, as converters write it."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *hu.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<b", header, 123, 2)  # mm
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + hu.astype("<i2").tobytes())


@pytest.mark.parametrize("suffix, tilt", [(".nii", 0), (".nrrd", 0), (".nrrd", 18), (".nrrd", -12)])
def test_volume_files_lie_as_the_command_reads_them(mrmlScene, tmp_path, dicom_files, suffix, tilt):
    affine, path = dicom_files.affine(tilt), tmp_path / f"scan{suffix}"
    hu = dicom_files.head(affine)
    (write_nifti if suffix == ".nii" else lambda path, hu, affine: write_nrrd(hu, affine, path))(path, hu, affine)
    _found, head_ct = corrected(load(mrmlScene, path))
    same(head_ct, read_head_ct(path))


def test_a_tilted_nifti_is_refused_by_the_application_itself(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(18)
    write_nifti(tmp_path / "scan.nii", dicom_files.head(affine), affine)
    node, storage = (
        mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}Node") for kind in ("ScalarVolume", "VolumeArchetypeStorage")
    )
    storage.SetFileName(str(tmp_path / "scan.nii"))
    if storage.ReadData(node):  # a version that reads it lays it where the file says, by our correction
        node.SetAndObserveStorageNodeID(storage.GetID())
        same(corrected(node)[1], read_head_ct(tmp_path / "scan.nii"))


def by_folder(mrmlScene, paths, tmp_path):
    """A dropped folder is read file by file: any of them brings the series."""
    return load(mrmlScene, sorted(paths)[-1])


def by_database(mrmlScene, paths, tmp_path):
    """As a plug-in of the DICOM module leaves a node: with the UIDs of its images, and no storage."""
    import pydicom

    node = load(mrmlScene, paths[0])
    uids = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): str(path) for path in paths}
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    node.SetAndObserveStorageNodeID(None)
    slicer.dicomDatabase = SimpleNamespace(
        isOpen=True, fileForInstance=lambda uid: uids[uid], instanceValue=lambda uid, tag: ""
    )
    return node


def by_scene(mrmlScene, paths, tmp_path):
    """Loaded, put right by an analysis, saved, and opened again where the files are gone."""
    node = load(mrmlScene, paths[0])
    corrected(node)
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    mrmlScene.Clear(0)
    for file in paths:
        file.unlink()
    mrmlScene.ReadFromMRB(str(path), True)
    return mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")


@pytest.fixture
def no_database():
    yield
    if isinstance(getattr(slicer, "dicomDatabase", None), SimpleNamespace):
        del slicer.dicomDatabase


@pytest.mark.parametrize("way", [by_folder, by_database, by_scene])
def test_one_scan_by_other_ways(mrmlScene, tmp_path, dicom_files, no_database, way):
    affine = dicom_files.affine(18)
    paths = dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine, offsets=uneven(32))
    expected = read_head_ct(tmp_path / "scan")
    same(corrected(way(mrmlScene, paths, tmp_path))[1], expected)


def test_nothing_is_known_of_a_volume_made_in_the_scene(mrmlScene, dicom_files):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volumes.set_voxels(node, dicom_files.head(dicom_files.affine(0)), dicom_files.affine(0))
    assert acquisition.source_files(node) == [] == acquisition.source_files(None)


def test_real_tilted_head_is_the_same_in_every_way_of_loading(mrmlScene, tmp_path, data_folder):
    files, expected = real_head(tmp_path, data_folder)
    found, head_ct = corrected(load(mrmlScene, files[0]))
    assert found is not None
    same(head_ct, expected)
    # What the network sees is the same, but for the direction in which slices are counted.
    hu = head_ct.hu if np.dot(head_ct.ijk_to_ras[:3, 2], expected.ijk_to_ras[:3, 2]) > 0 else head_ct.hu[::-1]
    assert hu.shape == expected.hu.shape
    assert np.abs(hu.astype(int) - expected.hu).mean() < 0.5


def real_head(tmp_path, data_folder):
    zipfile.ZipFile(data_folder / "ge_head_tilt18_variable_spacing.zip").extractall(tmp_path)
    return sorted(path for path in tmp_path.rglob("*") if path.is_file()), read_head_ct(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_folder, by_database, by_scene])
def test_real_tilted_head_gives_one_result(mrmlScene, tmp_path, data_folder, no_database, way):
    pytest.importorskip("torch")
    from ICHMultiTaskLib.analysis.analyzer import Analyzer

    files, expected = real_head(tmp_path, data_folder)
    analyzer = Analyzer(device="cpu")
    by_command = analyzer.analyze(expected, attention=False).volume_ml
    files = [path for path in files if path.suffix.lower() in (".dcm", "")]
    in_scene = analyzer.analyze(corrected(way(mrmlScene, files, tmp_path))[1], attention=False).volume_ml
    assert in_scene == pytest.approx(by_command, rel=0.02)
