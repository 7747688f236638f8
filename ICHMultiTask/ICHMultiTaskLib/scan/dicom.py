"""One DICOM series as a HeadCT: geometry from the slice positions, Hounsfield units from the stored values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import ICHMultiTaskError, InputError
from ..common.names import first_few, shown
from ..common.translation import tr as _
from .geometry import distinct_steps, regular_offsets, resample_slices, stack_affine, tilt_deg
from .head_ct import HeadCT, ScanFacts
from .hounsfield import AIR_HU, as_hu
from .patient_age import patient_age
from .pixels import read_hu
from .series_class import MIN_COVERAGE_MM, Rank
from .series_words import SeriesClass, classes_in
from .stacks import count_interleaved, find_gaps, left_out_sentence, sequence
from .stated_geometry import checked_affine

if TYPE_CHECKING:
    from ..common.progress import Progress
    from .series_choice import Candidate

MAX_LENGTH_MM = 2500.0
"""No scanner table moves farther; larger offsets come from damaged positions."""
WIDE_STEP = 1.5
"""Distance of neighboring slices in slice thicknesses above which something lies between them that was not scanned."""
MAX_INTERPOLATED = 20
"""Most interpolated slices per slice read."""
MIN_LOST = 3
"""So many images that cannot be read explain why only a part of the head is there; one or two may belong elsewhere."""
COMPARED, SAME_HU = 3, 5.0
"""So many copies are compared with their images; lossy compression changes the tissue by less than this in the mean."""
AFTER_CONTRAST = {SeriesClass.CONTRAST, SeriesClass.ANGIOGRAPHY, SeriesClass.PERFUSION}
"""Kinds of series that need a contrast agent."""
SIMULATION = "ICHMultiTask simulation"
"""Manufacturer of the scans that ICHMultiTaskLib.simulation makes."""


def read_series(
    candidate: Candidate,
    unreadable: Sequence[Path] = (),
    path: str | os.PathLike = "",
    progress: Progress | None = None,
) -> HeadCT:
    """Read one series as a head CT.

    Parameters
    ----------
    candidate : series_choice.Candidate
        The series and its volume.
    unreadable : list of Path
        Other files of the folder, which cannot be read; they may be missing slices of the volume.
    path : str
        Source of the series, for the facts.
    progress : callable, optional

    Returns
    -------
    HeadCT
        Slices ordered along their normal and, where their spacing varies, resampled onto a regular grid.

    Raises
    ------
    InputError
        If the slices do not form one complete volume.
    """
    stack = candidate.stack
    if stack is None:
        reason = candidate.verdict.reasons[0]
        raise InputError(
            _("The series contains no CT slices; expected CT images, found: {reason}.").format(reason=reason)
        )
    _refuse_incomplete(candidate, unreadable)
    _refuse_differing_copies(stack)
    notes = _left_out(candidate, unreadable)
    slices, first = stack.slices, stack.slices[0]
    orientation = np.median([item.orientation for item in slices], axis=0)
    pixel_spacing = np.median([item.pixel_spacing for item in slices], axis=0)
    positions = np.array([item.position for item in slices])
    direction, offsets = _offsets(positions, notes)
    steps = distinct_steps(offsets)
    grid, is_regular = regular_offsets(offsets)
    if len(grid) > MAX_INTERPOLATED * len(slices):
        raise InputError(
            _(
                "The distances between slices range from {least:.2f} to {most:.2f} mm; expected slices "
                "that can be interpolated to an even spacing."
            ).format(least=steps[0][0], most=steps[-1][0])
        )

    hu, pixel_notes = read_hu(slices, progress)
    notes += pixel_notes
    if not is_regular:
        hu = resample_slices(hu, offsets, grid)
        notes.append(_spacing_sentence(steps, slices, offsets, grid))
    affine = stack_affine(positions[0], orientation, pixel_spacing, direction * (grid[1] - grid[0]))
    affine, found = checked_affine(
        _("The series"),
        {_("the slice positions and PixelSpacing"): affine},
        lesser=_further_spacings(first, is_regular),
    )
    notes.extend(found)
    hu, found = as_hu(hu)
    notes.extend(found)
    notes += _header_notes(candidate)
    facts = ScanFacts(
        path=shown(path),
        format="DICOM",
        patient_id=first.text("PatientID"),
        patient_name=first.text("PatientName"),
        patient_age=patient_age(first.text("PatientAge"), first.text("PatientBirthDate"), first.text("StudyDate")),
        study_uid=first.text("StudyInstanceUID"),
        study_date=first.text("StudyDate"),
        study_time=first.text("StudyTime"),
        series_uid=first.text("SeriesInstanceUID"),
        series_description=first.text("SeriesDescription"),
        manufacturer=first.text("Manufacturer"),
        kernel=first.text("ConvolutionKernel"),
        body_part=first.text("BodyPartExamined"),
        contrast_agent=first.agent,
        slice_thickness_mm=first.number("SliceThickness", None),
        gantry_tilt_deg=_tilt(first, affine, notes),
        simulated=first.text("Manufacturer") == SIMULATION,
        slice_steps_mm=tuple(round(step, 3) for step, _ in steps),
        warnings=tuple(notes),
    )
    return HeadCT(hu, affine, facts)


def _further_spacings(first, is_regular):
    """Voxel sizes that the header states besides PixelSpacing and the slice positions, in mm along i, j, k."""
    found = {}
    step = first.number("SpacingBetweenSlices", None)
    if step is not None and step > 0 and is_regular:
        found["SpacingBetweenSlices"] = (None, None, step)
    diameter, columns = first.number("ReconstructionDiameter", None), first.number("Columns", None)
    if diameter is not None and diameter > 0 and columns:
        found["ReconstructionDiameter"] = (diameter / columns, None, None)
    return found


def _refuse_incomplete(candidate, unreadable):
    """Refuse a volume with missing slices, or with slices of several acquisitions."""
    stack = candidate.stack
    if len(stack.slices) < 2 and stack.repeats:
        raise InputError(
            _(
                "All {count} slices of the series lie at one position; expected a stack of slices through the whole "
                "head."
            ).format(count=1 + len(stack.repeats))
        )
    if len(stack.slices) < 2:
        raise InputError(_("The series has 1 slice; expected a stack of slices through the whole head."))
    _refuse_two_grids(candidate)
    missing, lost = find_gaps(stack), [*unreadable, *(item.path for item, _ in candidate.odd)]
    if missing and lost:
        after, width, usual = missing[0]
        files = _("{name} and others").format(name=lost[0].name) if lost[1:] else lost[0].name
        raise InputError(
            _(
                "The scan is incomplete: {files} cannot be read as a slice; expected a slice every {usual:.1f} mm, "
                "found a gap of {width:.1f} mm after slice {after}."
            ).format(files=files, usual=usual, width=width, after=after)
        )
    lost = [*unreadable, *(item.path for item, _ in candidate.odd if item.is_ct)]
    if len(lost) >= MIN_LOST and stack.coverage_mm < MIN_COVERAGE_MM:
        raise InputError(
            _(
                "The scan is incomplete: {count} images, such as {name}, cannot be read as slices; expected slices "
                "through the whole head, found {coverage:.0f} mm of it."
            ).format(count=len(lost), name=lost[0].name, coverage=stack.coverage_mm)
        )
    for after, width, usual in missing:
        if width > 10.0 and width > 3.5 * usual:
            raise InputError(
                _(
                    "Slices are missing: expected a slice every {usual:.1f} mm, found a gap of {width:.1f} "
                    "mm after slice {after}."
                ).format(usual=usual, width=width, after=after)
            )
    if count_interleaved(stack) >= max(3, 0.1 * len(stack.slices)):
        raise InputError(
            _(
                "The series contains several acquisitions that the headers do not distinguish; expected "
                "evenly spaced slices, found {count} that lie between those of another "
                "acquisition."
            ).format(count=count_interleaved(stack))
        )


def _refuse_differing_copies(stack):
    """Refuse images at one place that differ although their headers do not, such as of a kernel that is not stated."""
    pairs = [*stack.copies]
    # Fewer repeats are a part of the head that was scanned again, if their numbers come before or after.
    mixed = [(one, other) for one, other in stack.repeats if abs(sequence(one) - sequence(other)) <= 1]
    if len(stack.repeats) > 0.8 * len(stack.slices):
        pairs += stack.repeats
    elif len(mixed) >= COMPARED:
        pairs += mixed
    for one, other in pairs[:: max(1, len(pairs) // COMPARED)][:COMPARED]:
        try:
            values, others = (read_hu([item])[0].astype(np.float32) for item in (one, other))
        except ICHMultiTaskError:  # a copy that broke off
            continue
        tissue = (values > AIR_HU) | (others > AIR_HU)
        difference = np.abs(values - others)[tissue].mean() if values.shape == others.shape and tissue.any() else 0.0
        if difference > SAME_HU:
            raise InputError(
                _(
                    "The series holds two images at one place that no header tells apart, {first} and {second}; "
                    "expected copies, found values that differ by {difference:.0f} HU in the mean: separate the two "
                    "reconstructions."
                ).format(first=one.path.name, second=other.path.name, difference=difference)
            )


def _refuse_two_grids(candidate):
    """Refuse a part of a head whose other slices are on another grid: that is the reason, not the scanner's range."""
    stack = candidate.stack
    if stack.coverage_mm >= MIN_COVERAGE_MM:
        return
    step, first = float(np.median(np.diff(stack.offsets))), stack.slices[0]
    own = [_middle(item) @ first.normal for item in stack.slices]
    for other in candidate.others:
        places = [_middle(item) @ first.normal for item in other.slices]
        beyond = min(own) - max(places), min(places) - max(own)
        if len(places) > 1 and abs(other.slices[0].normal @ first.normal) > 0.8 and 0.0 < max(beyond) < 3 * step:
            sizes = [
                "{} × {} × {:.4g} mm".format(
                    *(int(item.number(key)) for key in ("Columns", "Rows")), item.pixel_spacing[0]
                )
                for item in (first, other.slices[0])
            ]
            if (angle := _turn_deg(first, other.slices[0])) >= 0.5:
                sizes[1] = _("{size}, turned by {angle:.0f}°,").format(size=sizes[1], angle=angle)
            raise InputError(
                _(
                    "The scan consists of two grids; expected slices of one size and orientation, found {count} of "
                    "{one} and {more} of {two} that follow them."
                ).format(count=len(stack.slices), one=sizes[0], more=len(places), two=sizes[1])
            )


