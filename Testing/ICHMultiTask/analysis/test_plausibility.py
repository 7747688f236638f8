"""A volume that no head can hold gives no number; the effect of thick slices is said."""

from dataclasses import replace

import pytest

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.plausibility import thickness_warnings, volume_warnings
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle


def test_usual_volumes_and_unmeasured_heads_give_no_warning():
    assert volume_warnings(0.0, 1400.0) == volume_warnings(350.0, 1400.0) == volume_warnings(900.0, None) == ()


def test_above_a_quarter_of_the_head_there_is_a_warning():
    (warning,) = volume_warnings(351.0, 1400.0)
    assert warning.startswith("The measured volume is 25 % of the 1400 mL inside the skull, more than")


def test_above_two_fifths_there_is_no_number():
    with pytest.raises(InputError, match="expected at most 40 % of the space inside the skull, found 41 % of the 1400"):
        volume_warnings(574.0, 1400.0)


@pytest.mark.parametrize(("volume", "refused"), [(100.0, False), (600.0, False), (900.0, True)])
def test_an_analysis_is_held_against_the_measured_head(tmp_path, monkeypatch, volume, refused):
    """The phantom's head holds 2,060 mL (ellipsoid of 74 × 90 × 74 mm)."""
    analyzer = Analyzer(tiny_bundle(tmp_path / "bundle"), "cpu")
    monkeypatch.setattr(type(analyzer.bundle), "volume_ml", lambda self, output, crop: volume)
    if refused:
        with pytest.raises(InputError, match="cannot be that of a hemorrhage and is not shown"):
            analyzer.analyze(phantom(), attention=False)
        return
    analysis = analyzer.analyze(phantom(), attention=False)
    assert analysis.volume_ml == volume
    assert analysis.head_ct.facts.intracranial_ml == pytest.approx(2060, rel=0.05)
    assert any("inside the skull, more than" in text for text in analysis.warnings) is (volume == 600.0)
    again = analyzer.analyze(analysis.head_ct, attention=False)
    assert again.head_ct.facts == replace(analysis.head_ct.facts), "a checked scan is not warned of twice"


def test_thick_slices_get_a_word_on_what_was_measured_with_them():
    measured = {"scans": 10, "absolute_change_median_percent": 3.8, "absolute_change_p90_percent": 17.1}
    metrics = {"robustness": {"scanner": {"variations": {"slices_of_10_mm": measured}}}}
    thin = phantom()
    assert thickness_warnings(thin, metrics) == ()
    for thick in (
        phantom((20, 64, 64), (8.0, 3.6, 3.6)),
        replace(thin, facts=replace(thin.facts, slice_thickness_mm=8.0)),  # overlapping
    ):
        assert thickness_warnings(thick, metrics) == (
            "The slices are 8 mm thick: on 10 simulated heads, slices of 10 mm in place of 5 mm changed the measured "
            "volume by 4 % in the median, and by 17 % or more in one of ten.",
        )
        assert "was not measured for this model" in thickness_warnings(thick, {"robustness": None})[0]
    nonsense = replace(thin, facts=replace(thin.facts, slice_thickness_mm=500.0))
    assert thickness_warnings(nonsense, metrics) == ()


def test_the_shipped_model_states_the_effect_of_thick_slices(tmp_path):
    metrics = ModelBundle.load(default_bundle()).metadata["metrics"]
    assert "simulated heads" in thickness_warnings(phantom((20, 64, 64), (10.0, 3.6, 3.6)), metrics)[0]
