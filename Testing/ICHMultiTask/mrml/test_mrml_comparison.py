"""The comparison of an analysis with segments, scores, an earlier scan and a cohort, on real MRML nodes."""

import json
from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import vtk  # noqa: E402

from ICHMultiTaskLib.analysis.alignment import Alignment  # noqa: E402
from ICHMultiTaskLib.analysis.analyzer import Analysis, Attention  # noqa: E402
from ICHMultiTaskLib.analysis.growth import growth  # noqa: E402
from ICHMultiTaskLib.analysis.marking import Marking  # noqa: E402
from ICHMultiTaskLib.analysis.repeat import RepeatScan  # noqa: E402
from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.measures.clinical_scores import ClinicalContext  # noqa: E402
from ICHMultiTaskLib.mrml import clinical, layout, repeat_scan, results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.comparison import NOT_COMPUTED, number, volume_rows  # noqa: E402
from ICHMultiTaskLib.mrml.comparison_session import ComparisonSession  # noqa: E402
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
    found = Attention(array, "volume", "stage4", "gradcam", (28.0, 36.0, 4.0)) if attention else None
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
def session(mrmlScene):
    """After an analysis of one scan."""
    found = ComparisonSession()
    node = scan(mrmlScene)
    found.show((node, analysis_of(node)))
    return found


def cells(table):
    return [
        [table.GetCellText(row, column) for column in range(table.GetNumberOfColumns())]
        for row in range(table.GetNumberOfRows())
    ]


def test_nothing_is_compared_before_an_analysis(mrmlScene):
    with pytest.raises(InputError, match="press Analyze first"):
        ComparisonSession().compare()


