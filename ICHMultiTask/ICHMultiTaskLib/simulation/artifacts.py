"""Artifacts of the scanner: noise, cupping, streaks of bone and metal, and the HU offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from .acquisition import SHARP

if TYPE_CHECKING:
    from .acquisition import Acquisition
    from .anatomy import Head

PAD = -1024
HALO_MM = (5.0, 14.0)
"""Standard deviations of the two possible widths of the bright zone next to bone."""
METAL_MM = 1.5
"""How far the streaks of metal extend beyond the slice that contains it."""


class Artifacts:
    """Noise with the texture of the kernel, cupping, the HU offset, and streaks of petrous bones and metal."""

    def __init__(
        self, rng: np.random.Generator, head: Head, a: Acquisition, affine: np.ndarray, size: int, pitch: float
    ):
        self.rng, self.a, self.halo_hu = rng, a, a.halo_hu
        one = np.eye(size, dtype=np.float32)
        near, far = (gaussian_filter1d(one, sigma / pitch, axis=0, mode="constant") for sigma in HALO_MM)
        self.blur = near if a.halo_is_near else far
        f = np.hypot(fft.fftfreq(a.matrix)[:, None], fft.rfftfreq(a.matrix)[None, :]).astype(np.float32) / a.pixel_mm
        peak = (0.62 if a.kernel == SHARP else 0.33) * rng.uniform(0.65, 1.0)
        # Neighboring slices share part of their noise, because they are reconstructed from overlapping rotations.
        self.shared, self.spectrum = np.float32(rng.uniform(0.0, 0.6)), np.complex64(0.0)
        self.fresh = np.float32(np.sqrt(1.0 - self.shared**2))
        shape = np.sqrt(f + 0.04) * np.exp(-0.5 * (f / peak) ** 2)
        # Normalization to a standard deviation of 1 for a random spectrum.
        power = 2.0 * (shape**2).sum() - (shape[:, [0, -1]] ** 2).sum()
        self.noise_filter = (shape * a.matrix**2 / np.sqrt(2.0 * power)).astype(np.float32)
        half = 0.5 * (a.matrix - 1) * a.pixel_mm
        axis = np.arange(a.matrix, dtype=np.float32) * a.pixel_mm - half
        self.u, self.v = axis[None, :] + a.translation[0], axis[:, None] + a.translation[1]
        radius = np.hypot(axis[None, :], axis[:, None])
        self.outside = radius > half + 0.5 * a.pixel_mm
        ellipse = np.hypot(self.u / 85.0, self.v / 105.0)
        noise_map = 1.15 * a.noise_hu * (0.55 + 0.55 * np.exp(-(ellipse**2) * 1.3))
        self.noise_map = noise_map.astype(np.float32)
        cup = a.cupping_hu * (np.clip(ellipse, 0, 1) ** 4 - 0.3) * (ellipse < 1.1)
        self.cup = (cup + a.offset_hu).astype(np.float32)
        above, right, back = self._beside(head, affine, (0.0, -28.0, -38.0))
        self.noise_gain = np.where(above < 14.0, 1.25, 1.0) * rng.uniform(0.92, 1.08, len(above))
        streaks = -a.streak_hu * np.exp(-((back / 7.0) ** 2) - (right / 30.0) ** 2)
        for side in (-1, 1):
            streaks = streaks + 0.35 * a.streak_hu * self._star(right + side * 38.0, back, (7, 13, 22), 45.0)
        self.streaks = [(np.exp(-((above / 11.0) ** 2)), streaks)]
        """Weight of each slice, and the streaks in it, HU [rows, columns]."""
        for point, height in head.metal if a.streak_hu else ():
            above, right, back = self._beside(head, affine, point)
            star = height * rng.uniform(0.2, 1.0) * self._star(right, back, (3, 8, 14, 23), 30.0)
            self.streaks.append((np.exp(-((above / (0.5 * a.thickness_mm + METAL_MM)) ** 2)), star))

    def _beside(self, head, affine, point):
        """Heights of the slices above an atlas point, and the pixels' distances to its right and behind it, mm."""
        a, center = self.a, self.a.rotation @ head.from_atlas(point) + self.a.translation
        slope = -np.tan(np.radians(a.tilt_deg))
        above = affine[2, 3] + a.offsets_mm + slope * (center[1] - affine[1, 3]) - center[2]
        return above, self.u + (center - a.translation)[0], self.v + (center - a.translation)[1]

    def _star(self, right, back, rays, reach_mm):
        """Rays from a point, of about unit height beside it."""
        angle = np.arctan2(back, right)
        wave = sum(np.cos(n * angle + self.rng.uniform(0, 6.28)) for n in rays)
        return wave / np.sqrt(len(rays)) * np.exp(-np.hypot(back, right) / reach_mm)

    def harden(self, painted: np.ndarray) -> None:
        """Brighten tissue next to bone, like beam hardening and scatter: most in the posterior fossa.

        Changes painted slices [..., rows, columns] in place.
        """
        if self.halo_hu:
            bone = np.clip(painted - 250.0, 0.0, 1200.0)
            soft = (painted > -300.0) & (painted < 300.0)
            painted += soft * (self.blur @ bone @ self.blur.T) * np.float32(self.halo_hu / 350.0)

    def __call__(self, image: np.ndarray, k: int) -> np.ndarray:
        """Add the artifacts to slice k, in HU [rows, columns]."""
        change = self.cup
        for weights, streaks in self.streaks:
            if weights[k] > 0.01:
                change = change + np.float32(weights[k]) * streaks
        image = image + (image > -300.0) * change
        if self.a.noise_hu:
            shape = (*self.noise_filter.shape, 2)
            spectrum = self.rng.standard_normal(shape, dtype=np.float32).view(np.complex64)[..., 0]
            if k:
                spectrum = self.fresh * spectrum + self.shared * self.spectrum
            self.spectrum = spectrum
            spectrum = spectrum * (np.float32(self.noise_gain[k]) * self.noise_filter)
            noise = fft.irfft2(spectrum, s=image.shape, overwrite_x=True)
            noise *= self.noise_map
            image += noise
        return image
