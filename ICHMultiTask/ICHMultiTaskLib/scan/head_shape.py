"""Size and orientation of the head, measured on the voxels as a check of the stated geometry.

A head is nearly symmetric about one plane only, the sagittal plane. Only at the vertex do air, scalp, bone and brain
follow each other along the body axis. The air of the nose and sinuses lies below the brain and in front of it. Left
and right cannot be distinguished by the shape of a head.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..common.translation import tr as _
from .coarse_head import IN_PLANE, CoarseHead, plane_edges
from .hounsfield import MIN_HU

BONE_HU, AIR_HU = 300, -500
SOFT_HU = (-200, 300)
CORE_MM = 8.0
"""Soft tissue thinner than twice this is not brain: scalp, neck muscles within fat, contents of the orbits."""
SMALLEST_ML, LARGEST_ML = 650.0, 2400.0
LEAKING = 0.9
"""If less of its surface than this is covered by bone, the region extends beyond the brain. Whole heads have 0.98."""
BARE, SMALLER_PIECES = 0.6, (1, 2)
"""A region with less bone around it than a brain in a wide craniectomy (0.79) is other tissue, such as the shoulders:
the next largest ones are tried."""
# The values below were set on simulated heads and 2 real ones: as they are, rotated, and with swapped axes.
SYMMETRY_DIRECTIONS, SYMMETRY_SAMPLES, SYMMETRY_MARGIN = 90, 2500, 0.02
MIN_CAVITIES_ML = 2.5
MIN_OFFSET_MM = 20.0
OPEN, CLOSED = 0.18, 0.3
EVEN = 0.93


@dataclass(frozen=True)
class HeadShape:
    """Measurements of a head.

    Attributes
    ----------
    brain : ndarray of shape (S, A, R), bool
        Brain on the coarse copy, out to the skull.
    intracranial_ml : float
        Its volume; about 5 % above the intracranial volume, because it includes the upper spinal canal.
    width_mm, length_mm : float
        Of the skull, outer table to outer table, across and along its plane of symmetry: the head may be turned to a
        side.
    vault_mm : float
        From the vertex down to where the brain's cross-section falls below half of its maximum.
    covered : float
        Share of the brain's surface, on its large cross-sections, that is covered by bone.
    is_whole : bool
        Whether both ends of that height are within the scan.
    symmetry : tuple of float
        Overlap of the brain with its mirror image, 0 to 1: the best mirror plane normal to the superior, the anterior
        and the right axis; a normal within 55° of the right axis counts as right.
    evenness : float
        Overlap with itself after rotation by 180° about the right axis: 1 for an ellipsoid.
    closed_above, closed_below : float
        Share of the columns through the middle of the brain along which brain, bone, scalp and then air follow each
        other, upward and downward.
    cavities_ml : float
        Enclosed air next to the brain: nose and sinuses.
    cavities_mm : tuple of float
        Offset of their center from the brain's, to superior and anterior.
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
        return _("a skull {width:.0f} mm wide and {length:.0f} mm long around {volume:.0f} mL").format(
            width=self.width_mm, length=self.length_mm, volume=self.intracranial_ml
        )


def measure_head(coarse: CoarseHead) -> HeadShape:
    """Measure a head.

    Parameters
    ----------
    coarse : CoarseHead

    Returns
    -------
    HeadShape
        With a volume of 0 and nothing else if no brain is found.
    """
    brain, volume, covered = find_brain(coarse)
    if not covered:
        return HeadShape(brain, volume)
    area = brain.sum(axis=(1, 2))
    large = np.flatnonzero(area > 0.5 * area.max())
    top = int(np.flatnonzero(area)[-1])
    cavities_ml, cavities_mm = _cavities(coarse, brain)
    symmetry, normal, evenness = _overlaps(coarse, brain)
    width, length = _skull_size(coarse, brain, slice(large[0], large[-1] + 1), normal)
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


def find_brain(coarse: CoarseHead) -> tuple[np.ndarray, float, float]:
    """Find the brain, out to the skull.

    Parameters
    ----------
    coarse : CoarseHead

    Returns
    -------
    brain : ndarray of shape (S, A, R), bool
    volume_ml : float
    covered : float
        Share of its surface, on its large cross-sections, that is covered by bone; 0 if it is no brain.
    """
    # Bone is blurred on averaged scans: without a lower threshold and wider closing the region leaks out.
    for bone_hu, core_mm in ((BONE_HU, CORE_MM), (0.6 * BONE_HU, 2 * CORE_MM), (0.4 * BONE_HU, 2.5 * CORE_MM)):
        brain = _brain(coarse, bone_hu, core_mm)
        volume = float(brain.sum()) * coarse.voxel_ml
        if volume < 100.0:
            return brain, volume, 0.0
        covered = _covered(coarse, brain)
        if volume <= LARGEST_ML or covered >= LEAKING:
            break
    if covered < BARE:
        for place in SMALLER_PIECES:
            piece = _brain(coarse, BONE_HU, CORE_MM, place)
            piece_ml = float(piece.sum()) * coarse.voxel_ml
            if SMALLEST_ML <= piece_ml <= LARGEST_ML and (share := _covered(coarse, piece)) >= LEAKING:
                return piece, piece_ml, share
    return brain, volume, covered


def misplacement(shape: HeadShape) -> str | None:
    """Describe the head's orientation if it clearly contradicts the header.

    Parameters
    ----------
    shape : HeadShape

    Returns
    -------
    str or None
        "upside down", for example; None if the orientation is as stated or cannot be determined.
    """
    superior, anterior, right = shape.symmetry
    if superior > max(right + SYMMETRY_MARGIN, anterior):
        return _("with its plane of symmetry across the axis from head to feet")
    # Even a head rotated far to the side is longer than wide.
    if anterior > right + SYMMETRY_MARGIN and shape.width_mm > 1.03 * shape.length_mm:
        return _("with its plane of symmetry across the axis from back to front")
    has_cavities = shape.cavities_ml >= MIN_CAVITIES_ML
    up, forward = shape.cavities_mm if has_cavities else (0.0, 0.0)
    is_reversed = forward < -MIN_OFFSET_MM
    if up > MIN_OFFSET_MM and shape.closed_above < OPEN:
        return _("upside down and with the face to the back") if is_reversed else _("upside down")
    # In the stated orientation the neck is below. A phantom made of ellipsoids is closed at both ends and even.
    is_closed = shape.closed_below > CLOSED and (has_cavities or shape.closed_above > OPEN)
    if is_closed and shape.evenness < EVEN:
        return _("on its face or its back")
    return _("with the face to the back") if is_reversed else None


def _brain(coarse, bone_hu, core_mm, place=0):
    """The largest piece of soft tissue after erosion, or one by its place in size, dilated back to its surface."""
    from scipy import ndimage

    soft = (coarse.peak < bone_hu) & (coarse.hu > SOFT_HU[0]) & (coarse.hu < SOFT_HU[1])
    counts = np.maximum(1, np.round(core_mm / coarse.step_mm)).astype(int)
    core = _along_axes(ndimage.binary_erosion, soft, counts)
    labels, found = ndimage.label(core)
    if not found:
        return np.zeros_like(soft)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if place >= found:
        return np.zeros_like(soft)
    # One more sample in plane: the surface that the pooled maximum counted as bone.
    grown = _along_axes(ndimage.binary_dilation, labels == np.argsort(-sizes, kind="stable")[place], counts + [0, 1, 1])
    return grown & (coarse.hu > SOFT_HU[0]) & (coarse.hu < bone_hu)


def _along_axes(operation, mask, counts):
    """Erode or dilate by a box, one axis after the other."""
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


def _skull_size(coarse, brain, levels, normal):
    """Width and length of the skull in mm, from bone within 14 mm of the brain, along and across a normal."""
    from scipy import ndimage

    counts = [0, *np.maximum(1, np.round(14.0 / coarse.step_mm[1:])).astype(int)]
    near = _along_axes(ndimage.binary_dilation, brain[levels], counts)
    skull = ((near & (coarse.hu[levels] > BONE_HU)) | brain[levels]).any(axis=0)
    forward, right = (np.argwhere(skull) * coarse.step_mm[1:]).T
    turn = np.arctan2(normal[1], normal[2])
    across, along = right * np.cos(turn) + forward * np.sin(turn), forward * np.cos(turn) - right * np.sin(turn)
    step = float(np.sqrt(coarse.step_mm[1] * coarse.step_mm[2]))
    return float(np.ptp(across)) + step, float(np.ptp(along)) + step


def _overlaps(coarse, brain):
    """Overlap of the brain with its mirror images, and with its 180° rotation.

    Returns
    -------
    best : tuple of float
        By the axis nearest to the normal of the mirror plane: superior, anterior, right.
    normal : ndarray of shape (3,)
        Of the best plane of a turned head; the right axis if another axis has a better one.
    evenness : float
    """
    places = np.argwhere(brain)
    places = places[:: max(1, len(places) // SYMMETRY_SAMPLES)]
    # In mm, so that neither a gantry tilt nor an oblique grid matters.
    points = places @ coarse.steps_mm.T
    middle = points.mean(axis=0)
    points = points - middle
    into_grid = np.linalg.inv(coarse.steps_mm).T

    def covered(moved):
        index = np.rint((moved + middle) @ into_grid).astype(int)
        is_inside = ((index >= 0) & (index < brain.shape)).all(axis=-1)
        index = np.where(is_inside[..., None], index, 0)
        return float(np.mean(brain[tuple(np.moveaxis(index, -1, 0))] & is_inside))

    best, normals = [0.0, 0.0, 0.0], np.eye(3)
    for normal in _directions(SYMMETRY_DIRECTIONS):
        # Heads are rotated to the side by up to 45°; nobody is scanned lying on the ear.
        nearest = 2 if abs(normal[2]) > np.cos(np.radians(55.0)) else int(np.abs(normal[:2]).argmax())
        overlap = covered(points - 2 * (points @ normal)[:, None] * normal)
        if overlap > best[nearest]:
            best[nearest], normals[nearest] = overlap, normal * np.sign(normal[nearest])
    normal = normals[2] if best[2] == max(best) else np.array([0.0, 0.0, 1.0])
    return tuple(best), normal, covered(points * [-1.0, -1.0, 1.0])


def _directions(count):
    """Unit vectors spread evenly over a hemisphere (Fibonacci spiral), and the three axes; shape (count + 3, 3)."""
    n = np.arange(count) + 0.5
    height, turn = 1.0 - n / count, np.pi * (1.0 + np.sqrt(5.0)) * n
    radius = np.sqrt(1.0 - height**2)
    return np.vstack([np.eye(3), np.column_stack([height, radius * np.cos(turn), radius * np.sin(turn)])])


def _closed(coarse, brain):
    """Share of the central columns that pass upward through bone into air within 30 mm, and stay in air."""
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
    # Padding does not count as air: a resampled or registered scan has it below the neck. If all air is clipped to the
    # padding value, it counts, unless the head ends there in a large flat cross-section.
    beyond = (level > first_air + 1) & (level <= first_air + 4)  # past the blur of interpolation
    is_real = (beyond & (hu > MIN_HU)).any(axis=0)
    air = coarse.hu[coarse.hu < AIR_HU]
    if np.mean(air == MIN_HU) > 0.9:
        tissue = (coarse.hu > -300).mean(axis=(1, 2))
        ends = np.flatnonzero(tissue > 0.02)
        is_real |= tissue[ends[-1]] < 0.35 * tissue.max()
    return float(np.mean(reaches & through_bone & stays & is_real))


def _cavities(coarse, brain):
    """Volume in mL of enclosed air next to the brain, and its offset from the brain's center in mm, up and forward."""
    from scipy import ndimage

    # The head without thin parts: a headrest that encloses air behind the scalp does not belong to it.
    thick = ndimage.binary_erosion(coarse.hu > -300, IN_PLANE)
    labels, _ = ndimage.label(thick)
    head = ndimage.binary_dilation(labels == np.bincount(labels[brain & thick]).argmax(), IN_PLANE)
    labels, _ = ndimage.label(~(head & (coarse.hu > -300)), IN_PLANE)
    is_outside = np.zeros(labels.max() + 1, dtype=bool)
    is_outside[labels[plane_edges(head.shape)]] = True
    is_outside[0] = True
    near = _along_axes(ndimage.binary_dilation, brain, np.maximum(1, np.round(20.0 / coarse.step_mm)).astype(int))
    # Without the mastoids, which lie to the sides and behind.
    aside = np.abs(np.arange(brain.shape[2]) - np.nonzero(brain)[2].mean()) * coarse.step_mm[2]
    cavities = ~is_outside[labels] & near & (aside < 32.0)
    count = np.count_nonzero(cavities)
    if not count:
        return 0.0, (0.0, 0.0)
    place = coarse.steps_mm @ (np.argwhere(cavities).mean(axis=0) - np.argwhere(brain).mean(axis=0))
    return count * coarse.voxel_ml, (float(place[0]), float(place[1]))
