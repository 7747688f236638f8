"""Contents of a volume file before conversion to Hounsfield units: the same for scans, masks and maps."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _

ONE_VALUE = _("expected a CT with one value per voxel")
"""For messages about color images and time series."""


@dataclass(frozen=True)
class StoredVolume:
    """Values and checked geometry of a file.

    Attributes
    ----------
    values : ndarray of shape (K, J, I), or (K, J, I, C) in a segmentation with several layers
        Scaled as the header states.
    ijk_to_ras : ndarray of shape (4, 4)
        Millimeters.
    header : dict of str to str
        Other fields, by name.
    warnings : tuple of str
        About the geometry.
    """

    values: np.ndarray
    ijk_to_ras: np.ndarray
    header: dict = field(default_factory=dict)
    warnings: tuple = ()


def refuse_longer(path: Path, expected: int, found: int, slices: int) -> None:
    """Refuse a file with a slice more than its header states: the header is that of another image.

    Parameters
    ----------
    path : Path
    expected, found : int
        Bytes of voxels; some more do no harm.
    slices : int
        Number of slices that are expected.

    Raises
    ------
    InputError
    """
    if found >= expected + expected // slices:
        raise InputError(
            _("{name} holds more than its header says; expected {expected} bytes of voxels, found {found}.").format(
                name=path.name, expected=expected, found=found
            )
        )


def three_sizes(path: Path, sizes: Iterable[float]) -> list[int]:
    """Drop trailing axes of length one.

    Raises
    ------
    InputError
        Unless exactly three axes are left.
    """
    sizes = [int(size) for size in sizes]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 1:
        found = ", ".join(map(str, sizes))
        several = ""
        if len(sizes) == 4 and min(sizes) > 0:
            several = _(", which are {count} volumes").format(count=sizes[3])
        raise InputError(
            _("{name} has {count} dimensions ({found}){several}; expected one 3-D volume.").format(
                name=path.name, count=len(sizes), found=found, several=several
            )
        )
    return sizes


_CONTENTS = (
    (b"", _("an empty file")),
    (b"version https://git-lfs", _("a pointer of Git LFS to a file that was not downloaded")),
    (b"/annex/objects/", _("a pointer of git-annex to a file that was not downloaded")),
    (b"../.git/annex/", _("a pointer of git-annex to a file that was not downloaded")),
    (b"<", _("a page of the web or another text")),
    (b"PK\x03\x04", _("a .zip archive: unpack it first")),
    (b"\x1f\x8b", _("a compressed file: unpack it first")),
    (b"NRRD000", _("an NRRD file")),
    (b"ObjectType", _("a MetaImage file")),
)
"""How files begin that are not what their name says."""


def content_words(path: Path, content: bytes | None = None) -> str:
    """Say what a file holds that is not of the format its name says.

    Parameters
    ----------
    path : Path
    content : bytes, optional
        Beginning of the file if it is at hand, such as after unpacking.

    Returns
    -------
    str
        Empty if the content is not recognized, or of the format after all.
    """
    if content is None:
        with path.open("rb") as file:
            content = file.read(400)
    if content[128:132] == b"DICM":
        return _("a DICOM image: name it .dcm")
    if content[344:347] in (b"n+1", b"ni1"):
        return _("a NIfTI file")
    is_nrrd, is_meta = (path.name.lower().endswith(names) for names in ((".nrrd", ".nhdr"), (".mha", ".mhd")))
    for start, words in _CONTENTS:
        if content.lstrip().startswith(start) if start else not content:
            return "" if (is_nrrd and start == b"NRRD000") or (is_meta and start == b"ObjectType") else words
    return ""
