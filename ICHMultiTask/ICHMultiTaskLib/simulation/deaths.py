"""Who dies in a cohort whose number of deaths is fixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.errors import InputError


def draw_deaths(probability: Sequence[float], deaths: int, rng: np.random.Generator) -> np.ndarray:
    """Draw independent deaths, given their number (conditional Bernoulli distribution).

    Every set of `deaths` patients has the chance that it would have among all sets of that size if each patient died
    independently. So the odds of two patients keep their ratio: if one of both dies, it is the first with odds of
    o₁ : o₂, whatever the number of deaths, and the best ranking of the patients is still that by their probabilities.
    Drawn patient by patient, see Chen and Liu 1997, Statistica Sinica 7:875.

    Parameters
    ----------
    probability : sequence of float, shape (N,)
        Probability of death of each patient, were their number not fixed.
    deaths : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (N,)
        1: died.

    Raises
    ------
    InputError
        If so many, or so few, cannot die.
    """
    probability = np.asarray(probability, float)
    certain, possible = int((probability >= 1).sum()), int((probability > 0).sum())
    if not certain <= deaths <= possible:
        raise InputError(
            f"So many patients cannot die: expected {certain} to {possible} deaths of these {len(probability)} "
            f"patients, of whom some have no hemorrhage or no chance, found {deaths}."
        )
    chance, died, left = log_chances(probability, deaths), np.zeros(len(probability), int), deaths
    for n, own in enumerate(probability):
        if left and rng.uniform() < own * np.exp(chance[n + 1, left - 1] - chance[n, left]):
            died[n], left = 1, left - 1
    return died


def log_chances(probability: np.ndarray, most: int) -> np.ndarray:
    """Chances of each number of deaths among the patients from each one on.

    Parameters
    ----------
    probability : ndarray of shape (N,)
    most : int

    Returns
    -------
    ndarray of shape (N + 1, most + 1)
        At [n, k], the natural logarithm of the chance that k of the patients n, n + 1, … die independently; a
        logarithm, since the chance itself can be too small for a number.
    """
    chance = np.full((len(probability) + 1, most + 1), -np.inf)
    chance[-1, 0] = 0.0
    with np.errstate(divide="ignore"):
        dies, lives = np.log(probability), np.log1p(-probability)
    for n in reversed(range(len(probability))):
        chance[n] = lives[n] + chance[n + 1]
        chance[n, 1:] = np.logaddexp(chance[n, 1:], dies[n] + chance[n + 1, :-1])
    return chance