def _middle(item):
    """Middle of a slice, LPS mm: where slices that are turned against each other still follow each other."""
    rows, columns = item.number("Rows") - 1, item.number("Columns") - 1
    spacing = item.pixel_spacing
    return item.position + (item.orientation[:3] * columns * spacing[1] + item.orientation[3:] * rows * spacing[0]) / 2


def _turn_deg(one, other):
    """Angle in degrees by which the plane of one slice is turned against that of another."""
    axes = [np.vstack((item.orientation.reshape(2, 3), item.normal)) for item in (one, other)]
    return float(np.degrees(np.arccos(np.clip((np.trace(axes[0].T @ axes[1]) - 1) / 2, -1.0, 1.0))))


def _left_out(candidate, unreadable):
    """Warnings about images that were not used."""
    sentence = left_out_sentence(len(candidate.slices), candidate.stack, candidate.others, candidate.odd)
    notes = [sentence] if sentence else []
    if len(candidate.uids) > 1:
        notes.append(_("Each image states a series of its own; those of one series number and description were used."))
    thickness, step = candidate.first.number("SliceThickness"), float(np.median(np.diff(candidate.stack.offsets)))
    if step > WIDE_STEP * thickness > 0:
        notes.append(
            _(
                "Slices of {thickness:.3g} mm lie {step:.3g} mm apart: hemorrhage between them is not seen. Either the "
                "head was scanned so, or slices are missing."
            ).format(thickness=thickness, step=step)
        )
    if candidate.continued_by:
        names = "; ".join(f"“{label}”" for label in candidate.continued_by)
        notes.append(_("The scan continues in another series, which was not used ({names}).").format(names=names))
    if unreadable:
        words = _(
            "{count} files could not be read and were left out (first: {name}); the scan has no gap, but may end too "
            "early if the file belongs to it."
        )
        if len(unreadable) == 1:
            words = _(
                "1 file could not be read and was left out (first: {name}); the scan has no gap, but may end too early "
                "if the file belongs to it."
            )
        notes.append(words.format(count=len(unreadable), name=unreadable[0].name))
    return notes


