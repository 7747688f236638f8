"""Paint brain, meninges, ventricles, vessels and calcifications on slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .fields import smoothstep

if TYPE_CHECKING:
    from .anatomy import Head
    from .fields import Canvas

# Lateral ventricle of one side as round cones: start, end, radii (atlas mm).
LATERAL_VENTRICLE = (
    ((13.5, 33, 3), (8, 14, 13), 2.6, 4.2),
    ((8, 14, 13), (9, -2, 20), 4.2, 4.6),
    ((9, -2, 20), (15, -28, 22), 4.6, 5.0),
    ((15, -28, 22), (25, -44, 12), 5.0, 7.0),
    ((25, -44, 12), (25, -72, 6), 6.0, 2.2),
    ((25, -44, 12), (38, -30, -10), 4.6, 2.2),
    ((38, -30, -10), (32, -10, -19), 2.2, 2.6),
)
DEEP_GRAY = (
    ((12.5, 13, 7), (5.0, 8.0, 9.0), 1.0),
    ((15, -4, 20), (3.0, 14.0, 4.0), 0.8),
    ((26, 3, 1), (5.5, 15.0, 9.5), 1.0),
    ((19.5, -3, 0), (4.5, 8.5, 6.5), 0.6),
    ((11.5, -18, 7), (9.0, 14.0, 8.5), 0.85),
)


def ventricle_distance(canvas: Canvas, head: Head) -> np.ndarray:
    """Distance to the ventricles in mm for the whole slice; -20 far from them."""
    distance = np.full(canvas.x.shape, -20.0, np.float32)

    def merge(index, other):
        if index is not None:
            np.maximum(distance[index], other, out=distance[index])

    for side in (-1, 1):
        size = head.ventricle * head.ventricle_asymmetry[(side + 1) // 2]
        # Larger than the ventricle, to include the rim of white matter around it.
        for start, end, *radii in LATERAL_VENTRICLE:
            a, b = (side * start[0], *start[1:]), (side * end[0], *end[1:])
            index, gap = canvas.capsule(a, b, radii[0] * size + 9.0, radii[1] * size + 9.0)
            merge(index, None if gap is None else gap - 9.0)
    index, gap = canvas.ellipsoid((0, -11, 2), (1.2 + 2.2 * (head.ventricle - 0.7), 13, 11))
    merge(index, gap)
    index, gap = canvas.ellipsoid((0, -46, -31), (5.5 + 2 * head.ventricle, 4.5 + 1.5 * head.ventricle, 12))
    merge(index, gap)
    return distance


def paint_brain(
    canvas: Canvas,
    head: Head,
    vault: np.ndarray,
    cavity: np.ndarray,
    inside: np.ndarray,
    web: np.ndarray,
    mottle: np.ndarray,
) -> dict[str, np.ndarray]:
    """Paint the cranial cavity.

    Parameters
    ----------
    canvas : Canvas
        Its coordinates include the mass effect.
    head : Head
    vault, cavity : ndarray
        Distances to the inner skull, mm, without mass effect.
    inside : ndarray
        Fraction of each sample inside the cavity.
    web : ndarray
        Signed distance to the sulci's sheets, mm.
    mottle : ndarray
        Slow change of density, HU.

    Returns
    -------
    dict
        "hu" of the cavity's contents, "ventricles" (distance) and "tissue" (0 in CSF, 1 in brain).
    """
    outer = canvas.hu
    canvas.hu = np.full_like(outer, head.csf_hu)
    x, y, z = canvas.x, canvas.y, canvas.z
    side = np.abs(x)
    tentorium = z - head.tentorium(x, y)
    behind = smoothstep(y, -22.0 - 0.5 * np.clip(side - 12.0, 0.0, None), -28.0 - 0.5 * np.clip(side - 12.0, 0.0, None))
    # With age the space over the frontal lobes widens first.
    space = head.subarachnoid_mm + head.frontal_space_mm * smoothstep(y, -10.0, 45.0) * smoothstep(z, -20.0, 5.0)
    depth = cavity - space
    web = np.abs(web)
    _paint_cerebrum(canvas, head, depth, web, mottle, np.where(behind > 0.5, tentorium - 1.0, 30.0))
    below = np.minimum(np.minimum(-tentorium - 1.5, depth), (behind - 0.5) * 8.0)
    _paint_cerebellum(canvas, head, below)
    tissue = smoothstep(canvas.hu, 12.0, 26.0)
    _paint_fissures(canvas, head)
    _paint_deep(canvas, head)
    ventricles = ventricle_distance(canvas, head)
    rim = np.clip(1.0 + ventricles * np.float32(1.0 / head.leukoaraiosis_mm), 0.0, 1.0) ** 2
    white = 1.0 - 0.85 * smoothstep(canvas.hu, head.white_hu + 1.0, head.gray_hu - 1.0)
    canvas.hu -= rim * tissue * white * np.float32(head.leukoaraiosis_hu)
    canvas.hu += np.float32(head.mottle_hu) * mottle
    canvas.paint(np.minimum(ventricles, depth - 4.0), head.csf_hu)
    _paint_brainstem(canvas, head, depth)
    for lesion in head.lesions:
        lesion.paint(canvas, depth, ventricles)
    for mimic in head.mimics:
        mimic.paint(canvas, head, depth, cavity, ventricles)
    tissue = smoothstep(canvas.hu, 11.0, 24.0)
    _paint_meninges(canvas, head, vault, cavity, tentorium, behind)
    _paint_calcifications_and_mimics(canvas, head)
    content = canvas.hu
    canvas.hu = outer
    canvas.hu += inside * (content - outer)
    return {"ventricles": ventricles, "tissue": tissue}


def sulci(head: Head, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Signed distance to the nearest sulcus: a web of sheets that run inward from the surface, mm."""
    u, v, w = x, y + 18.0, z - 8.0
    radius = np.sqrt(u * u + v * v + w * w) + 1.0
    pull = 52.0 / radius + 0.22
    o = head.offsets[1]
    return head.sulci(u * pull + o[0], v * pull + o[1], w * pull + o[2]) / pull


