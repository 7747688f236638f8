"""Growth of a hematoma between two scans, with the uncertainty of both volume intervals.

growth(first_ml, first_interval_ml, second_ml, second_interval_ml, coverage=None, shows_bleed=True) -> Growth
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.errors import InputError
from ..common.numbers import as_shown
from ..common.translation import tr as _

EXPANSION_ML, EXPANSION_PERCENT = 6.0, 33.0
"""Hematoma expansion: growth by at least one of the two."""
RELATIVE_FROM_ML = 2.0
"""Smaller first volumes cannot be distinguished from no hemorrhage: real heads without one measured up to 1.7 mL.
Growth by a third of such a volume is noise, so only the absolute growth counts."""


@dataclass(frozen=True)
class Growth:
    """Growth from the first to the second scan.

    Attributes
    ----------
    first_ml, second_ml : float
    absolute_ml : float
    absolute_interval_ml : (float, float) or None
    relative_percent : float or None
        Of the first volume; None if that is 0 mL.
    relative_interval_percent : (float, float or None) or None
        An upper bound of None means no upper bound, since the first volume may be 0 mL.
    is_expansion : bool or None
        Whether the growth, as shown with one decimal, meets the published definition: `EXPANSION_ML`, or
        `EXPANSION_PERCENT` of a first volume that differs from none (at least `RELATIVE_FROM_ML`, and 0 mL outside its
        interval); None if no hemorrhage was found on either scan.
    verdict : str or None
        "likely" if every growth within one of the intervals is an expansion; "unlikely" if none within both is; else
        "undecided". None without intervals.
    within_error : bool or None
        Whether the intervals of the two volumes overlap: the change is within measurement error. None without
        intervals.
    coverage : float or None
        Of both volume intervals, and therefore of the growth intervals.
    notes : tuple of str
        What `is_expansion`, `verdict` and `within_error` do not say.
    """

    first_ml: float
    second_ml: float
    absolute_ml: float
    absolute_interval_ml: tuple | None
    relative_percent: float | None
    relative_interval_percent: tuple | None
    is_expansion: bool | None
    verdict: str | None
    within_error: bool | None
    coverage: float | None
    notes: tuple = ()


def growth(
    first_ml: float,
    first_interval_ml: tuple[float, float] | None,
    second_ml: float,
    second_interval_ml: tuple[float, float] | None,
    coverage: float | None = None,
    shows_bleed: bool = True,
) -> Growth:
    """Growth of a hematoma, absolute and relative, and whether it is an expansion.

    The intervals combine those of the two volumes by the square-and-add method (MOVER, Zou and Donner 2008, doi
    10.1002/sim.3095): the distances from each estimate to the relevant bound are added in quadrature, on the volumes
    for the absolute growth and on their logarithms for the relative one. Skewed intervals stay skewed. The method
    assumes independent errors of the two scans; shared errors cancel, so that the intervals tend to be too wide.

    Parameters
    ----------
    first_ml, second_ml : float
    first_interval_ml, second_interval_ml : (float, float) or None
    coverage : float, optional
        Of both intervals, 0 to 1.
    shows_bleed : bool
        Whether a hemorrhage was found on either scan.

    Returns
    -------
    Growth

    Raises
    ------
    InputError
        If a volume is not a number of at least 0, or an interval does not contain its volume.
    """
    _check(_("first"), first_ml, first_interval_ml)
    _check(_("second"), second_ml, second_interval_ml)
    absolute = second_ml - first_ml
    relative = 100.0 * absolute / first_ml if first_ml > 0 else None
    notes = []
    if relative is None:
        notes.append(_("The first volume is 0 mL: there is no relative growth; only the absolute growth counts."))
    both = first_interval_ml is not None and second_interval_ml is not None
    absolute_interval = _absolute(first_ml, first_interval_ml, second_ml, second_interval_ml) if both else None
    relative_interval = None
    if both and first_ml > 0:
        relative_interval = _relative(first_ml, first_interval_ml, second_ml, second_interval_ml)
    if both and relative_interval and relative_interval[1] is None:
        notes.append(_("The first volume may be 0 mL: the relative growth has no upper bound."))
    is_measurable = first_ml >= RELATIVE_FROM_ML and (first_interval_ml is None or first_interval_ml[0] > 0)
    grows_by_percent = relative is not None and as_shown(relative) >= EXPANSION_PERCENT
    is_expansion = as_shown(absolute) >= EXPANSION_ML or (is_measurable and grows_by_percent)
    if grows_by_percent and not is_measurable:
        notes.append(_("The first volume may be 0 mL: only the absolute growth counts for expansion."))
    verdict = _verdict(absolute_interval, relative_interval if is_measurable else None) if both else None
    within_error = None
    if both:
        within_error = first_interval_ml[0] <= second_interval_ml[1] and second_interval_ml[0] <= first_interval_ml[1]
    if not shows_bleed:
        is_expansion = verdict = None
    return Growth(
        first_ml=float(first_ml),
        second_ml=float(second_ml),
        absolute_ml=float(absolute),
        absolute_interval_ml=absolute_interval,
        relative_percent=relative,
        relative_interval_percent=relative_interval,
        is_expansion=is_expansion,
        verdict=verdict,
        within_error=within_error,
        coverage=coverage if both else None,
        notes=tuple(notes),
    )


def _check(which, volume_ml, interval_ml):
    if volume_ml is None:
        raise InputError(
            _("There is no {which} volume: expected a model trained to measure volume.").format(which=which)
        )
    if not (math.isfinite(volume_ml) and volume_ml >= 0):
        raise InputError(
            _("The {which} volume is impossible: expected 0 mL or more, found {volume!r}.").format(
                which=which, volume=volume_ml
            )
        )
    if interval_ml is not None and not 0 <= interval_ml[0] <= volume_ml <= interval_ml[1] < math.inf:
        raise InputError(
            _(
                "The interval of the {which} volume is impossible: expected bounds from 0 around "
                "{volume:g} mL, found {low:g} to {high:g} mL."
            ).format(which=which, volume=volume_ml, low=interval_ml[0], high=interval_ml[1])
        )


def _absolute(first, first_interval, second, second_interval):
    down = math.hypot(second - second_interval[0], first_interval[1] - first)
    up = math.hypot(second_interval[1] - second, first - first_interval[0])
    # The growth is at least the loss of the largest first volume, and at most the largest second volume.
    return max(second - first - down, -first_interval[1]), min(second - first + up, second_interval[1])


def _relative(first, first_interval, second, second_interval):
    """Percent of the first volume, which is above 0."""
    low, high = 0.0, None
    if second_interval[0] > 0:
        spread = math.hypot(math.log(second / second_interval[0]), math.log(first_interval[1] / first))
        low = second / first * math.exp(-spread)
    if first_interval[0] > 0 and second > 0:
        spread = math.hypot(math.log(second_interval[1] / second), math.log(first / first_interval[0]))
        high = second / first * math.exp(spread)
    elif first_interval[0] > 0:  # 0 mL has no logarithm: use the outermost bounds
        high = second_interval[1] / first_interval[0]
    return 100.0 * (low - 1.0), None if high is None else 100.0 * (high - 1.0)


def _verdict(absolute, relative):
    least_ml, most_ml = map(as_shown, absolute)
    least_percent = most_percent = -math.inf
    if relative:
        least_percent = as_shown(relative[0])
        most_percent = math.inf if relative[1] is None else as_shown(relative[1])
    if least_ml >= EXPANSION_ML or least_percent >= EXPANSION_PERCENT:
        return "likely"
    return "unlikely" if most_ml < EXPANSION_ML and most_percent < EXPANSION_PERCENT else "undecided"
