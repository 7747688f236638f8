"""Paint blocks of infinitely thin slices of the head and the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .brain import paint_brain, sulci
from .fields import Canvas, inner_interpolation, interpolation_matrix, smoothstep
from .skull import AIR, MUSCLE_BELOW_MM, flat_edge, paint_outside

if TYPE_CHECKING:
    from .acquisition import Acquisition
    from .anatomy import Head
    from .hematoma import Hematoma

COARSE_MM = 5.8
"""Distance between the nodes at which smooth coordinate maps and surfaces are evaluated."""
SPARSE = 2
"""The waves of `Head`, which are longer than 35 mm, are evaluated at every n-th node."""
IVH_RAGGED_MM = 2.5
"""Amplitude of the border between blood and fluid in the ventricles."""
REACH_MM = ((-96.0, -128.0), (96.0, 122.0))
"""Corners of a box that contains every head, face and neck, in the rigid head (x, y)."""


class Painter:
    """Paints infinitely thin slices of the head and table.

    Parameters
    ----------
    head : Head
    hematoma : Hematoma or None
    acquisition : Acquisition
    size : int
        Rows and columns of samples.
    pitch : float
        Distance of the samples, mm.
    """

    def __init__(self, head: Head, hematoma: Hematoma | None, acquisition: Acquisition, size: int, pitch: float):
        self.head, self.hematoma, self.a, self.size, self.pitch = head, hematoma, acquisition, size, pitch
        affine = acquisition.ijk_to_ras()
        factor = pitch / acquisition.pixel_mm
        self.row, self.column = affine[:3, 0] * factor, affine[:3, 1] * factor
        self.coarse = max(2, round(COARSE_MM / pitch))
        self.nodes = size // self.coarse + 4
        self.fine = interpolation_matrix(size, self.nodes, self.coarse)
        self.background = self._table() if acquisition.table else np.full((size, size), AIR, np.float32)

    def _table(self):
        """HU of table and headrest in one slice; they extend along the scan axis."""
        half = 0.5 * self.size * self.pitch
        v = half - (np.arange(self.size, dtype=np.float32)[:, None] + 0.5) * self.pitch
        u = (np.arange(self.size, dtype=np.float32)[None, :] + 0.5) * self.pitch - half
        seat = self.a.translation[1] + 2.0
        radius, wings, wall = self.a.headrest_mm
        distance = np.hypot(u, v - seat)
        shell = wall - np.abs(distance - radius)
        shell = np.minimum(shell, seat + wings - v)
        foam = np.minimum(radius - 1.0 - distance, seat + wings - 5.0 - v)
        board = 1.2 - np.abs(v - (seat - 0.0009 * -(u * u) - 128.0))
        hu = np.full((self.size, self.size), AIR, np.float32)
        for gap, value in ((foam, -930.0), (shell, 150.0), (board, 60.0)):
            hu += np.clip(gap / self.pitch + 0.5, 0.0, 1.0) * (value - hu)
        return hu

    def __call__(
        self, origins: np.ndarray, depth: float, poses: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float]]:
        """Paint the slices with first samples at `origins`.

        Parameters
        ----------
        origins : ndarray of shape (L, 3)
            Table coordinates, mm.
        depth : float
            Distance from one slice to the next, mm.
        poses : sequence of (ndarray, ndarray)
            Rotation and translation of the head in each.

        Returns
        -------
        tuple
            HU [slice, row, column], coverage by hematoma of the same shape or None, and the sums of coverage by blood
            in the ventricles and by edema.
        """
        hu = np.repeat(self.background[None], len(origins), axis=0)
        grid = self._grid(origins, poses)
        rows, columns = self._reached(grid)
        if rows is None:
            return hu, None, (0.0, 0.0)
        head = self.head
        points = _points(grid, self._node(rows), self._node(columns))
        waves = self._waves(grid, rows, columns)
        coarse = head.to_atlas(*points, mass_effect=False, waves=waves[:3])
        vault = head.vault(*coarse)
        bone = head.bone_thickness(*coarse, waves[3])
        cavity, envelope = head.close(vault, *coarse), head.envelope(*coarse, vault, bone)
        box = self._samples(envelope > -6.0, rows, columns)
        if box is not None:
            refine = self._refinement(box, rows, columns)
            surfaces = {"vault": vault, "cavity": cavity, "bone": bone, "envelope": envelope}
            if coarse[2].min() < MUSCLE_BELOW_MM:
                surfaces["tissue"] = head.muscle_web(*coarse)
            surfaces = {name: refine(values) for name, values in surfaces.items()}
            view = np.ascontiguousarray(hu[box])
            paint_outside(Canvas(*(refine(c) for c in coarse), view, self.pitch, depth), head, surfaces)
            hu[box] = view
        box = self._samples(cavity > -3.0, rows, columns)
        if box is None:
            return hu, None, (0.0, 0.0)
        part, rows, columns = self._around(box, rows, columns)
        refine = self._refinement(box, rows, columns)
        points, coarse, (vault, cavity) = ([p[part] for p in group] for group in (points, coarse, (vault, cavity)))
        moved = self._moved(points, coarse, cavity)
        vault, cavity, height = refine(vault), refine(cavity), refine(coarse[2])
        view = np.ascontiguousarray(hu[box])
        brain = Canvas(*(refine(c) for c in moved), view, self.pitch, depth)
        # Sulci are too fine for the nodes: evaluated at every second sample.
        half = [c[:, ::2, ::2] for c in (brain.x, brain.y, brain.z)]
        left, right = (inner_interpolation(n, m, 2) for n, m in zip(view.shape[1:], half[0].shape[1:]))
        web, mottle = left @ np.stack([sulci(head, *half), head.mottle(*half)]) @ right.T
        inside = brain.cover(cavity, flat_edge(height, self.pitch, depth))
        content = paint_brain(brain, head, vault, cavity, inside, web, mottle)
        occupied, fluids = None, (0.0, 0.0)
        if self.hematoma is not None:
            places = (np.arange(part.start, part.stop, dtype=np.float32) for part in box[1:])
            rigid = Canvas(*_points(grid, *places), view, self.pitch, depth)
            cover, fluids = self._bleed(rigid, cavity, inside, content, mottle)
            if cover is not None:
                occupied = np.zeros_like(hu)
                occupied[box] = cover
        hu[box] = view
        return hu, occupied, fluids

    def _grid(self, origins, poses):
        """First sample, and the steps from row to row and from column to column, in the rigid head; (3, L, 1, 1)."""
        start = np.stack([r.T @ (o - t) for o, (r, t) in zip(origins, poses)])
        steps = (np.stack([r.T @ step for r, _ in poses]) for step in (self.column, self.row))
        return [values.T[..., None, None].astype(np.float32) for values in (start, *steps)]

    def _node(self, part):
        """Positions of nodes, in samples."""
        return np.arange(part.start - 1.0, part.stop - 1.0, dtype=np.float32) * self.coarse

    def _reached(self, grid):
        """Rows and columns of the nodes that may be in the head, or None."""
        every = self._node(slice(0, self.nodes))
        x, y, _ = _points(grid, every, every)
        (left, back), (right, front) = REACH_MM
        near = (x > left) & (x < right) & (y > back) & (y < front)
        rows, columns = (np.flatnonzero(near.any(axis=axes)) for axes in ((0, 2), (0, 1)))
        if len(rows) < 4 or len(columns) < 4:
            return None, None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def _waves(self, grid, rows, columns):
        """The warp in three directions and the bone's variation at nodes, interpolated from a subset of them."""
        spread, places = [], []
        for part in (rows, columns):
            count = part.stop - part.start
            spread.append(interpolation_matrix(count, (count - 1) // SPARSE + 4, SPARSE))
            sparse = (np.arange(spread[-1].shape[1], dtype=np.float32) - 1.0) * SPARSE
            places.append((part.start - 1.0 + sparse) * self.coarse)
        points = _points(grid, *places)
        values = np.concatenate([self.head.warp(*points), self.head.bone_variation(*points)[None]])
        return spread[0] @ values @ np.ascontiguousarray(spread[1].T)

    def _samples(self, near, rows, columns):
        """Index of the samples around the marked nodes, or None."""
        box = [slice(None)]
        for axes, part in (((0, 2), rows), ((0, 1), columns)):
            found = np.flatnonzero(near.any(axis=axes))
            if not len(found):
                return None
            first, last = part.start + found[0] - 2, part.start + found[-1]
            # A sample is interpolated from four nodes.
            low, high = max(first, part.start), min(last, part.stop - 4)
            box.append(slice(max(0, low * self.coarse), min(self.size, (high + 1) * self.coarse)))
        return tuple(box) if all(b.stop - b.start > 2 for b in box[1:]) else None

    def _around(self, box, rows, columns):
        """The nodes needed to interpolate the samples of a box: their index, and their rows and columns."""
        parts = []
        for samples, part in zip(box[1:], (rows, columns)):
            low, high = samples.start // self.coarse, (samples.stop - 1) // self.coarse + 4
            parts.append(slice(max(low, part.start), min(high, part.stop)))
        index = [slice(p.start - part.start, p.stop - part.start) for p, part in zip(parts, (rows, columns))]
        return (slice(None), *index), *parts

    def _refinement(self, box, rows, columns):
        """Function that interpolates values at nodes to the samples of a box."""
        left = np.ascontiguousarray(self.fine[box[1], rows])
        right = np.ascontiguousarray(self.fine[box[2], columns].T)
        return lambda values: left @ np.ascontiguousarray(values) @ right

    def _moved(self, points, coarse, cavity):
        if self.head.mass_effect is None:
            return coarse
        shift = self.head.mass_effect.displacement(*points, cavity)
        return [c - d for c, d in zip(coarse, shift)]

    def _bleed(self, canvas, cavity, inside, content, mottle):
        """Paint edema, ventricular blood and hematoma; return its coverage or None, and the sums of the others."""
        h, view = self.hematoma, canvas.hu
        low, high = h.bounds()
        near, edema = canvas.box(low - h.edema_mm - 3.0, high + h.edema_mm + 3.0), 0.0
        if near is not None:
            x, y, z = canvas.x[near], canvas.y[near], canvas.z[near]
            field = h.field(x, y, z, cavity[near])
            cover = np.clip(field / self.pitch + 0.5, 0.0, 1.0)
            hu = view[near]
            # Edema spreads along the white matter and spares most of the gray matter.
            white = 1.0 - 0.6 * smoothstep(hu, self.head.white_hu + 2.0, self.head.gray_hu)
            reach = h.edema_mm * (1.0 + 0.5 * h.swirl(x, y, z)) * (0.4 + 0.6 * white)
            share = smoothstep(field + reach, -1.5, 2.0) * white * content["tissue"][near] * inside[near]
            edema = float((share * (1.0 - cover)).sum(dtype=np.float64))
            hu += share * np.minimum(h.edema_hu - hu, 0.0)
        ventricle = self._ventricular_blood(canvas, content["ventricles"], mottle) if h.ruptured else np.float32(0.0)
        if near is None:
            return None, (float(ventricle.sum(dtype=np.float64)), edema)
        hu += cover * (h.density(field, x, y, z, y - h.center[1]) - hu)
        occupied = np.zeros_like(view)
        occupied[near] = cover
        return occupied, (float((ventricle * (1.0 - occupied)).sum(dtype=np.float64)), edema)

    def _ventricular_blood(self, canvas, ventricles, mottle):
        """Paint blood near the bleed and, as in a supine patient, behind in the ventricles; return its coverage."""
        h = self.hematoma
        near = ventricles > -1.0
        if not near.any():
            return np.float32(0.0)
        x, y, z = canvas.x, canvas.y, canvas.z
        apart = np.sqrt((x - h.center[0]) ** 2 + (y - h.center[1]) ** 2 + (z - h.center[2]) ** 2) - h.radius
        reach = 60.0 * h.ventricle_fill**1.5 + 4.0 - apart
        layer = -66.0 + 45.0 * h.ventricle_fill - y
        if h.is_in_one_half:
            layer = np.minimum(layer, h.half(x))
        blood = np.maximum(reach * 0.3, layer)
        if h.cast_mm:
            blood = np.maximum(blood, h.cast(x, y, z, apart))
        filled = np.minimum(ventricles, blood + IVH_RAGGED_MM * mottle)
        cover = np.clip(filled / self.pitch + 0.5, 0.0, 1.0) * near
        canvas.hu += cover * (h.ventricle_hu + 4.0 * mottle - canvas.hu)
        return cover


def _points(grid, rows, columns):
    """Points of the rigid head at rows and columns (in samples): x, y, z of shape (L, rows, columns)."""
    start, down, right = grid
    return start + down * rows[:, None] + right * columns[None, :]
