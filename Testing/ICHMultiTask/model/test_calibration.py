"""What the outputs mean: inverse maps, coverage of the interval, calibrated probability."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.calibration import _sigmoid_calibration

from ICHMultiTaskLib.common.errors import BundleError
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle
from ICHMultiTaskLib.model.bundle_metadata import _check_calibration
from ICHMultiTaskLib.model.calibration import (
    MIN_FOR_CORRECTION,
    MIN_IN_STRATUM,
    MIN_PER_OUTCOME,
    TARGETS,
    fit_calibration,
    fit_prognosis,
    fit_volume,
    fit_volume_interval,
    output_to_volume,
    volume_to_output,
)
from ICHMultiTaskLib.model.volume_correction import KNOTS_ML, before_correction, correct_volume

CROP_MM3 = 3.1e6


def bundle(**calibration):
    return ModelBundle(None, {"calibration": {**NO_CALIBRATION, **calibration}})


@pytest.mark.parametrize("target", TARGETS)
def test_output_and_volume_are_inverse(target):
    volumes = np.array([0.0, 0.2, 5.0, 33.5, 180.0])
    outputs = volume_to_output(volumes, target, CROP_MM3)
    assert outputs[0] == 0 and (np.diff(outputs) > 0).all()
    np.testing.assert_allclose(output_to_volume(outputs, target, CROP_MM3), volumes, rtol=1e-12)
    # One crop volume a case, as in a batch.
    crops = np.array([2e6, 2.5e6, 3e6, 3.5e6, 4e6])
    np.testing.assert_allclose(output_to_volume(volume_to_output(volumes, target, crops), target, crops), volumes)


@pytest.mark.parametrize(
    ("target", "output"), [("cube_root_ml", 3.0), ("cube_root_fraction", 0.03 ** (2 / 3)), ("fraction_percent", 0.09)]
)
def test_targets_by_hand(target, output):
    # 27 mL in a crop of 30 L: a fraction of 0.0009, whose cube root is 0.03^(2/3).
    assert volume_to_output(27.0, target, 30e6) == pytest.approx(output)


@pytest.mark.parametrize("target", TARGETS)
def test_a_negative_output_is_no_bleed(target):
    assert output_to_volume(-0.3, target, CROP_MM3) == 0.0


@pytest.mark.parametrize("function", [volume_to_output, output_to_volume])
def test_an_unknown_target_is_named(function):
    with pytest.raises(BundleError, match="target is unknown: expected one of cube_root_ml, .*, found 'liters'"):
        function(1.0, "liters", CROP_MM3)


def simulated_predictions(count, generator):
    """Errors that grow with the bleed and differ between small and large ones."""
    true = np.exp(generator.normal(2.5, 1.2, count))
    root = np.cbrt(true) + generator.standard_t(4, count) * (0.1 + 0.08 * np.cbrt(true))
    return np.maximum(root, 0) ** 3, true


def covered_by_stratum(interval, predicted, true):
    """For each stratum of the interval, whether it held each of its cases."""
    calibrated = bundle(volume_interval=interval)
    low, high = np.array([calibrated.volume_interval_ml(value) for value in predicted]).T
    inside = (low <= true) & (true <= high)
    edges = [stratum["up_to_ml"] for stratum in interval["strata"][:-1]]
    stratum = np.digitize(predicted, edges, right=True)
    return [inside[stratum == n] for n in range(len(edges) + 1)]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("count", [9, 19, 60, 250])
def test_interval_covers_new_cases_as_promised_in_each_stratum(coverage, count):
    """Averaged over calibration sets, coverage is at least nominal; that is what split-conformal promises."""
    generator = np.random.default_rng(5)
    covered = {}
    for _ in range(200):
        interval = fit_volume_interval(*simulated_predictions(count, generator), coverage)
        parts = covered_by_stratum(interval, *simulated_predictions(120, generator))
        for n, inside in enumerate(parts):
            # The last stratum of each is that of the largest bleeds, however many there are below.
            covered.setdefault(n - len(parts), []).append(inside)
        covered.setdefault("all", []).append(np.concatenate(parts))
    for name, found in covered.items():
        if len(found) < 60:
            continue  # that many strata are rare: too little for a mean
        inside = np.concatenate(found)
        # Cases of one calibration set share its luck: the spread between the sets is what the mean rests on.
        means = [part.mean() for part in found if len(part)]
        error = np.std(means) / np.sqrt(len(means))
        assert inside.mean() >= coverage - 3 * error, name
        # The excess is at most one rank of the smallest stratum that there can be.
        assert inside.mean() <= coverage + 1 / (min(count, 20) + 1) + 3 * error, name


def test_large_bleeds_of_which_there_are_few_are_covered_as_well():
    """Where only the pooled quantile was used, 90 % overall went with 40 % of the large bleeds."""
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(200):
        sets = []
        for count in (300, 400):
            large = np.arange(count) % 25 == 0  # 12 of 300 predictions lie above 30 mL
            predicted = np.where(large, generator.uniform(31, 80, count), generator.uniform(2, 29, count))
            root = np.cbrt(predicted + 1) + generator.normal(0, np.where(large, 0.5, 0.1), count)
            sets.append((predicted, np.maximum(root**3 - 1, 0)))
        interval = fit_volume_interval(*sets[0])
        assert min(stratum["patients"] for stratum in interval["strata"]) >= MIN_IN_STRATUM
        covered.append(covered_by_stratum(interval, *sets[1])[-1].mean())
    # Merged with its neighbor: the promise is kept for the stratum that the bleeds are told in.
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / np.sqrt(len(covered))


@pytest.mark.parametrize("count", range(2, 9))
def test_too_few_cases_give_no_interval(count):
    """⌈(n + 1) × 0.9⌉ > n up to 8: the largest residual holds too few."""
    predicted, true = simulated_predictions(count, np.random.default_rng(count))
    assert fit_volume_interval(predicted, true) is None
    found = fit_calibration(predicted, true, np.zeros(count), np.zeros(count))
    assert found["volume_interval"] is None
    assert f"No interval: {count} patients are too few." in found["notes"]


def test_interval_of_several_scans_a_patient_holds_for_a_new_patient():
    """A few patients with many scans each: by row, the quantile would be theirs."""
    generator = np.random.default_rng(8)

    def scans(patients):
        number = np.where(generator.uniform(size=patients) < 0.2, 20, 1)
        spread = np.where(number > 1, 0.02, 0.3)  # followed patients are the easy ones
        shift = np.repeat(generator.normal(0, spread), number)
        predicted = np.full(len(shift), 15.0)
        return predicted, (np.cbrt(16.0) + shift) ** 3 - 1, np.repeat(np.arange(patients), number)

    by_patient, by_row = [], []
    for _ in range(200):
        predicted, true, patients = scans(60)
        new, new_true, new_patients = scans(200)
        _, first = np.unique(new_patients, return_index=True)
        for found, groups in ((by_patient, patients), (by_row, None)):
            interval = fit_volume_interval(predicted, true, patients=groups)
            found.append(np.concatenate(covered_by_stratum(interval, new[first], new_true[first])).mean())
    error = np.std(by_patient) / np.sqrt(len(by_patient))
    assert np.mean(by_patient) == pytest.approx(0.9, abs=3 * error + 1 / 61)
    assert np.mean(by_row) < 0.7


def test_interval_by_hand():
    """Nine residuals of 0.1 … 0.9 cm of the softened root: the rank is ceil(10 × 0.8) = 8; of 0.9, 9."""
    true = (2 + np.arange(1, 10) / 10) ** 3 - 1.0
    for coverage, width in ((0.8, 0.8), (0.9, 0.9)):
        fitted = fit_volume_interval(np.full(9, 7.0), true, coverage)
        assert fitted["coverage"] == coverage
        (stratum,) = fitted["strata"]
        assert stratum == {"up_to_ml": None, "half_width_cm": pytest.approx(width), "patients": 9}
        low, high = bundle(volume_interval=fitted).volume_interval_ml(7.0)
        assert (low, high) == (pytest.approx((2 - width) ** 3 - 1.0), pytest.approx((2 + width) ** 3 - 1.0))


def test_interval_uses_the_finite_sample_quantile():
    """Of ten residuals, 90 % of eleven cases are held by the tenth; the ninth would hold 90 % of the ten alone."""
    true = (2 + np.arange(1, 11) / 10) ** 3 - 1.0
    (stratum,) = fit_volume_interval(np.full(10, 7.0), true, 0.9)["strata"]
    assert stratum["half_width_cm"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counts", "edges", "patients"),
    [
        ((40, 40, 40, 40), [1.0, 10.0, 30.0, None], [40, 40, 40, 40]),
        ((40, 40, 40, 20), [1.0, 10.0, 30.0, None], [40, 40, 40, 20]),
        ((40, 40, 40, 19), [1.0, 10.0, None], [40, 40, 59]),
        ((19, 40, 40, 40), [10.0, 30.0, None], [59, 40, 40]),
        ((40, 30, 5, 25), [1.0, 10.0, None], [40, 30, 30]),
        ((3, 3, 40, 40), [10.0, 30.0, None], None),
        ((10, 5, 0, 4), [None], [19]),
        ((0, 0, 0, 60), [None], [60]),
    ],
)
def test_strata_of_too_few_are_merged_with_their_smaller_neighbor(counts, edges, patients):
    predicted = np.repeat([0.5, 5.0, 20.0, 50.0], counts)
    if patients is None:  # 6 in the two lowest are still too few: they go on into the third
        edges, patients = [30.0, None], [46, 40]
    fitted = fit_volume_interval(predicted, predicted + 1)
    assert [stratum["up_to_ml"] for stratum in fitted["strata"]] == edges
    assert [stratum["patients"] for stratum in fitted["strata"]] == patients


def test_stratum_whose_largest_residual_is_the_quantile_stays_by_itself():
    """Of 20 patients, 95 % are held by the largest of the residuals; of 20 and 96 % by none."""
    predicted = np.repeat([0.5, 5.0, 20.0, 50.0], 20)
    assert [s["patients"] for s in fit_volume_interval(predicted, predicted + 1, 0.95)["strata"]] == [20] * 4
    assert [s["patients"] for s in fit_volume_interval(predicted, predicted + 1, 0.96)["strata"]] == [40] * 2


def test_a_prediction_at_an_edge_is_of_the_stratum_below():
    predicted = np.repeat([1.0, 10.0, 30.0, 50.0], 40)
    assert [stratum["patients"] for stratum in fit_volume_interval(predicted, predicted)["strata"]] == [40] * 4


def test_each_stratum_has_its_own_width():
    predicted = np.repeat([5.0, 50.0], 40)
    root = np.cbrt(predicted + 1.0)
    fitted = fit_volume_interval(predicted, (root + np.repeat([0.1, 0.5], 40)) ** 3 - 1.0)
    assert [stratum["half_width_cm"] for stratum in fitted["strata"]] == pytest.approx([0.1, 0.5])


def test_bundles_with_unmerged_strata_are_still_read():
    strata = [{"up_to_ml": edge, "half_width_cm": 0.3} for edge in (1.0, 10.0, 30.0, None)]
    old = bundle(volume_interval={"coverage": 0.9, "softening_ml": 1.0, "strata": strata})
    assert old.volume_interval_ml(7.0) == pytest.approx((1.7**3 - 1, 2.3**3 - 1))


def test_correction_reverses_shrinkage_of_volumes():
    """Roots shrunken to 90 % around 2 cm: the correction undoes it, and the interval is of what is left."""
    generator = np.random.default_rng(2)
    true = np.exp(generator.normal(2.5, 1.0, 2000))
    predicted = np.maximum((0.2 + 0.9 * np.cbrt(true + 1.0) + generator.normal(0, 0.02, 2000)) ** 3 - 1.0, 0)
    fitted = fit_volume(predicted[:1000], true[:1000])
    correction = fitted["volume_correction"]
    for volume in (3.0, 10.0, 40.0, 120.0):  # the last one is far beyond the last knot
        root = np.cbrt(volume + 1.0)
        assert np.cbrt(correct_volume(volume, correction) + 1.0) == pytest.approx((root - 0.2) / 0.9, rel=0.01)
    calibrated = bundle(**fitted)
    calibrated.metadata["target"] = "cube_root_ml"
    corrected = np.array([calibrated.volume_ml(np.cbrt(volume), 1.0) for volume in predicted[1000:]])
    assert abs(corrected - true[1000:]).mean() < 0.25 * abs(predicted[1000:] - true[1000:]).mean()
    bounds = np.array([calibrated.volume_interval_ml(volume) for volume in corrected])
    assert ((bounds[:, 0] <= true[1000:]) & (true[1000:] <= bounds[:, 1])).mean() == pytest.approx(0.9, abs=0.03)
    assert correct_volume(0.0, correction) >= 0.0


def widths(interval):
    return [stratum["half_width_cm"] for stratum in interval["strata"]]


def test_correction_has_the_least_absolute_deviations():
    """The oracle is a linear program; the correction's extra patient at each knot changes little."""
    predicted, true = simulated_predictions(600, np.random.default_rng(6))
    true[::11] *= 3.0  # missed bleeds, which a least-squares line would follow
    root, true_root = np.cbrt(predicted + 1.0), np.cbrt(true + 1.0)
    places = np.cbrt(np.array(KNOTS_ML) + 1.0)
    shares = np.zeros((600, 4))
    for n, value in enumerate(root):
        k = min(max(int(np.searchsorted(places, value)) - 1, 0), 2)
        shares[n, k + 1] = (value - places[k]) / (places[k + 1] - places[k])
        shares[n, k] = 1.0 - shares[n, k + 1]
    # Minimize the sum of u + v over heights, u and v ≥ 0, where shares @ heights + u − v = true_root.
    unit = np.eye(600)
    best = optimize.linprog(
        np.r_[np.zeros(4), np.ones(1200)], A_eq=np.hstack([shares, unit, -unit]), b_eq=true_root,
        bounds=[(None, None)] * 4 + [(0, None)] * 1200,
    )  # fmt: skip
    found = np.array(fit_volume(predicted, true)["volume_correction"]["knots_cm"])[:, 1]
    assert np.abs(true_root - shares @ found).sum() < 1.005 * best.fun
    assert found[1:] == pytest.approx(best.x[1:4], abs=0.02)  # few patients are near the first knot


