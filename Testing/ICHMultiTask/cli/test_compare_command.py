"""Segmentations, clinical fields and an earlier scan beside an analysis: files, report and shell."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.analysis.alignment import Alignment
from ICHMultiTaskLib.analysis.attention import Attention
from ICHMultiTaskLib.analysis.findings.finding import Finding, Findings
from ICHMultiTaskLib.analysis.growth import growth
from ICHMultiTaskLib.analysis.repeat import RepeatScan, compare_with_previous
from ICHMultiTaskLib.analysis.result import Analysis
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.cli.analyze import summary
from ICHMultiTaskLib.cli.analyze_options import ComparisonRequest
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.comparison.side_by_side import compare
from ICHMultiTaskLib.measures.clinical_scores import ClinicalContext
from ICHMultiTaskLib.measures.formulas import DEFINITIONS_VERSION
from ICHMultiTaskLib.measures.segment import Segment
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskLib.report.comparison import comparison_dict, comparison_lines, comparison_view
from ICHMultiTaskLib.report.result import write_nrrd, write_report
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts

TILTED = np.array([[-1.0, 0, 0, 20], [0, -1.0, 1.2, 20], [0, 0, 4.0, -20], [0, 0, 0, 1.0]])
SHAPE = (10, 40, 40)


def ball(radius_mm=12.0, affine=TILTED, shape=SHAPE):
    k, j, i = np.indices(shape)
    points = apply_affine(affine, np.stack([i, j, k], -1))
    return np.linalg.norm(points - apply_affine(affine, (np.array(shape[::-1]) - 1) / 2), axis=-1) < radius_mm


def write_seg_nrrd(path, layers, header, affine=TILTED):
    """A segmentation as 3D Slicer writes it: one layer, or a list of layers where segments overlap."""
    image = SimpleITK.GetImageFromArray(np.stack(layers, -1) if len(layers) > 1 else layers[0], len(layers) > 1)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    for key, value in header.items():
        image.SetMetaData(key, value)
    SimpleITK.WriteImage(image, str(path))


def test_labelmap_as_nifti(tmp_path):
    mask, upright = ball(), np.diag([-1.0, -1.0, 4.0, 1.0])
    write_nrrd(mask.astype(np.uint8), upright, tmp_path / "reader_a.nii.gz")  # SimpleITK goes by the suffix
    (segment,) = read_segments(tmp_path / "reader_a.nii.gz")
    assert segment.label == "reader_a"
    np.testing.assert_array_equal(segment.mask, mask)
    np.testing.assert_allclose(segment.ijk_to_ras, upright, atol=1e-5)
    write_nrrd((mask + 2 * ball(5)).astype(np.int16), upright, tmp_path / "two.nii")
    assert [s.label for s in read_segments(tmp_path / "two.nii")] == ["Label 1 (two)", "Label 3 (two)"]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_labelmap_as_nrrd_or_metaimage(tmp_path, suffix):
    mask = ball()
    write_nrrd(mask.astype(np.uint8), TILTED, tmp_path / f"mask{suffix}")
    (segment,) = read_segments(tmp_path / f"mask{suffix}")
    assert segment.label == "mask"
    np.testing.assert_array_equal(segment.mask, mask)
    np.testing.assert_allclose(segment.ijk_to_ras, TILTED, atol=1e-6)


def test_segmentation_with_names_and_overlap(tmp_path):
    first, second = ball().astype(np.uint8), ball(6).astype(np.uint8)
    second[0, 0, 0] = 2
    write_seg_nrrd(tmp_path / "Reader B.seg.nrrd", [first, second], {
        "Segment0_Name": "Blood", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
        "Segment1_Name": "Core", "Segment1_LabelValue": "1", "Segment1_Layer": "1",
        "Segment2_Name": "Dot", "Segment2_LabelValue": "2", "Segment2_Layer": "1",
        "Segment3_Name": "Nothing", "Segment3_LabelValue": "7", "Segment3_Layer": "0",
    })  # fmt: skip
    found = read_segments(tmp_path / "Reader B.seg.nrrd")
    assert [s.label for s in found] == [f"{n} (Reader B)" for n in ("Blood", "Core", "Dot", "Nothing")]
    assert [int(s.mask.sum()) for s in found] == [first.sum(), ball(6).sum() - ball(6)[0, 0, 0], 1, 0]
    np.testing.assert_allclose(found[1].ijk_to_ras, TILTED, atol=1e-6)


def test_labels_that_the_header_does_not_name_are_not_lost(tmp_path):
    mask = ball()
    header = {"Segment0_Name": "Blood", "Segment0_LabelValue": "3", "Segment0_Layer": "0"}
    write_seg_nrrd(tmp_path / "s.seg.nrrd", [mask.astype(np.uint8)], header)
    found = read_segments(tmp_path / "s.seg.nrrd")
    assert [(s.label, int(s.mask.sum())) for s in found] == [("Blood (s)", 0), ("Label 1 (s)", mask.sum())]


def test_labels_that_are_nearly_whole_are_whole(tmp_path):
    """As scaled 16-bit numbers give them back."""
    mask = ball()
    write_nrrd((mask * 0.99997).astype(np.float32), TILTED, tmp_path / "mask.nrrd")
    (segment,) = read_segments(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(segment.mask, mask)


def test_segmentation_that_slicer_wrote(tmp_path):
    slicer = pytest.importorskip("slicer")
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    from ICHMultiTaskLib.mrml.scene import create_scene

    scene = create_scene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Reader C")
    masks = {"Blood": ball(), "Core": ball(6)}
    for name, mask in masks.items():
        labelmap, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
        labelmap.SetDimensions(*mask.shape[::-1])
        labelmap.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
        matrix.DeepCopy(TILTED.ravel())
        labelmap.SetGeometryFromImageToWorldMatrix(matrix)
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", labelmap)
        node.GetSegmentation().AddSegment(segment, name)
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "Reader C.seg.nrrd"))
    assert storage.WriteData(node)
    found = read_segments(tmp_path / "Reader C.seg.nrrd")
    assert [s.label for s in found] == ["Blood (Reader C)", "Core (Reader C)"]
    for segment, mask in zip(found, masks.values()):
        inside = apply_affine(segment.ijk_to_ras, np.argwhere(segment.mask)[:, ::-1])
        np.testing.assert_allclose(inside, apply_affine(TILTED, np.argwhere(mask)[:, ::-1]), atol=1e-4)


def test_file_without_a_label_is_an_empty_segment(tmp_path):
    write_nrrd(np.zeros(SHAPE, np.uint8), TILTED, tmp_path / "empty.nrrd")
    (segment,) = read_segments(tmp_path / "empty.nrrd")
    assert segment.label == "empty" and not segment.mask.any()


def test_unusable_segmentations_are_refused(tmp_path):
    def refused(name, words):
        with pytest.raises(InputError, match=words):
            read_segments(tmp_path / name)

    refused("missing.nrrd", "missing.nrrd does not exist; expected a segmentation")
    refused(".", "is a folder; expected a segmentation")
    (tmp_path / "report.pdf").write_bytes(b"x")
    refused("report.pdf", "report.pdf is not a segmentation")
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\ntype: uchar\n")
    refused("broken.nrrd", "expected a complete NRRD file")
    write_nrrd(np.arange(16000).reshape(SHAPE).astype(np.int16), TILTED, tmp_path / "scan.nrrd")
    refused("scan.nrrd", "contains 16000 different values, like a scan")
    write_nrrd(np.full(SHAPE, 0.5, np.float32), TILTED, tmp_path / "soft.nrrd")
    refused("soft.nrrd", "contains fractions")
    write_nrrd(np.where(ball(), -1, 0).astype(np.int8), TILTED, tmp_path / "negative.nrrd")
    refused("negative.nrrd", "contains the label -1; expected 0 outside")
    header = {"Segment0_Name": "A", "Segment0_Layer": "0", "Segment0_LabelValue": "one"}
    write_seg_nrrd(tmp_path / "words.seg.nrrd", [ball().astype(np.uint8)], header)
    refused("words.seg.nrrd", "is damaged: expected whole numbers .* found 0 and one")
    write_seg_nrrd(tmp_path / "cut.seg.nrrd", [ball().astype(np.uint8)], {"Segment0_Name": "A", "Segment0_Layer": "2"})
    refused("cut.seg.nrrd", "refers to layer 2, but it has 1")
    fields = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "bare.mha").write_bytes(fields.encode() + bytes(8))
    refused("bare.mha", "bare.mha states no usable spacing; expected ElementSpacing")
    (tmp_path / "bare.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes(8)
    )
    refused("bare.nrrd", "bare.nrrd states no spacing and orientation")
    write_nrrd(ball(affine=np.eye(4)).astype(np.uint8), np.eye(4), tmp_path / "default.nii.gz")
    refused("default.nii.gz", "default.nii.gz states no spacing; expected .* found only the default of 1 × 1 × 1 mm")
    flat = SimpleITK.GetImageFromArray(np.ones((4, 4), np.uint8))
    SimpleITK.WriteImage(flat, str(tmp_path / "flat.mha"))
    refused("flat.mha", "has 2 dimensions")


def made_analysis(volume_ml=8.0, interval=(6.0, 11.0)):
    hu = np.where(ball(), 65, 32).astype(np.int16)
    attention = ball(8).astype(np.float32)
    return Analysis(
        head_ct=HeadCT(hu, TILTED, ScanFacts(path="/scans/later", patient_id="7", study_date="20260201")),
        volume_ml=volume_ml,
        volume_interval_ml=interval,
        interval_coverage=0.9,
        mortality_probability=0.31,
        prognosis="survival",
        attention=Attention(attention, "volume", "stage3", "hirescam", (0.0, 0.0, 0.0)),
        model={"name": "m", "version": "1.0.0", "sha256": "ab" * 32, "training_data": "Simulated."},
        warnings=(),
        timing_s={},
        prediction=None,
    )


@pytest.fixture
def everything():
    """Two readers, one empty segment, clinical fields and an earlier scan."""
    analysis = made_analysis()
    segments = [
        Segment("Blood", ball(), TILTED, "<A>"), Segment("Blood", ball(11), TILTED, "B"),
        Segment("Empty", np.zeros(SHAPE), TILTED),
    ]  # fmt: skip
    earlier = made_analysis(5.0, (3.5, 7.5))
    earlier = replace(earlier, head_ct=replace(earlier.head_ct, facts=ScanFacts(path="/scans/earlier")))
    alignment = Alignment(np.eye(4), 0.95, 4.2, 7.7, True)
    change = growth(5.0, (3.5, 7.5), 8.0, (6.0, 11.0), 0.9)
    repeat = RepeatScan(earlier, change, alignment, change.notes)
    context = ClinicalContext(age=81, gcs=11, location="putamen", ivh=True)
    return analysis, comparison_dict(analysis, compare(analysis, segments, shown_threshold=0.5), context, repeat)


PLACE = Findings(
    "left", "lobar", False,
    (
        Finding("location", "Location", "lobar", correctable=True), Finding("side", "Side", "left"),
        Finding("infratentorial", "Infratentorial", False),
    ),
)  # fmt: skip


def test_a_location_that_is_not_given_is_that_of_the_marked_bleed():
    analysis = replace(made_analysis(), findings=PLACE)
    found = comparison_dict(analysis, context=ClinicalContext(age=60, gcs=14, ivh=False))["clinical"]
    assert found["context"]["location"] == "lobar" and found["proposed"] == ["location"]
    assert found["scores"][0]["points"] == 0
    view = comparison_view({"segments": [], "readers": [], "clinical": found, "repeat_scan": None})
    assert "location lobar (measured on the marked bleed)" in view["clinical"]["given"]
    kept = comparison_dict(analysis, context=ClinicalContext(age=60, location="cerebellum"))["clinical"]
    assert kept["context"]["location"] == "cerebellum" and kept["proposed"] == []
    assert kept["sources"] == {"age": "entered", "location": "entered"}


def test_fields_of_scores_are_filled_in_except_the_gcs():
    analysis = replace(made_analysis(), findings=PLACE)
    aged = replace(analysis, head_ct=replace(analysis.head_ct, facts=ScanFacts(patient_age=84.0)))
    found = comparison_dict(aged, context=ClinicalContext(ivh=True))["clinical"]
    assert found["sources"] == {
        "ivh": "entered", "location": "measured on the marked bleed", "age": "DICOM header",
    }  # fmt: skip
    score = found["scores"][0]
    assert score["points"] is None and score["missing"] == ("GCS",)
    assert score["notes"] == ("It is 2 with a GCS of 13 to 15, 3 with 5 to 12, 4 with 3 or 4.",)
    corrected = comparison_dict(aged, context=ClinicalContext(age=60, ivh=True, gcs=5))["clinical"]
    assert corrected["scores"][0]["points"] == 2 and corrected["sources"]["age"] == "entered"


def test_nothing_is_filled_in_without_a_hemorrhage():
    for answer in ("none", "uncertain"):
        aged = replace(made_analysis(), hemorrhage=answer)
        aged = replace(aged, head_ct=replace(aged.head_ct, facts=ScanFacts(patient_age=84.0)))
        assert comparison_dict(aged)["clinical"] is None
    none = replace(made_analysis(), hemorrhage="none")
    assert comparison_dict(none, context=ClinicalContext(80, 3, location="lobar", ivh=True))["clinical"]["scores"] == []


def test_doubts_about_a_repeat_scan_are_said():
    head = phantom((24, 96, 96), (6.5, 2.4, 2.4))

    def analyzed(hu, sha256="ab", **facts):
        analysis = made_analysis()
        return replace(analysis, head_ct=replace(head, hu=hu, facts=ScanFacts(**facts)), model={"sha256": sha256})

    later = analyzed(head.hu, patient_id="7", study_date="20260201")
    earlier = analyzed(head.hu, "cd", patient_id="8", study_date="20260302")
    assert compare_with_previous(later, earlier).notes == (
        "The two scans are filed under different patients.",
        "The two scans hold the same images.",
        "The earlier scan is dated after the later one.",
        "The two scans were analyzed by different models.",
    )
    alike = analyzed(head.hu + 1, patient_id="7", study_date="20260201")
    found = compare_with_previous(later, alike)
    assert found.notes == () and found.growth.coverage == later.interval_coverage
    # Intervals of two coverages have none in common.
    assert compare_with_previous(later, replace(alike, interval_coverage=0.5)).growth.coverage is None


SWAPPED, DIFFERENT = (
    "The earlier scan is dated after the later one.",
    "The two scans are filed under different patients.",
)


@pytest.mark.parametrize(
    "later, earlier, note",
    [
        # Most repeat scans follow within hours, on the same day.
        ({"study_date": "20260201", "study_time": "0915"}, {"study_date": "20260201", "study_time": "1715.5"}, SWAPPED),
        ({"study_date": "20260201", "study_time": "1715"}, {"study_date": "20260201", "study_time": "091500"}, None),
        ({"study_date": "20260201", "study_time": "091500.7"}, {"study_date": "20260201", "study_time": "0915"}, None),
        ({"study_date": "20260202", "study_time": "0915"}, {"study_date": "2026.02.01", "study_time": "1715"}, None),
        ({"study_date": "20260201"}, {"study_date": "20260201", "study_time": "1715"}, None),
        ({"study_time": "0915"}, {"study_time": "1715"}, None),
        ({"patient_id": "7", "patient_name": "Doe^Jane"}, {"patient_name": "Roe^Ann"}, DIFFERENT),
        ({"patient_id": "7", "patient_name": "Doe^Jane"}, {"patient_name": "JANE DOE"}, None),
        ({"patient_id": "7", "patient_name": "Doe^Jane"}, {"patient_id": "7", "patient_name": "Roe^Ann"}, None),
        ({"patient_name": "山田^太郎"}, {"patient_name": "鈴木^一"}, DIFFERENT),
        ({"patient_name": "Doe^Jane"}, {}, None),
    ],
)  # fmt: skip
def test_time_of_day_and_names_raise_the_same_doubts(later, earlier, note):
    head = phantom((24, 96, 96), (6.5, 2.4, 2.4))
    second, first = (
        replace(made_analysis(), head_ct=replace(head, hu=head.hu + n, facts=ScanFacts(**facts)))
        for n, facts in enumerate((later, earlier))
    )
    assert compare_with_previous(second, first).notes == ((note,) if note else ())


@pytest.mark.parametrize(
    "earlier, later, notes",
    [
        ("found", "found", ()),
        ("uncertain", "found", ("It is uncertain whether the earlier scan shows a hemorrhage.",)),
        ("none", "found", ("No hemorrhage was found on the earlier scan.",)),
        ("found", "none", ("No hemorrhage was found on the later scan.",)),
        (
            "uncertain", "uncertain",
            (
                "It is uncertain whether the earlier scan shows a hemorrhage.",
                "It is uncertain whether the later scan shows a hemorrhage.",
            ),
        ),
    ],
)  # fmt: skip
def test_growth_says_where_no_hemorrhage_was_found_for_sure(earlier, later, notes):
    head = phantom((24, 96, 96), (6.5, 2.4, 2.4))
    first, second = (
        replace(made_analysis(), hemorrhage=Hemorrhage(answer), head_ct=replace(head, hu=head.hu + n))
        for n, answer in enumerate((earlier, later))
    )
    repeat = compare_with_previous(second, first)
    assert repeat.notes[: len(notes)] == notes and len(repeat.notes) == len(notes)
    assert comparison_dict(second, repeat=repeat)["repeat_scan"]["previous"]["hemorrhage"] == earlier


def page_text(folder):
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<A>" not in html
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", html.partition("</style>")[2]))


def test_report_holds_the_comparison(everything, tmp_path):
    analysis, comparison = everything
    write_report(analysis, tmp_path, comparison=comparison)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["comparison"]
    assert list(found) == ["segments", "readers", "clinical", "repeat_scan"]
    assert found["segments"][0]["formula_definitions"] == DEFINITIONS_VERSION
    first, second, empty = found["segments"]
    voxel_ml = 4.0 / 1000
    assert first["volume_ml"] == pytest.approx(ball().sum() * voxel_ml)
    assert first["label"] == "Blood (<A>)" and first["hu_mean"] == pytest.approx(65)
    methods = ["Planimetry", "ABC/2", "ABC/2 (Kothari)", "ABC/2.4", "ABC/3", "1/2 Sh", "2/3 Sh"]
    assert [row["method"] for row in first["volumes"]] == methods
    assert first["volumes"][0]["difference_ml"] == pytest.approx(first["volume_ml"] - 8.0)
    assert np.shape(first["a_line_ras_mm"]) == (2, 3)
    assert first["attention"]["peak_inside"] is True and first["attention"]["shown_threshold"] == 0.5
    assert empty["volume_ml"] == 0 and empty["a_mm"] is None and empty["attention"]["best_dice"] is None
    assert [pair["dice"] for pair in found["readers"]][1:] == [0, 0] and found["readers"][0]["dice"] > 0.8
    ich, max_ich, func = found["clinical"]["scores"]
    assert (ich["points"], ich["outcome_percent"]) == (3, 72.0)
    assert max_ich["points"] is None and max_ich["missing"] == ["NIHSS", "oral anticoagulation"]
    assert found["clinical"]["context"]["nihss"] is None
    assert found["repeat_scan"]["growth"]["absolute_ml"] == pytest.approx(3.0)
    assert found["repeat_scan"]["previous"]["path"] == "/scans/earlier"
    assert found["repeat_scan"]["alignment"]["previous_to_scan_ras"] == np.eye(4).tolist()


def test_page_shows_the_comparison(everything, tmp_path):
    analysis, comparison = everything
    write_report(analysis, tmp_path, comparison=comparison)
    text = page_text(tmp_path)
    volume = comparison["segments"][0]["volume_ml"]
    verdict = "Expansion is neither shown nor excluded: the change is within measurement error."
    assert text.count("measurement error") == 1, "one verdict"
    for words in (
        "Compare", f"Blood (&lt;A&gt;) Planimetry {volume:.1f} {f'{volume - 8:+.1f}'.replace('-', '−')}", "ABC/2",
        "Empty Planimetry 0.0 −8.0 −100 no no no", "Empty: The segment is empty; nothing to measure.", "Mean HU 65.0",
        "Hottest point inside yes yes –", "Blood (&lt;A&gt;) Blood (B)", "ICH score 3 of 6 30-day mortality 72 %",
        "max-ICH – needs NIHSS, oral anticoagulation", "Hemphill et al. 2001", "must not be the sole basis",
        "model&#x27;s 30-day mortality of 31 %" if "&#x27;" in text else "model's 30-day mortality of 31 %",
        "Growth (mL) +3.0", "Growth (%) +60",
        "Known: 81 years (entered), GCS 11 (entered), location putamen (entered), blood in the ventricles (entered).",
        verdict, "/scans/earlier", "rotated by 4° and shifted by 8 mm",
    ):  # fmt: skip
        assert words in text, words


def test_columns_of_many_readers_stay_within_a_page(everything):
    """A wider table would be cut off on paper, without a word."""
    _, comparison = everything
    many = [
        segment | {"label": f"Reader {n}", "a_mm": float(n)} for n, segment in enumerate(5 * comparison["segments"][:2])
    ]
    shown = comparison_view(comparison | {"segments": many})["compared"]
    for tables in (shown["measures"], shown["attention"]):
        assert [len(labels) for labels, _ in tables] == [5, 5, 3]
        assert [label for labels, _ in tables for label in labels[1:]] == [f"Reader {n}" for n in range(10)]
        assert all(len(row) == len(labels) for labels, rows in tables for row in rows)
    lengths = [row[1:] for _, rows in shown["measures"] for row in rows if row[0] == "A (mm)"]
    assert sum(lengths, ()) == tuple(f"{n}.0" for n in range(10))


def test_no_cell_shows_a_number_that_was_not_computed(everything, tmp_path):
    analysis, comparison = everything
    write_report(analysis, tmp_path, comparison=comparison)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<td[^>]*>\s*(None|nan|inf|)\s*</td>", html, re.IGNORECASE)
    assert not re.search(r"\b(None|nan)\b", page_text(tmp_path))


def test_report_without_a_comparison_says_nothing_of_it(tmp_path):
    analysis = made_analysis()
    write_report(analysis, tmp_path)
    assert "comparison" not in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "Compare" not in page_text(tmp_path)


def test_shell_summary_holds_the_comparison(everything):
    analysis, comparison = everything
    text = summary(analysis, comparison=comparison)
    volume = comparison["segments"][0]["volume_ml"]
    assert f"Blood (<A>): {volume:.1f} mL" in text and "Empty: 0.0 mL" in text
    assert "+3.0 mL (+60.0 %) since the earlier scan of 5.0 mL" in text
    assert "ICH score   3 of 6: 30-day mortality 72 %" in text
    assert "needs NIHSS, oral anticoagulation" in text
    assert "peak at R 0, A 0, S 0 mm  (for the volume: HiResCAM of stage 3)" in text
    assert comparison_lines(comparison_dict(analysis)) == []


def options(**changes):
    names = ("age", "sex", "onset_hours", "gcs", "nihss", "location", "ivh", "anticoagulation")
    names += ("cognitive_impairment", "previous")
    return SimpleNamespace(**({name: None for name in names} | {"segmentation": []} | changes))


def test_options_are_read_and_checked_before_the_work(tmp_path):
    assert ComparisonRequest.from_options(options()).is_empty
    request = ComparisonRequest.from_options(options(age=70.0, ivh="no", anticoagulation="yes"))
    assert request.context == ClinicalContext(age=70.0, ivh=False, anticoagulation=True)
    assert ComparisonRequest.from_options(options(location="Thalamus ")).context.location == "thalamus"
    with pytest.raises(InputError, match="The GCS is impossible"):
        ComparisonRequest.from_options(options(gcs=16))
    with pytest.raises(InputError, match="does not exist"):
        ComparisonRequest.from_options(options(segmentation=[tmp_path / "none.nrrd"]))
    with pytest.raises(InputError, match="^Earlier scan: .* does not exist"):
        ComparisonRequest.from_options(options(previous=str(tmp_path / "none")))


def test_command_compares(tmp_path, capsys):
    pytest.importorskip("slicer", reason="needs slicer-core")
    scan = phantom((24, 96, 96), (6.5, 2.4, 2.4))
    write_nrrd(scan.hu, scan.ijk_to_ras, tmp_path / "scan.nrrd")
    mask = (scan.hu > 50) & (scan.hu < 100)
    write_nrrd(mask.astype(np.uint8), scan.ijk_to_ras, tmp_path / "mine.nrrd")
    moved = scan.ijk_to_ras.copy()
    moved[:3, 3] += (9, -6, 4)
    write_nrrd(scan.hu, moved, tmp_path / "before.nrrd")
    bundle = tiny_bundle(tmp_path / "bundle")
    status = cli.main([
        "analyze", str(tmp_path / "scan.nrrd"), "--model", str(bundle), "--device", "cpu",
        "--output", str(tmp_path / "out"), "--segmentation", str(tmp_path / "mine.nrrd"),
        "--previous", str(tmp_path / "before.nrrd"), "--age", "70", "--gcs", "9", "--location", "lobar", "--ivh", "no",
    ])  # fmt: skip
    shown = capsys.readouterr()
    assert status == 0, shown.err
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["comparison"]
    (segment,) = found["segments"]
    assert segment["label"] == "mine" and segment["volume_ml"] == pytest.approx(mask.sum() * 6.5 * 2.4**2 / 1000)
    assert segment["hu_mean"] == pytest.approx(68, abs=2)
    alignment = found["repeat_scan"]["alignment"]
    assert alignment["succeeded"] and alignment["translation_mm"] == pytest.approx(np.hypot(9, np.hypot(6, 4)), abs=1)
    assert np.array(alignment["previous_to_scan_ras"])[:3, 3] == pytest.approx((-9, 6, -4), abs=1)
    assert found["repeat_scan"]["growth"]["absolute_ml"] == pytest.approx(0, abs=0.01)
    assert found["clinical"]["scores"][0]["points"] is not None
    assert "mine: " in shown.out and "ICH score" in shown.out
    assert "Repeat scan" in page_text(tmp_path / "out")
