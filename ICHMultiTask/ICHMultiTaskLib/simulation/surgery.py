"""Traces of surgery on the skull: burr holes, bone flaps with their plates, and bone that was left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .anatomy import VAULT_CENTER

if TYPE_CHECKING:
    from .anatomy import Head
    from .fields import Canvas

SHARES = {
    # Share of heads without and with a parenchymal hemorrhage.
    "burr hole": (0.03, 0.01),
    "craniotomy": (0.04, 0.015),
    "craniectomy": (0.02, 0.01),
}
RADIUS_MM = {"burr hole": (5.0, 7.5), "craniotomy": (18.0, 45.0), "craniectomy": (30.0, 55.0)}
SAW_MM = (0.5, 1.4)
"""Half the width of the saw's cut around a bone flap."""
BURR_MM = 6.0
PLATE_HU, STREAK_HU = 2800.0, 30.0
"""Titanium in a voxel that it fills, and its highest streaks."""


@dataclass(frozen=True)
class Opening:
    """A surgical opening of the vault, filled with scar.

    Attributes
    ----------
    kind : str
        One of `SHARES`.
    center : ndarray of shape (3,)
        On the vault, atlas mm.
    radius_mm : float
        Of the hole, or of the bone flap.
    saw_mm : float
        Half the width of the cut around a flap; 0 without a flap.
    burrs : tuple of ndarray
        Centers of the holes from which a flap was cut.
    plates : tuple of (ndarray, ndarray)
        Ends of the plates that hold it.
    hu : float
        Of the scar.
    """

    kind: str
    center: np.ndarray
    radius_mm: float
    saw_mm: float
    burrs: tuple
    plates: tuple
    hu: float

    def paint(self, canvas: Canvas, shell: np.ndarray) -> None:
        """Paint it on some slices; `shell` is the distance to the surfaces of the bone, positive within it."""
        reach = self.radius_mm + BURR_MM + 4.0
        index = canvas.box(self.center - reach, self.center + reach)
        if index is None:
            return
        points = [values[index] for values in (canvas.x, canvas.y, canvas.z)]
        away = _distance(points, self.center)
        hole = self.saw_mm - np.abs(away - self.radius_mm) if self.saw_mm else self.radius_mm - away
        for burr in self.burrs:
            hole = np.maximum(hole, BURR_MM - _distance(points, burr))
        canvas.paint(np.minimum(hole, shell[index] + 1.0), self.hu, index)
        for start, end in self.plates:
            index, distance = canvas.capsule(start, end, 0.9)
            if index is not None:
                canvas.paint(distance, PLATE_HU, index, edge=max(1.0, canvas.pitch))


def draw_surgery(
    rng: np.random.Generator, head: Head, has_bleed: bool, rate: float, kind: str | None = None
) -> list[Opening]:
    """Draw the openings of a skull; metal is noted in `head`.

    Parameters
    ----------
    rng : numpy.random.Generator
    head : Head
    has_bleed : bool
    rate : float
        Factor on `SHARES`.
    kind : str, optional
        One of `SHARES`, or "none"; None: drawn.

    Returns
    -------
    list of Opening
        At most one.
    """
    shares = [rate * share[int(has_bleed)] for share in SHARES.values()]
    drawn = rng.choice([*SHARES, "none"], p=[*shares, 1.0 - sum(shares)])
    kind = kind or str(drawn)
    if kind == "none":
        return []
    opening = _opening(rng, head, kind)
    head.metal += [((start + end) / 2.0, STREAK_HU) for start, end in opening.plates]
    return [opening]


def _opening(rng, head, kind):
    radius = rng.uniform(*RADIUS_MM[kind])
    saw = rng.uniform(*SAW_MM) if kind == "craniotomy" else 0.0
    away = rng.normal(size=3) * (1.0, 0.8, 0.6)
    away[0], away[2] = np.sign(away[0]) * max(abs(away[0]), 0.35), abs(away[2]) + 0.15
    center = _on_vault(head, away)
    burrs, plates = (), ()
    if saw:
        rim = _rim(rng, head, center, radius, int(rng.integers(2, 5)))
        burrs = tuple(point for point, _ in rim)
        plated = _rim(rng, head, center, radius, int(rng.integers(0, 4)))
        # On the outer table, across the cut.
        lifted = [(point + outward * (head.bone_mm + 0.5), center - point) for point, outward in plated]
        plates = tuple((point - 6.0 * _unit(to), point + 6.0 * _unit(to)) for point, to in lifted)
    return Opening(kind, center, float(radius), float(saw), burrs, plates, float(rng.uniform(20.0, 50.0)))


def _rim(rng, head, center, radius, count):
    """Points of the vault about `radius` from the center, with the directions outward."""
    outward = _unit(center - VAULT_CENTER)
    first = _unit(np.cross(outward, (0.0, 0.3, 1.0)))
    second = np.cross(outward, first)
    found = []
    for angle in rng.uniform(0.0, 2.0 * np.pi) + np.arange(count) * 2.0 * np.pi / max(count, 1):
        beside = center + radius * (np.cos(angle) * first + np.sin(angle) * second)
        point = _on_vault(head, beside - VAULT_CENTER)
        found.append((point, _unit(point - VAULT_CENTER)))
    return found


def _on_vault(head, direction):
    """Where a ray from the vault's center meets the inner surface of the vault."""
    points = VAULT_CENTER + _unit(np.asarray(direction, np.float64)) * np.linspace(40.0, 110.0, 281)[:, None]
    return points[int(np.argmin(np.abs(head.vault(*points.T.astype(np.float32)))))]


def _unit(vector):
    return vector / np.linalg.norm(vector)


def _distance(points, center):
    return np.sqrt(sum((values - np.float32(c)) ** 2 for values, c in zip(points, center)))
