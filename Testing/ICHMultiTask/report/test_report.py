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

from ICHMultiTaskLib.analysis.attention import Attention
from ICHMultiTaskLib.analysis.result import Analysis
from ICHMultiTaskLib.common.errors import OutputError
from ICHMultiTaskLib.common.provenance import provenance
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
        attention=Attention(attention, "volume", "stage3", "hirescam", (1.0, -2.0, 3.0)),
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
        "hemorrhage", "hemorrhage_reason", "volume_ml", "volume_interval_ml", "interval_coverage",
        "network_volume_ml", "outlined_volume_ml", "mortality_probability", "mortality_range",
        "mortality_range_meaning", "prognosis", "clinical_inputs", "findings", "scan", "model", "attention", "timing_s",
        "provenance",
    ]  # fmt: skip
    assert list(report["scan"]) == [
        "path", "series_uid", "series_choice", "shape_kji", "spacing_mm", "gantry_tilt_deg", "warnings",
    ]  # fmt: skip
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
                  "Prognosis: survival", "18.5°", "4.22, 7.38 mm", "R 1, P 2, S 3 mm", "scene.mrb",
                  "for the volume\n(HiResCAM of stage 3)"):  # fmt: skip
        assert words in page.text, words
    assert page.text.index("The slices vary <a lot>.") < page.text.index("23.4"), "a warning precedes its numbers"


def test_page_says_what_the_result_was_made_with(analysis, tmp_path):
    made = provenance("cpu", "float32")
    write_report(replace(analysis, provenance=made), tmp_path)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for words in (made["version"], made["code_sha256"], made["date"], "in float32", f"numpy {np.__version__}"):
        assert words in text, words


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
