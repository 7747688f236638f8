"""Write files and folders atomically; only files written by this software are ever replaced."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from .errors import OutputError
from .names import RESERVED, is_utf8
from .translation import tr as _

LIST_FILE = ".ichmultitask.json"
"""Lists the files of a result with their SHA-256: files not listed, or changed since, belong to the user."""
PARTIAL = (".ichmultitask-", ".partial")
"""Start and end of the names of half-written files and folders; short, so that long final names still fit."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_WINDOWS = os.name == "nt"
_WINDOWS_LIMIT = 260
_OPEN_ELSEWHERE = (32, 33)
"""Windows error codes of a file that another program holds open."""
_CLUTTER = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files left by file managers: a folder that contains nothing else counts as empty."""
STALE_SECONDS = 3600.0
"""Half-written files unchanged for this long are abandoned."""
_INNER_LENGTH = 60
"""Longest path inside a result, in characters."""


def os_error_sentence(error: OSError, path: object) -> str:
    """Message for the user about a failure to write `path`, in one sentence."""
    if error.errno in _FULL:
        words = _("The disk is full: {path} could not be written; free some space or choose another folder.")
    elif getattr(error, "winerror", None) in _OPEN_ELSEWHERE:
        words = _("{path} is open in another program; close it there and try again.")
    elif error.errno in _FORBIDDEN:
        words = _("No permission to write {path}; choose another output folder.")
    elif error.errno == errno.ENAMETOOLONG or (_WINDOWS and len(str(path)) + _INNER_LENGTH > _WINDOWS_LIMIT):
        words = _("The name is too long: {path} could not be written; choose a shorter one.")
    else:
        words = _("{path} could not be written: {reason}.")
    return words.format(path=path, reason=error.strerror or error)


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file for writing; it replaces `path` when the block ends and its data are on the disk.

    Parameters
    ----------
    path : path-like
        Of a file; for a link, the target is replaced.

    Yields
    ------
    binary file

    Raises
    ------
    OutputError
        If the disk is full or the file cannot be written; an existing file at `path` is kept.
    """
    with whole_path(path) as draft, draft.open("wb") as file:
        yield file


@contextmanager
def whole_path(path: str | os.PathLike) -> Iterator[Path]:
    """As `whole_file`, for libraries that take a file name.

    Yields
    ------
    Path
        Same name in a temporary folder.
    """
    path = _real(path)
    stage = partial_path(path.parent)
    try:
        stage.mkdir()
        draft = stage / path.name
        yield draft
        _flush(draft)
        patiently(os.replace, draft, path)
    except OutputError as error:
        raise OutputError(str(error).replace(str(stage), str(path.parent))) from error
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file (UTF-8) atomically; characters that cannot be encoded, as in old file names, become "?"."""
    with whole_file(path) as file:
        file.write(text.encode(errors="replace"))


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write a value as JSON, atomically; a number that is not finite is an error."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_file(path: str | os.PathLike, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Check, before the work, that a file can be written without losing data of the user.

    Parameters
    ----------
    path : path-like
    is_ours : callable (path), optional
        Whether an existing file may be replaced; by default no.

    Raises
    ------
    OutputError
    """
    path = _real(path)
    _check_name(path)
    try:
        with suppress(FileNotFoundError):
            os.lstat(path)  # raises if the name is too long
        if path.is_dir():
            raise OutputError(_("{path} is a folder; expected the path of a file.").format(path=path))
        if not path.parent.is_dir():
            raise OutputError(
                _("The folder {parent} does not exist; expected one to write {name} into.").format(
                    parent=path.parent, name=path.name
                )
            )
        _try_writing(partial_path(path.parent))
        if path.exists() and not (is_ours and is_ours(path)):
            raise OutputError(
                _("{path} exists and is no earlier result, or was changed since; choose another name.").format(
                    path=path
                )
            )
    except OSError as error:
        raise error if isinstance(error, OutputError) else OutputError(os_error_sentence(error, path)) from error


