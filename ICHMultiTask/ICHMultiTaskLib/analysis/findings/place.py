"""Location of a marked bleed: side, region, above or below the tentorium.

Midline, length and vertex of the intracranial space are measured on samples of about 4 mm; the center of the bleed is
expressed relative to them. The limits of the regions were set on simulated patients, which have the locations of the
clinical scores. How often they are right: `Docs/user-guide.md`, "Where the bleed lies".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ...scan.geometry import apply_affine
from ...scan.head_ct import HeadCT

COARSE_MM = 4.0
BONE_HU = 300
MIN_CAVITY_ML, MAX_CAVITY_ML = 500.0, 2600.0
UPPER_MM = 85.0
"""Depth below the vertex of the part of the cavity that every scan covers, and that is symmetric."""
MIDLINE = 0.06
"""In half widths: closer to the midline no side is named."""
TENTORIUM = 1.38, 0.75
"""Depth of the tentorium below the vertex at the center of the head, and its rise toward the back."""
DEEP_ASIDE, DEEP_ALONG, DEEP_BELOW = 0.68, (-0.25, 0.55), 0.70
"""Basal ganglia and thalamus: largest distance from the midline, range along the head, smallest depth."""
BRAINSTEM_ASIDE, BRAINSTEM_ALONG = 0.22, -0.33


class Place(NamedTuple):
    """Proposed location of the bleed, in the terms of the clinical scores.

    Attributes
    ----------
    side : str
        "left" or "right" of the patient, or "midline".
    location : str
        "lobar", "deep", "cerebellum" or "brainstem".
    infratentorial : bool
    """

    side: str
    location: str
    infratentorial: bool


def find_place(head_ct: HeadCT, mask: np.ndarray) -> Place | None:
    """Locate a marked bleed.

    Parameters
    ----------
    head_ct : HeadCT
    mask : ndarray of shape (K, J, I), bool
        Of the bleed.

    Returns
    -------
    Place or None
        None if nothing is marked, or no closed skull is found.
    """
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    points = _cavity(head_ct) if count else None
    if points is None:
        return None
    largest = 1 + int(np.bincount(labels.ravel())[1:].argmax())
    center = apply_affine(head_ct.ijk_to_ras, np.argwhere(labels == largest).mean(0)[::-1])
    return place(*_head_coordinates(points, center))


def place(aside: float, along: float, below: float) -> Place:
    """Name the region of a point.

    Parameters
    ----------
    aside : float
        Distance from the midline to the patient's right, in half widths of the cavity.
    along : float
        Distance from its center to the front, in half lengths.
    below : float
        Distance below the vertex, in half lengths.

    Returns
    -------
    Place
    """
    side = "midline" if abs(aside) < MIDLINE else "right" if aside > 0 else "left"
    if below > TENTORIUM[0] + TENTORIUM[1] * along:
        in_brainstem = abs(aside) < BRAINSTEM_ASIDE and along > BRAINSTEM_ALONG
        return Place(side, "brainstem" if in_brainstem else "cerebellum", True)
    deep = abs(aside) < DEEP_ASIDE and DEEP_ALONG[0] < along < DEEP_ALONG[1] and below > DEEP_BELOW
    return Place(side, "deep" if deep else "lobar", False)


def _cavity(head_ct):
    """RAS mm of samples inside the skull, shape (N, 3); None if no closed skull is found."""
    up = 2 - int(np.abs(head_ct.ijk_to_ras[2, :3]).argmax())  # the array axis from slice to slice
    axes = (up, *(axis for axis in range(3) if axis != up))
    hu, spacing = head_ct.hu.transpose(axes), head_ct.spacing_kji[list(axes)]
    steps = np.maximum(1, np.round(COARSE_MM / spacing)).astype(int)
    rows, columns = (n // step for n, step in zip(hu.shape[1:], steps[1:]))
    # The maximum of each block keeps thin bone closed.
    blocks = hu[:: steps[0], : rows * steps[1], : columns * steps[2]]
    bone = blocks.reshape(len(blocks), rows, steps[1], columns, steps[2]).max((2, 4)) > BONE_HU
    within = np.zeros((3, 3, 3), bool)
    within[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    bone = ndimage.binary_dilation(bone, within)
    inside = np.array([ndimage.binary_fill_holes(plane) & ~plane for plane in bone])
    labels, count = ndimage.label(ndimage.binary_erosion(inside, within))
    if not count:
        return None
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    found = np.argwhere(ndimage.binary_dilation(largest, within) & inside)
    if not MIN_CAVITY_ML < len(found) * np.prod(steps) * head_ct.voxel_volume_mm3 / 1000 < MAX_CAVITY_ML:
        return None
    index = np.empty((len(found), 3))
    index[:, axes] = found * steps + (0, (steps[1] - 1) / 2, (steps[2] - 1) / 2)
    return apply_affine(head_ct.ijk_to_ras, index[:, ::-1])


def _head_coordinates(points, center):
    """Coordinates of a point relative to the cavity: aside, along, below, as for `place`."""
    top = np.percentile(points[:, 2], 99.8)
    upper = points[points[:, 2] > top - UPPER_MM]
    middle = upper[:, :2].mean(0)
    # The head is longer than wide: its long axis, oriented to anterior, gives the rotation.
    axis = np.linalg.eigh(np.cov((upper[:, :2] - middle).T))[1][:, 1]
    axis = axis * np.sign(axis[1])
    turn = np.array([[axis[1], -axis[0]], [axis[0], axis[1]]])
    flat = (upper[:, :2] - middle) @ turn.T
    # In a head tilted to one side the midline shifts with depth.
    lean = np.polyfit(upper[:, 2] - top, flat[:, 0], 1)
    half_width = np.percentile(np.abs(flat[:, 0] - np.polyval(lean, upper[:, 2] - top)), 99)
    back, front = np.percentile(flat[:, 1], (0.5, 99.5))
    half_length = (front - back) / 2
    x, y = turn @ (center[:2] - middle)
    height = center[2] - top
    return (
        float((x - np.polyval(lean, height)) / half_width),
        float((y - (back + front) / 2) / half_length),
        float(-height / half_length),
    )
