"""What the panel shows, offers and says, on slicer-core: with real nodes, a real queue and a tiny real network."""

import json
import re
import time
from dataclasses import replace
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
pytest.importorskip("torch")

import vtk  # noqa: E402

from ICHMultiTaskLib.analysis.second_look import Hemorrhage  # noqa: E402
from ICHMultiTaskLib.common.choices import Device, Head, Stage  # noqa: E402
from ICHMultiTaskLib.common.errors import InputError  # noqa: E402
from ICHMultiTaskLib.common.translation import install_translator  # noqa: E402
from ICHMultiTaskLib.common.translation import tr as marked_sentence  # noqa: E402
from ICHMultiTaskLib.model import runners, testing  # noqa: E402
from ICHMultiTaskLib.model.attention import METHODS  # noqa: E402
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle  # noqa: E402
from ICHMultiTaskLib.model.networks import build_network  # noqa: E402
from ICHMultiTaskLib.mrml import layout, results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.diameters import show_diameters  # noqa: E402
from ICHMultiTaskLib.mrml.kept_results import kept_result  # noqa: E402
from ICHMultiTaskLib.panel.analyze_state import AnalyzeState, shown_map  # noqa: E402
from ICHMultiTaskLib.panel.clinical_state import ClinicalState  # noqa: E402
from ICHMultiTaskLib.panel.compare_state import CompareState  # noqa: E402
from ICHMultiTaskLib.panel.repeat_state import RepeatState  # noqa: E402
from ICHMultiTaskLib.panel.result_view import result_view  # noqa: E402
from ICHMultiTaskLib.panel.state import PanelState, belongings  # noqa: E402
from ICHMultiTaskLib.panel.tour_state import TourState  # noqa: E402
from ICHMultiTaskLib.report.result import write_report  # noqa: E402

Method = Enum(
    "Method",
    {"HIRESCAM": "hirescam", "GRADCAM": "gradcam", "LAYERCAM": "layercam", "CAM": "cam", "SALIENCY": "saliency"},
)


class Parameters(SimpleNamespace):
    """What a parameter node holds, without the application; tells of each change, as its node does."""

    def __init__(self, bundle):
        super().__init__(
            inputVolume=None, bundleFolder=str(bundle), device=Device.CPU, attentionHead=Head.VOLUME,
            attentionStage=Stage.STAGE3, attentionMethod=Method.HIRESCAM, overlayOpacity=0.4, overlayThreshold=0.4,
            comparedSegments=[], earlierVolume=None,
        )  # fmt: skip
        self.told = None

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name != "told" and getattr(self, "told", None):
            self.told()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return testing.tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def mrmlScene():
    found = scene.create_scene()
    found.Clear(0)
    layout.layout_node(found).SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield found
    layout.leave_side_by_side(found)
    found.Clear(0)


class Case:
    """The panel of a test: its states, and a user's hands."""

    def __init__(self, mrmlScene, bundle):
        self.scene, self.panel = mrmlScene, PanelState()
        self.panel.parameters = Parameters(bundle)
        self.panel.parameters.told = self.panel.follow
        self.analyze, self.compare = AnalyzeState(self.panel), CompareState(self.panel)
        self.repeat = RepeatState(self.panel)

    @property
    def logic(self):
        return self.panel.logic

    def load(self, name="Head CT"):
        node = volumes.head_ct_to_node(self.scene, testing.phantom(), name)
        self.panel.choose(node)
        return node

    def analyzed(self, name="Head CT"):
        node = self.load(name)
        self.analyze.analyze()
        self.wait()
        return node

    def wait(self, seconds=120):
        end = time.monotonic() + seconds
        while self.panel.queue.drain(0.02):
            assert time.monotonic() < end

    def draw(self, scan, name="Dr. A", drawn=(slice(12, 15), slice(60, 70), slice(60, 70))):
        array = np.zeros(slicer.util.arrayFromVolume(scan).shape, np.uint8)
        array[drawn] = 1
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(array.shape[::-1])
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(volumes.ijk_to_ras_of(scan)))
        image.GetPointData().SetScalars(volumes.image_from_array(array).GetPointData().GetScalars())
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, "Hemorrhage", (0.9, 0.1, 0.1))
        return node

    def remove(self, scan):
        """As the panel does it when a node leaves the scene."""
        node_id, remains = scan.GetID(), belongings(scan)
        self.scene.RemoveNode(scan)
        self.panel.scan_removed(node_id, scan, remains)

    def composites(self):
        own = layout.own_composites(self.scene)
        return [n for n in scene.nodes_of_class(self.scene, "vtkMRMLSliceCompositeNode") if n not in own]


@pytest.fixture
def case(mrmlScene, bundle):
    return Case(mrmlScene, bundle)


def test_nothing_to_analyze(case):
    case.panel.choose(None)
    assert not case.analyze.can_analyze and "Choose a head CT first" in case.analyze.hint
    assert case.analyze.result() is None and case.panel.scans() == []


