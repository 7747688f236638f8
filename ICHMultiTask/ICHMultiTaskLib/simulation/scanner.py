"""The scanner: geometry, partial volume, kernel, noise, artifacts, table and head rest."""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from ..scan.geometry import regular_offsets, resample_slices
from .brain import paint_brain, sulci
from .fields import Canvas, interpolation_matrix
from .skull import AIR, flat_edge, paint_outside

COARSE = 3  # samples between nodes on which smooth coordinate maps are evaluated
PAD = -1024
THIN_MM = 2.6
"""Slices are painted as layers at most this thick."""


@dataclass(frozen=True)
class Acquisition:
    """How one head was scanned; every entry in mm, degrees or HU."""

    matrix: int
    pixel_mm: float
    offsets_mm: np.ndarray
    """Advance of the table to each slice, ascending from 0."""
    thickness_mm: np.ndarray
    """Of each slice."""
    tilt_deg: float
    """As `geometry.tilt_deg` tells it."""
    rotation: np.ndarray
    """Rigid head to table coordinates (RAS), 3×3."""
    translation: np.ndarray
    bottom_mm: float
    """Table position of the first slice at the gantry's axis."""
    kernel: str
    psf_mm: float
    sharpening: float
    noise_hu: float
    offset_hu: float
    cupping_hu: float
    streak_hu: float
    padding: bool
    table: bool
    rest_mm: tuple
    """Radius of the head rest, height of its wings above its center and half of its wall."""
    jerks: tuple
    """Movements of the patient: (slice, turn about the scan axis in radians, shift in the slice in mm)."""

    def ijk_to_ras(self):
        """Affine of the first slice, with the step of the regular grid: rows tilt with the gantry."""
        t = np.radians(self.tilt_deg)
        half = 0.5 * (self.matrix - 1) * self.pixel_mm
        affine = np.eye(4)
        affine[:3, 0] = (-self.pixel_mm, 0.0, 0.0)
        affine[:3, 1] = (0.0, -self.pixel_mm * np.cos(t), self.pixel_mm * np.sin(t))
        grid, _ = regular_offsets(self.offsets_mm)
        affine[:3, 2] = (0.0, 0.0, grid[1])
        affine[:3, 3] = (half, half * np.cos(t), self.bottom_mm - half * np.sin(t))
        return affine

    def poses(self, k):
        """Rotation and translation of the head before and after what happens in slice k."""
        rotation, translation = self.rotation, self.translation
        before = after = (rotation, translation)
        for at, turn, shift in self.jerks:
            turned = _euler(0.0, 0.0, turn)
            moved = turned @ after[0], turned @ after[1] + np.array([*shift, 0.0])
            before, after = (moved if at < k else before), (moved if at <= k else after)
        return before, after


