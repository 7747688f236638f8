"""Names of files and folders that every system, library and page can use."""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?|.*[. ]|.*[<>:\"|?*].*", re.I | re.S)
"""What Windows allows no file to be called."""
_LONGEST = 100
"""Bytes of a name made from another: most systems allow 255, and endings are added."""
_WITH_DATA_BESIDE = (".mhd", ".nhdr")


def safe_name(text, otherwise):
    """A name for a file or folder made from any text.

    Parameters
    ----------
    text : str
    otherwise : str
        Where nothing usable is in it.

    Returns
    -------
    str
    """
    name = re.sub(r"[^\w.-]+", "-", str(text)).encode()[:_LONGEST].decode(errors="ignore").strip("-.")
    return f"{otherwise}-{name}" if RESERVED.fullmatch(name) else name or otherwise


def stem(path):
    """The name of a file or folder without the ending of its format."""
    return re.sub(r"(\.(nii|seg))?\.[^.]*$", "", Path(path).resolve().name)


def shown(path):
    """A path as text that can be printed and stored: bytes that are no UTF-8, as of old CDs, become �."""
    return os.fsencode(path).decode("utf-8", "replace") if os.name != "nt" else str(path)


def is_utf8(path):
    """Whether libraries in C++ can open a path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_path(path):
    """Give a path that libraries in C++ can open: the same one, or a temporary link or copy.

    Parameters
    ----------
    path : Path
        Of a file; the data of a header beside it are found as well.

    Yields
    ------
    Path
    """
    if is_utf8(path):
        yield path
        return
    with TemporaryDirectory(prefix="ichmultitask-") as folder:
        folder = Path(folder)
        suffix = path.suffix.lower() if is_utf8(path.suffix) else ""
        if suffix in _WITH_DATA_BESIDE:
            for other in path.parent.iterdir():
                if other.is_file() and is_utf8(other.name):
                    _link(other, folder / other.name)
        target = folder / (path.name if is_utf8(path.name) else f"scan{suffix}")
        if not target.exists():
            _link(path, target)
        yield target


def _link(path, target):
    with suppress(OSError, NotImplementedError):
        target.symlink_to(path.resolve())
        return
    copyfile(path, target)
