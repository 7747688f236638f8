"""Acquisition parameters: geometry, slices, kernel, noise, artifacts, movements, table and headrest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..scan.geometry import regular_offsets

if TYPE_CHECKING:
    from .anatomy import Head
    from .patient import SimulationSettings

SOFT, SHARP = KERNELS = ("soft", "sharp")
"""Kernels of the reconstruction."""


@dataclass(frozen=True)
class Acquisition:
    """Acquisition parameters of one scan, in mm, degrees or HU."""

    matrix: int
    pixel_mm: float
    offsets_mm: np.ndarray
    """Table position of each slice relative to the first, ascending."""
    thickness_mm: np.ndarray
    """Thickness of each slice."""
    tilt_deg: float
    """With the sign convention of `geometry.tilt_deg`."""
    rotation: np.ndarray
    """Rigid head to table coordinates (RAS), 3×3."""
    translation: np.ndarray
    bottom_mm: float
    """Table position of the first slice at the gantry's axis."""
    kernel: str
    """One of `KERNELS`."""
    psf_mm: float
    sharpening: float
    noise_hu: float
    offset_hu: float
    cupping_hu: float
    streak_hu: float
    halo_hu: float
    """Brightening next to bone."""
    halo_is_near: bool
    """Whether the brightened zone is the narrow one of `artifacts.HALO_MM`."""
    padding: bool
    table: bool
    headrest_mm: tuple
    """Radius of the headrest, height of its wings above its center, and half the thickness of its wall."""
    jerks: tuple
    """Movements of the head: (slice, rotation about the scan axis in radians, in-plane shift in mm)."""

    def ijk_to_ras(self) -> np.ndarray:
        """Affine of the first slice with the step of the regular grid; rows are tilted with the gantry."""
        t = np.radians(self.tilt_deg)
        half = 0.5 * (self.matrix - 1) * self.pixel_mm
        affine = np.eye(4)
        affine[:3, 0] = (-self.pixel_mm, 0.0, 0.0)
        affine[:3, 1] = (0.0, -self.pixel_mm * np.cos(t), self.pixel_mm * np.sin(t))
        grid, _ = regular_offsets(self.offsets_mm)
        affine[:3, 2] = (0.0, 0.0, grid[1])
        affine[:3, 3] = (half, half * np.cos(t), self.bottom_mm - half * np.sin(t))
        return affine

    def poses(self, k: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Rotation and translation of the head before and after the movements in slice k."""
        rotation, translation = self.rotation, self.translation
        before = after = (rotation, translation)
        for at, turn, shift in self.jerks:
            turned = _euler(0.0, 0.0, turn)
            moved = turned @ after[0], turned @ after[1] + np.array([*shift, 0.0])
            before, after = (moved if at < k else before), (moved if at <= k else after)
        return before, after


def draw_acquisition(
    rng: np.random.Generator,
    settings: SimulationSettings,
    head: Head,
    bleed_bounds: tuple[np.ndarray, np.ndarray] | None,
) -> Acquisition:
    """Draw the parameters that `settings` does not fix.

    Parameters
    ----------
    rng : numpy.random.Generator
    settings : SimulationSettings
    head : Head
    bleed_bounds : (ndarray, ndarray) or None
        Box around the bleed in the rigid head, mm; it is always within the scanned range.

    Returns
    -------
    Acquisition
    """
    # All values are always drawn, in the same order, so that fixing one setting does not change the others.
    angles = np.radians(np.clip(rng.normal(0.0, [3.5, 3.0, 4.5]), [-10, -8, -10], [10, 8, 10]))
    center = rng.normal(0.0, [5.0, 8.0])
    tilt = rng.uniform(-25.0, 25.0) if rng.uniform() < 0.5 else 0.0
    pixel = rng.uniform(0.40, 0.52) if rng.uniform() < 0.8 else rng.uniform(0.36, 0.58)
    thickness = float(rng.choice([0.625, 1, 1.25, 2, 2.5, 3, 4, 4.5, 5, 6, 7, 8, 9, 10], p=_THICKNESS))
    below = rng.choice([rng.uniform(-62, -45), rng.uniform(-85, -60), rng.uniform(-125, -85)], p=[0.45, 0.40, 0.15])
    above = rng.uniform(2.0, 14.0) if rng.uniform() < 0.9 else rng.uniform(-14.0, 0.0)
    sharp = rng.uniform() < 0.15
    sharp = sharp if settings.kernel is None else settings.kernel == SHARP
    psf, sharpening, noise = rng.uniform(0.45, 0.85), rng.uniform(0.4, 1.2), np.exp(rng.uniform(np.log(2), np.log(7)))
    offset, cupping = np.clip(rng.normal(0, 3.0), -8, 8), rng.uniform(0, 9)
    streak, halo, is_near = rng.uniform(0, 12), max(0.0, rng.normal(5.0, 5.0)), rng.uniform() < 0.5
    padding, table = rng.uniform() < 0.25, rng.uniform() < 0.85
    rest = (rng.uniform(108.0, 128.0), rng.uniform(-75.0, 15.0), rng.uniform(0.6, 1.6))
    mixed, finer, boundary = rng.uniform() < 0.15, rng.choice([0.4, 0.5, 0.6]), rng.uniform(-22.0, 8.0)
    moves = int(rng.integers(1, 4)) if rng.uniform() < 0.12 else 0
    jerks = [(rng.uniform(), rng.normal(0.0, np.radians(2.5)), rng.normal(0.0, 1.6, 2)) for _ in range(3)]
    yaw_pitch_roll = angles if settings.rotation_deg is None else np.radians(settings.rotation_deg)
    rotation = _euler(*yaw_pitch_roll)
    tilt = tilt if settings.tilt_deg is None else settings.tilt_deg
    matrix = settings.matrix
    pixel = settings.pixel_mm or pixel * 512.0 / matrix
    middle = np.array([0.0, -10.0, 0.0]) * head.scale
    translation = np.array([center[0], center[1], 0.0]) - rotation @ middle * (1, 1, 0)
    if settings.centered:
        translation = -rotation @ middle * (1, 1, 0)
    # Scanned range along the table at the gantry's axis; a tilt shears the ends of the head.
    slope = -np.tan(np.radians(tilt))
    top = (80.0 * head.scale[2] + head.bone_mm + head.scalp_mm) + above
    low = below * head.scale[2]
    if bleed_bounds is not None:
        corners = np.stack(np.meshgrid(*zip(*bleed_bounds), indexing="ij"), -1).reshape(-1, 3)
        corners = corners @ rotation.T + translation
        heights = corners[:, 2] - slope * corners[:, 1]
        low, top = min(low, heights.min() - 4.0), max(top, heights.max() + 4.0)
    if settings.slices is None:
        thickness = settings.thickness_mm or thickness
        slices = int(np.ceil((top - low) / thickness)) + 1
    else:
        slices = settings.slices
        thickness = settings.thickness_mm or (top - low) / slices
    thicknesses = np.full(slices, thickness)
    if mixed and settings.slices is None and settings.thickness_mm is None and thickness >= 4.0:
        # Thin slices through the posterior fossa, thick ones above.
        fine, coarse = (int(np.ceil(length / t)) for length, t in (
            (boundary - low, finer * thickness), (top - boundary, thickness)
        ))  # fmt: skip
        thicknesses = np.repeat([finer * thickness, thickness], [max(fine, 2), max(coarse, 2)])
    edges = np.concatenate([[0.0], np.cumsum(thicknesses)])
    middles = 0.5 * (edges[1:] + edges[:-1])
    bottom = top - edges[-1] + middles[0]
    jerks = sorted((int(at * len(thicknesses)), turn, tuple(shift)) for at, turn, shift in jerks[:moves])
    return Acquisition(
        matrix, float(pixel), middles - middles[0], thicknesses, float(tilt), rotation, translation, float(bottom),
        SHARP if sharp else SOFT, psf * (0.7 if sharp else 1.0), sharpening if sharp else 0.0,
        noise * (1.6 if sharp else 1.0) if settings.noise_hu is None else settings.noise_hu,
        offset if settings.offset_hu is None else settings.offset_hu,
        cupping if settings.artifacts else 0.0, streak if settings.artifacts else 0.0,
        halo if settings.artifacts else 0.0, bool(is_near), bool(padding),
        bool(table) and settings.table, rest, tuple(jerks) if settings.artifacts else (),
    )  # fmt: skip


_THICKNESS = np.array([0.01, 0.01, 0.01, 0.02, 0.06, 0.12, 0.07, 0.10, 0.30, 0.06, 0.04, 0.08, 0.03, 0.09])


def _euler(pitch, roll, yaw):
    """Rotation from pitch (about x), roll (about y) and yaw (about z), radians."""
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll), np.cos(yaw), np.sin(yaw)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx
