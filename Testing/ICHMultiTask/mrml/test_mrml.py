"""The adapters on real MRML nodes."""

import zipfile

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import vtk  # noqa: E402

from ICHMultiTaskLib.analysis.attention import Attention  # noqa: E402
from ICHMultiTaskLib.analysis.result import Analysis  # noqa: E402
from ICHMultiTaskLib.analysis.second_look import Hemorrhage  # noqa: E402
from ICHMultiTaskLib.common.errors import InputError, OutputError  # noqa: E402
from ICHMultiTaskLib.mrml import focus, hierarchy, pictures, results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402

TILTED = np.array([[-3.0, 0, 0, 70], [0, -3, 2, 90], [0, 0, 6, -50], [0, 0, 0, 1]])
OBLIQUE = np.array([[2.4, -1.8, 0, -60], [1.8, 2.4, 0, -95], [0, 0, 6, -50], [0, 0, 0, 1]])
FACTS = ScanFacts(
    patient_id="P1", patient_name="Doe^Jane", study_uid="1.2.3", study_date="20260102", series_uid="1.2.3.4",
    kernel="H30", simulated=True, warnings=("Slices overlap.",), slice_steps_mm=(5.0, 6.0),
)  # fmt: skip
MARK_KJI = (9, 31, 23)


@pytest.fixture
def head_ct():
    """A block of brain in air, with a small bright mark."""
    hu = np.full((20, 64, 48), -1000, np.int16)
    hu[4:16, 12:52, 8:40] = 35
    k, j, i = MARK_KJI
    hu[k - 1 : k + 2, j - 3 : j + 4, i - 3 : i + 4] = 75
    return HeadCT(hu, TILTED, FACTS)


def analysis_of(head_ct, **changes):
    k, j, i = MARK_KJI
    array = np.zeros(head_ct.hu.shape, np.float32)
    array[k - 1 : k + 2, j - 3 : j + 4, i - 3 : i + 4] = 0.7
    array[MARK_KJI] = 1
    peak = tuple(apply_affine(head_ct.ijk_to_ras, MARK_KJI[::-1]))
    values = {
        "head_ct": head_ct, "volume_ml": 33.24, "volume_interval_ml": (28.0, 39.06), "interval_coverage": 0.9,
        "mortality_probability": 0.12, "prognosis": "survival", "warnings": ("Slices overlap.",), "timing_s": {},
        "attention": Attention(array, "volume", "stage3", "hirescam", peak), "prediction": None,
        "model": {"name": "test", "version": "1.0", "sha256": "ab" * 32, "training_data": "Simulated scans."},
    }  # fmt: skip
    return Analysis(**values | changes)


def mark_position(head_ct, threshold=60):
    """World position of the bright mark, weighted by its HU above the brain: independent of the grid."""
    index = np.argwhere(head_ct.hu > threshold)
    weight = head_ct.hu[tuple(index.T)] - threshold
    return np.average(apply_affine(head_ct.ijk_to_ras, index[:, ::-1]), axis=0, weights=weight)


def linear_transform(mrmlScene, matrix):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, dtype=float)))
    return node


def acquisition_transform(mrmlScene, node, displacement):
    """A grid transform with one vector at each corner of each slice, as Slicer's DICOM import makes it."""
    columns, rows, slices = node.GetImageData().GetDimensions()
    spacing = node.GetSpacing()
    grid = vtk.vtkImageData()
    grid.SetOrigin(*node.GetOrigin())
    grid.SetDimensions(2, 2, slices)
    grid.SetSpacing(spacing[0] * columns, spacing[1] * rows, spacing[2])
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    directions = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(directions)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(grid)
    transformNode = mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition")
    transformNode.SetAndObserveTransformToParent(transform)
    slicer.util.arrayFromGridTransform(transformNode)[:] = np.asarray(displacement)[:, None, None, :]
    node.SetAndObserveTransformNodeID(transformNode.GetID())
    return transformNode


def test_create_scene_gives_the_same_scene_every_time(mrmlScene):
    assert scene.create_scene() is mrmlScene
    assert mrmlScene.GetNodeByID(scene.INFERNO_ID).GetNumberOfColors() == 256
    names = {node.GetLayoutName() for node in scene.nodes_of_class(mrmlScene, "vtkMRMLSliceNode")}
    assert {"Red", "Yellow", "Green"} <= names