def test_analysis_is_shown_and_its_result_stands_in_the_list(case):
    node = case.analyzed()
    result = case.analyze.result()
    assert result.use == results.RESEARCH_USE and "Random weights" in result.model
    assert "Prognosis" not in result.headline + result.mortality
    assert [n for n, _ in case.panel.scans()] == [node]
    assert case.panel.scans()[0][1] == f"Head CT: {result.headline}"
    assert case.panel.message("analysis") == ("", False) and case.analyze.can_analyze


@pytest.fixture
def anything_is_blood(monkeypatch):
    """A network of random weights attends to anything; the second look would withhold its prognosis."""
    monkeypatch.setattr("ICHMultiTaskLib.analysis.analyzer.decide", lambda *given: (Hemorrhage.FOUND, ""))


def test_the_range_of_the_mortality_follows_the_result(case, anything_is_blood):
    node = case.analyzed()
    kept = kept_result(node)
    low, high = kept["mortality_range"]
    assert 0 <= low <= high <= 1
    table = results.result_node(node, "table")
    rows = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
    assert rows["Range of its readings"] != "–"
    case.draw(node)
    case.compare.refresh()
    case.wait()
    assert case.compare.compared is not None, "it is the same run"


def test_cancel_says_so_and_leaves_nothing(case):
    node = case.load()
    case.analyze.analyze()
    assert not case.analyze.can_analyze
    case.analyze.cancel()
    case.wait()
    assert case.panel.message("analysis").text == "Canceled." and kept_result(node) is None
    case.analyze.analyze()
    case.wait()
    assert case.panel.message("analysis").text == "" and kept_result(node) is not None


def test_a_scan_that_is_removed_takes_its_work_and_messages_along(case):
    first = case.load()
    case.panel.say("analysis", "About the first.", failed=True)
    case.analyze.analyze()
    second = case.load("Second")
    assert case.panel.message("analysis").text == ""
    case.remove(first)
    case.wait()
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert case.panel.scan is second and case.panel.message("analysis").text == ""


def test_scene_closed_while_all_kinds_of_work_run(case):
    node = case.analyzed()
    case.draw(node)
    case.compare.refresh()
    case.compare.tick(case.compare.choices)
    case.compare.mark()
    case.analyze.analyze()
    case.panel.scene_closing()
    case.scene.Clear(0)
    case.wait()
    assert case.panel.scan is None and not case.panel.queue.busy
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_each_scan_keeps_its_result(case):
    first, second = case.analyzed("First"), case.analyzed("Second")
    case.panel.choose(first)
    assert case.analyze.result() is not None
    assert case.logic.analysis.analysis_of(first).prediction is None, "features are kept of the latest alone"
    assert case.logic.analysis.analysis_of(second).prediction is not None
    case.panel.parameters.attentionStage = Stage.STAGE2
    case.wait()
    assert shown_map(first) == ("volume", "stage2", "hirescam"), "the network ran again, silently"
    assert shown_map(second) == ("volume", "stage3", "hirescam")
    assert case.panel.message("analysis").text == ""
    case.panel.choose(second)
    case.wait()
    assert case.panel.parameters.attentionStage is Stage.STAGE3, "the selector says what is on show"


def test_map_of_an_early_stage_stays_within_the_head_and_moves_no_view(case):
    node = case.analyzed()
    red = case.scene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.JumpSlice(0, 0, 11)
    case.panel.parameters.attentionStage = Stage.STAGE1
    case.wait()
    array = slicer.util.arrayFromVolume(results.result_node(node, "attention"))
    assert array.max() == 1 and not array[slicer.util.arrayFromVolume(node) == -1000][:1000].any()
    assert red.GetSliceOffset() == pytest.approx(11)


def test_a_method_that_is_not_of_the_chosen_stage(case):
    node = case.analyzed()
    case.panel.parameters.attentionStage = Stage.STAGE2
    case.panel.parameters.attentionMethod = Method.SALIENCY
    case.wait()
    assert shown_map(node) == ("volume", "input", "saliency") and not case.panel.queue.busy
    assert case.panel.parameters.attentionStage is Stage.STAGE2
    case.panel.parameters.attentionMethod = Method.CAM
    case.wait()
    assert shown_map(node) == ("volume", "stage4", "cam") and not case.panel.queue.busy
    assert case.panel.message("analysis").text == ""


def test_result_comes_back_with_the_scene(case, tmp_path):
    node = case.analyzed()
    before = case.analyze.result()
    path = scene.save_mrb(case.scene, tmp_path / "case.mrb")
    case.panel.scene_closing()
    case.scene.ReadFromMRB(str(path), True)
    case.panel.parameters = Parameters(case.panel.logic.analysis.models.bundles()[0][1])
    case.panel.scene_changed()
    node = case.panel.scan
    assert node.GetName() == "Head CT" and not node.GetAttribute("ICHMultiTask.Result")
    result = case.analyze.result()
    assert result.headline == before.headline and result.mortality == before.mortality
    assert "not from the one chosen now" in result.outdated[0], "another model is chosen"
    analysis = case.logic.analysis.analysis_of(node)
    assert analysis.prediction is None and analysis.attention.peak_ras_mm is not None
    case.draw(node)
    case.compare.refresh()
    case.compare.tick(case.compare.choices)
    case.wait()
    assert case.compare.compared.comparison.segments[0].attention is not None