def test_correction_rises_and_one_patient_does_not_bend_it():
    """No patient is near the last knot but one who was misread, and one beyond; volumes keep their order."""
    predicted = np.r_[np.linspace(0, 8, 148), 40.0, 45.0]
    true = np.r_[np.linspace(0, 8, 148), 2.0, 1.0]
    correction = fit_volume(predicted, true)["volume_correction"]
    corrected = correct_volume(np.linspace(0, 90, 181), correction)
    assert (np.diff(corrected) > 0).all()
    assert correct_volume(6.0, correction) == pytest.approx(6.0, rel=0.02)


def test_interval_is_of_scans_that_had_no_part_in_their_correction():
    """Each fifth of the patients is corrected by what fits the others, and so are the residuals."""
    generator = np.random.default_rng(4)
    predicted, true = simulated_predictions(200, generator)
    patients = np.array([f"p{n // 2}" if n < 100 else f"p{n}" for n in range(200)])  # 50 with two scans each
    names = sorted(set(patients))
    fold = np.array([names.index(name) % 5 for name in patients])
    crosswise = np.empty(200)
    for n in range(5):
        others = fold != n
        of_others = fit_volume(predicted[others], true[others], patients[others])["volume_correction"]
        crosswise[~others] = correct_volume(predicted[~others], of_others)
    fitted = fit_volume(predicted, true, patients)
    found = widths(fitted["volume_interval"])
    assert found == pytest.approx(widths(fit_volume_interval(crosswise, true, patients=patients)), rel=1e-9)
    in_sample = correct_volume(predicted, fitted["volume_correction"])
    assert found != pytest.approx(widths(fit_volume_interval(in_sample, true, patients=patients)), rel=1e-3)


