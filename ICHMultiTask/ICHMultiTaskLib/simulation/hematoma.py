"""Spontaneous intracerebral hemorrhage: location, volume, shape and density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..common.choices import Cohort
from ..measures.shape import sphere_radius_mm
from .anatomy import MassEffect
from .composition import COMPOSITIONS, Composition
from .fields import PlaneWaves, ellipsoid_distance, smoothstep

if TYPE_CHECKING:
    from .anatomy import Head

LOCATIONS = {
    "putamen": 0.35,
    "thalamus": 0.20,
    "lobar": 0.25,
    "cerebellum": 0.10,
    "brainstem": 0.05,
    "caudate": 0.05,
}
"""Share of each location among bleeds."""
MEDIAN_ML = {"putamen": 8, "thalamus": 5, "lobar": 11, "cerebellum": 8, "brainstem": 2.5, "caudate": 4}
VOLUME_SPREAD = 1.35
"""Standard deviation of the volume's logarithm."""
LARGEST_ML = {"putamen": 150, "thalamus": 55, "lobar": 150, "cerebellum": 75, "brainstem": 15, "caudate": 35}
RUPTURE = {"putamen": 0.30, "thalamus": 0.55, "lobar": 0.20, "cerebellum": 0.35, "brainstem": 0.30, "caudate": 0.85}
CASTS, ONE_HALF = 0.4, 0.75
"""Share of large ruptures whose blood fills ventricles up, and share of ruptures whose blood stays in one half."""
EDEMA_SPREAD = 0.87
"""Standard deviation of the base-2 logarithm of the edema's width."""
SHAPES = ("ellipsoid", "regular", "irregular", "multilobular", "satellite")
SMALLEST_ML = 0.3
UNCLOTTED_HU = 42.0
"""Blood outside a black hole is at least this dense: that of an anemic patient before it clots."""
BLEND_HU = (18.0, 26.0)
"""By how much the darker part of a blend is less dense; a smaller difference is no blend (Li 2015)."""


