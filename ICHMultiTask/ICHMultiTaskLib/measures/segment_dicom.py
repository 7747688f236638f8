"""Segments of a DICOM segmentation object (SEG; PS3.3 section A.51), each on a grid made of its frames' positions."""

from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.dicom_files import Slice, read_header
from ..scan.geometry import regular_offsets, resample_slices, stack_affine
from .segment import Segment

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""
_EXPECTED = _("expected a DICOM segmentation with a position for each frame")
_LATTICE = 0.05
"""Allowed deviation of the distances between frames from whole steps, in steps; empty frames are often omitted."""


def is_dicom_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation object."""
    try:
        header = read_header(path)
    except OSError:
        return False
    return header is not None and Slice(path, header).sop_class in SEGMENTATION_CLASSES


def referenced_series(path: Path) -> str:
    """UID of the series that a DICOM segmentation was drawn on; "" if it is not stated."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        return str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID)
    except Exception:  # pydicom raises many types on missing and damaged values
        return ""


def read_dicom_segments(path: Path) -> list[Segment]:
    """Read the segments of a DICOM segmentation.

    Empty frames may be omitted, and the step between frames may be sheared by a gantry tilt. Unevenly spaced frames are
    interpolated to an even spacing, as are the slices of such a scan.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Segment
        By segment number, with their labels as names; the reader is the description of the series, else the file's
        name. Fractional segments are thresholded at one half.

    Raises
    ------
    InputError
        If the file is damaged, or its frames do not form one stack.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in dataset.SegmentSequence}
        labels.pop(0, None)  # the background of a label map
        frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        numbers = [_segment_number(dataset, group) for group in dataset.PerFrameFunctionalGroupsSequence]
        places = np.array([_value(dataset, group, "PlanePositionSequence", "ImagePositionPatient")
                           for group in dataset.PerFrameFunctionalGroupsSequence], dtype=float)  # fmt: skip
        first = dataset.PerFrameFunctionalGroupsSequence[0]
        orientation = np.array(_value(dataset, first, "PlaneOrientationSequence", "ImageOrientationPatient"), float)
        spacing = np.array(_value(dataset, first, "PixelMeasuresSequence", "PixelSpacing"), float)
        least_step = float(_value(dataset, first, "PixelMeasuresSequence", "SpacingBetweenSlices", 0)
                           or _value(dataset, first, "PixelMeasuresSequence", "SliceThickness", 0))  # fmt: skip
        reader = str(dataset.get("SeriesDescription") or "") or path.stem
        half = 0.5 * float(dataset.get("MaximumFractionalValue") or 1)
        fractional = dataset.get("SegmentationType") == "FRACTIONAL"
    except Exception as error:  # as above
        raise InputError(
            _("{name} cannot be read; {expected}, found: {error}.").format(
                name=path.name, expected=_EXPECTED, error=_missing(error) or error
            )
        ) from error
    if len(frames) != len(places) or places.shape[1:] != (3,):
        raise InputError(
            _("{name} is damaged; {expected}, found {frames} frames and {places} positions.").format(
                name=path.name, expected=_EXPECTED, frames=len(frames), places=len(places)
            )
        )
    axes = orientation.reshape(-1, 3)
    is_plane = axes.shape == (2, 3) and np.allclose(axes @ axes.T, np.eye(2), atol=0.01)
    if not (np.isfinite(places).all() and is_plane and spacing.shape == (2,) and spacing.min() > 0):
        raise InputError(
            _("{name} is damaged; {expected}, found an unusable position, orientation or pixel spacing.").format(
                name=path.name, expected=_EXPECTED
            )
        )
    offsets, direction, start = _offsets(path, places, np.cross(orientation[:3], orientation[3:]))
    slices = np.unique(np.round(offsets, 3))
    row_of = {number: n for n, number in enumerate(slices)}
    lattice, resampled = _lattice(slices, least_step)
    step = lattice[1] - lattice[0] if len(lattice) > 1 else least_step or 1.0
    affine = stack_affine(start + lattice[0] * direction, orientation, spacing, direction * step)
    for number in set(numbers) - {None}:  # a list of segments that lacks one must not hide its frames
        labels.setdefault(number, f"Segment {number}")
    segments = []
    for number, label in sorted(labels.items()):
        stack = np.zeros((len(slices), *frames.shape[1:]), np.float32)
        for frame, offset, own in zip(frames, np.round(offsets, 3), numbers):
            if own in (None, number):  # a frame of a label map contains all segments
                inside = frame == number if own is None else frame >= half if fractional else frame > 0
                np.maximum(stack[row_of[offset]], inside, out=stack[row_of[offset]])  # parts of one plane add up
        if resampled:
            mask = resample_slices(stack, slices, lattice) >= 0.5
        else:
            mask = np.zeros((len(lattice), *frames.shape[1:]), bool)
            mask[np.rint((slices - lattice[0]) / step).astype(int)] = stack > 0
        segments.append(Segment(label, mask, affine, reader))
    return segments


def _missing(error):
    """What the file lacks, in words; None for other errors."""
    return f"no {error.name}" if isinstance(error, AttributeError) and error.name else None


def _value(dataset, group, sequence, keyword, otherwise=None):
    """A value of a frame, from its own or from the shared functional groups."""
    for groups in (group, dataset.SharedFunctionalGroupsSequence[0]):
        items = groups.get(sequence)
        if items and keyword in items[0]:
            return items[0].get(keyword)
    if otherwise is None:
        raise ValueError(f"no {keyword}")
    return otherwise


def _segment_number(dataset, group):
    if dataset.get("SegmentationType") == "LABELMAP":
        return None
    return int(_value(dataset, group, "SegmentIdentificationSequence", "ReferencedSegmentNumber"))


def _offsets(path, places, normal):
    """Offsets in mm along the direction of the stack, the direction, and the position of offset 0 (LPS)."""
    along = places @ normal
    first, last = places[along.argmin()], places[along.argmax()]
    span = last - first
    length = np.linalg.norm(span)
    direction = span / length if length > 1e-3 else normal
    offsets = (places - first) @ direction
    astray = np.linalg.norm(places - first - np.outer(offsets, direction), axis=1).max()
    if astray > 1.0:
        raise InputError(
            _("The frames of {name} do not lie on one line; {expected}, found one {distance:.1f} mm off.").format(
                name=path.name, expected=_EXPECTED, distance=astray
            )
        )
    return offsets, direction, first


def _lattice(slices, least_step):
    """Evenly spaced offsets that include those of the frames, and whether the frames must be interpolated."""
    if len(slices) < 2:
        return slices, False
    gaps = np.diff(slices)
    step = gaps.min()
    if least_step and abs(gaps / least_step - np.rint(gaps / least_step)).max() <= _LATTICE:
        step = (slices[-1] - slices[0]) / np.rint((slices[-1] - slices[0]) / least_step)
    if abs(gaps / step - np.rint(gaps / step)).max() <= _LATTICE:
        count = int(np.rint((slices[-1] - slices[0]) / step)) + 1
        return np.linspace(slices[0], slices[-1], count), False
    return regular_offsets(slices)[0], True
