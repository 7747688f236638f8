"""The report as JSON, HTML and NRRD, read back by others' readers."""

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK

from ICHMultiTaskLib.analysis.analyzer import Analysis, Attention
from ICHMultiTaskLib.common.errors import OutputError
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.report.result import report_dict, write_report
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts

TILTED = np.array([[-0.5, 0, 0, 60], [0, -0.5, 1.6, 80], [0, 0, 4.8, -30], [0, 0, 0, 1.0]])
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def analysis():
    hu = np.zeros((4, 5, 6), np.int16)
    attention = np.zeros(hu.shape, np.float32)
    attention[3, 1, 2] = 1.0
    facts = ScanFacts(
        path="/scans/one", format="DICOM", patient_name="<script>alert(1)</script>", patient_id="7&8",
        study_date="20260131", series_uid="1.2.3", series_description="Head \"5\" mm", gantry_tilt_deg=18.5,
        slice_steps_mm=(4.22, 7.38),
    )  # fmt: skip
    return Analysis(
        head_ct=HeadCT(hu, TILTED, facts),
        volume_ml=np.float64(23.44),
        volume_interval_ml=(np.float32(17.5), np.float32(30.5)),
        interval_coverage=0.9,
        mortality_probability=0.31,
        prognosis="survival",
        attention=Attention(attention, "volume", "stage4", "gradcam", (1.0, -2.0, 3.0)),
        model={"name": "m", "version": "1.0.0", "sha256": "ab" * 32, "training_data": "2 <simulated> scans."},
        warnings=("The slices vary <a lot>.",),
        timing_s={"read": 1.25, "network": 0.5},
        prediction=None,
    )


class Page(HTMLParser):
    """Collects tags, the addresses in them and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.images, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        self.images += [attributes] if tag == "img" else []

    def handle_data(self, data):
        self.text += data


def test_json_has_exactly_the_agreed_keys(analysis, tmp_path):
    write_report(analysis, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report) == [
        "volume_ml", "volume_interval_ml", "interval_coverage", "mortality_probability", "prognosis", "scan", "model",
        "attention", "timing_s",
    ]  # fmt: skip
    assert list(report["scan"]) == ["path", "series_uid", "shape_kji", "spacing_mm", "gantry_tilt_deg", "warnings"]
    assert list(report["model"]) == ["name", "version", "sha256", "training_data"]
    assert list(report["attention"]) == ["file", "head", "stage", "method", "peak_ras_mm"]
    assert report["volume_ml"] == 23.44 and report["volume_interval_ml"] == [17.5, 30.5]
    assert report["scan"]["shape_kji"] == [4, 5, 6]
    assert report["scan"]["spacing_mm"] == pytest.approx([math.hypot(1.6, 4.8), 0.5, 0.5])
    assert report["scan"]["warnings"] == ["The slices vary <a lot>."]


def test_json_never_holds_nan(analysis, tmp_path):
    broken = replace(
        analysis, volume_ml=float("nan"), volume_interval_ml=(0.0, np.float32("inf")),
        mortality_probability=float("nan"),
    )  # fmt: skip
    write_report(broken, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in report.json"))
    assert report["volume_ml"] is None and report["mortality_probability"] is None
    assert report["volume_interval_ml"] == [0.0, None]
    assert "volume_ml is not a finite number and was left out." in report["scan"]["warnings"]
    assert "not available" in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_json_without_interval_or_attention(analysis):
    report = report_dict(replace(analysis, volume_interval_ml=None, interval_coverage=None, attention=None))
    assert report["volume_interval_ml"] is None and report["attention"] is None


def test_page_is_whole_in_itself_and_escapes_what_the_scan_says(analysis, tmp_path):
    (tmp_path / "axial_1.png").write_bytes(PIXEL)
    write_report(analysis, tmp_path, [tmp_path / "axial_1.png"], tmp_path / "scene.mrb")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert base64.b64decode(page.images[0]["src"].partition(",")[2]) == PIXEL
    assert page.images[0]["alt"] == "Axial 1, CT with attention overlay"
    assert not re.search(r"https?:|url\(|@import", text)
    for words in ("<script>alert(1)</script>", "7&8", "2026-01-31", 'Head "5" mm', "The slices vary <a lot>.",
                  "2 <simulated> scans.", "Research use only", "23.4", "90 % interval 17.5 to 30.5 mL", "31 %",
                  "Prognosis: survival", "18.5°", "4.22, 7.38 mm", "R 1, P 2, S 3 mm", "scene.mrb"):  # fmt: skip
        assert words in page.text, words


@pytest.mark.parametrize("probability, words", [(0.004, "below 1 %"), (0.9999, "above 99 %"), (0.5, "50 %")])
def test_page_never_calls_an_outcome_certain(analysis, tmp_path, probability, words):
    write_report(replace(analysis, mortality_probability=probability), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert re.search(rf"30-day mortality\s*{words}", page.text)


@pytest.mark.parametrize("high", [0.0, 0.3, 9.99, 100.0, 1072.2])
def test_page_draws_every_interval_inside_its_scale(analysis, tmp_path, high):
    write_report(replace(analysis, volume_ml=high / 2, volume_interval_ml=(0.0, high)), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    positions = [float(x) for x in re.findall(r' x[12]="([\d.]+)"', text)]
    assert positions and 5 <= min(positions) and max(positions) <= 295


def test_attention_file_lies_where_the_scan_does(analysis, tmp_path):
    write_report(analysis, tmp_path)
    image = SimpleITK.ReadImage(str(tmp_path / "attention.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), analysis.attention.array)
    found = np.array(image.TransformIndexToPhysicalPoint((2, 1, 3))) * (-1, -1, 1)  # LPS to RAS
    np.testing.assert_allclose(found, apply_affine(TILTED, (2, 1, 3)), atol=1e-6)


def test_attention_file_that_cannot_be_written_is_an_error(analysis, tmp_path):
    (tmp_path / "attention.nrrd").mkdir()
    with pytest.raises(OutputError, match="attention.nrrd could not be written"):
        write_report(analysis, tmp_path)


def test_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "result"
    with new_folder(target) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert [p.name for p in target.parent.iterdir()] == ["result"] and (target / "a").read_text() == "a"

    for error in (KeyboardInterrupt, ValueError, SystemExit):
        with pytest.raises(error), new_folder(tmp_path / "other" / "deep") as folder:
            (folder / "a").write_text("a")
            raise error
        assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_folder_in_use_is_never_overwritten_silently(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="is not empty; expected a new or an empty folder"), new_folder(tmp_path):
        pytest.fail("the work was started")
    with pytest.raises(OutputError, match="only a folder that holds report.json is replaced"):
        with new_folder(tmp_path, replaces="report.json"):
            pytest.fail("the work was started")
    with pytest.raises(OutputError, match="mine is a file"), new_folder(tmp_path / "mine"):
        pytest.fail("the work was started")
    with pytest.raises(OutputError, match="could not be written"), new_folder(tmp_path / "mine" / "below"):
        pytest.fail("the work was started")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_earlier_result_is_replaced_when_asked_and_kept_when_the_work_fails(tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "report.json").write_text("1")
    with pytest.raises(ValueError), new_folder(target, replaces="report.json") as folder:
        raise ValueError
    assert (target / "report.json").read_text() == "1"
    with new_folder(target, replaces="report.json") as folder:
        (folder / "report.json").write_text("2")
    assert (target / "report.json").read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_full_disk_is_said_in_one_sentence_about_the_folder_the_user_named(tmp_path):
    with pytest.raises(OutputError, match=r"^The disk is full: .+result could not be written; free ") as error:
        with new_folder(tmp_path / "result") as folder:
            raise OSError(28, "No space left on device", str(folder / "a"))
    assert ".partial" not in str(error.value)
    with pytest.raises(OutputError, match="result.a could not be"), new_folder(tmp_path / "result") as folder:
        raise OutputError(f"{folder / 'a'} could not be written.")
    with pytest.raises(PermissionError), new_folder(tmp_path / "result"):
        raise PermissionError(13, "Permission denied", "/scans/unreadable")  # not about the output
    assert list(tmp_path.iterdir()) == []
