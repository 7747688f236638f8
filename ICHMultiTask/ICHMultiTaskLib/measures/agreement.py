"""Agreement of volumes, attention maps and readers.

    compare_volumes(model_ml, interval_ml, rows) -> list of VolumeComparison
    compare_attention(attention_array, attention_affine, segment, shown_threshold=None) -> AttentionAgreement
    compare_segments(first, second) -> SegmentAgreement

A value that cannot be computed is None, and `notes` say why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.geometry import apply_affine, voxel_volume_mm3
from .grids import bounding_box, box_corners, resampled_mask

if TYPE_CHECKING:
    from .segment import Segment, SegmentMeasures
WITHIN_ML, WITHIN_PERCENT = 5.0, 20.0
"""Acceptance limits used in trials."""
PLANIMETRY = _("Planimetry")
_BORDER_VOXELS = 20_000
_LEVELS = 200
"""Thresholds of attention tried, from 1/200 to 1."""


@dataclass(frozen=True)
class VolumeComparison:
    """One method compared with the model; differences are method − model, percentages are of the model's volume."""

    method: str
    volume_ml: float | None
    difference_ml: float | None = None
    difference_percent: float | None = None
    inside_interval: bool | None = None
    within_5_ml: bool | None = None
    within_20_percent: bool | None = None
    notes: tuple = ()


@dataclass(frozen=True)
class AttentionAgreement:
    """An attention map compared with a segment.

    Attributes
    ----------
    peak_inside : bool or None
        Whether the voxel of highest attention lies in the segment.
    peak_distance_mm : float or None
        From the center of that voxel to the nearest voxel center of the segment; 0 inside.
    attention_inside_fraction : float or None
        Sum of the attention inside the segment ÷ its total sum.
    best_threshold, best_dice : float or None
        Attention threshold with the best overlap with the segment, and that overlap (Dice).
    shown_threshold, shown_dice : float or None
        The same for the threshold on display.
    notes : tuple of str
    """

    peak_inside: bool | None = None
    peak_distance_mm: float | None = None
    attention_inside_fraction: float | None = None
    best_threshold: float | None = None
    best_dice: float | None = None
    shown_threshold: float | None = None
    shown_dice: float | None = None
    notes: tuple = ()


@dataclass(frozen=True)
class SegmentAgreement:
    """Two segments of the same bleed; differences are second − first, percentages are of the first segment's volume."""

    first: str
    second: str
    dice: float | None = None
    hausdorff_95_mm: float | None = None
    volume_difference_ml: float | None = None
    volume_difference_percent: float | None = None
    notes: tuple = ()


def volume_rows(measures: SegmentMeasures) -> list[tuple[str, float | None]]:
    """Volumes of one segment by planimetry and the formulas, as input of `compare_volumes`.

    Parameters
    ----------
    measures : SegmentMeasures

    Returns
    -------
    list of (str, float or None)
    """
    return [(PLANIMETRY, measures.volume_ml), *measures.formulas_ml.items()]


def compare_volumes(
    model_ml: float | None, interval_ml: tuple[float, float] | None, rows: Iterable[tuple[str, float | None]]
) -> list[VolumeComparison]:
    """Compare the volumes of other methods with the model's.

    Parameters
    ----------
    model_ml : float
    interval_ml : (float, float) or None
    rows : iterable of (str, float or None)
        Method and its volume in mL; None if it could not be measured.

    Returns
    -------
    list of VolumeComparison

    Raises
    ------
    InputError
        If `model_ml` is None.
    """
    if model_ml is None:
        raise InputError(_("There is no volume to compare with: expected a model trained to measure volume."))
    return [_compare_volume(float(model_ml), interval_ml, method, ml) for method, ml in rows]


def _compare_volume(model_ml, interval_ml, method, ml):
    if ml is None or not np.isfinite(ml):
        return VolumeComparison(method, None, notes=(_("This method gave no volume."),))
    notes = []
    difference = float(ml) - model_ml
    percent = inside = None
    if model_ml > 0:
        percent = 100.0 * difference / model_ml
    else:
        notes.append(_("The model measured 0 mL; there is no percentage of it."))
    if interval_ml is None:
        notes.append(_("The model gave no interval."))
    else:
        inside = bool(interval_ml[0] <= ml <= interval_ml[1])
    return VolumeComparison(
        method=method,
        volume_ml=float(ml),
        difference_ml=difference,
        difference_percent=percent,
        inside_interval=inside,
        # Rounded, so that 3.6 mL is within 20 % of 3 mL despite rounding errors.
        within_5_ml=round(abs(difference), 9) <= WITHIN_ML,
        within_20_percent=None if percent is None else round(abs(percent), 9) <= WITHIN_PERCENT,
        notes=tuple(notes),
    )


