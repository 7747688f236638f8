"""Checks that a scan is a head CT that the model was made for, and that its geometry is plausible.

The same for every format, after reading. They run on a coarse copy of about 4 mm and take milliseconds.
"""

from dataclasses import replace

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from .coarse_head import IN_PLANE, CoarseHead, coarse_head, in_patient_axes, plane_edges
from .head_ct import HeadCT
from .head_shape import AIR_HU, BONE_HU, LEAKING, HeadShape, measure_head, misplacement
from .hounsfield import MIN_HU
from .image_quality import quality_warnings
from .inside_skull import inside_skull
from .slice_order import slice_warnings
from .stated_geometry import refuse_defaults, refuse_oblique

MIN_SLICES = 8
MIN_EXTENT_MM = 75.0
"""Half of an adult head; a scan must cover at least this along every axis."""
MIN_CUT_MM = 20.0
"""Least length of the field of view's edge, within a slice, that lies inside the skull if it cuts the skull."""
MIN_SKULL_ML = 250.0
"""Smallest volume inside closed rings of bone: a sixth of an adult's, so that a craniectomy passes."""
OPEN_SKULL = 0.6
"""Smallest share of the brain's surface covered by bone without closed rings; a wide craniectomy leaves 0.79."""
METAL_HU, METAL_ML = 3000, 0.1
CONTRAST_HU, CONTRAST_ML = 110, 5.0
"""Clots reach 100 HU. 40 simulated heads had up to 1.4 mL above 110 HU, 2 real ones up to 2.3 mL (calcium)."""

HUMAN_ML, ADULT_ML = (650.0, 2400.0), (950.0, 2100.0)
"""Intracranial volume. Abbott et al. 2000 (J Craniofac Surg 11:211, CT of 157 people), mean ± SD: at 1 year girls
1025 ± 84 mL; at 20 years women 1322 ± 108, men 1473 ± 117 mL. Human: girls at 1 year - 4 SD to men + 7 SD (large heads,
and the bias of this coarse measurement); adult: women - 3.5 SD to men + 5 SD."""
HUMAN_WIDTH_MM, ADULT_WIDTH_MM = (105.0, 180.0), (120.0, 172.0)
HUMAN_LENGTH_MM, ADULT_LENGTH_MM = (130.0, 235.0), (150.0, 222.0)
"""Skull, outer table to outer table. 100 simulated adults, rotated as in practice: 132 to 156 and 167 to 218 mm; the
limits scale these ranges with the cube root of the volumes above."""
HUMAN_RATIOS, ADULT_RATIOS = (0.55, 1.15), (0.62, 1.0)
"""Width / length: detects a spacing that is wrong along one axis only."""
HUMAN_VAULT, ADULT_VAULT = (0.42, 1.0), (0.52, 0.84)
"""Height of the vault / √(width × length); 0.59 to 0.76 in the simulated adults."""
BRAIN_HU, POSSIBLE_BRAIN_HU = (15.0, 45.0), (5.0, 65.0)
"""Median inside the skull: 23 to 36 HU in 17 simulated heads, 30 in a real one. A bleed read 5.9 to 6.4 mL at 16 to
41 HU, 5.6 at 46, 4.0 at 51 and 1.5 at 56."""


def check_head_ct(head_ct: HeadCT) -> HeadCT:
    """Refuse a scan that is not a head CT or has an implausible geometry; warn about anything that limits the results.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    HeadCT
        The same voxels, with warnings and the measured intracranial volume added to the facts.

    Raises
    ------
    InputError
        If the scan is too small, has no usable values, is not in HU or not of a whole head, or if its geometry is not
        plausible: not stated, too oblique, no human head size, or another orientation than stated.
    """
    _refuse_grid(head_ct)
    _refuse_missing_numbers(head_ct.hu)
    coarse = coarse_head(head_ct)
    _refuse_values(head_ct.hu, coarse.hu)
    inside, shape = _inside(coarse), measure_head(coarse)
    if inside.sum() * coarse.voxel_ml < MIN_SKULL_ML:
        _refuse_other_body(coarse, inside, shape)
        inside = shape.brain
    warnings = [*_grid_warnings(head_ct), *_cut_warnings(coarse, inside), *_content_warnings(coarse, inside)]
    warnings += [
        *slice_warnings(head_ct.hu, coarse),
        *quality_warnings(head_ct.hu, coarse),
        *_shape_warnings(shape),
        *_dense_warnings(head_ct, coarse, shape),
    ]
    facts = head_ct.facts
    # A scan that was checked before already has its warnings.
    new = tuple(sentence for sentence in warnings if sentence not in facts.warnings)
    volume = round(shape.intracranial_ml, 1) if shape.covered >= LEAKING else None
    return replace(head_ct, facts=replace(facts, warnings=facts.warnings + new, intracranial_ml=volume))


