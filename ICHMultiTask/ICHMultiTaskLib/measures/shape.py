"""Diameters and surface of a mask on any regular grid, including sheared and anisotropic ones.

The border runs midway between voxels inside and their neighbors outside, on the 0.5 contour of the mask. Measured
between voxel centers, diameters are one voxel too short on small bleeds; between voxel corners, up to 3 % too long on
large ones (ellipses at random positions and angles).
"""

from itertools import product

import numpy as np
from scipy.spatial import ConvexHull, SphericalVoronoi
from scipy.spatial.distance import pdist


def sphere_radius_mm(volume_ml: float) -> float:
    """Radius of the sphere of a volume."""
    return float(np.cbrt(volume_ml * 3000.0 / (4.0 * np.pi)))


def border_hull(mask: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of a mask's border, in array indices.

    Parameters
    ----------
    mask : ndarray of bool, 2-D or 3-D, not empty

    Returns
    -------
    ndarray of shape (N, mask.ndim), float
        In array axis order; counterclockwise in 2-D.
    """
    rows = np.argwhere(mask.any(axis=-1))
    lines = mask[tuple(rows.T)]
    first, last = lines.argmax(-1), lines.shape[-1] - 1 - lines[:, ::-1].argmax(-1)
    ends = np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])]).astype(float)
    steps = 0.5 * np.concatenate([np.eye(mask.ndim), -np.eye(mask.ndim)])
    points = (ends[:, None] + steps).reshape(-1, mask.ndim)
    return points[ConvexHull(points).vertices]


def greatest_diameter(points_mm: np.ndarray) -> np.ndarray:
    """The two points farthest apart.

    Parameters
    ----------
    points_mm : ndarray of shape (N, D), N >= 2

    Returns
    -------
    ndarray of shape (2, D)
    """
    farthest = int(pdist(points_mm).argmax())
    rows = np.arange(len(points_mm))
    starts = rows * (2 * len(rows) - rows - 1) // 2  # index in pdist of each point's first distance
    first = int(np.searchsorted(starts[:-1], farthest, side="right")) - 1
    return points_mm[[first, first + 1 + farthest - starts[first]]]


def perpendicular_diameter(polygon_mm: np.ndarray, line_mm: np.ndarray) -> np.ndarray:
    """The longest chord of a convex polygon at 90° to a line.

    Parameters
    ----------
    polygon_mm : ndarray of shape (N, 3)
        Corners in order of rotation, in one plane.
    line_mm : ndarray of shape (2, 3)
        In the same plane: the polygon's greatest diameter.

    Returns
    -------
    ndarray of shape (2, 3)
    """
    along = line_mm[1] - line_mm[0]
    along /= np.linalg.norm(along)
    relative = polygon_mm - line_mm[0]
    position = relative @ along
    aside = relative - position[:, None] * along
    across = aside[np.linalg.norm(aside, axis=1).argmax()]
    across = across / np.linalg.norm(across)
    side = aside @ across
    # Corners on either side of the diameter; the longest chord ends at a corner.
    start = int(position.argmin())
    position, side = np.roll(position, -start), np.roll(side, -start)
    end = int(position.argmax())
    there = np.interp(position, position[: end + 1], side[: end + 1])
    back = np.interp(position, np.append(position[0], position[:end:-1]), np.append(side[0], side[:end:-1]))
    best = int(np.abs(there - back).argmax())
    foot = line_mm[0] + position[best] * along
    return np.array([foot + there[best] * across, foot + back[best] * across])


def surface_area_mm2(mask: np.ndarray, steps_mm: np.ndarray) -> float:
    """Surface area by the Crofton formula, from the number of intersections of grid lines with the border.

    Lines run in the 13 directions from a voxel to its neighbors, each weighted by its share of the sphere of
    directions (Lehmann and Legland 2012, Insight Journal; as SimpleITK's perimeter, but also for sheared grids).

    Parameters
    ----------
    mask : ndarray of bool, shape (K, J, I)
    steps_mm : ndarray of shape (3, 3)
        Row n: the vector from voxel to voxel along array axis n.

    Returns
    -------
    float
    """
    padded = np.pad(mask, 1)
    offsets = np.array([o for o in product((-1, 0, 1), repeat=3) if any(o)])
    vectors = offsets @ steps_mm
    lengths = np.linalg.norm(vectors, axis=1)
    weights = SphericalVoronoi(vectors / lengths[:, None]).calculate_areas() / (4 * np.pi)
    voxel_mm3 = abs(np.linalg.det(steps_mm))
    core = tuple(slice(1, -1) for _ in range(3))
    # A line enters as often as it leaves, so counting entries in both directions counts every crossing.
    entries = [
        np.count_nonzero(padded[core] & ~padded[tuple(slice(1 + o, n - 1 + o) for o, n in zip(offset, padded.shape))])
        for offset in offsets
    ]
    return float(4 * np.sum(weights * entries * voxel_mm3 / lengths))