def test_a_map_that_the_network_is_missing_for_is_said_once(case, tmp_path):
    other = testing.tiny_bundle(tmp_path / "other")
    case.panel.parameters.bundleFolder = str(other)
    case.analyzed()
    case.logic.forget()
    (other / "configs" / "metadata.json").unlink()
    case.panel.parameters.bundleFolder = ""
    case.panel.parameters.attentionStage = Stage.STAGE1
    case.wait()
    message = case.panel.message("analysis")
    assert message.failed and "is no longer available" in message.text
    assert case.panel.parameters.attentionStage is Stage.STAGE3 and not case.panel.queue.busy


def test_a_model_that_was_retrained_in_its_folder_is_loaded_anew(case, tmp_path):
    folder = testing.tiny_bundle(tmp_path / "mine")
    case.panel.parameters.bundleFolder = str(folder)
    node = case.analyzed()
    first = kept_result(node)
    testing.tiny_bundle(tmp_path / "new", seed=7)
    for name in ("configs/metadata.json", "models/model.safetensors"):
        (folder / name).write_bytes((tmp_path / "new" / name).read_bytes())
    assert case.analyze.result().outdated, "the numbers are of the old weights"
    case.analyze.analyze()
    case.wait()
    second = kept_result(node)
    assert second["model"]["sha256"] != first["model"]["sha256"] and second["volume_ml"] != first["volume_ml"]
    assert not case.analyze.result().outdated


def test_facts_that_cannot_be_read_are_no_result(case):
    node = case.analyzed()
    facts = results.result_node(node, "facts")
    for text in ("", "{", "[1]", '{"volume_ml": "large"}', '{"volume_ml": NaN}'):
        facts.SetText(text)
        assert kept_result(node) is None and case.analyze.result() is None
    facts.SetText('{"volume_ml": 3, "format": 99, "model": 4, "mortality_probability": "?", "new": {}}')
    result = case.analyze.result()
    assert result.headline == "3.0 mL" and result.mortality == ""


def test_scene_of_an_earlier_version_is_read_from_its_table(case):
    node = case.analyzed()
    before = kept_result(node)
    case.scene.RemoveNode(results.result_node(node, "facts"))
    found = kept_result(node)
    assert found["volume_ml"] == pytest.approx(before["volume_ml"], abs=0.05) and found["format"] == 0
    assert found["model"] == before["model"]
    assert found["scan"]["warnings"] == before["scan"]["warnings"]
    assert any("earlier version" in sentence for sentence in case.analyze.result().outdated)


def test_formulas_of_earlier_tables_are_renamed(case):
    node = case.load()
    rows = [("Dr. A", name, "1", "", "", "", "", "") for name in ("Planimetry", "ABC/2", "ABC/2 simplified")]
    table = results.write_rows(case.scene, node, "volume comparison", list("abcdefgh"), rows)
    case.panel.scene_changed()
    case.panel.scene_changed()
    assert [table.GetCellText(n, 1) for n in range(3)] == ["Planimetry", "ABC/2 (Kothari)", "ABC/2"]


def test_views_show_the_chosen_scan_and_nothing_of_another_patient(case):
    first = case.analyzed("First")
    mine = case.draw(first)
    case.compare.refresh()
    case.compare.tick(case.compare.choices)
    case.wait()
    show_diameters(case.scene, case.compare.compared.comparison.segments[0].measures, first)
    red = case.scene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.GetSliceToRAS().SetElement(1, 1, 0.9)
    red.GetSliceToRAS().SetElement(2, 1, 0.43589)
    red.UpdateMatrices()
    second = case.load("Second")
    for composite in case.composites():
        assert composite.GetBackgroundVolumeID() == second.GetID() and composite.GetForegroundVolumeID() is None
    assert not mine.GetDisplayNode().GetVisibility()
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 0
    assert red.GetOrientation() == "Axial"
    case.compare.refresh()
    assert case.compare.is_foreign(case.compare.choices[0]) and case.compare.ticked() == []
    case.panel.choose(first)
    assert mine.GetDisplayNode().GetVisibility()
    assert {c.GetForegroundVolumeID() for c in case.composites()} == {results.result_node(first, "attention").GetID()}
    case.compare.refresh()
    assert len(case.compare.ticked()) == 1, "the tick belongs to its scan"


