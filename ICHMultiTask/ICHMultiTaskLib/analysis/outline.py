"""Outline of the bleed in the scan: regions of blood density where the network looks.

The regions come from total-variation denoising (Rudin, Osher and Fatemi 1992, doi 10.1016/0167-2789(92)90242-F), whose
level sets have the shortest border for the enclosed region (Chambolle 2004, doi 10.1023/B:JMIV.0000011325.36760.1e).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..measures.grids import bounding_box
from ..measures.segment import TOUCHING
from ..measures.shape import sphere_radius_mm
from ..scan.coarse_head import IN_PLANE, coarse_head, dicom_order, noise_hu, on_scan
from ..scan.head_ct import HeadCT
from ..scan.head_shape import BARE, find_brain
from .denoising import denoise
from .second_look import Evidence

NEAR_MM = 15.0
"""The bleed lies within the region of highest attention: as large as a sphere of its volume with this added radius."""
SEED_MM = 3.0
"""Every component of the bleed overlaps the region of highest attention that is defined with this smaller margin."""
MIN_COMPONENT_ML = 0.1
"""Smaller components are left out."""
MARGIN_MM = 6.0
EDGE_MM = 4.0
"""Margin around the bleed for a smooth border."""
COARSE_MM = 4.0
"""The attention map has no finer detail."""
GRID_MM = 1.0
GRID_VOXELS = 300_000
BONE_HU = 160
BONE_RIM_MM = 1.5
"""Rim around bone in which the partial volume of bone and brain looks like blood."""
FORAMEN_MM = 3.0
"""Openings of the skull up to twice this width are closed."""
BRAIN_HU = 20.0
BRIGHTER_HU = 3.0
PROFILE_MM = 6.0
PROFILE_CM2 = 15.0
"""Toward the skull base, beam hardening makes the brain brighter. The median of brain, within the first value of that
of the whole scan, is followed from slice to slice where there is enough of it, and smoothed over some mm; where it
rises by more than the second value, the excess is subtracted."""
BLOOD_HU = (5.0, 110.0)
CONTRAST_HU = 8.0
"""Blood is at least this much denser than brain."""
DENOISING_HU = 8.0
RIM_MM = (2.0, 6.0)
"""Distance from the bleed at which its surroundings are measured."""
RIM_PERCENTILE = 80
"""Of the surrounding density: blood is denser than nearly all of it, while a sinus or the tentorium extends into it."""
USUAL_NOISE_HU, NOISE_AT_PERCENTILE = 10.0, 0.84
"""Hardly any scan has more noise than this, averaged to `GRID_MM`; a sharp kernel for bone has twice as much, which
raises that percentile of the surroundings by this fraction of it."""
NECK_MM = 3.0
"""Half the width up to which a bridge between two parts is a neck."""
ALONG_BONE_MM, ALONG_BONE = 6.0, 0.8
SINUS_ML = 0.3
"""A part is a dural sinus if this share of it lies nearer to bone than the first value, and it is larger than this: a
smaller one may be the edge of a bleed. Around 250 simulated bleeds (seed 109), 7.1 mL without blood are left out by
these limits, and 0.4 mL of blood."""
NEAR_BONE_MM = 4.0
DENSE_HU = 100.0
"""Denser than this: bone, calcium, metal or contrast in vessels, not blood."""
TOLERANCE = 0.1, 0.5
"""Volumes differ beyond this fraction and this many mL."""
LATITUDE = 0.15
"""How far the border may move to reach a requested volume, as a fraction of the step from brain to blood."""


@dataclass(frozen=True)
class Outline:
    """What is as dense as blood where the network looks.

    Attributes
    ----------
    mask : ndarray of shape (K, J, I), bool
        On the scan's grid; all False if nothing was found.
    evidence : Evidence or None
        How much the region resembles blood; None if nothing was found.
    """

    mask: np.ndarray = field(repr=False)
    evidence: Evidence | None = None


def outline(
    head_ct: HeadCT,
    attention: np.ndarray,
    searched_ml: float,
    target_ml: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> Outline:
    """Outline the region at the attention that is denser than brain, whether it is blood or not.

    Parameters
    ----------
    head_ct : HeadCT
    attention : ndarray of shape (K, J, I)
        The map of `LOCATOR`; highest above 0.
    searched_ml : float
        The region is searched for as far from the highest attention as a bleed of this volume reaches.
    target_ml : float, optional
        The border moves toward this volume, within `LATITUDE`; without it, it lies halfway between the densities of
        blood and its surroundings.
    progress : callable (fraction, message), optional

    Returns
    -------
    Outline
    """
    # Voxels are averaged in blocks that are counted from the first one: it must not depend on the file's format.
    axes, directions = dicom_order(head_ct)
    attention = np.ascontiguousarray(attention.transpose(axes)[directions])
    found = _outline(_reordered(head_ct, axes, directions), attention, searched_ml, target_ml, progress)
    mask = np.ascontiguousarray(found.mask[directions].transpose(np.argsort(axes)))
    return Outline(mask, found.evidence)


def _reordered(head_ct, axes, directions):
    """The scan stored along other axes."""
    corner = [0 if part.step > 0 else head_ct.hu.shape[axis] - 1 for axis, part in zip(axes, directions, strict=True)]
    steps = head_ct.ijk_to_ras[:3, 2::-1][:, axes]
    affine = np.eye(4)
    affine[:3, :3] = (steps * [part.step for part in directions])[:, ::-1]
    affine[:3, 3] = head_ct.ijk_to_ras[:3, 3] + steps @ corner
    return replace(head_ct, hu=np.ascontiguousarray(head_ct.hu.transpose(axes)[directions]), ijk_to_ras=affine)


def _outline(head_ct, attention, searched_ml, target_ml, progress):
    progress(0.0, _("Density"))
    nothing = Outline(np.zeros(head_ct.hu.shape, bool))
    grid = _WorkGrid(head_ct, attention, searched_ml)
    level = _level(grid)
    if level is None:
        return nothing
    progress(0.5, _("Border"))
    grid, level, border = _border(level, grid, target_ml)
    region = _without_sinuses(_region(level, grid, border), grid)
    if not region.any():
        return nothing
    volume = float(np.count_nonzero(region) * grid.voxel_ml)
    if target_ml is not None and is_same(volume, target_ml):
        volume = target_ml
    progress(0.8, _("Smoothing"))
    mask = _on_scan(level, region, border, grid, volume)
    progress(1.0, _("Done"))
    return Outline(mask, _evidence(region, grid))


def is_same(volume_ml: float, other_ml: float) -> bool:
    """Whether a volume is the other one within `TOLERANCE`."""
    return abs(volume_ml - other_ml) <= max(TOLERANCE[0] * other_ml, TOLERANCE[1])


def _evidence(region, grid):
    """Features that distinguish blood from bone, calcium and streaks; the core is the deeper half of the region."""
    depth = _depth(region, grid.spacing)
    core = depth >= np.median(depth[region])
    distance = ndimage.distance_transform_edt(~region, sampling=grid.spacing)
    rim = (distance > RIM_MM[0]) & (distance < RIM_MM[1]) & grid.soft
    surroundings = float(np.percentile(grid.hu[rim], RIM_PERCENTILE)) if rim.any() else grid.brain_hu
    noise = noise_hu(np.where(grid.soft, grid.hu, -1000.0))
    touched = ndimage.binary_dilation(region)
    return Evidence(
        contrast_hu=float(np.median(grid.hu[core])) - surroundings,
        near_bone=float(np.mean(grid.from_bone[region] < NEAR_BONE_MM)),
        dense=float(np.mean(grid.hu[touched] > DENSE_HU)),
        hidden_hu=NOISE_AT_PERCENTILE * max(noise - USUAL_NOISE_HU, 0.0),
    )


class _WorkGrid:
    """Density and attention around the peak, averaged to voxels of about a millimeter.

    Averaging reduces the noise of thin slices and small pixels, and makes the cost independent of the scan's grid.
    """

    def __init__(self, head_ct, attention, searched_ml):
        spacing = head_ct.spacing_kji
        strides = tuple(slice(None, None, max(1, round(COARSE_MM / step))) for step in spacing)
        coarse = attention[strides]
        coarse_ml = head_ct.voxel_volume_mm3 / 1000.0 * np.prod([stride.step for stride in strides])
        self.near, self.seed = (_top_threshold(coarse, coarse_ml, searched_ml, mm) for mm in (NEAR_MM, SEED_MM))
        margin = np.ceil(MARGIN_MM / spacing).astype(int)
        self.box = tuple(
            slice(max(0, part.start * stride.step - m), min(n, part.stop * stride.step + m))
            for part, stride, m, n in zip(
                bounding_box(coarse >= self.near), strides, margin, attention.shape, strict=True
            )
        )
        self.factors = _factors([part.stop - part.start for part in self.box], spacing)
        self.spacing = spacing * self.factors
        self.scan_shape = attention.shape
        self.scan_voxel_ml = head_ct.voxel_volume_mm3 / 1000.0
        self.voxel_ml = self.scan_voxel_ml * float(np.prod(self.factors))
        self.hu = _block_mean(np.clip(head_ct.hu[self.box], -100, 300), self.factors)
        self.attention = _block_mean(attention[self.box], self.factors)
        bone = self.hu > BONE_HU
        from_bone = self.from_bone = (
            ndimage.distance_transform_edt(~bone, sampling=self.spacing) if bone.any() else np.full(bone.shape, 99.0)
        )
        soft = (from_bone > BONE_RIM_MM) & (self.hu > BLOOD_HU[0]) & (self.hu < BLOOD_HU[1])
        samples = head_ct.hu[strides]
        samples = samples[(samples > 10) & (samples < 60)]
        self.brain_hu = float(np.median(samples)) if samples.size else 30.0
        head = coarse_head(head_ct)
        brain, _volume_ml, covered = find_brain(head)

        def in_box(values):
            return _block_mean(on_scan(values, head, head_ct, self.box), self.factors)

        if covered >= BARE:
            soft = _in_brain(soft, brain, in_box)
            self.hu -= in_box(_brightening(head, brain, self.brain_hu))
        self.soft = soft & _intracranial(soft, from_bone, self.attention, self.spacing)

    def cropped(self, part: tuple[slice, slice, slice]) -> _WorkGrid:
        """A part of the grid."""
        smaller = copy(self)
        smaller.box = tuple(
            slice(whole.start + p.start * f, min(whole.stop, whole.start + p.stop * f))
            for whole, p, f in zip(self.box, part, self.factors, strict=True)
        )
        for name in ("hu", "attention", "soft", "from_bone"):
            setattr(smaller, name, getattr(self, name)[part])
        return smaller


def _top_threshold(attention, voxel_ml, volume_ml, thicker_mm):
    """Threshold at which the map has the size of a sphere of a volume with an enlarged radius; always above 0."""
    radius_mm = sphere_radius_mm(volume_ml) + thicker_mm
    count = max(1, round(4.0 / 3000.0 * np.pi * radius_mm**3 / voxel_ml))
    values = attention[attention > 0]
    return float(np.partition(values, -count)[-count] if count < values.size else values.min())


def _factors(shape, spacing):
    """Voxels to average along each axis: to `GRID_MM`, or coarser if there would be too many."""
    target = GRID_MM
    while True:
        factors = tuple(int(f) for f in np.maximum(1, np.round(target / spacing)))
        if np.prod(shape) <= GRID_VOXELS * np.prod(factors):
            return factors
        target *= 1.1


def _block_mean(array, factors):
    """Mean over blocks of voxels; incomplete blocks are padded with the edge values."""
    array = np.pad(
        array.astype(np.float32), [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)], mode="edge"
    )
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = (*array.shape[:axis], array.shape[axis] // factor, factor, *array.shape[axis + 1 :])
            array = array.reshape(shape).mean(axis + 1)
    return array


def _in_brain(soft, brain, in_box):
    """Soft tissue of the brain alone; all of it if there is none.

    Under the sloping base of a skull, muscle as dense as blood lies in the very next slice, with no bone between.
    """
    # One sample more in plane, since the brain was found without the pixels beside bone.
    inside = soft & (in_box(ndimage.binary_dilation(brain, IN_PLANE)) > 0.5)
    return inside if inside.any() else soft


def _brightening(head, brain, brain_hu):
    """By how many HU brain is brighter than in the rest of the scan, by height; on the coarse head, never below 0."""
    inner = ndimage.binary_erosion(brain, IN_PLANE) & (np.abs(head.hu - brain_hu) < BRAIN_HU)
    enough = np.count_nonzero(inner, axis=(1, 2)) * head.pixel_cm2 > PROFILE_CM2
    if not enough.any():
        return np.zeros(brain.shape, np.float32)
    heights = np.flatnonzero(enough)
    medians = [float(np.median(head.hu[k][inner[k]])) for k in heights]
    profile = np.interp(np.arange(len(brain)), heights, medians) - np.median(medians)
    profile = ndimage.gaussian_filter1d(profile, PROFILE_MM / head.step_mm[0], mode="nearest")
    above = np.maximum(profile - BRIGHTER_HU, 0.0).astype(np.float32)
    return np.broadcast_to(above[:, None, None], brain.shape)


def _intracranial(soft, from_bone, attention, spacing):
    """The space between bones with most of the attention, foramina closed; excludes muscle, as dense as blood."""
    labels, count = ndimage.label(soft & (from_bone > FORAMEN_MM))
    if not count:
        return soft
    space = labels == 1 + int(np.argmax(ndimage.sum(attention, labels, np.arange(1, count + 1))))
    return ndimage.distance_transform_edt(~space, sampling=spacing) <= 1.5 * FORAMEN_MM


def _level(grid):
    """Denoised density, scaled to 0 for brain and 1 for blood; None if nothing is as dense as blood."""
    hu = np.clip(np.where(grid.soft, grid.hu, grid.brain_hu), 0, 95)
    hu = denoise(hu, DENOISING_HU, grid.spacing)
    blood = grid.soft & (grid.attention >= grid.seed) & (hu > grid.brain_hu + CONTRAST_HU)
    if not blood.any():
        return None
    contrast = np.average(hu[blood], weights=grid.attention[blood]) - grid.brain_hu
    level = (hu - grid.brain_hu) / np.float32(contrast)
    level[~grid.soft | (grid.attention < grid.near)] = -1.0
    return level


def _region(level, grid, border):
    """Components above a level that reach the attention and are larger than `MIN_COMPONENT_ML`, holes filled."""
    labels, count = ndimage.label(level > border)
    kept = np.bincount(labels.ravel(), minlength=count + 1) * grid.voxel_ml > MIN_COMPONENT_ML
    reached = np.zeros(count + 1, bool)
    reached[labels[grid.attention >= grid.seed]] = True
    kept &= reached
    kept[0] = False
    region = kept[labels]
    if (box := bounding_box(region)) is not None:
        region[box] = ndimage.binary_fill_holes(region[box])
    return region


def _depth(region, spacing):
    """Distance in mm to the border of a region, which the edge of the grid is, too."""
    return ndimage.distance_transform_edt(np.pad(region, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]


def _without_sinuses(region, grid):
    """The region without parts along bone that only a neck, or nothing, joins to the one with most of the attention."""
    parts, count = _parts(region, grid.spacing)
    if count < 2:
        return region
    numbers = np.arange(1, count + 1)
    sinuses = ndimage.mean(grid.from_bone < ALONG_BONE_MM, parts, numbers) > ALONG_BONE
    sinuses &= np.bincount(parts.ravel(), minlength=count + 1)[1:] * grid.voxel_ml > SINUS_ML
    if not sinuses.any():
        return region
    sinuses[np.argmax(ndimage.sum(grid.attention, parts, numbers))] = False
    return region & ~np.r_[False, sinuses][parts]


def _parts(region, spacing):
    """Number the parts of a region that only necks join, and their number; what is narrow is a part of its own."""
    inner, count = ndimage.label(_depth(region, spacing) > NECK_MM)
    if not count:
        return ndimage.label(region)
    distance, nearest = ndimage.distance_transform_edt(inner == 0, sampling=spacing, return_indices=True)
    wide = np.where(region & (distance <= NECK_MM + GRID_MM), inner[tuple(nearest)], 0)
    narrow, more = ndimage.label(region & (wide == 0))
    return np.where(narrow, narrow + count, wide), count + more


def _border(level, grid, target_ml):
    """Level of the border, with the relevant part of the grid and of the levels.

    A voxel halfway between blood and its surroundings is half filled; the surroundings are measured, since edema is
    less dense than brain. From there the border moves toward the target volume, if there is one.
    """
    core = _region(level, grid, 0.5)
    distance = ndimage.distance_transform_edt(~core, sampling=grid.spacing)
    rim = (distance > RIM_MM[0]) & (distance < RIM_MM[1]) & (level > -1.0)
    half = (1.0 + float(np.clip(np.median(level[rim]), -0.5, 0.5))) / 2 if rim.any() else 0.5
    latitude = 0.0 if target_ml is None else LATITUDE
    low, high = half - latitude, half + latitude
    largest = bounding_box(_region(level, grid, low))
    if largest is None:
        return grid, level, half
    margin = np.ceil(EDGE_MM / grid.spacing).astype(int)
    part = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(largest, margin, strict=True))
    grid, level = grid.cropped(part), level[part]
    for _step in range(10 if latitude else 0):
        border = (low + high) / 2
        if np.count_nonzero(_region(level, grid, border)) * grid.voxel_ml > target_ml:
            low = border
        else:
            high = border
    return grid, level, (low + high) / 2


def _on_scan(level, region, border, grid, volume):
    """The region with a smooth border on the scan's grid, with the number of voxels of a volume in mL."""
    around = ndimage.binary_dilation(region, TOUCHING)
    height = np.clip(level - border, -0.5, 0.5)
    height[~around] = -0.5
    height[region] = np.maximum(height[region], 0.05)
    height = ndimage.gaussian_filter(height, 0.7 / grid.spacing)
    shape = [part.stop - part.start for part in grid.box]
    factors = np.array(grid.factors, float)
    fine = ndimage.affine_transform(height, 1 / factors, (1 - factors) / (2 * factors), shape, order=1, mode="nearest")
    count = min(round(volume / grid.scan_voxel_ml), fine.size)
    mask = np.zeros(grid.scan_shape, bool)
    if count:
        threshold = np.partition(fine.ravel(), fine.size - count)[fine.size - count]
        mask[grid.box] = fine >= max(threshold, np.float32(-0.5) + np.float32(1e-3))
    return mask
