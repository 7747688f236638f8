"""Reference frame of the cranial cavity: positions relative to its width and length.

Midline, length and vertex are estimated on samples about 4 mm apart. The head may be rotated, tilted or cut off below.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ...scan.coarse_head import IN_PLANE, largest_part
from ...scan.geometry import apply_affine
from ...scan.head_ct import HeadCT
from ...scan.inside_skull import inside_skull

COARSE_MM = 4.0
BONE_HU = 300
MIN_CAVITY_ML, MAX_CAVITY_ML = 500.0, 2600.0
MAX_GAP = 3
"""Gaps in the skull of up to twice this number of samples are closed."""
ENCLOSED, RING, SECTORS, MIN_BONE = 0.4, 0.6, 36, 20
"""A slice that encloses less than the first share of its bone's hull is bridged if there is bone in the second share of
its sectors; slices with fewer samples of bone are not."""
DIRECTIONS, BANDS = 120, 4
"""Directions in the axial plane, and parts of the height, in which the cavity is compared with its mirror image."""
MAX_TURN_DEG, MIN_LENGTH = 54.0, 0.93
"""Farther to a side nobody is scanned. The plane across a head is nearly one of symmetry too, but heads are longer than
wide: 118 real cavities had a width of 0.74 to 1.00 of their length."""
UPPER_MM = 85.0
"""Depth below the vertex of the part that is symmetric and scanned in every head."""


@dataclass(frozen=True)
class HeadFrame:
    """Axes of the cranial cavity: to the patient's right, anterior, and down from the vertex.

    Attributes
    ----------
    ras_to_shares : ndarray of shape (4, 4)
        From RAS mm to lateral (half widths from the midline), anterior (half lengths from the center) and inferior
        (half lengths from the vertex) coordinates.
    half_width_mm, half_length_mm : float
    volume_ml : float
        Volume of the scanned part of the cavity.
    """

    ras_to_shares: np.ndarray
    half_width_mm: float
    half_length_mm: float
    volume_ml: float


def head_frame(head_ct: HeadCT) -> HeadFrame | None:
    """Estimate the reference frame of a head.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    HeadFrame or None
        None if no closed skull of plausible size is found.
    """
    points, volume_ml = _cavity(head_ct)
    if points is None:
        return None
    top = np.percentile(points[:, 2], 99.8)
    upper = points[points[:, 2] > top - UPPER_MM]
    middle = upper[:, :2].mean(0)
    turn = _turn(upper)
    flat = (upper[:, :2] - middle) @ turn.T
    # If the head is tilted to one side, its midline shifts sideways with depth.
    lean, aside = np.polyfit(upper[:, 2] - top, flat[:, 0], 1)
    half_width = np.percentile(np.abs(flat[:, 0] - aside - lean * (upper[:, 2] - top)), 99)
    back, front = np.percentile(flat[:, 1], (0.5, 99.5))
    half_length = (front - back) / 2
    matrix = np.eye(4)
    matrix[:2, :2] = turn
    matrix[0, 2] = -lean
    matrix[:2, 3] = -turn @ middle - (aside - lean * top, (back + front) / 2)
    matrix[2, 2:] = -1.0, top
    matrix[:3] /= np.array([half_width, half_length, half_length])[:, None]
    return HeadFrame(matrix, float(half_width), float(half_length), volume_ml)


def _turn(points):
    """Rotation in the axial plane that lays the plane of symmetry along the second axis; shape (2, 2).

    The long axis of a cavity may lie elsewhere: broad heads are nearly round, and the back of many is flat on one side.
    """
    depth = points[:, 2].max() - points[:, 2]
    # Without the shift of the center from slice to slice, if the head is tilted to a side.
    x, y = (column - np.polyval(np.polyfit(depth, column, 1), depth) for column in points[:, :2].T)
    bands = np.minimum(depth / (depth.max() + 1e-6) * BANDS, BANDS - 1).astype(int)
    radii = np.zeros((BANDS, DIRECTIONS))
    shifts = (-COARSE_MM / 3, 0.0, COARSE_MM / 3)  # each sample stands for its surroundings: no trace of the grid
    for right, forward in product(shifts, shifts):
        angle = np.arctan2(y + forward, x + right) / (2 * np.pi) % 1.0
        np.add.at(radii, (bands, (angle * DIRECTIONS).astype(int) % DIRECTIONS), 1.0)
    radii = np.sqrt(ndimage.gaussian_filter1d(radii, 1.0, axis=1, mode="wrap"))
    # Mirror axis n maps direction m to n - m: every half step there is an axis, the n-th at n + 1 half steps.
    index = np.arange(DIRECTIONS)
    asymmetry = np.array([np.sum((radii - radii[:, (n - index) % DIRECTIONS]) ** 2) for n in index])
    turns = (index + 1) * 180.0 / DIRECTIONS - 90.0
    diameter = radii.sum(axis=0)
    diameter = diameter + np.roll(diameter, DIRECTIONS // 2)
    along = index // 2 % DIRECTIONS
    is_long = diameter[along] >= MIN_LENGTH * diameter[(along + DIRECTIONS // 4) % DIRECTIONS]
    likely = (np.abs(turns) <= MAX_TURN_DEG) & is_long
    if not likely.any():
        likely = np.abs(turns) <= MAX_TURN_DEG
    best = int(np.argmin(np.where(likely, asymmetry, np.inf)))
    near = np.arange(-5, 6)
    bend, slope, _value = np.polyfit(near, asymmetry[(best + near) % DIRECTIONS], 2)
    shift = np.clip(-slope / (2 * bend), -2.5, 2.5) if bend > 0 else 0.0
    angle = np.radians(turns[best] + shift * 180.0 / DIRECTIONS)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _cavity(head_ct):
    """Samples inside the skull in RAS mm, shape (N, 3), or None; and their volume in mL."""
    up = 2 - int(np.abs(head_ct.ijk_to_ras[2, :3]).argmax())  # the array axis from slice to slice
    axes = (up, *(axis for axis in range(3) if axis != up))
    hu, spacing = head_ct.hu.transpose(axes), head_ct.spacing_kji[list(axes)]
    steps = np.maximum(1, np.round(COARSE_MM / spacing)).astype(int)
    rows, columns = (n // step for n, step in zip(hu.shape[1:], steps[1:]))
    # The maximum of each block keeps thin bone closed.
    blocks = hu[:: steps[0], : rows * steps[1], : columns * steps[2]]
    bone = blocks.reshape(len(blocks), rows, steps[1], columns, steps[2]).max((2, 4)) > BONE_HU
    # The skull alone: a table as dense as bone would be taken for a part of its ring.
    bone = largest_part(bone, np.ones((3, 3, 3), dtype=bool))
    if not bone.any():
        return None, 0.0
    wall = ndimage.binary_dilation(bone, IN_PLANE)
    inside = inside_skull(wall)
    for gap in range(1, MAX_GAP):
        # Craniotomies and fractures open the skull. Thicker walls close it, and the added thickness is removed again.
        thicker = inside_skull(ndimage.binary_dilation(wall, IN_PLANE, iterations=gap))
        inside |= ndimage.binary_dilation(thicker, IN_PLANE, iterations=gap) & ~wall
    inside |= _behind_openings(bone, inside) & ~wall
    largest = largest_part(ndimage.binary_erosion(inside, IN_PLANE))
    if not largest.any():
        return None, 0.0
    found = np.argwhere(ndimage.binary_dilation(largest, IN_PLANE) & inside)
    volume_ml = float(len(found) * np.prod(steps) * head_ct.voxel_volume_mm3 / 1000)
    if not MIN_CAVITY_ML < volume_ml < MAX_CAVITY_ML:
        return None, volume_ml
    index = np.empty((len(found), 3))
    index[:, axes] = found * steps + (0, (steps[1] - 1) / 2, (steps[2] - 1) / 2)
    return apply_affine(head_ct.ijk_to_ras, index[:, ::-1]), volume_ml


def _behind_openings(bone, inside):
    """The convex hull of the bone in slices that enclose little although most of their ring of bone is there.

    After a craniectomy a third of the ring may be missing.
    """
    found = np.zeros_like(bone)
    rows, columns = np.indices(bone.shape[1:])
    for part, enclosed, out in zip(bone, inside, found):
        points = np.argwhere(part)
        if len(points) < MIN_BONE:
            continue
        try:
            sides = ConvexHull(points).equations  # negative inside
        except QhullError:  # all in one line
            continue
        hull = np.all(sides[:, :1, None] * rows + sides[:, 1:2, None] * columns + sides[:, 2:, None] <= 0, axis=0)
        if np.count_nonzero(enclosed) > ENCLOSED * np.count_nonzero(hull):
            continue
        away = points - np.argwhere(hull).mean(axis=0)
        sectors = np.unique(np.floor(np.arctan2(*away.T) / (2 * np.pi) * SECTORS))
        if len(sectors) >= RING * SECTORS:
            out[:] = hull
    return found
