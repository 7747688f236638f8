"""Smooth random fields, distance functions and the slice that anatomy is painted on.

Distances are in mm and positive inside; coordinates are RAS millimeters.
"""

import numpy as np
from scipy.ndimage import map_coordinates


def smoothstep(values, low, high):
    """Rise from 0 at `low` to 1 at `high` with zero slope at both ends (`low` may exceed `high`)."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def smooth_minimum(a, b, radius):
    """Minimum of two distances with the edge rounded over `radius` mm (polynomial)."""
    h = np.clip(radius - np.abs(a - b), 0.0, None)
    return np.minimum(a, b) - h * h * (0.25 / radius)


def interpolation_matrix(samples, nodes, step):
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
        Number of fields that share the cosines with weights of their own.
    """

    def __init__(self, rng, wavelengths, count, channels=1):
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(wavelengths[0]), np.log(wavelengths[1]), count))
        self.vectors = (directions * (2.0 * np.pi / lengths)[:, None]).astype(np.float32)
        self.phases = rng.uniform(0.0, 2.0 * np.pi, count).astype(np.float32)
        weights = rng.normal(size=(channels, count)) * np.sqrt(lengths / lengths.mean())
        self.weights = (weights * np.sqrt(2.0 / (weights**2).sum(axis=1, keepdims=True))).astype(np.float32)

    def __call__(self, x, y, z):
        """Field values: one array where channels is 1, else an array with channels as first axis."""
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
        Store the distance in mm to the zero level (a web of sheets) in place of the noise itself.
    """

    def __init__(self, rng, wavelength, size=64, distance=False):
        self.step = wavelength / 8.0
        frequency = np.fft.fftfreq(size)
        radius = np.sqrt(
            frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + np.fft.rfftfreq(size)[None, None, :] ** 2
        )
        band = np.exp(-(((radius - 0.125) / 0.035) ** 2)).astype(np.float32)
        white = rng.standard_normal((size, size, size), dtype=np.float32)
        noise = np.fft.irfftn(np.fft.rfftn(white) * band, s=white.shape, axes=(0, 1, 2))
        noise = (noise / noise.std()).astype(np.float32)
        if distance:
            slope = np.sqrt(sum(g * g for g in np.gradient(noise, self.step)))
            noise = np.clip(noise / (slope + 0.25 * slope.mean()), -9.0, 9.0)
        self.lattice = noise

    def __call__(self, x, y, z):
        scale = np.float32(1.0 / self.step)
        points = np.stack([x * scale, y * scale, z * scale])
        return map_coordinates(self.lattice, points, order=1, mode="grid-wrap", output=np.float32)


class Canvas:
    """One infinitely thin slice: atlas coordinates of its samples and the HU painted so far.

    Parameters
    ----------
    x, y, z : ndarray of shape (rows, columns), float32
        Atlas coordinates in mm; x varies mostly along columns and y along rows.
    hu : ndarray of the same shape
    pitch : float
        Sample distance in mm: edges are painted this wide.
    depth : float
        Distance to the next thin slice in mm: surfaces that lie flat in the slice are painted this wide.
    """

    def __init__(self, x, y, z, hu, pitch, depth):
        self.x, self.y, self.z, self.hu, self.pitch, self.depth = x, y, z, hu, pitch, depth
        self._columns = x.min(axis=0), x.max(axis=0)
        self._rows = y.min(axis=1), y.max(axis=1)
        self._z = float(z.min()), float(z.max())

    def box(self, low, high):
        """Index of the samples that may lie between two corners, or None."""
        if self._z[1] < low[2] or self._z[0] > high[2]:
            return None
        columns = np.flatnonzero((self._columns[1] >= low[0]) & (self._columns[0] <= high[0]))
        rows = np.flatnonzero((self._rows[1] >= low[1]) & (self._rows[0] <= high[1]))
        if not len(columns) or not len(rows):
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def cover(self, distance, edge=None):
        """Fraction covered, from a distance that is positive inside."""
        edge = self.pitch if edge is None else edge
        return np.clip(distance / np.asarray(edge, np.float32) + np.float32(0.5), 0.0, 1.0)

    def paint(self, distance, value, index=..., edge=None):
        """Blend `value` (HU) over the samples at `index`."""
        hu = self.hu[index]
        hu += self.cover(distance, edge) * (value - hu)

    def ellipsoid(self, center, radii):
        """Index and distance to an axis-aligned ellipsoid; (None, None) where it is out of reach."""
        center, radii = np.asarray(center, np.float32), np.asarray(radii, np.float32)
        index = self.box(center - radii - 2.0, center + radii + 2.0)
        if index is None:
            return None, None
        return index, ellipsoid_distance(self.x[index], self.y[index], self.z[index], center, radii)

    def capsule(self, start, end, radius_start, radius_end=None):
        """Index and distance to a round cone between two points; (None, None) where it is out of reach."""
        radius_end = radius_start if radius_end is None else radius_end
        start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
        reach = max(radius_start, radius_end) + 2.0
        index = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if index is None:
            return None, None
        distance = capsule_distance(
            self.x[index], self.y[index], self.z[index], start, end, radius_start, radius_end
        )
        return index, distance


def ellipsoid_distance(x, y, z, center, radii):
    """Distance to an axis-aligned ellipsoid, exact at its surface to first order."""
    dx, dy, dz = ((a - c) for a, c in zip((x, y, z), center))
    rx, ry, rz = (1.0 / np.asarray(radii, np.float32)).astype(np.float32)
    u, v, w = dx * rx, dy * ry, dz * rz
    first = np.sqrt(u * u + v * v + w * w)
    second = np.sqrt((u * rx) ** 2 + (v * ry) ** 2 + (w * rz) ** 2)
    # At the center both vanish: the small constant caps the distance near the smallest radius.
    return (1.0 - first) * (first + np.float32(1e-3)) / (second + np.float32(1e-3) * min(rx, ry, rz))


def capsule_distance(x, y, z, start, end, radius_start, radius_end):
    """Distance to a round cone between two points."""
    axis = np.asarray(end, np.float32) - np.asarray(start, np.float32)
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    t = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) * np.float32(1.0 / (axis @ axis)), 0.0, 1.0)
    dx, dy, dz = dx - t * axis[0], dy - t * axis[1], dz - t * axis[2]
    return radius_start + (radius_end - radius_start) * t - np.sqrt(dx * dx + dy * dy + dz * dz)