def test_scans_of_a_patient_share_a_weight_in_the_correction():
    predicted, true = simulated_predictions(120, np.random.default_rng(5))
    once = fit_volume(predicted, true)["volume_correction"]
    rows = np.r_[np.arange(120), np.repeat(np.arange(5), 40)]  # five patients were scanned 40 times more
    shared = fit_volume(predicted[rows], true[rows], rows)["volume_correction"]
    np.testing.assert_allclose(shared["knots_cm"], once["knots_cm"], atol=1e-6)


@pytest.mark.parametrize("correction", [
    {"slope": 1.2, "offset_cm": -0.15, "softening_ml": 1.0},  # of earlier versions
    {"knots_cm": [[1.0, 0.9], [1.5, 1.6], [3.0, 3.4]], "softening_ml": 1.0},
])  # fmt: skip
def test_correction_has_an_inverse(correction):
    volumes = np.array([0.5, 3.0, 20.0, 90.0])
    np.testing.assert_allclose(before_correction(correct_volume(volumes, correction), correction), volumes)
    assert before_correction(7.0, None) == 7.0


def test_one_line_of_earlier_versions_is_applied_as_it_was():
    line = {"slope": 1.2, "offset_cm": -0.15, "softening_ml": 1.0}
    volumes = np.array([0.0, 0.5, 20.0, 400.0, 2000.0])
    expected = np.maximum((1.2 * np.cbrt(volumes + 1.0) - 0.15) ** 3 - 1.0, 0.0)
    np.testing.assert_allclose(correct_volume(volumes, line), expected)
    assert before_correction(0.0, line) == 0.0


