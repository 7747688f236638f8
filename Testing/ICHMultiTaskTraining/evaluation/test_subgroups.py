"""Accuracy by subgroup: who is in which, and numbers beside those of the metrics."""

import numpy as np
import pytest

from ICHMultiTaskLib.comparison.statistics import volume_metrics
from ICHMultiTaskTrainingLib.data.manifest import Row
from ICHMultiTaskTrainingLib.evaluation.figures import write_figures
from ICHMultiTaskTrainingLib.evaluation.metrics import prognosis_metrics
from ICHMultiTaskTrainingLib.evaluation.subgroups import MOST, stated, subgroup_metrics, subgroup_rows, subgroup_text


def records(count=120):
    """Patients who differ in everything that divides them; every tenth has two scans."""
    rng, found = np.random.default_rng(3), []
    for n in range(count):
        true = float(n % 4 and rng.lognormal(2.5, 1.2))
        predicted = max(0.0, true + rng.normal(2.0 * (n % 2), 2.0))
        row = Row("p", None, true, 0, None, "", {
            "sex": ("M", "F", "unknown")[n % 3], "age": str(60 + n % 40), "anticoagulation": ("0", "1")[n % 2],
            "site": f"H{min(n % 20, 16)}", "slice_mm": ("3", "5,0")[n % 2],
        })  # fmt: skip
        found.append({
            "patient_id": f"p{n - (n % 10 == 1)}", "volume_ml": true, "predicted_volume_ml": predicted,
            "interval_low_ml": predicted - 3, "interval_high_ml": predicted + 3, "died": int(rng.uniform() < 0.4),
            "mortality_probability": float(rng.uniform()) if true else None, "location": "lobar", **stated(row),
        })  # fmt: skip
    return found


@pytest.fixture(scope="module")
def measured():
    table = records()
    return table, {(one["by"], one["group"]): one for one in subgroup_metrics(table)}


def of(table, condition):
    return [record for record in table if condition(record)]


@pytest.mark.parametrize(
    "key, condition",
    [
        (("", "all"), lambda r: True),
        (("volume", "no hemorrhage"), lambda r: r["volume_ml"] == 0),
        (("volume", "5 to 30 mL"), lambda r: 5 <= r["volume_ml"] < 30),
        (("slices", "up to 3 mm"), lambda r: r["slice_mm"] == "3"),
        (("sex", "female"), lambda r: r["sex"] == "F"),
        (("sex", "not known"), lambda r: r["sex"] is None),
        (("age", "from 80 years"), lambda r: int(r["age"]) >= 80),
        (("anticoagulation", "yes"), lambda r: r["anticoagulation"] == "1"),
    ],
)
def test_a_subgroup_has_the_metrics_of_its_own_scans(measured, key, condition):
    table, found = measured
    own, one = of(table, condition), found[key]
    columns = [
        np.array([r[n] for r in own], float)
        for n in ("predicted_volume_ml", "volume_ml", "interval_low_ml", "interval_high_ml")
    ]
    metrics, intervals = volume_metrics(*columns, patients=[r["patient_id"] for r in own])
    for name in ("patients", "mae_ml", "bias_ml", "interval_coverage"):
        assert one[name] == pytest.approx(metrics[name])
    assert one["intervals_95"]["mae_ml"] == pytest.approx(intervals["mae_ml"])
    told = of(own, lambda r: r["mortality_probability"] is not None)
    if one["auc"] is not None:
        prognosis, bounds = prognosis_metrics(
            np.array([r["mortality_probability"] for r in told]), np.array([r["died"] for r in told]),
            patients=[r["patient_id"] for r in told],
        )  # fmt: skip
        assert one["auc"] == pytest.approx(prognosis["auc"])
        assert one["intervals_95"]["auc"] == pytest.approx(bounds["auc"])


def test_the_groups_of_a_property_hold_every_scan_once(measured):
    table, found = measured
    assert len({by for by, _ in found}) == 7, "everybody is scanned by one unknown scanner and bleeds in one location"
    for by in {by for by, _ in found}:
        scans = sum(one.get("scans", one["patients"]) for (name, _), one in found.items() if name == by)
        assert scans == len(table)
    sites = [group for by, group in found if by == "site"]
    assert len(sites) == MOST + 1 and sites[-1] == "others"
    assert found["", "all"]["patients"] < len(table), "two scans of one patient are one patient"


def test_an_auc_of_few_deaths_or_survivors_is_a_dash_with_the_reason():
    table = [record | {"died": int(n < 4), "mortality_probability": 0.3} for n, record in enumerate(records(40))]
    found = {(one["by"], one["group"]): one for one in subgroup_metrics(table)}
    assert found["", "all"]["auc"] is None and found["", "all"]["why_no_auc"] == "3 deaths, 10 needed"
    rows = {row[:2]: row for row in subgroup_rows(list(found.values()))}
    assert rows["", "all"][-1] == "– 3 deaths, 10 needed"
    alive = [record | {"died": 1} for record in table]
    assert subgroup_metrics(alive)[0]["why_no_auc"] == "0 survivors, 10 needed"
    silent = [record | {"mortality_probability": None} for record in table]
    assert subgroup_metrics(silent)[0]["why_no_auc"] == "no prognosis"


def test_a_model_without_a_volume_has_only_aucs():
    none = dict.fromkeys(("predicted_volume_ml", "interval_low_ml", "interval_high_ml"))
    one = subgroup_metrics([record | none for record in records()])[0]
    assert one["mae_ml"] is None and one["interval_coverage"] is None and one["auc"] is not None


def test_table_and_picture(measured, tmp_path):
    table, found = measured
    text = subgroup_text(list(found.values()))
    assert text.splitlines()[0].split()[:3] == ["by", "subgroup", "patients"]
    assert len(text.splitlines()) == 1 + len(found) and "from 80 years" in text
    assert "subgroups.png" in write_figures(table, tmp_path, subgroups=list(found.values()))
    assert (tmp_path / "subgroups.png").read_bytes().startswith(b"\x89PNG")
    assert "subgroups.png" not in write_figures(table, tmp_path, subgroups=list(found.values())[:1])