def _refuse_grid(head_ct):
    shape = head_ct.hu.shape
    if min(shape) < MIN_SLICES:
        raise InputError(
            (
                _(
                    "The scan has only {count} slices along one axis; expected at least {least} slices "
                    "through the whole head."
                )
                if min(shape) > 1
                else _(
                    "The scan has only 1 slice along one axis; expected at least {least} slices through the whole head."
                )
            ).format(count=min(shape), least=MIN_SLICES)
        )
    refuse_defaults(head_ct.ijk_to_ras)
    refuse_oblique(head_ct.ijk_to_ras)
    extent = _extent_mm(head_ct)
    if extent.min() < MIN_EXTENT_MM:
        found = " × ".join(f"{length:.0f}" for length in extent[::-1])
        raise InputError(
            _(
                "The scan covers too little of a head; expected at least {least:.0f} mm along "
                "every axis, found {found} mm."
            ).format(least=MIN_EXTENT_MM, found=found)
        )
    if (length := _length_mm(head_ct)) > 500.0:
        raise InputError(
            _("The scan is {length:.0f} mm long; expected a scan of the head alone, below 500 mm.").format(
                length=length
            )
        )


def _length_mm(head_ct):
    """From feet to head; a field of view may be wide, or padded, without more of the body in it."""
    hu, spacing, _steps = in_patient_axes(head_ct)
    return len(hu) * head_ct.voxel_volume_mm3 / (spacing[1] * spacing[2])


def _extent_mm(head_ct):
    """Height of the grid perpendicular to each pair of axes, in mm, in the order k, j, i (without shear)."""
    inverse = np.linalg.inv(head_ct.ijk_to_ras[:3, :3])
    return (np.array(head_ct.hu.shape[::-1]) / np.linalg.norm(inverse, axis=1))[::-1]


def _refuse_missing_numbers(hu):
    if hu.dtype.kind == "f" and not np.isfinite(hu.sum(dtype=np.float64)):
        count = int(hu.size - np.isfinite(hu).sum())
        raise InputError(
            _("The scan contains {count} voxels of NaN or infinity; expected a HU value in every voxel.").format(
                count=count
            )
        )


def _refuse_values(hu, coarse):
    low, high = float(coarse.min()), float(coarse.max())
    if low == high:
        low, high = float(hu.min()), float(hu.max())
    found = _("found values from {low:.0f} to {high:.0f}").format(low=low, high=high)
    if low == high:
        raise InputError(
            _("The scan is constant; expected a head CT in HU, found the value {low:.0f} everywhere.").format(low=low)
        )
    if low > AIR_HU:
        is_unscaled = -100 < low < 1100 and 1500 < high < 8192
        reason = _("; the offset of -1024 may not have been applied") if is_unscaled else ""
        raise InputError(
            _("The values are not Hounsfield units; expected air near -1000 HU, {found}{reason}.").format(
                found=found, reason=reason
            )
        )
    if np.mean(coarse > -200) < 0.01:
        raise InputError(
            _("The scan contains almost nothing but air; expected a head, {found} HU.").format(found=found)
        )


def _inside(coarse):
    """Samples inside the skull, without a rim of 4 mm; bool, shape of `coarse.hu`."""
    from scipy import ndimage

    # Dilation closes sutures, burr holes and thin temporal bone.
    return inside_skull(ndimage.binary_dilation(coarse.peak > BONE_HU, IN_PLANE), coarse.hu < AIR_HU)


def _refuse_other_body(coarse, inside, shape):
    """Refuse a scan without closed rings of bone, unless it is a head with a wide craniectomy, or a small head."""
    volume = float(inside.sum()) * coarse.voxel_ml
    if shape.intracranial_ml <= HUMAN_ML[1] and shape.covered > OPEN_SKULL:
        return
    lungs = float(np.mean((coarse.hu > -950) & (coarse.hu < AIR_HU))) * coarse.hu.size * coarse.voxel_ml
    found = _("found {volume:.0f} mL inside closed bone").format(volume=volume)
    if lungs > 800:
        found = _("found {volume:.0f} mL of lung-like tissue").format(volume=lungs)
    raise InputError(
        _("This does not look like a head CT; expected a skull around at least {least:.0f} mL, {found}.").format(
            least=MIN_SKULL_ML, found=found
        )
    )


def _grid_warnings(head_ct):
    spacing = np.sort(head_ct.spacing_kji)
    if spacing[2] > 10.5:
        yield _("Slices are {spacing:.1f} mm apart; above 10 mm small hemorrhages are missed.").format(
            spacing=spacing[2]
        )
    if spacing[1] > 1.6 or spacing[0] < 0.2:
        yield _("The pixel size of {width:.2f} × {height:.2f} mm is unusual for a head CT (0.3 to 0.6 mm).").format(
            width=spacing[0], height=spacing[1]
        )
    if (length := _length_mm(head_ct)) > 320.0:
        yield _("The scan is {length:.0f} mm long; expected a head without neck or chest.").format(length=length)


def _cut_warnings(coarse, inside):
    """Refuse, or warn about, a head cut off above or below, by the area inside the skull on the end planes."""
    scanned = np.flatnonzero((coarse.hu > MIN_HU).any(axis=(1, 2)))  # planes of padding were not
    area = inside.sum(axis=(1, 2))[scanned[0] : scanned[-1] + 1] * coarse.pixel_cm2
    height = len(area) * coarse.step_mm[0]
    for end, name, usual in ((-1, _("vertex"), 0.25), (0, _("skull base"), 0.4)):
        share = area[end] / area.max()
        if share > 0.6 and height < 110.0:
            raise InputError(
                _(
                    "The head is cut off at the {end}; expected a scan of the whole head (about 130 mm or "
                    "more), found {height:.0f} mm."
                ).format(end=name, height=height)
            )
        if share > usual:
            yield _("The scan seems to end before the {end}; hemorrhage beyond its last slice is not seen.").format(
                end=name
            )
    # The nose, which the field of view often cuts, has less enclosed tissue there.
    cut_mm = (inside & plane_edges(inside.shape)).sum(axis=(1, 2)).max() * coarse.step_mm[1:].mean()
    if cut_mm >= MIN_CUT_MM:
        yield _("The field of view cuts off part of the skull; hemorrhage beyond its edge is not seen.")


def _content_warnings(coarse, inside):
    """Refuse contents that are not brain by their HU; warn about doubtful ones."""
    values = coarse.hu[inside]
    soft = values[(values > -100) & (values < 200)]
    if soft.size < 0.5 * values.size:
        raise InputError(
            _(
                "The inside of the skull is not brain (a phantom?): expected soft tissue of 20 to 50 HU, "
                "found {brain:.0f} HU."
            ).format(brain=np.median(values))
        )
    brain = float(np.median(soft))
    if not POSSIBLE_BRAIN_HU[0] <= brain <= POSSIBLE_BRAIN_HU[1]:
        raise InputError(
            _(
                "The brain measures {brain:.0f} HU; expected {low:.0f} to {high:.0f} HU: check the rescale intercept "
                "of the scan, whether it is a phantom, and for contrast."
            ).format(brain=brain, low=BRAIN_HU[0], high=BRAIN_HU[1])
        )
    if not BRAIN_HU[0] <= brain <= BRAIN_HU[1]:
        yield (
            _(
                "The brain measures {brain:.0f} HU; expected {low:.0f} to {high:.0f} HU: check the rescale intercept "
                "of the scan, and for contrast. Volumes at such values are unreliable."
            ).format(brain=brain, low=BRAIN_HU[0], high=BRAIN_HU[1])
        )


