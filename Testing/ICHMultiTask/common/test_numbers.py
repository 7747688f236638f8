"""Numbers as text."""

import pytest

from ICHMultiTaskLib.common import numbers


@pytest.mark.parametrize(("value", "keywords", "text"), [
    (None, {}, "–"), (1.25, {"digits": 2}, "1.25"), (-3.04, {}, "−3.0"), (-0.04, {}, "0.0"),
    (-0.04, {"sign": True}, "+0.0"),
    (0.0, {"sign": True}, "+0.0"),
    (2, {"sign": True, "digits": 0}, "+2"), (0.125, {"factor": 100, "digits": 1}, "12.5"),
])  # fmt: skip
def test_number(value, keywords, text):
    assert numbers.number(value, **keywords) == text


@pytest.mark.parametrize(("value", "text"), [
    (None, "–"), (0.0, "below 1 %"), (0.0099, "below 1 %"), (0.01, "1 %"), (0.5, "50 %"), (0.99, "99 %"),
    (0.991, "above 99 %"), (1.0, "above 99 %"),
])  # fmt: skip
def test_probability_is_clamped(value, text):
    assert numbers.probability(value) == text


def test_intervals_positions_dates_and_counts():
    assert numbers.interval((1.0, 3.26), 1) == "1.0 to 3.3" and numbers.interval(None) == "–"
    assert numbers.interval((2.0, None)) == "2.0 to no upper bound"
    assert numbers.position((-12.2, 30.0, -5.0)) == "L 12, A 30, I 5 mm" and numbers.position(None) == ""
    assert numbers.date("20261126") == "2026-11-26" and numbers.date("unknown") == "unknown"
    assert [numbers.counted(n, "patient") for n in (0, 1, 2)] == ["0 patients", "1 patient", "2 patients"]
    assert [numbers.p_value(p) for p in (None, 0.0001, 0.0314)] == ["–", "< 0.001", "0.031"]
    assert [numbers.yes_no(v) for v in (None, True, False)] == ["–", "yes", "no"]
