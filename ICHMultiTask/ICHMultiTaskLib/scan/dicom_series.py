"""Finding the DICOM images under a folder and choosing the series to analyze."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError

HEADER_KEYWORDS = (
    "SOPClassUID SOPInstanceUID Modality ImageType PatientID PatientName StudyInstanceUID StudyDate StudyDescription "
    "SeriesInstanceUID SeriesDescription SeriesNumber InstanceNumber AcquisitionNumber ImagesInAcquisition FrameType "
    "Manufacturer ConvolutionKernel BodyPartExamined ContrastBolusAgent SliceThickness GantryDetectorTilt "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns NumberOfFrames SamplesPerPixel "
    "BitsAllocated BitsStored PixelRepresentation PixelPaddingValue RescaleSlope RescaleIntercept "
    "SpacingBetweenSlices ReconstructionDiameter LossyImageCompression "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

# Words of English, German, French, Spanish and Italian protocols.
SHARP_WORDS = re.compile(r"bone|knochen|osseux|hueso|osso|petrous|temporal|felsenbein|lung|edge|sharp", re.IGNORECASE)
ANGIOGRAPHY_WORDS = re.compile(r"\bCTA\b|angio|perfusion|\bCTP\b|venogra|\bCTV\b|bolus|monitoring", re.IGNORECASE)
CONTRAST_WORDS = re.compile(r"(?<!non[ -])(?<!no )\bcontrast\b|\bC\+|\bCE\b|\bKM\b|postcontrast", re.IGNORECASE)
DERIVED_WORDS = re.compile(r"\bMPR\b|\bMIP\b|\bVRT?\b|\b3D\b|REFORMAT|VOLUME_RENDER|SCREEN", re.IGNORECASE)
HEAD_WORDS = re.compile(r"head|brain|skull|kopf|sch[aä]del|cran|c[eé]r[eé]br|hirn|t[eê]te", re.IGNORECASE)
OTHER_BODY_PARTS = re.compile(
    r"chest|thorax|abdomen|pelvis|lung|heart|card|spine|knee|hip|foot|hand|shoulder|liver|extremity", re.IGNORECASE
)

BLOCKING, ANGIOGRAPHY, OTHER_PART, CONTRAST, DERIVED, SHARP = 1000, 400, 300, 200, 150, 100
"""Weights of the reasons against a series; a series with a reason of weight BLOCKING is never taken by itself."""


@dataclass(frozen=True)
class Slice:
    """One DICOM image: the file, its header without pixels, and the frame where the file holds several."""

    path: Path
    header: object
    frame: int | None = None

    def value(self, keyword):
        """Return a tag's value, or None where missing or malformed."""
        try:
            return self.header.get(keyword)
        except Exception:  # pydicom converts on access, and raises many types on damaged values
            return None

    def numbers(self, keyword, count):
        """Return a tag's `count` numbers as an array, or None where missing, empty or malformed."""
        value = self.value(keyword)
        try:
            array = np.array(value, dtype=float).reshape(-1) if value is not None else np.empty(0)
        except (TypeError, ValueError):
            return None
        return array if array.shape == (count,) and np.isfinite(array).all() else None

    def number(self, keyword, default=0.0):
        """Return a tag's number, or the default where missing."""
        value = self.numbers(keyword, 1)
        return default if value is None else float(value[0])

    def text(self, keyword):
        """Return a tag's text; several values are joined by a space."""
        value = self.value(keyword)
        if value is None:
            return ""
        several = isinstance(value, Sequence) and not isinstance(value, str)
        return " ".join(map(str, value)).strip() if several else str(value).strip()

    @property
    def image_type(self):
        """Values of ImageType (or FrameType), upper case, in one string."""
        return f"{self.text('ImageType')} {self.text('FrameType')}".upper()

    @property
    def is_ct(self):
        """Whether the image is of a CT storage class and not a localizer."""
        return self.text("SOPClassUID") in CT_CLASSES and "LOCALIZER" not in self.image_type

    @property
    def normal(self):
        """Unit normal of the slice (row × column direction, LPS), or None without an orientation."""
        orientation = self.numbers("ImageOrientationPatient", 6)
        return None if orientation is None else np.cross(orientation[:3], orientation[3:])


@dataclass(frozen=True)
class SeriesSummary:
    """A series under a folder, and why it is, or is not, the one analyzed."""

    uid: str
    description: str
    kernel: str
    slices: int
    thickness: float | None
    """Slice thickness in mm."""
    chosen: bool
    why: str


