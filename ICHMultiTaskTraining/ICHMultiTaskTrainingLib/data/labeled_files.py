"""Find scans in a folder, and their segmentations."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import first_few, shown
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.measures.labeled_scan import on_lattice
from ICHMultiTaskLib.measures.segment_dicom import SEGMENTATION_CLASSES, referenced_series
from ICHMultiTaskLib.measures.segment_files import labels_of, read_segments
from ICHMultiTaskLib.scan.dicom_files import Slice, is_media_directory, read_header
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.volume_files import read_stored, suffix_of

SCENES = (".mrb", ".mrml")
MAX_LABELS = 20
"""An integer file with more distinct values than this is taken for a scan."""
_WORDS = r"seg|segs|segm|segmentations?|masks?|labels?|labelmaps?|rois?|annotations?|ground ?truth|gt|manual|outlines?"
_IS_SEGMENTATION = re.compile(rf"(?:^|[^a-z])(?:{_WORDS})(?:tr|ts)?(?:$|[^a-z])", re.IGNORECASE)
_KINDS = rf"(?:{_WORDS}|images?|scans?|cts?|dicom|data|nifti|volumes?)(?:tr|ts)?"
_IS_KIND = re.compile(_KINDS, re.IGNORECASE)
"""Names of folders that describe their contents, not a patient."""


@dataclass(frozen=True)
class ScanFile:
    """A scan: a file or a folder of DICOM images.

    Attributes
    ----------
    path : Path
    patient_id : str
        Patient ID in its DICOM headers.
    series : dict of str to Path
        First image of each DICOM series in the folder, without subfolders.
    """

    path: Path
    patient_id: str = ""
    series: dict = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Pair:
    """A scan and its segmentations.

    Attributes
    ----------
    scan : ScanFile
    segmentations : tuple of Path
    """

    scan: ScanFile
    segmentations: tuple


@dataclass
class Found:
    """Contents of a folder.

    Attributes
    ----------
    pairs : list of Pair
        All scans, also those without a segmentation, except of patients with a scene.
    scenes : list of Path
    alone : list of (Path, str)
        Segmentations without a unique scan, and the reason.
    unreadable : list of (Path, str)
        Unreadable files, and the reason.
    """

    pairs: list = field(default_factory=list)
    scenes: list = field(default_factory=list)
    alone: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)


def find_labeled(folder: Path, progress: Progress = NO_PROGRESS) -> Found:
    """Find scans (DICOM, NIfTI, NRRD, MetaImage) and the segmentations of each.

    A segmentation belongs to the scan that a DICOM SEG references; else to the scan of the same name beside it or in a
    parallel folder ("images/p1.nii.gz" and "masks/p1_mask.nii.gz"); else to the only scan in its patient's folder, or
    the only one there with the same grid. Segmentations are recognized by name (.seg.nrrd, mask, label, …), else by
    their voxel values.

    Parameters
    ----------
    folder : Path
    progress : callable (fraction, message), optional

    Returns
    -------
    Found

    Raises
    ------
    InputError
        If `folder` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise InputError(f"The folder of scans is missing: expected a folder, found {found} at {folder}.")
    found, scans, segmentations = Found(), [], []
    walked = [(Path(place), sorted(names)) for place, inner, names in os.walk(folder) if _sort(inner)]
    for n, (place, names) in enumerate(walked):
        progress(n / len(walked), "Looking for scans")
        series, patient_id = {}, ""
        for path in (place / name for name in names if not name.startswith(".")):
            if path.suffix.lower() in SCENES:
                found.scenes.append(path)
            elif suffix_of(path) is not None:
                _sort_file(path, scans, segmentations, found)
            elif path.suffix.lower() == ".zip":
                scans.append(ScanFile(path))
            elif (item := _dicom(path)) is not None:
                if item.sop_class in SEGMENTATION_CLASSES:
                    segmentations.append(path)
                elif item.is_ct:
                    series.setdefault(item.text("SeriesInstanceUID"), path)
                    patient_id = patient_id or item.text("PatientID")
        if series:
            scans.append(ScanFile(place, patient_id, series))
    _pair(folder, scans, segmentations, found)
    return found


def core_name(path: Path) -> str:
    """File name without suffix and words such as "mask": the rest identifies the patient."""
    suffix = "" if path.is_dir() else suffix_of(path) or path.suffix
    name = path.name[: len(path.name) - len(suffix)]
    name = re.sub(r"_0000$", "", name)  # channel number of nnU-Net
    words = [re.sub(rf"^{_KINDS}(?=\d)", "", word, flags=re.IGNORECASE) for word in re.split(r"[\s._-]+", name)]
    words = [word for word in words if word and not _IS_KIND.fullmatch(word)]
    return "-".join(words).casefold()


def _sort(inner):
    """Sort subfolders by name and drop hidden ones, in place."""
    inner[:] = sorted(name for name in inner if not name.startswith("."))
    return True


def _sort_file(path, scans, segmentations, found):
    if _IS_SEGMENTATION.search(path.name) or _IS_SEGMENTATION.fullmatch(path.parent.name):
        segmentations.append(path)
        return
    try:
        values = read_stored(path).values
    except (InputError, OSError) as error:
        found.unreadable.append((path, str(error)))
        return
    try:
        is_mask = values.ndim == 4 or len(labels_of(path.name, values)) <= MAX_LABELS
    except InputError:
        is_mask = False
    (segmentations.append if is_mask else lambda scan: scans.append(ScanFile(scan)))(path)


def _dicom(path):
    try:
        header = read_header(path)
    except OSError:
        return None
    return None if header is None or is_media_directory(header) else Slice(path, header)


def _pair(folder, scans, segmentations, found):
    of_scan = defaultdict(list)
    left = []
    for path in segmentations:
        named = [(scan, drawn_on) for scan in scans if (drawn_on := _named_by(path, scan, folder)) is not None]
        if len(named) == 1:
            scan, drawn_on = named[0]
            if drawn_on not in scans:
                scans.insert(scans.index(scan), drawn_on)
            of_scan[drawn_on].append(path)
        else:
            left.append(path)
    # If segmentations reference single series of a folder, the folder itself does not count as a scan.
    files = {scan.path.parent for scan in of_scan if scan.path in scan.series.values()}
    scans[:] = [scan for scan in scans if scan.path not in files or scan in of_scan]
    for path in left:
        home = home_of(path, folder)
        near = [scan for scan in scans if scan.path.is_relative_to(home)]
        if home == folder:  # not a patient's folder: different names mean different patients
            near = [s for s in near if s not in of_scan and not (core_name(path) and core_name(s.path))]
        chosen = [(scan, scan) for scan in near] if len(near) == 1 and len(near[0].series) < 2 else []
        chosen = chosen or _of_same_grid(path, near)
        if len(chosen) == 1:
            scan, drawn_on = chosen[0]
            scans[scans.index(scan)] = drawn_on
            of_scan[drawn_on].append(path)
            continue
        what = first_few([shown(scan.path.name) for scan in near], 4)
        found.alone.append(
            (path, f"it is not clear which scan it is of: expected one next to it, found {what or 'none without one'}")
        )
    homes = {home_of(scene, folder) for scene in found.scenes} - {folder}
    names = {core_name(scene) for scene in found.scenes if home_of(scene, folder) == folder} - {""}
    # A scan that was saved in a scene counts once, as in the scene: with its transforms.
    found.pairs = [
        Pair(scan, tuple(of_scan.get(scan, ())))
        for scan in scans
        if home_of(scan.path, folder) not in homes and core_name(scan.path) not in names
    ]


def home_of(path: Path, folder: Path) -> Path:
    """Folder of the file's patient, or of all patients: the nearest parent that is not named "images" or similar."""
    home = path.parent
    while home != folder and _IS_KIND.fullmatch(home.name):
        home = home.parent
    return home


def _named_by(path, scan, folder):
    """The scan, or one series of it, that a segmentation references or shares its name with; else None."""
    if scan.series and suffix_of(path) is None:
        uid = referenced_series(path)
        if uid:
            one_of_several = len(scan.series) > 1 and scan.path.is_dir()
            return None if uid not in scan.series else replace(scan, path=scan.series[uid]) if one_of_several else scan
    name = core_name(path)
    same = bool(name) and core_name(scan.path) == name and home_of(path, folder) == home_of(scan.path, folder)
    return scan if same else None


def _of_same_grid(path, scans):
    """Scans with the same grid as a segmentation, as pairs of the scan and the scan or series that matches."""
    try:
        segment = next(iter(read_segments(path)), None)
    except InputError:
        return []
    if segment is None:
        return []
    return [(scan, drawn_on) for scan in scans if (drawn_on := _on_grid(segment, scan)) is not None]


def _on_grid(segment, scan):
    """The scan with the same grid as a segment, or the one of its series that has it, by its first image; else None."""
    others = list(scan.series.values()) if len(scan.series) > 1 else []
    for image in (scan.path, *others):
        try:
            if on_lattice(segment, read_head_ct(image)):
                return replace(scan, path=image)
        except (InputError, OSError):
            continue
    return None
