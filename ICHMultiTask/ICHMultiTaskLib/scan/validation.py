"""Whether a scan is a head CT that the model was made for.

Works on a coarse copy of about 4 mm, so that it takes a few milliseconds.
"""

from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError

MIN_SLICES = 8
MIN_EXTENT_MM = 75.0
"""Half of an adult head; a scan must cover at least this along every axis."""
MIN_SKULL_ML = 250.0
"""Least volume inside closed rings of bone: a sixth of an adult's, so that a craniectomy passes."""
BONE_HU, AIR_HU, METAL_HU = 300, -500, 3000
COARSE_MM = 4.0


def check_head_ct(head_ct):
    """Refuse what is not a head CT, and warn of what makes the results doubtful.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    HeadCT
        The same voxels, with warnings appended to the facts.

    Raises
    ------
    InputError
        If the scan is too small, has no or unusable values, is not in HU, or is not of a whole head.
    """
    _refuse_grid(head_ct)
    coarse = _coarse(head_ct)
    _refuse_values(head_ct.hu, coarse.hu)
    inside = _inside_skull(coarse)
    _refuse_other_body(coarse, inside)
    warnings = [*_grid_warnings(head_ct), *_cut_warnings(coarse, inside), *_content_warnings(coarse, inside)]
    return head_ct.with_warnings(*warnings) if warnings else head_ct


@dataclass(frozen=True)
class _Coarse:
    """The scan at about 4 mm with axis 0 from inferior to superior."""

    hu: np.ndarray
    """Samples, shape (S, A, B)."""
    peak: np.ndarray
    """Largest HU around each sample within its plane: keeps thin bone closed."""
    voxel_ml: float
    pixel_cm2: float
    step_mm: float
    """Distance between the planes of axis 0."""


def _refuse_grid(head_ct):
    shape = head_ct.hu.shape
    if min(shape) < MIN_SLICES:
        raise InputError(
            f"The scan has only {min(shape)} slice{'s' if min(shape) > 1 else ''} along one axis; "
            f"expected at least {MIN_SLICES} slices through the whole head."
        )
    extent = _extent_mm(head_ct)
    if extent.min() < MIN_EXTENT_MM:
        found = " × ".join(f"{length:.0f}" for length in extent[::-1])
        raise InputError(
            f"The scan covers too little of a head; expected at least {MIN_EXTENT_MM:.0f} mm along every axis, "
            f"found {found} mm."
        )
    if extent.max() > 500.0:
        raise InputError(f"The scan is {extent.max():.0f} mm long; expected a scan of the head alone, below 500 mm.")


def _extent_mm(head_ct):
    """Height of the grid perpendicular to each pair of axes, in the order k, j, i (shear adds nothing)."""
    inverse = np.linalg.inv(head_ct.ijk_to_ras[:3, :3])
    return (np.array(head_ct.hu.shape[::-1]) / np.linalg.norm(inverse, axis=1))[::-1]


def _coarse(head_ct):
    columns = head_ct.ijk_to_ras[:3, :3][:, ::-1]  # RAS step of each array axis k, j, i
    shares = np.abs(columns) / np.linalg.norm(columns, axis=0)
    up = int(np.argmax(shares[2]))
    axes = (up, *(axis for axis in range(3) if axis != up))
    hu = np.transpose(head_ct.hu, axes)
    if columns[2, up] < 0:
        hu = hu[::-1]
    spacing = head_ct.spacing_kji[list(axes)]
    strides = np.maximum(1, np.floor(COARSE_MM / spacing + 0.1)).astype(int)
    first = hu[:: strides[0]]
    sample = np.ascontiguousarray(first[:, :: strides[1], :: strides[2]])
    peak = _pooled_maximum(_pooled_maximum(first, 1, strides[1]), 2, strides[2])
    thickness = head_ct.voxel_volume_mm3 / (spacing[1] * spacing[2])
    return _Coarse(
        sample,
        np.ascontiguousarray(peak),
        head_ct.voxel_volume_mm3 * float(np.prod(strides)) / 1000.0,
        float(spacing[1] * spacing[2] * strides[1] * strides[2]) / 100.0,
        float(thickness * strides[0]),
    )


