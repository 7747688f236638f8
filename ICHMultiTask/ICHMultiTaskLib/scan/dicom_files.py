"""Finding the DICOM images under a folder, and the values in their headers."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.progress import NO_PROGRESS
from ..common.translation import tr as _

if TYPE_CHECKING:
    import pydicom

    from ..common.progress import Progress

HEADER_KEYWORDS = (
    "SOPClassUID SOPInstanceUID Modality ImageType PatientID PatientName PatientAge PatientBirthDate StudyInstanceUID "
    "StudyDate StudyTime StudyDescription SeriesInstanceUID SeriesDescription SeriesNumber ProtocolName "
    "InstanceNumber AcquisitionNumber AcquisitionTime ContentTime ImagesInAcquisition FrameType Manufacturer "
    "ConvolutionKernel BodyPartExamined KVP ContrastBolusAgent ContrastBolusVolume ContrastBolusTotalDose "
    "ContrastFlowRate SliceThickness GantryDetectorTilt SpacingBetweenSlices ReconstructionDiameter "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns NumberOfFrames SamplesPerPixel "
    "PhotometricInterpretation BitsAllocated BitsStored PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit "
    "RescaleSlope RescaleIntercept RescaleType LossyImageCompression SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence TemporalPositionIdentifier ContrastBolusAgentSequence"
).split()

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
}
MOST_FRAMES = 10_000
"""A header that states more is damaged."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]+")
"""No XML, such as that of a scene, may hold them, and a terminal obeys them."""
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
ONE_AT_A_TIME = threading.RLock()
"""Held by a thread while it changes the warnings shown and pydicom's settings, which belong to the whole process: two
that overlap would each restore what the other one has set."""


@dataclass(frozen=True)
class Slice:
    """One DICOM image: the file, its header without pixels, and the frame if the file contains several."""

    path: Path
    header: object
    frame: int | None = None

    def value(self, keyword: str) -> Any:
        """Return a tag's value, or None if missing or malformed."""
        try:
            return self.header.get(keyword)
        except Exception:  # pydicom converts on access, and raises many types on damaged values
            return None

    def numbers(self, keyword: str, count: int) -> np.ndarray | None:
        """Return a tag's `count` numbers as an array, or None if missing, empty or malformed."""
        value = self.value(keyword)
        try:
            array = np.array(value, dtype=float).reshape(-1) if value is not None else np.empty(0)
        except (TypeError, ValueError, OverflowError):
            return None
        if count == 1 and len(array) > 1 and (array == array[0]).all():
            array = array[:1]  # stated several times
        return array if array.shape == (count,) and np.isfinite(array).all() else None

    def number(self, keyword: str, default: float | None = 0.0) -> float | None:
        """Return a tag's number, or the default if missing."""
        value = self.numbers(keyword, 1)
        return default if value is None else float(value[0])

    def text(self, keyword: str) -> str:
        """Return a tag's text on one line: several values are joined by a space, and control characters are spaces."""
        value = self.value(keyword)
        try:
            several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
            text = "" if value is None else " ".join(map(str, value if several else [value]))
            return _CONTROL.sub(" ", text).strip()
        except Exception:  # text in an invalid character set
            return ""

    @cached_property
    def sop_class(self) -> str:
        """UID of the storage class, from the file meta information if the dataset lacks it, or ""."""
        stated = self.text("SOPClassUID") or _meta_text(self.header, "MediaStorageSOPClassUID")
        return stated.split(" ")[0]

    @cached_property
    def transfer_syntax(self) -> str:
        """UID of the transfer syntax; implicit little endian if not stated."""
        return _meta_text(self.header, "TransferSyntaxUID") or "1.2.840.10008.1.2"

    @cached_property
    def image_type(self) -> str:
        """Values of ImageType and FrameType, upper case, in one string; of FrameType alone where frames differ."""
        own, whole = self.text("FrameType").upper(), self.text("ImageType").upper()
        return own if own and whole.startswith("MIXED") else f"{whole} {own}".strip()

    @cached_property
    def agent(self) -> str:
        """Contrast agent in words, also from the codes of an enhanced CT; "" if none is stated."""
        if self.text("ContrastBolusAgentAdministered").upper() == "NO":
            return "NO"
        codes = self.value("ContrastBolusAgentSequence")
        coded = [Slice(self.path, code) for code in codes] if isinstance(codes, Sequence) else []
        names = [code.text("CodeMeaning") or code.text("CodeValue") for code in coded]
        return " ".join(filter(None, [self.text("ContrastBolusAgent"), *names]))

    @property
    def acquisition(self) -> float:
        """AcquisitionNumber, or that of the frame; 0 if missing."""
        return self.number("FrameAcquisitionNumber", self.number("AcquisitionNumber"))

    @property
    def time(self) -> float | None:
        """A number that increases with acquisition time, or None: position in a time series, else time of day."""
        for keyword in ("TemporalPositionIndex", "FrameAcquisitionDateTime", "AcquisitionTime", "ContentTime"):
            try:
                return float(self.text(keyword))
            except ValueError:
                continue
        return None

    @property
    def is_ct(self) -> bool:
        """Whether the storage class is CT, or is missing and the modality is CT; False for localizers."""
        is_stored_as_ct = self.sop_class in CT_CLASSES or (not self.sop_class and self.text("Modality") == "CT")
        return is_stored_as_ct and "LOCALIZER" not in self.image_type

    @cached_property
    def position(self) -> np.ndarray | None:
        """ImagePositionPatient (LPS mm), or None."""
        return self.numbers("ImagePositionPatient", 3)

    @cached_property
    def orientation(self) -> np.ndarray | None:
        """ImageOrientationPatient of two perpendicular unit vectors, or None."""
        values = self.numbers("ImageOrientationPatient", 6)
        if values is None or not np.allclose(values.reshape(2, 3) @ values.reshape(2, 3).T, np.eye(2), atol=0.01):
            return None
        return values

    @cached_property
    def normal(self) -> np.ndarray | None:
        """Unit normal of the slice (row × column direction, LPS), or None without an orientation."""
        return None if self.orientation is None else np.cross(self.orientation[:3], self.orientation[3:])

    @cached_property
    def pixel_spacing(self) -> np.ndarray | None:
        """PixelSpacing in mm, or None if missing or not above 0."""
        values = self.numbers("PixelSpacing", 2)
        return values if values is not None and values.min() > 0 else None


