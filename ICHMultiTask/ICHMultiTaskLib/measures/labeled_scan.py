"""A scan with a segment of its bleed: the volume for training, and checks of the pair."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.geometry import apply_affine
from ..scan.head_ct import HeadCT
from .segment import BLOOD_HU, LARGEST_ML, Segment, measure

OUTSIDE = 0.01
"""Largest fraction of a segment outside its scan."""
GRID_MM = 0.5
"""Grids whose corners are closer than this are the same."""
_BLEED = re.compile(r"h(a?e)matoma|h(a?e)morrhage|bleed|blood|(?<![a-z])(ich|iph)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Label:
    """The label of a scan from a segment.

    Attributes
    ----------
    volume_ml : float
        Voxel count × voxel volume (determinant of the affine) of the segment on its own grid.
    on_grid : bool
        Whether the segment lies on the scan's grid, voxel by voxel.
    problems : tuple of str
        Why the pair cannot be used for training; empty if it can.
    """

    volume_ml: float
    on_grid: bool
    problems: tuple = ()


def choose_segment(segments: Sequence[Segment], name: str | None = None) -> Segment:
    """The segment of the bleed among those of a segmentation.

    Parameters
    ----------
    segments : sequence of Segment
    name : str, optional
        Its name, in upper or lower case, or the number at the end of it ("1" is "Label 1"); None: the only one, else
        the only one that is named like a bleed.

    Raises
    ------
    InputError
        If there is no such segment, or more than one; the message lists them.
    """
    if not segments:
        raise InputError(_("The segmentation holds no segment: expected one of the bleed, found none."))
    if len(segments) == 1 and not segments[0].reader:
        return segments[0]  # a file with one unnamed label
    if name is None:
        found = list(segments) if len(segments) == 1 else [s for s in segments if _BLEED.search(s.name)]
    else:
        wanted = name.strip().casefold()
        found = [s for s in segments if s.name.strip().casefold() == wanted]
        found = found or [s for s in segments if s.name.casefold() == f"label {wanted}"]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"“{segment.label}”" for segment in segments)
    what = _("the one of the bleed, by a name") if name is None else _("one named “{name}”").format(name=name)
    raise InputError(
        _("It is not clear which segment is meant: expected {what}, found {names}.").format(what=what, names=names)
    )


def label_of(segment: Segment, head_ct: HeadCT, may_be_empty: bool = False) -> Label:
    """Measure a segment and check it against its scan.

    Parameters
    ----------
    segment : Segment
    head_ct : HeadCT
    may_be_empty : bool
        Whether an empty segment means that there is no hemorrhage; else it is a problem.

    Returns
    -------
    Label
    """
    measures = measure(segment, head_ct)
    on_grid = same_grid(segment.mask.shape, segment.ijk_to_ras, head_ct)
    problems = []
    if segment.draft:
        problems.append(
            _(
                "the segment is the model's own draft: expected one that a person has drawn or corrected, "
                "since a model must not learn from itself"
            )
        )
    if not measures.voxels:
        if not may_be_empty:
            problems.append(_("the segment is empty: expected the bleed in it"))
        return Label(0.0, on_grid, tuple(problems))
    outside = measures.outside_scan_fraction or 0.0
    if segment.mask.shape == head_ct.hu.shape and not on_grid:
        problems.append(_("the segment is on a wrong grid: it has the scan's number of voxels, but at other positions"))
    elif outside > OUTSIDE:
        problems.append(_("the segment is not of this scan: {outside:.0%} of it lies outside").format(outside=outside))
    elif measures.hu_mean is None:
        problems.append(_("the segment is smaller than the scan's voxels and contains no voxel center"))
    elif not BLOOD_HU[0] <= measures.hu_mean <= BLOOD_HU[1]:
        problems.append(
            _("the segment does not lie on blood: expected a mean of {low:g} to {high:g} HU, found {mean:.0f}").format(
                low=BLOOD_HU[0], high=BLOOD_HU[1], mean=measures.hu_mean
            )
        )
    if measures.volume_ml > LARGEST_ML:
        problems.append(
            _("the volume is impossible: expected at most {most:g} mL, found {volume:.0f} mL").format(
                most=LARGEST_ML, volume=measures.volume_ml
            )
        )
    return Label(measures.volume_ml, on_grid, tuple(problems))


def same_grid(shape: tuple[int, int, int], ijk_to_ras: np.ndarray, head_ct: HeadCT) -> bool:
    """Whether a grid has the voxels of a scan, at the same positions."""
    if shape != head_ct.hu.shape:
        return False
    corners = np.array(list(product(*((0, n - 1) for n in reversed(shape)))), dtype=float)
    apart = apply_affine(ijk_to_ras, corners) - apply_affine(head_ct.ijk_to_ras, corners)
    return bool(np.abs(apart).max() <= GRID_MM)


def on_lattice(segment: Segment, head_ct: HeadCT) -> bool:
    """Whether a segment's voxels are voxels of a scan: its grid is the scan's, or a part of it."""
    to_scan = np.linalg.inv(head_ct.ijk_to_ras) @ segment.ijk_to_ras
    shift = np.rint(to_scan[:3, 3])
    size = np.array(segment.mask.shape[::-1])
    exact = np.abs(to_scan[:3, :3] - np.eye(3)) @ size + np.abs(to_scan[:3, 3] - shift)
    return bool(exact.max() < 0.1 and (shift >= 0).all() and (shift + size <= head_ct.hu.shape[::-1]).all())
