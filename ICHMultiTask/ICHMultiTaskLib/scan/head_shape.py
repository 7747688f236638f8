"""What the voxels themselves say of the geometry: the head's size, and which way up it lies.

A head is nearly mirrored in one plane only, the sagittal one; at the vertex, and nowhere else along the body's axis,
air, scalp, bone and brain follow each other; the air of nose and sinuses lies below the brain and in front. Left and
right cannot be told from a head, and nothing here claims to.
"""

from dataclasses import dataclass, replace

import numpy as np

from .coarse_head import CoarseHead
from .hounsfield import LEAST_HU

BONE_HU, AIR_HU = 300, -500
SOFT_HU = (-200, 300)
CORE_MM = 8.0
"""What is thinner than twice this is no brain: scalp, neck muscles in their fat, the orbits' content."""
LARGEST_ML = 2400.0
LEAKING = 0.9
"""Below this share of bone on its surface, what was found is more than the brain. Whole heads have 0.98 or more."""
# What follows was set on simulated heads and 2 real ones, as they are, turned to the side, and with exchanged axes.
SYMMETRY_DIRECTIONS, SYMMETRY_SAMPLES, SYMMETRY_MARGIN = 90, 2500, 0.02
LEAST_CAVITIES_ML = 2.5
MIN_OFFSET_MM = 20.0
OPEN, CLOSED = 0.18, 0.3
EVEN = 0.93


@dataclass(frozen=True)
class HeadShape:
    """Measurements of a head.

    Attributes
    ----------
    brain : ndarray of shape (S, A, R), bool
        Where brain lies on the coarse copy, its surface up to the skull included.
    intracranial_ml : float
        Its volume; some 5 % more than the skull's content, for the upper spinal canal.
    width_mm, length_mm : float
        Of the skull, outer table to outer table, along the patient's axes.
    vault_mm : float
        From the vertex down to where the brain's cross-section falls below half of its largest.
    covered : float
        Share of the brain's surface, on its large cross-sections, that bone lies on.
    is_whole : bool
        Whether the scan holds both ends of that height.
    symmetry : tuple of float
        How well the brain covers its mirror image, from 0 to 1: the best of the mirrors across the superior, the
        anterior and the right axis; a mirror up to 55° from the right axis counts as across that one.
    evenness : float
        How well it covers itself after half a turn about the right axis: 1 for an ellipsoid.
    closed_above, closed_below : float
        Share of the columns through the middle of the brain along which brain, bone, scalp and then air follow each
        other, going up and going down.
    cavities_ml : float
        Air in bone beside the brain: nose, sinuses, mastoids.
    cavities_mm : tuple of float
        Their middle from the brain's, to superior and anterior.
    """

    brain: np.ndarray
    intracranial_ml: float
    width_mm: float = 0.0
    length_mm: float = 0.0
    vault_mm: float = 0.0
    covered: float = 0.0
    is_whole: bool = False
    symmetry: tuple = (0.0, 0.0, 0.0)
    evenness: float = 1.0
    closed_above: float = 0.0
    closed_below: float = 0.0
    cavities_ml: float = 0.0
    cavities_mm: tuple = (0.0, 0.0)

    @property
    def found(self) -> str:
        """The measurements in words."""
        return (
            f"a skull {self.width_mm:.0f} mm wide and {self.length_mm:.0f} mm long around {self.intracranial_ml:.0f} mL"
        )


def measure_head(coarse: CoarseHead) -> HeadShape:
    """Measure a head.

    Parameters
    ----------
    coarse : CoarseHead

    Returns
    -------
    HeadShape
        With a volume of 0 and nothing else where no brain is found.
    """
    # The bone of averaged scans is blurred: the brain leaks out unless it counts from lower HU and wider gaps close.
    for bone_hu, core_mm in ((BONE_HU, CORE_MM), (0.6 * BONE_HU, 2 * CORE_MM), (0.4 * BONE_HU, 2.5 * CORE_MM)):
        brain = _brain(coarse, bone_hu, core_mm)
        volume = float(brain.sum()) * coarse.voxel_ml
        if volume < 100.0:
            return HeadShape(brain, volume)
        covered = _covered(coarse, brain)
        if volume <= LARGEST_ML or covered >= LEAKING:
            break
    area = brain.sum(axis=(1, 2))
    large = np.flatnonzero(area > 0.5 * area.max())
    top = int(np.flatnonzero(area)[-1])
    width, length = _skull_size(coarse, brain, slice(large[0], large[-1] + 1))
    cavities_ml, cavities_mm = _cavities(coarse, brain)
    symmetry, evenness = _overlaps(coarse, brain)
    return HeadShape(
        brain=brain,
        intracranial_ml=volume,
        width_mm=width,
        length_mm=length,
        vault_mm=float((top - large[0] + 1) * coarse.step_mm[0]),
        covered=covered,
        is_whole=bool(large[0] > 0 and top < len(area) - 1),
        symmetry=symmetry,
        evenness=evenness,
        closed_above=_closed(coarse, brain),
        closed_below=_closed(replace(coarse, hu=coarse.hu[::-1], peak=coarse.peak[::-1]), brain[::-1]),
        cavities_ml=cavities_ml,
        cavities_mm=cavities_mm,
    )


