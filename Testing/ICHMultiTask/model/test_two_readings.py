"""The reported volume from the network's reading and the outlined volume."""

import numpy as np
import pytest
from scipy import optimize

from ICHMultiTaskLib.common.errors import BundleError
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle
from ICHMultiTaskLib.model.bundle_metadata import _check_calibration
from ICHMultiTaskLib.model.calibration import fit_calibration, fit_volume, fit_volume_interval
from ICHMultiTaskLib.model.two_readings import AGREEMENT, WEIGHTS, fit_outline, joint_volume
from ICHMultiTaskLib.model.volume_correction import correct_volume

AS_IT_IS = {"knots_cm": [[1.0, 1.0], [2.0, 2.0]], "softening_ml": 1.0}


def outline(weight=0.5, correction=AS_IT_IS):
    return {"weight": weight, "correction": correction}


def readings(count, generator, network=0.25, outlined=0.1, missing=0.2):
    """True volumes and two readings of them, whose cube roots err independently by so many cm."""
    true = np.exp(generator.normal(2.5, 1.0, count))
    root = np.cbrt(true + 1.0)
    first, second = (
        np.maximum(root + spread * generator.standard_normal(count), 1.0) ** 3 - 1.0 for spread in (network, outlined)
    )
    second[generator.random(count) < missing] = np.nan
    return first, second, true


def test_mean_by_hand():
    # (7 + 1)^(1/3) = 2 cm and (11 + 1)^(1/3) = 2.2894 cm: their mean, in mL.
    assert joint_volume(7.0, 9.5, outline(0.5)) == pytest.approx(((2 + 10.5 ** (1 / 3)) / 2) ** 3 - 1)
    assert joint_volume(7.0, 9.5, outline(0.0)) == pytest.approx(7.0)
    assert joint_volume(7.0, 9.5, outline(1.0)) == pytest.approx(9.5)
    doubled = {"knots_cm": [[1.0, 1.0], [2.0, 3.0]], "softening_ml": 1.0}
    assert joint_volume(7.0, 7.0, outline(0.5, doubled)) == pytest.approx(3.0**3 - 1)


@pytest.mark.parametrize(("outlined", "counts_as"), [(300.0, 20 * AGREEMENT), (0.1, 20 / AGREEMENT), (25.0, 25.0)])
def test_an_outline_that_differs_much_counts_as_far_as_the_limit(outlined, counts_as):
    assert joint_volume(20.0, outlined, outline(0.75)) == pytest.approx(joint_volume(20.0, counts_as, outline(0.75)))


def test_without_an_outline_it_is_the_network_alone():
    steep = {"knots_cm": [[1.0, 1.0], [2.0, 3.0]], "softening_ml": 1.0}
    np.testing.assert_allclose(
        joint_volume(np.array([3.0, 8.0]), np.array([np.nan, 9.0]), outline(1.0, steep))[0], 3.0, rtol=1e-12
    )
    bundle = ModelBundle(None, {"calibration": {**NO_CALIBRATION, "outline": outline(1.0)}})
    assert bundle.joint_volume_ml(8.0, None) == 8.0 and bundle.joint_volume_ml(8.0, 9.0) == pytest.approx(9.0)
    assert ModelBundle(None, {"calibration": NO_CALIBRATION}).joint_volume_ml(8.0, 9.0) == 8.0
    assert isinstance(bundle.joint_volume_ml(8.0, 9.0), float)


def test_scans_without_any_outline_change_nothing():
    first, second, true = readings(150, np.random.default_rng(7), missing=1.0)
    fitted = fit_volume(first, true, outlined_ml=second)
    assert fitted["outline"]["weight"] == 0.0
    network = correct_volume(first, fitted["volume_correction"])
    np.testing.assert_array_equal(joint_volume(network, second, fitted["outline"]), network)
    assert fitted["volume_interval"] == fit_volume(first, true)["volume_interval"]


def test_volume_never_falls_when_a_reading_rises():
    fitted = fit_outline(*readings(300, np.random.default_rng(1)))
    volumes = np.linspace(0.0, 150.0, 301)
    assert (np.diff(joint_volume(volumes, np.full(301, 30.0), fitted)) >= 0).all()
    assert (np.diff(joint_volume(np.full(301, 30.0), volumes, fitted)) >= 0).all()


