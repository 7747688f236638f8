"""The comparison of an analysis with segments, scores, an earlier scan and a cohort, on real MRML nodes."""

import json
from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import vtk  # noqa: E402

from ICHMultiTaskLib.analysis.alignment import Alignment  # noqa: E402
from ICHMultiTaskLib.analysis.attention import Attention  # noqa: E402
from ICHMultiTaskLib.analysis.growth import growth  # noqa: E402
from ICHMultiTaskLib.analysis.marking import Marking  # noqa: E402
from ICHMultiTaskLib.analysis.repeat import RepeatScan  # noqa: E402
from ICHMultiTaskLib.analysis.result import Analysis  # noqa: E402
from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.common.numbers import NOT_COMPUTED  # noqa: E402
from ICHMultiTaskLib.comparison.side_by_side import DRAFT_NOTE  # noqa: E402
from ICHMultiTaskLib.measures.clinical_scores import ClinicalContext  # noqa: E402
from ICHMultiTaskLib.measures.segment import Segment, measure  # noqa: E402
from ICHMultiTaskLib.mrml import clinical, layout, repeat_scan, results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.comparison import volume_table  # noqa: E402
from ICHMultiTaskLib.mrml.diameters import remove_diameters, show_diameters  # noqa: E402
from ICHMultiTaskLib.mrml.kept_results import is_outdated  # noqa: E402
from ICHMultiTaskLib.mrml.placement import follow, peak_of  # noqa: E402
from ICHMultiTaskLib.mrml.scene import nodes_of_class  # noqa: E402
from ICHMultiTaskLib.panel.logic import Logic  # noqa: E402
from ICHMultiTaskLib.report.comparison import growth_verdict  # noqa: E402
from ICHMultiTaskLib.scan.geometry import apply_affine  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402

SHEARED = np.array([[-3.0, 0, 0, 70], [0, -3, 2, 90], [0, 0, 6, -50], [0, 0, 0, 1]])
SHAPE = (20, 64, 48)
BOX = (slice(8, 12), slice(20, 30), slice(12, 20))
BOX_ML = 4 * 10 * 8 * 54 / 1000


@pytest.fixture
def mrmlScene():
    found = scene.create_scene()
    found.Clear(0)
    layoutNode = layout.layout_node(found)
    before = layoutNode.GetViewArrangement()
    layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield found
    layoutNode.SetViewArrangement(before)
    for node in layout.own_composites(found):
        found.RemoveNode(view(found, node.GetLayoutName()))
        found.RemoveNode(node)
    found.Clear(0)


def scan(mrmlScene, name="Head CT", patient=""):
    hu = np.full(SHAPE, 35, np.int16)
    hu[BOX] = 70
    facts = ScanFacts(patient_id=patient, study_uid=f"1.{patient}", series_uid=f"1.{patient}.{name}")
    return volumes.head_ct_to_node(mrmlScene, HeadCT(hu, SHEARED, facts if patient else ScanFacts()), name)


def analysis_of(node, volume_ml=20.0, interval=(15.0, 27.0), attention=True):
    array = np.zeros(SHAPE, np.float32)
    array[8:12, 20:30, 12:16] = 0.5
    array[9, 24, 14] = 1
    found = Attention(array, "volume", "stage3", "hirescam", (28.0, 36.0, 4.0)) if attention else None
    model = {"name": "test", "version": "1.0", "sha256": "ab" * 32, "training_data": "Simulated scans."}
    return Analysis(
        volumes.head_ct_from_node(node), volume_ml, interval, 0.9, 0.12, "survival", found, model, (), {}, None
    )  # fmt: skip


def segmentation(mrmlScene, name="Dr. A", box=BOX):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(SHAPE[::-1])
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(SHEARED))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    array = np.zeros(SHAPE, np.uint8)
    if box is not None:
        array[box] = 1
    vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.ravel()
    node.AddSegmentFromBinaryLabelmapRepresentation(image, "Bleed", (0.9, 0.1, 0.1))
    return node