def misplacement(shape: HeadShape) -> str | None:
    """Say how the head lies if it does not lie as the header states, where that is beyond doubt.

    Parameters
    ----------
    shape : HeadShape

    Returns
    -------
    str or None
        "upside down", for example; None where the head lies as stated, or where it cannot be told.
    """
    superior, anterior, right = shape.symmetry
    if superior > max(right + SYMMETRY_MARGIN, anterior):
        return "with its plane of symmetry across the axis from head to feet"
    # A head turned far to the side is still longer than wide.
    if anterior > right + SYMMETRY_MARGIN and shape.width_mm > 1.03 * shape.length_mm:
        return "with its plane of symmetry across the axis from back to front"
    has_cavities = shape.cavities_ml >= LEAST_CAVITIES_ML
    up, forward = shape.cavities_mm if has_cavities else (0.0, 0.0)
    is_reversed = forward < -MIN_OFFSET_MM
    if up > MIN_OFFSET_MM and shape.closed_above < OPEN:
        return "upside down and with the face to the back" if is_reversed else "upside down"
    # Below a head that lies as stated is the neck. A phantom of ellipsoids is closed at both ends and even.
    is_closed = shape.closed_below > CLOSED and (has_cavities or shape.closed_above > OPEN)
    if is_closed and shape.evenness < EVEN:
        return "on its face or its back"
    return "with the face to the back" if is_reversed else None


def _brain(coarse, bone_hu, core_mm):
    """The largest piece of soft tissue that is nowhere thin, grown back to its surface."""
    from scipy import ndimage

    soft = (coarse.peak < bone_hu) & (coarse.hu > SOFT_HU[0]) & (coarse.hu < SOFT_HU[1])
    counts = np.maximum(1, np.round(core_mm / coarse.step_mm)).astype(int)
    core = _along_axes(ndimage.binary_erosion, soft, counts)
    labels, found = ndimage.label(core)
    if not found:
        return np.zeros_like(soft)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # One more sample within the plane: the surface that the pooled maximum gave to the bone.
    grown = _along_axes(ndimage.binary_dilation, labels == sizes.argmax(), counts + [0, 1, 1])
    return grown & (coarse.hu > SOFT_HU[0]) & (coarse.hu < bone_hu)


def _along_axes(operation, mask, counts):
    """Erosion or dilation by a box, one axis after the other."""
    for axis, count in enumerate(counts):
        if count:
            shape = [1, 1, 1]
            shape[axis] = 3
            mask = operation(mask, np.ones(shape, dtype=bool), iterations=int(count))
    return mask


def _covered(coarse, brain):
    """Share of the brain's surface on its large cross-sections with bone within 8 mm."""
    from scipy import ndimage

    area = brain.sum(axis=(1, 2))
    levels = np.flatnonzero(area > 0.5 * area.max())
    part, box = slice(levels[0], levels[-1] + 1), np.ones((1, 3, 3), dtype=bool)
    surface = ndimage.binary_dilation(brain[part], box) & ~brain[part]
    bone = ndimage.binary_dilation(coarse.peak[part] > BONE_HU, box)
    return float(np.count_nonzero(surface & bone) / max(np.count_nonzero(surface), 1))


def _skull_size(coarse, brain, levels):
    """Width and length of the skull in mm, of bone within 14 mm of the brain."""
    from scipy import ndimage

    counts = [0, *np.maximum(1, np.round(14.0 / coarse.step_mm[1:])).astype(int)]
    near = _along_axes(ndimage.binary_dilation, brain[levels], counts)
    skull = ((near & (coarse.hu[levels] > BONE_HU)) | brain[levels]).any(axis=0)
    sizes = [np.flatnonzero(skull.any(axis=axis)) for axis in (0, 1)]
    width, length = (
        float((places[-1] - places[0] + 1) * step) for places, step in zip(sizes, coarse.step_mm[:0:-1], strict=True)
    )
    return width, length


