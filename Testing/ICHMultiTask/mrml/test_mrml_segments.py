"""Segments of segmentation and labelmap nodes, read in their place, on real MRML nodes."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import vtk  # noqa: E402

from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.measures.segment import measure  # noqa: E402
from ICHMultiTaskLib.mrml import segments, volumes  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402

OBLIQUE = np.array([[2.4, -1.8, 0, -60], [1.8, 2.4, 0, -95], [0, 0, 6, -50], [0, 0, 0, 1]])
SHEARED = np.array([[-3.0, 0, 0, 70], [0, -3, 2, 90], [0, 0, 6, -50], [0, 0, 0, 1]])
TURN = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])


def segmentation(mrmlScene, name="Dr. A", labels=None, affine=OBLIQUE, start_ijk=(0, 0, 0), names=("Bleed", "Edema")):
    """A segmentation whose segments share one labelmap: label n is the nth name."""
    labels = ball() if labels is None else labels
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    image = slicer.vtkOrientedImageData()
    k, j, i = labels.shape
    x, y, z = start_ijk
    image.SetExtent(x, x + i - 1, y, y + j - 1, z, z + k - 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = labels.ravel()
    segmentation = node.GetSegmentation()
    for value, name in enumerate(names[: max(1, int(labels.max()))], start=1):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(0.9, 0.1, 0.1 * value)
        segment.AddRepresentation("Binary labelmap", image)
        segment.SetLabelValue(value)
        segmentation.AddSegment(segment, name)
    return node


def ball(shape=(12, 20, 24), label=1):
    k, j, i = np.indices(shape)
    inside = ((k - 6) / 4) ** 2 + ((j - 9) / 6) ** 2 + ((i - 11) / 6) ** 2 < 1
    return (inside * label).astype(np.uint8)


def labelmap(mrmlScene, labels, affine=OBLIQUE, name="Labels"):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    volumes.set_voxels(node, labels, affine)
    return node


def center(segment):
    return apply_affine(segment.ijk_to_ras, np.argwhere(segment.mask)[:, ::-1]).mean(axis=0)


def test_nothing_to_list_in_an_empty_scene(mrmlScene):
    assert segments.list_segments(mrmlScene) == []


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED, np.diag([-0.5, -0.5, 5, 1])])
def test_segments_that_share_a_labelmap_are_read_apart_in_their_place(mrmlScene, affine):
    labels = ball()
    labels[:, :9][labels[:, :9] > 0] = 2
    node = segmentation(mrmlScene, labels=labels, affine=affine, start_ijk=(30, 4, 7))
    found = segments.segments_of(node)
    assert [(c.name, c.reader, c.hidden) for c in found] == [("Bleed", "Dr. A", False), ("Edema", "Dr. A", False)]
    for value, choice in enumerate(found, start=1):
        segment = segments.read_segment(node, choice.segment_id)
        expected = apply_affine(affine, np.argwhere(labels == value)[:, ::-1] + (30, 4, 7)).mean(axis=0)
        np.testing.assert_allclose(center(segment), expected, atol=1e-6)
        assert segment.mask.sum() == (labels == value).sum()
        assert segment.label == f"{choice.name} (Dr. A)"


def test_volume_is_that_of_segment_statistics_on_an_orthogonal_grid(mrmlScene):
    node = segmentation(mrmlScene)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("Bleed", image)
    voxels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).sum()
    assert measure(segments.read_segment(node, "Bleed")).volume_ml == pytest.approx(
        voxels * np.prod(image.GetSpacing()) / 1000, rel=1e-9
    )


def test_linear_parents_move_the_segment(mrmlScene):
    node = segmentation(mrmlScene)
    before = segments.read_segment(node, "Bleed")
    parent = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(TURN))
    node.SetAndObserveTransformNodeID(parent.GetID())
    after = segments.read_segment(node, "Bleed")
    np.testing.assert_allclose(center(after), apply_affine(TURN, center(before)), atol=1e-6)
    assert measure(after).volume_ml == pytest.approx(measure(before).volume_ml)


def test_a_transform_that_bends_is_applied_by_resampling(mrmlScene):
    node = segmentation(mrmlScene, affine=np.diag([2.0, 2, 5, 1]), labels=np.ones((10, 20, 20), np.uint8))
    # Stretches every slice by z²/100 upward: the block from 0 to 45 mm ends at 65.25 mm.
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x in (-10, 60):
        for y in (-10, 60):
            for z in range(-10, 61, 5):
                source.InsertNextPoint(x, y, z)
                target.InsertNextPoint(x, y, z + max(z, 0) ** 2 / 100)
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    parent = mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetAndObserveTransformToParent(spline)
    before = measure(segments.read_segment(node, "Bleed")).volume_ml
    node.SetAndObserveTransformNodeID(parent.GetID())
    found = segments.read_segment(node, "Bleed")
    assert measure(found).volume_ml == pytest.approx(before * (45 + 20.25) / 45, rel=0.15)
    top = apply_affine(found.ijk_to_ras, np.argwhere(found.mask)[:, ::-1])[:, 2].max()
    assert top == pytest.approx(65.25, abs=8)


def test_hidden_segments_and_segmentations_are_listed_as_such(mrmlScene):
    labels = ball()
    labels[:, :9][labels[:, :9] > 0] = 2
    node = segmentation(mrmlScene, labels=labels)
    node.GetDisplayNode().SetSegmentVisibility("Edema", False)
    assert [c.hidden for c in segments.list_segments(mrmlScene)] == [False, True]
    assert segments.read_segment(node, "Edema").mask.any()
    node.GetDisplayNode().SetVisibility(False)
    assert [c.hidden for c in segments.list_segments(mrmlScene)] == [True, True]
    node.SetHideFromEditors(True)
    assert segments.list_segments(mrmlScene) == []


def test_empty_segments_have_no_volume_and_say_so(mrmlScene):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Dr. B")
    node.GetSegmentation().AddEmptySegment("new", "Bleed")
    drawn = segmentation(mrmlScene)
    drawn.GetSegmentation().AddEmptySegment("later", "Second")
    for holder, segment_id in ((node, "new"), (drawn, "later")):
        measures = measure(segments.read_segment(holder, segment_id))
        assert measures.volume_ml == 0 and "empty" in measures.notes[0]


def test_deleted_segments_and_segmentations_are_reported(mrmlScene):
    node = segmentation(mrmlScene)
    node.GetSegmentation().RemoveSegment("Bleed")
    with pytest.raises(InputError, match="segment is no longer in “Dr. A”"):
        segments.read_segment(node, "Bleed")
    mrmlScene.RemoveNode(node)
    for gone in (node, None):
        with pytest.raises(InputError, match="segmentation is no longer in the scene"):
            segments.read_segment(gone, "Bleed")


def surface_segmentation(mrmlScene):
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(20)
    sphere.SetThetaResolution(64)
    sphere.SetPhiResolution(64)
    sphere.Update()
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surfaces")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    return node, node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Ball", [1, 0, 0])


def test_surface_is_rasterized_in_the_reference_geometry(mrmlScene):
    node, segment_id = surface_segmentation(mrmlScene)
    with pytest.raises(InputError, match="“Ball” of “Surfaces” is a surface without reference geometry"):
        segments.read_segment(node, segment_id)
    volume = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    affine = np.diag([1.0, 1, 2, 1])
    affine[:3, 3] = -30, -30, -30
    volumes.set_voxels(volume, np.zeros((30, 60, 60), np.int16), affine)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segments.read_segment(node, segment_id)
    assert measure(segment).volume_ml == pytest.approx(4 / 3 * np.pi * 8, rel=0.02)
    np.testing.assert_allclose(center(segment), (0, 0, 0), atol=0.6)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap"), "the user's node is left as it is"


def test_labelmap_volumes_have_a_segment_for_each_label(mrmlScene):
    labels = ball().astype(np.int16)
    labels[0, 0, :3] = 7
    node = labelmap(mrmlScene, labels)
    found = segments.list_segments(mrmlScene)
    assert [(c.segment_id, c.name, c.reader) for c in found] == [("1", "Label 1", "Labels"), ("7", "Label 7", "Labels")]
    assert segments.read_segment(node, "7").mask.sum() == 3
    labels[:] = 0
    with pytest.raises(InputError, match="no longer in “Labels”"):
        segments.read_segment(node, "7")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.arange(200), "“Labels” contains 200 different values, like a scan; expected a segmentation"),
        ([-1000, 33, 68], "“Labels” contains the label -1000; expected 0 outside"),
    ],
)
def test_a_scan_is_no_labelmap(mrmlScene, values, words):
    labels = np.zeros((12, 20, 24), np.int16)
    labels.flat[: len(values)] = values
    node = labelmap(mrmlScene, labels)
    (choice,) = segments.segments_of(node)
    with pytest.raises(InputError, match=words):
        segments.read_segment(node, choice.segment_id)


def test_labels_take_name_and_color_from_the_color_table(mrmlScene):
    node = labelmap(mrmlScene, ball(label=2))
    colors = mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    colors.SetColor(2, "Hematoma", 0.5, 0.25, 0.0)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    (choice,) = segments.segments_of(node)
    assert choice.name == "Hematoma" and choice.color == pytest.approx((0.5, 0.25, 0), abs=1 / 255)


def scan(mrmlScene, patient, name="CT"):
    facts = ScanFacts(patient_id=patient, study_uid=f"1.{patient}", series_uid=f"1.{patient}.{name}")
    return volumes.head_ct_to_node(mrmlScene, HeadCT(np.zeros((12, 20, 24), np.int16), OBLIQUE, facts), name)


def test_segmentation_of_another_patient_or_volume_is_reported(mrmlScene):
    from ICHMultiTaskLib.mrml.hierarchy import file_beside

    first, second, foreign = scan(mrmlScene, "1"), scan(mrmlScene, "1", "Repeat"), scan(mrmlScene, "2")
    node = segmentation(mrmlScene)
    assert segments.concerns(node, first) == []
    file_beside(node, first)
    node.SetReferenceImageGeometryParameterFromVolumeNode(first)
    assert segments.concerns(node, first) == []
    assert segments.concerns(node, second) == ["“Dr. A” was drawn on another volume, “CT”."]
    file_beside(node, foreign)
    assert segments.concerns(node, first) == ["“Dr. A” is filed under another patient than the scan."]