def test_a_segment_of_another_scan_is_compared_only_where_it_is_ticked_for_this_one(case):
    first, second = case.load("First"), case.analyzed("Second")
    case.draw(first)
    case.compare.refresh()
    assert case.compare.compared is None and "Tick the segments" in case.compare.reason()
    case.compare.tick(case.compare.choices)
    case.wait()
    assert any("drawn on another volume" in sentence for sentence in case.compare.remarks())
    case.panel.choose(first)
    case.panel.choose(second)
    case.compare.tick(case.compare.choices, on=False)
    case.wait()
    assert case.compare.compared is None
    assert results.result_node(second, "volume comparison") is None


def test_the_only_segment_is_ticked_and_compared_after_the_analysis(case):
    node = case.load()
    case.draw(node)
    case.compare.refresh()
    assert len(case.compare.ticked()) == 1 and "has not been analyzed" in case.compare.reason()
    case.analyze.analyze()
    case.wait()
    assert case.compare.reason() == "" and case.compare.rows()[1].cells == ("Dr. A",)
    planimetry = case.compare.rows()[2].cells
    assert planimetry[0] == "Planimetry" and set(planimetry[5:]) <= {"✓", "✗", "–"}


def test_comparison_is_made_again_only_where_something_changed(case):
    node = case.analyzed()
    case.draw(node)
    case.compare.refresh()
    case.wait()
    before = case.compare.compared
    case.panel.parameters.overlayOpacity = 0.7
    case.compare.refresh()
    assert not case.panel.queue.busy and case.compare.compared is before
    case.compare.edited()
    case.wait()
    assert case.compare.compared is not before


def test_a_draft_has_no_verdicts_and_its_notes_end_with_its_correction(case):
    from ICHMultiTaskLib.analysis.marking import Marking

    node = case.analyzed()
    mask = np.zeros(slicer.util.arrayFromVolume(node).shape, bool)
    mask[12:15, 60:70, 60:70] = True
    marking = Marking(mask, 5.8, 9.0, (5.8,), False, ("The borders enclose less.",))
    case.compare._marked((node, case.logic.analysis.analysis_of(node), marking))
    case.wait()
    heading, planimetry = case.compare.rows()[1:3]
    assert heading.draft and heading.cells == ("Draft from the model",)
    assert planimetry.draft and planimetry.cells[2:] == ("", "", "", "", "")
    assert "The borders enclose less." in case.compare.remarks()
    nothing = Marking(np.zeros_like(mask), 0.0, 9.0, (), False, ("Nothing is marked.",))
    case.compare._marked((node, case.logic.analysis.analysis_of(node), nothing))
    case.wait()
    assert "Nothing is marked." in case.compare.remarks()
    case.load("Second")
    assert case.compare.remarks() == []


def test_deleting_a_scan_removes_what_belongs_to_it(case):
    node, other = case.analyzed(), case.analyzed("Other")
    segmentation = case.draw(node)
    case.panel.choose(node)
    case.compare.refresh()
    case.compare.tick(case.compare.choices)
    case.wait()
    show_diameters(case.scene, case.compare.compared.comparison.segments[0].measures, node)
    case.remove(node)
    left = [n for kind in ("vtkMRMLTableNode", "vtkMRMLTextNode") for n in scene.nodes_of_class(case.scene, kind)]
    assert left and all(n.GetNodeReferenceID("ICHMultiTask.Scan") == other.GetID() for n in left)
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 0
    assert segmentation.GetScene() is case.scene, "what a person drew stays"
    assert case.panel.scan is other


def test_growth_in_the_panel(case):
    earlier = case.load("Morning")
    later = case.load("Noon")
    assert not case.repeat.can_measure and "earlier scan" in case.repeat.hint()
    assert [node for node, _ in case.repeat.candidates()] == [earlier]
    case.panel.parameters.earlierVolume = earlier
    case.repeat.measure()
    case.repeat.cancel()
    case.wait()
    assert case.panel.message("growth").text == "Canceled." and case.repeat.verdict() == ""
    case.repeat.measure()
    case.wait()
    assert case.repeat.verdict() and not any(row[0] == "Verdict" for row in case.repeat.rows())
    assert case.repeat.small_rows()[0][0].startswith("Agreement of bone")
    assert case.panel.parameters.attentionHead.value == shown_map(later)[0], "the selector says what is on show"
    case.repeat.show_views()
    assert case.repeat.views_shown
    drawn = case.draw(later)
    case.repeat.set_later_outline(True)
    models = scene.nodes_of_class(case.scene, "vtkMRMLModelNode")
    before = [node for node in models if node.GetName().endswith("dashed")]
    assert len(before) == 1
    points = before[0].GetPolyData().GetNumberOfPoints()
    image = drawn.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    volumes.array_from_image(image)[14:] = 0
    image.Modified()
    case.compare.edited()
    (after,) = [n for n in scene.nodes_of_class(case.scene, "vtkMRMLModelNode") if n.GetName().endswith("dashed")]
    assert after.GetPolyData().GetNumberOfPoints() != points, "the outline of a segment follows its edits"
    case.panel.choose(earlier)
    assert not layout.is_side_by_side(case.scene)
    case.panel.choose(later)
    case.remove(earlier)
    assert case.repeat.verdict() == "" and not case.repeat.can_measure


