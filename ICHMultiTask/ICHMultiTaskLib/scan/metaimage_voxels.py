"""Whether all voxels of a MetaImage file are there.

ITK reads a damaged compressed file without an error: its voxels are then whatever was in the memory.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..common.errors import InputError
from ..common.translation import tr as _
from .stored_volume import refuse_longer

_BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "LONG_LONG": 8,
    "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_LONGEST, _MOST_AXES, _MOST_BYTES = 250, 10, 1 << 38
"""Most characters of a text, axes and compressed bytes of an image that are passed on to ITK."""
_NUMBERS = dict.fromkeys(("DimSize", "Offset", "Position", "Origin", "CenterOfRotation", "ElementSpacing"), 1)
_NUMBERS |= {"ElementSize": 1, "TransformMatrix": 2, "Rotation": 2, "Orientation": 2}
"""Fields of as many numbers as there are axes, or the square of it."""
_DATA_FILE = re.compile(r"[^%]*|[^%]*%0?\d?d[^%]*")
"""ITK takes the name of the file with the voxels for a format of C: one number of the slice may be in it."""


def check_voxels(path: Path, fields: Mapping[str, str], content: bytes) -> None:
    """Refuse a file whose voxels are missing, cut short, damaged or more than stated.

    Parameters
    ----------
    path : Path
    fields : mapping of str to str
        Of the header, as they are spelled.
    content : bytes
        The whole file.

    Raises
    ------
    InputError
        Voxels in lists or patterns of files, or as text, are not judged.
    """
    _refuse_header(path, fields)
    source = fields.get("ElementDataFile", "")
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    sizes = fields.get("DimSize", "").split()
    if kind not in _BYTES or not sizes or not all(size.isdecimal() for size in sizes):
        return
    if not source or source.split()[0] == "LIST" or "%" in source or not _is_true(fields.get("BinaryData", "True")):
        return
    is_local = source in ("LOCAL", "Local", "local")
    if is_local:
        voxels = content[content.index(b"\n", content.index(b"ElementDataFile")) + 1 :]
    else:
        file = path.parent / source
        if not file.is_file():
            raise InputError(
                _("{name} has its voxels in the file {source}; expected it beside {name}, found none.").format(
                    name=path.name, source=source
                )
            )
        voxels = file.read_bytes()
    start = fields.get("HeaderSize", "0")
    voxels = voxels[int(start) if start.isdecimal() else 0 :]
    count = math.prod(map(int, sizes)) * _channels(fields)
    expected = count * _BYTES[kind]
    is_compressed = _is_true(fields.get("CompressedData", "False"))
    if is_compressed and "CompressedDataSize" not in fields and is_local:
        raise InputError(
            _("{name} is compressed; expected CompressedDataSize in its MetaImage header, found none.").format(
                name=path.name
            )
        )
    found = _unpacked(voxels) if is_compressed else len(voxels)
    if found < expected:
        raise InputError(
            _("{name} is truncated or damaged; expected {expected} bytes of voxels, found {found}.").format(
                name=path.name, expected=expected, found=found
            )
        )
    if not is_compressed and start != "-1":
        refuse_longer(path, expected, found, int(sizes[-1]))


def _refuse_header(path, fields):
    """Refuse what ITK writes beyond its buffers, or takes for other numbers: it may end the whole program."""
    axes = fields.get("NDims", "3")
    for field, value in fields.items():
        if not _is_sound(field, value, int(axes) if axes.isdecimal() else 0):
            shown = "".join(letter if letter.isprintable() else "�" for letter in value[:40])
            raise InputError(
                _("{name} is damaged; expected usable values in its MetaImage header, found {field} = {value}.").format(
                    name=path.name, field=field, value=shown + "…" * (len(value) > 40)
                )
            )


def _is_sound(field, value, axes):
    if field in ("NDims", "CompressedDataSize"):
        return value.isdecimal() and int(value) <= (_MOST_AXES if field == "NDims" else _MOST_BYTES)
    if field in _NUMBERS:
        try:
            numbers = [float(word) for word in value.split()]
        except ValueError:
            return False
        return len(numbers) == axes ** _NUMBERS[field] and (field != "DimSize" or min(numbers) >= 1)
    if field == "ElementDataFile" and not (value.isprintable() and _DATA_FILE.fullmatch(value)):
        return False
    return len(value) <= _LONGEST


def _is_true(text):
    """Whether a field says true, as ITK reads it."""
    return text[:1] in ("T", "t", "1")


def _channels(fields):
    count = fields.get("ElementNumberOfChannels", "1")
    return int(count) if count.isdecimal() else 1


def _unpacked(data):
    """Bytes that a zlib or gzip stream holds, up to where it is damaged."""
    stream, found = zlib.decompressobj(47), 0
    try:
        for start in range(0, len(data), 1 << 20):
            found += len(stream.decompress(data[start : start + (1 << 20)]))
            if stream.eof:
                break
    except zlib.error:
        pass
    return found