def draw_acquisition(rng, settings, head, bleed_bounds):
    """Draw what `settings` leaves open.

    Parameters
    ----------
    rng : numpy.random.Generator
    settings : SimulationSettings
    head : Head
    bleed_bounds : (ndarray, ndarray) or None
        Box around the bleed in the rigid head, mm; it is always within the scanned range.
    """
    # All draws happen always and in one order, so that fixing one setting leaves the others alone.
    angles = np.radians(np.clip(rng.normal(0.0, [3.5, 3.0, 4.5]), [-10, -8, -10], [10, 8, 10]))
    center = rng.normal(0.0, [5.0, 8.0])
    tilt = rng.uniform(-25.0, 25.0) if rng.uniform() < 0.5 else 0.0
    pixel = rng.uniform(0.40, 0.52) if rng.uniform() < 0.8 else rng.uniform(0.36, 0.58)
    thickness = float(rng.choice([0.625, 1, 1.25, 2, 2.5, 3, 4, 4.5, 5, 6, 7, 8, 10], p=_THICKNESS))
    below = rng.choice([rng.uniform(-62, -45), rng.uniform(-85, -60), rng.uniform(-125, -85)], p=[0.45, 0.40, 0.15])
    above = rng.uniform(2.0, 14.0) if rng.uniform() < 0.9 else rng.uniform(-14.0, 0.0)
    sharp = rng.uniform() < 0.15
    psf, sharpening, noise = rng.uniform(0.45, 0.85), rng.uniform(0.4, 1.2), np.exp(rng.uniform(np.log(2), np.log(7)))
    offset, cupping = np.clip(rng.normal(0, 2.2), -5, 5), rng.uniform(0, 8)
    streak, padding, table = rng.uniform(0, 9), rng.uniform() < 0.25, rng.uniform() < 0.85
    rest = (rng.uniform(108.0, 128.0), rng.uniform(-75.0, 15.0), rng.uniform(0.6, 1.6))
    mixed, finer, boundary = rng.uniform() < 0.15, rng.choice([0.4, 0.5, 0.6]), rng.uniform(-22.0, 8.0)
    moves = int(rng.integers(1, 4)) if rng.uniform() < 0.12 else 0
    jerks = [(rng.uniform(), rng.normal(0.0, np.radians(2.5)), rng.normal(0.0, 1.6, 2)) for _ in range(3)]
    yaw_pitch_roll = angles if settings.rotation_deg is None else np.radians(settings.rotation_deg)
    rotation = _euler(*yaw_pitch_roll)
    tilt = tilt if settings.tilt_deg is None else settings.tilt_deg
    matrix = settings.matrix
    pixel = settings.pixel_mm or pixel * 512.0 / matrix
    middle = np.array([0.0, -10.0, 0.0]) * head.scale
    translation = np.array([center[0], center[1], 0.0]) - rotation @ middle * (1, 1, 0)
    if settings.centered:
        translation = -rotation @ middle * (1, 1, 0)
    # Scanned range along the table at the gantry's axis: the head's ends shear with the tilt.
    slope = -np.tan(np.radians(tilt))
    top = (80.0 * head.scale[2] + head.bone_mm + head.scalp_mm) + above
    low = below * head.scale[2]
    if bleed_bounds is not None:
        corners = np.stack(np.meshgrid(*zip(*bleed_bounds), indexing="ij"), -1).reshape(-1, 3)
        corners = corners @ rotation.T + translation
        heights = corners[:, 2] - slope * corners[:, 1]
        low, top = min(low, heights.min() - 4.0), max(top, heights.max() + 4.0)
    if settings.slices is None:
        thickness = settings.thickness_mm or thickness
        slices = int(np.ceil((top - low) / thickness)) + 1
    else:
        slices = settings.slices
        thickness = settings.thickness_mm or (top - low) / slices
    thicknesses = np.full(slices, thickness)
    if mixed and settings.slices is None and settings.thickness_mm is None and thickness >= 4.0:
        # Thin slices through the posterior fossa, thick ones above.
        fine, coarse = (int(np.ceil(length / t)) for length, t in (
            (boundary - low, finer * thickness), (top - boundary, thickness)
        ))  # fmt: skip
        thicknesses = np.repeat([finer * thickness, thickness], [max(fine, 2), max(coarse, 2)])
    edges = np.concatenate([[0.0], np.cumsum(thicknesses)])
    middles = 0.5 * (edges[1:] + edges[:-1])
    bottom = top - edges[-1] + middles[0]
    jerks = sorted((int(at * len(thicknesses)), turn, tuple(shift)) for at, turn, shift in jerks[:moves])
    return Acquisition(
        matrix, float(pixel), middles - middles[0], thicknesses, float(tilt), rotation, translation, float(bottom),
        "sharp" if sharp else "soft", psf * (0.7 if sharp else 1.0), sharpening if sharp else 0.0,
        noise * (1.6 if sharp else 1.0) if settings.noise_hu is None else settings.noise_hu,
        offset if settings.offset_hu is None else settings.offset_hu,
        cupping if settings.artifacts else 0.0, streak if settings.artifacts else 0.0, bool(padding),
        bool(table) and settings.table, rest, tuple(jerks) if settings.artifacts else (),
    )  # fmt: skip


_THICKNESS = np.array([0.01, 0.015, 0.015, 0.02, 0.05, 0.13, 0.10, 0.13, 0.36, 0.07, 0.04, 0.04, 0.02])