def facts(**changes):
    model = {"name": "m", "version": "1", "sha256": "ab", "training_data": "Simulated."}
    known = {
        "format": 1, "volume_ml": 23.4, "volume_interval_ml": [18.0, 30.0], "interval_coverage": 0.9,
        "mortality_probability": 0.65, "prognosis": "death", "scan": {"warnings": ["Tilted."]}, "model": model,
        "hemorrhage": "found", "hemorrhage_reason": "", "mortality_range": None,
        "clinical_inputs": None,
    }  # fmt: skip
    return known | changes


def test_words_of_a_result():
    result = result_view(facts(), ("1", "ab"))
    assert (result.headline, result.detail) == ("23.4 mL", "90% interval 18.0 to 30.0 mL")
    assert result.mortality == "30-day mortality 65 %" and result.warnings == ("Tilted.",) and not result.outdated
    assert result_view(facts(), ("1", "cd")).outdated
    assert result_view(facts(), ("2", "ab")).outdated  # the same weights, calibrated anew
    assert "60 to 70 %" in result_view(facts(mortality_range=[0.6, 0.7])).mortality
    unsure = result_view(facts(hemorrhage="uncertain", hemorrhage_reason="Hemorrhage uncertain: look at it."))
    assert unsure.detail == "Hemorrhage uncertain: look at it."
    read = facts(clinical_inputs={"age": 71.0, "sex": None})
    assert not result_view(read, ("1", "ab"), {"age": 71, "gcs": 9}).outdated
    assert "other clinical values" in result_view(read, ("1", "ab"), {"age": 71, "sex": "F"}).outdated[0]


@pytest.mark.parametrize(
    "changes, headline",
    [
        ({"hemorrhage": "none"}, "No hemorrhage found"),
        ({"hemorrhage": "uncertain"}, "Hemorrhage uncertain"),
    ],
)
def test_no_hemorrhage_takes_the_place_of_a_mortality(changes, headline):
    result = result_view(facts(**changes))
    assert result.headline == headline and result.mortality == ""
    assert f"{facts(**changes)['volume_ml']:.1f} mL" in result.detail


def test_the_tour_follows_what_was_done(case):
    tour = TourState(case.panel, case.compare)
    assert [step.done for step in tour.steps()] == [False] * 4 and tour.next_step()[0] == 0
    node = case.load()
    assert tour.next_step()[0] == 1
    case.analyze.analyze()
    case.wait()
    assert tour.next_step()[0] == 2
    case.draw(node)
    case.compare.refresh()
    case.wait()
    assert tour.next_step()[0] == 3
    case.logic.comparison.show_side_by_side(node)
    assert tour.next_step() is None


def test_the_tour_leaves_out_the_mark_where_nothing_was_found(case, monkeypatch):
    tour, node = TourState(case.panel, case.compare), case.load()
    found = facts(hemorrhage="none", hemorrhage_reason="No hemorrhage found: nothing is as dense as blood.")
    monkeypatch.setattr(case.logic.analysis, "facts_of", lambda scan: found if scan is node else None)
    number, step = tour.next_step()
    assert number == 3 and step.text.startswith("No hemorrhage was found: there is nothing to mark")


def test_outline_is_toggled_for_the_chosen_scan_alone(case):
    first, second = case.load("First"), case.load("Second")
    other, mine = case.draw(first), case.draw(second)
    other.GetDisplayNode().SetVisibility(False)
    case.logic.comparison.toggle_segments(second)
    assert not mine.GetDisplayNode().GetVisibility()
    case.logic.comparison.toggle_segments(second)
    assert mine.GetDisplayNode().GetVisibility() and not other.GetDisplayNode().GetVisibility()


def test_skull_and_segments_in_3d(case):
    first = case.load("First")
    drawn = case.draw(first)
    case.compare.show_three_d()
    case.wait()
    skull = results.result_node(first, "skull")
    box, head = [0.0] * 6, volumes.head_ct_from_node(first)
    skull.GetRASBounds(box)
    expected = np.argwhere(head.hu > 250)[:, ::-1]
    expected = expected @ head.ijk_to_ras[:3, :3].T + head.ijk_to_ras[:3, 3]
    np.testing.assert_allclose(box[::2], expected.min(axis=0), atol=4)
    np.testing.assert_allclose(box[1::2], expected.max(axis=0), atol=4)
    assert skull.GetDisplayNode().GetOpacity() < 0.3 and skull.GetDisplayNode().GetVisibility()
    assert not skull.GetDisplayNode().GetScalarVisibility()
    assert drawn.GetSegmentation().ContainsRepresentation("Closed surface")
    case.load("Second")
    assert not skull.GetDisplayNode().GetVisibility()
    case.remove(first)
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0 or skull.GetScene() is None


