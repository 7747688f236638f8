"""Whether the volumes of a cohort are in one unit and its intervals in order; each check raises InputError if not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _

VISIBLE_ML = 0.2
"""If no reference is larger, all are in another unit: even large bleeds are below 0.2 liters."""
OTHER_UNIT = 300.0
"""A method whose volumes are this many times the reference's, or this fraction, in the median is in another unit."""
UNIT_SUFFIX = re.compile(r"[ _]*[(\[]?(\b|_)(ml|cc|ccm|cm3|cm³)[)\]]?$", re.IGNORECASE)
IN_MM3 = re.compile(r"mm ?\^?[3³]|cubic milli|(?<![a-z])[µμu]l(?![a-z])", re.IGNORECASE)


def check_unit(unit: str, names: Sequence[str]) -> None:
    """Refuse columns whose names state another unit."""
    in_other = [name for name in names if (UNIT_SUFFIX if unit != "ml" else IN_MM3).search(name)]
    if in_other:
        other = "mL" if unit != "ml" else "mm³"
        raise InputError(
            _(
                "The volumes are said to be in {unit}, but {names} in {other} by name: expected one unit for all, and "
                "the option that names it."
            ).format(unit=unit, names=", ".join(in_other), other=other)
        )


def check_sizes(reference: str, volumes: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse volumes that only another unit, or a point before thousands, explains."""
    largest = max(volumes[reference].values(), default=0.0)
    if 0 < largest < VISIBLE_ML:
        raise InputError(
            _(
                "The largest volume of {reference} is {largest:.2g} mL: expected at least one of {least:g} mL or more; "
                "is it in another unit, or does a point separate its thousands?"
            ).format(reference=reference, largest=largest, least=VISIBLE_ML)
        )
    for name, found in volumes.items():
        ratios = [value / volumes[reference][n] for n, value in found.items() if value and volumes[reference].get(n)]
        middle = float(np.median(ratios)) if len(ratios) > 2 else 1.0
        if not 1 / OTHER_UNIT < middle < OTHER_UNIT:
            raise InputError(
                _(
                    "The volumes of {name} are {ratio:.3g} times those of {reference} in the median: expected one unit "
                    "for all."
                ).format(name=name, ratio=middle, reference=reference)
            )


def check_intervals(names: Sequence[str], patients: Sequence[str], low: np.ndarray, high: np.ndarray) -> None:
    """Refuse intervals that end before they begin; `names` are the columns of `low` and `high`."""
    if (turned := np.flatnonzero(low > high)).size:
        raise InputError(
            _("{low} must not be above {high}: found {a:g} and {b:g} for patient {patient}.").format(
                low=names[0], high=names[1], a=low[turned[0]], b=high[turned[0]], patient=patients[turned[0]]
            )
        )


def check_points(unit: str, texts: Sequence[str]) -> None:
    """Refuse mm³ whose points may separate thousands: three digits follow each, and no number denies it."""
    shown = [text for text in texts if "." in text or re.fullmatch(r"\d{4,}", text)]
    if unit == "mm3" and shown and all(re.fullmatch(r"\d{1,3}\.\d{3}", text) for text in shown):
        raise InputError(
            _(
                "The volumes in mm³ have three digits after every point, as in {example}: expected numbers of which it "
                "is clear whether the point separates decimals or thousands."
            ).format(example=shown[0])
        )
