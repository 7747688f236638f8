"""Patients that a validation needs: against published examples, formulas and draws."""

import math

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.evaluation import sample_size as size
from ICHMultiTaskTrainingLib.evaluation.metrics import auc


def test_formulas_by_hand():
    # A proportion of one half with an interval of ±5 %: the textbook's 385, less Wilson's pull to the middle.
    assert size.for_coverage(0.10, 0.5) == pytest.approx(385, abs=5)
    assert size.for_bias(2.0, 8.0) == math.ceil((2 * 1.959964 * 8 / 2) ** 2)
    assert size.for_limits_of_agreement(2.0, 8.0) == pytest.approx(3 * size.for_bias(2.0, 8.0), abs=3)
    # Riley et al. 2021: ln(O/E) has the variance (1 - φ) / (n φ).
    n = size.for_observed_to_expected(0.4, 0.35)
    half = 1.959964 * math.sqrt(0.65 / (n * 0.35))
    assert math.exp(half) - math.exp(-half) == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("expected, mortality", [(0.85, 0.35), (0.75, 0.12)])
def test_width_of_the_auc_is_that_of_draws(expected, mortality):
    """The standard error of the AUC in 2,000 drawn studies of the size that the formula gives."""
    n = size.for_auc(0.10, expected, mortality)
    rng, spread = np.random.default_rng(0), math.sqrt(2) * size.norm.ppf(expected)
    died = rng.uniform(size=(2000, n)) < mortality
    found = auc(rng.normal(died * spread, 1.0), died.astype(float))
    assert found.mean() == pytest.approx(expected, abs=0.005)
    # The formula rests on exponential scores, the draws on normal ones: they differ by some percent.
    assert 2 * size.Z * found.std() == pytest.approx(0.10, rel=0.12)


def test_width_of_the_calibration_slope_is_that_of_draws():
    from sklearn.linear_model import LogisticRegression

    expected, mortality, width = 0.85, 0.35, 0.6
    n = size.for_calibration_slope(width, expected, mortality)
    rng, spread = np.random.default_rng(0), math.sqrt(2) * size.norm.ppf(expected)
    slopes = []
    for _ in range(300):
        died = rng.uniform(size=n) < mortality
        log_odds = math.log(mortality / (1 - mortality)) + rng.normal((died - 0.5) * spread**2, spread)
        slopes.append(LogisticRegression(C=np.inf).fit(log_odds[:, None], died).coef_[0, 0])
    # Of 300 draws the spread is known within 8 % (two standard errors); maximum likelihood adds some percent.
    assert 2 * size.Z * np.std(slopes) == pytest.approx(width, rel=0.2)


def test_a_narrower_interval_needs_more_patients_and_one_fewer_is_not_enough():
    for function, arguments in ((size.for_auc, (0.85, 0.35)), (size.for_coverage, (0.9,)), (size.for_bias, (8.0,))):
        wide, narrow = (function(width, *arguments) for width in (0.2, 0.1))
        assert 2 <= wide < narrow


def test_impossible_values_are_refused(capsys):
    with pytest.raises(InputError, match="The AUC is out of range: expected above 0.5 and below 1, found 0.4"):
        size.for_auc(0.1, 0.4, 0.3)
    with pytest.raises(InputError, match="cannot be reached"):
        size.for_bias(1e-6, 8.0)
    assert cli.main(["sample-size", "--mortality", "1.2"]) == 1
    assert "mortality is out of range" in capsys.readouterr().err
    assert cli.main(["sample-size", "--coverage", "90"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("The coverage is out of range") and not printed.out


def test_command_prints_a_table(capsys):
    assert cli.main(["sample-size", "--auc", "0.8", "--mortality", "0.12"]) == 0
    text = capsys.readouterr().out
    assert f"0.1: {size.for_auc(0.1, 0.8, 0.12):,}" in text and text.count("\n|") == 8
