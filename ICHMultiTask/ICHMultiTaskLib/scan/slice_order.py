"""Whether the slices of a head follow each other, and each has an image of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..common.errors import InputError
from ..common.names import first_few
from ..common.translation import tr as _
from .coarse_head import CoarseHead

ORDERED, DISORDERED = 0.95, 0.9
"""Differences between neighboring slices in the most alike order, as a share of those in the order as it is. 106
simulated heads with slices of 0.6 to 10 mm had 0.96 to 1, two real ones 1; shuffled or sorted by name 0.2 to 0.9, with
two halves exchanged 0.8 to 0.97. Between the two limits, a warning."""
_SOFT_HU = (-200.0, 300.0)
_LEAST_SHARE = 0.02
"""Of a plane's voxels, in one that shows a part of the head."""
_LEAST_TISSUE = 0.1
"""Slices with less tissue than this share of the largest show mostly air, in which no order can be seen."""


def slice_warnings(hu: np.ndarray, coarse: CoarseHead) -> Iterator[str]:
    """Refuse, or warn of, slices that do not follow each other or have no image of their own.

    Parameters
    ----------
    hu : ndarray of shape (K, J, I)
    coarse : CoarseHead
        Of the same scan.

    Yields
    ------
    str

    Raises
    ------
    InputError
    """
    yield from _plane_warnings(hu)
    yield from _order_warnings(coarse)


def order_by_likeness(coarse: CoarseHead) -> tuple[float, tuple[int, ...]]:
    """Compare the sum of the differences between neighboring slices with that of the most alike order.

    Parameters
    ----------
    coarse : CoarseHead

    Returns
    -------
    ratio : float
        Of the most alike order to the order as it is: 1 for a head whose slices follow each other.
    breaks : tuple of int
        Planes of the coarse copy that the next one does not follow in the most alike order.
    """
    planes, numbers = _planes(coarse)
    if len(planes) < 3:
        return 1.0, ()
    differences = np.array([np.abs(planes - plane).mean(axis=1) for plane in planes])
    count = len(planes)
    as_it_is = differences[np.arange(count - 1), np.arange(1, count)]
    pairs = _path(differences)
    shortest = sum(differences[pair] for pair in pairs)
    if _is_mirrored(differences, shortest / (count - 1)):
        return 1.0, ()
    ratio = shortest / max(as_it_is.sum(), 1e-6)
    breaks = tuple(int(numbers[n]) for n in range(count - 1) if (n, n + 1) not in pairs)
    return float(min(ratio, 1.0)), breaks


def odd_planes(hu: np.ndarray) -> tuple[list[int], tuple[int, int]]:
    """Find planes without an image of their own, as a conversion leaves them in place of lost slices.

    Parameters
    ----------
    hu : ndarray of shape (K, J, I)

    Returns
    -------
    blank : list of int
        Planes of a single value between planes with tissue.
    repeated : tuple of int
        First and last plane of the first run of three or more that are equal; (0, 0) without one.
    """
    sample = hu[:, ::4, ::4].reshape(len(hu), -1)  # equal planes are equal here as well
    tissue = np.flatnonzero((sample > _SOFT_HU[0]).mean(axis=1) > _LEAST_SHARE)
    if not tissue.size:
        return [], (0, 0)
    head = range(tissue[0], tissue[-1] + 1)
    blank = [n for n in head if sample[n].min() == sample[n].max() and hu[n].min() == hu[n].max()]
    first = last = 0
    for n in head[1:]:
        if not (np.array_equal(sample[n], sample[n - 1]) and np.array_equal(hu[n], hu[n - 1])):
            if last - first >= 2:
                break
            first = n
        last = n
    return blank, (first, last) if last - first >= 2 else (0, 0)


def _plane_warnings(hu):
    """Refuse blank slices among those of the head; warn of an image that is repeated in three slices or more."""
    blank, (first, last) = odd_planes(hu)
    if blank:
        shown = first_few([str(n + 1) for n in blank])
        raise InputError(
            _(
                "Blank slices lie within the head; expected an image in each, found none in slice {shown} of {slices}."
            ).format(shown=shown, slices=len(hu))
        )
    if last > first:
        yield _(
            "Slices {first} to {last} of {slices} hold one and the same image: slices may be missing, and hemorrhage "
            "in them is not seen."
        ).format(first=first + 1, last=last + 1, slices=len(hu))


def _order_warnings(coarse):
    """Refuse a head whose slices do not follow each other, or warn about it."""
    ratio, breaks = order_by_likeness(coarse)
    if ratio >= ORDERED:
        return
    slices = first_few([str(n * coarse.strides[0] + 1) for n in breaks])
    if ratio < DISORDERED:
        raise InputError(
            _(
                "The slices do not follow each other: expected anatomy that changes gradually, found that it jumps "
                "after slice {slices} from below; the stated positions do not belong to the images."
            ).format(slices=slices)
        )
    yield _(
        "The slices may not be in their order: the anatomy jumps after slice {slices} from below; check the positions "
        "that the files state."
    ).format(slices=slices)


def _planes(coarse):
    """Planes with tissue at about 8 mm, one row of values each, and their numbers in the coarse copy."""
    rows, columns = (size // 2 * 2 for size in coarse.hu.shape[1:])
    values = np.clip(coarse.hu[:, :rows, :columns].astype(np.float32), *_SOFT_HU)
    values = values.reshape(len(values), rows // 2, 2, columns // 2, 2).mean(axis=(2, 4)).reshape(len(values), -1)
    tissue = (values > _SOFT_HU[0] / 2).mean(axis=1)
    numbers = np.flatnonzero(tissue > _LEAST_TISSUE * tissue.max())
    return values[numbers], numbers


def _is_mirrored(differences, step):
    """Whether planes are as alike above and below a middle as neighbors are: a phantom, whose order cannot be seen."""
    count = len(differences)
    for total in range(count - 1 - count // 4, count + count // 4):
        first = np.arange(max(0, total - count + 1), min(count, total + 1))
        if differences[first, total - first].mean() < step:
            return True
    return False


def _path(differences):
    """Pairs of the most alike planes that form one path through all, the most alike pair first."""
    count = len(differences)
    one, other = np.triu_indices(count, 1)
    ends, group, pairs = np.full(count, 2), np.arange(count), set()
    for n in np.argsort(differences[one, other], kind="stable"):
        a, b = int(one[n]), int(other[n])
        if ends[a] and ends[b] and group[a] != group[b]:
            ends[[a, b]] -= 1
            group[group == group[b]] = group[a]
            pairs.add((a, b))
    return pairs
