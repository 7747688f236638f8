"""Segmentations from files.

read_segments(path) -> list of Segment
labels_of(name, array) -> list of int
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.stated_geometry import refuse_defaults
from ..scan.volume_files import read_stored, suffix_of
from .segment import DRAFT_TAG, Segment, fingerprint
from .segment_dicom import is_dicom_segmentation, read_dicom_segments

_EXPECTED = _("expected a segmentation as NIfTI, NRRD (.seg.nrrd included), MetaImage or DICOM SEG file")
_MAX_LABELS = 100
_ROUNDING = 1e-3
"""Labels stored as scaled or real numbers are this close to whole ones; a probability map is not."""
_SEGMENT_KEY = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer|Tags)")
_DRAFT = re.compile(rf"(?:^|\|){re.escape(DRAFT_TAG)}:([^|]*)")


def read_segments(path: str | os.PathLike) -> list[Segment]:
    """Read the segments of a segmentation or labelmap file, each in the file's own geometry.

    Parameters
    ----------
    path : str or Path
        .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd; a .seg.nrrd as 3D Slicer writes it, overlapping segments included; a
        DICOM segmentation object.

    Returns
    -------
    list of Segment
        By label value, named as in the file, else "Label 1" and so on; the reader is the file's name. If the only label
        has no name, the segment is named after the file. A file without any label gives one empty segment.

    Raises
    ------
    InputError
        If the file cannot be read, states no geometry, or does not contain labels.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(
            (_("{path} is a folder; {expected}.") if path.is_dir() else _("{path} does not exist; {expected}.")).format(
                path=path, expected=_EXPECTED
            )
        )
    if suffix_of(path) is None and is_dicom_segmentation(path):
        return read_dicom_segments(path)
    if suffix_of(path) is None:
        raise InputError(_("{name} is not a segmentation; {expected}.").format(name=path.name, expected=_EXPECTED))
    try:
        stored = read_stored(path)
    except OSError as error:
        raise InputError(
            _("{path} cannot be read; {expected}, found: {reason}.").format(
                path=path, expected=_EXPECTED, reason=error.strerror or error
            )
        ) from error
    affine, values = stored.ijk_to_ras, stored.values
    refuse_defaults(affine, path.name)
    layers = [_whole(layer) for layer in ([values] if values.ndim == 3 else np.moveaxis(values, -1, 0))]
    stem = re.sub(r"(\.seg)?\.(nii\.gz|[^.]+)$", "", path.name, flags=re.IGNORECASE)
    found = [labels_of(path.name, layer) for layer in layers]
    named = _named_segments(path.name, stored.header)
    if not named and sum(map(len, found)) <= 1:
        layer, value = next(((layer, values[0]) for layer, values in enumerate(found) if values), (0, 1))
        return [Segment(stem, layers[layer] == value, affine)]
    # A header that was written for other labels must not hide those that are there.
    for layer, values in enumerate(found):
        for value in values:
            named.setdefault((layer, value), {"Name": f"Label {value}"})
    if (most := max(layer for layer, _ in named)) >= len(layers):
        raise InputError(
            _("{name} is damaged: its header refers to layer {most}, but it has {count}.").format(
                name=path.name, most=most, count=len(layers)
            )
        )
    segments = []
    for (layer, value), entry in named.items():
        mask, draft = layers[layer] == value, _DRAFT.search(entry.get("Tags", ""))
        draft = draft is not None and draft[1] == fingerprint(mask)
        segments.append(Segment(entry["Name"], mask, affine, stem, draft))
    return segments


def labels_of(name: str, array: np.ndarray) -> list[int]:
    """Label values of a labelmap.

    Parameters
    ----------
    name : str
        Name of the labelmap, for error messages.
    array : ndarray of shape (K, J, I)

    Returns
    -------
    list of int
        Ascending, all above 0.

    Raises
    ------
    InputError
        If it contains fractions, negative values, or as many different values as a scan.
    """
    values = _distinct(array)
    if not np.array_equal(values, np.rint(values)):
        raise InputError(
            _("{name} contains fractions or NaN; expected a segmentation with whole label values.").format(name=name)
        )
    if len(values) > _MAX_LABELS:
        raise InputError(
            _(
                "{name} contains {count} different values, like a scan; expected a segmentation with at "
                "most {most} labels."
            ).format(name=name, count=len(values), most=_MAX_LABELS)
        )
    if values[0] < 0:
        raise InputError(
            _("{name} contains the label {value:g}; expected 0 outside and labels above 0.").format(
                name=name, value=values[0]
            )
        )
    return [int(value) for value in values if value > 0]


def _whole(array):
    """Whole numbers instead of real ones that are nearly whole; other arrays as they are."""
    if array.dtype.kind != "f":
        return array
    nearest = np.rint(array)
    with np.errstate(invalid="ignore"):
        return nearest if np.abs(array - nearest).max() < _ROUNDING else array


def _distinct(array):
    """Distinct values of an array, ascending; fast if most planes are constant, as in a labelmap."""
    found = set()
    for plane in array:
        low, high = plane.min(), plane.max()
        found.update({low} if low == high else np.unique(plane).tolist())
    return np.unique(list(found))


def _named_segments(file_name, header):
    """Name and tags by layer and label value, in the order of a .seg.nrrd file (3D Slicer, SegmentationStorage)."""
    found = {}
    for key, text in header.items():
        if match := _SEGMENT_KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = text
    named = {}
    for number, entry in sorted(found.items()):
        # Files older than layers have one layer per segment, with the value 1.
        layer, value = entry.get("Layer", number), entry.get("LabelValue", 1)
        try:
            named[int(layer), int(value)] = {"Name": f"Segment {number + 1}", **entry}
        except ValueError as error:
            raise InputError(
                _(
                    "{name} is damaged: expected whole numbers for the layer and the label value of segment {number} "
                    "in its header, found {layer} and {value}."
                ).format(name=file_name, number=number, layer=layer, value=value)
            ) from error
    return named
