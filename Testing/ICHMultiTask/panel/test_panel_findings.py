"""Findings with the ICH score, the way to the bleed, and numbers as the system writes them; on real MRML nodes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")

from ICHMultiTaskLib.analysis.attention import Attention  # noqa: E402
from ICHMultiTaskLib.analysis.findings.finding import Finding, Findings  # noqa: E402
from ICHMultiTaskLib.analysis.marking import Marking  # noqa: E402
from ICHMultiTaskLib.analysis.result import Analysis  # noqa: E402
from ICHMultiTaskLib.mrml import results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.translation import with_decimal_sign  # noqa: E402
from ICHMultiTaskLib.panel.bleed_state import BleedState  # noqa: E402
from ICHMultiTaskLib.panel.clinical_state import ClinicalState  # noqa: E402
from ICHMultiTaskLib.panel.state import PanelState  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402

AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2, 1, 50], [0, 0, 5, -40], [0, 0, 0, 1]])
SHAPE = (16, 40, 36)
BLEED = (slice(6, 11), slice(10, 20), slice(20, 26))
FOUND = Findings("left", "deep", False, (
    Finding("location", "Location", "deep", accuracy="right in 33 of 33 simulated bleeds", correctable=True),
    Finding("side", "Side", "left"),
    Finding("infratentorial", "Infratentorial", False),
    Finding("ivh", "Ventricular blood", True, correctable=True),
    Finding("midline_shift_mm", "Midline shift", 4.2, "mm"),
))  # fmt: skip


@pytest.fixture
def panel(mrmlScene):
    found = PanelState()
    found.parameters = SimpleNamespace(inputVolume=None, comparedSegments=[])
    return found


@pytest.fixture
def scan(mrmlScene, panel):
    """A scan that was analyzed: a bleed of 31 mL in a patient of 71 years."""
    head_ct = HeadCT(np.full(SHAPE, 35, np.int16), AFFINE, ScanFacts(patient_age=71.0))
    node = volumes.head_ct_to_node(mrmlScene, head_ct, "Head CT")
    mask, array = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.float32)
    mask[BLEED], array[BLEED] = True, 1.0
    model = {"name": "test", "version": "1.0", "sha256": "ab", "training_data": "Simulated scans."}
    attention = Attention(array, "volume", "stage3", "hirescam", (0.0, 20.0, 0.0))
    analysis = Analysis(
        head_ct, 31.0, (25.0, 38.0), 0.9, 0.3, "survival", attention, model, (), {}, None,
        marking=Marking(mask, 6.0, 6.0, (6.0,), True), findings=FOUND,
    )  # fmt: skip
    panel.logic.analysis.show((node, analysis))
    panel.choose(node)
    return node


def test_the_score_fills_itself_in_but_for_the_gcs(panel, scan):
    state = ClinicalState(panel)
    age, place, gcs = (state.field(name) for name in ("age", "location", "gcs"))
    assert (age.value, age.source, place.value, place.source) == (71.0, "DICOM header", "deep", "from the scan")
    assert "33 of 33" in place.hint and gcs.value is None and gcs.source == ""
    assert state.field("ivh").value is True and "Needs GCS" in state.score()
    assert [item.name for item in state.others()] == ["side", "infratentorial", "midline_shift_mm"]
    state.enter(gcs=9)
    assert state.score().startswith("ICH score 3 of 6: 30-day mortality 72 %.")
    assert results.result_node(scan, "clinical scores") is not None


def test_what_is_entered_wins_and_goes_back(panel, scan):
    state = ClinicalState(panel)
    state.enter(gcs=15, location="cerebellum", ivh=False)
    place = state.field("location")
    assert (place.value, place.source, place.found) == ("cerebellum", "entered", "deep")
    assert state.field("ivh").found == "yes"
    below = next(item for item in state.others() if item.name == "infratentorial")
    assert below.value is True and below.source == "entered"
    assert state.assessment.scores[0].points == 2 and len(state.assessment.alerts) == 1
    state.enter(location=None)
    assert state.field("location").value == "deep" and state.field("ivh").value is False
    state.clear()
    assert state.entered.is_empty and state.field("ivh").value is True


def test_no_score_before_an_analysis_and_none_without_a_hemorrhage(mrmlScene, panel, scan):
    state = ClinicalState(panel)
    other = volumes.head_ct_to_node(mrmlScene, HeadCT(np.full(SHAPE, 35, np.int16), AFFINE, ScanFacts()), "Other")
    panel.choose(other)
    assert "press Analyze" in state.score() and state.others() == [] and state.field("age").value is None
    analysis = panel.logic.analysis.analysis_of(scan)
    panel.logic.analysis.show((scan, replace(analysis, hemorrhage="none", hemorrhage_reason="None.", findings=None)))
    panel.choose(scan)
    state.enter(gcs=9, age=81, location="deep", ivh=True)
    assert state.score() == "" and state.assessment.alerts == ()
    assert state.assessment.without_prognosis == "No prognosis without a hemorrhage."
    table = results.result_node(scan, "clinical scores")
    assert table.GetCellText(0, 3) == "No prognosis without a hemorrhage."


def red(mrmlScene):
    return mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


@pytest.mark.parametrize("affine", [AFFINE, AFFINE @ np.diag([1, 1, -1, 1.0])], ids=["upward", "downward"])
def test_the_views_go_to_the_bleed_and_through_its_slices(mrmlScene, panel, scan, affine):
    analysis = panel.logic.analysis.analysis_of(scan)
    if affine is not AFFINE:
        analysis = replace(analysis, head_ct=replace(analysis.head_ct, ijk_to_ras=affine))
        volumes.set_voxels(scan, analysis.head_ct.hu, affine)
        panel.logic.analysis.keep(scan, analysis)
    bleed = BleedState(panel, SimpleNamespace(ticked=lambda: []))
    heights = sorted((affine @ (0, 0, k, 1))[2] for k in range(6, 11))
    bleed.show()
    assert red(mrmlScene).GetSliceOffset() == pytest.approx(heights[2], abs=0.01)
    center = (affine @ (22.5, 14.5, 8, 1))[:3]
    for tag in ("Red", "Yellow", "Green"):
        matrix = mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{tag}").GetSliceToRAS()
        np.testing.assert_allclose([matrix.GetElement(row, 3) for row in range(3)], center, atol=0.01)
    for step, expected in ((1, 3), (1, 4), (1, 4), (-1, 3), (-1, 2), (-9, 0)):
        bleed.step(step)
        assert red(mrmlScene).GetSliceOffset() == pytest.approx(heights[expected], abs=0.01)


def test_the_next_finding_is_another_part_of_the_bleed_then_the_attention(mrmlScene, panel, scan):
    analysis = panel.logic.analysis.analysis_of(scan)
    mask = analysis.marking.mask.copy()
    mask[3:5, 30:36, 4:9] = True  # 2 × 6 × 5 voxels of 20 mm³: 1.2 mL
    mask[13, 3, 3] = True
    panel.logic.analysis.keep(scan, replace(analysis, marking=replace(analysis.marking, mask=mask)))
    bleed, found = BleedState(panel, SimpleNamespace(ticked=lambda: [])), []
    for _n in range(4):
        bleed.show_next()
        matrix = red(mrmlScene).GetSliceToRAS()
        found.append([matrix.GetElement(row, 3) for row in range(3)])
    for index, corners in ((0, BLEED), (1, (slice(3, 5), slice(30, 36), slice(4, 9)))):
        ijk = np.linalg.solve(AFFINE, [*found[index], 1])[:3]
        for value, along in zip(ijk[::-1], corners):
            assert along.start - 0.01 <= value <= along.stop - 0.99
    np.testing.assert_allclose(found[2], analysis.attention.peak_ras_mm, atol=0.01)
    assert found[3] == pytest.approx(found[0])


def test_nowhere_to_go_without_a_scan_or_a_result(mrmlScene, panel):
    bleed, before = BleedState(panel, SimpleNamespace(ticked=lambda: [])), red(mrmlScene).GetSliceOffset()
    bleed.show()
    bleed.step(1)
    bleed.show_next()
    assert red(mrmlScene).GetSliceOffset() == before


def test_the_colors_of_the_map_have_a_scale_that_goes_with_it(mrmlScene, panel, scan):
    attention = results.result_node(scan, "attention")
    scales = scene.nodes_of_class(mrmlScene, "vtkMRMLColorLegendDisplayNode")
    assert len(scales) == 1 and scales[0].GetDisplayableNode() is attention
    assert scales[0].GetColorNodeID() == attention.GetDisplayNode().GetColorNodeID()
    panel.logic.analysis.show((scan, panel.logic.analysis.analysis_of(scan)))
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 1
    results.remove_result(mrmlScene, scan, "attention")
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


@pytest.mark.parametrize(
    "text, shown",
    [
        ("23.4 mL", "23,4 mL"), ("18.0 to 30.0 mL.", "18,0 to 30,0 mL."), ("−0.5", "−0,5"), ("(4.2)", "(4,2)"),
        ("ABC/2.4", "ABC/2.4"), ("Model m 0.4.0.", "Model m 0.4.0."), ("doi 10.1002/acn3.7", "doi 10.1002/acn3.7"),
        ("12 mm.", "12 mm."), ("<b>7.8</b> mL", "<b>7,8</b> mL"),
    ],
)  # fmt: skip
def test_numbers_have_the_decimal_sign_of_the_system(text, shown):
    assert with_decimal_sign(text, ",") == shown and with_decimal_sign(text, ".") == text