def test_inferno_runs_from_black_to_light_yellow_with_rising_brightness(mrmlScene):
    node, color = mrmlScene.GetNodeByID(scene.INFERNO_ID), [0.0] * 4
    brightness = []
    for index in range(256):
        node.GetColor(index, color)
        brightness.append(np.dot(color[:3], (0.2126, 0.7152, 0.0722)))
    assert brightness[0] < 0.01 and brightness[-1] > 0.9
    assert (np.diff(brightness) > -0.004).all(), "never falls by more than the rounding to 8 bits"


@pytest.mark.parametrize("matrix", [TILTED, OBLIQUE, np.diag([0.5, 0.5, 5, 1]), np.diag([-0.5, 0.5, -2, 1])])
def test_node_round_trip_keeps_voxels_geometry_and_facts(mrmlScene, head_ct, matrix):
    given = HeadCT(head_ct.hu, matrix, FACTS)
    node = volumes.head_ct_to_node(mrmlScene, given, "CT")
    found = volumes.head_ct_from_node(node)
    assert np.shares_memory(found.hu, given.hu)
    np.testing.assert_allclose(found.ijk_to_ras, matrix, atol=1e-9)
    for name in ("patient_id", "patient_name", "study_uid", "study_date", "series_uid", "kernel", "simulated",
                 "warnings", "slice_steps_mm"):  # fmt: skip
        assert getattr(found.facts, name) == getattr(FACTS, name)
    with pytest.raises(ValueError, match="read-only"):
        found.hu[0, 0, 0] = 1