def _offsets(positions, notes):
    """Direction from first to last slice (LPS) and each slice's offset along it in mm."""
    span = positions[-1] - positions[0]
    direction = span / np.linalg.norm(span)
    offsets = (positions - positions[0]) @ direction
    if offsets[-1] > MAX_LENGTH_MM:
        raise InputError(
            _("The slices span {length:.4g} mm; expected a head scan, at most {most:g} mm.").format(
                length=offsets[-1], most=MAX_LENGTH_MM
            )
        )
    off_axis = np.linalg.norm(positions - positions[0] - np.outer(offsets, direction), axis=1).max()
    if off_axis > 5.0:
        raise InputError(
            _("The slices do not lie on one line; expected a stack, found one {distance:.1f} mm off its axis.").format(
                distance=off_axis
            )
        )
    if off_axis > 0.5:
        notes.append(
            _("Some slices lie off the stack axis by up to {distance:.1f} mm, and so do positions on them.").format(
                distance=off_axis
            )
        )
    return direction, offsets


def _spacing_sentence(steps, slices, offsets, grid):
    """Warn that the slice spacing varies: the distances found, overlaps, and the interpolated grid."""
    thickness = [item.number("SliceThickness", 0.0) for item in slices]
    overlaps = sum(
        step < 0.6 * min(pair)
        for step, pair in zip(np.diff(offsets), zip(thickness[:-1], thickness[1:], strict=True), strict=True)
    )
    shown = first_few([f"{step:.2f} mm ({count} ×)" for step, count in steps], 6)
    overlap = ""
    if overlaps:
        overlap = (
            _(", with {count} overlapping pairs of slices")
            if overlaps > 1
            else _(", with 1 overlapping pair of slices")
        )
        overlap = overlap.format(count=overlaps)
    return _(
        "The distance between slices varies: {distances}{overlap}; the scan was interpolated to {count} "
        "slices every {step:.2f} mm."
    ).format(distances=shown, overlap=overlap, count=len(grid), step=grid[1] - grid[0])


