"""DeLong's test against an independent implementation, and against its definition by pairs of patients."""

import numpy as np
import pytest
from scipy.stats import norm

from ICHMultiTaskTrainingLib.evaluation.delong import delong
from ICHMultiTaskTrainingLib.evaluation.metrics import auc


def patients(seed, count=80, ties=False):
    rng = np.random.default_rng(seed)
    died = (rng.uniform(size=count) < 0.3).astype(int)
    truth = died + rng.normal(0, 1, count)
    first, second = truth + rng.normal(0, 0.5, count), truth + rng.normal(0, 1.5, count)
    return (np.round(first), np.round(second), died) if ties else (first, second, died)


def by_pairs(first, second, died):
    """DeLong et al. 1988, equations 3 to 9: every death beside every survivor."""
    deaths, survivors = np.flatnonzero(died), np.flatnonzero(1 - died)
    wins = np.array(
        [[[float(s[d] > s[a]) + 0.5 * (s[d] == s[a]) for a in survivors] for d in deaths] for s in (first, second)]
    )
    areas = wins.mean((1, 2))
    covariance = np.cov(wins.mean(2)) / len(deaths) + np.cov(wins.mean(1)) / len(survivors)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return areas[0] - areas[1], error


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_its_definition(seed, ties):
    first, second, died = patients(seed, ties=ties)
    difference, error = by_pairs(first, second, died)
    found = delong(first, second, died)
    assert found["auc_difference"] == pytest.approx(difference) == pytest.approx(auc(first, died) - auc(second, died))
    low, high = found["auc_difference_interval"]
    assert (high - low) / 2 == pytest.approx(norm.ppf(0.975) * error)
    assert found["p"] == pytest.approx(2 * norm.sf(abs(difference) / error))


@pytest.mark.parametrize("seed", range(3))
def test_equals_mlstatkit(seed):
    oracle = pytest.importorskip("MLstatkit", reason="the oracle, MLstatkit, is not installed")
    first, second, died = patients(seed, count=200)
    _z, p = oracle.Delong_test(died, first, second)[:2]
    assert delong(first, second, died)["p"] == pytest.approx(p, rel=1e-6)


def test_swapping_the_scores_changes_the_sign():
    first, second, died = patients(4)
    one, other = delong(first, second, died), delong(second, first, died)
    assert one["auc_difference"] == pytest.approx(-other["auc_difference"]) and one["p"] == pytest.approx(other["p"])


def test_the_same_score_twice_has_no_test():
    first, _, died = patients(5)
    found = delong(first, 3 * first, died)
    assert found["auc_difference"] == 0 and found["p"] is None


@pytest.mark.parametrize("deaths", [0, 1, 79, 80])
def test_one_death_or_survivor_is_too_few(deaths):
    first, second, _ = patients(6)
    died = (np.arange(80) < deaths).astype(int)
    assert delong(first, second, died) == {"auc_difference": None, "auc_difference_interval": None, "p": None}


def test_p_keeps_its_significance_level():
    """Of two scores that are equally good, 1 comparison in 20 falls below 0.05; 400 of them give 20 ± 9 (2 SD)."""
    rng = np.random.default_rng(7)
    below = 0
    for _ in range(400):
        died = (np.arange(60) < 20).astype(int)
        shared = rng.normal(0, 1, 60) + died
        below += delong(shared + rng.normal(0, 1, 60), shared + rng.normal(0, 1, 60), died)["p"] < 0.05
    assert 8 <= below <= 36
