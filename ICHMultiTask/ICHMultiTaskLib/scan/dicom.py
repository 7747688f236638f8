"""One DICOM series as a HeadCT: geometry from the slice positions, Hounsfield units from the stored values."""

import warnings
from collections import Counter

import numpy as np

from ..common.errors import InputError
from .dicom_series import CONTRAST, SHARP, objections
from .geometry import distinct_steps, regular_offsets, resample_slices, stack_affine, tilt_deg
from .head_ct import HeadCT, ScanFacts
from .hounsfield import as_hu
from .stated_geometry import believed_affine

AIR_HU = -1024
SIMULATION = "ICHMultiTask simulation"
"""Manufacturer of the scans that ICHMultiTaskLib.simulation makes."""
NATIVE_SYNTAXES = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.1.99": "<",
    "1.2.840.10008.1.2.2": ">",
}
"""Uncompressed (or deflated) transfer syntaxes and their byte order; pixels of all others are decoded by GDCM."""


def read_series(slices, path="", progress=None):
    """Read the pixels of one series.

    Parameters
    ----------
    slices : list of Slice
        Of one series, in any order.
    path : str
        Where the series came from, for the facts.
    progress : callable, optional

    Returns
    -------
    HeadCT
        Slices ordered along their normal and, where their spacing varies, resampled onto a regular grid.

    Raises
    ------
    InputError
        If the slices do not make one complete volume.
    """
    notes = []
    usable = [item for item in slices if item.is_ct]
    if not usable:
        raise InputError(f"The series is of the kind: {objections(slices)[0][1]}; expected CT images.")
    slices = _one_stack(usable, notes)
    first = slices[0]
    orientation, pixel_spacing = first.numbers("ImageOrientationPatient", 6), first.numbers("PixelSpacing", 2)
    positions = np.array([item.numbers("ImagePositionPatient", 3) for item in slices])
    direction, offsets = _offsets(positions, notes)
    steps = distinct_steps(offsets)
    grid, is_regular = regular_offsets(offsets)
    _refuse_gaps(offsets)

    hu = _read_pixels(slices, progress)
    if not is_regular:
        hu = resample_slices(hu, offsets, grid)
        notes.append(_spacing_sentence(steps, slices, offsets, grid))
    affine = stack_affine(positions[0], orientation, pixel_spacing, direction * (grid[1] - grid[0]))
    affine, found = believed_affine(
        "The series", {"the slice positions and PixelSpacing": affine}, lesser=_further_spacings(first, is_regular)
    )
    notes.extend(found)
    hu, found = as_hu(hu)
    notes.extend(found)
    _check_completeness(slices, notes)
    facts = ScanFacts(
        path=str(path),
        format="DICOM",
        patient_id=first.text("PatientID"),
        patient_name=first.text("PatientName"),
        study_uid=first.text("StudyInstanceUID"),
        study_date=first.text("StudyDate"),
        series_uid=first.text("SeriesInstanceUID"),
        series_description=first.text("SeriesDescription"),
        manufacturer=first.text("Manufacturer"),
        kernel=first.text("ConvolutionKernel"),
        body_part=first.text("BodyPartExamined"),
        contrast_agent=first.text("ContrastBolusAgent"),
        slice_thickness_mm=first.number("SliceThickness", None),
        gantry_tilt_deg=_tilt(first, affine, notes),
        simulated=first.text("Manufacturer") == SIMULATION,
        slice_steps_mm=tuple(round(step, 3) for step, _ in steps),
        warnings=tuple(notes),
    )
    return HeadCT(hu, affine, facts)


def _further_spacings(first, is_regular):
    """What the header states of the voxels beside PixelSpacing and the slice positions, in mm along i, j, k."""
    found = {}
    step = first.number("SpacingBetweenSlices", None)
    if step is not None and step > 0 and is_regular:
        found["SpacingBetweenSlices"] = (None, None, step)
    diameter, columns = first.number("ReconstructionDiameter", None), first.number("Columns", None)
    if diameter is not None and diameter > 0 and columns:
        found["ReconstructionDiameter"] = (diameter / columns, None, None)
    return found


def _one_stack(slices, notes):
    """Keep the slices of one volume, ordered along the slice normal, one at each position."""
    for item in slices:
        _require(item)
    looks = Counter(map(_look, slices))
    if len(looks) > 1:
        look, count = looks.most_common(1)[0]
        notes.append(
            f"{len(slices) - count} of the series' {len(slices)} images differ from the others in orientation, size "
            "or kernel and were left out."
        )
        slices = [item for item in slices if _look(item) == look]
    normal = slices[0].normal
    offsets = np.array([item.numbers("ImagePositionPatient", 3) for item in slices]) @ normal
    by_place = {}
    order = np.lexsort(([item.number("InstanceNumber") for item in slices], np.round(offsets, 2)))
    for index in order:
        by_place.setdefault(round(float(offsets[index]), 2), []).append(slices[index])
    if len(by_place) < len(slices):
        by_place = _without_repeats(by_place, len(slices), notes)
    if len(by_place) < 2:
        raise InputError(f"The series has {len(by_place)} slice; expected a stack of slices through the whole head.")
    return [items[0] for _, items in sorted(by_place.items())]


def _require(item):
    """Refuse an image without the attributes that geometry and Hounsfield units need."""
    name = item.path.name
    if item.number("SamplesPerPixel", 1) != 1:
        raise InputError(f"{name} is a color image; expected a CT with one value a pixel.")
    for keyword, count, words in (
        ("PixelSpacing", 2, "pixel spacing"),
        ("ImagePositionPatient", 3, "slice position"),
        ("ImageOrientationPatient", 6, "slice orientation"),
    ):
        values = item.numbers(keyword, count)
        if values is None or (keyword == "PixelSpacing" and values.min() <= 0):
            found = item.text(keyword) or "none"
            raise InputError(f"{name} lacks a usable {words}; expected {count} numbers in {keyword}, found {found}.")
    orientation = item.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=0.01):
        raise InputError(f"{name} has an unusable slice orientation; expected two perpendicular unit vectors.")


def _look(item):
    """What the slices of one volume have in common."""
    geometry = (*item.numbers("ImageOrientationPatient", 6), *item.numbers("PixelSpacing", 2))
    return item.number("Rows"), item.number("Columns"), item.text("ConvolutionKernel"), *np.round(geometry, 3)


def _without_repeats(by_place, count, notes):
    """Drop copies; of several acquisitions of one range, keep the first that covers it."""
    acquisitions = {}
    for place, items in by_place.items():
        for item in items:
            acquisitions.setdefault(item.number("AcquisitionNumber"), {})[place] = [item]
    complete = [number for number, places in acquisitions.items() if len(places) >= 0.9 * len(by_place)]
    copies = count - len({(item.text("SOPInstanceUID"), item.frame) for items in by_place.values() for item in items})
    if copies == count - len(by_place):
        notes.append("1 copied image was left out." if copies == 1 else f"{copies} copied images were left out.")
    elif len(complete) > 1:
        notes.append(f"The series holds {len(complete)} acquisitions of the same range; the first was taken.")
        return acquisitions[min(complete)]
    else:
        notes.append(f"{count - len(by_place)} images repeat the position of another and were left out.")
    return by_place


def _offsets(positions, notes):
    """Direction from first to last slice (LPS) and each slice's offset along it in mm."""
    span = positions[-1] - positions[0]
    direction = span / np.linalg.norm(span)
    offsets = (positions - positions[0]) @ direction
    astray = np.linalg.norm(positions - positions[0] - np.outer(offsets, direction), axis=1).max()
    if astray > 5.0:
        raise InputError(
            f"The slices do not lie on one line; expected a straight stack, found a slice {astray:.1f} mm aside."
        )
    if astray > 0.5:
        notes.append(f"Some slices lie up to {astray:.1f} mm aside of the stack; places on them are off by as much.")
    return direction, offsets


def _refuse_gaps(offsets):
    """Refuse a stack in which more than two neighboring slices are missing."""
    steps = np.diff(offsets)
    usual = np.median(steps)
    padded = np.concatenate(([usual], steps, [usual]))
    around = np.maximum(np.maximum(padded[:-2], padded[2:]), usual)
    gaps = np.flatnonzero((steps > 3.5 * around) & (steps > 10.0))
    if gaps.size:
        raise InputError(
            f"Slices are missing: expected a slice every {usual:.1f} mm, "
            f"found a gap of {steps[gaps[0]]:.1f} mm after slice {gaps[0] + 1}."
        )


def _spacing_sentence(steps, slices, offsets, grid):
    """Name the distances found between slices, overlaps and missing slices, and the grid made of them."""
    thickness = [item.number("SliceThickness", 0.0) for item in slices]
    overlaps = sum(
        step < 0.6 * min(pair)
        for step, pair in zip(np.diff(offsets), zip(thickness[:-1], thickness[1:], strict=True), strict=True)
    )
    shown = ", ".join(f"{step:.2f} mm ({count} ×)" for step, count in steps[:6]) + (", …" if len(steps) > 6 else "")
    overlap = f", with {overlaps} overlapping pair{'s' if overlaps > 1 else ''} of slices" if overlaps else ""
    return (
        f"The distance between slices varies: {shown}{overlap}; the scan was interpolated to {len(grid)} slices "
        f"every {grid[1] - grid[0]:.2f} mm."
    )


def _check_completeness(slices, notes):
    """Warn of signs in the headers that the series is not whole or not plain."""
    stated = slices[0].number("ImagesInAcquisition", 0)
    acquisitions = {item.number("AcquisitionNumber") for item in slices}
    if len(acquisitions) == 1 and stated > len(slices):
        notes.append(f"The header states {stated:.0f} images in the acquisition; {len(slices)} were found.")
    if slices[0].text("LossyImageCompression") == "01":
        notes.append("The images were compressed with loss; Hounsfield units are approximate.")
    for weight, text in objections(slices):
        if weight == SHARP and "kernel" in text:
            notes.append(f"The scan was reconstructed with a {text}; a soft-tissue kernel is expected.")
        elif weight >= CONTRAST:
            notes.append(f"By its header the series is {text}; expected a head CT without contrast.")


