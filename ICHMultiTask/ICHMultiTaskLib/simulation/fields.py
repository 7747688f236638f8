"""Smooth random fields, distance functions, and the slices that anatomy is painted on.

Distances are in mm and positive inside; coordinates are RAS millimeters.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.ndimage import map_coordinates


def smoothstep(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Rise from 0 at `low` to 1 at `high` with zero slope at both ends (`low` may exceed `high`)."""
    t = np.asarray((values - low) / (high - low))
    np.clip(t, 0.0, 1.0, out=t)
    slope = 3.0 - 2.0 * t
    slope *= t
    slope *= t
    return slope


def smooth_minimum(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Minimum of two distances with an edge rounded over `radius` mm (polynomial)."""
    h = np.clip(radius - np.abs(a - b), 0.0, None)
    return np.minimum(a, b) - h * h * (0.25 / radius)


def interpolation_matrix(samples: int, nodes: int, step: float) -> np.ndarray:
    """Cubic (Catmull-Rom) interpolation weights from a lattice to samples.

    Node n lies at sample position (n - 1) * step, so that every sample has two nodes on each side.

    Returns
    -------
    ndarray of shape (samples, nodes), float32
    """
    position = np.arange(samples) / step + 1.0
    base = np.floor(position).astype(int)
    t = position - base
    weights = np.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1.0 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2.0 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ]
    )
    matrix = np.zeros((samples, nodes), np.float32)
    for offset in range(4):
        matrix[np.arange(samples), np.clip(base + offset - 1, 0, nodes - 1)] += weights[offset]
    return matrix


def inner_interpolation(samples: int, nodes: int, step: float) -> np.ndarray:
    """Weights like those of `interpolation_matrix`, with the first node at the first sample.

    Returns
    -------
    ndarray of shape (samples, nodes), float32
    """
    matrix = interpolation_matrix(samples, nodes + 3, step)[:, 1 : nodes + 1]
    return matrix / matrix.sum(axis=1, keepdims=True)


class PlaneWaves:
    """Band-limited random field: a sum of cosines with random directions, of unit standard deviation.

    Parameters
    ----------
    rng : numpy.random.Generator
    wavelengths : (float, float)
        Shortest and longest wavelength in mm.
    count : int
        Number of cosines.
    channels : int
        Number of fields, which share the cosines but have different weights.
    """

    def __init__(self, rng: np.random.Generator, wavelengths: tuple[float, float], count: int, channels: int = 1):
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(wavelengths[0]), np.log(wavelengths[1]), count))
        self.vectors = (directions * (2.0 * np.pi / lengths)[:, None]).astype(np.float32)
        self.phases = rng.uniform(0.0, 2.0 * np.pi, count).astype(np.float32)
        weights = rng.normal(size=(channels, count)) * np.sqrt(lengths / lengths.mean())
        self.weights = (weights * np.sqrt(2.0 / (weights**2).sum(axis=1, keepdims=True))).astype(np.float32)

    def __call__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Field values: one array if channels is 1, else an array with channels as first axis."""
        points = np.stack([np.ravel(x), np.ravel(y), np.ravel(z)]).astype(np.float32)
        waves = np.cos(self.vectors @ points + self.phases[:, None])
        result = (self.weights @ waves).reshape(len(self.weights), *np.shape(x))
        return result[0] if len(self.weights) == 1 else result


class PeriodicNoise:
    """Gaussian noise of one wavelength on a periodic lattice, looked up by linear interpolation.

    Parameters
    ----------
    rng : numpy.random.Generator
    wavelength : float
        Mean wavelength in mm.
    size : int
        Nodes along each axis.
    distance : bool
        Store the distance in mm to the zero level (a network of sheets) instead of the noise.
    """

    def __init__(self, rng: np.random.Generator, wavelength: float, size: int = 64, distance: bool = False):
        self.step = wavelength / 8.0
        frequency = np.fft.fftfreq(size)
        radius = np.sqrt(
            frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + np.fft.rfftfreq(size)[None, None, :] ** 2
        )
        band = np.exp(-(((radius - 0.125) / 0.035) ** 2)).astype(np.float32)
        white = rng.standard_normal((size, size, size), dtype=np.float32)
        noise = fft.irfftn(fft.rfftn(white) * band, s=white.shape)
        noise /= noise.std()
        if distance:
            slope = np.sqrt(sum(g * g for g in np.gradient(noise, self.step)))
            noise = np.clip(noise / (slope + 0.25 * slope.mean()), -9.0, 9.0)
        self.lattice = noise

    def nearest(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Value of the nearest node, for structures as small as the distance between nodes."""
        scale, size = np.float32(1.0 / self.step), len(self.lattice)
        i, j, k = (np.rint(p * scale).astype(np.int32) % size for p in (x, y, z))
        return self.lattice.ravel()[(i * size + j) * size + k]

    def __call__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Values at positions in mm."""
        scale = np.float32(1.0 / self.step)
        points = np.stack([x * scale, y * scale, z * scale])
        return map_coordinates(self.lattice, points, order=1, mode="grid-wrap", output=np.float32)


class Canvas:
    """Infinitely thin slices: atlas coordinates of their samples, and the HU painted so far.

    Parameters
    ----------
    x, y, z : ndarray of shape (slices, rows, columns), float32
        Atlas coordinates in mm; x varies mostly along columns, y along rows and z from slice to slice.
    hu : ndarray of the same shape
    pitch : float
        Distance between samples in mm; the width of painted edges.
    depth : float
        Distance to the next thin slice in mm; the width of edges of surfaces parallel to the slice.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, hu: np.ndarray, pitch: float, depth: float):
        self.x, self.y, self.z, self.hu, self.pitch, self.depth = x, y, z, hu, pitch, depth
        # Subsampled, because coordinates change slowly and callers add a margin to their boxes.
        parts = (z[:, ::6, ::6], (1, 2)), (y[:, :, ::6], (0, 2)), (x[:, ::6], (0, 1))
        self._reach = [(values.min(axis=axes), values.max(axis=axes)) for values, axes in parts]
        self._span = [(float(least.min()), float(most.max())) for least, most in self._reach[::-1]]

    def box(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, ...] | None:
        """Index of the samples that may be between two corners, or None."""
        # Most boxes are elsewhere: a quick check with scalars before any array is accessed.
        if any(a > most or b < least for a, b, (least, most) in zip(low, high, self._span)):
            return None
        index = []
        for (least, most), a, b in zip(self._reach, low[::-1], high[::-1]):
            found = np.flatnonzero((most >= a) & (least <= b))
            if not len(found):
                return None
            index.append(slice(found[0], found[-1] + 1))
        return tuple(index)

    def cover(self, distance: np.ndarray, edge: ArrayLike | None = None) -> np.ndarray:
        """Fraction covered, from a distance that is positive inside."""
        fraction = distance * (np.float32(1.0) / np.asarray(self.pitch if edge is None else edge, np.float32))
        fraction += np.float32(0.5)
        return np.clip(fraction, 0.0, 1.0, out=fraction)

    def paint(
        self,
        distance: np.ndarray,
        value: ArrayLike,
        index: tuple[slice, ...] | EllipsisType = ...,
        edge: ArrayLike | None = None,
    ) -> None:
        """Blend `value` (HU) over the samples at `index`."""
        hu = self.hu[index]
        change = value - hu
        change *= self.cover(distance, edge)
        hu += change

    def ellipsoid(
        self, center: Sequence[float], radii: Sequence[float]
    ) -> tuple[tuple[slice, ...] | None, np.ndarray | None]:
        """Index and distance to an axis-aligned ellipsoid; (None, None) if it is not in these slices."""
        low = [c - r - 2.0 for c, r in zip(center, radii)]
        index = self.box(low, [c + r + 2.0 for c, r in zip(center, radii)])
        if index is None:
            return None, None
        return index, ellipsoid_distance(self.x[index], self.y[index], self.z[index], center, radii)

    def capsule(
        self, start: Sequence[float], end: Sequence[float], radius_start: float, radius_end: float | None = None
    ) -> tuple[tuple[slice, ...] | None, np.ndarray | None]:
        """Index and distance to a round cone between two points; (None, None) if it is not in these slices."""
        radius_end = radius_start if radius_end is None else radius_end
        reach = max(radius_start, radius_end) + 2.0
        ends = list(zip(start, end))
        index = self.box([min(pair) - reach for pair in ends], [max(pair) + reach for pair in ends])
        if index is None:
            return None, None
        distance = capsule_distance(self.x[index], self.y[index], self.z[index], start, end, radius_start, radius_end)
        return index, distance


def ellipsoid_distance(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, center: Sequence[float], radii: Sequence[float]
) -> np.ndarray:
    """Distance to an axis-aligned ellipsoid, exact at its surface to first order."""
    dx, dy, dz = ((a - np.float32(c)) for a, c in zip((x, y, z), center))
    rx, ry, rz = (np.float32(1.0 / radius) for radius in radii)
    u, v, w = dx * rx, dy * ry, dz * rz
    first = np.sqrt(u * u + v * v + w * w)
    second = np.sqrt((u * rx) ** 2 + (v * ry) ** 2 + (w * rz) ** 2)
    # Both vanish at the center: the small constant limits the distance to about the smallest radius.
    return (1.0 - first) * (first + np.float32(1e-3)) / (second + np.float32(1e-3) * min(rx, ry, rz))


def capsule_distance(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    start: Sequence[float],
    end: Sequence[float],
    radius_start: float,
    radius_end: float,
) -> np.ndarray:
    """Distance to a round cone between two points."""
    axis = [np.float32(b - a) for a, b in zip(start, end)]
    dx, dy, dz = (values - np.float32(a) for values, a in zip((x, y, z), start))
    t = (dx * axis[0] + dy * axis[1] + dz * axis[2]) * (1.0 / sum(a * a for a in axis))
    np.clip(t, 0.0, 1.0, out=t)
    dx, dy, dz = dx - t * axis[0], dy - t * axis[1], dz - t * axis[2]
    return np.float32(radius_start) + np.float32(radius_end - radius_start) * t - np.sqrt(dx * dx + dy * dy + dz * dz)
