"""Metrics of the probability of death against scikit-learn and SciPy."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from ICHMultiTaskTrainingLib.data.manifest import Row
from ICHMultiTaskTrainingLib.evaluation import metrics as ours
from ICHMultiTaskTrainingLib.evaluation.evaluation import known_record
from ICHMultiTaskTrainingLib.evaluation.hemorrhage import hemorrhage_metrics
from ICHMultiTaskTrainingLib.evaluation.model_comparison import compare_models


@pytest.fixture
def outcomes():
    generator = np.random.default_rng(1)
    log_odds = generator.normal(-1, 1.5, 200)
    died = (generator.uniform(size=200) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return np.round(1 / (1 + np.exp(-(1.7 * log_odds + 0.4))), 2), died  # rounded: with ties


def test_prognosis_metrics_equal_scikit_learn(outcomes):
    probability, died = outcomes
    found, _ = ours.prognosis_metrics(probability, died)
    called = probability > 0.5
    assert (found["patients"], found["deaths"]) == (200, died.sum())
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(died, probability))
    assert found["auprc"] == pytest.approx(sklearn_metrics.average_precision_score(died, probability))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(died, called))
    assert found["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(died, called))
    assert found["specificity"] == pytest.approx(sklearn_metrics.recall_score(died, called, pos_label=0))
    assert found["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(died, probability))
    assert found["auc_best_reachable"] is None and found["calibration_slope_known"] is None


def test_best_reachable_auc_is_that_of_the_true_probability(outcomes):
    probability, died = outcomes
    found, _ = ours.prognosis_metrics(np.full(200, 0.5), died, probability)
    assert found["auc"] == 0.5
    assert found["auc_best_reachable"] == pytest.approx(sklearn_metrics.roc_auc_score(died, probability))


def test_slope_on_known_probabilities_has_no_sampling_error():
    known = np.random.default_rng(4).uniform(0.02, 0.98, 60)
    halved = 1 / (1 + np.sqrt(1 / known - 1))  # half the log odds
    for died in (known > 0.5, np.arange(60) % 3 == 0):
        found, _ = ours.prognosis_metrics(halved, died, known)
        assert found["calibration_slope_known"] == pytest.approx(2.0, abs=1e-3)


def test_calibration_line_recovers_a_known_distortion():
    generator = np.random.default_rng(2)
    log_odds = generator.normal(-0.5, 1.5, 50_000)
    died = (generator.uniform(size=log_odds.size) < 1 / (1 + np.exp(-log_odds))).astype(float)
    slope, intercept = ours.calibration_line(1 / (1 + np.exp(-log_odds)), died)
    assert (slope, intercept) == (pytest.approx(1, abs=0.03), pytest.approx(0, abs=0.03))
    slope, _ = ours.calibration_line(1 / (1 + np.exp(-2 * log_odds)), died)
    assert slope == pytest.approx(0.5, abs=0.02)
    _, intercept = ours.calibration_line(1 / (1 + np.exp(-(log_odds - 0.8))), died)
    assert intercept == pytest.approx(0.8, abs=0.03)


def test_one_death_is_enough_for_a_line_without_separation():
    slope, intercept = ours.calibration_line(np.array([0.1, 0.3, 0.2, 0.4]), np.array([0.0, 1.0, 0.0, 0.0]))
    assert slope is not None and intercept == pytest.approx(0, abs=0.01)  # one of four, as foretold
    assert ours.calibration_line(np.array([0.1, 0.3]), np.zeros(2)) == (None, None)
    for died in ([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]):  # separated, the right way or the wrong one
        assert ours.calibration_line(np.array([0.1, 0.2, 0.8, 0.9]), np.array(died))[0] is None


def test_one_probability_for_all_has_no_slope():
    slope, intercept = ours.calibration_line(np.full(10, 0.5), np.arange(10) < 2)
    assert slope is None and intercept == pytest.approx(np.log(2 / 8))


def test_reversed_separation_has_no_slope():
    assert ours.calibration_line(np.array([0.9, 0.8, 0.1]), np.array([0, 0, 1]))[0] is None


def test_certain_probabilities_are_bounded():
    """0 and 1 have no log odds; a billionth from them stands for them, so that a slope comes out all the same."""
    died = np.array([0, 0, 1, 0, 1, 1])
    certain = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    slope, intercept = ours.calibration_line(certain, died)
    assert slope == pytest.approx(np.log(2) / np.log(1e9), rel=1e-3) and intercept == pytest.approx(0, abs=1e-3)


def test_bootstrap_intervals_equal_scipy(outcomes):
    _, intervals = ours.prognosis_metrics(*outcomes, seed=3)
    expected = stats.bootstrap(
        outcomes, _precision, paired=True,
        vectorized=False, method="percentile", n_resamples=400, rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    assert intervals["auprc"] == pytest.approx(list(expected), abs=0.04)


def _precision(probability, died):
    return sklearn_metrics.average_precision_score(died, probability)


def test_vectorized_resamples_equal_single_ones(outcomes):
    probability, died = outcomes
    rows = np.random.default_rng(7).integers(200, size=(5, 200))
    for name, values in ours._prognosis(probability[rows], died[rows]).items():
        each = [ours._prognosis(probability[row], died[row])[name] for row in rows]
        np.testing.assert_allclose(values, each, rtol=1e-9, err_msg=name)


def test_intervals_contain_the_estimate_and_are_reproducible(outcomes):
    found, intervals = ours.prognosis_metrics(*outcomes)
    for name, interval in intervals.items():
        assert interval is None or interval[0] <= found[name] <= interval[1], name
    assert ours.prognosis_metrics(*outcomes) == (found, intervals)
    assert ours.prognosis_metrics(*outcomes, seed=1)[1] != intervals


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("died", [[0, 0, 0], [1, 1, 1], [0, 0, 1]], ids=["all survived", "all died", "separated"])
def test_prognosis_of_few_patients_is_null_and_never_nan(died):
    found, intervals = ours.prognosis_metrics(np.array([0.1, 0.2, 0.9]), np.array(died))
    json.dumps([found, intervals], allow_nan=False)
    assert found["calibration_slope"] is None
    assert (found["auc"] is None) == (len(set(died)) == 1)


def test_deaths_are_patients_and_not_scans(outcomes):
    probability, died = outcomes
    patients = np.repeat(np.arange(50), 4)
    died = died[patients * 4]  # one outcome of each patient
    found, _ = ours.prognosis_metrics(probability, died, patients=patients)
    assert (found["patients"], found["scans"], found["deaths"]) == (50, 200, died[::4].sum())


def test_areas_of_two_models_are_of_the_patients_with_both(tmp_path):
    died, first, second = [0, 0, 1, 1, 1], [0.1, 0.5, 0.4, 0.9, 0.2], [0.3, 0.2, 0.6, 0.7, ""]  # the last one withheld
    for name, scores in (("first", first), ("second", second)):
        lines = [f"P{n},20,{dead},20,{score}" for n, (dead, score) in enumerate(zip(died, scores))]
        head = "patient_id,volume_ml,died,predicted_volume_ml,mortality_probability"
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *lines]))
    found = compare_models(tmp_path / "first.csv", tmp_path / "second.csv")
    areas = found["others"][0]["prognosis"]
    assert found["first"]["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(died, first))
    assert areas["patients"] == 4
    assert areas["auc_first"] == pytest.approx(sklearn_metrics.roc_auc_score(died[:4], first[:4]))
    assert areas["auc_other"] == pytest.approx(sklearn_metrics.roc_auc_score(died[:4], second[:4]))


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1, 5])
def test_calibration_slope_of_weak_and_strong_predictions_equals_statsmodels(scale):
    models = pytest.importorskip("statsmodels.api")
    generator = np.random.default_rng(5)
    log_odds = generator.normal(0, 1.5, 200)
    died = (generator.uniform(size=200) < 1 / (1 + np.exp(-log_odds))).astype(float)
    slope, _ = ours.calibration_line(1 / (1 + np.exp(-scale * log_odds)), died)
    expected = models.Logit(died, models.add_constant(log_odds)).fit(disp=0).params[1] / scale
    assert slope == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("probability", [[0.2, 0.2, 0.5, 0.5, 0.8], [0.8, 0.8, 0.5, 0.5, 0.2]])
def test_calibration_slope_is_undefined_where_only_a_tie_stands_between_the_outcomes(probability):
    slope, intercept = ours.calibration_line(np.array(probability), np.array([0.0, 0, 0, 1, 1]))
    assert slope is None and abs(intercept) < 2


def test_the_second_look_is_counted():
    def record(volume, said, probability, died):
        return {"volume_ml": volume, "hemorrhage": said, "mortality_probability": probability, "died": died}

    records = [
        record(0.0, "none", None, 0), record(0.0, "none", None, 1), record(0.0, "uncertain", 0.2, 0),
        record(0.0, "found", 0.9, 0), record(0.6, "none", None, 1), record(2.0, "uncertain", 0.3, 0),
        record(4.9, "found", 0.1, 0), record(12.0, "found", 0.6, 1), record(40.0, "found", 0.7, 1),
        record(5.0, None, 0.7, 1),
    ]  # fmt: skip
    for n, one in enumerate(records):
        one["patient_id"] = f"P{min(n, 7)}"  # the last patient has two scans with a verdict
    found = hemorrhage_metrics(records)
    assert (found["patients"], found["scans"], found["bleeds"]) == (8, 9, 5)
    assert found["sensitivity"] == pytest.approx(3 / 5)
    assert found["sensitivity_below_1_ml"] == 0 and found["sensitivity_1_to_5_ml"] == 0.5
    assert found["sensitivity_5_to_30_ml"] == found["sensitivity_from_30_ml"] == 1
    assert found["bleeds_uncertain"] == found["bleeds_missed"] == pytest.approx(1 / 5)
    assert found["specificity"] == 0.5 and found["no_bleed_uncertain"] == found["no_bleed_found"] == 0.25
    assert (found["prognosis_withheld"], found["deaths_withheld"]) == (3, 2)
    assert found["auc_bleeds"] == 1.0  # the scan of 0 mL that was given 90 % is none of them
    assert hemorrhage_metrics(records[-1:]) is None


def test_best_reachable_auc_uses_only_the_image():
    """Of both probabilities a model that sees the image is held against the one without age and GCS."""
    both = {"death_probability": "0.9", "death_probability_image": "0.2"}
    for extra, expected in ((both, 0.2), ({"death_probability": "0.9"}, 0.9), ({}, None)):
        record = known_record(Row("p", None, 1.0, 1, None, "", extra))
        assert record["best_probability"] == expected
