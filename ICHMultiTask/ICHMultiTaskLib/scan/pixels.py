"""Hounsfield units of DICOM images: stored values decoded by pydicom or SimpleITK, and rescaled slice by slice."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..common.errors import DependencyError, InputError
from ..common.progress import NO_PROGRESS
from ..common.translation import tr as _
from .dicom_files import Slice
from .hounsfield import MAX_HU, MIN_HU

if TYPE_CHECKING:
    from ..common.progress import Progress

NATIVE_SYNTAXES = {f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".1.99", ".2")}
"""Implicit, explicit, deflated and big endian: pixels that need no decoder."""
JPEG_SYNTAXES = {f"1.2.840.10008.1.2.4.{tail}" for tail in ("50", "51", "57", "70")}
"""JPEG of 1992, which archives use in its lossless form. pydicom needs python-gdcm for it, whose symbols clash with
those of 3D Slicer's own GDCM, so that the application crashes when it is closed; SimpleITK reads it everywhere."""
_PIXEL_FORMAT = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "PixelRepresentation",
)  # fmt: skip
MAX_SLOPE, MAX_INTERCEPT = 100.0, 70_000.0
"""Larger values cannot give Hounsfield units in 16 bits."""
PACKAGES = "pylibjpeg pylibjpeg-openjpeg pyjpegls"
"""Packages that pydicom needs to decode other compressed images: JPEG 2000 and JPEG-LS."""


def read_hu(slices: Sequence[Slice], progress: Progress | None = None) -> tuple[np.ndarray, list[str]]:
    """Read the pixels of the slices of one volume.

    Parameters
    ----------
    slices : list of Slice
        All of one size.
    progress : callable, optional

    Returns
    -------
    hu : ndarray of shape (K, J, I)
        int16, or float32 if slope or intercept are not whole numbers; padding is -1024.
    notes : list of str
        Warnings about repaired or missing rescale values.

    Raises
    ------
    InputError
        If an image is truncated or cannot be decoded, or its rescale values are missing or contradict the pixels.
    DependencyError
        If a package for decoding is not installed.
    """
    stored = _read_stored(slices, progress or NO_PROGRESS)
    scaling, notes = _scaling(slices, stored)
    is_whole = all(slope == 1.0 and intercept.is_integer() for slope, intercept in scaling)
    hu = np.empty((len(slices), *stored[0].shape), dtype=np.int16 if is_whole else np.float32)
    for index, (item, plane, scale) in enumerate(zip(slices, stored, scaling, strict=True)):
        np.clip(_rescaled(item, plane, scale), MIN_HU, MAX_HU, out=hu[index], casting="unsafe")
        stored[index] = None  # two copies of the scan at most
    return hu, notes


def _read_stored(slices, progress):
    planes, opened = [], {}
    is_signed = int(
        next((sign for item in slices if (sign := item.number("PixelRepresentation", None)) is not None), 0)
    )
    shape = int(slices[0].number("Rows")), int(slices[0].number("Columns"))
    for index, item in enumerate(slices):
        progress(index / len(slices), _("Reading slice {index} of {count}").format(index=index + 1, count=len(slices)))
        if item.path not in opened:
            opened = {item.path: _decode(item, is_signed)}
        plane = opened[item.path]
        plane = plane[item.frame or 0] if plane.ndim == 3 and len(plane) > (item.frame or 0) else plane
        if plane.shape != shape:
            raise InputError(
                _("{name} has {found} pixels; expected {expected} by its header.").format(
                    name=item.path.name, found=plane.shape, expected=shape
                )
            )
        planes.append(plane)
    return planes