def _pooled_maximum(array, axis, size):
    """Maximum of `size` neighbors along an axis, at every `size`-th sample."""
    index = [slice(None)] * 3
    count = -(-array.shape[axis] // size)
    index[axis] = slice(0, None, size)
    pooled = array[tuple(index)].copy()
    for offset in range(1, size):
        index[axis] = slice(offset, None, size)
        part = array[tuple(index)]
        target = [slice(None)] * 3
        target[axis] = slice(0, min(count, part.shape[axis]))
        np.maximum(pooled[tuple(target)], part, out=pooled[tuple(target)])
    return pooled


def _refuse_values(hu, coarse):
    if hu.dtype.kind == "f" and not np.isfinite(hu.sum(dtype=np.float64)):
        count = int(hu.size - np.isfinite(hu).sum())
        raise InputError(f"The scan holds {count} voxels of NaN or infinity; expected a number of HU in every voxel.")
    low, high = float(coarse.min()), float(coarse.max())
    if low == high:
        low, high = float(hu.min()), float(hu.max())
    found = f"found values from {low:.0f} to {high:.0f}"
    if low == high:
        raise InputError(f"The scan is constant; expected a head CT in HU, found the value {low:.0f} everywhere.")
    if low > AIR_HU:
        reason = "; the offset of -1024 may not have been applied" if low > -100 and high > 1500 else ""
        raise InputError(f"The values are not Hounsfield units; expected air near -1000 HU, {found}{reason}.")
    if np.mean(coarse > -200) < 0.01:
        raise InputError(f"The scan holds almost nothing but air; expected a head, {found} HU.")


def _inside_skull(coarse):
    """Where bone closes around a place within its axial plane, a rim of 4 mm left out; bool, as `coarse.hu`."""
    from scipy import ndimage

    within_plane = np.zeros((3, 3, 3), dtype=bool)
    within_plane[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    # Dilated, so that sutures, burr holes and thin temporal bone do not open the skull.
    bone = ndimage.binary_dilation(coarse.peak > BONE_HU, within_plane)
    regions, count = ndimage.label(~bone, within_plane)
    # Outside is what reaches the edge of the field of view as air, or along much of the edge; a skull that the edge
    # cuts off reaches it as brain.
    rim = _rim(regions)
    is_outside = np.zeros(count + 1, dtype=bool)
    is_outside[regions[rim & (coarse.hu < AIR_HU)]] = True
    is_outside |= np.bincount(regions[rim], minlength=count + 1) > rim[0].sum() / 3
    is_outside[0] = True
    return ~is_outside[regions]


def _rim(array):
    """Samples on the edge of each plane; bool, as `array`."""
    rim = np.ones(array.shape, dtype=bool)
    rim[:, 1:-1, 1:-1] = False
    return rim


def _refuse_other_body(coarse, inside):
    volume = float(inside.sum()) * coarse.voxel_ml
    if volume >= MIN_SKULL_ML:
        return
    lungs = float(np.mean((coarse.hu > -950) & (coarse.hu < AIR_HU))) * coarse.hu.size * coarse.voxel_ml
    found = f"found {lungs:.0f} mL of lung-like tissue" if lungs > 800 else f"found {volume:.0f} mL inside closed bone"
    raise InputError(
        f"This does not look like a head CT; expected a skull around at least {MIN_SKULL_ML:.0f} mL, {found}."
    )


def _grid_warnings(head_ct):
    spacing = np.sort(head_ct.spacing_kji)
    if spacing[2] > 10.5:
        yield f"Slices are {spacing[2]:.1f} mm apart; at more than 10 mm small hemorrhages are missed."
    if spacing[1] > 1.6 or spacing[0] < 0.2:
        yield f"The pixel size of {spacing[0]:.2f} × {spacing[1]:.2f} mm is unusual for a head CT (0.3 to 0.6 mm)."
    if _extent_mm(head_ct).max() > 320.0:
        yield f"The scan is {_extent_mm(head_ct).max():.0f} mm long; expected a head without neck or chest."


def _cut_warnings(coarse, inside):
    """Warn of, or refuse, a head cut off above or below, by the area inside the skull on the end planes."""
    area = inside.sum(axis=(1, 2)) * coarse.pixel_cm2
    height = len(area) * coarse.step_mm
    for end, name, usual in ((-1, "vertex", 0.25), (0, "skull base", 0.4)):
        share = area[end] / area.max()
        if share > 0.6 and height < 110.0:
            raise InputError(
                f"The head is cut off at the {name}; expected a scan of the whole head (about 130 mm or more), "
                f"found {height:.0f} mm."
            )
        if share > usual:
            yield f"The scan seems to end before the {name}; hemorrhage beyond its last slice is not seen."
    if (inside & _rim(inside)).any():
        yield "The field of view cuts off a part of the skull; hemorrhage beyond its edge is not seen."


def _content_warnings(coarse, inside):
    values = coarse.hu[inside]
    soft = values[(values > -100) & (values < 200)]
    if soft.size < 0.5 * values.size:
        yield (
            "The inside of the skull is not brain (a phantom?): "
            f"expected soft tissue of 20 to 50 HU, found {np.median(values):.0f} HU."
        )
    elif not 15.0 <= np.median(soft) <= 55.0:
        yield (
            f"The brain measures {np.median(soft):.0f} HU; expected 20 to 50 HU: "
            "check the rescale intercept of the scan, and for contrast."
        )
    # Teeth and fillings lie below the closed skull and do not disturb.
    levels = inside.sum(axis=(1, 2)) > 0.3 * inside.sum(axis=(1, 2)).max()
    metal = float((coarse.hu[levels] > METAL_HU).sum()) * coarse.voxel_ml
    if metal > 0.5:
        yield f"The scan shows about {metal:.1f} mL of metal at the level of the brain; streaks may mislead."
