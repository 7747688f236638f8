"""Metrics against scikit-learn, SciPy, pingouin and hand formulas, and against real volumes."""

import csv
import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from ICHMultiTaskTrainingLib import metrics as ours


@pytest.fixture
def volumes():
    generator = np.random.default_rng(0)
    true = np.exp(generator.normal(2.5, 1.3, 120))
    true[:10] = 0
    predicted = np.maximum(true * generator.normal(1.1, 0.2, 120) + generator.normal(0, 1, 120), 0)
    return predicted, true


@pytest.fixture
def outcomes():
    generator = np.random.default_rng(1)
    log_odds = generator.normal(-1, 1.5, 200)
    died = (generator.uniform(size=200) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return np.round(1 / (1 + np.exp(-(1.7 * log_odds + 0.4))), 2), died  # rounded: with ties


def test_volume_metrics_equal_scikit_learn_and_scipy(volumes):
    predicted, true = volumes
    found, _ = ours.volume_metrics(predicted, true)
    bled, large = true > 0, true >= 5
    assert found["patients"] == 120
    assert found["mae_ml"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, predicted))
    assert found["mse_ml2"] == pytest.approx(sklearn_metrics.mean_squared_error(true, predicted))
    for name, where in (("mape_percent", bled), ("mape_percent_from_5_ml", large)):
        expected = 100 * sklearn_metrics.mean_absolute_percentage_error(true[where], predicted[where])
        assert found[name] == pytest.approx(expected)
    assert found["mean_error_below_5_ml"] == pytest.approx(np.abs(predicted - true)[~large].mean())
    assert found["r"] == pytest.approx(stats.pearsonr(predicted, true).statistic)
    difference = predicted - true
    assert found["bias_ml"] == pytest.approx(difference.mean())
    assert found["limit_low_ml"] == pytest.approx(difference.mean() - 1.96 * np.std(difference, ddof=1))
    assert found["limit_high_ml"] == pytest.approx(difference.mean() + 1.96 * np.std(difference, ddof=1))


def test_fractions_by_hand():
    true = np.array([0.0, 0.0, 4.0, 10.0, 29.0, 31.0, 60.0])
    predicted = np.array([0.5, 2.0, 4.7, 13.0, 31.0, 36.5, 60.0])
    low, high = predicted - 2.5, predicted + 2.5
    found, _ = ours.volume_metrics(predicted, true, low, high)
    assert found["within_5_ml"] == pytest.approx(6 / 7)
    assert found["within_20_percent"] == pytest.approx(4 / 5)
    assert found["misclassified_30_ml"] == pytest.approx(1 / 7)
    assert found["no_bleed_below_1_ml"] == pytest.approx(1 / 2)
    assert found["interval_coverage"] == pytest.approx(5 / 7)
    assert found["interval_coverage_below_5_ml"] == 1
    assert found["interval_coverage_5_to_30_ml"] == pytest.approx(1 / 2)
    assert found["interval_coverage_from_30_ml"] == pytest.approx(1 / 2)


def test_icc_equals_the_published_example():
    """Shrout and Fleiss 1979, table 2: judges 1 and 4 of six targets; mean squares by scipy-free hand calculation."""
    first, fourth = np.array([9.0, 6, 8, 7, 10, 6]), np.array([8.0, 2, 8, 6, 9, 7])
    both = np.array([first, fourth])
    rows = 2 * np.var(both.mean(0), ddof=1)
    raters = 6 * np.var(both.mean(1), ddof=1)
    residual = ((both - both.mean(0) - both.mean(1)[:, None] + both.mean()) ** 2).sum() / 5
    assert ours.icc(first, fourth) == pytest.approx((rows - residual) / (rows + residual + 2 * (raters - residual) / 6))


def test_icc_equals_pingouin(volumes):
    pingouin = pytest.importorskip("pingouin", reason="the oracle, pingouin, is not installed")
    pandas = pytest.importorskip("pandas", reason="the oracle, pingouin, needs pandas")
    predicted, true = volumes
    table = pandas.DataFrame({
        "patient": np.tile(np.arange(120), 2), "rater": np.repeat(["a", "b"], 120), "value": np.concatenate(volumes),
    })  # fmt: skip
    result = pingouin.intraclass_corr(table, "patient", "rater", "value").set_index("Type")["ICC"]
    expected = result[[name for name in result.index if name in ("ICC2", "ICC(A,1)")][0]]
    assert ours.icc(predicted, true) == pytest.approx(expected)


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
    assert found["auc_best_reachable"] is None


