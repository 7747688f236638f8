"""NIfTI files: their header, voxels and geometry.

Read without a library, because the libraries that Slicer ships reject or orthogonalize the sheared sform of a scan with
gantry tilt.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from .stated_geometry import MM_PER_UNIT, checked_affine
from .stored_volume import ONE_VALUE, StoredVolume, content_words, refuse_longer, three_sizes

TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
COLOR_TYPES = (128, 2304)
UNITS = {0: "mm", 1: "m", 2: "mm", 3: "um"}
"""xyzt_units of nifti1.h; unknown units are assumed to be mm, as is common practice."""
TEMPLATE_CODES = (3, 4, 5)
"""Codes of an affine to Talairach, MNI or another template, which may scale the head."""


@dataclass(frozen=True)
class _Header:
    order: str
    least_offset: int
    kind: int
    dim: tuple
    pixdim: tuple
    offset: float
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    quaternion: tuple
    sform: tuple
    units: int


def read_nifti(path: Path) -> StoredVolume:
    """Read a NIfTI-1 or NIfTI-2 file, plain or gzipped.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredVolume

    Raises
    ------
    InputError
        If the file is damaged, in color, not one 3-D volume, or its geometry is not plausible.
    """
    header, content = _header_and_content(path)
    if header.kind in COLOR_TYPES:
        raise InputError(_("{name} is a color image; {expected}.").format(name=path.name, expected=ONE_VALUE))
    if header.kind not in TYPES:
        raise InputError(
            _("{name} has values of NIfTI type {kind}; expected whole or real numbers.").format(
                name=path.name, kind=header.kind
            )
        )
    shape = three_sizes(path, header.dim[1 : header.dim[0] + 1])
    dtype = np.dtype(f"{header.order}{TYPES[header.kind]}")
    count = math.prod(shape)
    # Damaged headers may contain any value.
    offset = int(header.offset) if 0 <= header.offset <= len(content) else len(content)
    offset = offset or header.least_offset  # 0: directly after the header
    if offset < header.least_offset:
        raise InputError(
            _(
                "{name} states that its voxels begin at byte {offset}, within the header; expected {least} or more."
            ).format(name=path.name, offset=offset, least=header.least_offset)
        )
    expected, found = count * dtype.itemsize, len(content) - offset
    if found < expected:
        raise InputError(
            _("{name} is truncated; expected {expected} bytes of voxels, found {found}.").format(
                name=path.name, expected=expected, found=found
            )
        )
    refuse_longer(path, expected, found, shape[2])
    voxels = np.frombuffer(content, dtype=dtype, count=count, offset=offset).reshape(shape[::-1])
    slope, intercept = header.slope, header.intercept
    if slope != 0.0 and np.isfinite((slope, intercept)).all() and (slope, intercept) != (1.0, 0.0):
        with np.errstate(over="ignore", invalid="ignore"):
            voxels = voxels.astype(np.float64) * slope + intercept
    affine, warnings = _geometry(path, header)
    return StoredVolume(voxels, affine, warnings=warnings)


def _header_and_content(path):
    """Return the header and the whole file, unzipped."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                _("{name} is truncated or damaged; expected a complete gzip file, found: {error}.").format(
                    name=path.name, error=error
                )
            ) from error
    sizes = {size: order for order in "<>" for size in struct.unpack_from(f"{order}i", content.ljust(4, b"\0"))}
    for size, magic, start, parse in ((348, b"n+1", 344, _first), (540, b"n+2", 4, _second)):
        if size in sizes and len(content) >= size and content[start : start + 3] == magic:
            return parse(sizes[size], content), content
    raise InputError(
        _(
            "{name} is not a readable NIfTI file; expected a single-file NIfTI-1 or NIfTI-2 header, found {found}."
        ).format(name=path.name, found=content_words(path, content[:400]) or _("something else"))
    )


def _first(order, content):
    """Header of nifti1.h."""

    def values(form, at):
        return struct.unpack_from(order + form, content, at)

    return _Header(
        order, 352, *values("h", 70), values("8h", 40), values("8f", 76), *values("3f", 108), *values("hh", 252),
        values("6f", 256), values("12f", 280), content[123],
    )  # fmt: skip


def _second(order, content):
    """Header of nifti2.h."""

    def values(form, at):
        return struct.unpack_from(order + form, content, at)

    return _Header(
        order, 544, *values("h", 12), values("8q", 16), values("8d", 104), *values("qdd", 168), *values("ii", 344),
        values("6d", 352), values("12d", 400), *values("i", 500),
    )  # fmt: skip


def _geometry(path, header):
    """Affine in mm and warnings, after checking sform, qform and pixdim against each other."""
    unit = UNITS.get(header.units & 7)
    if unit is None:
        raise InputError(
            _("{name} states a length unit of code {code}; expected m, mm or µm.").format(
                name=path.name, code=header.units & 7
            )
        )
    factor = MM_PER_UNIT[unit]
    warnings = []
    spacing = np.array(header.pixdim[1:4], dtype=float)
    if (spacing < 0).any():
        warnings.append(_("The header states a negative spacing in pixdim, which NIfTI forbids; the sign was ignored."))
        spacing = np.abs(spacing)
    matrices = {}
    if header.sform_code > 0:
        matrices["sform"] = np.vstack([np.reshape(header.sform, (3, 4)), [0, 0, 0, 1]]).astype(float)
    if header.qform_code > 0:
        matrices["qform"] = _qform(path, header, spacing)
        if header.sform_code in TEMPLATE_CODES and header.qform_code not in TEMPLATE_CODES:
            # An sform to a template may scale the head; the qform is in scanner coordinates.
            if not np.allclose(matrices["sform"], matrices["qform"], rtol=0, atol=0.01 * spacing.max()):
                warnings.append(
                    _("The header's sform maps to a template; the scanner's own geometry (qform) was used.")
                )
            del matrices["sform"]
    if not matrices:
        raise InputError(
            _("{name} states no orientation; expected an sform or a qform in the NIfTI header.").format(name=path.name)
        )
    codes = {"sform": header.sform_code, "qform": header.qform_code}
    if all(codes[name] in TEMPLATE_CODES for name in matrices):
        warnings.append(
            _(
                "The header places the scan in the space of a template and states no geometry of the scanner. If a "
                "program fitted the head to the template, its size, and so every volume, was changed."
            )
        )
    for matrix in matrices.values():
        matrix[:3] *= factor
    # A pixdim of 0 means that the header states no spacing besides its sform.
    stated = [length * factor if length > 0 or not np.isfinite(length) else None for length in spacing]
    affine, found = checked_affine(path.name, matrices, {"pixdim": stated})
    return affine, (*warnings, *found)


def _qform(path, header, spacing):
    """NIfTI method 2 (nifti1.h): rotation from a quaternion, spacing, handedness, offset."""
    b, c, d, *shift = (float(value) for value in header.quaternion)
    square = b * b + c * c + d * d
    if not square <= 1.01:
        raise InputError(
            _(
                "{name} states no usable orientation; expected the three parts of a unit quaternion in its "
                "qform, found {b:g}, {c:g}, {d:g}."
            ).format(name=path.name, b=b, c=c, d=d)
        )
    if square > 1.0:
        b, c, d = (value / math.sqrt(square) for value in (b, c, d))
    a = math.sqrt(max(0.0, 1.0 - square))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * [1.0, 1.0, -1.0 if header.pixdim[0] < 0 else 1.0]
    affine[:3, 3] = shift
    return affine
