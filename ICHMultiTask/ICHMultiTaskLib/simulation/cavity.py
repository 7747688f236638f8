"""The cranial cavity of any head CT, and the atlas of the parametric head fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..common.errors import InputError
from ..scan.coarse_head import IN_PLANE, largest_part
from ..scan.geometry import apply_affine
from ..scan.inside_skull import inside_skull
from .anatomy import Head

if TYPE_CHECKING:
    from ..scan.head_ct import HeadCT

GRID_MM = 2.0
BONE_HU = 100
"""For samples of 2 mm, in which thin bone is averaged with its surroundings."""
SOFT_HU = -25
OPENING_MM = 9.0
"""Passages narrower than twice this (optic canal, spinal canal) are closed, wider ones (to the cerebellum) are not."""
ROUNDS = 3
MIN_CAVITY_ML, MAX_CAVITY_ML = 600.0, 2400.0


@dataclass(frozen=True)
class Cavity:
    """The cranial cavity on a grid of 2 mm along the scan's own slices.

    Attributes
    ----------
    distance : ndarray of shape (K, J, I), float32
        Signed distance to its surface in mm, positive inside.
    hu : ndarray of the same shape, float32
        The scan averaged to this grid; -1024 outside the scan.
    ijk_to_ras : ndarray of shape (4, 4)
        Orthogonal, even if the scan is tilted.
    """

    distance: np.ndarray
    hu: np.ndarray
    ijk_to_ras: np.ndarray

    @property
    def volume_ml(self) -> float:
        """Volume of the scanned part, mL."""
        return float((self.distance > 0).sum()) * GRID_MM**3 / 1000.0


def fit_head(head_ct: HeadCT) -> FittedHead:
    """Find the cranial cavity of a head CT and fit the atlas to it.

    After closing gaps of a few millimeters, the skull encloses the cavity within each slice; the cavity is the largest
    soft-tissue region inside that is not divided by a narrow passage. The atlas fitted to it then defines the cavity in
    slices with larger gaps, and its end at the foramen magnum.

    Parameters
    ----------
    head_ct : HeadCT
        Any grid; slices should be nearly axial.

    Returns
    -------
    FittedHead

    Raises
    ------
    InputError
        If no soft tissue of the size of a brain is enclosed by bone.
    """
    hu, affine, scanned = _regular_samples(head_ct)
    ball = ndimage.generate_binary_structure(3, 1)
    skull = largest_part(ndimage.binary_closing(hu > BONE_HU, ball, iterations=2))
    soft = ~skull & (hu > SOFT_HU)
    # Two samples of 2 mm on each side close gaps of up to 8 mm.
    wall = ndimage.binary_dilation(skull, IN_PLANE, iterations=2)
    closed = ndimage.binary_dilation(inside_skull(wall), IN_PLANE, iterations=2)
    allowed, head = closed, None
    for _ in range(ROUNDS):
        cavity = Cavity(_distance(_widest_part(soft & allowed, ~skull)), hu, affine)
        if not MIN_CAVITY_ML <= cavity.volume_ml <= MAX_CAVITY_ML:
            raise InputError(
                f"No cranial cavity was found: expected soft tissue of {MIN_CAVITY_ML:.0f} to {MAX_CAVITY_ML:.0f} mL "
                f"inside a closed skull, found {cavity.volume_ml:.0f} mL."
            )
        head = FittedHead(cavity, head)
        atlas = head.parametric_cavity()
        allowed = (closed & (atlas > -15.0)) | (scanned & (atlas > -6.0))
    return head


def _widest_part(soft, not_skull):
    """Largest soft-tissue region not divided by a narrow passage, with enclosed calcifications; bool."""
    soft = ndimage.binary_fill_holes(soft) & not_skull
    core = largest_part(_distance(soft) > OPENING_MM)
    return soft & (_distance(core) > -OPENING_MM - 0.5 * GRID_MM) if core.any() else core


def _distance(mask):
    """Signed distance to the surface of a mask on the regular grid, mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((GRID_MM,) * 3)
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, True, False, True))
    # The distance is to the centers of the outermost samples inside; the surface is half a step further out.
    return distance + np.float32(0.5 * GRID_MM)


def _regular_samples(head_ct):
    """The scan on an orthogonal grid of 2 mm along its slices: HU, affine, and which samples were scanned."""
    columns = head_ct.ijk_to_ras[:3, :3]
    up = int(np.argmax(np.abs(columns[2]) / np.linalg.norm(columns, axis=0)))
    first, second = (n for n in range(3) if n != up)
    row = columns[:, first] / np.linalg.norm(columns[:, first])
    normal = np.cross(columns[:, first], columns[:, second])
    normal *= np.sign(normal[2]) / np.linalg.norm(normal)
    axes = np.stack([row, np.cross(normal, row), normal], axis=1)
    corners = np.stack(np.meshgrid(*([0, size - 1] for size in head_ct.hu.shape[::-1]), indexing="ij"), -1)
    corners = apply_affine(head_ct.ijk_to_ras, corners.reshape(-1, 3)) @ axes
    low = corners.min(axis=0)
    size = np.ceil((corners.max(axis=0) - low) / GRID_MM).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * GRID_MM
    affine[:3, 3] = axes @ low
    # First averaged over about one sample along finer axes.
    width = [max(1, int(GRID_MM / step)) for step in head_ct.spacing_kji]
    source = ndimage.uniform_filter(head_ct.hu.astype(np.float32), width, mode="nearest")
    to_source = (np.linalg.inv(head_ct.ijk_to_ras) @ affine)[:3]
    matrix, offset = to_source[::-1, 2::-1], to_source[::-1, 3]
    hu = ndimage.affine_transform(source, matrix, offset, tuple(size[::-1]), order=1, cval=np.nan)
    scanned = np.isfinite(hu)
    hu = np.where(scanned, np.maximum(hu, -1024.0), -1024.0).astype(np.float32)
    bone = ndimage.find_objects((hu > BONE_HU).astype(np.uint8))
    if bone:
        # Crop to the head, since much of the field of view is air.
        box = tuple(slice(max(0, part.start - 4), part.stop + 4) for part in bone[0])
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in reversed(box)]
        hu, scanned = np.ascontiguousarray(hu[box]), scanned[box]
    return hu, affine, scanned