@dataclass(frozen=True)
class FoundImages:
    """DICOM images found in a folder."""

    slices: list = field(default_factory=list)
    """Every DICOM image, one `Slice` per frame."""
    unreadable: list = field(default_factory=list)
    """Paths of files that should be DICOM images but are empty, truncated or damaged."""


def find_images(folder: Path, recursive: bool = True, progress: Progress | None = None) -> FoundImages:
    """Read the headers of all DICOM images under a folder.

    Parameters
    ----------
    folder : Path
    recursive : bool
    progress : callable, optional

    Returns
    -------
    FoundImages
        Files that are not DICOM, DICOMDIR and objects without an image are left out.

    Raises
    ------
    OSError
        If no image could be read, and the operating system refused a file.
    """
    progress = progress or NO_PROGRESS
    paths = sorted(visible_files(folder, recursive))
    images, refusal = FoundImages(), None
    for index, path in enumerate(paths):
        if index % 16 == 0:
            progress(
                index / len(paths), _("Reading headers: {index} of {count} files").format(index=index, count=len(paths))
            )
        try:
            header = read_header(path)
        except OSError as error:  # for example on a scratched disk, or without permission
            refusal = refusal or error
            images.unreadable.append(path)
            continue
        if header is None or is_media_directory(header):
            continue
        item = Slice(path, header)
        if item.number("Rows") > 0:
            try:
                images.slices.extend(_frames(item))
                continue
            except Exception:  # malformed functional groups
                pass
        elif other_class(header):
            continue
        images.unreadable.append(path)
    if refusal is not None and not images.slices:
        raise refusal
    return images


def visible_files(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """Yield the files under a folder, also behind links; hidden files and folders (a trash can) are left out.

    Raises
    ------
    OSError
        If the operating system refuses the folder itself; subfolders that it refuses are left out.
    """

    def refused(error):
        if Path(error.filename) == folder:
            raise error

    entered = set()
    for place, subfolders, names in os.walk(folder, onerror=refused, followlinks=True):
        # A link may lead to a folder above it, or to one that was seen before.
        is_new = (here := os.path.realpath(place)) not in entered
        entered.add(here)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if recursive and is_new else []
        for name in names if is_new else ():
            if not name.startswith(".") and (path := Path(place, name)).is_file():
                yield path


def read_header(path: Path) -> pydicom.Dataset | None:
    """Read a DICOM header without pixels; None if the file is not DICOM, an empty dataset if it is damaged."""
    import pydicom

    with open(path, "rb") as file:
        start = file.read(132)
    has_magic = start[128:] == b"DICM"
    is_named_dicom = path.suffix.lower() in (".dcm", ".ima") or (not start and not path.suffix)
    # Files without a preamble start with group 0002 or 0008, little endian.
    if not has_magic and start[:2] not in (b"\x02\x00", b"\x08\x00") and not is_named_dicom:
        return None
    try:
        with ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, stop_before_pixels=True, force=not has_magic, specific_tags=HEADER_KEYWORDS)
    except OSError:
        raise
    except Exception:  # pydicom raises many types on damaged files; all mean the same here
        damaged = pydicom.Dataset()
        damaged.file_meta = pydicom.dataset.FileMetaDataset()
        return damaged


def is_media_directory(header: pydicom.Dataset) -> bool:
    """Whether a header is that of a DICOMDIR."""
    return _meta_text(header, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY


def other_class(header: pydicom.Dataset) -> str:
    """Name of the storage class, standard or private, of what is no CT image; "" for a truncated UID."""
    from pydicom.uid import UID

    sop_class = Slice(Path(), header).sop_class
    if not re.fullmatch(r"[\d.]+", sop_class) or sop_class in CT_CLASSES:
        return ""
    standard = "1.2.840.10008"
    is_private = not sop_class.startswith(standard) and not standard.startswith(sop_class)
    name = UID(sop_class).name
    return name if name != sop_class or is_private else ""


def _meta_text(header, keyword):
    """Text of an element of the file meta information, or "" if missing or malformed."""
    try:
        return str(header.file_meta.get(keyword) or "").strip()
    except Exception:  # an unknown value representation, among others
        return ""


def _frames(item):
    """One Slice per frame; functional groups of enhanced objects are flattened to the classic attributes."""
    import pydicom

    header = item.header
    if header.get("PerFrameFunctionalGroupsSequence") is None:
        return [item]
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    own_keywords = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    common = {element.tag: element for element in header if element.keyword not in own_keywords}
    groups = list(header.PerFrameFunctionalGroupsSequence)
    # Frames without a group have no position; they are left out and named.
    groups += [pydicom.Dataset()] * (min(int(item.number("NumberOfFrames")), MOST_FRAMES) - len(groups))
    frames = []
    for index, group in enumerate(groups):
        flat = pydicom.Dataset()
        flat.update(common)
        for sequence in (*shared[0], *group):
            if sequence.VR == "SQ" and sequence.value:
                flat.update({element.tag: element for element in sequence.value[0]})
        flat.file_meta = header.file_meta
        flat.InstanceNumber = index + 1
        frames.append(Slice(item.path, flat, index))
    return frames