def _decode(item, is_signed):
    """Stored values of a file, (rows, columns) or (frames, rows, columns); `is_signed` if the header states nothing."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array

    name, syntax = item.path.name, pydicom.uid.UID(item.transfer_syntax)
    words = syntax.name if syntax.name != syntax else _("transfer syntax {syntax}").format(syntax=syntax)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(item.path, force=True)
            count = len(dataset.get("PixelData") or b"")
            _complete(dataset, is_signed)
    except Exception as error:  # pydicom raises many types on damaged files
        raise InputError(
            _("{name} cannot be read; expected a complete DICOM file ({error}).").format(name=name, error=error)
        ) from error
    if Slice(item.path, dataset).text("SOPInstanceUID") != item.text("SOPInstanceUID"):
        raise InputError(
            _("{name} was replaced while the scan was read; expected the image found first, found another one.").format(
                name=name
            )
        )
    if not count and ("FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset):
        raise InputError(
            _("{name} holds pixels as real numbers; expected whole ones (PixelData), as in every CT image.").format(
                name=name
            )
        )
    if not count:
        raise InputError(_("{name} is truncated; expected pixels after its header, found none.").format(name=name))
    if syntax in NATIVE_SYNTAXES:
        expected = int(np.prod([item.number(keyword, 1) for keyword in ("NumberOfFrames", "Rows", "Columns")]))
        expected = expected * int(item.number("BitsAllocated", 16)) // 8
        if count < expected:
            raise InputError(
                _("{name} is truncated; expected {expected} bytes of pixels, found {count}.").format(
                    name=name, expected=expected, count=count
                )
            )
    elif syntax not in JPEG_SYNTAXES:
        try:
            is_ready = get_decoder(syntax).is_available
        except (NotImplementedError, ValueError) as error:
            raise InputError(
                _("{name} cannot be decoded; expected pixels of a CT, found {compression}.").format(
                    name=name, compression=words
                )
            ) from error
        if not is_ready:
            raise DependencyError(
                _("{name} is compressed ({compression}): install the Python packages {packages}.").format(
                    name=name, compression=words, packages=PACKAGES
                )
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = _decode_jpeg(dataset) if syntax in JPEG_SYNTAXES else pixel_array(dataset, raw=True)
            if "ModalityLUTSequence" in dataset and "RescaleIntercept" not in dataset:
                return apply_modality_lut(stored, dataset)
            return stored
    except MemoryError:
        raise
    except Exception as error:  # every plug-in raises its own types
        raise InputError(
            _(
                "{name} cannot be decoded; expected readable pixels, found damaged or unsupported ones ({compression})."
            ).format(name=name, compression=words)
        ) from error


def _decode_jpeg(dataset):
    """Stored values of JPEG frames, each written to a file of its own without the scan's rescale values."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import CTImageStorage, generate_uid

    count = int(dataset.get("NumberOfFrames") or 1)
    planes = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        for frame in generate_frames(dataset.PixelData, number_of_frames=count):
            single = Dataset()
            single.file_meta = FileMetaDataset()
            single.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
            single.SOPClassUID, single.SOPInstanceUID = CTImageStorage, generate_uid()
            for keyword in _PIXEL_FORMAT:
                single[keyword] = dataset[keyword]
            single.HighBit = dataset.BitsStored - 1
            single.RescaleIntercept, single.RescaleSlope = "0", "1"
            single.PixelData = encapsulate([frame])
            single.save_as(path, enforce_file_format=True)
            planes.append(sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))[0])
    return planes[0] if count == 1 else np.stack(planes)


