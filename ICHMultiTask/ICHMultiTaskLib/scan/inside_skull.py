"""Region enclosed by the skull, for the checks of a scan, the reference frame of a head and the simulation.

For the whole head with scalp, nose and sinuses, see `head_region`. `measure_head` finds the brain from soft tissue,
which also works in a skull with a wide opening.
"""

from __future__ import annotations

import numpy as np

from .coarse_head import IN_PLANE, plane_edges

LARGEST_EDGE_SHARE = 1 / 3
"""A region along more than this share of a slice's edge is outside, even if it is not air."""


def inside_skull(wall: np.ndarray, air: np.ndarray | None = None) -> np.ndarray:
    """Find the region that a wall of bone encloses within each slice.

    A wall with a gap encloses nothing. To close gaps (sutures, burr holes, thin bone), the caller thickens the wall by
    half of the widest gap, and dilates the result by the same amount if it has to reach the skull.

    Parameters
    ----------
    wall : ndarray of shape (K, J, I), bool
        Bone; the slices follow each other along the first axis.
    air : ndarray of shape (K, J, I), bool, optional
        If given, a region that reaches the edge of its slice is outside only if it is air there. A skull that is cut
        off by the field of view thus still encloses the brain that reaches the edge.

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
