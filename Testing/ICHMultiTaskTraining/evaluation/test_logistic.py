"""Logistic regressions that a network with clinical variables is held against."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.common.tables import read_csv, write_csv
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskTrainingLib.data.manifest import Row
from ICHMultiTaskTrainingLib.evaluation.features import pooled_features, write_features
from ICHMultiTaskTrainingLib.evaluation.logistic import _patients, logistic_baseline
from ICHMultiTaskTrainingLib.evaluation.model_comparison import compare_models

PATIENTS = 80
COLUMNS = ("patient_id", "image", "volume_ml", "died", "age", "gcs", "onset_hours", "death_probability")
READ = ("patient_id", "volume_ml", "died", "predicted_volume_ml", "mortality_probability")


@pytest.fixture
def cohort(tmp_path):
    """Patients with two scans each: death goes with age, and with how much the bleed grows until the second."""
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    rng = np.random.default_rng(0)
    rows, readings = [], []
    for n in range(PATIENTS):
        age, growth, first = rng.normal(70, 10), rng.exponential(10), rng.uniform(5, 40)
        risk = 1 / (1 + np.exp(-((age - 70) / 4 + (growth - 10) / 3)))
        died = int(rng.uniform() < risk)
        for hours, volume in ((24.0, first + growth), (2.0, first)):  # the later one stands first
            rows.append({
                "patient_id": f"p{n}", "image": "scan.nii.gz", "volume_ml": volume, "died": died,
                "age": "" if n % 10 == 0 else f"{age:.1f}", "gcs": "", "onset_hours": hours, "death_probability": risk,
            })  # fmt: skip
            readings.append({
                "patient_id": f"p{n}", "volume_ml": volume, "died": died, "predicted_volume_ml": volume,
                "mortality_probability": "" if n == 3 else 0.3,
            })  # fmt: skip
    write_csv(tmp_path / "manifest.csv", rows, COLUMNS)
    write_csv(tmp_path / "readings.csv", readings, READ)
    return tmp_path


def test_age_and_growth_each_add_to_the_auc_of_the_first_scan(cohort):
    manifest, readings = cohort / "manifest.csv", cohort / "readings.csv"
    areas = {}
    for name, scans, clinical in (("one", 1, ()), ("two", 2, ()), ("age", 1, ("age",)), ("both", 2, ("age",))):
        found = logistic_baseline(manifest, cohort / name, clinical, readings, scans)
        areas[name] = found["prognosis"]["auc"]
        assert found["prognosis"]["patients"] == PATIENTS
    # One scan says nothing of growth: chance, within four standard errors of an AUC of 80 patients (0.065).
    assert areas["one"] == pytest.approx(0.5, abs=0.26)
    assert areas["two"] > areas["one"] + 0.1 and areas["both"] > max(areas["age"], areas["two"])
    best = found["auc_best_reachable"]["death_probability"]
    assert 0.8 < areas["both"] <= best + 0.02


def test_each_patient_is_predicted_by_others_and_tables_can_be_compared(cohort):
    manifest = cohort / "manifest.csv"
    logistic_baseline(manifest, cohort / "one", ("age",))
    logistic_baseline(manifest, cohort / "two", (), cohort / "readings.csv", 2)
    comparison = compare_models(cohort / "one" / "predictions.csv", cohort / "two" / "predictions.csv")
    assert comparison["others"][0]["prognosis"]["deaths"] > 0
    assert json.loads((cohort / "one" / "metrics.json").read_text())["from"] == "age"


def test_too_few_deaths_for_the_fits_are_counted(cohort):
    lines = (cohort / "manifest.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[1:]]
    alive = [",".join([*row[:3], str(int(row[0] == "p5")), *row[4:]]) for row in cells]
    (cohort / "alive.csv").write_text("\n".join([lines[0], *alive]) + "\n")
    with pytest.raises(InputError, match="1 death and as many survivals .* each fit, found 1 death of 80 patients"):
        logistic_baseline(cohort / "alive.csv", cohort / "out", ("age",))


def test_rows_marked_test_are_predicted_from_the_others(cohort):
    lines = (cohort / "manifest.csv").read_text().splitlines()
    marked = [lines[0] + ",split"] + [
        f"{line},{'test' if int(line.split(',')[0][1:]) >= 50 else 'train'}" for line in lines[1:]
    ]
    (cohort / "split.csv").write_text("\n".join(marked) + "\n")
    found = logistic_baseline(cohort / "split.csv", cohort / "out", ("age",))
    assert found["prognosis"]["patients"] == PATIENTS - 50
    lines = (cohort / "readings.csv").read_text().splitlines()
    held_out = [line for line in lines[1:] if int(line.split(",")[0][1:]) >= 50]
    (cohort / "test.csv").write_text("\n".join([lines[0], *held_out]) + "\n")
    found = logistic_baseline(cohort / "split.csv", cohort / "with", ("age",), cohort / "test.csv", 2)
    assert found["prognosis"]["patients"] == PATIENTS - 50, "readings of the test rows alone, as evaluate writes them"
    (cohort / "test.csv").write_text("\n".join([lines[0], *held_out[1:]]) + "\n")
    with pytest.raises(InputError, match="each of its 160 rows, or for each of its 60 test rows, .* found 59"):
        logistic_baseline(cohort / "split.csv", cohort / "short", ("age",), cohort / "test.csv")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({}, "There are no predictors"),
        ({"clinical": ("gcs",)}, "The column gcs is empty"),
        ({"clinical": ("nihss",)}, "no column nihss"),
        ({"clinical": ("age",), "folds": 1}, "too few folds: expected at least 2, found 1"),
        ({"clinical": ("age",), "scans": 2}, "expected readings or features, found 2 scans"),
        ({"readings": "readings.csv", "scans": 3}, "No patient has so many scans: expected at most 2, found 3"),
        ({"readings": "percent.csv"}, "mortality_probability of p0 .* from 0 to 1, found '35'"),
        ({"readings": "words.csv"}, "predicted_volume_ml of p0 .* a number from 0, found 'large'"),
        ({"readings": "short.csv"}, "The predictions do not match this manifest: expected one row for each of its 160"),
    ],
)
def test_impossible_values_are_refused(cohort, arguments, words):
    lines = (cohort / "readings.csv").read_text().splitlines()
    (cohort / "short.csv").write_text("\n".join(lines[:-1]) + "\n")
    first = dict(zip(READ, lines[1].split(",")))
    for name, wrong in (
        ("percent.csv", {"mortality_probability": "35"}),
        ("words.csv", {"predicted_volume_ml": "large"}),
    ):
        changed = [lines[0], ",".join((first | wrong).values()), *lines[2:]]
        (cohort / name).write_text("\n".join(changed) + "\n")
    if "readings" in arguments:
        arguments = arguments | {"readings": cohort / arguments["readings"]}
    with pytest.raises(InputError, match=words):
        logistic_baseline(cohort / "manifest.csv", cohort / "out", **arguments)
    assert not (cohort / "out").exists()


@pytest.fixture
def seen(cohort):
    """Features of each scan: a third shows the volume, the others are noise; one scan could not be analyzed."""
    table = [line.split(",") for line in (cohort / "manifest.csv").read_text().splitlines()[1:]]
    rng = np.random.default_rng(1)
    features = rng.normal(size=(len(table), 12)).astype(np.float32)
    features[:, :4] = np.array([float(row[2]) for row in table])[:, None] / 10 + rng.normal(0, 0.1, (len(table), 4))
    write_features(cohort / "features.npz", [row[0] for row in table], [None, *features[1:]])
    return cohort / "features.npz"


def test_readings_are_not_replaced_by_what_is_made_from_them(cohort):
    """An evaluation of hours, whose folder is given as the output as well."""
    logistic_baseline(cohort / "manifest.csv", cohort / "image", readings=cohort / "readings.csv")
    before = (cohort / "image" / "predictions.csv").read_bytes()
    with pytest.raises(OutputError, match="predictions.csv is part of the earlier result in .*image"):
        logistic_baseline(cohort / "manifest.csv", cohort / "image", ["age"], cohort / "image" / "predictions.csv")
    assert (cohort / "image" / "predictions.csv").read_bytes() == before


def test_decimal_commas_of_a_table_mean_the_same(cohort):
    """Hours such as 2,125 put the scans in their order; they were taken for unknown."""
    rows = [record for _, record in read_csv(cohort / "manifest.csv").records()]
    for row in rows:
        hours = {"2.0": "2,125", "24.0": "10,250"}[row["onset_hours"]]
        row |= {"onset_hours": hours, "death_probability": f"{float(row['death_probability']):.6f}".replace(".", ",")}
    write_csv(cohort / "commas.csv", rows, COLUMNS)
    found = [
        logistic_baseline(cohort / name, cohort / name[:-4], readings=cohort / "readings.csv", scans=2)
        for name in ("manifest.csv", "commas.csv")
    ]
    assert found[0]["prognosis"] == found[1]["prognosis"]
    best = [one["auc_best_reachable"]["death_probability"] for one in found]
    assert best[0] == pytest.approx(best[1], abs=1e-3)


def test_a_head_on_features_of_both_scans_sees_growth_that_neither_scan_shows(cohort, seen):
    manifest, areas = cohort / "manifest.csv", {}
    for name, scans, last in (("first", 1, False), ("last", 1, True), ("both", 2, False)):
        found = logistic_baseline(manifest, cohort / name, scans=scans, features=seen, last=last)
        areas[name] = found["prognosis"]["auc"]
        assert found["prognosis"]["patients"] == PATIENTS and "features" in found["from"]
    assert areas["both"] > max(areas["first"] + 0.1, areas["last"])
    comparison = compare_models(cohort / "both" / "predictions.csv", cohort / "last" / "predictions.csv")
    assert comparison["others"][0]["prognosis"]["patients"] == PATIENTS, "predictions are in the same rows"


def test_predictors_of_several_scans_are_their_features_and_the_difference():
    rows = [Row("p", Path(), 5.0, 1, None, "", {"onset_hours": hours}) for hours in ("9", "2", "5")]
    read = np.array([[90.0, 9.5], [20.0, 2.5], [50.0, 5.5]])

    def values(scans, last, difference):
        return _patients(rows, read, scans, last, difference)["p"].values.tolist()

    assert values(1, False, True) == [20.0, 2.5] and values(1, True, True) == [90.0, 9.5]
    assert values(2, False, False) == [20.0, 2.5, 50.0, 5.5]
    assert values(2, True, True) == [50.0, 5.5, 90.0, 9.5, 40.0, 4.0]
    lacking = values(4, False, True)
    assert lacking[:6] == [20.0, 2.5, 50.0, 5.5, 90.0, 9.5] and np.isnan(lacking[6:]).all()


def test_features_of_other_scans_are_refused(cohort, seen):
    manifest = cohort / "manifest.csv"
    write_features(cohort / "other.npz", ["p0"], [np.zeros(3, np.float32)])
    with pytest.raises(InputError, match="expected one row for each of its 160 rows, in order, .* found 1 in"):
        logistic_baseline(manifest, cohort / "out", features=cohort / "other.npz")
    with pytest.raises(InputError, match="expected features of evaluate --features"):
        logistic_baseline(manifest, cohort / "out", features=cohort / "readings.csv")
    with pytest.raises(InputError, match="expected one of both, found both"):
        logistic_baseline(manifest, cohort / "out", readings=cohort / "readings.csv", features=seen)
    with pytest.raises(InputError, match="expected readings or features, found the last scans"):
        logistic_baseline(manifest, cohort / "out", ("age",), last=True)


def test_the_features_of_a_scan_are_what_the_models_own_heads_read(tmp_path):
    analyzer = Analyzer(ModelBundle.load(tiny_bundle(tmp_path / "tiny")), "cpu")
    prediction = analyzer.analyze(phantom()).prediction
    features = torch.from_numpy(pooled_features(prediction))[None, :, None, None, None]
    output, scores = analyzer.runner.network.heads(features)
    assert float(output) == pytest.approx(prediction.output, rel=1e-4, abs=1e-5)
    assert float(scores[0, 1] - scores[0, 0]) == pytest.approx(prediction.log_odds, rel=1e-4, abs=1e-5)