def test_patient_identity_is_in_the_hierarchy_and_not_on_the_node(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    attributes = " ".join(node.GetAttribute(name) for name in node.GetAttributeNames())
    assert "P1" not in attributes and "Doe" not in attributes


def test_second_scan_of_a_study_joins_it(mrmlScene, head_ct):
    nodes = [volumes.head_ct_to_node(mrmlScene, head_ct, name) for name in ("first", "second")]
    tree = hierarchy.subject_hierarchy(mrmlScene)
    parents = {tree.GetItemParent(hierarchy.item_of(node)) for node in nodes}
    assert len(parents) == 1
    assert tree.GetItemLevel(parents.pop()) == "Study"


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32, np.float64])
def test_every_number_format_becomes_int16_or_float32(mrmlScene, dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    volumes.set_voxels(node, values, np.eye(4))
    found = volumes.head_ct_from_node(node).hu
    assert found.dtype in (np.int16, np.float32)
    np.testing.assert_array_equal(found, values)


def test_a_node_saturates_and_loses_a_forgotten_offset_as_a_file_does(mrmlScene, head_ct):
    rng = np.random.default_rng(0)
    hu = np.full((20, 40, 40), -1000) + rng.normal(0, 5, (20, 40, 40)).round().astype(int)
    hu[4:16, 8:32, 8:32] = 900
    hu[6:14, 10:30, 10:30] = 32 + rng.normal(0, 5, (8, 20, 20)).round().astype(int)
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    stored = np.maximum(hu + 1024, 0).astype(np.uint16)
    stored[0, 0, 0] = 65535
    volumes.set_voxels(node, stored, TILTED)
    found = volumes.head_ct_from_node(node)
    np.testing.assert_array_equal(found.hu.ravel()[1:], hu.ravel()[1:])
    assert found.hu[0, 0, 0] == 32767 - 1024 and "stored without their offset" in found.facts.warnings[-1]
    assert slicer.util.arrayFromVolume(node)[0, 0, 0] == 65535, "the user's node is never changed"


def test_linear_parents_are_composed(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    turn = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    inner, outer = linear_transform(mrmlScene, turn), linear_transform(mrmlScene, np.diag([1, 1, 1.5, 1]))
    node.SetAndObserveTransformNodeID(inner.GetID())
    inner.SetAndObserveTransformNodeID(outer.GetID())
    found = volumes.head_ct_from_node(node)
    np.testing.assert_allclose(found.ijk_to_ras, np.diag([1, 1, 1.5, 1]) @ turn @ TILTED, atol=1e-9)
    np.testing.assert_allclose(volumes.ijk_to_ras_of(node), TILTED, atol=1e-9)


def test_transform_that_scales_or_mirrors_gives_a_warning(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    for factors, words in (
        ((1, 1, 1.5), ["changes the size of the volume by +50 %"]),
        ((-1, 1, 1), ["mirrors the volume: left and right are swapped"]),
        ((-1, 1, 0.8), ["mirrors the volume", "by -20 %"]),
        ((1, 1, 1), []),
    ):
        parent = linear_transform(mrmlScene, np.diag([*factors, 1]))
        node.SetAndObserveTransformNodeID(parent.GetID())
        found = volumes.head_ct_from_node(node).facts.warnings
        assert [any(word in text for text in found) for word in words] == [True] * len(words)
        assert len(found) == len(words) + len(head_ct.facts.warnings)


def test_grid_transform_of_a_tilted_scan_gives_the_sheared_affine_without_resampling(mrmlScene, head_ct):
    upright = TILTED.copy()
    upright[1, 2] = 0
    node = volumes.head_ct_to_node(mrmlScene, HeadCT(head_ct.hu, upright), "CT")
    acquisition_transform(mrmlScene, node, [(0, 2.0 * k, 0) for k in range(20)])
    found = volumes.head_ct_from_node(node)
    np.testing.assert_allclose(found.ijk_to_ras, TILTED, atol=1e-6)
    assert np.shares_memory(found.hu, head_ct.hu)
    assert abs(found.facts.gantry_tilt_deg) == pytest.approx(np.degrees(np.arctan(2 / 6)), abs=0.01)


def test_variable_spacing_is_resampled_with_a_warning(mrmlScene, head_ct):
    upright = np.diag([-3.0, -3, 5, 1])
    upright[:3, 3] = 70, 90, -50
    node = volumes.head_ct_to_node(mrmlScene, HeadCT(head_ct.hu, upright), "CT")
    heights = -50 + np.cumsum([0.0] + [4.0] * 12 + [1.0] + [4.0] * 3 + [7.0] * 3)
    shear = 0.3 * (heights + 50)
    shift = [(0, y, z - (-50 + 5 * k)) for k, (y, z) in enumerate(zip(shear, heights, strict=True))]
    acquisition_transform(mrmlScene, node, shift)
    before = volumes.ijk_to_ras_of(node).copy()
    found = volumes.head_ct_from_node(node)
    k, j, i = MARK_KJI
    expected = (70 - 3 * i, 90 - 3 * j + shear[k], heights[k])
    np.testing.assert_allclose(mark_position(found), expected, atol=0.5)
    assert "is not affine" in found.facts.warnings[-1] and "1.04, 4.18, 7.31 mm" in found.facts.warnings[-1]
    # The scan is taken in whole: the brain's volume is that of slices with their own thickness.
    brain = (found.hu > -300).sum() * found.voxel_volume_mm3
    inside = 0.5 * (heights[5:17] - heights[3:15])
    assert brain == pytest.approx(40 * 32 * 9 * inside.sum(), rel=0.05)
    np.testing.assert_array_equal(volumes.ijk_to_ras_of(node), before)
    assert node.GetTransformNodeID() is not None


def test_unusable_nodes_are_refused_by_name(mrmlScene, head_ct):
    with pytest.raises(InputError, match="No volume was given"):
        volumes.head_ct_from_node(None)
    for given in ("CT", head_ct.hu, 5):
        with pytest.raises(InputError, match="No volume was given; .* found"):
            volumes.head_ct_from_node(given)
    removed = volumes.head_ct_to_node(mrmlScene, head_ct, "gone")
    mrmlScene.RemoveNode(removed)
    with pytest.raises(InputError, match="volume gone is no longer in the scene"):
        volumes.head_ct_from_node(removed)
    empty = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "void")
    with pytest.raises(InputError, match="volume void is empty"):
        volumes.head_ct_from_node(empty)
    for kind in ("LabelMapVolume", "VectorVolume", "DiffusionWeightedVolume", "Model"):
        node = mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}Node", "other")
        with pytest.raises(InputError, match=f"other is a {kind}; expected a head CT"):
            volumes.head_ct_from_node(node)
    color = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "color")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    color.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="volume color has 3 values per voxel"):
        volumes.head_ct_from_node(color)


