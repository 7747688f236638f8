"""One scan, whichever way it came into the scene: its geometry is that of its files."""

import zipfile

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")

from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.mrml import acquisition, scene, volumes  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.reading import read_head_ct  # noqa: E402


@pytest.fixture
def mrmlScene():
    found = scene.create_scene()
    found.Clear(0)
    yield found
    found.Clear(0)


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


def test_upright_slices_of_which_some_are_gone_are_believed(mrmlScene, tmp_path, dicom_files):
    affine = dicom_files.affine(0)
    paths = dicom_files.write(tmp_path / "scan", dicom_files.head(affine), affine)
    node = load(mrmlScene, paths[0])
    paths[-1].unlink()
    assert corrected(node)[0] is None


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_volume_files_lie_as_the_command_reads_them(mrmlScene, tmp_path, dicom_files, suffix):
    import SimpleITK

    affine = dicom_files.affine(0)
    image = SimpleITK.GetImageFromArray(dicom_files.head(affine))
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(image, str(path))
    found, head_ct = corrected(load(mrmlScene, path))
    assert found is None
    same(head_ct, read_head_ct(path))


def test_nothing_is_known_of_a_volume_made_in_the_scene(mrmlScene, dicom_files):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volumes.set_voxels(node, dicom_files.head(dicom_files.affine(0)), dicom_files.affine(0))
    assert acquisition.source_files(node) == [] == acquisition.source_files(None)


def test_real_tilted_head_is_the_same_by_every_way(mrmlScene, tmp_path, data_folder):
    zipfile.ZipFile(data_folder / "ge_head_tilt18_variable_spacing.zip").extractall(tmp_path)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    expected = read_head_ct(tmp_path)
    found, head_ct = corrected(load(mrmlScene, files[0]))
    assert found is not None
    same(head_ct, expected)
