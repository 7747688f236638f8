"""The scanner: partial volume, kernel and artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..common.progress import NO_PROGRESS
from ..scan.geometry import regular_offsets, resample_slices
from .artifacts import PAD, Artifacts
from .fields import inner_interpolation
from .painter import Painter

if TYPE_CHECKING:
    from ..common.progress import Progress
    from .acquisition import Acquisition
    from .anatomy import Head
    from .hematoma import Hematoma

THIN_MM = 3.1
"""Slices are painted as layers at most this thick."""
BLOCK = 8
"""Layers painted together: enough to amortize the overhead of a call, few enough for the processor's cache."""
FINEST_MM, COARSEST_MM, SAMPLE_PIXELS = 0.9, 1.7, 1.9
"""Distance between painted samples: this many pixels, within these limits, but at least one pixel."""


def scan(
    rng: np.random.Generator, head: Head, hematoma: Hematoma | None, acquisition: Acquisition, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Scan a head.

    Returns
    -------
    tuple
        HU int16 and coverage by hematoma uint8 (255: the whole voxel), both [slice, j, i] of the slices as scanned,
        and a dict of the volumes `ivh_ml` (blood in the ventricles) and `edema_ml`.
    """
    progress = progress or NO_PROGRESS
    a = acquisition
    pitch = max(a.pixel_mm, float(np.clip(SAMPLE_PIXELS * a.pixel_mm, FINEST_MM, COARSEST_MM)))
    to_pixels, plain = _resampling(a, pitch)
    size = plain.shape[1]
    affine = a.ijk_to_ras()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    slices = len(a.offsets_mm)
    hu = np.empty((slices, a.matrix, a.matrix), np.int16)
    coverage = np.zeros(hu.shape, np.uint8)
    painter = Painter(head, hematoma, a, size, pitch)
    artifacts = Artifacts(rng, head, a, affine, size, pitch)
    fluids_mm = np.zeros(2)
    for block in _blocks(a.thickness_mm):
        progress(block[0] / slices, "Simulating the scan")
        thickness = a.thickness_mm[block[0]]
        layers = _layers(thickness)
        across = thickness * ((np.arange(layers) + 0.5) / layers - 0.5)
        origins = [affine[:3, 3] + (0.0, 0.0, a.offsets_mm[k]) + normal * t for k in block for t in across]
        poses = [a.poses(k)[int(n >= layers / 2)] for k in block for n in range(layers)]
        painted, blood, covered = painter(np.stack(origins), thickness / layers, poses)
        fluids_mm += np.array(covered) * thickness / layers
        painted = painted.reshape(len(block), layers, size, size).mean(axis=1)
        artifacts.harden(painted)
        for image, k in zip(to_pixels @ painted @ to_pixels.T, block):
            image = artifacts(image, k)
            hu[k] = np.clip(np.rint(image, out=image), -1024, 3071, out=image)
            if a.padding:
                hu[k][artifacts.outside] = PAD
        if blood is not None:
            blood = blood.reshape(len(block), layers, size, size).mean(axis=1)
            coverage[block] = np.rint(255.0 * np.clip(plain @ blood @ plain.T, 0.0, 1.0))
    # Slices are one thickness apart along the table; perpendicular to them, less by the cosine of the tilt.
    fluids_ml = fluids_mm * pitch**2 * np.cos(np.radians(a.tilt_deg)) / 1000.0
    return hu, coverage, dict(zip(("ivh_ml", "edema_ml"), map(float, fluids_ml)))


def on_regular_grid(slices: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Interpolate slices as scanned to the regular grid that a reader of the series uses."""
    grid, is_regular = regular_offsets(acquisition.offsets_mm)
    return slices if is_regular else resample_slices(slices, acquisition.offsets_mm, grid)


def _layers(thickness):
    return int(np.clip(np.ceil(thickness / THIN_MM), 1, 5))


def _blocks(thickness_mm):
    """Groups of successive slices of the same thickness that are painted together."""
    blocks = []
    for k, thickness in enumerate(thickness_mm):
        if blocks and thickness == thickness_mm[k - 1] and (len(blocks[-1]) + 1) * _layers(thickness) <= BLOCK:
            blocks[-1].append(k)
        else:
            blocks.append([k])
    return blocks


def _resampling(a, pitch):
    """Matrices from painted samples to pixels: with the kernel's point spread for HU, without for coverage."""
    size = int(np.ceil((a.matrix - 1) * a.pixel_mm / pitch)) + 1
    plain = inner_interpolation(a.matrix, size, pitch / a.pixel_mm)
    # Painted edges are as wide as the sample distance; the blur beyond that of the finest samples is subtracted.
    sigma = np.sqrt(max(a.psf_mm**2 - (pitch**2 - FINEST_MM**2) / 12.0, 0.2**2)) / pitch
    one = np.eye(size, dtype=np.float32)
    blur = gaussian_filter1d(one, sigma, axis=0, mode="nearest")
    if a.sharpening:
        wide = gaussian_filter1d(one, 2.0 * sigma + 0.3, axis=0, mode="nearest")
        blur = blur + 0.35 * a.sharpening * (blur - wide)
    return (plain @ blur).astype(np.float32), plain
