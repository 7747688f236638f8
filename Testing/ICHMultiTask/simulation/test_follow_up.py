"""Second scans: the same patient, a bleed that may have grown, and an outcome that follows from it."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.simulation import SimulationSettings, growth_probability, simulate_follow_up, simulate_patient
from ICHMultiTaskLib.simulation import follow_up as module
from ICHMultiTaskLib.simulation.cohort import write_cohort

SMALL = SimulationSettings(slices=6, matrix=48, bleed=True, composition="paper")


@pytest.fixture(scope="module")
def first():
    return simulate_patient(7, SMALL)


@pytest.fixture(scope="module")
def pair(first):
    """The patient twice, with a bleed that grew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "growth_probability", lambda patient: 1.0)
        return simulate_follow_up(first, SMALL)


def test_the_patient_is_the_same_and_the_scan_another(first, pair):
    _, second = pair
    for name in ("age", "sex", "location", "side", "atrophy", "anticoagulation"):
        assert getattr(second, name) == getattr(first, name)
    assert second.facts["shape"] == first.facts["shape"]
    assert not np.array_equal(second.head_ct.hu, first.head_ct.hu)
    assert second.rater_ml != first.rater_ml
    hours = second.onset_hours - first.onset_hours
    assert hours == pytest.approx(second.facts["hours_since_first"]) and 12 <= hours <= 36


def test_growth_is_at_least_a_third_and_worsens_the_outcome(first, pair):
    before, second = pair
    assert second.volume_ml >= 1.3 * first.volume_ml  # a third, within what fitting the shape leaves
    assert second.gcs <= first.gcs
    assert before.gcs == first.gcs and before.volume_ml == first.volume_ml
    assert before.died == second.died and before.death_probability == second.death_probability
    assert math.isnan(before.death_probability_image) and 0 <= second.death_probability_image <= 1
    assert second.death_probability >= first.death_probability


def test_without_growth_the_volume_stays(first, monkeypatch):
    monkeypatch.setattr(module, "growth_probability", lambda patient: 0.0)
    _, second = simulate_follow_up(first, SMALL)
    assert second.volume_ml == pytest.approx(first.volume_ml, rel=0.15)  # five spreads of a steady bleed


def test_each_factor_makes_growth_likelier(first):
    calm = replace(
        first, onset_hours=12.0, anticoagulation=0,
        facts=first.facts | {"shape": "regular", "signs": {"black_hole": False, "blend": False, "swirl_hu": 1.0}},
    )  # fmt: skip
    least = growth_probability(calm)
    signs = calm.facts["signs"]
    for change in (
        {"onset_hours": 1.0},
        {"anticoagulation": 1},
        {"facts": calm.facts | {"shape": "irregular"}},
        {"facts": calm.facts | {"signs": signs | {"black_hole": True}}},
        {"facts": calm.facts | {"signs": signs | {"blend": True}}},
        {"facts": calm.facts | {"signs": signs | {"swirl_hu": 7.0}}},
    ):
        assert growth_probability(replace(calm, **change)) > least
    assert growth_probability(replace(calm, volume_ml=0.0)) == 0.0


def test_growth_probability_is_zero_without_a_bleed():
    first = simulate_patient(3, replace(SMALL, bleed=False))
    before, second = simulate_follow_up(first, replace(SMALL, bleed=False))
    assert second.volume_ml == 0 and before.died == second.died == 0


def test_cohort_has_two_rows_a_patient_and_is_the_same_when_continued(tmp_path):
    manifests = []
    for name, sizes in (("once", (3,)), ("twice", (1, 3))):
        for patients in sizes:
            path = write_cohort(patients, 5, tmp_path / name, settings=SMALL, follow_up=True)
        manifests.append(path.read_bytes())
    assert manifests[0] == manifests[1]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["scan_number"] for row in rows] == ["1", "2"] * 3
    for first, second in zip(rows[::2], rows[1::2]):
        assert first["patient_id"] == second["patient_id"] and first["died"] == second["died"]
        assert first["image"] != second["image"] and (path.parent / second["image"]).is_file()
        assert float(second["onset_hours"]) - float(first["onset_hours"]) == pytest.approx(
            float(second["hours_since_first"]), abs=0.06
        )
        assert first["death_probability_image"] == "" and 0 < float(first["growth_probability"]) < 1


def test_real_heads_are_scanned_once(tmp_path):
    with pytest.raises(InputError, match="Only simulated heads"):
        write_cohort(1, 0, tmp_path / "out", scans=[tmp_path / "head.nii.gz"], follow_up=True)
