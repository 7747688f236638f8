"""Sample sizes for confidence intervals of a given width.

Each function returns the smallest number of patients for which the expected 95 % interval is at most this wide.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from ICHMultiTaskLib.common.errors import InputError

Z = float(norm.ppf(0.975))
MAX_PATIENTS = 10**7
"""Larger sample sizes are considered infeasible."""


def for_auc(width: float, auc: float, mortality: float) -> int:
    """For the AUC, with the standard error of Newcombe 2006, as in Riley et al. 2021 (doi 10.1002/sim.9025).

    Parameters
    ----------
    width : float
        Width of the 95 % interval, from its lower to its upper end.
    auc : float
        Expected AUC, above 0.5.
    mortality : float
        Share of the patients who die.
    """
    _check("AUC", auc, 0.5, 1.0)
    _check("mortality", mortality, 0.0, 1.0)

    def found(n):
        half = n / 2 - 1
        variance = auc * (1 - auc) * (1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc))
        return 2 * Z * math.sqrt(variance / (n**2 * mortality * (1 - mortality)))

    return _fewest(found, width)


def for_observed_to_expected(width: float, mortality: float) -> int:
    """For the ratio of observed to expected deaths around 1 (Riley et al. 2021)."""
    _check("mortality", mortality, 0.0, 1.0)
    return _fewest(lambda n: 2 * math.sinh(Z * math.sqrt((1 - mortality) / (n * mortality))), width)


def for_calibration_slope(width: float, auc: float, mortality: float) -> int:
    """For the calibration slope around 1 of a calibrated model with this AUC (Riley et al. 2021).

    The log odds are assumed to be normally distributed in patients who die and in those who survive. Both distributions
    have the standard deviation that gives the AUC; calibration then makes their distance equal to its square.
    """
    _check("AUC", auc, 0.5, 1.0)
    _check("mortality", mortality, 0.0, 1.0)
    spread = math.sqrt(2) * float(norm.ppf(auc))
    prior = math.log(mortality / (1 - mortality))
    x = prior + np.linspace(-9, 9, 4001) * max(spread, 1.0)
    weight = mortality * norm.pdf(x, prior + spread**2 / 2, spread)
    weight += (1 - mortality) * norm.pdf(x, prior - spread**2 / 2, spread)
    probability = 1 / (1 + np.exp(-x))
    information = weight / weight.sum() * probability * (1 - probability)
    level, cross, slope = (float((information * x**power).sum()) for power in (0, 1, 2))
    variance = level / (level * slope - cross**2)
    return _fewest(lambda n: 2 * Z * math.sqrt(variance / n), width)


def for_coverage(width: float, share: float) -> int:
    """For a proportion, such as the coverage of the volume's interval (Wilson 1927)."""
    _check("coverage", share, 0.0, 1.0)

    def found(n):
        return 2 * Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)

    return _fewest(found, width)


def for_bias(width_ml: float, spread_ml: float) -> int:
    """For the mean difference of two volume measurements whose differences have this standard deviation."""
    _check("spread", spread_ml, 0.0, math.inf)
    return _fewest(lambda n: 2 * Z * spread_ml / math.sqrt(n), width_ml)


def for_limits_of_agreement(width_ml: float, spread_ml: float) -> int:
    """For either limit of agreement (Bland and Altman 1986: its variance is 3 s² / n)."""
    return for_bias(width_ml, math.sqrt(3) * spread_ml)


def _fewest(width_of: Callable[[int], float], width: float) -> int:
    _check("width", width, 0.0, math.inf)
    low, high = 2, 4
    while width_of(high) > width:
        low, high = high, 2 * high
        if high > MAX_PATIENTS:
            raise InputError(
                f"The width cannot be reached: expected one for at most {MAX_PATIENTS:,} patients, found {width}."
            )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if width_of(middle) <= width else (middle + 1, high)
    return low


def _check(name, value, low, high):
    if not low < value < high:
        span = f"above {low:g}" + (f" and below {high:g}" if high < math.inf else "")
        raise InputError(f"The {name} is out of range: expected {span}, found {value}.")
