"""Paint skin, muscle, skull, skull base, face and neck on slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .fields import smoothstep

if TYPE_CHECKING:
    from .anatomy import Head
    from .fields import Canvas

AIR = -1000.0
MUSCLE_BELOW_MM = -5.0


def paint_outside(canvas: Canvas, head: Head, surfaces: Mapping[str, np.ndarray]) -> None:
    """Paint everything except the cranial cavity: soft tissue, bone and air.

    Parameters
    ----------
    canvas : Canvas
    head : Head
    surfaces : dict of ndarray
        Distances in mm: "vault" and "cavity" (inner skull, extended downward and closed by the base), "envelope"
        (skin), "bone" (thickness of the vault) and, in slices that reach below `MUSCLE_BELOW_MM`, "tissue" (network of
        fat sheets between the muscles).
    """
    x, y, z = canvas.x, canvas.y, canvas.z
    vault, cavity, envelope, bone = (surfaces[name] for name in ("vault", "cavity", "envelope", "bone"))
    low = "tissue" in surfaces
    edge = flat_edge(z, canvas.pitch, canvas.depth)
    canvas.paint(envelope, 45.0, edge=edge)
    canvas.paint(envelope - 1.8, head.fat_hu)
    # Temporal muscle lateral to the skull, and the muscles below it.
    outer = vault + bone
    temporal = smoothstep(np.abs(x), 46.0, 58.0) * smoothstep(z, 42.0, 12.0) * smoothstep(y, -30.0, -5.0)
    temporal = temporal * smoothstep(y, 55.0, 38.0)
    canvas.paint(np.minimum(outer + 5.0 * temporal, envelope - 2.5), head.muscle_hu)
    if low:
        plane = head.fat_plane_mm * (0.6 + 0.5 * np.sin(0.05 * (x + y + z)))
        deep = np.minimum(envelope - 4.5 - 3.0 * smoothstep(y, 20.0, 50.0), -6.0 - z)
        canvas.paint(np.minimum(deep, np.abs(surfaces["tissue"]) - plane), head.muscle_hu)
        _paint_face(canvas, head)
    _paint_vault(canvas, head, vault, cavity, bone, edge)
    if low:
        _paint_base(canvas, head, cavity)
        _paint_neck(canvas, head)


def flat_edge(z: np.ndarray, pitch: float, depth: float) -> np.ndarray:
    """Width of edges in mm: wider at the vertex, where the skull is parallel to the slices."""
    flat = np.clip((z - 30.0) * np.float32(1.0 / 50.0), 0.0, 1.0)
    return pitch + max(depth - pitch, 0.0) * flat


def _paint_vault(canvas, head, vault, cavity, bone, edge):
    """Skull: outer and inner table with diploë between them; the base is a thinner shell."""
    x, y, z = canvas.x, canvas.y, canvas.z
    is_base = smoothstep(vault - cavity, 2.0, 7.0)
    thickness = bone + is_base * (3.4 - bone)
    shell = np.minimum(-cavity, cavity + thickness)
    # Foramen magnum: a round hole in the shell.
    hole = np.sqrt(x * x + ((y + 41.0) * 0.85) ** 2) - 15.5
    shell = np.minimum(shell, np.where(z < -50.0, hole, 50.0))
    base_hu = head.cortical_hu * (1.0 - 0.40 * is_base)
    canvas.paint(shell, base_hu, edge=edge)
    table = 1.2 + 0.12 * thickness + 0.35 * np.sin(0.11 * x + 0.07 * y) * np.sin(0.09 * z + 0.05 * y)
    marrow = np.minimum(shell - table, thickness - 3.4 - 6.0 * is_base)
    canvas.paint(marrow, head.diploe_hu * (1.0 + 0.15 * np.sin(x * 0.9) * np.sin(y * 0.8 + z)), edge=edge)
    for opening in head.openings:
        opening.paint(canvas, shell)
    if head.frontal_sinus > 0.25:
        index, distance = canvas.ellipsoid((4.0, 73.0, -14.0), (19 * head.frontal_sinus, 7.5, 14 * head.frontal_sinus))
        if index is not None:
            gap = np.minimum(distance, -cavity[index] - 1.8)
            gap = np.minimum(gap, np.abs(x[index] - 1.0) - 0.7)
            canvas.paint(gap + 1.5, head.cortical_hu, index)
            canvas.paint(gap, AIR, index)


def _paint_base(canvas, head, cavity):
    """Petrous bones, mastoids, sphenoid, clivus, sphenoid sinus and ear canals."""
    x, y, z = canvas.x, canvas.y, canvas.z

    def outside(index, distance):
        return np.minimum(distance, -cavity[index] + 1.0)

    index, distance = canvas.capsule((0, 4, -37), (0, -27, -60), 10.0, 7.0)
    if index is not None:
        canvas.paint(outside(index, distance), head.cortical_hu * 0.75, index)
        canvas.paint(outside(index, distance) - 2.0, head.diploe_hu * 0.75, index)
    for side in (-1, 1):
        index, distance = canvas.capsule((side * 15, -20, -42), (side * 54, -36, -40), 9.0, 12.5)
        if index is not None:
            canvas.paint(outside(index, distance), head.cortical_hu * 1.05, index)
            cells = np.abs(head.cells.nearest(x[index] * 1.1, y[index], z[index]))
            lateral = smoothstep(np.abs(x[index]), 26.0, 42.0) * head.mastoid_air
            canvas.paint(np.minimum(outside(index, distance) - 2.5, cells - 1.5 + 1.0 * lateral - 0.6), -500.0, index)
        index, distance = canvas.ellipsoid((side * 57, -45, -50), (13, 17, 19))
        if index is not None:
            solid = outside(index, distance)
            canvas.paint(solid, head.cortical_hu * 0.85, index)
            cells = np.abs(head.cells.nearest(x[index], y[index], z[index]))
            inner = np.minimum(solid - 2.2, cells - 0.25)
            canvas.paint(inner, -850.0 * head.mastoid_air + 150.0 * (1.0 - head.mastoid_air), index)
        for start, end, radius in (((44, -27, -42), (80, -30, -43), 3.0), ((20, -24, -37), (30, -26, -37), 2.0)):
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), radius)
            if index is not None:
                canvas.paint(distance, AIR * 0.95 if radius > 2.5 else 60.0, index)
        # Greater wing of the sphenoid and lateral orbital wall.
        index, distance = canvas.capsule((side * 22, 10, -42), (side * 52, 26, -24), 4.0, 3.0)
        if index is not None:
            canvas.paint(outside(index, distance), head.cortical_hu * 0.8, index)
    scale = head.sinus_scale[0]
    index, distance = canvas.ellipsoid((1.5, 12, -38), (14 * scale, 13 * scale, 10 * scale))
    if index is not None:
        gap = np.minimum(distance, -cavity[index] - 1.5)
        canvas.paint(gap + 1.5, head.cortical_hu * 0.7, index)
        septum = np.abs(x[index] - 2.0 - 0.15 * y[index]) - 0.6
        canvas.paint(np.minimum(gap, septum), 25.0 if head.sinus_fluid else AIR, index)


def _paint_face(canvas, head):
    """Nose, sinuses, orbits, cheekbones, jaws and teeth."""
    x, y, z = canvas.x, canvas.y, canvas.z
    thin, thick = head.cortical_hu * 0.55, head.cortical_hu * 0.8
    # Bony midface, from which the cavities are cut out.
    for center, radii in (((0, 36, -58), (40, 30, 30)), ((0, 48, -24), (40, 22, 12))):
        index, distance = canvas.ellipsoid(center, radii)
        if index is not None:
            canvas.paint(np.minimum(distance, 2.2 - distance), thick, index)
    index, distance = canvas.ellipsoid((0, 38, -60), (14.5, 42, 28))
    if index is not None:
        web = np.abs(head.cells.nearest(x[index] * 0.55, y[index] * 0.35, z[index] * 0.6))
        canvas.paint(distance + 1.2, thin, index)
        canvas.paint(distance, AIR, index)
        turbinate = np.minimum(distance, 1.2 - web)
        canvas.paint(np.minimum(turbinate, np.abs(x[index]) - 2.5), 40.0, index)
        canvas.paint(np.minimum(distance, 1.0 - np.abs(x[index] - 0.05 * y[index] + 2.0)), 180.0, index)
    index, distance = canvas.ellipsoid((0, 38, -36), (13, 27, 13))
    if index is not None:
        cells = np.abs(head.cells.nearest(x[index] * 0.9, y[index] * 0.8, z[index] * 0.8))
        canvas.paint(distance + 1.0, thin, index)
        canvas.paint(np.minimum(distance, cells - 0.55), AIR, index)
    for side in (-1, 1):
        scale = head.sinus_scale[1 if side < 0 else 2]
        index, distance = canvas.ellipsoid((side * 29, 42, -62), (14 * scale, 17 * scale, 17 * scale))
        if index is not None:
            canvas.paint(distance + 1.6, thick, index)
            canvas.paint(distance, AIR, index)
            if head.sinus_fluid:
                canvas.paint(np.minimum(distance, 36.0 - y[index]), 22.0, index)
        _paint_orbit(canvas, head, side, thick)
        arch = (
            ((34, 62, -50), (56, 42, -50), 5.0),
            ((56, 42, -50), (66, 5, -47), 3.2),
            ((66, 5, -47), (60, -22, -44), 3.2),
        )
        for start, end, radius in arch:
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), radius)
            if index is not None:
                canvas.paint(distance, thick, index)
                canvas.paint(distance - 1.5, head.diploe_hu * 0.5, index)
        drop = head.jaw_drop
        jaw = (
            ((51, -8, -49), (51, -4, -58), 5.0, 4.5),
            ((51, -4, -58), (46, 2, -100 - drop), 5.0, 6.0),
            ((46, 2, -100 - drop), (14, 56, -112 - drop), 6.0, 7.5),
            ((14, 56, -112 - drop), (-1, 60, -112 - drop), 7.5, 7.5),
        )
        for start, end, *radii in jaw:
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), *radii)
            if index is not None:
                canvas.paint(distance, thick * 1.1, index)
                canvas.paint(distance - 2.2, 250.0, index)
        index, distance = canvas.ellipsoid((side * 20, 30, -86), (10, 26, 6))
        if index is not None:
            canvas.paint(distance, thick * 0.7, index)
    for number, angle in enumerate(np.linspace(-1.25, 1.25, 16)):
        if head.teeth[number]:
            base = (27.0 * np.sin(angle), 26.0 + 34.0 * np.cos(angle), -90.0)
            metal = head.metal_teeth[number]
            for low, high in ((-84, -95), (-99 - head.jaw_drop, -109 - head.jaw_drop)):
                index, distance = canvas.capsule((base[0], base[1], low), (base[0], base[1], high), 3.4)
                if index is not None:
                    canvas.paint(distance, 2900.0 if metal else 1700.0, index)


def _paint_orbit(canvas, head, side, bone_hu):
    """Orbit with its walls, fat, eyeball with lens, optic nerve and the straight muscles."""
    x, y = canvas.x, canvas.y
    index, distance = canvas.capsule((side * 17, 20, -32), (side * 34, 56, -35), 6.0, 18.0)
    if index is None:
        return
    front = 66.0 - 0.35 * (np.abs(x[index]) - 30.0) - y[index]
    canvas.paint(np.minimum(distance + 2.0, front - 6.0), bone_hu, index)
    canvas.paint(np.minimum(distance, front + 12.0), head.fat_hu, index)
    for dx, dz in ((12, 0), (-10, 0), (0, 11), (0, -11)):
        part, gap = canvas.capsule((side * 18, 24, -32), (side * (35 + dx), 52, -35 + dz), 1.2, 2.2)
        if part is not None:
            canvas.paint(gap, head.muscle_hu, part)
    part, gap = canvas.capsule((side * 17, 20, -32), (side * 33, 52, -35), 2.0)
    if part is not None:
        canvas.paint(gap, 35.0, part)
    part, gap = canvas.ellipsoid((side * 34, 63, -36), (12.0, 12.0, 12.0))
    if part is not None:
        canvas.paint(gap, 55.0, part)
        canvas.paint(gap - 1.3, 12.0, part)
    part, gap = canvas.ellipsoid((side * 34, 71, -36), (4.5, 2.0, 4.5))
    if part is not None:
        canvas.paint(gap, 75.0, part)


def _paint_neck(canvas, head):
    """Upper cervical spine with its canal, occipital condyles, pharynx and larger vessels."""
    x, y, z = canvas.x, canvas.y, canvas.z
    if z.min() > -48.0:
        return
    for side in (-1, 1):
        pieces = (
            ((19, -30, -66), (24, -34, -74), 7.5, 8.5),
            ((24, -34, -79), (25, -35, -88), 8.5, 8.0),
            ((24, -34, -80), (38, -38, -82), 6.0, 4.0),
            ((24, -36, -95), (23, -38, -160), 7.0, 7.0),
            ((50, -5, -62), (40, 0, -80), 1.8, 1.2),
        )
        for start, end, *radii in pieces:
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), *radii)
            if index is not None:
                canvas.paint(distance, head.cortical_hu * 0.75, index)
                canvas.paint(distance - 2.0, 380.0, index)
        vessel_and_gland = (((27, -12, -60), (30, -14, -160), 4.0, 45.0), ((40, 4, -75), (46, 0, -110), 9.0, 5.0))
        for start, end, radius, hu in vessel_and_gland:
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), radius)
            if index is not None:
                canvas.paint(distance, hu, index)
    for start, end, radius in (((0, -22, -70), (0, -22, -95), 5.5), ((0, -22, -96), (0, -20, -170), 10.0)):
        index, distance = canvas.capsule(start, end, radius)
        if index is not None:
            canvas.paint(distance, head.cortical_hu * 0.8, index)
            canvas.paint(distance - 1.8, 350.0, index)
    # Arch of the atlas and the laminae: rings limited in height.
    index = canvas.box((-32, -80, -165), (32, -10, -72))
    if index is not None:
        ring = 3.0 - np.abs(np.sqrt(x[index] ** 2 + ((y[index] + 41.0) * 0.95) ** 2) - 21.0)
        level = np.abs(((z[index] + 82.0 + 9.0) % 18.0) - 9.0)
        canvas.paint(np.minimum(ring, 5.5 - level), head.cortical_hu * 0.75, index)
    index, distance = canvas.capsule((0, -41, -60), (0, -46, -170), 13.0, 9.5)
    if index is not None:
        canvas.paint(distance, 12.0, index)
        canvas.paint(distance - 1.0, head.csf_hu + 4.0, index)
    index, distance = canvas.capsule((0, -41, -52), (0, -46, -170), 7.5, 5.8)
    if index is not None:
        canvas.paint(distance, 34.0, index)
    for start, end, radius in (((0, 8, -62), (0, 0, -100), 10.0), ((0, 0, -100), (0, 4, -170), 8.0)):
        index, distance = canvas.capsule(start, end, radius)
        if index is not None:
            canvas.paint(distance, AIR, index)
