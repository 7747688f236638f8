"""Clinical scores against their published tables, and the guideline's volumes in words."""

from itertools import product

import pytest

from ICHMultiTaskLib.common.clinical_variables import described
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.measures.clinical_scores import (
    LOCATIONS,
    ClinicalContext,
    alerts,
    clinical_scores,
    func_score,
    ich_points,
    ich_score,
    max_ich_score,
)

MILD = {"age": 60, "gcs": 15, "nihss": 3, "location": "lobar", "ivh": False, "anticoagulation": False,
        "cognitive_impairment": False}  # fmt: skip


def known(**changes):
    return ClinicalContext(**(MILD | changes))


@pytest.mark.parametrize(
    "changes, volume, points",
    [
        ({}, 10, 0),
        ({"gcs": 13}, 10, 0), ({"gcs": 12}, 10, 1), ({"gcs": 5}, 10, 1), ({"gcs": 4}, 10, 2), ({"gcs": 3}, 10, 2),
        ({}, 29.9, 0), ({}, 30, 1),
        ({"age": 79}, 10, 0), ({"age": 80}, 10, 1),
        ({"ivh": True}, 10, 1),
        ({"location": "cerebellum"}, 10, 1), ({"location": "brainstem"}, 10, 1), ({"location": "thalamus"}, 10, 0),
        ({"gcs": 3, "age": 90, "ivh": True, "location": "brainstem"}, 30, 6),
    ],
)  # fmt: skip
def test_ich_score_as_published(changes, volume, points):
    assert ich_score(known(**changes), volume).points == points


@pytest.mark.parametrize(
    "changes, volume, points",
    [
        ({}, 10, 0),
        ({"nihss": 6}, 10, 0), ({"nihss": 7}, 10, 1), ({"nihss": 13}, 10, 1), ({"nihss": 14}, 10, 2),
        ({"nihss": 20}, 10, 2), ({"nihss": 21}, 10, 3),
        ({"age": 69}, 10, 0), ({"age": 70}, 10, 1), ({"age": 74}, 10, 1), ({"age": 75}, 10, 2),
        ({"age": 79}, 10, 2), ({"age": 80}, 10, 3),
        ({"ivh": True}, 10, 1), ({"anticoagulation": True}, 10, 1),
        ({}, 29.9, 0), ({}, 30, 1),
        ({"location": "putamen"}, 9.9, 0), ({"location": "putamen"}, 10, 1), ({"location": "cerebellum"}, 10, 1),
        ({"nihss": 42, "age": 99, "ivh": True, "anticoagulation": True}, 60, 9),
    ],
)  # fmt: skip
def test_max_ich_as_published(changes, volume, points):
    assert max_ich_score(known(**changes), volume).points == points


@pytest.mark.parametrize(
    "changes, volume, points",
    [
        ({}, 10, 11),
        ({}, 29.9, 11), ({}, 30, 9), ({}, 60, 9), ({}, 60.1, 7),
        ({"age": 69}, 10, 11), ({"age": 70}, 10, 10), ({"age": 79}, 10, 10), ({"age": 80}, 10, 9),
        ({"location": "caudate"}, 10, 10), ({"location": "cerebellum"}, 10, 9),
        ({"gcs": 9}, 10, 11), ({"gcs": 8}, 10, 9),
        ({"cognitive_impairment": True}, 10, 10),
        ({"age": 85, "gcs": 5, "location": "brainstem", "cognitive_impairment": True}, 80, 0),
    ],
)  # fmt: skip
def test_func_as_published(changes, volume, points):
    assert func_score(known(**changes), volume).points == points


def test_ich_points_by_hand_and_at_every_limit():
    assert ich_points(15, 10.0, 0, 0, 60) == 0
    assert ich_points(4, 30.0, 1, 1, 80) == 6
    assert [ich_points(g, 0.0, 0, 0, 40) for g in (3, 4, 5, 12, 13, 15)] == [2, 2, 1, 1, 0, 0]
    for gcs, ivh, location, age, ml in product((3, 4, 5, 12, 13), (0, 1), LOCATIONS, (79, 80), (29.0, 30.0)):
        infratentorial = location in ("cerebellum", "brainstem")
        found = ich_score(known(gcs=gcs, ivh=ivh, location=location, age=age), ml)
        assert found.points == ich_points(gcs, ml, ivh, infratentorial, age)


@pytest.mark.parametrize(
    "location, score, below, at",
    [
        ("lobar", ich_score, 29.94, 29.96), ("lobar", max_ich_score, 29.94, 29.96), ("deep", max_ich_score, 9.94, 9.96),
        ("lobar", func_score, 29.94, 29.96), ("lobar", func_score, 60.04, 60.06),
    ],
)  # fmt: skip
def test_volume_is_judged_as_it_is_shown(location, score, below, at):
    """A bleed that reads 30.0 mL is not below 30 mL, nor does one that reads 60.0 mL exceed 60 mL."""
    shown = [score(known(location=location), ml, (ml, ml)) for ml in (below, round(below, 1), at, round(at, 1))]
    points = [found.points for found in shown]
    assert points[0] == points[1] != points[2] == points[3]
    assert not any(found.notes for found in shown)
    assert score(known(location=location), below, (below, at)).notes


def test_alerts_judge_the_volume_as_it_is_shown():
    assert "15.0 mL is at or above" in alerts(known(location="cerebellum"), 14.96)[0]
    assert alerts(known(gcs=9), 20.04) == () == alerts(known(location=None), 14.94)
    assert "30.0 mL is within" in alerts(known(gcs=9), 30.04)[0]


@pytest.mark.parametrize(
    "volume, interval, words",
    [
        (32, (28, 36), "28.0 to 36.0 mL straddles 30 mL: one point less is possible."),
        (28, (24, 32), "24.0 to 32.0 mL straddles 30 mL: one point more is possible."),
        (32, (30.0, 36), None), (28, (24, 29.94), None), (28, None, None),
    ],
)  # fmt: skip
def test_interval_counts_while_the_gcs_is_missing(volume, interval, words):
    first, *further = ich_score(known(gcs=None), volume, interval).notes
    points = int(volume >= 30)
    assert first == f"It is {points} with a GCS of 13 to 15, {points + 1} with 5 to 12, {points + 2} with 3 or 4."
    assert further == ([f"The volume interval {words}"] if words else [])


@pytest.mark.parametrize(
    "age, words", [(79.96, "79.9 years"), (80, "80 years"), (99.97, "99.9 years"), (64.1, "64.1 years")]
)
def test_age_is_not_shown_as_a_limit_that_it_has_not_reached(age, words):
    assert described("age", age) == words
    assert ich_score(known(age=age), 10).points == (age >= 80)


def test_outcome_rates_are_the_published_ones_or_none():
    assert ich_score(known(gcs=10), 40).outcome == "30-day mortality 26 %"
    six = ich_score(known(gcs=3, age=90, ivh=True, location="brainstem"), 30)
    assert six.outcome_percent is None and "no patient of the derivation cohort" in six.outcome
    survival = [(0, 85), (1, 91), (2, 69), (3, 59)]
    for points, percent in survival:
        found = max_ich_score(known(nihss=7 * points), 10)
        assert (found.points, found.outcome_percent) == (points, percent)
        assert found.outcome == f"5-year survival with maximal treatment {percent} %"
    worst = max_ich_score(known(nihss=42, age=99, ivh=True, anticoagulation=True), 60)
    assert (worst.points, worst.outcome_percent) == (9, 0)
    independent = {11: (known(), 10), 9: (known(), 40), 8: (known(age=75), 40), 7: (known(age=80), 40)}
    rates = {11: (82, 95), 9: (66, 75), 8: (42, 48), 7: (13, 29)}
    for points, (context, ml) in independent.items():
        found, (percent, of_survivors) = func_score(context, ml), rates[points]
        assert (found.points, found.outcome_percent) == (points, percent)
        assert found.outcome.endswith(f"{percent} % ({of_survivors} % of survivors)")
    low = func_score(known(age=85, gcs=5, location="brainstem"), 80)
    assert (low.points, low.outcome_percent) == (1, 0.0)
    assert all(str(year) in score.source for score, year in zip(clinical_scores(known(), 10), (2001, 2017, 2008)))


@pytest.mark.parametrize("points, percent", list(enumerate([85, 91, 69, 59, 47, 32, 29, 18, 0, 0])))
def test_survival_of_every_max_ich(points, percent):
    """Points come from age and NIHSS (up to 6), then the three findings that count 1 each."""
    steps = [{"nihss": 7}, {"nihss": 14}, {"nihss": 21}, {"age": 70}, {"age": 75}, {"age": 80}, {"ivh": True},
             {"anticoagulation": True}]  # fmt: skip
    changes = {}
    for step in steps[:points]:
        changes |= step
    found = max_ich_score(known(**changes), 30 if points == 9 else 10)
    assert (found.points, found.outcome_percent, found.maximum) == (points, percent, 10)


@pytest.mark.parametrize(
    "changes, volume, points, percent",
    [
        ({"age": 80, "gcs": 8, "location": "cerebellum", "cognitive_impairment": True}, 10, 4, 0),
        ({"age": 80, "gcs": 8, "location": "cerebellum"}, 10, 5, 13),
        ({"age": 80, "location": "cerebellum", "cognitive_impairment": True}, 10, 6, 13),
        ({"age": 80, "location": "cerebellum"}, 10, 7, 13),
        ({"location": "cerebellum", "cognitive_impairment": True}, 10, 8, 42),
        ({"location": "cerebellum"}, 10, 9, 66),
        ({"location": "deep"}, 10, 10, 66),
    ],
)  # fmt: skip
def test_independence_of_every_func(changes, volume, points, percent):
    found = func_score(known(**changes), volume)
    assert (found.points, found.outcome_percent, found.maximum) == (points, percent, 11)
    of_survivors = {0: "0 %", 13: "29 % of survivors", 42: "48 % of", 66: "75 % of", 82: "95 % of"}[percent]
    assert of_survivors in found.outcome


def test_a_score_with_missing_values_is_not_computed():
    ich, max_ich, func = clinical_scores(ClinicalContext(age=70, gcs=12), 40, (30, 50))
    assert ich.points is None and ich.points_range is None and ich.outcome == "" and ich.outcome_percent is None
    assert ich.missing == ("location", "blood in the ventricles")
    assert max_ich.missing == ("NIHSS", "location", "blood in the ventricles", "oral anticoagulation")
    assert func.missing == ("location", "cognitive impairment before the hemorrhage")


def test_interval_across_a_threshold_is_noted():
    ich, max_ich, func = clinical_scores(known(gcs=10), 28, (22, 41))
    assert (ich.points, ich.points_range) == (1, (1, 2))
    assert ich.notes == (
        "The volume interval 22.0 to 41.0 mL straddles 30 mL: 1 to 2 points (30-day mortality 13 % to "
        "30-day mortality 26 %).",
    )
    assert func.points_range == (9, 11) and "straddles 30 mL" in func.notes[0]
    assert max_ich.points_range == (0, 1)
    clear = ich_score(known(), 20, (15, 25))
    assert clear.points_range == (0, 0) and clear.notes == ()
    assert "straddles 30 and 60 mL" in func_score(known(), 45, (25, 70)).notes[0]
    assert "straddles 30 mL" in func_score(known(), 45, (25, 60)).notes[0]
    assert "straddles 60 mL" in func_score(known(), 45, (30, 70)).notes[0]
    assert "straddles 10 mL" in max_ich_score(known(location="thalamus"), 12, (8, 16)).notes[0]
    # A limit belongs to the points above it, but 60 mL of FUNC to those below.
    for limit, score, context in (
        (30, ich_score, known()), (30, max_ich_score, known()), (30, func_score, known()),
        (10, max_ich_score, known(location="cerebellum")),
    ):  # fmt: skip
        assert f"straddles {limit} mL" in score(context, limit, (limit - 1, limit)).notes[0]
        assert score(context, limit, (limit, limit + 1)).notes == ()
    assert ich_score(known(), 40, (35, 45)).maximum == 6
    assert func_score(known(), 50, (40, 60)).notes == ()
    assert "straddles 60 mL" in func_score(known(), 60, (60, 60.1)).notes[0]


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("age", -1, "number from 0 to 120, found -1"), ("age", float("nan"), "found nan"),
        ("age", "old", "found 'old'"),
        ("age", 120.5, "found 120.5"), ("nihss", -1, "found -1"),
        ("gcs", 2, "whole number from 3 to 15, found 2"), ("gcs", 16, "found 16"), ("gcs", 12.5, "found 12.5"),
        ("nihss", 43, "whole number from 0 to 42, found 43"),
        ("location", "frontal", "expected one of lobar, deep, putamen"),
        ("ivh", "maybe", "must be yes or no"), ("anticoagulation", 2, "must be yes or no"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused(field, value, words):
    with pytest.raises(InputError) as error:
        ClinicalContext(**{field: value})
    assert words in str(error.value)


@pytest.mark.parametrize("volume, interval", [(-1, None), (float("nan"), None), (10, (-2, 5))])
def test_impossible_volume_is_refused(volume, interval):
    for function in (clinical_scores, alerts):
        with pytest.raises(InputError, match="expected 0 mL or more"):
            function(known(), volume, interval)


def test_limits_of_the_ranges_are_accepted():
    for field, values in (("age", (0, 120)), ("gcs", (3, 15)), ("nihss", (0, 42)), ("ivh", (0, 1))):
        assert [getattr(ClinicalContext(**{field: value}), field) for value in values] == list(values)
    assert ich_score(known(), 0, (0, 0)).points == 0


def test_is_empty_if_all_values_are_unknown():
    assert ClinicalContext().is_empty and not ClinicalContext(ivh=False).is_empty


@pytest.mark.parametrize("volume, count", [(14.9, 0), (15.0, 1), (40, 1)])
def test_cerebellar_alert(volume, count):
    found = alerts(known(location="cerebellum"), volume)
    assert len(found) == count
    if found:
        assert f"{volume:.1f} mL is at or above the 15 mL" in found[0] and "not treatment advice" in found[0]
    assert "its interval 12.0 to 17.0 mL reaches it" in alerts(known(location="cerebellum"), 14, (12, 17))[0]
    assert "reaches below it" in alerts(known(location="cerebellum"), 16, (12, 20))[0]
    assert "its interval 12.0 to 15.0 mL reaches it" in alerts(known(location="cerebellum"), 14, (12, 15))[0]
    assert "reaches below it" not in alerts(known(location="cerebellum"), 16, (15, 20))[0]
    assert alerts(known(location="cerebellum"), 13, (12, 14.9)) == ()


@pytest.mark.parametrize(
    "gcs, volume, words",
    [
        (10, 20, None), (10, 20.1, "20.1 mL is within the 20 to 30 mL"), (10, 31, "31.0 mL is above the 20 to 30 mL"),
        (5, 31, "with GCS 5"), (12, 31, "with GCS 12"), (4, 31, None), (13, 31, None),
        (None, 31, "the GCS is not given"), (None, 19, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("location", ["lobar", "deep", "putamen"])
def test_supratentorial_alert(gcs, volume, words, location):
    found = alerts(known(location=location, gcs=gcs), volume)
    assert (words is None) == (found == ())
    if words:
        assert words in found[0]
        assert gcs is None or "not treatment advice" in found[0]


def test_supratentorial_alert_names_an_interval_across_the_limit():
    assert "its interval 14.0 to 24.0 mL reaches the 20 to 30 mL" in alerts(known(gcs=9), 19, (14, 24))[0]
    assert "The interval 18.0 to 30.0 mL reaches 20 mL or less." in alerts(known(gcs=9), 24, (18, 30))[0]
    assert alerts(known(gcs=9), 10, (8, 14)) == () == alerts(known(gcs=9), 15, (8, 20))
    assert "reaches 20 mL or less" in alerts(known(gcs=9), 24, (20, 30))[0]  # the volumes named are those above 20
    assert "reaches 20 mL or less" not in alerts(known(gcs=9), 24, (20.1, 30))[0]
    assert "30.0 mL is within" in alerts(known(gcs=9), 30)[0]
    at_limit = alerts(known(gcs=9), 20, (14, 24))[0]
    assert "20.0 mL is below, but its interval 14.0 to 24.0 mL reaches" in at_limit
    assert "reaches 20 mL or less" not in at_limit


def test_alerts_depend_on_the_location():
    assert alerts(known(location="brainstem", gcs=8), 25) == ()
    assert "location is not given" in alerts(known(location=None), 25)[0]
    assert alerts(known(location=None), 5) == () == alerts(known(location=None), 14.9, (5, 14.9))
    assert "location is not given" in alerts(known(location=None), 15)[0]
    assert "location is not given" in alerts(known(location=None), 5, (3, 15))[0]
