"""Head CTs of the user, to insert hematomas into."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError
from ..common.numbers import counted
from ..common.progress import NO_PROGRESS
from ..scan.dicom_files import is_media_directory, read_header
from ..scan.reading import read_head_ct
from ..scan.validation import check_head_ct
from ..scan.volume_files import suffix_of
from .insertion import Anatomy

if TYPE_CHECKING:
    from ..common.progress import Progress


def find_scans(folder: str | os.PathLike) -> list[Path]:
    """Scans in a folder: each subfolder, .zip and volume file in it, or the folder itself if it has DICOM files.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of Path
        Sorted; not yet opened.

    Raises
    ------
    InputError
        If the folder is missing or empty, or has DICOM files beside other scans, which would be left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The folder of head CTs does not exist: expected a folder, found nothing at {folder}.")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    scans = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() == ".zip" or suffix_of(entry)]
    if not scans and any(entry.is_file() for entry in entries):
        return [folder]
    if not scans:
        raise InputError(
            f"The folder {folder} holds no scans; expected DICOM folders, .zip, NIfTI, NRRD or MetaImage files."
        )
    if loose := [entry for entry in entries if entry not in scans and entry.is_file() and _is_dicom(entry)]:
        raise InputError(
            f"{folder} holds {counted(len(loose), 'DICOM file')} ({loose[0].name}) beside "
            f"{counted(len(scans), 'scan')} ({scans[0].name}); expected the DICOM files of a scan in a "
            "folder of their own."
        )
    return scans


def _is_dicom(path):
    """Whether a file is a DICOM file, but not a DICOMDIR, which lists others."""
    try:
        header = read_header(path)
    except OSError:
        return False
    return header is not None and not is_media_directory(header)


def usable_scans(folder: str | os.PathLike, progress: Progress | None = None) -> tuple[list[Path], list[str]]:
    """Check every scan of a folder.

    Parameters
    ----------
    folder : path
    progress : callable(float, str), optional

    Returns
    -------
    scans : list of Path
        Scans in which a cranial cavity was found.
    reasons : list of str
        For each other scan, why it cannot be used.

    Raises
    ------
    InputError
        If none is usable, with all reasons.
    """
    progress = progress or NO_PROGRESS
    scans, reasons = [], []
    candidates = find_scans(folder)
    for number, path in enumerate(candidates):
        progress(number / len(candidates), f"Looking for the cranial cavity in {path.name}")
        try:
            load_anatomy(path)
            scans.append(path)
        except InputError as error:
            reasons.append(f"{path.name}: {error}")
    if not scans:
        raise InputError(f"None of the {len(candidates)} scans in {folder} can be used. " + " ".join(reasons))
    return scans, reasons


@lru_cache(maxsize=4)
def load_anatomy(path: Path) -> Anatomy:
    """Read a scan and prepare it for insertion; the last few are cached."""
    return Anatomy(check_head_ct(read_head_ct(path)))