def without_pytorch(monkeypatch):
    """Only ONNX Runtime is found, as after the light installation."""
    found = runners.importlib.util.find_spec
    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))


def test_without_pytorch_the_default_map_is_offered_and_the_others_say_what_they_need(case, monkeypatch):
    assert case.analyze.offered() == (list(Stage.values()), list(METHODS))
    with monkeypatch.context() as patched:
        without_pytorch(patched)
        assert case.analyze.offered() == (["stage3", "stage4"], ["gradcam", "hirescam", "gradcam++", "layercam", "cam"])
        node = case.analyzed()
        assert shown_map(node) == ("volume", "stage3", "hirescam")
        case.panel.parameters.attentionHead = Head.PROGNOSIS
        case.wait()
        assert shown_map(node) == ("prognosis", "stage3", "hirescam")
        case.panel.parameters.attentionMethod = Method.SALIENCY
        case.wait()
        assert "needs PyTorch" in case.panel.message("analysis").text
        assert case.panel.parameters.attentionMethod == Method.HIRESCAM
        # A map that was chosen where there was PyTorch, as in a scene: the next scan gets the default one.
        case.analyze._choose(("prognosis", "stage2", "layercam"))
        assert shown_map(case.analyzed("Next")) == ("prognosis", "stage3", "hirescam")
        assert case.panel.parameters.attentionStage == Stage.STAGE3
        case.panel.choose(node)
    # PyTorch was installed: the same result gives every map.
    case.panel.parameters.attentionStage = Stage.STAGE2
    case.wait()
    assert shown_map(node) == ("prognosis", "stage2", "hirescam")


@pytest.fixture
def marked():
    """A translator that puts a mark around everything that it was asked for."""
    install_translator(lambda context, words: f"«{words}»")
    yield
    install_translator(None)


NAMES = (
    r"ABC/\S+( \(Kothari\))?|max-ICH|FUNC|Dr\. A|Morning|Noon|[Tt]iny\S*|Random weights[^»]*|[0-9a-f]{64}|"
    r"\w+ et al\. [^»]*"
)
"""Of formulas, scores, scans, readers, models and articles: the same in every language."""


def in_english(texts):
    """Texts with words that the user reads in English: words outside of the translator's marks."""
    left = []
    for text in texts:
        rest, before = re.sub(NAMES, "", text), None
        while rest != before:
            rest, before = re.sub("«[^«»]*»", "", rest), rest
        left += [text] if re.search(r"[A-Za-z]{3}", rest) else []
    return left


