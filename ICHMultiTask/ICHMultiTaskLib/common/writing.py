"""Folders that appear whole or not at all."""

import errno
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def os_error_sentence(error, path):
    """Say in one sentence why writing under `path` failed."""
    if error.errno in _FULL:
        return f"The disk is full: {path} could not be written; free some space or choose another folder."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write {path}; choose another output folder."
    return f"{path} could not be written: {error.strerror or error}."


@contextmanager
def new_folder(path, replaces=None):
    """Write a folder atomically.

    Parameters
    ----------
    path : path-like
        The folder that shall exist afterwards. Missing parents are created.
    replaces : str, optional
        A folder already at `path` is replaced if it holds this file (relative path), which shows that
        it is an earlier result of the same kind. An empty folder is always replaced.

    Yields
    ------
    Path
        A temporary sibling of `path` to write into. It becomes `path` when the block ends, and is
        removed if the block raises, whatever it raises.

    Raises
    ------
    OutputError
        Before the block runs if `path` is taken or cannot be written; after it if the disk is full.
    """
    path = Path(os.path.abspath(path))
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    _check_free(path, replaces)
    created = [parent for parent in path.parents if not parent.exists()]
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        _remove_empty(created)
        raise OutputError(os_error_sentence(error, path)) from error
    try:
        yield partial
        _check_free(path, replaces)
        _move(partial, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        _remove_empty(created)
        if isinstance(error, OutputError):  # names a file of the temporary folder, which the user never sees
            raise OutputError(str(error).replace(str(partial), str(path))) from error
        if isinstance(error, OSError) and (error.errno in _FULL or str(error.filename).startswith(str(partial))):
            raise OutputError(os_error_sentence(error, path)) from error
        raise


def _check_free(path, replaces):
    if path.is_dir():
        if any(path.iterdir()) and not (replaces and (path / replaces).is_file()):
            hint = f"; only a folder that holds {replaces} is replaced" if replaces else ""
            raise OutputError(f"The output folder {path} is not empty{hint}; expected a new or an empty folder.")
    elif path.exists():
        raise OutputError(f"{path} is a file; expected the path of a new or an empty output folder.")


def _move(partial, path):
    """Rename `partial` to `path`; an earlier folder there is put aside first and removed last."""
    if not path.exists():
        partial.rename(path)
        return
    aside = partial.with_suffix(".replaced")
    path.rename(aside)
    try:
        partial.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove_empty(folders):
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