def _tilt(first, affine, notes):
    """Tilt in degrees from the geometry, with the sign of GantryDetectorTilt, and a warning where the two disagree."""
    geometric = tilt_deg(affine)
    stated = first.number("GantryDetectorTilt", None)
    if stated is None:
        return round(geometric, 2)
    # The standard leaves the sign to the maker: GE and Philips give opposite ones for the same geometry.
    if abs(abs(stated) - abs(geometric)) > 1.0:
        notes.append(
            f"The header states a gantry tilt of {stated:g}°, but the slice positions show {abs(geometric):.1f}°; "
            "the positions were used."
        )
    return round(float(np.copysign(geometric, stated)) if stated else geometric, 2)


def _read_pixels(slices, progress):
    """Stack of slices in HU: int16, or float32 where slope or intercept are not whole numbers."""
    rows, columns = (int(slices[0].number(keyword)) for keyword in ("Rows", "Columns"))
    scaling = [(item.number("RescaleSlope", 1.0), item.number("RescaleIntercept")) for item in slices]
    is_whole = all(slope == 1.0 and intercept.is_integer() for slope, intercept in scaling)
    hu = np.empty((len(slices), rows, columns), dtype=np.int16 if is_whole else np.float32)
    opened = {}
    for index, (item, (slope, intercept)) in enumerate(zip(slices, scaling, strict=True)):
        if progress is not None:
            progress(index / len(slices), f"Reading slice {index + 1} of {len(slices)}")
        if item.path not in opened:
            opened = {item.path: _native_pixels(item) if _is_native(item) else _decoded_pixels(item)}
        plane = opened[item.path]
        plane = plane[item.frame or 0] if plane.ndim == 3 else plane
        if plane.shape != (rows, columns):
            raise InputError(f"{item.path.name} holds {plane.shape} pixels; expected {(rows, columns)} by its header.")
        if _is_native(item):
            plane = plane.astype(np.int32 if is_whole else np.float32)
            plane = plane + int(intercept) if is_whole else plane * np.float32(slope) + np.float32(intercept)
        padding = _padding_hu(item, slope, intercept)
        if padding is not None:
            plane = np.where(plane == padding, AIR_HU, plane)
        np.clip(plane, AIR_HU, 32767, out=hu[index], casting="unsafe")
    return hu


def _is_native(item):
    syntax = item.header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")
    return syntax in NATIVE_SYNTAXES and item.number("BitsAllocated", 16) == 16


def _padding_hu(item, slope, intercept):
    """Padding value in HU, or None where there is none to replace."""
    padding = item.number("PixelPaddingValue", None)
    if padding is None:
        return None
    if item.number("PixelRepresentation") and padding > 32767:
        padding -= 65536
    padding = padding * slope + intercept
    # A padding value among those of tissue is a header left over from a conversion: it would erase anatomy.
    return padding if padding < -200 or padding > 3071 else None


def _native_pixels(item):
    """Stored values of an uncompressed image, (rows, columns) or (frames, rows, columns)."""
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = pydicom.dcmread(item.path, force=True, specific_tags=["PixelData"]).get("PixelData", b"")
    except Exception as error:  # pydicom raises many types on damaged files
        raise InputError(f"{item.path.name} cannot be read; expected a complete DICOM file ({error}).") from error
    order = NATIVE_SYNTAXES[item.header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")]
    frames, rows, columns = (int(item.number(keyword, 1)) for keyword in ("NumberOfFrames", "Rows", "Columns"))
    expected = 2 * frames * rows * columns
    if len(content) < expected:
        raise InputError(
            f"{item.path.name} is truncated; expected {expected} bytes of pixels, found {len(content)}."
        )
    is_signed = bool(item.number("PixelRepresentation"))
    stored = np.frombuffer(content, dtype=f"{order}{'i' if is_signed else 'u'}2", count=expected // 2)
    unused = 16 - int(item.number("BitsStored", 16))
    if unused:  # the bits above may hold an overlay; shifting back extends the sign
        stored = (stored << unused) >> unused
    return stored.reshape((frames, rows, columns))


def _decoded_pixels(item):
    """Hounsfield units of a compressed image, decoded and rescaled by GDCM through SimpleITK."""
    import SimpleITK

    try:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(item.path)))
    except RuntimeError as error:
        syntax = item.header.file_meta.get("TransferSyntaxUID", "unknown")
        name = getattr(syntax, "name", syntax)
        raise InputError(
            f"{item.path.name} cannot be decoded; expected readable pixels, found damaged or unsupported ones ({name})."
        ) from error