def test_tables_of_two_readers(mrmlScene, session):
    wider = (BOX[0], BOX[1], slice(12, 22))
    nodes = [segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B", wider)]
    compared = session.compare(nodes)
    assert [choice.reader for choice in compared.choices] == ["Dr. A", "Dr. B"] and compared.remarks == ()
    rows = {(row[0], row[1]): row[2:] for row in cells(results.result_node(session.scanNode, "volume comparison"))}
    assert rows["", "Model"] == ["20.0 (15.0 to 27.0)"] + [NOT_COMPUTED] * 5
    assert rows["Bleed (Dr. A)", "Planimetry"] == [f"{BOX_ML:.1f}", f"{BOX_ML - 20:+.1f}", "-14", "yes", "yes", "yes"]
    assert {method for _, method in rows} >= {"ABC/2", "ABC/2.4", "ABC/3", "1/2 Sh", "2/3 Sh"}
    ((first, second, dice, _, difference, percent),) = cells(results.result_node(session.scanNode, "readers"))
    assert (first, second, dice) == ("Bleed (Dr. A)", "Bleed (Dr. B)", f"{2 * 8 / 18:.2f}")
    assert (difference, percent) == (f"{BOX_ML / 4:+.1f}", "+25")
    table = cells(results.result_node(session.scanNode, "segment measures"))
    measures = {row[1]: row[2] for row in table if row[0] == "Bleed (Dr. A)"}
    assert measures["Hottest point of attention inside"] == "yes" and measures["Mean"] == "70.0"
    assert measures["Share of attention inside"] == "100"


def test_comparing_again_replaces_the_tables(mrmlScene, session):
    nodes = [segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B")]
    session.compare(nodes)
    count = mrmlScene.GetNumberOfNodes()
    session.compare(nodes)
    assert mrmlScene.GetNumberOfNodes() == count
    session.compare(nodes[:1])
    assert results.result_node(session.scanNode, "readers") is None
    session.forget_comparison()
    assert session.compared is None and results.result_node(session.scanNode, "volume comparison") is None


@pytest.mark.parametrize("volume, interval", [(0.0, (0.0, 2.0)), (20.0, None)])
def test_cells_that_cannot_be_computed_stay_empty_and_say_why(mrmlScene, volume, interval):
    session, node = ComparisonSession(), scan(mrmlScene)
    session.show((node, analysis_of(node, volume, interval, attention=False)))
    (segment,) = session.compare(segmentation(mrmlScene)).comparison.segments
    row = volume_rows(session.compared.comparison)[1]
    assert (row[4] == NOT_COMPUTED) == (volume == 0) and (row[5] == NOT_COMPUTED) == (interval is None)
    assert segment.notes and ("no percentage" in segment.notes[0] or "no interval" in segment.notes[0])
    assert segment.attention is None
    for table in ("volume comparison", "segment measures"):
        words = {cell for row in cells(results.result_node(node, table)) for cell in row}
        assert not words & {"nan", "inf", "None"}


def test_empty_segment_has_a_volume_of_zero_and_a_note(mrmlScene, session):
    (segment,) = session.compare(segmentation(mrmlScene, box=None)).comparison.segments
    assert [row.volume_ml for row in segment.volumes] == [0]
    assert "The segment is empty; nothing to measure." in segment.notes


def test_what_cannot_be_read_is_said_and_the_rest_compared(mrmlScene, session):
    kept, gone = segmentation(mrmlScene), segmentation(mrmlScene, "Dr. B")
    choices = session.segments()
    mrmlScene.RemoveNode(gone)
    compared = session.compare(choices)
    assert [choice.reader for choice in compared.choices] == ["Dr. A"]
    assert compared.remarks == ("Bleed (Dr. B): The segmentation is no longer in the scene.",)
    mrmlScene.RemoveNode(kept)
    assert session.compare(choices).comparison.segments == ()


def test_segmentation_of_another_patient_is_compared_with_a_remark(mrmlScene):
    from ICHMultiTaskLib.mrml.hierarchy import file_beside

    session, node, other = ComparisonSession(), scan(mrmlScene, patient="1"), scan(mrmlScene, "Other", "2")
    session.show((node, analysis_of(node)))
    foreign = segmentation(mrmlScene)
    file_beside(foreign, other)
    assert session.compare(foreign).remarks == ("“Dr. A” is filed under another patient than the scan.",)


def test_scene_closed_while_comparing_leaves_nothing(mrmlScene, session):
    segmentation(mrmlScene)
    work = session.compare_work(session.segments())
    mrmlScene.Clear(0)
    with pytest.raises(InputError, match="no longer in the scene"):
        session.show_comparison(work(None))
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    with pytest.raises(InputError, match="press Analyze first"):
        session.compare_work([])


def test_zero_has_no_sign():
    assert number(-0.04, "+.1f") == "+0.0" and number(-0.2, "+.0f") == "+0"
    assert number(-0.06, "+.1f") == "-0.1" and number(None) == NOT_COMPUTED


def test_diameters_are_lines_of_their_length(mrmlScene, session):
    session.compare(segmentation(mrmlScene))
    measures = session.compared.comparison.segments[0].measures
    lines = session.show_diameters()
    lengths = [line.GetMeasurement("length").GetValue() for line in lines]
    np.testing.assert_allclose(lengths, [measures.a_mm, measures.b_mm, measures.c_mm], rtol=1e-6)
    labels = [[line.GetNthControlPointLabel(n) for n in range(2)] for line in lines]
    assert labels[0] == [f"A {measures.a_mm:.0f} mm", ""] and labels[2] == [f"C {measures.c_mm:.0f} mm", ""]
    assert [line.GetName() for line in lines] == ["A (Dr. A)", "B (Dr. A)", "C (Dr. A)"]
    assert all(line.GetLocked() for line in lines)
    session.show_diameters()
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 3
    session.hide_diameters()
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 0
    session.compare(segmentation(mrmlScene, "Empty", box=None))
    assert session.show_diameters() == []


def view(mrmlScene, tag):
    return next(n for n in scene.nodes_of_class(mrmlScene, "vtkMRMLSliceNode") if n.GetLayoutName() == tag)


def test_side_by_side_and_back(mrmlScene, session):
    node, chosen = segmentation(mrmlScene), segmentation(mrmlScene, "Shown in Red")
    chosen.GetDisplayNode().AddViewNodeID("vtkMRMLSliceNodeRed")
    session.compare()
    session.show_side_by_side()
    assert session.shows_side_by_side() and layout.is_side_by_side(mrmlScene)
    composites = {n.GetLayoutName(): n for n in layout.own_composites(mrmlScene)}
    attention = results.result_node(session.scanNode, "attention")
    for tag, foreground in ((layout.LEFT, attention.GetID()), (layout.RIGHT, None)):
        assert composites[tag].GetBackgroundVolumeID() == session.scanNode.GetID()
        assert composites[tag].GetForegroundVolumeID() == foreground
        assert composites[tag].GetLinkedControl()
    views = node.GetDisplayNode()
    assert not views.IsViewNodeIDPresent(view(mrmlScene, layout.LEFT).GetID())
    for shown in (layout.RIGHT, "Red", "Yellow", "Green"):
        assert views.IsViewNodeIDPresent(view(mrmlScene, shown).GetID())
    session.leave_side_by_side()
    assert layout.layout_node(mrmlScene).GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert views.GetNumberOfViewNodeIDs() == 0
    assert chosen.GetDisplayNode().GetViewNodeIDs() == ("vtkMRMLSliceNodeRed",), "the user's own choice stays"


def test_another_map_does_not_get_into_the_right_view(mrmlScene, session):
    session.show_side_by_side()
    results.show_attention(mrmlScene, session.analysis, session.attention, session.scanNode)
    composites = {n.GetLayoutName(): n.GetForegroundVolumeID() for n in layout.own_composites(mrmlScene)}
    assert composites[layout.RIGHT] is None and composites[layout.LEFT] is not None


def test_views_lie_in_the_plane_of_tilted_slices(mrmlScene, session):
    session.show_side_by_side()
    for tag in (layout.LEFT, layout.RIGHT):
        matrix = slicer.util.arrayFromVTKMatrix(view(mrmlScene, tag).GetSliceToRAS())[:3, :3]
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(matrix[:, 2] @ SHEARED[:3, :2], 0, atol=1e-9)
        assert matrix[0, 0] < 0 and matrix[1, 1] > 0 and matrix[2, 2] > 0, "patient left on the right, front up"
        assert view(mrmlScene, tag).GetPrescribedSliceSpacing()[2] == pytest.approx(6)


def test_nothing_marked_adds_nothing(mrmlScene, session):
    nothing = Marking(np.zeros(SHAPE, bool), 0.0, 0.4, (), True, ("Nothing is marked.",))
    assert session.show_marking((session.scanNode, session.analysis, nothing)) == (None, nothing)
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_marking_is_an_editable_segment_that_can_be_compared(mrmlScene, session):
    mask = np.zeros(SHAPE, bool)
    mask[BOX] = True
    marking = Marking(mask, BOX_ML, 20.0, (BOX_ML,), False, ("The volumes differ.",))
    node, _ = session.show_marking((session.scanNode, session.analysis, marking))
    (segment,) = session.compare(node).comparison.segments
    assert segment.measures.volume_ml == pytest.approx(BOX_ML)


def test_clinical_context_belongs_to_the_scan(mrmlScene, session):
    context = ClinicalContext(age=81, gcs=9, location="putamen", ivh=True)
    session.keep_clinical_context(session.scanNode, context)
    assert session.clinical_context(session.scanNode) == context
    assert session.clinical_context(scan(mrmlScene, "Other")).is_empty
    assessment = session.assess(session.scanNode)
    assert [score.points for score in assessment.scores] == [3, None, None]
    assert len(assessment.alerts) == 1 and "treatment advice" in assessment.alerts[0]
    table = cells(results.result_node(session.scanNode, "clinical scores"))
    assert table[0][:4] == ["ICH score", "3", "6", "30-day mortality 72 %"]
    assert table[1][1] == NOT_COMPUTED and "NIHSS" in table[1][5]
    assert table[3][3] == "30-day mortality 12 %"
    session.keep_clinical_context(session.scanNode, ClinicalContext())
    assert session.scanNode.GetAttribute("ICHMultiTask.Clinical") is None
    assert results.result_node(session.scanNode, "clinical scores") is None


@pytest.mark.parametrize("text", ["{", '{"age": 900}', '{"height": 2}', "[1]"])
def test_clinical_context_that_cannot_be_read_is_unknown(mrmlScene, text):
    node = scan(mrmlScene)
    node.SetAttribute("ICHMultiTask.Clinical", text)
    assert clinical.context_of(node).is_empty


def test_clinical_context_comes_back_with_the_scene(mrmlScene, session, tmp_path):
    session.keep_clinical_context(session.scanNode, ClinicalContext(age=70, anticoagulation=False))
    path = scene.save_mrb(mrmlScene, tmp_path / "case.mrb")
    scene.load_mrb(mrmlScene, path)
    found = clinical.context_of(mrmlScene.GetFirstNodeByName("Head CT"))
    assert found == ClinicalContext(age=70, anticoagulation=False)


TURN = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
ALIGNED = Alignment(TURN, 0.95, 36.9, 10.5, True)


def repeat_of(earlier, later, alignment=ALIGNED, notes=()):
    first, second = analysis_of(earlier, 10.0, (8.0, 12.5), attention=False), analysis_of(later)
    change = growth(first.volume_ml, first.volume_interval_ml, second.volume_ml, second.volume_interval_ml, 0.9)
    return repeat_scan.SceneRepeat(earlier, later, second, RepeatScan(first, change, alignment, notes))


def test_repeat_scan_is_a_table_and_a_transform(mrmlScene):
    session, earlier, later = ComparisonSession(), scan(mrmlScene, "Morning"), scan(mrmlScene, "Noon")
    shown = session.show_repeat(repeat_of(earlier, later, notes=("Doubt.",)))
    rows = {row[0]: row[1] for row in cells(results.result_node(later, "growth"))}
    assert rows["Earlier: Morning"] == "10.0 (8.0 to 12.5)" and rows["Later: Noon"] == "20.0 (15.0 to 27.0)"
    assert rows["Growth"].startswith("+10.0 (") and rows["Growth, relative"].startswith("+100 (")
    assert rows["Expansion (from 6 mL or 33 %)"] == "yes"
    assert rows["Expansion within the intervals"] == shown.repeat.growth.verdict
    assert rows["Head turned by"] == "36.9" and rows["Note"] == "Doubt."
    np.testing.assert_allclose(volumes.world_affine(earlier)[0], TURN @ SHEARED, atol=1e-9)
    np.testing.assert_allclose(volumes.world_affine(later)[0], SHEARED)
    assert cells(results.result_node(earlier, "table"))[0][1] == "10.0"
    assert session.analysis is shown.later and session.repeat_of(earlier, later) is shown
    assert session.repeat_of(later, earlier) is None
    session.show_repeat_views()
    assert session.shows_repeat() and not session.shows_side_by_side()
    assert layout.volume_on_left(mrmlScene) is earlier
    repeat_scan.remove_alignment(mrmlScene, earlier)
    np.testing.assert_allclose(volumes.world_affine(earlier)[0], SHEARED)


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
    assert rows["Agreement of bone after alignment"] == NOT_COMPUTED and "Head turned by" not in rows
    assert rows["Note"] == "The scans could not be aligned."


def test_repeat_scan_needs_two_scans(mrmlScene):
    session, node = ComparisonSession(), scan(mrmlScene)
    with pytest.raises(InputError, match="choose the earlier one"):
        session.repeat_work(None, node)
    with pytest.raises(InputError, match="“Head CT” is chosen as both scans"):
        session.repeat_work(node, node)
    earlier = scan(mrmlScene, "Morning")
    shown = repeat_of(earlier, node)
    mrmlScene.RemoveNode(earlier)
    with pytest.raises(InputError, match="no longer in the scene"):
        session.show_repeat(shown)
    assert results.result_node(node, "growth") is None


COHORT = """patient_id,volume_ml,predicted_volume_ml,rater_1
a,10,11,9
b,20,19,26
c,30,33,31
d,4,,5
"""


def test_cohort_is_a_table_node(mrmlScene, tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(COHORT, encoding="utf-8")
    session = ComparisonSession()
    table = session.show_cohort(session.cohort_work(path)(None), "cohort")
    found = {row[0]: dict(zip(titles_of(table), row)) for row in cells(table)}
    assert table.GetName() == "cohort comparison" and found["Model"]["Patients"] == "3"
    assert found["Model"]["MAE (mL)"].startswith(f"{5 / 3:.2f} (")
    assert found["Model"]["Wilcoxon p (Holm)"] == NOT_COMPUTED
    assert not any(word in cell for row in cells(table) for cell in row for word in ("nan", "inf", "None"))
    assert layout.layout_node(mrmlScene).GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    with pytest.raises(InputError, match="No column was recognized as the reference"):
        path.write_text("patient_id,weight\na,3\n", encoding="utf-8")
        session.cohort_work(path)(None)


def titles_of(table):
    return [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]


def test_report_of_the_panel_holds_what_was_compared(mrmlScene, session, tmp_path):
    session.compare(segmentation(mrmlScene))
    session.keep_clinical_context(session.scanNode, ClinicalContext(age=70))
    page = session.report_work(tmp_path)(lambda fraction, message: None)
    comparison = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))["comparison"]
    assert comparison["segments"][0]["label"] == "Bleed (Dr. A)"
    assert comparison["clinical"]["context"]["age"] == 70 and comparison["repeat_scan"] is None
    assert "Bleed (Dr. A)" in page.read_text(encoding="utf-8")
