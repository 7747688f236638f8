"""Statistics against published values, hand formulas, scikit-learn, SciPy, pingouin and statsmodels."""

import csv
import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from ICHMultiTaskLib.comparison import statistics as ours

SHROUT_FLEISS = np.array([[9.0, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Table 2 of Shrout and Fleiss 1979: six targets rated by four judges; their table 4 gives an ICC(2,1) of .29."""


@pytest.fixture
def volumes():
    generator = np.random.default_rng(0)
    true = np.exp(generator.normal(2.5, 1.3, 120))
    true[:10] = 0
    predicted = np.maximum(true * generator.normal(1.1, 0.2, 120) + generator.normal(0, 1, 120), 0)
    return predicted, true


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
    # By the measured volume, as the interval is promised: 29 mL that reads 31 counts above 30.
    strata = ("up_to_1_ml", "1_to_10_ml", "10_to_30_ml", "above_30_ml")
    assert [found[f"interval_coverage_{name}"] for name in strata] == pytest.approx([1, 1, 0, 2 / 3])


def test_limits_hold_where_they_are_reached_exactly():
    reference = np.arange(1, 600) / 10
    for factor in (0.8, 1.2):
        found, _ = ours.volume_metrics(np.round(reference * factor, 2), reference, resamples=10)
        assert found["within_20_percent"] == 1.0
    assert ours.volume_metrics(np.round(reference * 1.21, 3), reference, resamples=10)[0]["within_20_percent"] == 0.0
    assert ours.volume_metrics(np.round(reference + 5, 1), reference, resamples=10)[0]["within_5_ml"] == 1.0


@pytest.mark.parametrize("count", [3, 6, 7, 10, 11, 13])
@pytest.mark.parametrize("volume", [0.1, 0.3, 7.7, 12.3, 29.9])
def test_equal_volumes_have_no_correlation(volume, count):
    found, intervals = ours.volume_metrics([volume] * count, [volume] * count, resamples=100)
    assert found["icc"] is None and found["r"] is None and intervals["icc"] is None
    found, intervals = ours.volume_metrics([volume] * count, np.arange(count) + 0.1, resamples=100)
    assert found["r"] is None and intervals["r"] is None


def test_icc_equals_the_published_example():
    assert ours.icc(*SHROUT_FLEISS.T) == pytest.approx(0.2898, abs=5e-5)


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


def test_icc_of_four_raters_equals_pingouin():
    pingouin = pytest.importorskip("pingouin", reason="the oracle, pingouin, is not installed")
    pandas = pytest.importorskip("pandas", reason="the oracle, pingouin, needs pandas")
    table = pandas.DataFrame({
        "target": np.repeat(np.arange(6), 4), "rater": np.tile(np.arange(4), 6), "value": SHROUT_FLEISS.ravel(),
    })  # fmt: skip
    result = pingouin.intraclass_corr(table, "target", "rater", "value").set_index("Type")["ICC"]
    expected = result[[name for name in result.index if name in ("ICC2", "ICC(A,1)")][0]]
    assert ours.icc(*SHROUT_FLEISS.T) == pytest.approx(expected)


def test_patients_with_a_missing_volume_are_left_out(volumes):
    measured, reference = (column.copy() for column in volumes)
    measured[::7], reference[3::11] = np.nan, np.nan
    known = np.isfinite(measured + reference)
    low, high = measured - 2, measured + 2
    found, intervals = ours.volume_metrics(measured, reference, low, high)
    expected, _ = ours.volume_metrics(measured[known], reference[known], low[known], high[known])
    assert found["patients"] == known.sum() < 120
    assert found == pytest.approx(expected)
    for name, interval in intervals.items():
        assert interval[0] <= found[name] <= interval[1], name
    third = np.where(np.arange(120) % 5, reference * 1.1, np.nan)
    known &= np.isfinite(third)
    assert ours.icc(measured, reference, third) == pytest.approx(
        float(ours.icc(measured[known], reference[known], third[known]))
    )


def test_bootstrap_intervals_equal_scipy(volumes):
    predicted, true = volumes
    _, intervals = ours.volume_metrics(predicted, true, seed=3)
    expected = stats.bootstrap(
        (np.abs(predicted - true),), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(9)
    ).confidence_interval
    assert intervals["mae_ml"] == pytest.approx(list(expected), rel=0.08)


def test_bootstrap_draws_patients_with_all_their_scans(volumes):
    """Each patient three times over: by row the interval would be √3 too narrow; by patient it stays as it is."""
    predicted, true = (np.repeat(column, 3) for column in volumes)
    patients = np.repeat([f"p{n}" for n in range(len(volumes[0]))], 3)
    once, expected = ours.volume_metrics(*volumes, seed=3)
    found, by_patient = ours.volume_metrics(predicted, true, seed=3, patients=patients)
    _, by_row = ours.volume_metrics(predicted, true, seed=3)
    assert (found["patients"], found["scans"]) == (len(volumes[0]), len(predicted)) and "scans" not in once
    assert found["mae_ml"] == pytest.approx(once["mae_ml"])
    width = {name: np.diff(intervals["mae_ml"])[0] for name, intervals in
             (("expected", expected), ("patient", by_patient), ("row", by_row))}  # fmt: skip
    # Percentiles of 1,000 resamples scatter by a few percent.
    assert width["patient"] == pytest.approx(width["expected"], rel=0.12)
    assert width["row"] == pytest.approx(width["expected"] / np.sqrt(3), rel=0.12)


def test_bootstrap_in_parts_equals_that_of_the_whole():
    values = np.random.default_rng(4).normal(size=4000)
    _, intervals = ours.with_intervals(lambda v: {"mean": v.mean(-1)}, [values], {}, seed=5, resamples=600)
    whole = values[np.random.default_rng(5).integers(0, 4000, (600, 4000))].mean(-1)
    assert intervals["mean"] == pytest.approx(np.percentile(whole, [2.5, 97.5]))


def test_intervals_contain_the_estimate_and_are_reproducible(volumes):
    found, intervals = ours.volume_metrics(*volumes)
    for name, interval in intervals.items():
        assert interval is None or interval[0] <= found[name] <= interval[1], name
    assert ours.volume_metrics(*volumes) == (found, intervals)
    assert ours.volume_metrics(*volumes, seed=1)[1] != intervals


def test_paired_tests_by_hand():
    reference = np.array([10.0, 20, 29, 40, 50, 28, 31, 8])
    second = reference + [1, -1, 2, 1, -2, 1, 1, np.nan]  # errs least; puts 29 + 2 on the wrong side of 30
    first = reference + [2, 3, 0.5, -11, 6, 3, -3, 9]
    found = ours.compare_errors(first, second, reference)
    # Absolute errors differ by 1, 2, -1.5, 10, 4, 2, 2: the negative one has rank 2 of 7.
    assert found["patients"] == 7
    assert found["mae_difference_ml"] == pytest.approx((1 + 2 - 1.5 + 10 + 4 + 2 + 2) / 7)
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon([1, 2, -1.5, 10, 4, 2, 2]).pvalue)
    assert (found["only_first_misclassified"], found["only_second_misclassified"]) == (3, 1)
    assert found["mcnemar_p"] == pytest.approx(2 * (1 + 4) / 2**4)
    assert ours.compare_errors(second, first, reference)["mae_difference_ml"] == -found["mae_difference_ml"]


def test_scans_of_a_patient_count_as_one_in_the_paired_tests():
    generator = np.random.default_rng(8)
    reference, first, second = np.full(12, 29.0), *(29 + generator.normal(0, 3, (2, 12)))
    once = ours.compare_errors(first, second, reference, resamples=10)
    thrice = ours.compare_errors(
        *(np.repeat(volumes, 3) for volumes in (first, second, reference)),
        resamples=10,
        patients=np.repeat([f"P{n}" for n in range(12)], 3),
    )
    assert (thrice["patients"], thrice["scans"]) == (12, 36)
    for name in ("wilcoxon_p", "mcnemar_p", "only_first_misclassified", "only_second_misclassified"):
        assert thrice[name] == once[name] is not None, name
    assert once["wilcoxon_p"] == stats.wilcoxon(np.abs(first - reference), np.abs(second - reference)).pvalue


def test_signed_rank_test_is_exact_for_few_patients():
    reference = np.arange(1.0, 6)
    found = ours.compare_errors(reference + reference, reference + 0.5, reference)
    assert found["wilcoxon_p"] == pytest.approx(2 / 2**5)


def test_difference_of_errors_is_paired():
    reference = np.array([5.0, 10, 20, 40, 80])
    error = np.array([1.0, 3, 2, 9, 4])
    found = ours.compare_errors(reference + error + 1, reference - error, reference)
    assert found["mae_difference_ml_interval"] == pytest.approx([1, 1])  # though the errors themselves vary


@pytest.mark.filterwarnings("error")
def test_equal_methods_are_not_tested():
    reference = np.array([5.0, 10, 40])
    found = ours.compare_errors(reference + 0.1 + 0.2, reference - 0.3, reference)
    assert found["mae_difference_ml"] == pytest.approx(0)
    assert found["wilcoxon_p"] is None and found["mcnemar_p"] is None
    found = ours.compare_errors(np.full(3, np.nan), reference, reference)
    assert found["patients"] == 0 and found["mae_difference_ml"] is None and found["wilcoxon_p"] is None


def test_holm_by_hand():
    # Smallest first: 4 × 0.005; 3 × 0.01; 2 × 0.03; 1 × 0.04, raised to the one before.
    assert ours.holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert ours.holm([0.7, 0.6]) == [1, 1] and ours.holm([None]) == [None] and ours.holm([]) == []


def test_holm_and_mcnemar_equal_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="the oracle, statsmodels, is not installed")
    from statsmodels.stats.contingency_tables import mcnemar

    p_values = np.random.default_rng(6).uniform(0, 0.1, 9)
    assert ours.holm(list(p_values)) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])
    generator = np.random.default_rng(7)
    reference, first, second = generator.uniform(10, 50, (3, 60))
    found = ours.compare_errors(first, second, reference)
    table = [[20, found["only_first_misclassified"]], [found["only_second_misclassified"], 20]]
    assert found["mcnemar_p"] == pytest.approx(mcnemar(table, exact=True).pvalue)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("predicted", "true"),
    [([3.0], [4.0]), ([0.0, 0.0], [0.0, 0.0]), ([5.0, 5.0, 5.0], [1.0, 9.0, 30.0])],
    ids=["one patient", "no bleed", "constant prediction"],
)
def test_undefined_metrics_are_null_and_never_nan(predicted, true):
    for part in ours.volume_metrics(np.array(predicted), np.array(true)):
        json.dumps(part, allow_nan=False)
    found, intervals = ours.volume_metrics(np.array(predicted), np.array(true))
    if max(true) == 0:
        assert found["mape_percent"] is None and intervals["mape_percent"] is None and found["r"] is None


def test_real_volumes_of_another_method_give_plausible_agreement(data_folder):
    """Automatic and manual volumes of head CT, five networks: published agreement is good, not perfect."""
    with (data_folder / "auto_vs_manual_volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = np.array([float(row["thresholded volume(mm)"]) for row in rows]) / 1000
    reference = np.array([float(row["thresholded volume ground truth(mm)"]) for row in rows]) / 1000
    found, intervals = ours.volume_metrics(measured, reference)
    assert 0.8 < found["icc"] < 1 and found["icc"] <= found["r"] + 1e-3
    assert found["r"] == pytest.approx(stats.pearsonr(measured, reference).statistic)
    assert intervals["icc"][0] < found["icc"] < intervals["icc"][1]
