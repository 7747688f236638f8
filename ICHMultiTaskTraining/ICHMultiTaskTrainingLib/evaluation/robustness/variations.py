"""The same simulated head with the same bleed, scanned in different ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

FIELD_OF_VIEW_MM = 230.0
SCANNED_MM = 160.0
"""From the top of the scan: the whole brain and the skull base."""
LONG_MM, SHORT_MM = 225.0, 135.0
"""With the neck; cut off at the skull base."""
MARGIN_MM = 10.0
"""Always scanned below the bleed, even in a short scan."""
THICKNESS_MM = 5.0
REFERENCE = "reference"
SCANNERS = {
    "half_pixel_size": {"matrix": 2, "pixel": 0.5},
    "field_of_view_210_mm": {"pixel": 210 / FIELD_OF_VIEW_MM},
    "field_of_view_280_mm": {"pixel": 280 / FIELD_OF_VIEW_MM},
    "slices_of_2.5_mm": {"thickness_mm": 2.5},
    "slices_of_10_mm": {"thickness_mm": 10.0},
    "tilt_minus_20_deg": {"tilt_deg": -20.0},
    "tilt_plus_20_deg": {"tilt_deg": 20.0},
    "turned": {"rotation_deg": (6.0, -5.0, 8.0)},
    "turned_back": {"rotation_deg": (-6.0, 5.0, -8.0)},
    "noise_2_hu": {"noise_hu": 2.0},
    "noise_8_hu": {"noise_hu": 8.0},
}
"""Variations that need a new simulation; `matrix` and `pixel` are factors relative to the reference."""
IMAGES = {
    "with_neck": None,
    "skull_base_cut_off": None,
    "offset_minus_6_hu": lambda scan: shifted(scan, -6),
    "offset_plus_6_hu": lambda scan: shifted(scan, 6),
    "smooth_kernel": lambda scan: filtered(scan, 1.0, -1.0),
    "sharp_kernel": lambda scan: filtered(scan, 1.0, 0.5),
}
"""Variations made from the reference scan, or from the long scan that contains it."""
VARIATIONS = (*IMAGES, *SCANNERS)


def words(name: str) -> str:
    """The name of a variation for display."""
    for written, meant in (("_", " "), ("minus ", "−"), ("plus ", "+"), (" deg", "°"), (" hu", " HU")):
        name = name.replace(written, meant)
    return name


def scan_variations(seed: int, matrix: int = 256) -> Iterator[tuple[str, HeadCT, np.ndarray]]:
    """Scan one simulated patient with a bleed in the reference way and in all variations.

    The reference: slices of 5 mm, a field of view of 230 mm, 4 HU of noise, no tilt, no rotation, no offset, and the
    top 160 mm of the scan. Kernel, beam hardening, streaks and motion are drawn from the seed.

    Parameters
    ----------
    seed : int
        Of the patient.
    matrix : int
        Rows and columns of the reference scan.

    Yields
    ------
    name : str
        `REFERENCE` first, then each of `VARIATIONS`.
    head_ct : HeadCT
    mask : ndarray of bool, shape (K, J, I)
    """
    base = SimulationSettings(
        matrix=matrix, pixel_mm=FIELD_OF_VIEW_MM / matrix, thickness_mm=THICKNESS_MM, tilt_deg=0.0,
        rotation_deg=(0.0, 0.0, 0.0), noise_hu=4.0, offset_hu=0.0, bleed=True,
    )  # fmt: skip
    patient = _simulate(seed, base)
    long = patient.head_ct, patient.mask
    reference = scanned_range(*long, SCANNED_MM)
    yield REFERENCE, *reference
    yield "with_neck", *long
    yield "skull_base_cut_off", *scanned_range(*long, SHORT_MM)
    for name, change in IMAGES.items():
        if change is not None:
            yield name, change(reference[0]), reference[1]
    for name, changes in SCANNERS.items():
        changes = dict(changes)
        varied = replace(
            base,
            matrix=round(base.matrix * changes.pop("matrix", 1)), pixel_mm=base.pixel_mm * changes.pop("pixel", 1.0),
        )  # fmt: skip
        patient = _simulate(seed, replace(varied, **changes))
        yield name, *scanned_range(patient.head_ct, patient.mask, SCANNED_MM)


def _simulate(seed, settings):
    # Enough slices to reach the neck from the top of the head, which keeps its position.
    return simulate_patient(seed, replace(settings, slices=round(LONG_MM / settings.thickness_mm)))


def scanned_range(head_ct: HeadCT, mask: np.ndarray, length_mm: float) -> tuple[HeadCT, np.ndarray]:
    """Crop a simulated scan to its top `length_mm`, but keep the slices within 10 mm of the bleed.

    Returns
    -------
    HeadCT, ndarray of bool
    """
    step = float(np.linalg.norm(head_ct.ijk_to_ras[:3, 2]))
    first = len(mask) - round(length_mm / step)
    bleed = np.flatnonzero(mask.any(axis=(1, 2)))
    if len(bleed):
        first = min(first, bleed[0] - int(np.ceil(MARGIN_MM / step)))
    first = max(int(first), 0)
    affine = head_ct.ijk_to_ras.copy()
    affine[:3, 3] += first * affine[:3, 2]
    return replace(head_ct, hu=head_ct.hu[first:], ijk_to_ras=affine), mask[first:]


def shifted(head_ct: HeadCT, hu: float) -> HeadCT:
    """The scan as if the scanner's calibration was off by a number of HU."""
    return _with_hu(head_ct, head_ct.hu.astype(np.float32) + hu)


def filtered(head_ct: HeadCT, sigma_mm: float, amount: float) -> HeadCT:
    """The effect of another kernel, in-plane: adds `amount` × (scan − Gaussian-filtered scan).

    An amount of -1 is the Gaussian filter itself; above 0 it sharpens.
    """
    sigma = (0.0, *(sigma_mm / head_ct.spacing_kji[1:]))
    hu = head_ct.hu.astype(np.float32)
    return _with_hu(head_ct, hu + amount * (hu - ndimage.gaussian_filter(hu, sigma, mode="nearest")))


def _with_hu(head_ct, hu):
    hu = np.clip(hu, -1024.0, 3071.0)
    hu = np.where(head_ct.hu == -1024, -1024, hu)  # padding stays padding
    if head_ct.hu.dtype.kind == "i":
        hu = np.rint(hu)
    return replace(head_ct, hu=hu.astype(head_ct.hu.dtype))