@contextmanager
def new_folder(
    path: str | os.PathLike,
    kind: str,
    overwrite: bool = False,
    inputs: Sequence[str | os.PathLike] = (),
    written: Callable[[Path], dict[str, str | None] | None] | None = None,
) -> Iterator[Path]:
    """Write a folder atomically.

    A new folder is renamed to its final name. If the folder exists (a mount point, a link, one in a folder without
    permission), the files are moved one by one, and moved back if one of them fails.

    Parameters
    ----------
    path : path-like
        The folder to write. Missing parents are created. It may exist if it is empty.
    kind, overwrite, inputs, written
        As for `check_folder`.

    Yields
    ------
    Path
        A temporary folder on the same disk to write into. It becomes `path` when the block ends, and is removed if the
        block raises any exception.

    Raises
    ------
    OutputError
        Before the block runs if `path` is taken or cannot be written; after it if the disk is full. If `path` was taken
        in the meantime, the result is kept under another name, which is in the message.
    """
    path = _real(path)
    check_folder(path, kind, overwrite, inputs, written)
    inside = path.is_dir()
    created = [parent for parent in path.parents if not parent.exists()]
    stage = partial_path(path if inside else path.parent)
    try:
        stage.mkdir(parents=True)
        # Probe with a path as long as the longest one of the result.
        length = min(255, _INNER_LENGTH + max(0, len(str(path)) - len(str(stage))))
        _try_writing(stage / "probe".ljust(length, "-"))
    except OSError as error:
        _discard(stage, created)
        raise OutputError(os_error_sentence(error, path)) from error
    try:
        yield stage
        _finish(stage, with_list=written is None, kind=kind)
    except BaseException as error:
        _discard(stage, created)
        if isinstance(error, OutputError):  # may name a file of the temporary folder, which the user never sees
            raise OutputError(str(error).replace(str(stage), str(path))) from error
        if isinstance(error, OSError) and (error.errno in _FULL or str(error.filename).startswith(str(stage))):
            raise OutputError(os_error_sentence(error, path)) from error
        raise
    try:
        _move(stage, path, check_folder(path, kind, overwrite, inputs, written))
    except (OutputError, OSError) as error:
        reason = error if isinstance(error, OutputError) else os_error_sentence(error, error.filename or path)
        raise OutputError(
            _("{reason} The result is complete in {kept}.").format(reason=reason, kept=_kept(stage, path))
        ) from error
    except BaseException:
        _discard(stage, created)
        raise


