"""What a skull encloses: the one rule for the checks of a scan, the reference frame of a head and the simulation.

Two neighbors answer other questions: `head_region`, where the whole head is, scalp, nose and sinuses included; and
`measure_head`, where the brain is, found from soft tissue, so that it works in a skull with a wide opening too.
"""

from __future__ import annotations

import numpy as np

from .coarse_head import IN_PLANE, plane_edges

LARGEST_EDGE_SHARE = 1 / 3
"""A region along more than this share of a slice's edge is outside, even if it is not air."""


def inside_skull(wall: np.ndarray, air: np.ndarray | None = None) -> np.ndarray:
    """Find what a wall of bone encloses within each slice.

    A gap in the wall opens it. To close gaps (sutures, burr holes, thin bone), the caller thickens the wall by half of
    the widest gap, and enlarges the result by as much if it has to reach the skull.

    Parameters
    ----------
    wall : ndarray of shape (K, J, I), bool
        Bone; the slices follow each other along the first axis.
    air : ndarray of shape (K, J, I), bool, optional
        If given, a region that reaches the edge of its slice is outside only if it does so as air: a skull cut off by
        the field of view reaches the edge as brain, and still encloses it.

    Returns
    -------
    ndarray of shape (K, J, I), bool
        Without the wall itself.
    """
    from scipy import ndimage

    regions, count = ndimage.label(~wall, IN_PLANE)
    edges = plane_edges(wall.shape)
    is_outside = np.bincount(regions[edges], minlength=count + 1) > edges[0].sum() * LARGEST_EDGE_SHARE
    is_outside[regions[edges if air is None else edges & air]] = True
    is_outside[0] = True
    return ~is_outside[regions]