def _shape_warnings(shape: HeadShape):
    """Refuse a head of no human size or of another orientation than stated; warn if its size is not an adult's."""
    measured = [
        (
            _("an intracranial volume of {low:.0f} to {high:.0f} mL"),
            _("{value:.1f} mL"),
            shape.intracranial_ml,
            HUMAN_ML,
            ADULT_ML,
        ),
        (
            _("a skull width of {low:.0f} to {high:.0f} mm"),
            _("{value:.1f} mm"),
            shape.width_mm,
            HUMAN_WIDTH_MM,
            ADULT_WIDTH_MM,
        ),
        (
            _("a skull length of {low:.0f} to {high:.0f} mm"),
            _("{value:.1f} mm"),
            shape.length_mm,
            HUMAN_LENGTH_MM,
            ADULT_LENGTH_MM,
        ),
        (
            _("a width by length of {low:.2f} to {high:.2f}"),
            "{value:.2f}",
            shape.width_mm / max(shape.length_mm, 1.0),
            HUMAN_RATIOS,
            ADULT_RATIOS,
        ),
    ]
    if shape.is_whole:
        root = np.sqrt(shape.width_mm * shape.length_mm)
        measured.append(
            (
                _("a vault height by the root of width and length of {low:.2f} to {high:.2f}"),
                "{value:.2f}",
                shape.vault_mm / root,
                HUMAN_VAULT,
                ADULT_VAULT,
            )
        )
    if 0.0 < shape.covered < LEAKING:  # through an open skull the region includes what lies outside
        yield _(
            "Bone covers {share:.0f} % of the brain; expected more than {least:.0f} %. After a wide craniectomy this "
            "is so, else part of the head is missing; the head's size and orientation were not checked."
        ).format(share=100 * shape.covered, least=100 * LEAKING)
        return
    # The orientation of a head is not judged if too little of it was found.
    lies = misplacement(shape) if shape.intracranial_ml >= HUMAN_ML[0] else None
    if lies is not None:
        raise InputError(
            _(
                "The head lies {lies}, judging by its shape; expected the orientation that the header "
                "states, with the vertex up and the face to the front."
            ).format(lies=lies)
        )
    for range_words, words, value, (low, high), _adult in measured:
        if not low <= value <= high:
            raise InputError(
                _(
                    "The head does not have a human size, so the stated spacing must be wrong; expected {expected}, "
                    "found {found} ({shape})."
                ).format(
                    expected=range_words.format(low=low, high=high), found=words.format(value=value), shape=shape.found
                )
            )
    for range_words, words, value, _human, (low, high) in measured:
        if not low <= value <= high:
            yield (
                _(
                    "The head does not have an adult's size: expected {expected}, found {found} ({shape}); check the "
                    "spacing of the scan and the patient's age."
                ).format(
                    expected=range_words.format(low=low, high=high), found=words.format(value=value), shape=shape.found
                )
            )
            return


def _dense_warnings(head_ct, coarse: CoarseHead, shape: HeadShape):
    """Warn about metal at the level of the brain, and about what looks like vessels filled with contrast medium."""
    hu = in_patient_axes(head_ct)[0]
    area = shape.brain.sum(axis=(1, 2))
    levels = np.flatnonzero(area > 0.3 * area.max())  # teeth and fillings lie below
    slab = hu[levels[0] * coarse.strides[0] : (levels[-1] + 1) * coarse.strides[0]]
    metal = np.count_nonzero(slab > METAL_HU) * head_ct.voxel_volume_mm3 / 1000.0
    if metal > METAL_ML:
        yield _(
            "The scan shows about {metal:.1f} mL of metal at the level of the brain; streaks may affect the results."
        ).format(metal=metal)
    dense = _dense_ml(hu, coarse, shape)
    if dense > CONTRAST_ML:
        yield (
            _(
                "About {dense:.0f} mL inside the brain are denser than blood ever is (above {limit} "
                "HU): vessels filled with contrast medium, or calcium; a scan without contrast is expected."
            ).format(dense=dense, limit=CONTRAST_HU)
        )


def _dense_ml(hu, coarse, shape):
    """Volume denser than any clot in the upper two thirds of the brain, 4 mm from the bone."""
    from scipy import ndimage

    area = shape.brain.sum(axis=(1, 2))
    levels = np.flatnonzero(area > 0.5 * area.max())
    part = slice(levels[0] + round(0.35 * len(levels)), levels[-1] + 1)
    # Also up and down: interpolated slices show the vertex as a haze.
    deep = ndimage.binary_erosion(shape.brain, np.ones((3, 3, 3), dtype=bool))[part]
    # Samples about 1 mm apart in plane; each belongs to one sample of the coarse copy.
    fine = [
        next(size for size in range(max(1, stride // 4), 0, -1) if stride % size == 0) for stride in coarse.strides[1:]
    ]
    samples = hu[:: coarse.strides[0]][part, :: fine[0], :: fine[1]]
    for axis, size in enumerate(fine, start=1):
        deep = np.repeat(deep, coarse.strides[axis] // size, axis=axis)
    # The one has incomplete blocks at the edge, the other, of a noisy scan, has none.
    rows, columns = np.minimum(samples.shape[1:], deep.shape[1:])
    values = samples[:, :rows, :columns][deep[:, :rows, :columns]]
    if not values.size:
        return 0.0
    middle = np.median(values)
    noise = 1.4826 * np.median(np.abs(values - middle))
    count = np.count_nonzero((values > max(CONTRAST_HU, middle + 4 * noise)) & (values < METAL_HU))
    return count * coarse.voxel_ml * fine[0] * fine[1] / (coarse.strides[1] * coarse.strides[2])
