"""Dark lesions: infarcts of every age, old defects and cysts, and their frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fields import PlaneWaves, smoothstep

if TYPE_CHECKING:
    from .fields import Canvas

INFARCTS = {
    "middle cerebral artery": (((44, -8, 20), (22, 46, 34)), ((30, 0, 6), (14, 24, 16))),
    "its upper division": (((50, 12, 28), (18, 28, 26)),),
    "its lower division": (((50, -38, 10), (18, 30, 24)),),
    "striatocapsular": (((24, 2, 6), (8, 18, 12)),),
    "anterior cerebral artery": (((9, 26, 36), (9, 44, 26)),),
    "posterior cerebral artery": (((20, -74, 6), (18, 24, 18)), ((28, -44, -8), (10, 24, 9))),
    "border zone": (((28, -12, 46), (8, 46, 10)),),
    "posterior inferior cerebellar artery": (((22, -68, -48), (20, 21, 14)),),
    "superior cerebellar artery": (((24, -60, -28), (21, 20, 10)),),
    "cerebellar hemisphere": (((26, -64, -38), (24, 26, 22)),),
    "pons": (((4, -23, -29), (6, 5, 9)),),
    "midbrain and thalamus": (((6, -18, 2), (5, 6, 9)),),
}
"""Territories: ellipsoids on the right side, center and radii in atlas mm."""
INFARCT_SHARES = (0.07, 0.10, 0.10, 0.08, 0.06, 0.12, 0.07, 0.14, 0.07, 0.07, 0.07, 0.05)
DEFECTS = {
    "frontal pole": ((16, 58, 2), (17, 16, 24)),
    "orbitofrontal": ((18, 44, -14), (17, 22, 10)),
    "temporal pole": ((38, 14, -24), (13, 16, 13)),
    "convexity": None,
    "porencephalic": ((34, -28, 18), (18, 24, 18)),
}
CYSTS = {
    "middle fossa": ((44, 14, -22), (15, 17, 16)),
    "behind the cerebellum": ((0, -92, -44), (30, 12, 18)),
    "convexity": None,
    "quadrigeminal": ((0, -42, -2), (11, 10, 10)),
}
LACUNES = (((22, 0, 6), (6, 12, 8)), ((11, -17, 8), (4, 5, 4)), ((24, -5, 32), (5, 22, 6)), ((3, -25, -30), (3, 2, 7)))
LACUNE_SHARES = (0.42, 0.18, 0.28, 0.12)
"""Share in each region of `LACUNES` (center and half extent, atlas mm): basal ganglia, thalamus, white matter, pons."""
AGES = {
    # HU relative to normal brain (old: HU of the fluid), width of the edge in mm, and fraction of the tissue affected.
    "hyperacute": ((-6.0, -2.0), (8.0, 14.0), (0.7, 1.0)),
    "acute": ((-13.0, -6.0), (5.0, 12.0), (0.8, 1.0)),
    "subacute": ((-18.0, -10.0), (4.0, 10.0), (0.8, 1.0)),
    "old": ((6.0, 16.0), (3.0, 7.0), (0.75, 1.0)),
}
"""The first three reduce the density of tissue; an old infarct is fluid and scar with its own density."""


@dataclass(frozen=True)
class Lesion:
    """A dark lesion.

    Attributes
    ----------
    kind : str
    parts : tuple of (center, radii)
        Ellipsoids in the atlas, mm.
    value : float
        Its HU if `is_fluid`, else the change in HU.
    is_fluid : bool
    edge_mm, strength : float
        Width of its border, and largest share of changed tissue.
    reach_mm : float
        How far it extends beyond the brain's surface: 0 to the surface, more to the skull.
    waves : PlaneWaves
    ragged_mm : float
        Amplitude of the border's waves.
    """

    kind: str
    parts: tuple
    value: float
    is_fluid: bool
    edge_mm: float
    strength: float
    reach_mm: float
    waves: PlaneWaves
    ragged_mm: float

    def paint(self, canvas: Canvas, depth: np.ndarray, ventricles: np.ndarray) -> None:
        """Paint the lesion; `depth` and `ventricles` are distances to the surfaces of brain and ventricles."""
        low = np.min([np.subtract(center, radii) for center, radii in self.parts], axis=0) - 2.5 * self.ragged_mm - 4.0
        high = np.max([np.add(center, radii) for center, radii in self.parts], axis=0) + 2.5 * self.ragged_mm + 4.0
        index = canvas.box(low, high)
        if index is None:
            return
        x, y, z = canvas.x[index], canvas.y[index], canvas.z[index]
        distance = None
        for center, radii in self.parts:
            u, v, w = ((p - c) / np.float32(r) for p, c, r in zip((x, y, z), center, radii))
            part = (1.0 - np.sqrt(u * u + v * v + w * w)) * np.float32(min(radii))
            distance = part if distance is None else np.maximum(distance, part)
        distance = distance + np.float32(self.ragged_mm) * self.waves(x, y, z)
        share = smoothstep(distance, -0.5 * self.edge_mm, 0.5 * self.edge_mm) * np.float32(self.strength)
        share *= smoothstep(depth[index] + self.reach_mm, -1.0, 1.0)
        hu = canvas.hu[index]
        if self.is_fluid:
            hu += share * np.minimum(self.value - hu, 0.0)
            return
        # Swelling closes the sulci: their fluid is replaced by tissue; ventricles stay.
        tissue = np.maximum(hu, 27.0) + self.value
        hu += share * smoothstep(ventricles[index], 0.5, -1.5) * (np.maximum(tissue, 14.0) - hu)


def draw_lesions(rng: np.random.Generator, age: float, csf_hu: float, rate: float) -> list[Lesion]:
    """Draw the lesions of a head.

    Parameters
    ----------
    rng : numpy.random.Generator
    age : float
        Years; lesions are more frequent in older patients.
    csf_hu : float
    rate : float
        Mean number of large lesions (infarcts, defects and cysts) at 67 years.

    Returns
    -------
    list of Lesion
    """
    lesions = []
    older = float(np.clip(0.4 + 0.6 * (age - 30.0) / 37.0, 0.3, 1.7))
    for _ in range(rng.poisson(rate * older)):
        kind = rng.choice(["infarct", "defect", "cyst"], p=[0.66, 0.24, 0.10])
        lesions += {"infarct": _infarct, "defect": _defect, "cyst": _cyst}[kind](rng, csf_hu)
    for _ in range(rng.poisson((0.6 + 1.2 * rate) * older)):
        lesions.append(_lacune(rng, csf_hu))
    return lesions


def _infarct(rng, csf_hu):
    territory = str(rng.choice(list(INFARCTS), p=INFARCT_SHARES))
    age = str(rng.choice(list(AGES), p=[0.12, 0.20, 0.23, 0.45]))
    value, edge, strength = (rng.uniform(*limits) for limits in AGES[age])
    side, extent = rng.choice([-1.0, 1.0]), rng.uniform(0.55, 1.1)
    if age == "old":
        value = 0.5 * (value + csf_hu)
    lesion = _lesion(rng, territory, INFARCTS[territory], side, extent, value, age == "old", edge, strength, 0.0)
    # Sometimes bilateral, as from an embolus to the basilar artery.
    if rng.uniform() < 0.12:
        return [lesion, _lesion(
            rng, territory, INFARCTS[territory], -side, 0.7 * extent, value, age == "old", edge, strength, 0.0
        )]  # fmt: skip
    return [lesion]


def _defect(rng, csf_hu):
    """Old trauma, surgery or hemorrhage: fluid up to the skull, often bilateral in the frontal lobes."""
    place = str(rng.choice(list(DEFECTS), p=[0.28, 0.20, 0.16, 0.26, 0.10]))
    parts = (DEFECTS[place] or _convexity(rng, 18.0),)
    side, extent = rng.choice([-1.0, 1.0]), rng.uniform(0.5, 1.2)
    value, edge, strength = csf_hu + rng.uniform(0.0, 8.0), rng.uniform(2.0, 6.0), rng.uniform(0.8, 1.0)
    found = [_lesion(rng, place, parts, side, extent, value, True, edge, strength, 6.0)]
    if place in ("frontal pole", "orbitofrontal") and rng.uniform() < 0.45:
        extent *= rng.uniform(0.5, 1.0)
        found.append(_lesion(rng, place, parts, -side, extent, value, True, edge, strength, 6.0))
    return found


def _cyst(rng, csf_hu):
    place = str(rng.choice(list(CYSTS)))
    parts = (CYSTS[place] or _convexity(rng, 14.0),)
    value, extent = csf_hu + rng.uniform(-1.0, 2.0), rng.uniform(0.6, 1.2)
    return [_lesion(rng, "cyst", parts, rng.choice([-1.0, 1.0]), extent, value, True, 1.5, 1.0, 6.0, 0.6)]


def _lacune(rng, csf_hu):
    middle, spread = LACUNES[rng.choice(len(LACUNES), p=LACUNE_SHARES)]
    center = rng.uniform(-1.0, 1.0, 3) * spread + middle
    radii = rng.uniform(1.3, 4.5) * rng.uniform(0.7, 1.4, 3)
    value = csf_hu + rng.uniform(2.0, 12.0)
    return _lesion(rng, "lacune", ((center, radii),), rng.choice([-1.0, 1.0]), 1.0, value, True, 2.0, 0.9, 0.0, 0.4)


def _lesion(rng, kind, parts, side, extent, value, is_fluid, edge, strength, reach, ragged=None):
    shift, stretch = rng.normal(0.0, 2.5, 3), rng.uniform(0.85, 1.15, 3)
    if kind in ("lacune", "pons"):
        shift = 0.3 * shift
    placed = []
    for center, radii in parts:
        place = np.array(center, float) + shift
        place[0] *= side
        placed.append((place, np.array(radii, float) * extent * stretch))
    smallest = min(float(radii.min()) for _, radii in placed)
    waves = PlaneWaves(rng, (max(5.0, 0.5 * smallest), 3.0 * smallest + 12.0), 9)
    ragged = 0.22 * smallest if ragged is None else ragged
    return Lesion(
        kind, tuple(placed), float(value), is_fluid, float(edge), float(strength), reach, waves, float(ragged)
    )


def _convexity(rng, radius):
    """An ellipsoid at the brain's convexity, on the right side."""
    direction = rng.normal(size=3) * (1.0, 1.0, 0.8)
    direction /= np.linalg.norm(direction)
    direction[0], direction[2] = abs(direction[0]), abs(direction[2])
    center = np.array([0.0, -17.0, 10.0]) + direction * (58.0, 76.0, 58.0)
    return center, radius * rng.uniform(0.7, 1.5, 3)
