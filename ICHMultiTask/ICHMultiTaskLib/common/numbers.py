"""Numbers as text, formatted the same way in the shell, reports, tables and panels."""

from __future__ import annotations

from collections.abc import Sequence

from .translation import tr as _

NOT_COMPUTED = "–"
"""Shown if a number was not computed or does not apply."""


def number(value: float | None, digits: int = 1, factor: float = 1, sign: bool = False) -> str:
    """A number with a fixed number of decimals; a true minus sign, but not before zero; a dash for None."""
    if value is None:
        return NOT_COMPUTED
    text = f"{value * factor:{'+' if sign else ''}.{digits}f}"
    if not text.strip("+-0."):
        return text.replace("-", "+" if sign else "")
    return text.replace("-", "−")


def as_shown(value: float, digits: int = 1) -> float:
    """The value that `number` shows, for comparing it with a limit: what reads 30.0 is not below 30."""
    return round(float(value), digits)


def percent(fraction: float | None, digits: int = 0) -> str:
    """A fraction in percent, such as "90 %"."""
    return NOT_COMPUTED if fraction is None else f"{number(fraction, digits, 100)} %"


def probability(value: float | None) -> str:
    """A probability in percent, clamped to 1–99 %."""
    if value is None:
        return NOT_COMPUTED
    if value < 0.01:
        return _("below 1 %")
    return _("above 99 %") if value > 0.99 else percent(value)


def probability_range(bounds: Sequence[float | None] | None) -> str:
    """Two probabilities, such as "9 to 11 %"."""
    if bounds is None or None in bounds:
        return NOT_COMPUTED
    low, high = (probability(bound) for bound in bounds)
    if low == high:
        return low
    low = _("below 1") if bounds[0] < 0.01 else low.removesuffix(" %")
    return _("{low} to {high}").format(low=low, high=high)


def interval(bounds: Sequence[float | None] | None, digits: int = 1, factor: float = 1, sign: bool = False) -> str:
    """Two bounds, such as "1.2 to 3.4"; the upper one may be open."""
    if bounds is None or bounds[0] is None:
        return NOT_COMPUTED
    low, high = (number(bound, digits, factor, sign) for bound in bounds)
    return _("{low} to {high}").format(low=low, high=high if bounds[1] is not None else _("no upper bound"))


def with_interval(
    value: float | None,
    bounds: Sequence[float | None] | None,
    digits: int = 1,
    factor: float = 1,
    sign: bool = False,
) -> str:
    """A number and, if there is one, its interval, such as "2.0 (1.2 to 3.4)"."""
    text, span = number(value, digits, factor, sign), interval(bounds, digits, factor, sign)
    return text if NOT_COMPUTED in (text, span) else _("{value} ({interval})").format(value=text, interval=span)


def p_value(value: float | None) -> str:
    """A p-value with three decimals."""
    if value is None:
        return NOT_COMPUTED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def yes_no(value: bool | None) -> str:
    """Yes, no, or a dash if unknown."""
    return NOT_COMPUTED if value is None else _("yes") if value else _("no")


def position(ras_mm: Sequence[float | None] | None) -> str:
    """A RAS position as displayed on scans, such as "L 12, A 30, S 5 mm"; empty if there is none."""
    if not ras_mm or None in ras_mm:
        return ""
    return ", ".join(f"{pair[v < 0]} {abs(v):.0f}" for v, pair in zip(ras_mm, ("RL", "AP", "SI"))) + " mm"


def date(dicom_date: str) -> str:
    """A DICOM date in ISO format; other texts unchanged."""
    if len(dicom_date) == 8 and dicom_date.isdigit():
        return f"{dicom_date[:4]}-{dicom_date[4:6]}-{dicom_date[6:]}"
    return dicom_date


def counted(count: int, noun: str) -> str:
    """A count with its noun, such as "1 patient" or "3 patients"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