def _overlaps(coarse, brain):
    """Share of the brain that its mirror images cover, by the nearest axis of the mirror, and that half a turn does."""
    places = np.argwhere(brain)
    places = places[:: max(1, len(places) // SYMMETRY_SAMPLES)]
    # In mm, so that neither a tilted gantry nor an oblique grid counts.
    points = places @ coarse.steps_mm.T
    middle = points.mean(axis=0)
    points = points - middle
    into_grid = np.linalg.inv(coarse.steps_mm).T

    def covered(moved):
        index = np.rint((moved + middle) @ into_grid).astype(int)
        is_inside = ((index >= 0) & (index < brain.shape)).all(axis=-1)
        index = np.where(is_inside[..., None], index, 0)
        return float(np.mean(brain[tuple(np.moveaxis(index, -1, 0))] & is_inside))

    best = [0.0, 0.0, 0.0]
    for normal in _directions(SYMMETRY_DIRECTIONS):
        # Heads are turned to the side by up to half a right angle; no head lies on its ear.
        nearest = 2 if abs(normal[2]) > np.cos(np.radians(55.0)) else int(np.abs(normal[:2]).argmax())
        best[nearest] = max(best[nearest], covered(points - 2 * (points @ normal)[:, None] * normal))
    return tuple(best), covered(points * [-1.0, -1.0, 1.0])


def _directions(count):
    """Unit vectors spread evenly over half a sphere (Fibonacci's spiral), and the three axes; shape (count + 3, 3)."""
    n = np.arange(count) + 0.5
    height, turn = 1.0 - n / count, np.pi * (1.0 + np.sqrt(5.0)) * n
    radius = np.sqrt(1.0 - height**2)
    return np.vstack([np.eye(3), np.column_stack([height, radius * np.cos(turn), radius * np.sin(turn)])])


def _closed(coarse, brain):
    """Share of the columns in the middle of the brain that go up through bone into air within 30 mm, and stay there."""
    from scipy import ndimage

    footprint = brain.any(axis=0)
    distance = ndimage.distance_transform_edt(footprint)
    columns = distance > 0.55 * distance.max()
    hu, peak, inside = coarse.hu[:, columns], coarse.peak[:, columns], brain[:, columns]
    count = len(hu)
    last = count - 1 - inside[::-1].argmax(axis=0)
    level = np.arange(count)[:, None]
    above = level > last
    is_air = above & (hu < AIR_HU)
    first_air = np.where(is_air.any(axis=0), is_air.argmax(axis=0), count)
    reaches = (first_air < count) & ((first_air - last) * coarse.step_mm[0] <= 30.0)
    through_bone = (above & (level <= first_air) & (peak > 0.8 * BONE_HU)).any(axis=0)
    stays = ~((level >= first_air) & (hu > -200)).any(axis=0)
    # Padding is no air: a resampled or registered scan has it below the neck. Scans whose air is clipped to the same
    # value have no other air; there, and only there, it counts unless a flat cut through much of the head ends at it.
    beyond = (level > first_air + 1) & (level <= first_air + 4)  # after what interpolation blurs
    is_real = (beyond & (hu > LEAST_HU)).any(axis=0)
    air = coarse.hu[coarse.hu < AIR_HU]
    if np.mean(air == LEAST_HU) > 0.9:
        tissue = (coarse.hu > -300).mean(axis=(1, 2))
        ends = np.flatnonzero(tissue > 0.02)
        is_real |= tissue[ends[-1]] < 0.35 * tissue.max()
    return float(np.mean(reaches & through_bone & stays & is_real))


def _cavities(coarse, brain):
    """Volume in mL of the air enclosed beside the brain, and its middle from the brain's in mm, up and forward."""
    from scipy import ndimage

    within_plane = np.zeros((3, 3, 3), dtype=bool)
    within_plane[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    # The head without what is thin: a headrest that closes a gap behind the scalp is no part of it.
    thick = ndimage.binary_erosion(coarse.hu > -300, within_plane)
    labels, _ = ndimage.label(thick)
    head = ndimage.binary_dilation(labels == np.bincount(labels[brain & thick]).argmax(), within_plane)
    labels, _ = ndimage.label(~(head & (coarse.hu > -300)), within_plane)
    rim = np.ones(head.shape, dtype=bool)
    rim[:, 1:-1, 1:-1] = False
    is_outside = np.zeros(labels.max() + 1, dtype=bool)
    is_outside[labels[rim]] = True
    is_outside[0] = True
    near = _along_axes(ndimage.binary_dilation, brain, np.maximum(1, np.round(20.0 / coarse.step_mm)).astype(int))
    # Not the mastoids, which lie to the sides and behind.
    aside = np.abs(np.arange(brain.shape[2]) - np.nonzero(brain)[2].mean()) * coarse.step_mm[2]
    cavities = ~is_outside[labels] & near & (aside < 32.0)
    count = np.count_nonzero(cavities)
    if not count:
        return 0.0, (0.0, 0.0)
    place = coarse.steps_mm @ (np.argwhere(cavities).mean(axis=0) - np.argwhere(brain).mean(axis=0))
    return count * coarse.voxel_ml, (float(place[0]), float(place[1]))
