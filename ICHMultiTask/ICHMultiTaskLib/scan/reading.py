"""Reading a head CT from DICOM, NIfTI, NRRD or MetaImage."""

from __future__ import annotations

import errno
import os
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError
from ..common.progress import NO_PROGRESS, part
from ..common.translation import joined
from ..common.translation import tr as _
from ..common.writing import LIST_FILE
from . import dicom, dicom_files, series_choice
from .series_choice import SeriesSummary
from .volume_files import read_volume_file, suffix_of

if TYPE_CHECKING:
    from ..common.progress import Progress
    from .head_ct import HeadCT

__all__ = ["SeriesSummary", "list_series", "read_head_ct"]

EXPECTED = _("expected a folder, file or .zip of DICOM images, or a NIfTI, NRRD or MetaImage file")
ARCHIVES = (".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".iso")


def read_head_ct(path: str | os.PathLike, series_uid: str | None = None, progress: Progress | None = None) -> HeadCT:
    """Read a head CT.

    Parameters
    ----------
    path : str or Path
        Folder of DICOM files (searched with its subfolders), one DICOM file (its series is taken from its
        folder), .zip of DICOM files, or a .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd file.
    series_uid : str, optional
        DICOM series to read; by default the axial soft-tissue series (see `list_series`).
    progress : callable, optional
        Called as ``progress(fraction, message)``.

    Returns
    -------
    HeadCT
        `facts.warnings` states which series was read and how its slices were processed.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, or it does not contain one CT volume.
    DependencyError
        If a package that decodes its pixels is not installed.
    """
    progress = progress or NO_PROGRESS
    path = _path(path)
    if path.is_file() and suffix_of(path) is not None:
        if series_uid is not None:
            raise InputError(
                _("{name} contains one volume; expected DICOM images, since a series was chosen.").format(
                    name=path.name
                )
            )
        with _readable(path):
            return read_volume_file(path)
    with _dicom_images(path, part(progress, 0.0, 0.3)) as (images, file_uid):
        chosen, summaries, is_clear = series_choice.choose_series(images.slices, series_uid or file_uid)
        head_ct = dicom.read_series(chosen, images.unreadable, path, part(progress, 0.3, 1.0))
    choice = _choice_sentence(summaries)
    facts = replace(head_ct.facts, series_choice=choice)
    if not is_clear and len(summaries) > 1:
        facts = replace(facts, warnings=(choice, *facts.warnings))
    head_ct = replace(head_ct, facts=facts)
    progress(1.0, _("Scan read"))
    return head_ct


def list_series(folder: str | os.PathLike) -> list[SeriesSummary]:
    """List the DICOM series in a folder, file or .zip.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of SeriesSummary
        In order of preference: first the one that `read_head_ct` would read. If it would read none, none is marked as
        chosen.

    Raises
    ------
    InputError
        If there is no DICOM image, or it cannot be read.
    """
    path = _path(folder)
    if path.is_file() and suffix_of(path) is not None:
        raise InputError(_("{name} contains one volume and no series; expected DICOM images.").format(name=path.name))
    with _dicom_images(path, NO_PROGRESS) as (images, file_uid):
        if file_uid is not None:
            return series_choice.choose_series(images.slices, file_uid)[1]
        return series_choice.summarize(series_choice.rank_series(images.slices))


def _path(given):
    """The path of a scan; an empty one would mean the working folder, and any scan in it."""
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise InputError(
            _("No path of a scan was given; {expected}, found {given}.").format(
                expected=EXPECTED, given=f"“{given}”" if isinstance(given, str) else type(given).__name__
            )
        )
    return Path(given).expanduser()


@contextmanager
def _dicom_images(path, progress):
    """Yield the DICOM images at a path, and the series if the path is a file (None for a folder or .zip)."""
    if not path.exists():
        raise InputError(_("{path} does not exist; {expected}.").format(path=path, expected=EXPECTED))
    if not (path.is_dir() or path.is_file()):  # a pipe would be waited for
        raise InputError(_("{path} is neither a folder nor a file; {expected}.").format(path=path, expected=EXPECTED))
    with _readable(path), _without_validation():
        yield from _images_at(path, progress)


@contextmanager
def _without_validation():
    """Keep pydicom from printing a warning for each value that violates its representation or character set."""
    from pydicom import config

    with dicom_files.ONE_AT_A_TIME, config.disable_value_validation(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield


@contextmanager
def _readable(path):
    """Report errors of the operating system in one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            _("{path} cannot be read; {expected}, found: {reason}.").format(
                path=path, expected=EXPECTED, reason=error.strerror or error
            )
        ) from error


def _images_at(path, progress):
    if path.is_dir():
        yield _require_images(dicom_files.find_images(path, progress=progress), path, path), None
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="ichmultitask-") as folder:
            _extract(path, folder)
            yield _require_images(dicom_files.find_images(Path(folder), progress=progress), path, Path(folder)), None
    elif path.suffix.lower() == ".zip":
        raise InputError(
            _("{name} is not a readable .zip archive; {expected}, found a damaged file.").format(
                name=path.name, expected=EXPECTED
            )
        )
    else:
        header = dicom_files.read_header(path)
        if header is None:
            found = _("a {suffix} file").format(suffix=path.suffix) if path.suffix else _("a file without extension")
            if path.name.lower().endswith(ARCHIVES):
                found = _("an archive: unpack it first")
            raise InputError(
                _("{name} is not a CT; {expected}, found {found}.").format(
                    name=path.name, expected=EXPECTED, found=found
                )
            )
        if dicom_files.is_media_directory(header):  # stands for all files of the medium
            folder = path.parent
            yield _require_images(dicom_files.find_images(folder, progress=progress), folder, folder), None
            return
        images = dicom_files.find_images(path.parent, recursive=False, progress=progress)
        own = next((item for item in images.slices if item.path == path), None)
        if own is None and (kind := dicom_files.other_class(header)):
            raise InputError(
                _("{name} holds no image; {expected}, found a DICOM object of the class {kind}.").format(
                    name=path.name, expected=EXPECTED, kind=kind
                )
            )
        if own is None:
            raise InputError(
                _("{name} cannot be read; expected a complete DICOM image, found a damaged file.").format(
                    name=path.name
                )
            )
        yield images, own.text("SeriesInstanceUID")


def _require_images(images, path, folder):
    """Refuse a folder, or an archive unpacked into it, without an image; say what it holds instead."""
    if images.slices:
        return images
    found = ""
    if images.unreadable:
        found = _(", found {count} damaged").format(count=len(images.unreadable))
    elif (folder / LIST_FILE).is_file():
        found = _(", found a result of this software, which does not hold the scan")
    else:
        names = [file.name for file in sorted(dicom_files.visible_files(folder))]
        volumes = [name for name in names if suffix_of(Path(name)) or name.lower().endswith(".zip")]
        archives = [name for name in names if name.lower().endswith(ARCHIVES)]
        if volumes:
            found = _(", found {name}: give the path of that file itself").format(name=volumes[0])
        elif archives:
            found = _(", found {name}: unpack it first").format(name=archives[0])
    raise InputError(
        _("{path} holds no DICOM image; {expected}{found}.").format(path=path, expected=EXPECTED, found=found)
    )


def _extract(path, folder):
    try:
        with zipfile.ZipFile(path) as archive:
            turns = Counter()
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                # Two images of one name: the second must not replace the first, also where case makes no difference.
                name = tuple(part for part in entry.filename.casefold().split("/") if part not in ("", ".", ".."))
                archive.extract(entry, Path(folder, *["again"] * turns[name]))
                turns[name] += 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            _("{name} cannot be unpacked: expected room for its files in {folder}, found a full disk.").format(
                name=path.name, folder=tempfile.gettempdir()
            )
        ) from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise InputError(
            _("{name} cannot be unpacked; expected a complete .zip without a password, found: {error}.").format(
                name=path.name, error=error
            )
        ) from error


def _choice_sentence(summaries):
    def words(summary):
        count = (_("{count} slices") if summary.slices != 1 else _("1 slice")).format(count=summary.slices)
        form = _("“{series}” ({count} of {thickness:.3g} mm; {why})")
        if summary.thickness is None:
            form = _("“{series}” ({count}; {why})")
        series = summary.description or summary.uid
        return form.format(series=series, count=count, thickness=summary.thickness, why=summary.why)

    chosen, *others = summaries
    if not others:
        return _("The only series, {chosen}, was analyzed.").format(chosen=words(chosen))
    shown = joined(", ", [*map(words, others[:4]), *(["…"] if len(others) > 4 else [])])
    return _("{count} series were found; analyzed {chosen}, not {others}.").format(
        count=len(summaries), chosen=words(chosen), others=shown
    )