def find_slices(folder, recursive=True, progress=None):
    """Read the headers of all DICOM images under a folder.

    Parameters
    ----------
    folder : Path
    recursive : bool
    progress : callable, optional

    Returns
    -------
    list of Slice
        Files that are not DICOM, DICOMDIR and objects without an image are left out.

    Raises
    ------
    InputError
        If a DICOM file cannot be read, since the scan would miss it unnoticed.
    """
    found = folder.rglob("*") if recursive else folder.iterdir()
    paths = sorted(path for path in found if path.is_file() and not path.name.startswith("."))
    slices, broken = [], []
    for index, path in enumerate(paths):
        if progress is not None and index % 16 == 0:
            progress(index / len(paths), f"Reading headers: {index} of {len(paths)} files")
        header = read_header(path)
        if header is None:
            continue
        if "SOPClassUID" not in header or "SeriesInstanceUID" not in header:
            if header.file_meta.get("MediaStorageSOPClassUID") != MEDIA_DIRECTORY:
                broken.append(path)
        elif "Rows" in header:
            slices += _frames(path, header)
        elif header.SOPClassUID in CT_CLASSES:
            broken.append(path)
    if broken:
        raise InputError(
            f"{len(broken)} of {len(paths)} files cannot be read (first: {broken[0].name}); "
            "expected complete DICOM files, found truncated or damaged ones."
        )
    return slices


def read_header(path):
    """Read a DICOM header without pixels; None if the file is not DICOM, an empty dataset if it is damaged."""
    import pydicom

    with open(path, "rb") as file:
        start = file.read(132)
    has_magic = start[128:] == b"DICM"
    # Files without a preamble start with group 0002 or 0008, little endian.
    if not has_magic and start[:2] not in (b"\x02\x00", b"\x08\x00") and path.suffix.lower() not in (".dcm", ".ima"):
        return None
    damaged = pydicom.Dataset()
    damaged.file_meta = pydicom.dataset.FileMetaDataset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, force=not has_magic, specific_tags=HEADER_KEYWORDS)
            for keyword in ("SOPClassUID", "SeriesInstanceUID", "Rows"):
                header.get(keyword)  # converted on access
            return header
    except Exception:  # pydicom raises many types on damaged files; all mean the same here
        return damaged


def _frames(path, header):
    """One Slice a frame; functional groups of enhanced objects are flattened to the classic attributes."""
    import pydicom

    if header.get("PerFrameFunctionalGroupsSequence") is None:
        return [Slice(path, header)]
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    own_keywords = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    common = {element.tag: element for element in header if element.keyword not in own_keywords}
    frames = []
    for index, group in enumerate(header.PerFrameFunctionalGroupsSequence):
        flat = pydicom.Dataset()
        flat.update(common)
        for sequence in (*shared[0], *group):
            if sequence.VR == "SQ" and sequence.value:
                flat.update({element.tag: element for element in sequence.value[0]})
        flat.file_meta = header.file_meta
        flat.InstanceNumber = index + 1
        frames.append(Slice(path, flat, index))
    return frames


def group_series(slices):
    """Group slices by SeriesInstanceUID, in order of appearance: dict uid → list of Slice."""
    series = {}
    for item in slices:
        series.setdefault(item.text("SeriesInstanceUID"), []).append(item)
    return series


def is_sharp_kernel(kernel, description=""):
    """Whether a reconstruction kernel is one for bone or lung, by the makers' naming schemes."""
    kernel = kernel.strip()
    if SHARP_WORDS.search(kernel) or SHARP_WORDS.search(description):
        return True
    canon = re.match(r"FC(\d\d)", kernel)
    if canon:
        return int(canon[1]) in {*range(30, 40), *range(50, 60), *range(80, 90)}
    siemens = re.match(r"[A-Z][a-z]?(\d\d)", kernel)
    if siemens:
        return int(siemens[1]) >= 55
    return kernel in {"D", "E", "L", "EC", "YC", "YD", "YE"}  # Philips


def coverage_mm(slices):
    """Distance from the first to the last slice plane, or 0 where positions are missing."""
    normal = slices[0].normal
    positions = [item.numbers("ImagePositionPatient", 3) for item in slices]
    if normal is None or any(position is None for position in positions):
        return 0.0
    return float(np.ptp(np.array(positions) @ normal))