@pytest.mark.parametrize(("network", "outlined", "weight"), [(0.3, 0.05, 1.0), (0.05, 0.3, 0.0), (0.1, 0.1, 0.5)])
def test_weight_follows_the_better_reading(network, outlined, weight):
    first, second, true = readings(2000, np.random.default_rng(2), network, outlined)
    assert fit_outline(first, second, true)["weight"] == weight
    assert weight in WEIGHTS


def test_fit_equals_a_search_over_all_weights():
    """The oracle minimizes the same error over a continuous weight; the chosen one is hardly worse."""
    first, second, true = readings(800, np.random.default_rng(3), 0.2, 0.12)
    fitted = fit_outline(first, second, true)
    known = ~np.isnan(second)

    def error(weight):
        mean = joint_volume(first[known], second[known], outline(weight))
        correction = fit_volume(mean, true[known])["volume_correction"]
        return np.abs(correct_volume(mean, correction) - true[known]).mean()

    best = optimize.minimize_scalar(error, bounds=(0, 1), method="bounded")
    joint = joint_volume(first[known], second[known], fitted)
    assert np.abs(joint - true[known]).mean() < 1.02 * best.fun


def test_two_readings_err_less_than_each_and_the_interval_is_theirs():
    generator = np.random.default_rng(4)
    first, second, true = readings(4000, generator, 0.15, 0.15)
    of = slice(0, 2000)
    fitted = fit_volume(first[of], true[of], outlined_ml=second[of])
    alone = fit_volume(first[of], true[of])
    network = correct_volume(first[2000:], fitted["volume_correction"])
    joint = joint_volume(network, second[2000:], fitted["outline"])
    test = true[2000:]
    assert np.abs(joint - test).mean() < 0.85 * np.abs(network - test).mean()
    bundle = ModelBundle(None, {"calibration": {**NO_CALIBRATION, **fitted}})
    low, high = np.array([bundle.volume_interval_ml(volume) for volume in joint]).T
    assert ((low <= test) & (test <= high)).mean() == pytest.approx(0.9, abs=0.03)
    widths, before = (
        np.array([stratum["half_width_cm"] for stratum in found["volume_interval"]["strata"]])
        for found in (fitted, alone)
    )
    assert widths.shape == before.shape and (widths[1:] < before[1:]).all()


def test_interval_is_of_scans_that_had_no_part_in_the_combination():
    first, second, true = readings(200, np.random.default_rng(5))
    crosswise, fold = np.empty(200), np.arange(200) % 5
    for n in range(5):
        of = fit_volume(first[fold != n], true[fold != n], outlined_ml=second[fold != n])
        network = correct_volume(first[fold == n], of["volume_correction"])
        crosswise[fold == n] = joint_volume(network, second[fold == n], of["outline"])
    found = fit_volume(first, true, outlined_ml=second)["volume_interval"]
    assert found == fit_volume_interval(crosswise, true)


def test_few_scans_keep_the_combination_of_the_start():
    first, second, true = readings(60, np.random.default_rng(6))
    start = {"volume_correction": AS_IT_IS, "outline": outline(0.75), "temperature": 1.0, "bias": 0.0}
    nothing = np.zeros(60)
    kept = fit_calibration(first, true, nothing, nothing, start=start, outlined_ml=second)
    assert kept["outline"] == outline(0.75)
    assert kept["volume_interval"] == fit_volume_interval(joint_volume(first, second, outline(0.75)), true)
    # What was not outlined cannot be combined.
    assert fit_calibration(first, true, nothing, nothing, start=start)["outline"] is None


@pytest.mark.parametrize("wrong", [
    {"weight": 1.5, "correction": AS_IT_IS},
    {"weight": float("nan"), "correction": AS_IT_IS},
    {"weight": 0.5},
    {"weight": 0.5, "correction": {"knots_cm": [[1.0, 2.0], [2.0, 1.0]], "softening_ml": 1.0}},
])  # fmt: skip
def test_a_combination_that_cannot_be_is_refused(wrong):
    with pytest.raises(BundleError, match="calibration in the metadata of"):
        _check_calibration({"outline": wrong}, "folder")