def _paint_cerebrum(canvas, head, depth, web, mottle, above):
    """White matter, cortex along the surface and the sulci, and the sulci, of varying depth."""
    cerebrum = np.minimum(depth, above)
    canvas.paint(cerebrum, head.white_hu)
    reach = 13.0 + np.clip(4.5 * mottle, -8.0, 8.0)
    shallow = smoothstep(depth - reach, 5.0, -1.0)
    ribbon = np.maximum(3.0 - depth, (3.3 - web) * shallow - (1.0 - shallow) * 4.0)
    canvas.paint(np.minimum(cerebrum, ribbon), head.gray_hu, edge=canvas.pitch + 1.0)
    width = head.sulcus_mm * (1.15 - depth / (reach + 2.0))
    opening = np.minimum(np.minimum(width - web, reach - depth), depth + 3.0)
    canvas.paint(np.minimum(opening, above), head.csf_hu, edge=canvas.pitch + 0.5)


def _paint_cerebellum(canvas, head, below):
    if below.max() < -1.0:
        return
    x, y, z = canvas.x, canvas.y, canvas.z
    folia = np.sin(2.1 * (z + 0.25 * y + 0.004 * x * x)) * np.clip(1.3 - below * 0.09, 0.0, 1.0)
    core = smoothstep(below, 12.0, 20.0)
    hu = head.gray_hu + head.posterior_fossa_hu - 1.5 - core * 4.0
    canvas.paint(below, hu - (1.5 + 2.5 * head.atrophy) * np.clip(folia, 0.0, 1.0))
    index, gap = canvas.ellipsoid((0, -72, -48), (2.5, 14.0, 15.0))
    if index is not None:
        canvas.paint(np.minimum(gap, below[index] + 5.0), head.csf_hu + 4.0, index, edge=4.0)
    index, gap = canvas.ellipsoid((0, -62, -62), (12.0, 13.0, 5.0 + 3.0 * head.atrophy))
    if index is not None:
        canvas.paint(gap, head.csf_hu, index, edge=2.0)