def test_show_analysis_lays_the_map_over_the_scan(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    analysis = analysis_of(head_ct)
    shown = results.show_analysis(mrmlScene, analysis, node)
    np.testing.assert_allclose(volumes.ijk_to_ras_of(shown.attention), TILTED, atol=1e-9)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown.attention), analysis.attention.array)
    display = shown.attention.GetDisplayNode()
    assert display.GetColorNode().GetName() == "Inferno" and display.GetApplyThreshold()
    assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (100, 50)
    for color in ("Red", "Yellow", "Green"):
        composite = mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{color}")
        assert composite.GetBackgroundVolumeID() == node.GetID()
        assert composite.GetForegroundVolumeID() == shown.attention.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.4)
    red = mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert red.GetSliceToRAS().GetElement(2, 3) == pytest.approx(analysis.attention.peak_ras_mm[2])
    tree = hierarchy.subject_hierarchy(mrmlScene)
    study = tree.GetItemByUID("DICOM", "1.2.3")
    for result in (shown.attention, shown.table):
        assert tree.GetItemParent(hierarchy.item_of(result)) == study


def test_without_a_hemorrhage_the_map_is_made_but_not_shown(mrmlScene, head_ct):
    """Switched on, it stays on for this scan when another one was shown between."""
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    other = volumes.head_ct_to_node(mrmlScene, head_ct, "other")
    red = mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    shown = results.show_analysis(mrmlScene, analysis_of(head_ct, hemorrhage=Hemorrhage.NONE), node)
    assert shown.attention is not None and red.GetForegroundVolumeID() is None
    focus.show_scan(mrmlScene, node)
    assert red.GetForegroundVolumeID() is None
    results.switch_map(mrmlScene, node, True)
    for scan in (other, node):
        focus.show_scan(mrmlScene, scan)
    assert red.GetForegroundVolumeID() == shown.attention.GetID()
    results.show_analysis(mrmlScene, analysis_of(head_ct, hemorrhage=Hemorrhage.NONE), node)
    assert red.GetForegroundVolumeID() is None
    results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    assert red.GetForegroundVolumeID() is not None


