"""The proposed segmentation as a node, as a file and from the shell."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import SimpleITK  # noqa: E402
import vtk  # noqa: E402

from ICHMultiTaskLib import cli  # noqa: E402
from ICHMultiTaskLib.analysis.marking import Marking  # noqa: E402
from ICHMultiTaskLib.common.errors import InputError, OutputError  # noqa: E402
from ICHMultiTaskLib.measures.segment_files import read_segments  # noqa: E402
from ICHMultiTaskLib.model.testing import tiny_bundle  # noqa: E402
from ICHMultiTaskLib.mrml import hierarchy, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.marking import show_marking, write_marking  # noqa: E402
from ICHMultiTaskLib.mrml.segments import read_segment, segments_of  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient, write_nifti  # noqa: E402

FACTS = ScanFacts(patient_id="P1", study_uid="1.2.3", series_uid="1.2.3.4")


@pytest.fixture
def head_ct(dicom_files):
    return HeadCT(np.full((20, 64, 48), 35, np.int16), dicom_files.affine(tilt_deg=18.0), FACTS)


@pytest.fixture
def marking(head_ct):
    mask = np.zeros(head_ct.hu.shape, bool)
    mask[8:11, 30:37, 20:25] = True
    return Marking(mask, 5.67, 5.7, (5.67,), True)


@pytest.fixture
def scan(mrmlScene, head_ct):
    return volumes.head_ct_to_node(mrmlScene, head_ct, "Head CT")


def only_segment(node):
    (choice,) = segments_of(node)
    return read_segment(node, choice.segment_id), node.GetSegmentation().GetSegment(choice.segment_id)


def test_segmentation_node(mrmlScene, scan, head_ct, marking):
    node = show_marking(mrmlScene, marking, head_ct, scan)
    read, segment = only_segment(node)
    assert np.array_equal(read.mask, marking.mask)
    assert read.ijk_to_ras == pytest.approx(head_ct.ijk_to_ras)
    assert segment.GetName() == "Hemorrhage"
    assert segment.GetColor() == pytest.approx((188 / 255, 65 / 255, 28 / 255))
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReferenceID(role) == scan.GetID()
    tree = hierarchy.subject_hierarchy(mrmlScene)
    study = tree.GetItemParent(hierarchy.item_of(scan))
    assert tree.GetItemLevel(study) == "Study"
    assert tree.GetItemParent(hierarchy.item_of(node)) == study


def test_terminology(mrmlScene, scan, head_ct, marking):
    _, segment = only_segment(show_marking(mrmlScene, marking, head_ct, scan))
    entry, logic = slicer.vtkSlicerTerminologyEntry(), slicer.vtkSlicerTerminologiesModuleLogic()
    tag = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
    assert logic.DeserializeTerminologyEntry(str(tag), entry)
    codes = [entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetRegionObject()]
    assert [(code.GetCodingSchemeDesignator(), code.GetCodeValue()) for code in codes] == [
        ("SCT", "49755003"), ("SCT", "50960005"), ("SCT", "12738006"),
    ]  # fmt: skip


@pytest.mark.parametrize("agrees, name", [(True, "InProgress"), (False, "Flagged")])
def test_a_draft_is_in_progress_and_a_doubtful_one_flagged(mrmlScene, scan, head_ct, marking, agrees, name):
    marking = Marking(marking.mask, 5.67, 5.7 if agrees else 9.0, (5.67,), agrees)
    _, segment = only_segment(show_marking(mrmlScene, marking, head_ct, scan))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(segment) == getattr(logic, name)


def test_parent_transform_is_shared(mrmlScene, scan, head_ct, marking):
    transform = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.array([[0.0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    scan.SetAndObserveTransformNodeID(transform.GetID())
    node = show_marking(mrmlScene, marking, volumes.head_ct_from_node(scan), scan)
    assert node.GetTransformNodeID() == transform.GetID()
    read, _ = only_segment(node)
    assert read.ijk_to_ras == pytest.approx(matrix @ head_ct.ijk_to_ras)


def test_a_resampled_scan_is_marked_in_world_coordinates(mrmlScene, scan, head_ct, marking):
    """What was analyzed is not the node's own grid, as after regular slices were made of irregular ones."""
    affine = head_ct.ijk_to_ras + np.array([[0.0, 0, 0.3, 1.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    node = show_marking(mrmlScene, marking, HeadCT(np.zeros(marking.mask.shape, np.int16), affine), scan)
    assert node.GetTransformNodeID() is None
    read, _ = only_segment(node)
    found = apply_affine(read.ijk_to_ras, np.argwhere(read.mask).mean(0)[::-1])
    assert found == pytest.approx(apply_affine(affine, np.argwhere(marking.mask).mean(0)[::-1]))


def test_an_earlier_draft_stays(mrmlScene, scan, head_ct, marking):
    nodes = [show_marking(mrmlScene, marking, head_ct, scan) for _ in range(2)]
    assert nodes[0].GetScene() is mrmlScene and nodes[0].GetName() != nodes[1].GetName()


def test_nothing_to_show(mrmlScene, scan, head_ct, marking):
    empty = Marking(np.zeros_like(marking.mask), 0.0, 0.4, (), True, ("Nothing is marked: below 1 mL.",))
    with pytest.raises(InputError, match="below 1 mL"):
        show_marking(mrmlScene, empty, head_ct, scan)
    mrmlScene.RemoveNode(scan)
    with pytest.raises(InputError, match="no longer in the scene"):
        show_marking(mrmlScene, marking, head_ct, scan)


def test_file(tmp_path, head_ct, marking):
    path = write_marking(marking, head_ct, tmp_path / "bleed.seg.nrrd")
    (segment,) = read_segments(path)
    assert segment.name == "Hemorrhage"
    assert np.array_equal(segment.mask, marking.mask)
    assert segment.ijk_to_ras == pytest.approx(head_ct.ijk_to_ras)
    image = SimpleITK.ReadImage(str(path), imageIO="NrrdImageIO")
    assert image.GetSize() == head_ct.hu.shape[::-1]
    assert "SCT^50960005^Hemorrhage" in image.GetMetaData("Segment0_Tags")
    assert [p.name for p in tmp_path.iterdir()] == ["bleed.seg.nrrd"]


def test_a_file_says_that_it_is_a_draft_until_it_is_edited(tmp_path, head_ct, marking):
    path = write_marking(marking, head_ct, tmp_path / "draft.seg.nrrd")
    (draft,) = read_segments(path)
    assert draft.draft
    own = slicer.vtkMRMLScene()
    node = own.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = own.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    assert segments_of(node)[0].draft, "the tag came back with the file"
    image, segment_id = slicer.vtkOrientedImageData(), node.GetSegmentation().GetNthSegmentID(0)
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    labels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    labels[np.flatnonzero(labels)[0]] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segment_id)
    assert not segments_of(node)[0].draft
    storage.SetFileName(str(tmp_path / "edited.seg.nrrd"))
    assert storage.WriteData(node)
    assert not read_segments(tmp_path / "edited.seg.nrrd")[0].draft


def test_file_refusals(tmp_path, head_ct, marking):
    with pytest.raises(InputError, match=r"ends in \.seg\.nrrd"):
        write_marking(marking, head_ct, tmp_path / "bleed.nii.gz")
    with pytest.raises(OutputError):
        write_marking(marking, head_ct, tmp_path / "missing" / "bleed.seg.nrrd")


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A simulated patient and the scan's file."""
    bleed = {"bleed": True, "location": "putamen", "shape": "regular", "volume_ml": 15.0}
    found = simulate_patient(35, SimulationSettings(matrix=128, slices=28, **bleed))
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_nifti(found.head_ct.hu, found.head_ct.ijk_to_ras, path)
    return found, path


def test_shell_with_the_shipped_model(tmp_path, patient, capsys):
    truth, scan = patient
    path = tmp_path / "bleed.seg.nrrd"
    assert cli.main(["mark", str(scan), "--output", str(path), "--device", "cpu"]) == 0
    (segment,) = read_segments(path)
    overlap = 2 * np.count_nonzero(segment.mask & truth.mask)
    assert overlap / (np.count_nonzero(segment.mask) + np.count_nonzero(truth.mask)) > 0.75
    written = np.count_nonzero(segment.mask) * truth.head_ct.voxel_volume_mm3 / 1000
    assert capsys.readouterr().out.startswith(f"{written:.1f} mL marked: {path}.")


def test_shell_says_why_nothing_is_marked(tmp_path, patient, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = str(tiny_bundle(tmp_path / "tiny"))
    assert cli.main(["mark", str(patient[1]), "--model", bundle, "--volume", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "Nothing is marked: the volume is 0 mL.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    "name, sentence",
    [("taken.seg.nrrd", "--overwrite"), ("bleed.nrrd", ".seg.nrrd"), ("no/x.seg.nrrd", "does not exist")],
)
def test_shell_refuses_before_the_work(tmp_path, patient, capsys, name, sentence):
    (tmp_path / "taken.seg.nrrd").write_text("mine")
    assert cli.main(["mark", str(patient[1]), "--output", str(tmp_path / name)]) == 1
    assert sentence in capsys.readouterr().err
    assert (tmp_path / "taken.seg.nrrd").read_text() == "mine"
