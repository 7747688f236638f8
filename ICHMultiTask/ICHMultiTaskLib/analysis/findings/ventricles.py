"""Intraventricular blood, and the part of the marked bleed that lies in the ventricles.

The ventricles' usual position is shifted to match the fluid and blood in the scan. In a supine patient, blood settles
in the posterior ventricles, away from most bleeds, so hyperdensity there, up to their wall, indicates intraventricular
blood; further forward it counts if it is certainly inside. The limits were fitted to 167 simulated bleeds (seed 94).

A clot in the ventricles often touches the bleed. What tells them apart was fitted to 84 simulated bleeds with blood in
the ventricles (seed 102).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...measures.shape import sphere_radius_mm
from .head_grid import LOW_MM, SIZE, STEP_MM, HeadGrid, coordinates, ventricle_distance

MIN_DENSE_ML = 0.82
"""Smallest hyperdense volume in the ventricles that counts as blood: maximizes sensitivity + specificity."""
BLOOD_HU = 6.0
"""A voxel in the ventricles that exceeds brain by more than this is blood."""
WALL_MM = -4.0
BACK_MM = -34.0
"""The atria and occipital horns lie behind this y."""
MIDLINE_MM, PINEAL_MM, LOWEST_MM = 5.0, -26.0, -22.0
"""Falx, straight sinus and pineal gland lie closer to the midline and behind this y; cisterns and tentorium below."""
FLUID_HU = 4.0, 18.0
"""Fluid begins at the first value below brain; the second is the further drop to certain fluid."""
REACH = range(-4, 5)
"""Allowed shifts in steps of 4 mm, anterior and superior; larger shifts are penalized by `STEP_COST`."""
STEP_COST = 0.004
OUTSIDE_MM = 6.0
"""A point farther than this from the ventricles certainly lies in the brain."""
FARTHEST_MM = -10.0
"""Marked blood farther than this from the ventricles is never taken for theirs."""
BEYOND = 0.7
UNSEEN_MM = 8.0
"""Weights of the distance from the bleed and of the logarithm of missing attention, added to the depth in mm; above 0
marked blood is intraventricular. A border at -2 mm fits seed 102 slightly better, but cuts large bleeds whose volume
the model underestimates."""
LEAST = 0.01
"""Smallest attention and weight of a point."""


@dataclass(frozen=True)
class Ventricles:
    """Findings in the ventricles.

    Attributes
    ----------
    bleed : bool
        Whether they contain blood.
    dense_ml : float
        Hyperdense volume in the ventricles outside the marked bleed, mL.
    wall : ndarray of shape (z, y, x), float32
        Approximate distance to the ventricle wall, mm, positive inside.
    """

    bleed: bool
    dense_ml: float
    wall: np.ndarray

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Distance in mm from points (atlas mm, shape (N, 3)) to the ventricle wall, positive inside; shape (N,)."""
        index = ((points - LOW_MM) / STEP_MM).T[::-1]
        return ndimage.map_coordinates(self.wall, index, order=1, mode="nearest")


def examine(grid: HeadGrid) -> Ventricles:
    """Look for blood in the ventricles.

    Parameters
    ----------
    grid : HeadGrid

    Returns
    -------
    Ventricles
    """
    up, forward = _place(grid)
    wall = _moved(ventricle_distance(), up, forward)
    x, y, z = coordinates()
    y, z = y - forward * STEP_MM, z - up * STEP_MM
    apart = (z > LOWEST_MM) & ((np.abs(x) > MIDLINE_MM) | (y > PINEAL_MM))
    dense = (grid.smooth > grid.brain_hu + BLOOD_HU) & (wall > np.where(y < BACK_MM, WALL_MM, 0.0)) & apart
    dense &= ~grid.around_mark & ~grid.calcium
    dense_ml = float(np.count_nonzero(dense)) * grid.voxel_ml
    return Ventricles(dense_ml > MIN_DENSE_ML, dense_ml, wall)


def inside_ventricles(
    points: np.ndarray, depth: np.ndarray, attention: np.ndarray, volume_ml: float, voxel_ml: float
) -> np.ndarray:
    """Find which points of the marked blood lie in the ventricles, if these contain blood.

    They lie deep in the ventricles, far from a ball of the bleed's volume around the center of attention, and have less
    attention than the part of that volume that has most of it: the model was trained to measure parenchymal blood.

    Parameters
    ----------
    points : ndarray of shape (N, 3)
        Atlas mm.
    depth : ndarray of shape (N,)
        From `Ventricles.depth`.
    attention : ndarray of shape (N,)
        At the points, 0 to 1.
    volume_ml : float
        Volume of the parenchymal bleed.
    voxel_ml : float
        Volume of each point.

    Returns
    -------
    ndarray of shape (N,), bool
    """
    attention = np.maximum(attention, LEAST)
    center = np.average(points, axis=0, weights=attention**2 * np.maximum(share_in_brain(depth), LEAST))
    beyond = np.linalg.norm(points - center, axis=1) - sphere_radius_mm(volume_ml)
    count = int(np.clip(round(volume_ml / voxel_ml), 1, len(points)))
    unseen = np.log(np.partition(attention, -count)[-count] / attention)
    return (depth > FARTHEST_MM) & (depth + BEYOND * beyond + UNSEEN_MM * unseen > 0.0)


def share_in_brain(depth: np.ndarray) -> np.ndarray:
    """Fraction of a point of the bleed that lies in the brain, by its depth in the ventricles in mm."""
    return np.clip(-depth / OUTSIDE_MM, 0.0, 1.0)


def _place(grid):
    """Superior and anterior shift of the ventricles from their usual position, in nodes.

    The shift maximizes the correlation with fluid and blood in the scan.
    """
    wall = ventricle_distance()
    content = np.clip((grid.brain_hu - FLUID_HU[0] - grid.smooth) / FLUID_HU[1], 0, 1)
    content[(grid.smooth > grid.brain_hu + 11) & (wall > -10) & ~grid.mark] = 1
    counted = ~(grid.around_mark | grid.calcium)
    every = (slice(None, None, 2),) * 3
    content, counted, wall = content[every], counted[every].astype(np.float32), wall[every]
    x, y, z = (axis[every] for axis in coordinates())
    k, j, i = np.nonzero((wall > -16) & (z > -24) & (np.abs(x) < 50) & (y < 44))
    expected = 1 / (1 + np.exp(-wall[k, j, i] / 1.5))
    best = -2.0, 0, 0
    for up in REACH:
        rows = np.clip(k + up, 0, wall.shape[0] - 1)
        for forward in REACH:
            columns = np.clip(j + forward, 0, wall.shape[1] - 1)
            weight = counted[rows, columns, i]
            cost = STEP_COST * (up * up + forward * forward)
            best = max(best, (_correlation(content[rows, columns, i], expected, weight) - cost, up, forward))
    return 2 * best[1], 2 * best[2]


def _correlation(found, expected, weight):
    total = weight.sum() + 1e-6
    found = found - (weight * found).sum() / total
    expected = expected - (weight * expected).sum() / total
    spread = (weight * found * found).sum() * (weight * expected * expected).sum()
    return float((weight * found * expected).sum() / np.sqrt(spread + 1e-9))


def _moved(array, up, forward):
    """Shift an array by whole nodes, repeating its edges."""
    rows = np.clip(np.arange(SIZE[2]) - up, 0, SIZE[2] - 1)
    columns = np.clip(np.arange(SIZE[1]) - forward, 0, SIZE[1] - 1)
    return array[rows][:, columns]