def _header_notes(candidate):
    """Warnings from the headers: missing images, lossy compression, contrast, sharp kernel, reformats."""
    first, verdict = candidate.stack.slices[0], candidate.verdict
    stated = first.number("ImagesInAcquisition", 0)
    acquisitions = {item.acquisition for item in candidate.stack.slices}
    if len(acquisitions) == 1 and stated > len(candidate.stack.slices) + len(candidate.stack.repeats):
        yield _("The header states {stated:.0f} images in the acquisition; {count} were found.").format(
            stated=stated, count=len(candidate.stack.slices)
        )
    if first.text("LossyImageCompression") == "01":
        yield _("The images were stored with lossy compression; Hounsfield units are approximate.")
    protocol = first.text("ProtocolName")
    if not first.text("SeriesDescription") and AFTER_CONTRAST & set(classes_in(protocol)):
        yield _(
            "The series has no description, and its protocol is called “{protocol}”: contrast may have been given."
        ).format(protocol=protocol)
    if verdict.rank is Rank.NEVER or verdict.rank is Rank.OTHER_PART:
        yield _("According to its header the series is {reason}; expected a head CT without contrast.").format(
            reason=verdict.reasons[0]
        )
    elif verdict.rank is Rank.SHARP and "kernel" in verdict.reasons[0]:
        yield _("The scan was reconstructed with a {reason}; a soft-tissue kernel is expected.").format(
            reason=verdict.reasons[0]
        )
    elif verdict.rank is Rank.SHARP:
        yield _("The scan was acquired with a {reason}; 100 to 140 kV are expected.").format(reason=verdict.reasons[0])
    elif verdict.rank in (Rank.REFORMAT, Rank.INCOMPLETE) and first.text("Manufacturer") != SIMULATION:
        yield _("About the analyzed series: {reason}; expected original axial slices of the whole head.").format(
            reason=verdict.reasons[0]
        )


def _tilt(first, affine, notes):
    """Tilt in degrees from the geometry, with the sign of GantryDetectorTilt; warns if the two disagree."""
    geometric = tilt_deg(affine)
    stated = first.number("GantryDetectorTilt", None)
    if stated is None:
        return round(geometric, 2)
    # The standard does not define the sign: GE and Philips state opposite ones for the same geometry.
    if abs(abs(stated) - abs(geometric)) > 1.0:
        notes.append(
            _(
                "The header states a gantry tilt of {stated:g}°, but the slice positions show "
                "{geometric:.1f}°; the positions were used."
            ).format(stated=stated, geometric=abs(geometric))
        )
    return round(float(np.copysign(geometric, stated)) if stated else geometric, 2)