def objections(slices):
    """Reasons against analyzing a series.

    Returns
    -------
    list of (int, str)
        Weight and words; empty for a plain axial soft-tissue series.
    """
    usable = [item for item in slices if item.is_ct]
    if not usable:
        return [(BLOCKING, _foreign_kind(slices))]
    first = usable[len(usable) // 2]
    words = f"{first.text('SeriesDescription')} {first.text('ImageType')}"
    found = []
    normal = first.normal
    if normal is not None and abs(normal[2]) < 0.75:
        found.append((BLOCKING, "not axial"))
    if ANGIOGRAPHY_WORDS.search(words):
        found.append((ANGIOGRAPHY, "angiography or perfusion"))
    elif first.text("ContrastBolusAgent").upper() not in ("", "NONE", "NO") or CONTRAST_WORDS.search(words):
        found.append((CONTRAST, "contrast-enhanced"))
    body_part = first.text("BodyPartExamined")
    if OTHER_BODY_PARTS.search(f"{body_part} {words}") and not HEAD_WORDS.search(f"{body_part} {words}"):
        found.append((OTHER_PART, f"not of the head ({body_part or first.text('SeriesDescription')})"))
    if DERIVED_WORDS.search(words):
        found.append((DERIVED, "a reformatted series"))
    if is_sharp_kernel(first.text("ConvolutionKernel"), first.text("SeriesDescription")):
        found.append((SHARP, f"sharp kernel {first.text('ConvolutionKernel')}".rstrip()))
    if len(usable) < 8:
        found.append((SHARP, f"only {len(usable)} slice{'s' if len(usable) > 1 else ''}"))
    return found


def _foreign_kind(slices):
    """Name what a series without CT slices is."""
    first = slices[0]
    if "LOCALIZER" in first.image_type:
        return "localizer"
    if first.text("SOPClassUID").startswith(SECONDARY_CAPTURE):
        return "secondary capture"
    names = {"MR": "MR", "US": "ultrasound", "PT": "PET", "CR": "radiograph", "DX": "radiograph", "XA": "angiography"}
    modality = first.text("Modality")
    return f"{names.get(modality, 'not CT')} (modality {modality or 'unknown'})"


def choose_series(slices, series_uid=None):
    """Choose the axial soft-tissue series of the head.

    Of the series with the fewest objections (`objections`), the one that covers most of the head, then of slices
    2 to 6 mm thick, then named for head or brain, then newest, then with most slices.

    Parameters
    ----------
    slices : list of Slice
    series_uid : str, optional
        Take this series whatever speaks against it.

    Returns
    -------
    chosen : list of Slice
    summaries : list of SeriesSummary
        All series, the chosen one first, then by preference.

    Raises
    ------
    InputError
        If the series asked for is absent, no series is a CT, or CT series of several patients are present.
    """
    series = group_series(slices)
    reasons = {uid: objections(items) for uid, items in series.items()}
    ranked = sorted(series, key=lambda uid: _preference(series[uid], reasons[uid]))
    if series_uid is not None and series_uid not in series:
        listing = "; ".join(f"{uid} ({_words(series[uid])})" for uid in ranked)
        raise InputError(f"Series {series_uid} is not among the files; expected one of: {listing}.")
    chosen = series_uid or ranked[0]
    if series_uid is None:
        _refuse_unfit([(series[uid], reasons[uid]) for uid in ranked])
    _refuse_several_patients(slices if series_uid is None else series[chosen])
    summaries = []
    for uid in sorted(ranked, key=lambda uid: uid != chosen):
        usable = [item for item in series[uid] if item.is_ct] or series[uid]
        why = ", ".join(text for _, text in reasons[uid]) or "axial, soft-tissue kernel, no contrast"
        if uid != chosen and not reasons[uid]:
            why += f", but covers {coverage_mm(usable):.0f} mm with {len(usable)} slices"
        if usable[0].text("StudyInstanceUID") != series[chosen][0].text("StudyInstanceUID"):
            why += f", study of {usable[0].text('StudyDate') or 'unknown date'}"
        thickness = usable[0].number("SliceThickness", None)
        summaries.append(
            SeriesSummary(
                uid,
                usable[0].text("SeriesDescription"),
                usable[0].text("ConvolutionKernel"),
                len(usable),
                thickness,
                uid == chosen,
                why if series_uid is None or uid != chosen else f"asked for ({why})",
            )
        )
    return series[chosen], summaries


def _preference(slices, reasons):
    usable = [item for item in slices if item.is_ct] or slices
    first = usable[0]
    thickness = first.number("SliceThickness", 5.0)
    named = HEAD_WORDS.search(f"{first.text('SeriesDescription')} {first.text('BodyPartExamined')}")
    date = int(first.text("StudyDate")) if first.text("StudyDate").isdigit() else 0
    return (
        sum(weight for weight, _ in reasons),
        -(min(coverage_mm(usable), 130.0) // 20),
        max(2.0 - thickness, thickness - 6.0, 0.0),
        named is None,
        -date,
        -len(usable),
    )


def _refuse_unfit(ranked):
    """Refuse a choice that a person has to make, or without an answer; `ranked` holds (slices, reasons), best first."""
    best, reasons = ranked[0]
    if reasons and reasons[0][0] >= BLOCKING:
        kinds = Counter(f"{reasons[0][1]} ({_words(items)})" for items, reasons in ranked)
        found = "; ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())
        raise InputError(f"There is no axial CT series to analyze; expected a non-contrast head CT, found {found}.")
    if reasons and reasons[0][0] == ANGIOGRAPHY:
        raise InputError(
            f"The only usable series is {reasons[0][1]} ({_words(best)}); expected a head CT without contrast."
        )


def _refuse_several_patients(slices):
    patients = {item.text("PatientID") or item.text("PatientName") for item in slices}
    if len(patients) > 1:
        raise InputError(
            f"The files belong to {len(patients)} patients; expected the scan of one: give a folder of one patient, "
            f"or choose a series; found {', '.join(sorted(patients))}."
        )


def _words(slices):
    description = slices[0].text("SeriesDescription") or "no description"
    return f"{description}, {len(slices)} image{'s' if len(slices) > 1 else ''}"