def check_folder(
    path: str | os.PathLike,
    kind: str,
    overwrite: bool = False,
    inputs: Sequence[str | os.PathLike] = (),
    written: Callable[[Path], dict[str, str | None] | None] | None = None,
) -> list[str]:
    """Check that a folder can be written without losing data of the user.

    Parameters
    ----------
    path : path-like
    kind : str
        Kind of result, such as "analysis"; a result of another kind is not replaced.
    overwrite : bool
        Whether an earlier result may be replaced: the files in its list that are unchanged. All other files stay.
    inputs : sequence of path-like
        Inputs of the work, which must not be among the files to be replaced.
    written : callable (path), optional
        For a folder without `LIST_FILE`, such as a model bundle: returns the SHA-256 of its files by name (None:
        unknown), or None if the folder was not written by this software.

    Returns
    -------
    list of str
        Names of the files that will be replaced.

    Raises
    ------
    OutputError
    """
    path = _real(path)
    _check_name(path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error
    if not path.is_dir():
        raise OutputError(
            _("{path} is a file; expected the path of a new or an empty output folder.").format(path=path)
        )
    try:
        found = [entry.name for entry in os.scandir(path) if entry.name not in _CLUTTER and not _is_partial(entry)]
        _try_writing(partial_path(path))
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error
    if not found:
        return []
    if not overwrite:
        raise OutputError(
            _("The output folder {path} is not empty; expected a new or an empty folder.").format(path=path)
        )
    return _replaceable(path, kind, inputs, written)


def remove_partial(folder: str | os.PathLike, seconds: float = STALE_SECONDS) -> None:
    """Delete half-written files that killed processes have left in a folder.

    Parameters
    ----------
    folder : path-like
    seconds : float
        Only files unchanged for this long are deleted: another process may be writing.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _is_partial(entry) and time.time() - entry.stat(follow_symlinks=False).st_mtime >= seconds:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)


def partial_path(folder: str | os.PathLike) -> Path:
    """A new name in a folder for a file or folder that is not complete yet."""
    return Path(folder) / uuid.uuid4().hex[:8].join(PARTIAL)


def _is_partial(entry):
    return entry.name.startswith(PARTIAL[0]) and entry.name.endswith(PARTIAL[1])


def _real(path):
    """The target of a path: links stay, and their targets are written."""
    try:
        return Path(os.path.realpath(path))
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error


def _check_name(path):
    """Refuse names that the system, or the libraries for images and scenes, cannot use."""
    if not is_utf8(path):
        raise OutputError(
            _(
                "The name of the output is not valid UTF-8: expected letters, found {name!r}; choose another one."
            ).format(name=os.fsencode(path))
        )
    reserved = [part for part in path.parts[1:] if _WINDOWS and RESERVED.fullmatch(part)]
    if reserved:
        raise OutputError(
            _("Windows does not allow the file name {reserved}; choose another one for {path}.").format(
                reserved=reserved[0], path=path
            )
        )


def _try_writing(probe):
    """Write a file and remove it, so that an error appears before the work."""
    try:
        with open(probe, "wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _finish(stage, with_list, kind):
    """Flush the files to the disk, and write their list."""
    for name in _files(stage):
        _flush(stage / name)
    if with_list:
        listed = {name: _sha256(stage / name) for name in _files(stage)}
        text = json.dumps({"software": "ICHMultiTask", "kind": kind, "files": listed}, indent=1, ensure_ascii=False)
        (stage / LIST_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def _files(folder):
    """Names of all files in a folder and below, with slashes."""
    return sorted(
        (Path(place) / name).relative_to(folder).as_posix()
        for place, _folders, names in os.walk(folder)
        for name in names
    )


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path):
    """Flush a file to the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _replaceable(path, kind, inputs, written):
    """Names of the files of an earlier result that may be replaced."""
    listed = _listed(path, kind) if written is None else written(path)
    if listed is None:
        mark = _(", with {name} in it").format(name=LIST_FILE) if written is None else ""
        raise OutputError(
            _(
                "The output folder {path} is not empty; only an earlier result of the same kind "
                "({kind}{mark}) is replaced. Choose another folder."
            ).format(path=path, kind=kind, mark=mark)
        )
    names = [name for name in listed if os.path.lexists(path / name)]
    for given in inputs:
        given = _real(given)
        if path in (given, *given.parents) and any(given in ((path / name), *(path / name).parents) for name in names):
            raise OutputError(
                _(
                    "{given} is part of the earlier result in {path}, which would be replaced; choose "
                    "another output folder."
                ).format(given=given, path=path)
            )
    try:
        changed = [name for name in names if listed[name] and not _is_unchanged(path / name, listed[name])]
        for name in names if _WINDOWS else ():
            open(path / name, "r+b").close()  # fails if another program, such as a spreadsheet, has it open
    except OSError as error:
        raise OutputError(os_error_sentence(error, error.filename or path)) from error
    if changed:
        raise OutputError(
            _("{path} was changed since it was written; move it elsewhere or choose another output folder.").format(
                path=path / changed[0]
            )
        )
    return names


def _listed(path, kind):
    """SHA-256 of each file of an earlier result by name, or None if the folder is not a result of this kind."""
    try:
        stored = json.loads((path / LIST_FILE).read_text(encoding="utf-8"))
        if stored["kind"] != kind:
            return None
        listed = {
            name: str(sha256)
            for name, sha256 in stored["files"].items()
            if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return listed | {LIST_FILE: None}


def changed_files(folder: Path, kind: str) -> list[str]:
    """Names of the files of a result that are no longer as they were written.

    Parameters
    ----------
    folder : Path
    kind : str
        Of the result, as `new_folder` got it.

    Returns
    -------
    list of str
        Empty for a folder whose list of files is missing, damaged or of another kind.
    """
    listed = _listed(folder, kind) or {}
    return [name for name, sha256 in listed.items() if sha256 and not _is_unchanged(folder / name, sha256)]


def _is_unchanged(path, sha256):
    return path.is_file() and not path.is_symlink() and _sha256(path) == sha256


def _move(stage, path, replaced):
    """Move the files of `stage` to `path`, all or none of them; `replaced` are removed last."""
    if not os.path.lexists(path):
        patiently(os.rename, stage, path)
        return
    remove_partial(path)
    aside = partial_path(path)
    moves = [(path / name, aside / name) for name in reversed(replaced)]  # the list first, so that it is never wrong
    moves += [(stage / name, path / name) for name in _files(stage) if name != LIST_FILE]
    moves += [(stage / LIST_FILE, path / LIST_FILE)] if (stage / LIST_FILE).is_file() else []
    done = []
    try:
        for source, target in moves:
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            target.parent.mkdir(parents=True, exist_ok=True)
            done.append((source, target))
            patiently(os.rename, source, target)
    except BaseException:
        for source, target in reversed(done):
            if os.path.lexists(target) and not os.path.lexists(source):
                with suppress(OSError):
                    patiently(os.rename, target, source)
        _remove_empty({target.parent for _, target in moves} - {path})
        raise
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(stage, ignore_errors=True)
    _remove_empty({source.parent for source, _ in moves if path in source.parents} - {path})


def _kept(stage, path):
    """Rename a complete folder that cannot be moved to its final name; return the new name."""
    beside = [path.with_name(f"{path.name}-{n}") for n in range(2, 100)]
    for other in [*beside, *(path / f"result-{n}" for n in range(2, 100))]:
        if not os.path.lexists(other):
            with suppress(OSError):
                os.rename(stage, other)
                return other
    return stage


def patiently(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of the file system; on Windows retry for a second, while a virus scanner holds the file."""
    for _attempt in range(10 if _WINDOWS else 0):
        try:
            return function(*arguments)
        except PermissionError:
            time.sleep(0.1)
    return function(*arguments)


def _discard(stage, created):
    shutil.rmtree(stage, ignore_errors=True)
    for folder in created:
        with suppress(OSError):
            folder.rmdir()


def _remove_empty(folders):
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()