@pytest.fixture
def head(mrmlScene):
    """The scan that `logic` has analyzed."""
    return scan(mrmlScene)


@pytest.fixture
def logic(mrmlScene, head):
    found = Logic()
    found.analysis.show((head, analysis_of(head)))
    return found


def cells(table):
    return [
        [table.GetCellText(row, column) for column in range(table.GetNumberOfColumns())]
        for row in range(table.GetNumberOfRows())
    ]


def test_nothing_is_compared_before_an_analysis(mrmlScene, head):
    with pytest.raises(InputError, match="press Analyze first"):
        Logic().comparison.compare(head)


def test_tables_of_two_readers(mrmlScene, head, logic):
    wider = (BOX[0], BOX[1], slice(12, 22))
    nodes = [segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B", wider)]
    compared = logic.comparison.compare(head, nodes)
    assert [choice.reader for choice in compared.choices] == ["Dr. A", "Dr. B"] and compared.remarks == ()
    rows = {(row[0], row[1]): row[2:] for row in cells(results.result_node(head, "volume comparison"))}
    assert rows[NOT_COMPUTED, "Model"] == ["20.0 (15.0 to 27.0)"] + [NOT_COMPUTED] * 5
    assert rows["Dr. A", "Planimetry"] == [f"{BOX_ML:.1f}", f"−{20 - BOX_ML:.1f}", "−14", "yes", "yes", "yes"]
    assert {method for _, method in rows} >= {"ABC/2", "ABC/2.4", "ABC/3", "1/2 Sh", "2/3 Sh"}
    ((first, second, dice, _, difference, percent),) = cells(results.result_node(head, "readers"))
    assert (first, second, dice) == ("Dr. A", "Dr. B", f"{2 * 8 / 18:.2f}")
    assert (difference, percent) == (f"{BOX_ML / 4:+.1f}", "+25")
    table = cells(results.result_node(head, "segment measures"))
    measures = {row[1]: row[2] for row in table if row[0] == "Dr. A"}
    assert measures["Hottest point of attention inside"] == "yes" and measures["Mean"] == "70.0"
    assert measures["Share of attention inside"] == "100"


def test_comparing_again_replaces_the_tables(mrmlScene, head, logic):
    nodes = [segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B")]
    logic.comparison.compare(head, nodes)
    count = mrmlScene.GetNumberOfNodes()
    logic.comparison.compare(head, nodes)
    assert mrmlScene.GetNumberOfNodes() == count
    logic.comparison.compare(head, nodes[:1])
    assert results.result_node(head, "readers") is None
    logic.comparison.forget_comparison(head)
    assert logic.comparison.compared_with(head) is None and results.result_node(head, "volume comparison") is None


@pytest.mark.parametrize("volume, interval", [(0.0, (0.0, 2.0)), (20.0, None)])
def test_cells_that_cannot_be_computed_stay_empty_and_say_why(mrmlScene, volume, interval):
    logic, node = Logic(), scan(mrmlScene)
    logic.analysis.show((node, analysis_of(node, volume, interval, attention=False)))
    (segment,) = logic.comparison.compare(node, segmentation(mrmlScene)).comparison.segments
    row = volume_table(logic.comparison.compared_with(node))[1][1]
    assert (row[4] == NOT_COMPUTED) == (volume == 0) and (row[5] == NOT_COMPUTED) == (interval is None)
    assert segment.notes and ("no percentage" in segment.notes[0] or "no interval" in segment.notes[0])
    assert segment.attention is None
    for table in ("volume comparison", "segment measures"):
        words = {cell for row in cells(results.result_node(node, table)) for cell in row}
        assert not words & {"nan", "inf", "None"}


def test_empty_segment_has_a_volume_of_zero_and_a_note(mrmlScene, head, logic):
    (segment,) = logic.comparison.compare(head, segmentation(mrmlScene, box=None)).comparison.segments
    assert [row.volume_ml for row in segment.volumes] == [0]
    assert "The segment is empty; nothing to measure." in segment.notes


def test_what_cannot_be_read_is_said_and_the_rest_compared(mrmlScene, head, logic):
    kept, gone = segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B")
    choices = logic.comparison.segments()
    mrmlScene.RemoveNode(gone)
    compared = logic.comparison.compare(head, choices)
    assert [choice.reader for choice in compared.choices] == ["Dr. A"]
    assert compared.remarks == ("Bleed (Dr. B): The segmentation is no longer in the scene.",)
    mrmlScene.RemoveNode(kept)
    assert logic.comparison.compare(head, choices).comparison.segments == ()


def test_segmentation_of_another_patient_is_compared_with_a_remark(mrmlScene):
    from ICHMultiTaskLib.mrml.hierarchy import file_beside

    logic, node, other = Logic(), scan(mrmlScene, patient="1"), scan(mrmlScene, "Other", "2")
    logic.analysis.show((node, analysis_of(node)))
    foreign = segmentation(mrmlScene)
    file_beside(foreign, other)
    assert logic.comparison.segments(node) == []
    remarks = logic.comparison.compare(node, foreign).remarks
    assert remarks == ("“Dr. A” is filed under another patient than the scan.",)


def test_scene_closed_while_comparing_leaves_nothing(mrmlScene, head, logic):
    segmentation(mrmlScene)
    work = logic.comparison.compare_work(head, logic.comparison.segments())
    mrmlScene.Clear(0)
    with pytest.raises(InputError, match="no longer in the scene"):
        logic.comparison.show_comparison(work(None))
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    with pytest.raises(InputError, match="press Analyze first"):
        logic.comparison.compare_work(head, [])


def test_diameters_are_lines_of_their_length(mrmlScene, head, logic):
    logic.comparison.compare(head, segmentation(mrmlScene))
    measures = logic.comparison.compared_with(head).comparison.segments[0].measures
    lines = logic.comparison.show_diameters(head)
    lengths = [line.GetMeasurement("length").GetValue() for line in lines]
    np.testing.assert_allclose(lengths, [measures.a_mm, measures.b_mm, measures.c_mm], rtol=1e-6)
    assert [line.GetName() for line in lines] == ["A (Dr. A)", "B (Dr. A)", "C (Dr. A)"]
    assert all(line.GetLocked() for line in lines)
    axial = view(mrmlScene, "Red").GetID()
    assert [line.GetDisplayNode().IsDisplayableInView(axial) for line in lines] == [True, True, False]
    logic.comparison.show_diameters(head)
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 3
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 2
    logic.comparison.hide_diameters()
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode") == 0
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsDisplayNode") == 0
    logic.comparison.compare(head, segmentation(mrmlScene, "Empty", box=None))
    assert logic.comparison.show_diameters(head) == []


@pytest.mark.parametrize("turned", [1, -1])
def test_labels_of_diameters_lie_beside_the_bleed(mrmlScene, turned):
    """A ball, and a lens that reaches farther than its lines."""
    k, j, i = np.mgrid[:20, :60, :60] - np.array([10, 30, 30])[:, None, None, None]
    affine = np.diag([-1.0, -1, 3, 1])
    affine[0, 0] *= turned
    for mask in ((9 * k**2 + j**2 + i**2 < 20**2), (9 * k**2 + j**2 / 4 + (i + j / 2) ** 2 < 11**2)):
        segment = Segment("Ball", mask, affine)
        measures = measure(segment)
        show_diameters(mrmlScene, measures, scan(mrmlScene), segment)
        places = {}
        for node in scene.nodes_of_class(mrmlScene, "vtkMRMLMarkupsFiducialNode"):
            point = [0.0] * 3
            node.GetNthControlPointPositionWorld(0, point)
            places[node.GetNthControlPointLabel(0)] = np.array(point)
        inside = apply_affine(affine, np.argwhere(mask)[:, ::-1])
        (beside, above), (both, c) = places.values(), places
        assert [line[0] for line in both.split("\n")] == ["A", "B"] and c[0] == "C"
        flat = inside[np.abs(inside[:, 2] - beside[2]) < 2]
        assert beside[0] < flat[:, 0].min() - 3, "to the right of it in the view, where the text runs on to the right"
        assert flat[:, 1].min() < beside[1] < flat[:, 1].max()
        assert above[2] > inside[:, 2].max() + 3
        remove_diameters(mrmlScene)


def view(mrmlScene, tag):
    return next(n for n in scene.nodes_of_class(mrmlScene, "vtkMRMLSliceNode") if n.GetLayoutName() == tag)


def test_side_by_side_and_back(mrmlScene, head, logic):
    node, chosen = segmentation(mrmlScene), segmentation(mrmlScene, "Shown in Red")
    chosen.GetDisplayNode().AddViewNodeID("vtkMRMLSliceNodeRed")
    logic.comparison.compare(head)
    logic.comparison.show_side_by_side(head)
    assert logic.comparison.shows_side_by_side(head) and layout.is_side_by_side(mrmlScene)
    composites = {n.GetLayoutName(): n for n in layout.own_composites(mrmlScene)}
    attention = results.result_node(head, "attention")
    for tag, foreground in ((layout.LEFT, attention.GetID()), (layout.RIGHT, None)):
        assert composites[tag].GetBackgroundVolumeID() == head.GetID()
        assert composites[tag].GetForegroundVolumeID() == foreground
        assert composites[tag].GetLinkedControl()
    views = node.GetDisplayNode()
    assert not views.IsViewNodeIDPresent(view(mrmlScene, layout.LEFT).GetID())
    for shown in (layout.RIGHT, "Red", "Yellow", "Green"):
        assert views.IsViewNodeIDPresent(view(mrmlScene, shown).GetID())
    logic.comparison.leave_side_by_side()
    assert layout.layout_node(mrmlScene).GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert views.GetNumberOfViewNodeIDs() == 0
    assert chosen.GetDisplayNode().GetViewNodeIDs() == ("vtkMRMLSliceNodeRed",), "the user's own choice stays"


def test_another_map_does_not_get_into_the_right_view(mrmlScene, head, logic):
    logic.comparison.show_side_by_side(head)
    results.show_attention(mrmlScene, analysis_of(head), analysis_of(head).attention, head)
    composites = {n.GetLayoutName(): n.GetForegroundVolumeID() for n in layout.own_composites(mrmlScene)}
    assert composites[layout.RIGHT] is None and composites[layout.LEFT] is not None


def test_views_lie_in_the_plane_of_tilted_slices(mrmlScene, head, logic):
    logic.comparison.show_side_by_side(head)
    for tag in (layout.LEFT, layout.RIGHT):
        matrix = slicer.util.arrayFromVTKMatrix(view(mrmlScene, tag).GetSliceToRAS())[:3, :3]
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(matrix[:, 2] @ SHEARED[:3, :2], 0, atol=1e-9)
        assert matrix[0, 0] < 0 and matrix[1, 1] > 0 and matrix[2, 2] > 0, "patient left on the right, front up"
        assert view(mrmlScene, tag).GetPrescribedSliceSpacing()[2] == pytest.approx(6)


def test_nothing_marked_adds_nothing(mrmlScene, head, logic):
    nothing = Marking(np.zeros(SHAPE, bool), 0.0, 0.4, (), True, ("Nothing is marked.",))
    assert logic.comparison.show_marking((head, analysis_of(head), nothing)) == (None, nothing)
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_marking_is_an_editable_segment_that_can_be_compared(mrmlScene, head, logic):
    mask = np.zeros(SHAPE, bool)
    mask[BOX] = True
    marking = Marking(mask, BOX_ML, 20.0, (BOX_ML,), False, ("The volumes differ.",))
    node, _ = logic.comparison.show_marking((head, analysis_of(head), marking))
    compared = logic.comparison.compare(head, node)
    (segment,) = compared.comparison.segments
    assert segment.measures.volume_ml == pytest.approx(BOX_ML)
    assert segment.draft and compared.names == ("Draft",) and DRAFT_NOTE in segment.notes
    rows = cells(results.result_node(head, "volume comparison"))[1:]
    assert {cell for row in rows for cell in row[3:]} == {NOT_COMPUTED}, "a draft is no reader: nothing to agree with"
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    labels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    labels[np.flatnonzero(labels)[0]] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segment_id)
    (edited,) = logic.comparison.compare(head, node).comparison.segments
    assert not edited.draft and edited.volumes[0].within_20_percent is not None, "a person has edited it"


def test_clinical_context_belongs_to_the_scan(mrmlScene, head, logic):
    context = ClinicalContext(age=81, gcs=9, location="putamen", ivh=True)
    logic.comparison.keep_clinical_context(head, context)
    assert logic.comparison.clinical_context(head) == context
    assert logic.comparison.clinical_context(scan(mrmlScene, "Other")).is_empty
    assessment = logic.comparison.assess(head)
    assert [score.points for score in assessment.scores] == [3, None, None]
    assert len(assessment.alerts) == 1 and "treatment advice" in assessment.alerts[0]
    table = cells(results.result_node(head, "clinical scores"))
    assert table[0][:4] == ["ICH score", "3", "6", "30-day mortality 72 %"]
    assert table[1][1] == NOT_COMPUTED and "NIHSS" in table[1][5]
    assert table[3][3] == "30-day mortality 12 %"
    logic.comparison.keep_clinical_context(head, ClinicalContext())
    assert head.GetAttribute("ICHMultiTask.Clinical") is None
    assert results.result_node(head, "clinical scores") is None


@pytest.mark.parametrize("text", ["{", '{"age": 900}', '{"height": 2}', "[1]"])
def test_clinical_context_that_cannot_be_read_is_unknown(mrmlScene, text):
    node = scan(mrmlScene)
    node.SetAttribute("ICHMultiTask.Clinical", text)
    assert clinical.context_of(node).is_empty


def test_clinical_context_comes_back_with_the_scene(mrmlScene, head, logic, tmp_path):
    logic.comparison.keep_clinical_context(head, ClinicalContext(age=70, anticoagulation=False))
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    mrmlScene.ReadFromMRB(str(path), True)
    found = clinical.context_of(mrmlScene.GetFirstNodeByName("Head CT"))
    assert found == ClinicalContext(age=70, anticoagulation=False)


TURN = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
ALIGNED = Alignment(TURN, 0.95, 36.9, 10.5, True)


def repeat_of(earlier, later, alignment=ALIGNED, notes=()):
    first, second = analysis_of(earlier, 10.0, (8.0, 12.5), attention=False), analysis_of(later)
    change = growth(first.volume_ml, first.volume_interval_ml, second.volume_ml, second.volume_interval_ml, 0.9)
    return repeat_scan.SceneRepeat(earlier, later, second, RepeatScan(first, change, alignment, notes))


def test_repeat_scan_is_a_table_and_a_transform(mrmlScene):
    logic, earlier, later = Logic(), scan(mrmlScene, "Morning"), scan(mrmlScene, "Noon")
    shown = logic.growth.show(repeat_of(earlier, later, notes=("Doubt.",)))
    table = cells(results.result_node(later, "growth"))
    rows = {row[0]: row[1] for row in table}
    assert table[0] == ["Verdict", growth_verdict(shown.repeat.growth), ""]
    assert rows["Earlier: Morning"] == "10.0 (8.0 to 12.5)" and rows["Later: Noon"] == "20.0 (15.0 to 27.0)"
    assert rows["Growth"].startswith("+10.0 (") and rows["Growth, relative"].startswith("+100.0 (")
    assert rows["Rotation of the head"] == "36.9" and rows["Note"] == "Doubt."
    assert [row[0] for row in table[-2:]] == ["Rotation of the head", "Translation of the head"]
    np.testing.assert_allclose(volumes.world_affine(earlier)[0], TURN @ SHEARED, atol=1e-9)
    np.testing.assert_allclose(volumes.world_affine(later)[0], SHEARED, atol=1e-9)
    assert cells(results.result_node(earlier, "table"))[0][1] == "10.0"
    assert logic.analysis.facts_of(earlier)["volume_ml"] == 10 and logic.analysis.facts_of(later)["volume_ml"] == 20
    assert logic.growth.repeat_of(earlier, later) is shown is logic.growth.latest_of(later)
    assert logic.growth.repeat_of(later, earlier) is None
    logic.growth.show_views(earlier, later)
    assert logic.growth.shows_views(earlier, later) and not logic.comparison.shows_side_by_side(later)
    assert layout.volume_on(mrmlScene, layout.LEFT) is earlier
    repeat_scan.remove_alignment(mrmlScene, earlier)
    np.testing.assert_allclose(volumes.world_affine(earlier)[0], SHEARED, atol=1e-9)
    logic.analysis.show((later, analysis_of(later)))
    assert logic.growth.repeat_of(earlier, later) is None, "it was of the run before"


def dashed_outlines(mrmlScene):
    return [node for node in nodes_of_class(mrmlScene, "vtkMRMLModelNode") if node.GetName().endswith("dashed")]


def test_each_scan_of_a_repeat_shows_its_own_segments_and_lines(mrmlScene):
    logic, earlier, later = Logic(), scan(mrmlScene, "Morning"), scan(mrmlScene, "Noon")
    logic.growth.show(repeat_of(earlier, later))
    old, new = segmentation(mrmlScene, "Old"), segmentation(mrmlScene, "New")
    for node, drawn_on in ((old, earlier), (new, later)):
        node.SetReferenceImageGeometryParameterFromVolumeNode(drawn_on)
    layout.show_side_by_side(mrmlScene, (later, None), (later, None))
    measures = measure(Segment("New", np.ones((3, 9, 5), bool), np.eye(4)))
    lines = show_diameters(mrmlScene, measures, later)[:2]
    left, right = (view(mrmlScene, tag).GetID() for tag in (layout.LEFT, layout.RIGHT))
    assert all(line.GetDisplayNode().IsDisplayableInView(left) for line in lines)
    logic.growth.show_views(earlier, later)
    lines += show_diameters(mrmlScene, measures, later)[:2]
    for node, shown, hidden in ((old, left, right), (new, right, left), *((line, right, left) for line in lines)):
        assert node.GetDisplayNode().IsDisplayableInView(shown)
        assert not node.GetDisplayNode().IsDisplayableInView(hidden)
    logic.growth.keep_segments_apart(earlier, later, later_outline=True)
    assert not new.GetDisplayNode().IsDisplayableInView(left), "only dashed over the other scan"
    (dashed,) = dashed_outlines(mrmlScene)
    display = dashed.GetDisplayNode()
    assert display.IsDisplayableInView(left) and not display.IsDisplayableInView(right)
    assert display.GetVisibility2D() and not display.GetVisibility3D() and not dashed.GetSaveWithScene()
    logic.comparison.leave_side_by_side()
    assert dashed_outlines(mrmlScene) == []
    assert old.GetDisplayNode().IsDisplayableInView(right) and new.GetDisplayNode().IsDisplayableInView(left)


def test_alignment_goes_above_the_transforms_that_the_earlier_scan_has(mrmlScene):
    earlier, later = scan(mrmlScene, "Morning"), scan(mrmlScene, "Noon")
    own = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "own")
    own.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1, 2, 1])))
    earlier.SetAndObserveTransformNodeID(own.GetID())
    _, transform = repeat_scan.show_repeat_scan(mrmlScene, repeat_of(earlier, later))
    assert earlier.GetParentTransformNode() is own and own.GetParentTransformNode() is transform
    np.testing.assert_allclose(volumes.world_affine(earlier)[0], TURN @ np.diag([1, 1, 2, 1]) @ SHEARED, atol=1e-9)
    later.SetAndObserveTransformNodeID(own.GetID())
    assert repeat_scan.show_repeat_scan(mrmlScene, repeat_of(earlier, later))[1] is None, "would move the later one too"
    assert own.GetParentTransformNode() is None