def test_views_stay_where_they_are_if_there_is_no_hemorrhage(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    red = mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.JumpSlice(*apply_affine(head_ct.ijk_to_ras, (0, 0, 0)))
    before = red.GetSliceToRAS().GetElement(2, 3)
    results.show_analysis(mrmlScene, analysis_of(head_ct, hemorrhage=Hemorrhage.NONE), node)
    assert red.GetSliceToRAS().GetElement(2, 3) == before


def test_result_table_says_everything(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    table = results.show_analysis(mrmlScene, analysis_of(head_ct), node).table
    text = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
    assert text["Hematoma volume"] == "33.2" and text["90% interval"] == "28.0 to 39.1"
    assert text["30-day mortality probability"] == "12 %" and text["Prognosis"] == "survival"
    assert text["Training data"] == "Simulated scans." and text["Warning"] == "Slices overlap."
    assert text["Intended use"] == "Research use only; not validated on patients."
    assert table.GetCellText(0, 2) == "mL"


def test_second_run_replaces_the_first_and_keeps_the_users_colors(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    first = results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    first.attention.GetDisplayNode().SetThreshold(0.8, 1)
    count = mrmlScene.GetNumberOfNodes()
    second = results.show_analysis(mrmlScene, analysis_of(head_ct, volume_ml=5.0), node)
    assert mrmlScene.GetNumberOfNodes() == count
    assert second.attention is first.attention and second.table is first.table
    assert second.table.GetCellText(0, 1) == "5.0"
    assert second.attention.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.8)
    third = results.show_analysis(mrmlScene, analysis_of(head_ct, attention=None), node)
    assert third.attention is None and results.result_node(node, "attention") is None


def test_two_scans_have_their_own_results(mrmlScene, head_ct):
    nodes = [volumes.head_ct_to_node(mrmlScene, head_ct, name) for name in ("first", "second")]
    shown = [results.show_analysis(mrmlScene, analysis_of(head_ct), node) for node in nodes]
    assert shown[0].table is not shown[1].table
    assert results.result_node(nodes[0], "attention") is shown[0].attention


def test_map_follows_a_scan_with_a_parent_transform(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    parent = linear_transform(mrmlScene, [[0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]])
    node.SetAndObserveTransformNodeID(parent.GetID())
    shown = results.show_analysis(mrmlScene, analysis_of(volumes.head_ct_from_node(node)), node)
    assert shown.attention.GetTransformNodeID() == parent.GetID()
    np.testing.assert_allclose(volumes.ijk_to_ras_of(shown.attention), TILTED, atol=1e-9)


def test_map_of_a_resampled_scan_lies_in_world_coordinates(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    acquisition_transform(mrmlScene, node, [(0, 0, (k - 10) ** 2 / 10) for k in range(20)])
    found = volumes.head_ct_from_node(node)
    marked = (found.hu > 60).astype(np.float32)
    analysis = analysis_of(found, attention=Attention(marked, "volume", "stage3", "hirescam", None))
    shown = results.show_analysis(mrmlScene, analysis, node)
    assert shown.attention.GetTransformNodeID() is None
    # Zeros of the matrix come out as rounding: 1e-9 mm is below anything a scan can hold.
    np.testing.assert_allclose(volumes.ijk_to_ras_of(shown.attention), found.ijk_to_ras, rtol=1e-9, atol=1e-9)


def test_removed_scan_or_closed_scene_is_reported_and_leaves_nothing(mrmlScene, head_ct):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    mrmlScene.RemoveNode(node)
    count = mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="no longer in the scene"):
        results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    assert mrmlScene.GetNumberOfNodes() == count
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    mrmlScene.Clear(0)
    with pytest.raises(InputError, match="no longer in the scene"):
        results.show_analysis(mrmlScene, analysis_of(head_ct), node)


def test_mrb_brings_back_scan_overlay_table_and_views(mrmlScene, head_ct, tmp_path):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    assert [entry.name for entry in tmp_path.iterdir()] == ["case.mrb"]
    names = zipfile.ZipFile(path).namelist()
    assert {"case/case.mrml", "case/Data/CT.nrrd", "case/Data/CT attention.nrrd"} <= set(names)
    mrmlScene.Clear(0)
    mrmlScene.ReadFromMRB(str(path), True)
    node = mrmlScene.GetFirstNodeByName("CT")
    found = volumes.head_ct_from_node(node)
    np.testing.assert_allclose(mark_position(found), apply_affine(TILTED, MARK_KJI[::-1]), atol=1e-6)
    assert found.voxel_volume_mm3 == pytest.approx(54) and found.facts.patient_id == "P1"
    attention, table = results.result_node(node, "attention"), results.result_node(node, "table")
    np.testing.assert_allclose(
        mark_position(volumes.head_ct_from_node(attention), 0.9), mark_position(found), atol=1e-3
    )
    assert attention.GetDisplayNode().GetColorNodeID() == scene.INFERNO_ID
    assert attention.GetDisplayNode().GetApplyThreshold() and node.GetDisplayNode().GetWindow() == 100
    assert table.GetCellText(0, 1) == "33.2"
    composite = mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (node.GetID(), attention.GetID())
    tree = hierarchy.subject_hierarchy(mrmlScene)
    assert tree.GetItemLevel(tree.GetItemParent(tree.GetItemByDataNode(attention))) == "Study"
    layout = mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    assert mrmlScene.GetFirstNodeByClass("vtkMRMLTableViewNode").GetTableNodeID() == table.GetID()


@pytest.mark.parametrize("name", ["HEAD & NECK", "W&WO", '<b> 5 % "x"; y|z', "Kopf 頭"])
def test_scene_of_a_scan_with_any_name_opens(mrmlScene, head_ct, tmp_path, name):
    """Slicer writes the & of a name into the path of the file, and can then not open the scene."""
    node = volumes.head_ct_to_node(mrmlScene, head_ct, name)
    results.show_analysis(mrmlScene, analysis_of(head_ct), node)
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    assert node.GetName() == name
    mrmlScene.Clear(0)
    assert mrmlScene.ReadFromMRB(str(path), True)
    found = volumes.head_ct_from_node(mrmlScene.GetFirstNodeByName(name.replace("&", "+")))
    np.testing.assert_array_equal(found.hu, head_ct.hu)


def test_left_handed_scan_lies_at_the_same_place_after_mrb(mrmlScene, head_ct, tmp_path):
    matrix = TILTED @ np.diag([-1, 1, 1, 1])
    given = HeadCT(head_ct.hu, matrix)
    volumes.head_ct_to_node(mrmlScene, given, "CT")
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    mrmlScene.ReadFromMRB(str(path), True)
    found = volumes.head_ct_from_node(mrmlScene.GetFirstNodeByName("CT"))
    np.testing.assert_allclose(mark_position(found), mark_position(given), atol=1e-6)


def test_scene_files_that_cannot_be_written_or_read(mrmlScene, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.mrb; the name given is case\.zip"):
        scene.save_mrb(mrmlScene, tmp_path / "case.zip")
    with pytest.raises(OutputError, match="case.mrb could not be written"):
        scene.save_mrb(mrmlScene, tmp_path / "missing" / "case.mrb")


def colored(view):
    """Pixels with color, as row and column; the scan alone is gray."""
    return np.argwhere(np.ptp(view.astype(int), axis=2) > 40)


@pytest.mark.parametrize("mirror", [1, -1])
def test_pictures_show_the_mark_under_the_map_on_the_correct_side(mrmlScene, head_ct, tmp_path, mirror):
    hu = head_ct.hu.copy()
    hu[8:11, 28:35, 20:27] = 35
    hu[8:11, 20:26, 10:16] = 75  # low i is toward +R, the left of a radiological picture; low j anterior, the top
    array = np.where(hu > 60, np.float32(1), np.float32(0))
    matrix = TILTED @ np.diag([mirror, 1, 1, 1])
    given = HeadCT(hu, matrix)
    node = volumes.head_ct_to_node(mrmlScene, given, "CT")
    peak = tuple(mark_position(given))
    shown = results.show_analysis(
        mrmlScene, analysis_of(given, attention=Attention(array, "volume", "stage3", "hirescam", peak)), node
    )
    count = mrmlScene.GetNumberOfNodes()
    written = pictures.slice_pictures(mrmlScene, node, shown.attention, tmp_path)
    assert mrmlScene.GetNumberOfNodes() == count
    assert [path.name for path in written] == [f"axial_{n}.png" for n in range(1, 6)] + ["coronal.png", "sagittal.png"]
    picture = pictures._read_png(tmp_path / "axial_3.png")
    width = pictures.PIXELS
    plain, overlay = picture[:, :width], picture[:, -width:]
    assert len(colored(plain)) == 0
    spot = colored(overlay)
    row, column = spot.mean(axis=0)
    assert row < 0.45 * width, "anterior is up"
    assert (column < 0.45 * width) == (mirror > 0), "the patient's right is on the left"
    # The bright mark in the plain picture is where the map is in the other.
    bright = np.argwhere((plain[..., 0] > 160) & (np.ptp(plain.astype(int), axis=2) == 0))
    inside = bright[(np.abs(bright - spot.mean(axis=0)) < 40).all(axis=1)]
    np.testing.assert_allclose(inside.mean(axis=0), spot.mean(axis=0), atol=2)
    assert len(colored(pictures._read_png(tmp_path / "axial_1.png")[:, -width:])) == 0


def test_pictures_into_a_missing_folder_are_an_error(mrmlScene, head_ct, tmp_path):
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "CT")
    with pytest.raises(OutputError, match="axial_1.png could not be written"):
        pictures.slice_pictures(mrmlScene, node, None, tmp_path / "none")


def test_a_table_is_the_same_in_a_saved_scene(mrmlScene, tmp_path):
    rows = [("", "Model", "9.5"), ('Dr. "A"\tB', "two\nlines", ""), ("x", "", "1, 2")]
    table = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Table")
    results.fill_table(table, ("Segment", "Method", "Volume"), rows)

    def cells(node):
        return [[node.GetCellText(row, column) for column in range(3)] for row in range(node.GetNumberOfRows())]

    shown = [["–", "Model", "9.5"], ["Dr. 'A' B", "two lines", ""], ["x", "", "1, 2"]]
    assert cells(table) == shown
    path = scene.save_mrb(mrmlScene, tmp_path / "tables.mrb")
    mrmlScene.Clear(0)
    assert mrmlScene.ReadFromMRB(str(path), True)
    assert cells(mrmlScene.GetFirstNodeByName("Table")) == shown
