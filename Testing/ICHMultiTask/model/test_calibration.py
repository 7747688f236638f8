"""What the outputs mean: inverse maps, coverage of the interval, calibrated probability."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import BundleError
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle
from ICHMultiTaskLib.model.calibration import (
    FEWEST_FOR_CORRECTION,
    TARGETS,
    correct_volume,
    fit_prognosis,
    fit_volume,
    fit_volume_interval,
    output_to_volume,
    volume_to_output,
)

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


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("count", [19, 250])
def test_interval_covers_new_cases_as_promised(coverage, count):
    """Averaged over calibration sets, coverage is at least nominal; that is what split-conformal promises."""
    generator = np.random.default_rng(5)
    covered, by_stratum = [], {}
    for _ in range(200):
        calibrated = bundle(volume_interval=fit_volume_interval(*simulated_predictions(count, generator), coverage))
        predicted, true = simulated_predictions(200, generator)
        bounds = np.array([calibrated.volume_interval_ml(value) for value in predicted])
        inside = (bounds[:, 0] <= true) & (true <= bounds[:, 1])
        covered.append(inside.mean())
        for stratum in range(4):
            members = np.digitize(predicted, (2, 10, 30), right=True) == stratum
            by_stratum.setdefault(stratum, []).extend(inside[members])
    standard_error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) >= coverage - 2 * standard_error
    assert np.mean(covered) <= coverage + 0.06
    if count == 250:
        for values in by_stratum.values():
            assert np.mean(values) == pytest.approx(coverage, abs=0.04)


def test_interval_by_hand():
    """Nine residuals of 0.1 … 0.9 cm of the softened root: the rank is ceil(10 × 0.8) = 8."""
    true = (2 + np.arange(1, 10) / 10) ** 3 - 1.0
    fitted = fit_volume_interval(np.full(9, 7.0), true, coverage=0.8)
    assert fitted["coverage"] == 0.8
    assert [stratum["up_to_ml"] for stratum in fitted["strata"]] == [1.0, 10.0, 30.0, None]
    assert all(stratum["half_width_cm"] == pytest.approx(0.8) for stratum in fitted["strata"])
    low, high = bundle(volume_interval=fitted).volume_interval_ml(7.0)
    assert (low, high) == (pytest.approx(1.2**3 - 1.0), pytest.approx(2.8**3 - 1.0))


def test_a_large_stratum_gets_its_own_width():
    predicted = np.repeat([5.0, 50.0], 40)
    root = np.cbrt(predicted + 1.0)
    fitted = fit_volume_interval(predicted, (root + np.repeat([0.1, 0.5], 40)) ** 3 - 1.0)
    assert fitted["strata"][1]["half_width_cm"] == pytest.approx(0.1)
    assert fitted["strata"][3]["half_width_cm"] == pytest.approx(0.5)


def test_correction_takes_shrunken_volumes_back():
    """Roots shrunken to 90 % around 2 cm: the line that undoes it, and an interval of what is left."""
    generator = np.random.default_rng(2)
    true = np.exp(generator.normal(2.5, 1.0, 2000))
    predicted = np.maximum((0.2 + 0.9 * np.cbrt(true + 1.0) + generator.normal(0, 0.02, 2000)) ** 3 - 1.0, 0)
    fitted = fit_volume(predicted[:1000], true[:1000])
    line = fitted["volume_correction"]
    assert (line["slope"], line["offset_cm"]) == (pytest.approx(1 / 0.9, rel=0.01), pytest.approx(-0.2 / 0.9, abs=0.02))
    calibrated = bundle(**fitted)
    calibrated.metadata["target"] = "cube_root_ml"
    corrected = np.array([calibrated.volume_ml(np.cbrt(volume), 1.0) for volume in predicted[1000:]])
    assert abs(corrected - true[1000:]).mean() < 0.25 * abs(predicted[1000:] - true[1000:]).mean()
    bounds = np.array([calibrated.volume_interval_ml(volume) for volume in corrected])
    assert ((bounds[:, 0] <= true[1000:]) & (true[1000:] <= bounds[:, 1])).mean() == pytest.approx(0.9, abs=0.03)
    assert correct_volume(0.0, line) >= 0.0


def test_few_scans_correct_nothing():
    predicted, true = simulated_predictions(FEWEST_FOR_CORRECTION - 1, np.random.default_rng(3))
    fitted = fit_volume(predicted, true)
    assert fitted == {"volume_correction": None, "volume_interval": fit_volume_interval(predicted, true)}
    assert correct_volume(7.0, fitted["volume_correction"]) == 7.0


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


def test_prognosis_stays_finite_where_the_head_is_perfect():
    log_odds = np.concatenate([np.linspace(-9, -4, 30), np.linspace(4, 9, 30)])
    fitted = fit_prognosis(log_odds, log_odds > 0)
    assert fitted["temperature"] > 0 and np.isfinite([*fitted.values()]).all()


@pytest.mark.parametrize("died", [np.zeros(30), np.ones(30)], ids=["all survived", "all died"])
def test_prognosis_of_a_cohort_with_one_outcome(died):
    fitted = fit_prognosis(np.linspace(-3, 3, 30), died)
    assert np.isfinite([*fitted.values()]).all()
    assert bundle(**fitted).probability(1.0) == pytest.approx(died.mean(), abs=0.05)
