"""Mimics of parenchymal hemorrhage: extra-axial blood, tumors, contrast medium, clips, shunts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fields import PlaneWaves, ellipsoid_distance, smoothstep

if TYPE_CHECKING:
    from .anatomy import Head
    from .fields import Canvas

MIMICS = {
    # Share of heads without and with a parenchymal hemorrhage.
    "tumor": (0.12, 0.01),
    "subdural": (0.12, 0.03),
    "subarachnoid": (0.12, 0.06),
    "contrast": (0.08, 0.02),
    "clip": (0.04, 0.01),
    "shunt": (0.05, 0.03),
}
CLIP_STREAK_HU = 150.0
"""Highest streaks of a clip."""


@dataclass(frozen=True)
class Tumor:
    """A mass, often with a hypodense core, and edema that spreads in the white matter."""

    center: np.ndarray
    radii: np.ndarray
    hu: float
    core_hu: float
    core: float
    edema_mm: float
    edema_hu: float
    waves: PlaneWaves

    def paint(self, canvas: Canvas, head: Head, depth: np.ndarray, cavity: np.ndarray, ventricles: np.ndarray) -> None:
        """Paint it on some slices."""
        reach = self.edema_mm * 1.6 + 6.0
        index = canvas.box(self.center - self.radii - reach, self.center + self.radii + reach)
        if index is None:
            return
        x, y, z = canvas.x[index], canvas.y[index], canvas.z[index]
        hu = canvas.hu[index]
        waves = self.waves(x, y, z)
        distance = ellipsoid_distance(x, y, z, self.center, self.radii)
        white = 1.0 - smoothstep(hu, head.white_hu + 2.0, head.gray_hu)
        edema = smoothstep(distance + self.edema_mm * (1.0 + 0.5 * waves), -1.5, 2.5) * (0.15 + 0.85 * white)
        edema *= smoothstep(hu, 12.0, 22.0) * smoothstep(ventricles[index], 0.0, -2.0)
        hu += edema * np.minimum(self.edema_hu - hu, 0.0)
        mass = np.minimum(distance + 0.15 * self.radii.min() * waves, cavity[index] - 0.5)
        canvas.paint(mass, self.hu + 2.0 * waves, index, edge=2.5)
        if self.core:
            canvas.paint(mass - (1.0 - self.core) * self.radii.min(), self.core_hu, index, edge=3.0)


@dataclass(frozen=True)
class Subdural:
    """A crescent of blood below the vault of one side: fresh, mixed or old."""

    side: float
    middle: tuple
    extent: tuple
    thickness_mm: float
    hu: float
    lower_hu: float
    waves: PlaneWaves

    def paint(self, canvas: Canvas, head: Head, depth: np.ndarray, cavity: np.ndarray, ventricles: np.ndarray) -> None:
        """Paint it on some slices."""
        index = canvas.box((-80.0, -125.0, -15.0), (80.0, 90.0, 95.0))
        if index is None:
            return
        x, y, z = canvas.x[index], canvas.y[index], canvas.z[index]
        away = np.hypot((y - self.middle[0]) / self.extent[0], (z - self.middle[1]) / self.extent[1])
        waves = self.waves(x, y, z)
        thick = self.thickness_mm * (1.0 + 0.2 * waves) * smoothstep(away, 1.0, 0.3) - 0.7
        blood = np.minimum(thick - cavity[index], x * self.side - 4.0)
        # Denser blood settles at the back.
        hu = self.hu + (self.lower_hu - self.hu) * smoothstep(y, self.middle[0] + 15.0, self.middle[0] - 25.0)
        canvas.paint(blood, hu + 3.0 * waves, index)


@dataclass(frozen=True)
class Subarachnoid:
    """Blood in place of the fluid in cisterns, fissures and sulci around a point."""

    center: np.ndarray
    reach_mm: float
    hu: float
    waves: PlaneWaves

    def paint(self, canvas: Canvas, head: Head, depth: np.ndarray, cavity: np.ndarray, ventricles: np.ndarray) -> None:
        """Paint it on some slices."""
        index = canvas.box(self.center - 1.6 * self.reach_mm, self.center + 1.6 * self.reach_mm)
        if index is None:
            return
        x, y, z = canvas.x[index], canvas.y[index], canvas.z[index]
        hu = canvas.hu[index]
        away = np.sqrt(sum((p - c) ** 2 for p, c in zip((x, y, z), self.center))) / np.float32(self.reach_mm)
        share = np.clip(smoothstep(away, 1.3, 0.5) * (0.85 + 0.35 * self.waves(x, y, z)), 0.0, 1.0)
        share *= (1.0 - smoothstep(hu, 12.0, 24.0)) * smoothstep(ventricles[index], -0.5, -2.0)
        hu += share * (self.hu - hu)


@dataclass(frozen=True)
class Device:
    """Surgical material (a clip or a shunt) as round rods between points."""

    rods: tuple
    hu: float

    def paint(self, canvas: Canvas, head: Head, depth: np.ndarray, cavity: np.ndarray, ventricles: np.ndarray) -> None:
        """Paint it on some slices."""
        for start, end, radius in self.rods:
            index, distance = canvas.capsule(start, end, radius)
            if index is not None:
                canvas.paint(distance, self.hu, index, edge=max(1.0, canvas.pitch))


def draw_mimics(
    rng: np.random.Generator, head: Head, has_bleed: bool, rate: float
) -> list[Tumor | Subdural | Subarachnoid | Device]:
    """Draw mimics of a hemorrhage; contrast medium brightens the vessels of `head` directly.

    Parameters
    ----------
    rng : numpy.random.Generator
    head : Head
    has_bleed : bool
    rate : float
        Factor on the shares in `MIMICS`.

    Returns
    -------
    list
        Objects with a method `paint`.
    """
    found = []
    chances = rng.uniform(size=len(MIMICS))
    for (kind, shares), chance in zip(MIMICS.items(), chances):
        if chance < rate * shares[int(has_bleed)]:
            found += _DRAW[kind](rng, head)
    return found


def _tumor(rng, head):
    radius = rng.uniform(5.0, 26.0)
    direction = rng.normal(size=3) * (1.0, 1.0, 0.7)
    direction /= np.linalg.norm(direction)
    # At the convexity or the base like a meningioma, else within the brain, including the cerebellum.
    outside = rng.uniform() < 0.3
    depth = 0.95 if outside else rng.uniform(0.25, 0.85)
    center = np.array([0.0, -17.0, 2.0]) + depth * direction * (60.0, 76.0, 56.0)
    radii = radius * rng.uniform(0.7, 1.3, 3)
    hu = rng.uniform(40.0, 56.0) if outside else rng.uniform(30.0, 48.0)
    core = 0.0 if outside or rng.uniform() < 0.4 else rng.uniform(0.4, 0.8)
    edema = max(0.0, rng.normal(4.0 if outside else 11.0, 6.0))
    waves = PlaneWaves(rng, (max(6.0, 0.5 * radius), 3.0 * radius + 12.0), 9)
    return [Tumor(center, radii, hu, rng.uniform(10.0, 26.0), core, edema, rng.uniform(16.0, 22.0), waves)]


def _subdural(rng, head):
    age = rng.choice(3, p=[0.4, 0.3, 0.3])
    hu = (rng.uniform(55.0, 74.0), rng.uniform(28.0, 45.0), rng.uniform(10.0, 26.0))[age]
    lower = hu if age == 0 or rng.uniform() < 0.5 else rng.uniform(35.0, 60.0)
    middle, extent = (rng.uniform(-55.0, 35.0), rng.uniform(15.0, 50.0)), rng.uniform((45.0, 30.0), (90.0, 60.0))
    waves, side = PlaneWaves(rng, (18.0, 70.0), 8), rng.choice([-1.0, 1.0])
    return [Subdural(side, middle, tuple(extent), rng.uniform(3.0, 15.0), hu, lower, waves)]


def _subarachnoid(rng, head):
    side, waves = rng.choice([-1.0, 1.0]), PlaneWaves(rng, (12.0, 60.0), 8)
    places = ((0.0, -2.0, -14.0), (42.0, -2.0, 4.0), (25.0, -40.0, 55.0), (6.0, 30.0, 5.0), (2.0, -30.0, -30.0))
    center = np.array(places[rng.choice(5, p=[0.4, 0.22, 0.18, 0.12, 0.08])]) * (side, 1.0, 1.0)
    return [Subarachnoid(center, rng.uniform(14.0, 45.0), rng.uniform(38.0, 66.0), waves)]


def _contrast(rng, head):
    level = rng.uniform(0.3, 1.0)
    head.sinus_hu += 110.0 * level
    head.artery_hu += 150.0 * level
    head.falx_hu += 25.0 * level
    head.gray_hu += 4.0 * level
    head.white_hu += 1.5 * level
    return []


def _clip(rng, head):
    side = rng.choice([-1.0, 1.0])
    start = np.array([side * rng.uniform(0.0, 22.0), rng.uniform(-4.0, 14.0), rng.uniform(-18.0, -8.0)])
    end = start + rng.normal(0.0, 1.0, 3) * (5.0, 5.0, 3.0)
    head.metal.append(((start + end) / 2.0, CLIP_STREAK_HU))
    return [Device(((start, end, rng.uniform(0.8, 1.8)),), 3000.0)]


def _shunt(rng, head):
    side = rng.choice([-1.0, 1.0])
    starts = ((38.0, -78.0, 48.0), (28.0, 28.0, 62.0))
    start = np.array(starts[rng.integers(2)]) * (side, 1.0, 1.0)
    end = np.array([side * rng.uniform(4.0, 12.0), rng.uniform(-4.0, 16.0), rng.uniform(8.0, 18.0)])
    return [Device(((start, end, rng.uniform(0.9, 1.5)),), rng.uniform(180.0, 500.0))]


_DRAW = {
    "tumor": _tumor,
    "subdural": _subdural,
    "subarachnoid": _subarachnoid,
    "contrast": _contrast,
    "clip": _clip,
    "shunt": _shunt,
}
