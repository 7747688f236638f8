"""Is there a hemorrhage at all? The decision, its words, and what the shipped model makes of heads with and without."""

from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.second_look import Evidence, Hemorrhage, decide
from ICHMultiTaskLib.cli.analyze import summary
from ICHMultiTaskLib.measures.clinical_scores import ClinicalContext
from ICHMultiTaskLib.report.comparison import comparison_dict
from ICHMultiTaskLib.report.result import report_dict, write_report
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

BLOOD = Evidence(contrast_hu=30.0, near_bone=0.05, dense=0.02)


def test_blood_is_found_whatever_its_volume():
    for volume in (0.5, 3.0, 80.0):
        assert decide(volume, BLOOD, volume) == (Hemorrhage.FOUND, "")


@pytest.mark.parametrize(
    "evidence, words",
    [
        (None, "as dense as blood"),
        (replace(BLOOD, dense=0.6), "bone, calcium or metal"),
        (replace(BLOOD, near_bone=0.9), "along bone"),
        (replace(BLOOD, contrast_hu=3.0), "3 HU denser than"),
        (replace(BLOOD, contrast_hu=-9.0), "not denser than"),
    ],
)
def test_reasons_against_blood_are_stated(evidence, words):
    small, reason = decide(0.4, evidence, 0.2)
    assert small == Hemorrhage.NONE
    assert reason.startswith("No hemorrhage found: the model measured 0.4 mL") and words in reason
    # The marking may have failed: a large reading is never called none.
    for volume in (2.0, 12.0, 60.0):
        large, reason = decide(volume, evidence, 0.2)
        assert large == Hemorrhage.UNCERTAIN
        assert reason.startswith(f"Hemorrhage uncertain: the model measured {volume:.1f}") and words in reason


def test_dense_as_blood_where_nothing_was_read_is_uncertain():
    verdict, reason = decide(0.0, BLOOD, 2.5)
    assert verdict == Hemorrhage.UNCERTAIN and "2.5 mL at its attention are as dense as blood" in reason


def test_what_noise_hides_counts_for_a_volume_that_matters():
    hidden = Evidence(contrast_hu=5.0, near_bone=0.0, dense=0.0, hidden_hu=9.0)
    assert decide(6.0, hidden, 6.0)[0] == Hemorrhage.FOUND
    assert decide(0.6, hidden, 6.0)[0] == Hemorrhage.NONE
    assert decide(6.0, replace(hidden, hidden_hu=0.0), 6.0)[0] == Hemorrhage.UNCERTAIN


@pytest.fixture(scope="module")
def analyzer():
    return Analyzer(device="cpu")


@pytest.fixture(scope="module")
def with_bleed(analyzer):
    """A putaminal bleed without blood in the ventricles, in a small scan."""
    settings = SimulationSettings(bleed=True, location="putamen", volume_ml=15.0, matrix=128, slices=28)
    return analyzer.analyze(simulate_patient(4, settings).head_ct, prognosis_range=True)


@pytest.fixture(scope="module")
def without_bleed(analyzer):
    return analyzer.analyze(simulate_patient(5, SimulationSettings(bleed=False, matrix=128, slices=28)).head_ct)


def test_a_bleed_is_found(with_bleed):
    assert with_bleed.hemorrhage == "found" and with_bleed.hemorrhage_reason == ""
    assert with_bleed.volume_ml == pytest.approx(15.0, rel=0.2)
    assert with_bleed.marking.volume_ml == pytest.approx(15.0, rel=0.2)
    assert 0 < with_bleed.mortality_probability < 1


@pytest.mark.parametrize("offset", [-6, 6])
def test_an_offset_of_the_scanner_changes_nothing(analyzer, with_bleed, offset):
    scan = with_bleed.head_ct
    shifted = analyzer.analyze(replace(scan, hu=np.where(scan.hu > -300, scan.hu + np.int16(offset), scan.hu)))
    assert shifted.hemorrhage == "found"
    before, after = with_bleed.marking.evidence, shifted.marking.evidence
    assert after.contrast_hu == pytest.approx(before.contrast_hu, abs=3)


def test_no_bleed_gives_no_prognosis_and_leads_the_result(without_bleed, tmp_path):
    assert without_bleed.hemorrhage == "none" and without_bleed.prognosis is None
    report = report_dict(without_bleed)
    assert report["hemorrhage"] == "none" and type(report["hemorrhage"]) is str
    assert report["mortality_probability"] is None and report["mortality_range"] is None and report["prognosis"] is None
    reason = report["hemorrhage_reason"]
    assert reason.startswith("No hemorrhage found")
    assert summary(without_bleed).split("\n")[0].startswith(f"Hemorrhage  {reason[:40]}")
    write_report(without_bleed, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("No hemorrhage found") < page.index("Hematoma volume")
    assert "No prognosis without a hemorrhage." in page


@pytest.fixture(scope="module")
def infarct(analyzer, without_bleed):
    """A head without blood in which the model is sure to read some: nothing at its attention is as dense as blood."""
    small = Analyzer(device="cpu")
    small.bundle = replace_volume(small.bundle, 7.0)
    return small.analyze(without_bleed.head_ct, prognosis_range=True)


def replace_volume(bundle, volume_ml):
    class Reading(type(bundle)):
        def volume_ml(self, output, crop_volume_mm3):
            return volume_ml

    found = object.__new__(Reading)
    vars(found).update(vars(bundle))
    return found


def test_no_prognosis_while_it_is_uncertain(infarct, tmp_path):
    assert infarct.hemorrhage == "uncertain" and infarct.mortality_range is None
    context = ClinicalContext(age=81, gcs=9, location="putamen", ivh=True)
    comparison = comparison_dict(infarct, context=context)
    assert "while the hemorrhage is uncertain" in " ".join(summary(infarct, comparison=comparison).split())
    write_report(infarct, tmp_path, comparison=comparison)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("No prognosis while the hemorrhage is uncertain.") == 2 and "Prognosis: " not in page


def test_the_range_of_the_prognosis_says_what_it_is(with_bleed, tmp_path):
    low, high = with_bleed.mortality_range
    assert 0 < low <= high < 1
    report = report_dict(with_bleed)
    assert report["mortality_range"] == [low, high] and "not a confidence interval" in report["mortality_range_meaning"]
    write_report(with_bleed, tmp_path)
    assert "5th to 95th percentile" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "5th to 95th percentile" in " ".join(summary(with_bleed).split())