@pytest.mark.parametrize("correction", [
    {"slope": 0.0, "offset_cm": 0.0, "softening_ml": 1.0},
    {"slope": 1.0, "offset_cm": float("nan"), "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0]], "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0], [2.0, 1.0]], "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0], [1.0, 2.0]], "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0], [2.0, float("inf")]], "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0], [2.0]], "softening_ml": 1.0},
    {"knots_cm": [[1.0, 1.0], [2.0, 2.0]], "softening_ml": -1.0},
])  # fmt: skip
def test_a_correction_that_cannot_be_is_refused(correction):
    with pytest.raises(BundleError, match="calibration in the metadata of"):
        _check_calibration({"volume_correction": correction}, "folder")


def test_few_scans_keep_the_correction_of_the_start():
    assert MIN_FOR_CORRECTION == 100
    predicted, true = simulated_predictions(MIN_FOR_CORRECTION - 1, np.random.default_rng(3))
    fitted = fit_volume(predicted, true)
    interval = fit_volume_interval(predicted, true)
    assert fitted == {"volume_correction": None, "outline": None, "volume_interval": interval}
    assert correct_volume(7.0, fitted["volume_correction"]) == 7.0
    line = {"slope": 1.1, "offset_cm": -0.1, "softening_ml": 1.0}
    start = {"volume_correction": line, "temperature": 2.0, "bias": -1.0}
    kept = fit_calibration(predicted, true, np.zeros(len(true)), np.zeros(len(true)), start=start)
    assert kept["volume_correction"] == line
    assert kept["volume_interval"] == fit_volume_interval(correct_volume(predicted, line), true)
    assert any("earlier volume correction was kept" in note for note in kept["notes"])
    alone = fit_calibration(predicted, true, np.zeros(len(true)), np.zeros(len(true)))
    enough = fit_calibration(*simulated_predictions(MIN_FOR_CORRECTION, np.random.default_rng(3)), None,
                             np.zeros(MIN_FOR_CORRECTION), start=start)  # fmt: skip
    assert enough["volume_correction"] != line
    assert not any("volume correction" in note for note in (*alone["notes"], *enough["notes"]))


