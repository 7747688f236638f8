"""NIfTI, NRRD and MetaImage files as HeadCT."""

import gzip
import math
import struct
import zlib
from dataclasses import replace

import numpy as np

from ..common.errors import InputError
from .geometry import LPS_TO_RAS, tilt_deg
from .head_ct import HeadCT, ScanFacts

NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
NIFTI_COLOR_TYPES = (128, 2304)
IMAGE_IO = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}


def read_nifti(path):
    """Read a NIfTI-1 or NIfTI-2 file, plain or gzipped.

    Read here rather than through a library since those that Slicer ships refuse or straighten a sheared
    sform, which is what a tilted gantry gives.

    Parameters
    ----------
    path : Path

    Returns
    -------
    HeadCT

    Raises
    ------
    InputError
        If the file is damaged, color, or not one 3-D volume.
    """
    header, content = _nifti_content(path)
    order, is_second = header
    if is_second:
        kind, _ = struct.unpack_from(f"{order}hh", content, 12)
        dim = struct.unpack_from(f"{order}8q", content, 16)
        pixdim = struct.unpack_from(f"{order}8d", content, 104)
        offset, slope, intercept = struct.unpack_from(f"{order}qdd", content, 168)
        qform_code, sform_code = struct.unpack_from(f"{order}ii", content, 344)
        quaternion = struct.unpack_from(f"{order}6d", content, 352)
        sform = struct.unpack_from(f"{order}12d", content, 400)
        units = struct.unpack_from(f"{order}i", content, 500)[0]
    else:
        dim = struct.unpack_from(f"{order}8h", content, 40)
        kind = struct.unpack_from(f"{order}h", content, 70)[0]
        pixdim = struct.unpack_from(f"{order}8f", content, 76)
        offset, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
        units = content[123]
        qform_code, sform_code = struct.unpack_from(f"{order}hh", content, 252)
        quaternion = struct.unpack_from(f"{order}6f", content, 256)
        sform = struct.unpack_from(f"{order}12f", content, 280)
    if kind in NIFTI_COLOR_TYPES:
        raise InputError(f"{path.name} is a color image; expected a CT with one value a voxel.")
    if kind not in NIFTI_TYPES:
        raise InputError(f"{path.name} holds values of NIfTI type {kind}; expected whole or real numbers.")
    shape = _shape_3d(path, dim[1 : dim[0] + 1])
    dtype = np.dtype(f"{order}{NIFTI_TYPES[kind]}")
    count = math.prod(shape)
    offset = int(offset) if 0 <= offset <= len(content) else len(content)  # damaged headers hold anything
    if len(content) < offset + count * dtype.itemsize:
        raise InputError(
            f"{path.name} is truncated; expected {count * dtype.itemsize} bytes of voxels, "
            f"found {len(content) - offset}."
        )
    voxels = np.frombuffer(content, dtype=dtype, count=count, offset=offset).reshape(shape[::-1])
    if slope not in (0.0, 1.0) or (slope != 0.0 and intercept != 0.0):
        if np.isfinite((slope, intercept)).all():
            voxels = voxels.astype(np.float64) * slope + intercept
    if sform_code > 0:
        affine = np.vstack([np.reshape(sform, (3, 4)), [0, 0, 0, 1]]).astype(float)
    elif qform_code > 0:
        affine = _qform(quaternion, pixdim)
    else:
        raise InputError(f"{path.name} states no orientation; expected an sform or a qform in the NIfTI header.")
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(units & 7, 1.0)  # meters, micrometers
    return _with_tilt(HeadCT(as_hu(voxels), affine, ScanFacts(path=str(path), format="NIfTI")))


def _nifti_content(path):
    """Return (byte order, whether NIfTI-2) and the whole file, unzipped."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path.name} is truncated; expected a complete gzip file, found: {error}.") from error
    sizes = {size: order for order in "<>" for size in struct.unpack_from(f"{order}i", content.ljust(4, b"\0"))}
    for size, is_second in ((348, False), (540, True)):
        magic = content[4:7] if is_second else content[344:347]
        if size in sizes and len(content) >= size and magic == (b"n+2" if is_second else b"n+1"):
            return (sizes[size], is_second), content
    raise InputError(f"{path.name} is not a readable NIfTI file; expected a single-file NIfTI-1 or NIfTI-2 header.")


def _shape_3d(path, sizes):
    """Drop trailing axes of length one; refuse anything but three axes."""
    sizes = list(sizes)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 1:
        raise InputError(f"{path.name} has {len(sizes)} dimensions {tuple(sizes)}; expected one 3-D volume.")
    return sizes


def _qform(quaternion, pixdim):
    """NIfTI method 2 (nifti1.h): rotation from a quaternion, spacing, handedness, offset."""
    b, c, d, *shift = (float(value) for value in quaternion)
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([pixdim[1], pixdim[2], pixdim[3] * (-1.0 if pixdim[0] < 0 else 1.0)])
    affine[:3, 3] = shift
    return affine


def read_with_simpleitk(path, format_name):
    """Read an NRRD or MetaImage file; its direction matrix may be sheared.

    Parameters
    ----------
    path : Path
    format_name : str
        "NRRD" or "MetaImage".

    Returns
    -------
    HeadCT

    Raises
    ------
    InputError
        If the file is damaged, color, or not one 3-D volume.
    """
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path), imageIO=IMAGE_IO[format_name])
    except RuntimeError as error:
        raise InputError(
            f"{path.name} cannot be read; expected a complete {format_name} file, found a truncated or foreign one."
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path.name} has {image.GetNumberOfComponentsPerPixel()} values a voxel (color or several frames); "
            "expected a CT with one."
        )
    size = _shape_3d(path, image.GetSize())
    voxels = SimpleITK.GetArrayFromImage(image).reshape(size[::-1])
    dimension = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return _with_tilt(HeadCT(as_hu(voxels), LPS_TO_RAS @ affine, ScanFacts(path=str(path), format=format_name)))


def _with_tilt(head_ct):
    """State the gantry tilt that the grid's shear shows: these formats have no field for it."""
    tilt = round(tilt_deg(head_ct.ijk_to_ras), 1) + 0.0
    return replace(head_ct, facts=replace(head_ct.facts, gantry_tilt_deg=tilt))


def as_hu(voxels):
    """Return values as int16 where that is exact, else float32; values below -1024 become -1024."""
    low = np.fmin.reduce(voxels, axis=None)
    high = np.fmax.reduce(voxels, axis=None)
    if np.isfinite((low, high)).all() and high <= 32767:
        clipped = np.maximum(voxels, -1024) if low < -1024 else voxels
        whole = clipped if clipped.dtype.kind in "iu" else np.nan_to_num(clipped).astype(np.int16)
        if clipped.dtype.kind in "iu" or np.array_equal(whole, clipped):
            return np.ascontiguousarray(whole, dtype=np.int16)
    return np.ascontiguousarray(np.maximum(voxels, -1024), dtype=np.float32)