def test_best_reachable_auc_is_that_of_the_true_probability(outcomes):
    probability, died = outcomes
    found, _ = ours.prognosis_metrics(np.full(200, 0.5), died, probability)
    assert found["auc"] == 0.5
    assert found["auc_best_reachable"] == pytest.approx(sklearn_metrics.roc_auc_score(died, probability))


def test_calibration_recovers_what_was_done_to_the_probability():
    generator = np.random.default_rng(2)
    log_odds = generator.normal(-0.5, 1.5, 50_000)
    died = (generator.uniform(size=log_odds.size) < 1 / (1 + np.exp(-log_odds))).astype(float)
    slope, intercept = ours.calibration_line(1 / (1 + np.exp(-log_odds)), died)
    assert (slope, intercept) == (pytest.approx(1, abs=0.03), pytest.approx(0, abs=0.03))
    slope, _ = ours.calibration_line(1 / (1 + np.exp(-2 * log_odds)), died)
    assert slope == pytest.approx(0.5, abs=0.02)
    _, intercept = ours.calibration_line(1 / (1 + np.exp(-(log_odds - 0.8))), died)
    assert intercept == pytest.approx(0.8, abs=0.03)


def test_bootstrap_intervals_equal_scipy(volumes, outcomes):
    predicted, true = volumes
    _, intervals = ours.volume_metrics(predicted, true, predicted - 3, predicted + 3, seed=3)
    expected = stats.bootstrap(
        (np.abs(predicted - true),), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(9)
    ).confidence_interval
    assert intervals["mae_ml"] == pytest.approx(list(expected), rel=0.08)
    _, intervals = ours.prognosis_metrics(*outcomes, seed=3)
    expected = stats.bootstrap(
        outcomes, _precision, paired=True,
        vectorized=False, method="percentile", n_resamples=400, rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    assert intervals["auprc"] == pytest.approx(list(expected), abs=0.04)


def _precision(probability, died):
    return sklearn_metrics.average_precision_score(died, probability)


def test_intervals_hold_the_estimate_and_come_again_with_the_seed(volumes, outcomes):
    for function, data in ((ours.volume_metrics, volumes), (ours.prognosis_metrics, outcomes)):
        found, intervals = function(*data)
        for name, interval in intervals.items():
            assert interval is None or interval[0] <= found[name] <= interval[1], name
        assert function(*data) == (found, intervals)
        assert function(*data, seed=1)[1] != intervals


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("predicted", "true"),
    [([3.0], [4.0]), ([0.0, 0.0], [0.0, 0.0]), ([5.0, 5.0, 5.0], [1.0, 9.0, 30.0])],
    ids=["one patient", "no bleed", "constant prediction"],
)
def test_what_is_not_defined_is_null_and_never_nan(predicted, true):
    for part in ours.volume_metrics(np.array(predicted), np.array(true)):
        json.dumps(part, allow_nan=False)
    found, intervals = ours.volume_metrics(np.array(predicted), np.array(true))
    if max(true) == 0:
        assert found["mape_percent"] is None and intervals["mape_percent"] is None and found["r"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("died", [[0, 0, 0], [1, 1, 1], [0, 0, 1]], ids=["all survived", "all died", "separated"])
def test_prognosis_of_few_patients_is_null_and_never_nan(died):
    found, intervals = ours.prognosis_metrics(np.array([0.1, 0.2, 0.9]), np.array(died))
    json.dumps([found, intervals], allow_nan=False)
    assert found["calibration_slope"] is None
    assert (found["auc"] is None) == (len(set(died)) == 1)


def test_real_volumes_of_another_method_give_plausible_agreement(data_folder):
    """Automatic and manual volumes of 105 head CT, five networks: published agreement is good, not perfect."""
    with (data_folder / "auto_vs_manual_volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = np.array([float(row["thresholded volume(mm)"]) for row in rows]) / 1000
    true = np.array([float(row["thresholded volume ground truth(mm)"]) for row in rows]) / 1000
    found, intervals = ours.volume_metrics(predicted, true)
    assert 0.8 < found["icc"] < 1 and found["icc"] <= found["r"] + 1e-3
    assert found["r"] == pytest.approx(stats.pearsonr(predicted, true).statistic)
    assert intervals["icc"][0] < found["icc"] < intervals["icc"][1]