def compare_attention(
    attention_array: np.ndarray, attention_affine: np.ndarray, segment: Segment, shown_threshold: float | None = None
) -> AttentionAgreement:
    """Compare an attention map with a segment.

    Parameters
    ----------
    attention_array : ndarray of shape (K, J, I)
        0 to 1, not negative.
    attention_affine : ndarray of shape (4, 4)
        IJK to RAS mm.
    segment : Segment
        On any grid.
    shown_threshold : float, optional
        Above 0, at most 1.

    Returns
    -------
    AttentionAgreement
    """
    array = np.asarray(attention_array)
    peak = np.unravel_index(int(array.argmax()), array.shape)
    if not array[peak] > 0:
        return AttentionAgreement(shown_threshold=shown_threshold, notes=(_("The attention map is blank."),))
    if not segment.mask.any():
        return AttentionAgreement(
            shown_threshold=shown_threshold, notes=(_("The segment is empty; nothing to compare with the attention."),)
        )
    voxels = apply_affine(segment.ijk_to_ras, np.argwhere(segment.mask)[:, ::-1])
    distance = float(np.linalg.norm(voxels - apply_affine(attention_affine, peak[::-1]), axis=1).min())
    mask = resampled_mask(segment, attention_affine, array.shape)
    inside = array[mask]
    if not inside.size:
        return AttentionAgreement(
            peak_inside=False,
            peak_distance_mm=distance,
            shown_threshold=shown_threshold,
            notes=(_("The segment contains no voxel of the attention map; there is no overlap."),),
        )
    above_all, above_inside = (_counts_above(values) for values in (array, inside))
    dice = 2 * above_inside / (above_all + inside.size)
    best = int(dice.argmax())
    shown = None
    if shown_threshold is not None:
        shown = 2 * np.count_nonzero(inside >= shown_threshold)
        shown = float(shown / (np.count_nonzero(array >= shown_threshold) + inside.size))
    return AttentionAgreement(
        peak_inside=bool(mask[peak]),
        peak_distance_mm=0.0 if mask[peak] else distance,
        attention_inside_fraction=float(inside.sum(dtype=float) / array.sum(dtype=float)),
        best_threshold=(best + 1) / _LEVELS,
        best_dice=float(dice[best]),
        shown_threshold=shown_threshold,
        shown_dice=shown,
    )


def _counts_above(values):
    """Number of values at or above each of the `_LEVELS` thresholds."""
    # Rounding must not push a value below the threshold that it equals.
    levels = np.floor(values.ravel() * np.float32(_LEVELS) + np.float32(1e-3)).astype(np.uint8)
    return np.bincount(levels, minlength=_LEVELS + 1)[::-1].cumsum()[::-1][1:]


def compare_segments(first: Segment, second: Segment) -> SegmentAgreement:
    """Overlap, distance and volume difference of two readers' segments.

    Both are sampled on one grid: that of the segment with the smaller voxels, extended beyond its bounds.

    Parameters
    ----------
    first, second : Segment

    Returns
    -------
    SegmentAgreement
        `hausdorff_95_mm` is the larger of the two directed 95th percentiles of the distances between border voxels, as
        in MONAI, from at most 20,000 evenly spaced voxels of each border. Volumes are those of the segments' own grids.
    """
    volumes = [np.count_nonzero(s.mask) * voxel_volume_mm3(s.ijk_to_ras) / 1000.0 for s in (first, second)]
    difference = float(volumes[1] - volumes[0])
    notes = [
        _("The segment “{label}” is empty.").format(label=s.label) for s, ml in zip((first, second), volumes) if ml == 0
    ]
    if not any(volumes):
        return SegmentAgreement(first.label, second.label, volume_difference_ml=0.0, notes=tuple(notes))
    percent = float(100 * difference / volumes[0]) if volumes[0] else None
    if not all(volumes):
        return SegmentAgreement(first.label, second.label, 0.0, None, difference, percent, tuple(notes))
    grid = min((first, second), key=lambda s: voxel_volume_mm3(s.ijk_to_ras)).ijk_to_ras
    masks, starts = zip(*(_on_extended_grid(grid, s) for s in (first, second)))
    dice = distance = None
    if all(mask.any() for mask in masks):
        dice = float(2 * _overlap(masks, starts) / sum(np.count_nonzero(mask) for mask in masks))
        distance = _hausdorff_95([_border_mm(mask, start, grid) for mask, start in zip(masks, starts)])
    else:
        notes.append(_("One segment contains no voxel center of the other's grid; there is no overlap."))
    return SegmentAgreement(first.label, second.label, dice, distance, difference, percent, tuple(notes))


def _on_extended_grid(grid, segment):
    """The segment on a grid extended to its box: the mask, and the index (k, j, i) of its first voxel."""
    corners = box_corners(bounding_box(segment.mask), np.linalg.inv(grid) @ segment.ijk_to_ras)
    start = np.floor(corners.min(0)).astype(int)
    shape = np.ceil(corners.max(0)).astype(int) + 1 - start
    affine = grid.copy()
    affine[:3, 3] = apply_affine(grid, start[::-1])
    return resampled_mask(segment, affine, tuple(shape)), start


def _overlap(masks, starts):
    """Number of voxels in both masks."""
    low = np.max(starts, axis=0)
    high = np.min([start + mask.shape for mask, start in zip(masks, starts)], axis=0)
    if (high <= low).any():
        return 0
    first, second = (m[tuple(slice(a, b) for a, b in zip(low - s, high - s))] for m, s in zip(masks, starts))
    return int(np.count_nonzero(first & second))


def _border_mm(mask, start, grid):
    """RAS positions of the voxels that share a face with the outside."""
    return apply_affine(grid, (np.argwhere(mask & ~binary_erosion(mask)) + start)[:, ::-1])


def _hausdorff_95(borders):
    # Very fine grids have more border voxels than the percentile needs.
    thinned = [border[:: -(-len(border) // _BORDER_VOXELS)] for border in borders]
    distances = [cKDTree(b).query(a)[0] for a, b in zip(thinned, borders[::-1])]
    return float(max(np.percentile(d, 95) for d in distances))
