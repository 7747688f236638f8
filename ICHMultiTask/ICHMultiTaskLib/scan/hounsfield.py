"""Stored values as Hounsfield units: one function for files, DICOM series and volume nodes.

Not for masks and maps, whose values are not Hounsfield units.
"""

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _

MIN_HU, MAX_HU = -1024, 32767
"""Value of padding and of everything below air; largest value of int16."""
UNSCALED_OFFSET = 1024
"""Offset that scanners add before storing: RescaleIntercept is -1024 in nearly all CTs."""
_SAMPLES = 500_000
AIR_HU = -500
"""Below are air and padding that stands for it; tissue is above."""
_CORNERS = np.ix_((0, -1), (0, -1), (0, -1))
_PADDING_SHARES = (0.005, 0.9)
"""Smallest share of the voxels that padding takes; above the largest one, the scan is constant."""
_BRAIN_MODES = (22, 45)
"""Where the histogram of a head peaks, in HU: white and gray matter at 25 to 40, plus a few HU of bias."""


def as_hu(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Hounsfield units of stored values.

    Values are clipped to -1024 … 32,767. A CT stored without subtracting the offset of 1024 is recognized by its peaks
    of air and brain, and corrected. Padding that is not air, such as 4095 or 0 outside the field of view, becomes air.

    Parameters
    ----------
    values : ndarray of shape (K, J, I)
        Whole or real numbers of any size, signed or not.

    Returns
    -------
    hu : ndarray of shape (K, J, I), int16 if that is exact, else float32
        `values` itself if nothing had to be changed. NaN and infinity are kept; `check_head_ct` refuses them.
    warnings : tuple of str

    Raises
    ------
    InputError
        If the values are not numbers of one component.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(
            _("The scan has values of type {dtype}; expected whole or real numbers in HU.").format(dtype=values.dtype)
        )
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    low, high = values.min(), values.max()
    warnings = ()
    if not (np.isfinite(low) and np.isfinite(high)):
        values, warnings = _without_blanks(values)
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            with np.errstate(over="ignore"):
                return values.astype(np.float32), ()
    offset = UNSCALED_OFFSET if low > MIN_HU / 10 and _is_unscaled(values) else 0
    if offset:
        warnings += (
            _(
                "The values were stored without their offset (air at {air:.0f}, brain at {brain:.0f}); "
                "{offset} was subtracted to get Hounsfield units."
            ).format(air=_mode(values, 0, 75), brain=_mode(values, 950, 1150), offset=UNSCALED_OFFSET),
        )
    least = MIN_HU + offset
    if high > MAX_HU:
        values = np.minimum(values, MAX_HU)
    if low < least:
        values = np.maximum(values, least)
    if offset:
        values = values.astype(np.int32 if values.dtype.kind in "iu" else np.float32) - offset
    if values.dtype.kind == "f":
        whole = values.astype(np.int16)
        values = whole if np.array_equal(whole, values) else values
    hu = np.ascontiguousarray(values, dtype=np.float32 if values.dtype.kind == "f" else np.int16)
    hu, found = _without_padding(hu)
    return hu, warnings + found


def _without_blanks(values):
    """Make NaN and infinity at the corners of a scan air, as in resampled scans; others, and blank slices, stay."""
    blank = ~np.isfinite(values)
    if values.ndim != 3 or blank.all(axis=(1, 2)).any() or not blank[_CORNERS].any():
        return values, ()
    region = _at_corners(blank) & blank
    sentence = _("{share:.0f} % of the voxels, around the scan, hold no number (NaN); they were made air.")
    return np.where(region, values.dtype.type(MIN_HU), values), (sentence.format(share=100 * region.mean()),)


def _without_padding(hu):
    """Make constant regions at the corners of a scan air, if it has other air; warn of them."""
    if hu.ndim != 3:
        return hu, ()
    flat = hu.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)]
    air = np.mean(sample < AIR_HU)
    values = [
        value
        for value in np.unique(hu[_CORNERS])
        if value > AIR_HU
        and air >= _PADDING_SHARES[0]
        and _PADDING_SHARES[0] <= np.mean(sample == value) <= _PADDING_SHARES[1]
    ]
    padded, warnings = hu, []
    for value in values:
        region = _at_corners(hu == value)
        if region.mean() < _PADDING_SHARES[0]:
            continue
        padded = hu.copy() if padded is hu else padded
        padded[region] = MIN_HU
        warnings.append(
            _(
                "The constant value {value:g} around the scan ({share:.0f} % of its voxels) was taken for padding and "
                "made air."
            ).format(share=100 * region.mean(), value=float(value))
        )
    return padded, tuple(warnings)


def _at_corners(mask):
    """The connected regions of a mask that hold a corner of the array, grown by the voxel that interpolation blurs."""
    from scipy import ndimage

    labels, _count = ndimage.label(mask)
    kept = np.unique(labels[_CORNERS])
    return ndimage.binary_dilation(np.isin(labels, kept[kept > 0]))


def _is_unscaled(values):
    """Whether nonnegative values are clearly HU + 1024: air at 0 to 74, brain in its range, little in between."""
    counts = _histogram(values)
    total = counts.sum()
    air, brain = counts[:75].sum(), counts[974:1125].sum()
    if air < 0.05 * total or brain < 0.05 * total or counts[1324:].sum() < 0.005 * total:
        return False
    # Between air and fat a CT has only edges; an MR image has tissue there.
    if counts[150:850].sum() > 0.5 * brain:
        return False
    low, high = _BRAIN_MODES
    return low <= _mode(values, 950, 1150) - UNSCALED_OFFSET <= high


def _mode(values, low, high):
    """Most frequent value from low to high, of a histogram smoothed over 9 units."""
    counts = np.convolve(_histogram(values)[low:high], np.ones(9), mode="same")
    return low + int(counts.argmax())


def _histogram(values):
    """Counts of the values 0, 1, … 3071 in a sample; larger values count as 3071."""
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)]
    return np.bincount(np.clip(np.rint(sample), 0, 3071).astype(np.int64), minlength=3072)
