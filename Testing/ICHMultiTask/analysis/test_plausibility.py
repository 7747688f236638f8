"""A volume that no head can hold gives no number."""

from dataclasses import replace

import pytest

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.plausibility import volume_warnings
from ICHMultiTaskLib.common.errors import InputError
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