def _paint_fissures(canvas, head):
    """Sylvian fissures with the insular cortex, interhemispheric fissure and basal cisterns."""
    wide = head.fissure_mm
    x, y, z = canvas.x, canvas.y, canvas.z
    for side in (-1, 1):
        index = canvas.box(*_corners(side, (28, -30, -16), (66, 26, 24)))
        if index is not None:
            ax, yy, zz = np.abs(x[index]), y[index], z[index]
            fold = 1.1 * np.sin(0.21 * yy + 0.2 * zz + side) + 0.8 * np.sin(0.31 * zz - 0.47 * yy)
            thick = wide * (0.65 + 0.35 * np.sin(0.13 * yy + 0.23 * zz + 2.0 * side) + 0.3 * np.sin(0.4 * yy + zz))
            sheet = thick - np.abs(ax - 38.0 + 0.009 * (yy + 2.0) ** 2 + fold)
            sheet = np.minimum(sheet, np.minimum(22.0 - np.abs(yy + 2.0), 15.0 - np.abs(zz - 3.0)))
            canvas.paint(np.minimum(sheet + 3.0, 60.0), head.gray_hu, index, edge=2.5)
            slope = zz - 2.0 + 0.65 * (yy + 5.0)
            stem = np.minimum(1.1 * thick - np.abs(slope + 2.0 * fold) * 0.8, np.minimum(ax - 36.0, 25.0 - np.abs(yy)))
            canvas.paint(np.maximum(sheet, stem), head.csf_hu, index)
    gap = 0.5 + 0.5 * head.fissure_mm
    index = canvas.box((-6, -110, -30), (6, 80, 90))
    if index is not None:
        ax, yy, zz = np.abs(x[index]), y[index], z[index]
        # The corpus callosum connects the hemispheres.
        bridge = 1.0 - np.sqrt(((yy + 5.0) / 40.0) ** 2 + ((zz - 4.0) / 25.0) ** 2)
        ragged = gap * (1.0 + 0.25 * np.sin(yy * 0.21 + zz * 0.17) + 0.25 * np.sin(yy * 0.47 - zz * 0.31 + 1.0))
        canvas.paint(np.minimum(ragged - ax, -bridge * 25.0), head.csf_hu, index)
        canvas.paint(np.minimum(np.minimum(4.0 - ax, ax - ragged), -bridge * 25.0), head.gray_hu, index, edge=2.0)
    grow = head.cistern
    for center, radii in (
        ((0, 0, -16), (13, 10, 9)),
        ((0, -34, -2), (14, 7, 7)),
        ((0, -12, -28), (11, 6, 16)),
        ((0, -30, -58), (13, 16, 10)),
        ((13, -6, -18), (14, 3, 4)),
        ((-13, -6, -18), (14, 3, 4)),
    ):
        index, distance = canvas.ellipsoid(center, np.array(radii) * grow)
        if index is not None:
            canvas.paint(distance, head.csf_hu, index, edge=2.0)


def _corners(side, low, high):
    """Corners, on the given side, of a box that is defined on the right side."""
    xs = sorted((side * low[0], side * high[0]))
    return (xs[0], *low[1:]), (xs[1], *high[1:])


def _paint_deep(canvas, head):
    """Internal capsules, darker than other white matter, and the basal ganglia and thalami next to them."""
    for side in (-1, 1):
        for start, end in (((19, 14, 8), (17, -2, 6)), ((17, -2, 6), (25, -20, 8))):
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), 6.0)
            if index is not None:
                canvas.paint(distance, head.white_hu - head.capsule_hu, index, edge=4.0)
        for center, radii, strength in DEEP_GRAY:
            index, distance = canvas.ellipsoid((side * center[0], *center[1:]), radii)
            if index is not None:
                value = head.white_hu + strength * (head.gray_hu + head.deep_gray_hu - head.white_hu)
                canvas.paint(distance, value, index, edge=2.0)


