"""The parametric head, in atlas coordinates (RAS mm, origin at the anterior commissure).

`Head` draws one person's parameters, maps points of the rigid head to the atlas (size, smooth warp, mass effect) and
defines the surfaces. `brain` and `skull` paint the tissues.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .fields import PeriodicNoise, PlaneWaves, ellipsoid_distance, smooth_minimum, smoothstep
from .outcome import draw_atrophy

VAULT_CENTER = np.array([0.0, -17.0, 6.0], np.float32)


class Head:
    """One person's head.

    Parameters
    ----------
    rng : numpy.random.Generator
    age : float
        Years; ventricles and sulci widen with it.
    """

    def __init__(self, rng: np.random.Generator, age: float):
        self.age = age
        self.atrophy = atrophy = draw_atrophy(rng, age)
        self.scale = (rng.normal([0.965, 0.965, 0.975], [0.03, 0.035, 0.035])).astype(np.float32)
        self.warp = PlaneWaves(rng, (55.0, 170.0), 14, channels=3)
        self.warp_mm = rng.uniform(1.0, 2.6)
        self.frontal_narrowing = rng.uniform(0.06, 0.17)
        self.occipital_narrowing = rng.uniform(0.02, 0.10)
        self.squareness = rng.uniform(2.1, 2.5)
        # bone and skin
        self.bone_mm = rng.uniform(4.2, 7.5)
        self.bone_variation = PlaneWaves(rng, (35.0, 120.0), 8)
        self.cortical_hu = rng.uniform(1000.0, 1550.0)
        self.diploe_hu = rng.uniform(420.0, 720.0)
        self.scalp_mm = rng.uniform(3.0, 7.0)
        self.fat_hu = rng.uniform(-112.0, -85.0)
        self.muscle_hu = rng.uniform(48.0, 62.0)
        self.cells = PeriodicNoise(rng, 9.0, distance=True)
        self.tissue = PeriodicNoise(rng, 24.0, distance=True)
        self.offsets = rng.uniform(0.0, 200.0, (6, 3)).astype(np.float32)
        self.sinus_scale = rng.uniform(0.75, 1.15, 4)
        self.frontal_sinus = rng.uniform(0.0, 1.2)
        self.mastoid_air = rng.uniform(0.1, 1.0)
        self.fat_plane_mm = rng.uniform(0.4, 1.7)
        self.sinus_fluid = rng.uniform(0.0, 1.0) < 0.15
        self.neck_mm = rng.uniform(50.0, 62.0)
        self.jaw_drop = rng.uniform(-3.0, 8.0)
        self.teeth = rng.uniform(0.0, 1.0, 16) < np.clip(1.2 - age / 120.0, 0.3, 0.95)
        self.metal_teeth = rng.uniform(0.0, 1.0, 16) < 0.06
        # brain
        self.gray_hu = rng.normal(37.5, 1.5)
        self.white_hu = rng.normal(27.5, 1.5)
        self.csf_hu = rng.normal(5.0, 2.5)
        self.sulci = PeriodicNoise(rng, rng.uniform(17.0, 23.0), distance=True)
        self.sulcus_mm = 0.45 + 1.35 * atrophy * rng.uniform(0.6, 1.3)
        self.subarachnoid_mm = 0.5 + 2.2 * atrophy * rng.uniform(0.5, 1.5)
        self.frontal_space_mm = max(0.0, rng.normal(0.0, 1.0 + 2.5 * atrophy))
        self.fissure_mm = 0.9 + 2.8 * atrophy * rng.uniform(0.5, 1.4)
        self.cistern = 1.0 + 0.35 * atrophy * rng.uniform(0.2, 1.4)
        self.ventricle = float(0.88 + 0.65 * atrophy * rng.uniform(0.5, 1.4) + rng.normal(0.0, 0.07))
        self.ventricle_asymmetry = rng.normal(1.0, 0.08, 2)
        self.leukoaraiosis_hu = float(np.clip(rng.normal(3.5, 3.0) + 6.0 * (atrophy - 0.5), 0.0, 13.0))
        self.leukoaraiosis_mm = float(11.0 + 10.0 * atrophy * rng.uniform(0.0, 1.0))
        self.mottle = PlaneWaves(rng, (12.0, 60.0), 10)
        self.mottle_hu = rng.uniform(0.8, 2.0)
        self.posterior_fossa_hu = rng.normal(1.5, 2.0)
        self.capsule_hu = rng.uniform(0.5, 3.5)
        self.deep_gray_hu = rng.uniform(0.0, 3.0)
        self.sinus_hu = rng.uniform(48.0, 68.0)
        self.falx_hu = rng.uniform(40.0, 54.0)
        self.falx_mm = rng.uniform(0.5, 1.4)
        self.artery_hu = rng.uniform(38.0, 52.0)
        self.calcifications = _draw_calcifications(rng, age)
        self.lesions = []
        self.mimics = []
        self.openings = []
        self.metal = []  # (point in atlas mm, HU of the highest streaks)
        self.mass_effect = None

    def dilate_ventricles(self, factor: float) -> None:
        """Widen the ventricles as acute hydrocephalus does.

        As much fluid is added to ventricles that atrophy had widened before as to slender ones: a factor on both would
        make ventricles wider than any that are seen.

        Parameters
        ----------
        factor : float
            Width of the ventricles afterwards if it was 1, or less, before. Their volume goes with the square of it.
        """
        self.ventricle = float(np.sqrt(max(self.ventricle, 1.0) ** 2 + factor**2 - 1.0))

    def to_atlas(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, mass_effect: bool = True, waves: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Map points of the rigid head (RAS mm) to the atlas; `waves` is `warp` at these points, if already known.

        Returns
        -------
        tuple of three ndarrays, float32
        """
        waves = (self.warp(x, y, z) if waves is None else waves) * np.float32(self.warp_mm)
        u, v, w = (p / s + d for p, s, d in zip((x, y, z), self.scale, waves))
        if mass_effect and self.mass_effect is not None:
            du, dv, dw = self.mass_effect.displacement(x, y, z, self.cavity(u, v, w))
            u, v, w = u - du, v - dv, w - dw
        return u.astype(np.float32), v.astype(np.float32), w.astype(np.float32)

    def from_atlas(self, point: Sequence[float]) -> np.ndarray:
        """Point of the rigid head that maps to an atlas point, without mass effect (fixed-point iteration)."""
        point = np.asarray(point, np.float64)
        head = point * self.scale
        for _ in range(8):
            error = np.array([float(c) for c in self.to_atlas(*head, mass_effect=False)]) - point
            head = head - error * self.scale
        return head

    def vault(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the inner surface of the skull vault, extended downward to a closed egg shape."""
        front = np.clip((y + 30.0) * np.float32(1.0 / 100.0), 0.0, 1.0)
        back = np.clip((-40.0 - y) * np.float32(1.0 / 65.0), 0.0, 1.0)
        width = 1.0 - self.frontal_narrowing * front * front - self.occipital_narrowing * back * back
        u = np.abs(x) / (69.0 * width)
        v = np.abs(y - VAULT_CENTER[1]) * np.float32(1.0 / 88.0)
        w = z - VAULT_CENTER[2]
        w = np.where(w > 0, w * np.float32(1.0 / 74.0), w * np.float32(-1.0 / 86.0))
        p = np.float32(self.squareness)
        radius = np.power(np.power(u, p) + np.power(v, p) + np.power(w, p) + 1e-6, 1.0 / p)
        # Radial distance; the gradient of the norm makes it nearly Euclidean for these axes.
        return (1.0 - radius) * np.float32(76.0)

    def floor(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the skull base in atlas mm: anterior, middle and posterior fossa, sella and petrous ridges."""
        side = np.abs(x)
        sphenoid_y = 9.0 + 0.16 * side
        petrous_y = -13.0 - 0.50 * np.clip(side - 8.0, 0.0, None)
        midline = smoothstep(side, 15.0, 8.0)
        anterior = smoothstep(y, sphenoid_y - 3.0, sphenoid_y + 3.0)
        ahead = smoothstep(y, petrous_y - 5.0 - 9.0 * midline, petrous_y + 5.0)
        dome = ((side - 30.0) / 17.0) ** 2 + ((y - 40.0) / 26.0) ** 2
        front = -26.0 + 15.0 * np.exp(-dome) + 0.8 * np.sin(0.30 * y + 0.2 * side)
        middle = -43.0 + 17.0 * midline + 6.0 * smoothstep(side, 30.0, 60.0)
        back = -63.0 + 0.10 * np.clip(side - 20.0, 0.0, None) + 0.25 * np.clip(-60.0 - y, 0.0, None)
        height = back + ahead * (middle - back) + anterior * (front - middle)
        ridge = (y - petrous_y) * np.float32(1.0 / 7.0)
        return height + (22.0 - 0.22 * side) * np.exp(-ridge * ridge) * (1.0 - anterior) * (1.0 - 0.85 * midline)

    def cavity(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the inner surface of the skull: positive inside the cranial cavity."""
        return self.close(self.vault(x, y, z), x, y, z)

    def close(self, vault: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the cavity: the vault (its distance at the same points), closed below by the skull base."""
        above = (z - self.floor(x, y)) * np.float32(0.75)
        return smooth_minimum(vault, above, 6.0)

    def bone_thickness(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, variation: np.ndarray) -> np.ndarray:
        """Thickness of the vault in mm; the squamous temporal bone is thin, occiput and forehead are thick."""
        thin = smoothstep(np.abs(x), 45.0, 66.0) * smoothstep(z, 35.0, 5.0)
        thickness = self.bone_mm * (1.0 + 0.18 * variation - 0.40 * thin)
        return np.clip(thickness + 2.0 * smoothstep(y, -80.0, -98.0), 2.2, 14.0)

    def envelope(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, vault: np.ndarray, bone: np.ndarray) -> np.ndarray:
        """Distance to the skin: positive inside the head, face and neck."""
        skull = vault + bone + np.float32(self.scalp_mm)
        face = ellipsoid_distance(x, y, z, (0.0, 28.0, -62.0), (64.0, 62.0, 80.0))
        nose = ellipsoid_distance(x, y, z, (0.0, 80.0, -58.0), (13.0, 28.0, 24.0))
        neck_center = -28.0 - 0.12 * np.clip(-60.0 - z, 0.0, None)
        neck = self.neck_mm - np.sqrt((x * 0.95) ** 2 + ((y - neck_center) * 0.92) ** 2)
        neck = np.minimum(neck, (-38.0 - z) * 0.8)
        ears = ellipsoid_distance(np.abs(x), y, z, (74.5, -38.0, -36.0), (8.0, 12.0, 25.0))
        flesh = -smooth_minimum(-face, -neck, 14.0)
        flesh = -smooth_minimum(-flesh, -nose, 10.0)
        return np.maximum(-smooth_minimum(-skull, -flesh, 10.0), ears)

    def muscle_web(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Signed distance to the sheets of fat between muscles, which run along the neck, mm."""
        return self.tissue(x + self.offsets[0, 0], y + self.offsets[0, 1], z * np.float32(0.45))

    @staticmethod
    def tentorium(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the tentorium in atlas mm."""
        return 4.0 - 0.50 * np.abs(x) - 0.20 * np.clip(-45.0 - y, 0.0, None)


class MassEffect:
    """Displacement of tissue by a bleed: radial displacement around it, and a midline shift away from it.

    Parameters
    ----------
    center : ndarray of shape (3,)
        Center of the bleed in the rigid head, mm.
    volume_ml : float
    shift_mm : float
        Displacement of midline structures at the level of the bleed, away from it.
    room : float
        Fraction of the bleed's volume that displaces tissue; the rest replaces tissue.
    """

    def __init__(self, center: Sequence[float], volume_ml: float, shift_mm: float, room: float):
        self.center = np.asarray(center, np.float32)
        self.cubed = np.float32(room * volume_ml * 1000.0 * 3.0 / (4.0 * np.pi))
        self.shift_mm = float(shift_mm)

    def displacement(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, cavity: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Displacement in mm of the tissue now at the given points; zero at the skull."""
        dx, dy, dz = x - self.center[0], y - self.center[1], z - self.center[2]
        radius = np.sqrt(dx * dx + dy * dy + dz * dz) + np.float32(1e-3)
        origin = np.cbrt(np.maximum(radius**3 - self.cubed, (0.35 * radius) ** 3))
        push = (1.0 - origin / radius) * smoothstep(cavity, 0.0, 22.0)
        away = -np.sign(self.center[0]) * self.shift_mm if abs(self.center[0]) > 4.0 else 0.0
        bulk = np.exp(-((x / 38.0) ** 2) - (dy / 42.0) ** 2 - (dz / 34.0) ** 2) * smoothstep(cavity, 0.0, 25.0)
        return push * dx + away * bulk, push * dy, push * dz


def _draw_calcifications(rng, age):
    """Calcified choroid plexus, pineal gland, basal ganglia and falx: center, radii (mm) and peak HU."""
    items = []
    if rng.uniform() < 0.25 + age / 130.0:
        for side in (-1, 1):
            if rng.uniform() < 0.85:
                center = (side * rng.normal(23, 2), rng.normal(-42, 2), rng.normal(13, 2))
                items.append((center, rng.uniform([1.2, 2.0, 1.2], [3.2, 5.5, 3.5]), rng.uniform(110, 420)))
    if rng.uniform() < 0.6:
        items.append(((rng.normal(0, 0.6), -29.0, 3.0), rng.uniform(1.2, 3.2, 3), rng.uniform(90, 350)))
    if rng.uniform() < 0.12:
        for side in (-1, 1):
            center = (side * rng.normal(19, 1.5), rng.normal(-2, 2), rng.normal(1, 2))
            items.append((center, rng.uniform(1.5, 5.0, 3), rng.uniform(60, 160)))
    for _ in range(rng.poisson(0.35)):
        center = (rng.normal(0, 0.8), rng.uniform(20, 55), rng.uniform(30, 55))
        items.append((center, rng.uniform([0.8, 2, 2], [2.0, 7, 6]), rng.uniform(150, 700)))
    return items