def test_failed_alignment_moves_nothing(mrmlScene):
    earlier, later = scan(mrmlScene, "Morning"), scan(mrmlScene, "Noon")
    failed = replace(ALIGNED, succeeded=False, correlation=None, notes=("The scans could not be aligned.",))
    table, transform = repeat_scan.show_repeat_scan(mrmlScene, repeat_of(earlier, later, failed, failed.notes))
    assert transform is None and earlier.GetParentTransformNode() is None
    rows = {row[0]: row[1] for row in cells(table)}
    assert rows["Agreement of bone after alignment"] == NOT_COMPUTED and "Rotation of the head" not in rows
    assert rows["Note"] == "The scans could not be aligned."


def test_repeat_scan_needs_two_scans(mrmlScene):
    logic, node = Logic(), scan(mrmlScene)
    with pytest.raises(InputError, match="choose the earlier one"):
        logic.growth.work(None, node)
    with pytest.raises(InputError, match="“Head CT” is selected as both scans"):
        logic.growth.work(node, node)
    earlier = scan(mrmlScene, "Morning")
    shown = repeat_of(earlier, node)
    mrmlScene.RemoveNode(earlier)
    with pytest.raises(InputError, match="no longer in the scene"):
        logic.growth.show(shown)
    assert results.result_node(node, "growth") is None