PRIOR = np.array([0.0, -18.0, 10.0, 0.0, 0.0, 0.0, -0.03, -0.03, -0.03, 0.115, 0.06, 2.3])
"""Atlas point at the cavity's center (mm), rotation vector, logarithms of the scales, and the three shape parameters
of `Head`: frontal and occipital narrowing, squareness."""
SPREAD = np.array([4.0, 8.0, 8.0, 0.10, 0.10, 0.10, 0.05, 0.05, 0.05, 0.03, 0.03, 0.12])
PRIOR_WEIGHT = 0.3


class FittedHead(Head):
    """The atlas fitted to a cavity, with the interface of `Head` that `Hematoma` and `MassEffect` need.

    The inner surface of the parametric skull is fitted to the cavity's surface by robust least squares.

    Parameters
    ----------
    cavity : Cavity
    start : FittedHead, optional
        An earlier fit as starting point.

    Attributes
    ----------
    ras_to_rigid : ndarray of shape (4, 4)
        From the scan to the rigid head: origin at the anterior commissure, x = 0 in the midline, mm.
    scale : ndarray of shape (3,)
        Size of the rigid head along its axes relative to the atlas.
    fit_error_mm : float
        Robust mean distance between both surfaces.
    """

    def __init__(self, cavity: Cavity, start: FittedHead | None = None):
        self.found = cavity
        self.mass_effect = None
        points = _surface_points(cavity)
        center = apply_affine(cavity.ijk_to_ras, np.argwhere(cavity.distance > 0)[:, ::-1].mean(axis=0))

        def residuals(parameters):
            self._set(parameters, center)
            rigid = apply_affine(self.ras_to_rigid, points) / self.scale
            gap = Head.cavity(self, *rigid.T.astype(np.float32)).astype(float)
            # Robust, because skull bases vary; a weak prior stabilizes the fit of truncated heads.
            robust = np.sign(gap) * 3.0 * np.sqrt(2.0 * (np.sqrt(1.0 + gap * gap / 9.0) - 1.0))
            return np.concatenate([robust / np.sqrt(len(points)), PRIOR_WEIGHT * (parameters - PRIOR) / SPREAD])

        initial = PRIOR if start is None else start.parameters
        solution = least_squares(residuals, initial, x_scale=SPREAD, diff_step=1e-3, ftol=1e-4, max_nfev=40)
        self.parameters = solution.x
        self._set(solution.x, center)
        self.fit_error_mm = float(np.linalg.norm(solution.fun[: len(points)]))

    def _set(self, parameters, center):
        self.scale = np.exp(parameters[6:9]).astype(np.float32)
        self.ras_to_rigid = np.eye(4)
        self.ras_to_rigid[:3, :3] = Rotation.from_rotvec(parameters[3:6]).as_matrix()
        self.ras_to_rigid[:3, 3] = parameters[:3] - self.ras_to_rigid[:3, :3] @ center
        self.frontal_narrowing, self.occipital_narrowing, self.squareness = parameters[9:]

    def to_atlas(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, mass_effect: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Map points of the rigid head into the atlas, mm."""
        if mass_effect and self.mass_effect is not None:
            cavity = self.cavity(*(p / s for p, s in zip((x, y, z), self.scale)))
            x, y, z = (p - d for p, d in zip((x, y, z), self.mass_effect.displacement(x, y, z, cavity)))
        return tuple(np.asarray(p / s, np.float32) for p, s in zip((x, y, z), self.scale))

    def from_atlas(self, point: Sequence[float]) -> np.ndarray:
        """Point of the rigid head that maps to an atlas point."""
        return np.asarray(point, np.float64) * self.scale

    def cavity(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance in mm to the inner surface of the scan's own skull at atlas points; -50 outside the scan."""
        to_index = np.linalg.inv(self.ras_to_rigid @ self.found.ijk_to_ras) @ np.diag([*self.scale, 1.0])
        index = np.stack([r[0] * x + r[1] * y + r[2] * z + r[3] for r in to_index[2::-1].astype(np.float32)])
        distance = map_coordinates(self.found.distance, index.reshape(3, -1), order=1, cval=-50.0, output=np.float32)
        return distance.reshape(index.shape[1:])

    def parametric_cavity(self) -> np.ndarray:
        """Distance to the parametric skull's inner surface on the found cavity's grid, mm."""
        k, j, i = np.indices(self.found.distance.shape, np.float32)
        to_atlas = np.diag([*(1.0 / self.scale), 1.0]) @ self.ras_to_rigid @ self.found.ijk_to_ras
        return Head.cavity(self, *(r[0] * i + r[1] * j + r[2] * k + r[3] for r in to_atlas[:3].astype(np.float32)))


def _surface_points(cavity, count=800):
    """RAS points on the cavity's surface, without the planes at which the scan truncates it."""
    surface = np.abs(cavity.distance) <= 0.5 * GRID_MM + 0.01
    levels = np.flatnonzero((cavity.distance > 0).any(axis=(1, 2)))
    surface[: levels[0] + 2] = False
    index = np.argwhere(surface & (cavity.distance > 0))[:, ::-1]
    index = index[:: max(1, len(index) // count)]
    return apply_affine(cavity.ijk_to_ras, index)
