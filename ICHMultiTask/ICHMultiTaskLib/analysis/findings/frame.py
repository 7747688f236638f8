"""The space inside the skull as a frame: where a point lies in it, in shares of its size.

Its midline, length and vertex are found on samples of about 4 mm; a head may be turned, tilted, leaning or cut off
below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...scan.geometry import apply_affine
from ...scan.head_ct import HeadCT

COARSE_MM = 4.0
BONE_HU = 300
LEAST_CAVITY_ML, MOST_CAVITY_ML = 500.0, 2600.0
MOST_GAP = 3
"""Openings of the skull of up to twice so many samples are closed."""
UPPER_MM = 85.0
"""Below the vertex: the part of the cavity that is scanned in every head, and symmetric."""


@dataclass(frozen=True)
class HeadFrame:
    """Axes of the space inside the skull: to the patient's right, forward, and down from the vertex.

    Attributes
    ----------
    ras_to_shares : ndarray of shape (4, 4)
        From RAS mm to aside (in half widths from the midline), along (in half lengths from the middle) and below (in
        half lengths from the vertex).
    half_width_mm, half_length_mm : float
    volume_ml : float
        Of the part that was scanned.
    """

    ras_to_shares: np.ndarray
    half_width_mm: float
    half_length_mm: float
    volume_ml: float


def head_frame(head_ct: HeadCT) -> HeadFrame | None:
    """Find the frame.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    HeadFrame or None
        None where no closed skull of a head's size is found.
    """
    points, volume_ml = _cavity(head_ct)
    if points is None:
        return None
    top = np.percentile(points[:, 2], 99.8)
    upper = points[points[:, 2] > top - UPPER_MM]
    middle = upper[:, :2].mean(0)
    # The head is longer than wide: its long axis, of which the front is the one nearer to anterior, tells the turn.
    axis = np.linalg.eigh(np.cov((upper[:, :2] - middle).T))[1][:, 1]
    axis = axis * np.sign(axis[1])
    turn = np.array([[axis[1], -axis[0]], [axis[0], axis[1]]])
    flat = (upper[:, :2] - middle) @ turn.T
    # A head that leans to one side has its midline run aside with depth.
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


def _cavity(head_ct):
    """RAS mm of samples inside the skull, shape (N, 3), or None; and their volume, mL."""
    up = 2 - int(np.abs(head_ct.ijk_to_ras[2, :3]).argmax())  # the array axis from slice to slice
    axes = (up, *(axis for axis in range(3) if axis != up))
    hu, spacing = head_ct.hu.transpose(axes), head_ct.spacing_kji[list(axes)]
    steps = np.maximum(1, np.round(COARSE_MM / spacing)).astype(int)
    rows, columns = (n // step for n, step in zip(hu.shape[1:], steps[1:]))
    # The largest value of each block keeps thin bone closed.
    blocks = hu[:: steps[0], : rows * steps[1], : columns * steps[2]]
    bone = blocks.reshape(len(blocks), rows, steps[1], columns, steps[2]).max((2, 4)) > BONE_HU
    within = np.zeros((3, 3, 3), bool)
    within[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    wall = ndimage.binary_dilation(bone, within)
    inside = _enclosed(wall)
    for gap in range(1, MOST_GAP):
        # Craniotomies and fractures open the skull: it is closed by thicker walls, which are taken off again.
        thicker = _enclosed(ndimage.binary_dilation(wall, within, iterations=gap))
        inside |= ndimage.binary_dilation(thicker, within, iterations=gap) & ~wall
    labels, count = ndimage.label(ndimage.binary_erosion(inside, within))
    if not count:
        return None, 0.0
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    found = np.argwhere(ndimage.binary_dilation(largest, within) & inside)
    volume_ml = float(len(found) * np.prod(steps) * head_ct.voxel_volume_mm3 / 1000)
    if not LEAST_CAVITY_ML < volume_ml < MOST_CAVITY_ML:
        return None, volume_ml
    index = np.empty((len(found), 3))
    index[:, axes] = found * steps + (0, (steps[1] - 1) / 2, (steps[2] - 1) / 2)
    return apply_affine(head_ct.ijk_to_ras, index[:, ::-1]), volume_ml


def _enclosed(wall):
    """What a wall encloses in each slice."""
    return np.array([ndimage.binary_fill_holes(plane) & ~plane for plane in wall])
