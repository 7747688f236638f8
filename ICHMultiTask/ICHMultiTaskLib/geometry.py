"""Affine geometry of voxel grids.

Arrays are indexed [k, j, i]; affines map homogeneous (i, j, k, 1) to RAS millimeters, as in MRML.
"""

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def spacing_kji(ijk_to_ras):
    """Distance between voxel centers along each array axis.

    Parameters
    ----------
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    ndarray of shape (3,)
        Millimeters, in the order k, j, i. On a tilted scan the k step is longer than the distance
        between the slice planes: use `voxel_volume_mm3` for volumes.
    """
    return np.linalg.norm(np.asarray(ijk_to_ras, dtype=float)[:3, :3], axis=0)[::-1]


def voxel_volume_mm3(ijk_to_ras):
    """Volume of one voxel in mm³: the determinant, so that shear by gantry tilt is accounted for."""
    return float(abs(np.linalg.det(np.asarray(ijk_to_ras, dtype=float)[:3, :3])))


def apply_affine(affine, points):
    """Map points of shape (..., 3) through a 4×4 affine."""
    affine = np.asarray(affine, dtype=float)
    return np.asarray(points, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def tilt_deg(ijk_to_ras):
    """Angle in degrees between the slice normal and the step from slice to slice.

    Zero for an orthogonal grid. The sign is that of the step's component along the in-plane
    column axis (j), which for axial head CT is the sign of the anterior-posterior shear.
    """
    matrix = np.asarray(ijk_to_ras, dtype=float)[:3, :3]
    i, j, k = (matrix[:, n] / np.linalg.norm(matrix[:, n]) for n in range(3))
    normal = np.cross(i, j)
    normal /= np.linalg.norm(normal)
    along = abs(float(np.dot(k, normal)))
    across = float(np.dot(k, j))
    sideways = float(np.linalg.norm(k - np.dot(k, normal) * normal))
    return float(np.degrees(np.arctan2(sideways, along)) * (-1.0 if across < 0 else 1.0))