class Hematoma:
    """One bleed as a field in the rigid head: approximate distance to its surface in mm, positive inside.

    Parameters
    ----------
    rng : numpy.random.Generator
    head : Head
        Receives the bleed's mass effect.
    location, shape : str or None
        None: drawn.
    volume_ml : float or None
        Target volume; None: drawn. The attribute `volume_ml` is the measured volume.
    center_mm : sequence of 3 floats or None
        Center in the rigid head (RAS mm); None: drawn for the location.
    composition : Composition
    """

    def __init__(
        self,
        rng: np.random.Generator,
        head: Head,
        location: str | None = None,
        shape: str | None = None,
        volume_ml: float | None = None,
        center_mm: Sequence[float] | None = None,
        composition: Composition = COMPOSITIONS[Cohort.TRAINING],
    ):
        draws = rng.uniform(size=4)
        target = composition.volume * np.exp(rng.normal(0.0, VOLUME_SPREAD))
        self.location = location or str(rng.choice(list(LOCATIONS), p=list(LOCATIONS.values())))
        self.shape = shape or str(rng.choice(SHAPES[1:], p=(0.30, 0.28, 0.19, 0.23)))
        wanted = volume_ml or float(np.clip(MEDIAN_ML[self.location] * target, SMALLEST_ML, LARGEST_ML[self.location]))
        atlas = _draw_center(rng, head, self.location)
        self.center = np.asarray(center_mm if center_mm is not None else head.from_atlas(atlas), np.float64)
        self.head = head
        self._draw_shape(rng)
        self.size = 1.0
        self.volume_ml = 0.0
        self._fit(wanted)
        self._draw_density(rng)
        chance = RUPTURE[self.location] * np.clip(0.45 + 0.5 * np.log10(1.0 + self.volume_ml), 0.2, 1.5)
        odds = composition.ruptured * min(chance, 0.95) / (1.0 - min(chance, 0.95))
        self.ruptured = bool(draws[0] < odds / (1.0 + odds))
        fill = rng.uniform(0.02, 1.0) ** 1.8 * np.clip(0.25 + self.volume_ml / 30.0, 0.0, 1.0)
        self.ventricle_fill = float(fill) if self.ruptured else 0.0
        self.ventricle_hu = float(rng.uniform(46.0, 72.0))
        self.is_in_one_half, self.cast_mm, self.cast_is_midline = False, 0.0, False
        self.edema_excess = float(rng.normal(0.0, EDEMA_SPREAD))
        self.edema_mm = float(np.clip(3.0 * 2.0**self.edema_excess * (0.6 + 0.1 * self.radius), 0.5, 16.0))
        self.edema_hu = float(rng.uniform(17.5, 24.0))
        supratentorial = self.location not in ("cerebellum", "brainstem")
        shift = self.volume_ml * rng.uniform(0.03, 0.12) if supratentorial else 0.0
        self.bulk_shift_mm = float(np.clip(shift * (0.6 if self.location in ("thalamus", "caudate") else 1.0), 0, 14))
        if self.shape == "ellipsoid":
            self.edema_mm = 2.0
        head.mass_effect = MassEffect(self.center, self.volume_ml, self.bulk_shift_mm, rng.uniform(0.4, 0.8))
        self._draw_signs(rng)

    def hydrocephalus(self, draws: np.ndarray) -> tuple[bool, float]:
        """Whether there is hydrocephalus (blood in the ventricles, compressed fourth ventricle), and its widening.

        Parameters
        ----------
        draws : ndarray of shape (2,)
            Uniform between 0 and 1.

        Returns
        -------
        (bool, float)
            The widening is the factor of `Head.dilate_ventricles`.
        """
        chance = 0.03 + (0.20 + 0.55 * self.ventricle_fill if self.ruptured else 0.0)
        if self.location == "cerebellum":
            chance += np.clip((self.volume_ml - 8.0) / 40.0, 0.0, 0.45)
        if self.location == "thalamus":
            chance += 0.06
        return bool(draws[0] < chance), float(1.3 + 0.7 * draws[1])

    def draw_ventricular_blood(self, draws: np.ndarray) -> None:
        """Draw where the blood in the ventricles is: settled in both halves or in one, fluid or clotted to a cast.

        A cast fills the ventricles around the bleed, and widens the lateral one.

        Parameters
        ----------
        draws : ndarray of shape (4,)
            Uniform between 0 and 1.
        """
        self.is_in_one_half = bool(draws[3] < ONE_HALF and self.side != "midline")
        if draws[0] < CASTS * min(1.0, 2.0 * self.ventricle_fill):
            self.cast_mm = float(20.0 + 60.0 * draws[1])
            self.cast_is_midline = bool(draws[2] < 0.5 or self.side == "midline")
            self.head.ventricle_asymmetry[int(self.center[0] > 0)] *= 1.0 + 0.3 * draws[1]

    def half(self, x: np.ndarray) -> np.ndarray:
        """Distance into the bleed's half of the head, mm."""
        return np.float32(np.sign(self.center[0]) or 1.0) * x - 1.0

    def cast(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Where a cast fills the ventricles: positive in the bleed's half and, perhaps, near the midline, mm.

        Parameters
        ----------
        x, y, z : ndarray
            Points of the rigid head, RAS mm.
        apart : ndarray
            Distance from the bleed, mm.
        """
        half = self.half(x)
        if self.cast_is_midline:
            half = np.maximum(half, 5.0 - np.abs(x))
        return np.minimum(half, self.cast_mm - apart)

    def _draw_shape(self, rng):
        """Lobes as ellipsoids relative to the center, in units of the radius, and roughness of the surface."""
        first = np.sort(np.exp(rng.normal(0.0, 0.42, 3))) if self.shape != "ellipsoid" else np.array([0.7, 1.0, 1.4])
        axes = {"putamen": (0, 2, 1), "thalamus": (0, 2, 1)}.get(self.location, tuple(rng.permutation(3)))
        lobes = [(np.zeros(3), first[list(axes)], _rotation(rng, 0.35))]
        count = {"multilobular": int(rng.integers(2, 5)), "irregular": int(rng.integers(0, 4))}.get(self.shape, 0)
        for _ in range(count):
            lobes.append((_direction(rng) * rng.uniform(0.6, 1.15), rng.uniform(0.35, 0.8, 3), _rotation(rng, 1.5)))
        if self.shape == "satellite":
            for _ in range(int(rng.integers(2, 8))):
                lobes.append((_direction(rng) * rng.uniform(1.2, 2.1), rng.uniform(0.10, 0.35, 3), _rotation(rng, 1.5)))
        self.lobes = lobes
        self.roughness = {"ellipsoid": 0.0, "regular": rng.uniform(0.03, 0.09)}.get(self.shape, rng.uniform(0.07, 0.18))
        self.surface = PlaneWaves(rng, (0.45, 2.4), 18)
        self.grain = 0.0 if self.shape == "ellipsoid" else rng.uniform(0.02, 0.045)
        self.fine_surface = PlaneWaves(rng, (0.16, 0.45), 12)

    def _draw_density(self, rng):
        self.mean_hu = float(np.clip(rng.normal(64.0, 6.5), 47.0, 84.0))
        self.swirl = PlaneWaves(rng, (max(4.0, 0.5 * self.radius), 3.0 * self.radius + 6.0), 10)
        self.swirl_hu = float(rng.uniform(1.0, 8.0))
        self.rim_mm = float(rng.uniform(0.6, 2.2))
        self.fluid_level = bool(rng.uniform() < 0.05 and self.volume_ml > 15.0)

    def _draw_signs(self, rng):
        """Signs of an unstable bleed: a black hole (Li 2016) and a blend of two densities (Li 2015).

        A blend is at least 18 HU deep, and its darker part is still blood that a reader sees: 14 % of bleeds above 5 mL
        have one, only those dense enough for both.
        """
        has_hole, has_blend = rng.uniform(size=2) < (0.12, 0.19)
        inside = self.size * self.lobes[0][1].min()
        offset = _direction(rng) * rng.uniform(0.0, 0.45) * inside
        radii = inside * rng.uniform(0.18, 0.38, 3)
        hole = (self.center + offset, radii, rng.uniform(28.0, 36.0))
        blend = (_direction(rng), rng.uniform(-0.3, 0.5) * inside, rng.uniform(*BLEND_HU))
        self.black_hole = hole if has_hole and self.volume_ml > 5.0 else None
        dense = self.mean_hu - UNCLOTTED_HU >= BLEND_HU[0]
        self.blend = blend if has_blend and dense and self.volume_ml > 5.0 else None

    def signs(self) -> dict[str, bool | float]:
        """Signs of an unstable bleed: `black_hole` and `blend` (true if present), and `swirl_hu`, its unevenness."""
        return {
            "black_hole": self.black_hole is not None, "blend": self.blend is not None, "swirl_hu": self.swirl_hu,
        }  # fmt: skip

    @property
    def side(self) -> str:
        """Side of the head: "left", "right", or "midline" within 3 mm of it."""
        return "midline" if abs(self.center[0]) < 3.0 else "right" if self.center[0] > 0 else "left"

    @property
    def radius(self) -> float:
        """Radius in mm of the sphere of the same volume."""
        return sphere_radius_mm(max(self.volume_ml, 1e-3))

    def shape_field(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Field of the bleed without the skull: positive inside, mm."""
        p = np.stack([x - self.center[0], y - self.center[1], z - self.center[2]]).astype(np.float32)
        p /= np.float32(self.size)
        result = None
        for offset, radii, rotation in self.lobes:
            q = np.tensordot(rotation.astype(np.float32), p - offset.astype(np.float32).reshape(3, *[1] * x.ndim), 1)
            q /= radii.astype(np.float32).reshape(3, *[1] * x.ndim)
            lobe = (1.0 - np.sqrt((q * q).sum(axis=0))) * np.float32(radii.min() ** 0.5)
            result = lobe if result is None else np.maximum(result, lobe)
        if self.roughness:
            result = result + self.roughness * self.surface(*p) + self.grain * self.fine_surface(*p)
        return result * np.float32(self.size)

    def field(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, cavity: np.ndarray | None = None) -> np.ndarray:
        """Field of the bleed, bounded by the skull.

        Parameters
        ----------
        x, y, z : ndarray
            Points of the rigid head, RAS mm.
        cavity : ndarray, optional
            Distance to the skull at these points, if already known.
        """
        field = self.shape_field(x, y, z)
        if self.shape == "ellipsoid":
            return field
        if cavity is None:
            cavity = self.head.cavity(*self.head.to_atlas(x, y, z, mass_effect=False))
        return np.minimum(field, cavity - 1.0)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of a box that contains the bleed, in the rigid head, mm."""
        waves = 2.2 * (self.roughness + self.grain)
        corners = []
        for offset, radii, rotation in self.lobes:
            # Half extent of the ellipsoid, enlarged by the roughness of its surface.
            extent = np.sqrt(((rotation * radii[:, None]) ** 2).sum(axis=0)) * (1.0 + waves / np.sqrt(radii.min()))
            corners += [offset - extent, offset + extent]
        corners = np.array(corners) * self.size
        return self.center + corners.min(axis=0) - 1.0, self.center + corners.max(axis=0) + 1.0

    def measure(self, samples: int = 48) -> float:
        """Volume in mL on an isotropic grid of this many samples along the box, edges weighted by their coverage."""
        low, high = self.bounds()
        step = (high - low) / samples
        axes = [a + s * (np.arange(samples) + 0.5) for a, s in zip(low, step)]
        total = 0.0
        for part in np.array_split(axes[2], max(1, samples // 16)):
            z, y, x = np.meshgrid(part, axes[1], axes[0], indexing="ij")
            field = self.field(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))
            total += float(np.clip(field / step[0] + 0.5, 0.0, 1.0).sum(dtype=np.float64))
        return total * float(np.prod(step)) / 1000.0

    def _fit(self, wanted):
        """Scale the shape to the target volume; then measure it precisely."""
        self.size = sphere_radius_mm(wanted)
        for samples in (18, 22, 26, 34):
            measured = self.measure(samples)
            self.size *= float(np.clip(np.cbrt(wanted / max(measured, 1e-3)), 0.6, 1.5))
        self.volume_ml = self.measure()

    def density(self, field: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, up: np.ndarray) -> np.ndarray:
        """HU of the blood at points with the given field; `up` is the height in the supine patient, mm."""
        hu = self.mean_hu + self.swirl_hu * self.swirl(x, y, z)
        hu = hu - 9.0 * smoothstep(field, 1.5 * self.rim_mm, -0.5)
        if self.fluid_level:
            hu = hu - 22.0 * smoothstep(up + 1.2 * self.swirl(x, y, z), -1.5, 1.5)
        hu = np.clip(hu, UNCLOTTED_HU, 92.0)
        if self.blend is not None:
            normal, level, drop = self.blend
            along = sum(n * (p - c) for n, p, c in zip(normal, (x, y, z), self.center)) + 1.5 * self.swirl(x, y, z)
            hu = np.maximum(hu - drop * smoothstep(along - level, -0.7, 0.7), UNCLOTTED_HU)
        if self.black_hole is not None:
            center, radii, drop = self.black_hole
            hu = hu - drop * smoothstep(ellipsoid_distance(x, y, z, center, radii), -0.7, 0.7)
        return np.maximum(hu, 28.0)


def _direction(rng):
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _rotation(rng, spread):
    """Rotation matrix from three random angles of the given standard deviation (radians)."""
    a, b, c = rng.normal(0.0, spread, 3)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rx @ ry @ rz


def _draw_center(rng, head, location):
    """Center of the bleed in the atlas."""
    side = rng.choice([-1.0, 1.0])
    centers = {
        "putamen": ((27, 1, 4), (2.5, 5, 4)),
        "thalamus": ((13, -18, 8), (2.5, 3, 3)),
        "cerebellum": ((22, -62, -38), (9, 7, 6)),
        "brainstem": ((2, -26, -30), (3, 2, 4)),
        "caudate": ((13, 12, 9), (1.5, 4, 3)),
    }
    if location in centers:
        mean, spread = centers[location]
        center = rng.normal(mean, spread)
        center[0] *= side
        return center
    # Lobar: a random direction, at a random depth below the inner skull.
    for _ in range(200):
        direction = _direction(rng)
        depth = rng.uniform(8.0, 34.0)
        points = np.array([0.0, -20.0, 12.0]) + direction * np.linspace(10.0, 95.0, 86)[:, None]
        cavity = head.cavity(*points.T.astype(np.float32))
        center = points[np.argmin(np.abs(cavity - depth) + 1000.0 * (cavity < 0))]
        above = center[2] > head.tentorium(center[0], center[1]) + 10.0 or center[1] > -15.0
        if abs(center[0]) > 14.0 and above and abs(float(head.cavity(*center.astype(np.float32))) - depth) < 3.0:
            return center
    return np.array([side * 40.0, -50.0, 25.0])