def test_prognosis_recovers_temperature_and_bias():
    generator = np.random.default_rng(0)
    log_odds = generator.normal(0, 6, 40_000)
    temperature, bias = 3.0, -0.7
    truth = 1 / (1 + np.exp(-(log_odds / temperature + bias)))
    died = generator.uniform(size=truth.size) < truth
    fitted = fit_prognosis(log_odds, died)
    assert fitted["temperature"] == pytest.approx(temperature, rel=0.05)
    assert fitted["bias"] == pytest.approx(bias, abs=0.05)
    calibrated = bundle(**fitted)
    found = [calibrated.probability(value) for value in log_odds[:200]]
    np.testing.assert_allclose(found, truth[:200], atol=0.02)


def test_prognosis_of_a_head_that_learned_nothing_is_the_base_rate():
    generator = np.random.default_rng(1)
    died = np.arange(400) % 5 == 0
    fitted = fit_prognosis(-1.0 * died + 0.3 * generator.normal(size=400), died)  # worse than nothing
    calibrated = bundle(**fitted)
    for log_odds in (-20.0, 0.0, 20.0):
        assert calibrated.probability(log_odds) == pytest.approx(0.2, abs=1e-3)
    # Of 80 deaths and 320 survivals, half a patient added to each.
    assert fitted == {"temperature": 1e6, "bias": pytest.approx(np.log(80.5 / 320.5), rel=1e-12)}