def _paint_brainstem(canvas, head, depth):
    """Ambient cistern, midbrain, pons with its peduncles, medulla, and the basilar and middle cerebral arteries."""
    for start, end, r1, r2 in (((0, -26, -4), (0, -27, -20), 17.0, 16.0),):
        index, distance = canvas.capsule(start, end, r1, r2)
        if index is not None:
            around = np.arctan2(canvas.x[index], canvas.y[index] + 24.0)
            wave = np.sin(3.0 * around) * np.sin(5.0 * around + 0.2 * canvas.z[index])
            width = (1.6 + 1.2 * head.atrophy) * (1.0 + 0.5 * wave)
            ring = np.minimum(distance, width - distance)
            canvas.paint(np.minimum(ring, -14.0 - canvas.y[index]), head.csf_hu + 4.0, index, edge=2.0)
    stem = head.white_hu + 2.5
    for side in (-1, 1):
        for start, end, r1, r2 in (
            ((8, -18, -6), (5, -22, -20), 6.5, 6.5),
            ((5, -25, -22), (5, -27, -38), 10.0, 10.0),
            ((10, -30, -30), (22, -48, -34), 7.0, 6.0),
        ):
            index, distance = canvas.capsule((side * start[0], *start[1:]), (side * end[0], *end[1:]), r1, r2)
            if index is not None:
                canvas.paint(np.minimum(distance, depth[index]), stem, index)
        index, distance = canvas.capsule((side * 6, 2, -18), (side * 36, 2, -10), 1.5, 1.2)
        if index is not None:
            canvas.paint(distance, head.artery_hu, index)
    for start, end, r1, r2 in (((0, -28, -6), (0, -28, -20), 8.0, 9.0), ((0, -30, -38), (0, -41, -62), 9.5, 6.5)):
        index, distance = canvas.capsule(start, end, r1, r2)
        if index is not None:
            canvas.paint(np.minimum(distance, depth[index] + 2.0), stem, index)
    index, distance = canvas.ellipsoid((0, -46, -31), (4.0 + 2 * head.ventricle, 4.0 + 1.5 * head.ventricle, 12))
    if index is not None:
        canvas.paint(distance, head.csf_hu, index)
    index, distance = canvas.capsule((1, -13, -22), (-1, -17, -44), 2.0, 1.8)
    if index is not None:
        canvas.paint(distance, head.artery_hu + 4.0, index)


def _paint_meninges(canvas, head, vault, cavity, tentorium, behind):
    """Falx, tentorium and the venous sinuses."""
    x, y, z = canvas.x, canvas.y, canvas.z
    index = canvas.box((-9, -115, -40), (9, 85, 95))
    if index is not None:
        ax, yy, zz = np.abs(x[index]), y[index], z[index]
        free = np.sqrt(((yy + 8.0) / 62.0) ** 2 + ((zz - 2.0) / 42.0) ** 2) - 1.0
        sheet = np.minimum(np.minimum(head.falx_mm * 0.5 - ax, free * 30.0), tentorium[index] + 2.0)
        canvas.paint(sheet, head.falx_hu, index)
        sinus = np.minimum(4.6 - 0.55 * vault[index] - ax, np.minimum(vault[index] + 0.5, 6.5 - vault[index]))
        sinus = np.minimum(sinus, np.where(yy > -60.0, zz - 12.0 - 0.2 * yy, zz + 16.0))
        canvas.paint(sinus, head.sinus_hu, index)
    if z.min() < 12.0 and z.max() > -50.0:
        notch = np.sqrt((x / 20.0) ** 2 + ((y + 28.0) / 24.0) ** 2) - 1.0
        sheet = np.minimum(head.falx_mm * 0.45 - np.abs(tentorium) * 0.85, np.minimum(notch * 20.0, behind * 4.0 - 2.0))
        canvas.paint(np.minimum(sheet, cavity + 1.0), head.falx_hu - 2.0)
        sinus = np.minimum(3.6 - np.abs(tentorium + 1.0), np.minimum(6.0 - vault, vault + 0.5))
        canvas.paint(np.minimum(sinus, -48.0 - y), head.sinus_hu)
    index, distance = canvas.capsule((0, -48, 4), (0, -95, -6), 2.2, 3.0)
    if index is not None:
        canvas.paint(distance, head.sinus_hu, index)


def _paint_calcifications_and_mimics(canvas, head):
    for center, radii, value in head.calcifications:
        index, distance = canvas.ellipsoid(center, radii)
        if index is not None:
            canvas.paint(distance, value, index, edge=1.5)