def test_all_that_the_panel_shows_is_translated_and_all_that_is_stored_is_not(case, marked, tmp_path):
    earlier = case.load("Morning")
    node = case.load("Noon")
    volumes.add_warning(node, marked_sentence("The volume was loaded without the tilt or the spacing of its slices."))
    case.panel.parameters.earlierVolume = earlier
    case.repeat.measure()
    case.wait()
    segmentation = case.draw(node)
    case.compare.refresh()
    case.compare.tick(case.compare.choices)
    case.wait()
    clinical = ClinicalState(case.panel)
    clinical.enter(gcs=9, location="cerebellum")

    result, compared = case.analyze.result(), case.compare
    assert result.warnings and compared.rows() and case.repeat.rows() and case.repeat.notes()
    shown = [*result.warnings, result.headline, result.detail, result.mortality, result.use, case.repeat.verdict()]
    shown += [cell for row in case.repeat.rows() + case.repeat.small_rows() for cell in row] + case.repeat.notes()
    shown += [text for row in compared.rows() for text in (*row.cells, *row.notes)] + compared.remarks()
    shown += [line for _, lines in compared.sentences() for line in lines]
    shown += [clinical.score(), *clinical.alerts(), *(text for item in clinical.other_texts() for text in item)]
    shown += [text for name in ("location", "gcs", "ivh") for text in clinical.field(name)[1:]]
    kinds = ("table", "growth", "volume comparison", "segment measures", "clinical scores")
    for table in filter(None, (results.result_node(node, kind) for kind in kinds)):
        shown += [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
        rows, columns = range(table.GetNumberOfRows()), range(table.GetNumberOfColumns())
        shown += [table.GetCellText(row, column) for row in rows for column in columns]
    assert in_english(shown) == []
    segmentation.RemoveAllDisplayNodeIDs()
    case.scene.RemoveNode(segmentation)

    found = kept_result(node)
    assert found["scan"]["warnings"] and "«" not in json.dumps(found)
    case.logic.forget()
    assert in_english(case.analyze.result().warnings) == [], "also from a scene that was opened again"
    for file in write_report(case.logic.analysis.analysis_of(node), tmp_path, outputs=("json", "html")).values():
        assert "«" not in file.read_text(encoding="utf-8")
    node.SetAndObserveImageData(None)
    case.analyze.analyze()
    case.wait()
    assert case.panel.message("analysis").text.startswith("«The volume Noon is empty")


def test_model_says_which_library_it_needs(case, bundle, tmp_path):
    assert case.analyze.runtime == "auto"
    metadata = ModelBundle.load(bundle).metadata
    architecture = {"network": "densenet121", "width": 8, "final_relu": False}
    metadata = {key: value for key, value in metadata.items() if key != "sha256"} | {"architecture": architecture}
    save_bundle(tmp_path / "other", build_network(architecture).state_dict(), metadata, "card")
    case.panel.parameters.bundleFolder = str(tmp_path / "other")
    assert case.analyze.runtime == "torch"


def shown_in_views(case):
    scans = {case.scene.GetNodeByID(node.GetBackgroundVolumeID()) for node in case.composites()}
    maps = {case.scene.GetNodeByID(node.GetForegroundVolumeID() or "") for node in case.composites()}
    return scans, maps


@pytest.mark.parametrize("work", ["analysis", "map", "growth", "3d", "mark"])
def test_work_on_one_scan_leaves_the_views_to_another_that_was_chosen_meanwhile(case, work):
    earlier, first = case.analyzed("Earlier"), case.analyzed("First")
    if work == "analysis":
        case.analyze.analyze()
    elif work == "map":
        case.panel.parameters.attentionHead = Head.PROGNOSIS
        case.analyze.follow_map()
    elif work == "growth":
        case.panel.parameters.earlierVolume = earlier
        case.repeat.measure()
    elif work == "3d":
        case.compare.show_three_d()
    else:
        case.compare.mark()
    second = case.load("Second")
    case.wait()
    assert case.panel.scan is second and shown_in_views(case) == ({second}, {None})
    table = scene.application_logic().GetSelectionNode().GetActiveTableID()
    assert table is None, "no numbers of another scan below the views"
    for node in scene.nodes_of_class(case.scene, "vtkMRMLModelNode"):
        assert not node.GetDisplayNode().GetVisibility()
    for node in scene.nodes_of_class(case.scene, "vtkMRMLSegmentationNode"):
        assert not node.GetDisplayNode().GetVisibility()
    case.panel.choose(first)
    assert shown_in_views(case) == ({first}, {results.result_node(first, "attention")})
    assert scene.application_logic().GetSelectionNode().GetActiveTableID()


def test_progress_names_a_scan_that_is_not_the_chosen_one(case):
    case.load("First")
    case.analyze.analyze()
    assert case.analyze.named("Preparing") == "Preparing"
    case.load("Second")
    assert case.analyze.named("Preparing") == "First: Preparing"
    case.wait()


def scaled_parent(case, factor):
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 2, factor)
    node = case.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Scaled")
    node.SetMatrixTransformToParent(matrix)
    return node


def change_voxels(case, scan):
    slicer.util.arrayFromVolume(scan)[10:12] += 7
    scan.GetImageData().GetPointData().GetScalars().Modified()


CHANGES = {
    "voxels": change_voxels,
    "spacing": lambda case, scan: scan.SetSpacing(2.0, 2.0, 2.0),
    "size": lambda case, scan: volumes.set_voxels(
        scan, slicer.util.arrayFromVolume(scan)[:-1].copy(), volumes.ijk_to_ras_of(scan)
    ),
    "transform": lambda case, scan: scan.SetAndObserveTransformNodeID(scaled_parent(case, 1.2).GetID()),
    "mirrored": lambda case, scan: scan.SetAndObserveTransformNodeID(scaled_parent(case, -1).GetID()),
    "no voxels": lambda case, scan: scan.SetAndObserveImageData(None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_of_a_scan_that_was_changed_since_is_outdated(case, change):
    earlier, scan = case.analyzed("Earlier"), case.analyzed()
    case.draw(scan)
    case.compare.refresh()
    case.panel.parameters.earlierVolume = earlier
    case.repeat.measure()
    case.wait()
    assert case.compare.compared is not None and case.repeat.repeat is not None
    assert case.analyze.result().outdated == ()
    CHANGES[change](case, scan)
    case.panel.changed()
    case.wait()
    assert any("were changed since" in sentence for sentence in case.analyze.result().outdated)
    assert (scan, "Head CT") in case.panel.scans(), "no number of the scan as it was beside its name"
    assert case.compare.compared is None and "was changed since" in case.compare.reason()
    assert results.result_node(scan, "volume comparison") is None and case.repeat.repeat is None
    assert not case.compare.can_mark
    assert "press Analyze" in ClinicalState(case.panel).score()
    for refused in (case.compare.mark, lambda: case.analyze.save_report("reports")):
        with pytest.raises(InputError, match="changed since it was analyzed"):
            refused()
    case.panel.parameters.attentionHead = Head.PROGNOSIS
    case.analyze.follow_map()
    assert not case.panel.queue.busy, "no map of the scan as it was"


def test_a_result_is_not_outdated_by_what_changes_no_measurement(case):
    scan = case.analyzed()
    scan.SetName("Another name")
    scan.GetDisplayNode().SetWindowLevel(80, 40)
    scan.SetOrigin(5, -3, 20)
    case.panel.changed()
    assert case.analyze.result().outdated == ()


def test_a_scan_that_is_changed_while_it_is_analyzed_has_an_outdated_result(case):
    scan = case.load()
    work = case.logic.analysis.work(scan, case.panel.parameters.bundleFolder)
    change_voxels(case, scan)
    case.logic.analysis.show(work(lambda fraction, text: None))
    assert len(case.analyze.result().outdated) == 1


def test_an_outdated_result_stays_outdated_in_a_saved_scene(case, tmp_path):
    case.analyzed("Changed")
    change_voxels(case, case.panel.scan)
    case.analyzed("Unchanged")
    path = scene.save_mrb(case.scene, tmp_path / "case.mrb")
    case.scene.Clear(0)
    assert case.scene.ReadFromMRB(str(path), True)
    for name, outdated in (("Changed", 1), ("Unchanged", 0)):
        case.panel.choose(case.scene.GetFirstNodeByName(name))
        assert len(case.analyze.result().outdated) == outdated


def test_growth_is_not_measured_with_the_volume_of_a_scan_that_was_changed_since(case):
    earlier, later = case.analyzed("Earlier"), case.analyzed("Later")
    later.SetSpacing(*np.array(later.GetSpacing()) * 1.02)
    assert not case.logic.growth.measure(earlier, later, case.panel.parameters.bundleFolder, "cpu").reused


def test_what_a_click_cannot_do_is_said(case):
    case.panel.choose(case.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"))
    case.panel.attempt("compare", case.compare.show_three_d)
    assert case.panel.message("compare").failed and "Empty is empty" in case.panel.message("compare").text


def test_what_has_no_name_is_listed_all_the_same(case):
    scan = case.analyzed()
    scan.SetName("")
    drawn = case.draw(scan)
    drawn.SetName("")
    drawn.GetSegmentation().GetNthSegment(0).SetName("")
    case.compare.refresh()
    case.wait()
    assert case.panel.scans()[0][1].startswith("Unnamed scan: ")
    assert [choice.short_name for choice in case.compare.choices] == ["Unnamed segmentation"]
    assert ("Unnamed segmentation",) in [row.cells for row in case.compare.rows()]


def test_messages_are_rich_text_that_shows_names_as_they_are(case, tmp_path):
    case.panel.choose(case.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "<b>O'Neill</b> & Sons"))
    case.panel.attempt("analysis", case.analyze.analyze)
    case.wait()
    text = case.panel.message("analysis").text
    assert "&lt;b&gt;O'Neill&lt;/b&gt; &amp; Sons" in text and "<b>" not in text


def test_after_a_scan_is_removed_another_is_chosen_even_if_the_parameters_already_forgot_it(case):
    first, second = case.load("First"), case.load("Second")
    node_id, remains = second.GetID(), belongings(second)
    case.scene.RemoveNode(second)
    case.panel.choose(None)  # as a parameter node does when its reference is gone
    case.panel.scan_removed(node_id, second, remains)
    assert case.panel.scan is first


def test_scans_of_one_name_are_told_apart(case):
    for patient, date in (("A", "20260101"), ("B", "20260101"), ("B", "20260102"), ("", ""), ("", "")):
        head_ct = testing.phantom()
        study = f"1.{patient}.{date}" if patient else ""
        facts = replace(
            head_ct.facts, patient_id=patient, study_date=date, study_uid=study, series_uid=study and f"{study}.1"
        )
        volumes.head_ct_to_node(case.scene, replace(head_ct, facts=facts), "2: Head")
    volumes.head_ct_to_node(case.scene, testing.phantom(), "3: Head")
    assert [text for _, text in case.panel.scans()] == [
        "2: Head (A, 20260101)", "2: Head (B, 20260101)", "2: Head (B, 20260102)", "2: Head, 1", "2: Head, 2",
        "3: Head",
    ]  # fmt: skip


def test_a_segment_that_may_be_of_another_patient_is_ticked_for_one_scan_only(case):
    first = case.analyzed("First")
    labels = np.zeros(slicer.util.arrayFromVolume(first).shape, np.uint8)
    labels[12:15, 60:70, 60:70] = 1
    node = case.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    volumes.set_voxels(node, labels, volumes.ijk_to_ras_of(first))
    case.compare.refresh()
    case.wait()
    assert case.compare.compared is not None, "the only one is ticked at once"
    second = case.analyzed("Second")
    case.compare.refresh()
    case.wait()
    assert case.compare.ticked() == [] and case.compare.compared is None
    assert results.result_node(second, "volume comparison") is None
    case.panel.choose(first)
    case.compare.refresh()
    assert len(case.compare.ticked()) == 1