@pytest.mark.parametrize("count", [20, 36, 400])
def test_prognosis_is_smoothed_as_in_platt(count):
    """The likelihood of Platt (1999) with his targets, minimized by SciPy."""
    generator = np.random.default_rng(count)
    log_odds = generator.normal(0, 3, count)
    died = (np.arange(count) % 2).astype(float)
    log_odds += 2 * died
    deaths, survivals = died.sum(), count - died.sum()
    target = np.where(died == 1, (deaths + 1) / (deaths + 2), 1 / (survivals + 2))

    def minus_log_likelihood(line):
        logit = line[0] * log_odds + line[1]
        return np.sum(np.logaddexp(0, logit) - target * logit)

    slope, bias = optimize.minimize(minus_log_likelihood, [1.0, 0.0], tol=1e-10).x
    fitted = fit_prognosis(log_odds, died)
    assert (1 / fitted["temperature"], fitted["bias"]) == (
        pytest.approx(slope, rel=1e-3), pytest.approx(bias, abs=1e-3)
    )  # fmt: skip


def test_prognosis_equals_that_of_scikit_learn(recwarn):
    generator = np.random.default_rng(6)
    log_odds = generator.normal(0, 2, 300)
    died = (generator.uniform(size=300) < 1 / (1 + np.exp(1.5 - 0.6 * log_odds))).astype(int)
    slope, bias = _sigmoid_calibration(log_odds, died)  # of CalibratedClassifierCV
    fitted = fit_prognosis(log_odds, died)
    assert (1 / fitted["temperature"], fitted["bias"]) == (
        pytest.approx(-slope, rel=1e-3), pytest.approx(-bias, abs=1e-3)
    )  # fmt: skip


def test_prognosis_that_separates_a_few_patients_gives_no_certainty():
    """On 24 separated patients the unsmoothed fit gives 0 and 1 to four digits."""
    log_odds = np.concatenate([np.linspace(-9, -4, 12), np.linspace(4, 9, 12)])
    calibrated = bundle(**fit_prognosis(log_odds, log_odds > 0))
    found = [calibrated.probability(value) for value in log_odds]
    assert min(found) > 0.02 and max(found) < 0.98 and (np.diff(found) > 0).all()


def test_prognosis_of_too_few_patients_is_that_of_the_start():
    few = MIN_PER_OUTCOME - 1
    died = np.arange(60) < few
    log_odds = np.linspace(3, -3, 60)
    assert fit_prognosis(log_odds, died) is None and fit_prognosis(log_odds, ~died) is None
    volumes = np.full(60, 10.0)
    start = {"temperature": 3.0, "bias": -0.4}
    found = fit_calibration(volumes, volumes, log_odds, died, start=start)
    assert (found["temperature"], found["bias"]) == (3.0, -0.4)
    assert "found 9 deaths and 51 survivals" in found["notes"][-1]
    alone = fit_calibration(volumes, volumes, log_odds, died)
    assert (alone["temperature"], alone["bias"]) == (1.0, 0.0)
    # Ten scans of one who died are one death.
    patients = np.concatenate([np.zeros(20), np.arange(1, 41)])
    assert fit_prognosis(log_odds, np.arange(60) < 20, patients) is None


def test_scans_of_a_patient_count_as_one():
    generator = np.random.default_rng(9)
    log_odds = generator.normal(0, 2, 80)
    died = (generator.uniform(size=80) < 1 / (1 + np.exp(0.5 - log_odds))).astype(float)
    expected = fit_prognosis(log_odds, died)
    twice = np.arange(80).repeat(np.where(np.arange(80) < 30, 5, 1))
    found = fit_prognosis(log_odds[twice], died[twice], twice)
    assert found == {name: pytest.approx(value, rel=1e-3, abs=1e-3) for name, value in expected.items()}


def test_head_that_was_not_trained_is_not_calibrated():
    died = np.arange(40) % 4 == 0
    found = fit_calibration(None, np.ones(40), np.zeros(40), died)
    assert found["volume_interval"] is None and found["volume_correction"] is None
    found = fit_calibration(np.full(40, 3.0), np.full(40, 3.0), None, died)
    assert bundle(**found).probability(50.0) == pytest.approx(0.25, abs=0.02)  # the base rate
