"""Measurements of one segmented hematoma, on its own grid.

    segment = Segment(name, mask [K, J, I] bool, ijk_to_ras 4×4, reader="")
    measures = measure(segment, head_ct=None) -> SegmentMeasures

`SegmentMeasures` holds planimetry, A, B and C with their end points in RAS mm, the volume by each formula
(`formulas_ml`), shape, HU and `notes`: remarks to show with the numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.geometry import apply_affine, voxel_volume_mm3
from ..scan.head_ct import HeadCT
from .formulas import formula_volumes, kothari_weights
from .grids import bounding_box, box_corners, on_grid, resampled_part
from .shape import border_hull, greatest_diameter, perpendicular_diameter, surface_area_mm2

TOUCHING = np.ones((3, 3, 3))
"""Structuring element: voxels that share a corner are connected, since on thick slices many share only a corner."""
LARGEST_ML = 500.0
"""Larger than any intracerebral hemorrhage that is scanned: a third of the intracranial volume."""
SKIPPED_MM = 20.0
"""Empty slices between two that show the same region, over less than this, were not drawn."""
BLOOD_HU = (15.0, 120.0)
"""Range of the mean density of a segmented bleed, with or without edema; air, fat, CSF and bone are outside."""
DRAFT_TAG = "ICHMultiTask.Draft"
"""Tag of a segment proposed by this software; its value is the `fingerprint` of the proposal."""


def fingerprint(mask: np.ndarray) -> str:
    """Short text that identifies the shape of a mask, independent of empty space around it.

    Parameters
    ----------
    mask : ndarray of shape (K, J, I), bool
    """
    box = bounding_box(mask)
    if box is None:
        return "empty"
    inside = np.ascontiguousarray(mask[box])
    return f"{'x'.join(map(str, inside.shape))}-{zlib.crc32(np.packbits(inside).tobytes()):08x}"


@dataclass(frozen=True)
class Segment:
    """A segmented hematoma; its grid may differ from the scan's.

    Attributes
    ----------
    name : str
    mask : ndarray of shape (K, J, I)
        Stored as bool: every value other than 0 is inside.
    ijk_to_ras : ndarray of shape (4, 4)
        Maps (i, j, k, 1) to RAS millimeters; may be sheared.
    reader : str
        Who segmented it; empty if unknown.
    draft : bool
        Whether it is the model's proposal, not yet edited by a person.

    Raises
    ------
    InputError
        If the mask is not 3-D, or the geometry is missing or unusable.
    """

    name: str
    mask: np.ndarray = field(repr=False)
    ijk_to_ras: np.ndarray = field(repr=False)
    reader: str = ""
    draft: bool = False

    def __post_init__(self):
        mask = np.asarray(self.mask)
        if mask.ndim != 3 or 0 in mask.shape:
            raise InputError(
                _("Segment “{name}” has shape {shape}; expected a 3-D mask (k, j, i).").format(
                    name=self.name, shape=mask.shape
                )
            )
        if self.ijk_to_ras is None:
            raise InputError(
                _("Segment “{name}” has no reference geometry: expected a 4×4 IJK-to-RAS matrix, found none.").format(
                    name=self.name
                )
            )
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or voxel_volume_mm3(matrix) == 0.0:
            raise InputError(
                _(
                    "Segment “{name}” has an unusable geometry: expected a finite, invertible 4×4 IJK-to-RAS matrix."
                ).format(name=self.name)
            )
        object.__setattr__(self, "mask", mask if mask.dtype == bool else mask != 0)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def label(self) -> str:
        """Name and reader, for tables."""
        return f"{self.name} ({self.reader})" if self.reader else self.name


@dataclass(frozen=True)
class SegmentMeasures:
    """Result of `measure`; a value that could not be measured is None, and `notes` say why.

    Volume, components and HU are of the whole segment. All other measurements are of its largest component: a bedside
    reader measures one bleed, and a stray voxel on the other side of the head must not lengthen A.

    Attributes
    ----------
    name, reader : str
    volume_ml : float
        Planimetry: voxel count × voxel volume. Equals the labelmap volume of Segment Statistics on an orthogonal grid;
        on a sheared one, Segment Statistics multiplies the spacings and overestimates by 1 / cos(tilt).
    voxels : int
    components_ml : tuple of float
        Descending; voxels that share a corner belong to one component.
    slices : int or None
        Number of slices with hematoma. Slices are the planes nearest to axial.
    thickness_mm : float
        Distance between the planes of neighboring slices.
    largest_area_cm2, a_mm, b_mm, c_mm : float or None
        C is the full height: number of slices with hematoma × thickness.
    c_kothari_mm : float or None
        C with each slice weighted by its area.
    a_line_ras_mm, b_line_ras_mm, c_line_ras_mm : ndarray of shape (2, 3) or None
        End points. A and B lie in the slice with the largest area, B at 90° to A, both across the convex hull of
        the outline. C is perpendicular to that slice and reaches as far above and below it as the hematoma does.
    formulas_ml : dict of str to (float or None)
        By `formulas.FORMULAS`; empty without any voxel.
    max_diameter_mm : float or None
        Greatest distance between two points of the border, in any direction.
    surface_cm2 : float or None
    irregularity_index : float or None
        100 × radius of the sphere of equal surface ÷ radius of the sphere of equal volume; a sphere has 100
        (doi 10.1186/s12883-022-02983-w).
    hu_mean, hu_sd, hu_min, hu_max : float or None
        Over the scan's voxels whose centers lie in the segment.
    outside_scan_fraction : float or None
        Share of the segment's voxels whose centers lie outside the scan.
    notes : tuple of str
    """

    name: str
    reader: str
    volume_ml: float
    voxels: int
    components_ml: tuple
    thickness_mm: float
    slices: int | None = None
    largest_area_cm2: float | None = None
    a_mm: float | None = None
    b_mm: float | None = None
    c_mm: float | None = None
    c_kothari_mm: float | None = None
    a_line_ras_mm: np.ndarray | None = None
    b_line_ras_mm: np.ndarray | None = None
    c_line_ras_mm: np.ndarray | None = None
    formulas_ml: dict = field(default_factory=dict)
    max_diameter_mm: float | None = None
    surface_cm2: float | None = None
    irregularity_index: float | None = None
    hu_mean: float | None = None
    hu_sd: float | None = None
    hu_min: float | None = None
    hu_max: float | None = None
    outside_scan_fraction: float | None = None
    notes: tuple = ()


def measure(segment: Segment, head_ct: HeadCT | None = None) -> SegmentMeasures:
    """Measure a segment.

    Parameters
    ----------
    segment : Segment
        May be empty: its volume is then 0 mL.
    head_ct : HeadCT, optional
        For HU, and to check whether the segment lies within the scan.

    Returns
    -------
    SegmentMeasures
    """
    steps = segment.ijk_to_ras[:3, 2::-1].T
    axis, thickness_mm = _slices(steps)
    voxel_ml = voxel_volume_mm3(segment.ijk_to_ras) / 1000.0
    inside = bounding_box(segment.mask)
    if inside is None:
        return SegmentMeasures(
            segment.name,
            segment.reader,
            0.0,
            0,
            (),
            thickness_mm,
            notes=(_("The segment is empty; nothing to measure."),),
        )
    mask = segment.mask[inside]
    labels = ndimage.label(mask, TOUCHING)[0]
    counts = np.bincount(labels.ravel())[1:]
    components_ml = tuple(float(v) for v in np.sort(counts)[::-1] * voxel_ml)
    notes = []
    if len(counts) > 1:
        mask = labels == 1 + int(counts.argmax())
        notes.append(
            _(
                "The segment has {count} separate components; the formulas and the shape are of the "
                "largest ({largest:.1f} of {total:.1f} mL)."
            ).format(count=len(counts), largest=components_ml[0], total=sum(components_ml))
        )
    values = _shape(mask, steps, _position(segment.ijk_to_ras, inside), axis, thickness_mm)
    if skipped := _skipped(np.moveaxis(segment.mask[inside], axis, 0), thickness_mm):
        notes.append(
            _(
                "The segment is empty in {count} of its slices, above and below which it lies: the volume is only that "
                "of the slices that were drawn."
            ).format(count=skipped)
        )
    if values["slices"] == 1:
        notes.append(_("The segment lies on one slice only; C and h are the thickness of that slice."))
    if head_ct is not None:
        if sum(components_ml) > LARGEST_ML:
            notes.append(
                _("No hemorrhage is as large as this segment; expected at most {most:g} mL.").format(most=LARGEST_ML)
            )
        scan_values, scan_notes = _in_scan(segment, inside, head_ct)
        values |= scan_values
        notes += scan_notes
    return SegmentMeasures(
        name=segment.name,
        reader=segment.reader,
        volume_ml=float(counts.sum() * voxel_ml),
        voxels=int(counts.sum()),
        components_ml=components_ml,
        thickness_mm=thickness_mm,
        notes=tuple(notes),
        **values,
    )


def _skipped(planes, thickness_mm):
    """Count the empty planes between two that overlap by half of the smaller one, as a reader leaves them out."""
    filled = np.flatnonzero(planes.any(axis=(1, 2)))
    count = 0
    for n in np.flatnonzero((np.diff(filled) > 1) & ((np.diff(filled) - 1) * thickness_mm < SKIPPED_MM)):
        below, above = planes[filled[n]], planes[filled[n + 1]]
        if 2 * np.count_nonzero(below & above) >= min(np.count_nonzero(below), np.count_nonzero(above)):
            count += int(filled[n + 1] - filled[n] - 1)
    return count


def _slices(steps):
    """Array axis across the planes closest to axial, and the distance between those planes."""
    normals = np.array([np.cross(steps[n - 2], steps[n - 1]) for n in range(3)])
    areas = np.linalg.norm(normals, axis=1)
    axis = int(np.abs(normals[:, 2] / areas).argmax())
    return axis, float(abs(np.linalg.det(steps)) / areas[axis])


def _position(ijk_to_ras, box):
    """RAS mm of the first voxel of a box."""
    return apply_affine(ijk_to_ras, [part.start for part in reversed(box)])


def _shape(mask, steps, origin, axis, thickness_mm):
    """Slices, diameters, formulas and surface of one component."""
    surface_mm2 = surface_area_mm2(mask, steps)
    hull = greatest_diameter(border_hull(mask) @ steps)
    volume_mm3 = np.count_nonzero(mask) * abs(np.linalg.det(steps))
    mask = np.moveaxis(mask, axis, 0)
    steps = np.concatenate([steps[axis : axis + 1], np.delete(steps, axis, axis=0)])
    areas = np.count_nonzero(mask, axis=(1, 2)) * np.linalg.norm(np.cross(steps[1], steps[2]))
    largest = int(areas.argmax())
    outline = origin + largest * steps[0] + border_hull(mask[largest]) @ steps[1:]
    a_line = greatest_diameter(outline)
    b_line = perpendicular_diameter(outline, a_line)
    a, b = (float(np.linalg.norm(line[1] - line[0])) for line in (a_line, b_line))
    weights = kothari_weights(areas)
    normal = np.cross(steps[1], steps[2])
    normal *= np.sign(normal @ steps[0]) / np.linalg.norm(normal)
    middle = origin + largest * steps[0] + np.argwhere(mask[largest]).mean(0) @ steps[1:]
    filled = areas > 0
    below, above = (filled[part].sum() + 0.5 for part in (slice(largest), slice(largest + 1, None)))
    return {
        "slices": int(np.count_nonzero(areas)),
        "largest_area_cm2": float(areas[largest] / 100.0),
        "a_mm": a,
        "b_mm": b,
        "c_mm": float(filled.sum() * thickness_mm),
        "c_kothari_mm": float(weights.sum() * thickness_mm),
        "a_line_ras_mm": a_line,
        "b_line_ras_mm": b_line,
        "c_line_ras_mm": np.array([middle - below * thickness_mm * normal, middle + above * thickness_mm * normal]),
        "formulas_ml": {name: float(ml) for name, ml in formula_volumes(a, b, areas, thickness_mm).items()},
        "max_diameter_mm": float(np.linalg.norm(hull[1] - hull[0])),
        "surface_cm2": surface_mm2 / 100.0,
        "irregularity_index": float(
            100 * np.sqrt(surface_mm2 / np.pi) / 2 / np.cbrt(3 * volume_mm3 / (4 * np.pi))
        ),
    }  # fmt: skip


def _in_scan(segment, box, head_ct):
    """HU within the segment, and the share of it outside the scan.

    Every voxel of the scan whose center lies in the segment counts once, as in Segment Statistics. Sampling the scan at
    the segment's voxels would interpolate, or skip slices if the segment is coarser.
    """
    shape = head_ct.hu.shape
    to_scan = np.linalg.inv(head_ct.ijk_to_ras) @ segment.ijk_to_ras
    outside = 0.0
    if not on_grid(box_corners(box, to_scan), shape).all():
        voxels = (np.argwhere(segment.mask[box]) + [part.start for part in box])[:, ::-1]
        outside = 1.0 - float(on_grid(apply_affine(to_scan, voxels)[:, ::-1], shape).mean())
    notes = []
    if outside == 1:
        notes.append(_("The segment lies outside the scan; no HU can be measured."))
    elif outside > 0:
        notes.append(_("{percent:.0f} % of the segment lies outside the scan.").format(percent=100 * outside))
    part, found = resampled_part(segment.mask, box, segment.ijk_to_ras, head_ct.ijk_to_ras, shape)
    hu = head_ct.hu[part][found].astype(np.float64)
    if not hu.size:
        if outside < 1:
            notes.append(_("The segment contains no voxel center of the scan; no HU can be measured."))
        return {"outside_scan_fraction": outside}, notes
    values = {"hu_mean": hu.mean(), "hu_sd": hu.std(), "hu_min": hu.min(), "hu_max": hu.max()}
    if not BLOOD_HU[0] <= hu.mean() <= BLOOD_HU[1]:
        notes.append(
            _("The segment does not lie on blood: expected a mean of {low:g} to {high:g} HU, found {mean:.0f}.").format(
                low=BLOOD_HU[0], high=BLOOD_HU[1], mean=hu.mean()
            )
        )
    return {name: float(v) for name, v in values.items()} | {"outside_scan_fraction": outside}, notes