def scan(rng, head, hematoma, acquisition, progress):
    """Scan a head.

    Returns
    -------
    tuple
        HU int16 and coverage by hematoma uint8 (255: the whole voxel), both [slice, j, i] of the slices as scanned,
        and the volume of blood in the ventricles in mL.
    """
    a = acquisition
    factor = max(1, int(round(0.85 / a.pixel_mm)))
    size = -(-a.matrix // factor)
    pitch = a.pixel_mm * factor
    upsample = _resampling(a, size, factor)
    affine = a.ijk_to_ras()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    slices = len(a.offsets_mm)
    hu = np.empty((slices, a.matrix, a.matrix), np.int16)
    coverage = np.zeros(hu.shape, np.uint8)
    painter = _Painter(head, hematoma, a, size, pitch, factor)
    artifacts = _Artifacts(rng, head, a, affine)
    ventricular = 0.0
    for k, (offset, thickness) in enumerate(zip(a.offsets_mm, a.thickness_mm)):
        if progress is not None:
            progress(k / slices, "Simulating the scan")
        sub = int(np.clip(np.ceil(thickness / THIN_MM), 1, 5))
        total = np.zeros((size, size), np.float32)
        blood = np.zeros((size, size), np.float32)
        before, after = a.poses(k)
        for n in range(sub):
            origin = affine[:3, 3] + (0.0, 0.0, offset) + normal * thickness * ((n + 0.5) / sub - 0.5)
            pose = before if n < sub / 2 else after
            part, occupied, ventricle = painter(origin, thickness / sub, pose)
            total += part
            if occupied is not None:
                blood += occupied
            ventricular += ventricle * thickness / sub
        image = upsample[0] @ (total / sub) @ upsample[0].T
        if blood.any():
            coverage[k] = np.rint(255.0 * np.clip(upsample[1] @ (blood / sub) @ upsample[1].T, 0.0, 1.0))
        image = artifacts(image, k)
        hu[k] = np.clip(np.rint(image), -1024, 3071)
        if a.padding:
            hu[k][artifacts.outside] = PAD
    return hu, coverage, float(ventricular * pitch * pitch * np.cos(np.radians(a.tilt_deg)) / 1000.0)


def on_regular_grid(slices, acquisition):
    """Slices as scanned, interpolated to the regular grid that a reader of the series makes of them."""
    grid, is_regular = regular_offsets(acquisition.offsets_mm)
    return slices if is_regular else resample_slices(slices, acquisition.offsets_mm, grid)


def _resampling(a, size, factor):
    """Matrices from painted samples to pixels: with the kernel's point spread for HU, without for coverage."""
    nodes = interpolation_matrix(a.matrix, size + 3, factor)[:, 1 : size + 1]
    plain = nodes / nodes.sum(axis=1, keepdims=True)
    sigma = a.psf_mm / (a.pixel_mm * factor)
    blur = gaussian_filter1d(np.eye(size, dtype=np.float32), sigma, axis=0, mode="nearest")
    if a.sharpening:
        wide = gaussian_filter1d(np.eye(size, dtype=np.float32), 2.0 * sigma + 0.3, axis=0, mode="nearest")
        blur = blur + 0.35 * a.sharpening * (blur - wide)
    return (plain @ blur).astype(np.float32), plain.astype(np.float32)


class _Painter:
    """Paints infinitely thin slices of the head and table."""

    def __init__(self, head, hematoma, a, size, pitch, factor):
        self.head, self.hematoma, self.a, self.size, self.pitch = head, hematoma, a, size, pitch
        affine = a.ijk_to_ras()
        self.row, self.column = affine[:3, 0] * factor, affine[:3, 1] * factor
        self.nodes = size // COARSE + 4
        self.fine = interpolation_matrix(size, self.nodes, COARSE)
        self.table = None if not a.table else self._table()

    def _table(self):
        """HU of table and head rest in one slice (they run along the scan axis), and how much of air they replace."""
        half = 0.5 * self.size * self.pitch
        v = half - (np.arange(self.size, dtype=np.float32)[:, None] + 0.5) * self.pitch
        u = (np.arange(self.size, dtype=np.float32)[None, :] + 0.5) * self.pitch - half
        seat = self.a.translation[1] + 2.0
        radius, wings, wall = self.a.rest_mm
        distance = np.hypot(u, v - seat)
        shell = wall - np.abs(distance - radius)
        shell = np.minimum(shell, seat + wings - v)
        foam = np.minimum(radius - 1.0 - distance, seat + wings - 5.0 - v)
        board = 1.2 - np.abs(v - (seat - 0.0009 * -(u * u) - 128.0))
        hu = np.full((self.size, self.size), AIR, np.float32)
        for gap, value in ((foam, -930.0), (shell, 150.0), (board, 60.0)):
            hu += np.clip(gap / self.pitch + 0.5, 0.0, 1.0) * (value - hu)
        return hu

    def __call__(self, origin, depth, pose):
        """Paint the slice whose first sample lies at `origin` (table coordinates), `depth` mm from the next one.

        Returns
        -------
        tuple
            HU [rows, columns], coverage by hematoma or None, and the sum of coverage by blood in the ventricles.
        """
        hu = np.full((self.size, self.size), AIR, np.float32) if self.table is None else self.table.copy()
        node = (np.arange(self.nodes) - 1.0) * COARSE
        self.depth = depth
        inverse, translation = pose[0].T, pose[1]
        start = inverse @ (origin - translation)
        row, column = inverse @ self.row, inverse @ self.column
        points = [(start[n] + column[n] * node[:, None] + row[n] * node[None, :]).astype(np.float32) for n in range(3)]
        coarse = self.head.to_atlas(*points, mass_effect=False)
        vault = self.head.vault(*coarse)
        bone = self.head.bone_thickness(*coarse)
        surfaces = {"vault": vault, "bone": bone, "envelope": self.head.envelope(*coarse, vault, bone)}
        box = self._head_box(surfaces["envelope"])
        if box is None:
            return hu, None, 0.0
        left, right = self.fine[box[0]], np.ascontiguousarray(self.fine[box[1]].T)

        def refine(values):
            return left @ np.ascontiguousarray(values) @ right

        view = np.ascontiguousarray(hu[box])
        closed = self.head.close(vault, *coarse)
        surfaces["tissue"] = self.head.muscle_web(*coarse)
        surfaces = {name: refine(values) for name, values in surfaces.items()}
        canvas = Canvas(*(refine(c) for c in coarse), view, self.pitch, self.depth)
        cavity = surfaces["cavity"] = self.head.close(surfaces["vault"], canvas.x, canvas.y, canvas.z)
        paint_outside(canvas, self.head, surfaces)
        occupied, ventricle = None, 0.0
        inside = canvas.cover(cavity, flat_edge(canvas))
        if inside.any():
            moved = self._moved(points, coarse, closed)
            web = refine(sulci(self.head, *moved))
            brain = Canvas(*(refine(c) for c in moved), view, self.pitch, self.depth)
            content = paint_brain(brain, self.head, surfaces["vault"], cavity, inside, web)
            if self.hematoma is not None:
                rigid = [refine(p) for p in points]
                occupied, ventricle = self._bleed(rigid, view, cavity, inside, content, box)
        hu[box] = view
        return hu, occupied, ventricle

    def _head_box(self, envelope):
        rows, columns = np.nonzero(envelope > -6.0)
        if not len(rows):
            return None
        bounds = []
        for index in (rows, columns):
            low, high = (index.min() - 2) * COARSE, index.max() * COARSE
            bounds.append(slice(max(0, low), min(self.size, high + 1)))
        return tuple(bounds) if all(b.stop - b.start > 2 for b in bounds) else None

    def _moved(self, points, coarse, cavity):
        if self.head.mass_effect is None:
            return coarse
        shift = self.head.mass_effect.displacement(*points, cavity)
        return [c - d for c, d in zip(coarse, shift)]

    def _bleed(self, rigid, view, cavity, inside, content, box):
        """Edema, blood in the ventricles and the hematoma itself."""
        h = self.hematoma
        low, high = h.bounds()
        occupied = None
        near = Canvas(*rigid, view, self.pitch, self.depth).box(low - h.edema_mm - 3.0, high + h.edema_mm + 3.0)
        if near is not None:
            x, y, z = (c[near] for c in rigid)
            field = h.field(x, y, z, cavity[near])
            hu = view[near]
            wobble = 1.0 + 0.4 * h.swirl(x, y, z)
            edema = np.clip((field + h.edema_mm * wobble) / 2.5 + 0.5, 0.0, 1.0)
            hu += edema * content["tissue"][near] * inside[near] * np.minimum(h.edema_hu - hu, 0.0)
        ventricle = 0.0
        if h.ruptured:
            ventricle = self._ventricular_blood(rigid, view, content["ventricles"])
        if near is not None:
            cover = np.clip(field / self.pitch + 0.5, 0.0, 1.0)
            if cover.any():
                blood = h.density(field, x, y, z, y - h.center[1])
                hu += cover * (blood - hu)
                occupied = np.zeros((self.size, self.size), np.float32)
                inner = (
                    slice(box[0].start + near[0].start, box[0].start + near[0].stop),
                    slice(box[1].start + near[1].start, box[1].start + near[1].stop),
                )
                occupied[inner] = cover
        return occupied, ventricle

    def _ventricular_blood(self, rigid, view, ventricles):
        """Blood near the bleed and, as in a lying patient, at the back of the ventricles."""
        h = self.hematoma
        near = ventricles > -1.0
        if not near.any():
            return 0.0
        x, y, z = rigid
        apart = np.sqrt((x - h.center[0]) ** 2 + (y - h.center[1]) ** 2 + (z - h.center[2]) ** 2) - h.radius
        reach = 75.0 * h.ventricle_fill**1.5 + 6.0 - apart
        layer = -62.0 + 45.0 * h.ventricle_fill - y
        filled = np.minimum(ventricles, np.maximum(reach * 0.3, layer))
        cover = np.clip(filled / self.pitch + 0.5, 0.0, 1.0) * near
        view += cover * (h.ventricle_hu - view)
        return float(cover.sum(dtype=np.float64))


class _Artifacts:
    """Noise with the texture of the kernel, cupping, streaks between the petrous bones and the HU offset."""

    def __init__(self, rng, head, a, affine):
        self.rng, self.a = rng, a
        f = np.hypot(fft.fftfreq(a.matrix)[:, None], fft.rfftfreq(a.matrix)[None, :]).astype(np.float32) / a.pixel_mm
        peak = 0.62 if a.kernel == "sharp" else 0.33
        shape = np.sqrt(f + 0.04) * np.exp(-0.5 * (f / peak) ** 2)
        self.noise_filter = shape.astype(np.float32)
        half = 0.5 * (a.matrix - 1) * a.pixel_mm
        axis = np.arange(a.matrix, dtype=np.float32) * a.pixel_mm - half
        self.u, self.v = axis[None, :] + a.translation[0], axis[:, None] + a.translation[1]
        radius = np.hypot(axis[None, :], axis[:, None])
        self.outside = radius > half + 0.5 * a.pixel_mm
        ellipse = np.hypot(self.u / 85.0, self.v / 105.0)
        self.noise_map = (0.55 + 0.55 * np.exp(-(ellipse**2) * 1.3)).astype(np.float32)
        self.cup = (a.cupping_hu * (np.clip(ellipse, 0, 1) ** 4 - 0.3) * (ellipse < 1.1)).astype(np.float32)
        petrous = a.rotation @ head.from_atlas((0.0, -28.0, -38.0)) + a.translation
        slope = -np.tan(np.radians(a.tilt_deg))
        slices = affine[2, 3] + a.offsets_mm + slope * (petrous[1] - affine[1, 3])
        self.petrous_weight = np.exp(-(((slices - petrous[2]) / 11.0) ** 2))
        low = slices < petrous[2] + 14.0
        self.noise_gain = np.where(low, 1.25, 1.0) * rng.uniform(0.92, 1.08, len(slices))
        band = np.exp(-(((self.v + petrous[1]) / 7.0) ** 2) - (self.u / 30.0) ** 2)
        self.band = (-a.streak_hu * band).astype(np.float32)
        self.streaks = []
        for side in (-1, 1):
            angle = np.arctan2(self.v + petrous[1], self.u + side * 38.0)
            distance = np.hypot(self.v + petrous[1], self.u + side * 38.0)
            wave = sum(np.cos(n * angle + rng.uniform(0, 6.28)) for n in (7, 13, 22)) / 1.7
            self.streaks.append(0.35 * a.streak_hu * wave * np.exp(-distance / 45.0))
        self.streaks = (self.streaks[0] + self.streaks[1]).astype(np.float32)

    def __call__(self, image, k):
        soft = image > -300.0
        weight = np.float32(self.petrous_weight[k])
        image = image + soft * (self.cup + np.float32(self.a.offset_hu) + weight * (self.band + self.streaks))
        if self.a.noise_hu:
            white = self.rng.standard_normal(image.shape, dtype=np.float32)
            noise = fft.irfft2(fft.rfft2(white) * self.noise_filter, s=image.shape)
            noise *= np.float32(self.a.noise_hu * self.noise_gain[k] / max(float(noise.std()), 1e-6))
            image = image + noise * self.noise_map * np.float32(1.15)
        return image


def _euler(pitch, roll, yaw):
    """Rotation from pitch (about x), roll (about y) and yaw (about z), radians."""
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll), np.cos(yaw), np.sin(yaw)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx
