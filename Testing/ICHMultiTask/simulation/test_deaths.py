"""Deaths of a cohort whose number is fixed, beside the exact distribution by enumeration."""

from itertools import combinations

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.simulation.cohort import expected_auc
from ICHMultiTaskLib.simulation.deaths import draw_deaths, log_chances

CHANCES = np.array([0.02, 0.6, 0.1, 0.35, 0.9, 0.0, 0.1])


def enumerated(chances, deaths):
    """Chance of each set of so many patients, if each dies independently."""
    everyone = range(len(chances))
    return {
        who: float(np.prod([chances[n] if n in who else 1 - chances[n] for n in everyone]))
        for who in combinations(everyone, deaths)
    }


def test_the_chance_of_each_number_of_deaths_is_the_sum_over_all_sets_of_patients():
    found = np.exp(log_chances(CHANCES, len(CHANCES)))
    for start in range(len(CHANCES)):
        for deaths in range(len(CHANCES) - start + 1):
            exact = sum(enumerated(CHANCES[start:], deaths).values())
            assert found[start, deaths] == pytest.approx(exact, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("deaths", [1, 3, 5])
def test_each_set_of_patients_is_drawn_as_often_as_it_is_among_independent_deaths_of_that_number(deaths):
    draws, rng = 20000, np.random.default_rng(0)
    exact = enumerated(CHANCES, deaths)
    counts = dict.fromkeys(exact, 0)
    for _ in range(draws):
        counts[tuple(np.flatnonzero(draw_deaths(CHANCES, deaths, rng)).tolist())] += 1
    for who, chance in exact.items():
        share = chance / sum(exact.values())
        spread = np.sqrt(share * (1 - share) / draws)
        assert counts[who] / draws == pytest.approx(share, abs=5 * spread + 1e-12), who


def test_a_fixed_number_changes_neither_the_ratio_of_odds_nor_the_best_reachable_auc():
    chances = np.random.default_rng(1).beta(0.6, 2.4, 12)
    exact = enumerated(chances, 3)
    total, odds = sum(exact.values()), chances / (1 - chances)
    concordant = 0.0
    for one, other in combinations(range(len(chances)), 2):
        first = sum(c for who, c in exact.items() if one in who and other not in who)
        second = sum(c for who, c in exact.items() if other in who and one not in who)
        assert first / second == pytest.approx(odds[one] / odds[other], rel=1e-9)
        concordant += max(first, second)
    assert concordant / total / (3 * 9) == pytest.approx(expected_auc(chances), abs=0.02)


def test_so_many_cannot_die():
    with pytest.raises(InputError, match="expected 1 to 2 deaths of these 3 patients.*found 3"):
        draw_deaths([0.0, 1.0, 0.5], 3, np.random.default_rng(0))
    assert draw_deaths([0.0, 1.0, 0.5], 1, np.random.default_rng(0)).tolist() == [0, 1, 0]


def test_hardly_possible_numbers_are_drawn_too():
    assert draw_deaths(np.full(400, 1e-4), 400, np.random.default_rng(0)).sum() == 400