COHORT = """patient_id,volume_ml,predicted_volume_ml,rater_1
a,10,11,9
b,20,19,26
c,30,33,31
d,4,,5
"""


def test_cohort_report_is_written_beside_earlier_ones(tmp_path):
    path = tmp_path / "my cohort.csv"
    path.write_text("patient_id,reference_ml,model_ml\n" + "".join(f"p{n},{10 + n},{11 + n}\n" for n in range(4)))
    pages = [Logic().cohort.report_work(path, tmp_path)(None) for _n in range(2)]
    assert [page.parent.name for page in pages] == ["my cohort-comparison", "my cohort-comparison-2"]
    assert all("Model" in page.read_text(encoding="utf-8") for page in pages)
    assert all((page.parent / "table.csv").is_file() for page in pages)


def test_cohort_is_a_table_node(mrmlScene, tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(COHORT, encoding="utf-8")
    cohort = Logic().cohort
    table = cohort.show(cohort.work(path)(None), "cohort")
    found = {row[0]: dict(zip(titles_of(table), row)) for row in cells(table)}
    assert table.GetName() == "cohort comparison" and found["Model"]["Patients"] == "3"
    assert found["Model"]["MAE (mL)"].startswith(f"{5 / 3:.2f} (")
    assert found["Model"]["Wilcoxon p (Holm)"] == NOT_COMPUTED
    assert not any(word in cell for row in cells(table) for cell in row for word in ("nan", "inf", "None"))
    assert layout.layout_node(mrmlScene).GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    with pytest.raises(InputError, match="No column was recognized as the reference"):
        path.write_text("patient_id,weight\na,3\n", encoding="utf-8")
        cohort.work(path)(None)


def titles_of(table):
    return [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]


def test_report_of_the_panel_holds_what_was_compared(mrmlScene, head, logic, tmp_path):
    logic.comparison.compare(head, segmentation(mrmlScene))
    logic.comparison.keep_clinical_context(head, ClinicalContext(age=70))
    page = logic.report_work(head, tmp_path)(lambda fraction, message: None)
    comparison = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))["comparison"]
    assert comparison["segments"][0]["label"] == "Bleed (Dr. A)"
    assert comparison["clinical"]["context"]["age"] == 70 and comparison["repeat_scan"] is None
    assert "Bleed (Dr. A)" in page.read_text(encoding="utf-8")


PEAK = 28.0, 36.0, 4.0


def under(mrmlScene, node, motion=TURN):
    transform = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Motion")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(motion))
    node.SetAndObserveTransformNodeID(transform.GetID())


def move_by_transform(mrmlScene, head):
    under(mrmlScene, head)


def move_by_matrix(mrmlScene, head):
    head.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(TURN @ SHEARED))


def assert_on(map_node, head):
    """The map lies on its scan, and its peak where the motion brings it."""
    np.testing.assert_allclose(volumes.world_affine(map_node)[0], volumes.world_affine(head)[0], atol=1e-6)
    np.testing.assert_allclose(peak_of(map_node), apply_affine(TURN, np.array([PEAK]))[0], atol=1e-3)


@pytest.mark.parametrize("move", [move_by_transform, move_by_matrix])
def test_the_map_its_peak_and_the_analysis_go_with_their_scan(mrmlScene, head, logic, move):
    map_node = results.result_node(head, "attention")
    assert peak_of(map_node) == pytest.approx(PEAK)
    move(mrmlScene, head)
    follow(map_node, head)
    assert not is_outdated(head)
    assert_on(map_node, head)
    for _again in range(2):
        found = logic.analysis.analysis_of(head)
        np.testing.assert_allclose(found.head_ct.ijk_to_ras, TURN @ SHEARED, atol=1e-3)
    logic.analysis.show_attention((head, found, found.attention))
    assert_on(map_node, head)
    restored = Logic().analysis.analysis_of(head)
    np.testing.assert_allclose(restored.head_ct.ijk_to_ras, TURN @ SHEARED, atol=1e-3)


def test_a_scan_that_is_moved_while_it_is_analyzed_has_its_map_and_peak_in_place(mrmlScene, head):
    logic, analysis = Logic(), analysis_of(head)
    logic.analysis.read(head)
    move_by_transform(mrmlScene, head)
    logic.analysis.show((head, analysis))
    assert_on(results.result_node(head, "attention"), head)
    np.testing.assert_allclose(logic.analysis.analysis_of(head).head_ct.ijk_to_ras, TURN @ SHEARED, atol=1e-3)
    matrix = view(mrmlScene, "Red").GetSliceToRAS()
    assert matrix.GetElement(2, 3) == pytest.approx((TURN @ (*PEAK, 1))[2], abs=1e-3), "the views go to it"


def test_a_segment_that_was_moved_with_its_scan_is_compared_in_its_place(mrmlScene, head, logic):
    drawn = segmentation(mrmlScene)
    before = logic.comparison.compare(head, drawn).comparison.segments[0]
    assert before.attention.peak_inside
    under(mrmlScene, head)
    drawn.SetAndObserveTransformNodeID(head.GetTransformNodeID())
    follow(results.result_node(head, "attention"), head)
    after = logic.comparison.compare(head, drawn).comparison.segments[0]
    assert after.attention.peak_inside
    assert after.attention.best_dice == pytest.approx(before.attention.best_dice, abs=0.02)
    assert after.measures.hu_mean == pytest.approx(before.measures.hu_mean, abs=0.5)


def test_the_alignment_moves_the_map_and_the_segments_of_the_earlier_scan_with_it(mrmlScene, head, logic):
    later = scan(mrmlScene, "Later")
    drawn, other = segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B")
    for node, drawn_on in ((drawn, head), (other, later)):
        node.SetReferenceImageGeometryParameterFromVolumeNode(drawn_on)
    shown = repeat_of(head, later)
    shown = replace(
        shown, repeat=replace(shown.repeat, alignment=replace(shown.repeat.alignment, moving_to_fixed=TURN))
    )
    _table, transform = repeat_scan.show_repeat_scan(mrmlScene, shown)
    map_node = results.result_node(head, "attention")
    assert_on(map_node, head)
    assert drawn.GetTransformNodeID() == head.GetTransformNodeID() == transform.GetID()
    assert other.GetTransformNodeID() is None and not is_outdated(head)
    repeat_scan.remove_alignment(mrmlScene, head)
    assert drawn.GetParentTransformNode() is None and map_node.GetParentTransformNode() is None
    assert peak_of(map_node) == pytest.approx(PEAK)
