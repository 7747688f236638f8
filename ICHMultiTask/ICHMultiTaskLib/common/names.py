"""Names of files and folders that work on every operating system, in every library and on every page."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?|.*[. ]|.*[<>:\"|?*].*", re.I | re.S)
"""File names that Windows does not allow."""
_LONGEST = 100
"""Most bytes in a generated name: most systems allow 255, and suffixes are added."""
_WITH_DATA_BESIDE = (".mhd", ".nhdr")


def safe_name(text: str, otherwise: str) -> str:
    """Make a valid name for a file or folder from any text.

    Parameters
    ----------
    text : str
    otherwise : str
        Name if `text` has no usable characters; prefix if it is a reserved name.

    Returns
    -------
    str
    """
    name = re.sub(r"[^\w.-]+", "-", str(text)).encode()[:_LONGEST].decode(errors="ignore").strip("-.")
    return f"{otherwise}-{name}" if RESERVED.fullmatch(name) else name or otherwise


def plain_id(patient: str) -> str:
    """One spelling of the spellings of a patient's ID: of its letters, spaces, leading zeros, decimals of a number."""
    text = " ".join(unicodedata.normalize("NFKC", patient).casefold().split()).lstrip("0")
    return re.sub(r"^(\d*)[.,]0+$", r"\1", text)


def spelled_twice(patients: Iterable[str]) -> list[list[str]]:
    """The different spellings of each patient who has several, see `plain_id`, in the order given."""
    spellings = {}
    for name in dict.fromkeys(patients):
        spellings.setdefault(plain_id(name), []).append(name)
    return [names for names in spellings.values() if len(names) > 1]


def stem(path: str | os.PathLike) -> str:
    """Name of a file or folder without the suffix of its format, such as ".nii.gz"."""
    return re.sub(r"(\.(nii|seg))?\.[^.]*$", "", Path(path).resolve().name)


def shown(path: str | os.PathLike) -> str:
    """A path as text that can be printed and stored: bytes that are not UTF-8, as on old CDs, become �."""
    return os.fsencode(path).decode("utf-8", "replace") if os.name != "nt" else str(path)


def first_few(texts: Sequence[str], most: int = 5) -> str:
    """The first texts, separated by commas; an ellipsis stands for the others."""
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")


def is_utf8(path: str | os.PathLike) -> bool:
    """Whether C++ libraries can open a path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Provide a path that C++ libraries can open: the same one, or a temporary link or copy.

    Parameters
    ----------
    path : Path
        Of a file; a data file next to a header file is linked as well.

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