def _complete(dataset, is_signed):
    """Complete a stripped header with the values of a CT and of its other slices."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword, value in (("BitsAllocated", 16), ("PixelRepresentation", is_signed), ("NumberOfFrames", None)):
        if dataset.get(keyword) in (None, ""):
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
    if dataset.get("BitsStored") in (None, ""):
        dataset.BitsStored = dataset.BitsAllocated
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = (
            "1.2.840.10008.1.2" if dataset.original_encoding[0] else "1.2.840.10008.1.2.1"
        )


def _rescaled(item, plane, scale):
    """Values in HU, int32 or float32, with padding as air."""
    slope, intercept = scale
    if slope == 1.0 and intercept.is_integer():
        plane = plane.astype(np.int32) + int(intercept)
    else:
        plane = plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padding = _padding_hu(item, slope, intercept)
    if padding is not None:
        plane[(plane >= padding[0]) & (plane <= padding[1])] = MIN_HU
    return plane


def _padding_hu(item, slope, intercept):
    """Lowest and highest padding value in HU, or None if there is none to replace."""
    values = [item.number("PixelPaddingValue", None), item.number("PixelPaddingRangeLimit", None)]
    if values[0] is None:
        return None
    if item.number("PixelRepresentation"):
        values = [value - 65536 if value is not None and value > 32767 else value for value in values]
    in_hu = sorted(value * slope + intercept for value in values if value is not None)
    # A padding value in the range of tissue is an error of a conversion: replacing it would erase anatomy.
    if in_hu[-1] < -200 or in_hu[0] > 3071:
        return in_hu[0], in_hu[-1]
    return None


def _scaling(slices, stored):
    """Slope and intercept of each slice; missing ones are filled in if the other slices and the pixels agree."""
    stated = [_stated_scale(item) for item in slices]
    if None not in stated and len(set(stated)) == 1:
        return stated, []
    known = [index for index, scale in enumerate(stated) if scale is not None]
    if not known:
        return [(1.0, 0.0)] * len(slices), [
            _("The headers state no rescale intercept; the stored values were used as Hounsfield units.")
        ]
    usual = Counter(stated[index] for index in known).most_common(1)[0][0]
    # A whole block of slices may be wrong, so each is compared with slices of the usual scale, not just with neighbors.
    trusted = [index for index in known if stated[index] == usual]
    trusted = trusted if len(trusted) >= 3 else known
    repaired = []
    for index, (item, plane) in enumerate(zip(slices, stored, strict=True)):
        own = stated[index]
        if own == usual:
            continue
        near = sorted((other for other in trusted if other != index), key=lambda other: abs(other - index))[:3]
        reference = sum(_histogram(slices[other], stored[other], stated[other]) for other in near)
        fits_usual = _agreement(_histogram(item, plane, usual), reference)
        if own is None:
            is_sure = len({stated[other] for other in known}) == 1
            if not is_sure or fits_usual < max(0.5, 2 * _agreement(_histogram(item, plane, (1.0, 0.0)), reference)):
                raise InputError(
                    _(
                        "{name} states no rescale intercept while {count} other slices do; expected one in "
                        "each, and its pixels do not show which."
                    ).format(name=item.path.name, count=len(known))
                )
            repaired.append(item)
            stated[index] = usual
        elif fits_usual > 1.2 * _agreement(_histogram(item, plane, own), reference):
            raise InputError(
                _(
                    "{name} states a rescale intercept of {intercept:g} and a slope of {slope:g}, the usual "
                    "slice {usual_intercept:g} and {usual_slope:g}; expected values that fit the pixels, but those of "
                    "{name} do not."
                ).format(
                    name=item.path.name, intercept=own[1], slope=own[0], usual_intercept=usual[1], usual_slope=usual[0]
                )
            )
    notes = []
    differing = [item for item, scale in zip(slices, stated, strict=True) if scale != usual]
    if 0 < len(differing) < 0.5 * len(slices):
        notes.append(
            _(
                "{count} of {slices} slices state other rescale values than the rest (first: {name}); "
                "they fit the pixels and were used."
            ).format(count=len(differing), slices=len(slices), name=differing[0].path.name)
        )
    if repaired:
        notes.append(
            _(
                "{count} of {slices} slices state no rescale intercept (first: {name}); that of the "
                "others, {intercept:g}, fits their pixels and was used."
            ).format(count=len(repaired), slices=len(slices), name=repaired[0].path.name, intercept=usual[1])
        )
    return stated, notes


def _stated_scale(item):
    """Slope and intercept in the header, or None if the intercept is missing."""
    slope, intercept = item.number("RescaleSlope", 1.0), item.number("RescaleIntercept", None)
    if intercept is None or slope == 0.0:
        return None
    if not 0.0 < slope <= MAX_SLOPE or abs(intercept) > MAX_INTERCEPT:
        raise InputError(
            _(
                "{name} states a rescale slope of {slope:g} and an intercept of {intercept:g}; expected "
                "those of a CT, usually 1 and -1024."
            ).format(name=item.path.name, slope=slope, intercept=intercept)
        )
    return slope, intercept


def _histogram(item, plane, scale):
    """Normalized histogram of a slice in bins of 20 HU; large images are subsampled by 4."""
    stride = 4 if min(plane.shape) > 200 else 1
    values = np.clip(_rescaled(item, plane[::stride, ::stride], scale), MIN_HU, 2000)
    counts = np.histogram(values, bins=np.arange(MIN_HU, 2000 + 40, 20))[0]
    return counts / counts.sum()


def _agreement(one, reference):
    """Overlap of two histograms, 0 to 1."""
    return float(np.minimum(one, reference / reference.sum()).sum())
