"""NIfTI, NRRD and MetaImage files: voxels with checked geometry, and as a HeadCT."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..common.errors import InputError, is_out_of_memory
from ..common.names import is_utf8, shown, utf8_path
from ..common.translation import tr as _
from .geometry import LPS_TO_RAS, tilt_deg
from .head_ct import HeadCT, ScanFacts
from .hounsfield import as_hu
from .metaimage_voxels import check_voxels
from .nifti import read_nifti
from .stated_geometry import MM_PER_UNIT, checked_affine
from .stored_volume import ONE_VALUE, StoredVolume, content_words, refuse_longer, three_sizes

_SPACES = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
_ELSEWHERE = {"data file", "datafile", "line skip", "byte skip"}
"""Fields of an NRRD header whose voxels do not begin right behind it."""
_HEADER_BYTES = 1 << 20
"""Largest header before the voxels; Slicer writes about 10 kB for a segmentation."""


def read_stored(path: Path) -> StoredVolume:
    """Read a file of one of `FORMATS` without conversion: a scan, a mask or a map.

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
    return FORMATS[suffix_of(path)][1](path)


def read_volume_file(path: Path) -> HeadCT:
    """Read a head CT from a file of one of `FORMATS`; parameters and errors as `read_stored`.

    Returns
    -------
    HeadCT
        The gantry tilt is calculated from the shear of the grid: these formats have no field for it.
    """
    stored = read_stored(path)
    if stored.values.ndim != 3:
        raise InputError(
            _("{name} has {count} values per voxel (color or several frames); {expected}.").format(
                name=path.name, count=stored.values.shape[3], expected=ONE_VALUE
            )
        )
    hu, warnings = as_hu(stored.values)
    facts = ScanFacts(
        path=shown(path),
        format=FORMATS[suffix_of(path)][0],
        gantry_tilt_deg=round(tilt_deg(stored.ijk_to_ras), 1) + 0.0,
        warnings=(*stored.warnings, *warnings),
    )
    return HeadCT(hu, stored.ijk_to_ras, facts)


def suffix_of(path: Path) -> str | None:
    """The suffix in `FORMATS` that a path ends with, in any case; None for other files."""
    return next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), None)


def read_nrrd(path: Path) -> StoredVolume:
    """Read an NRRD file; its space directions may be sheared. See `read_stored`."""
    image = _image(path, "NRRD", "NrrdImageIO")
    size = three_sizes(path, image.GetSize())
    fields = nrrd_fields(path)
    _check_raw_nrrd(path, fields, image)
    if fields.get("space directions", "").count("(") < 3:  # "none" in place of a vector states nothing
        fields.pop("space directions", None)
    missing = [field for field in ("space", "space directions") if field not in fields]
    if missing or fields["space"].lower().removesuffix("-time") not in _SPACES:
        found = _("the space {space}").format(space=fields.get("space"))
        if len(missing) == 2:
            found = _("no {first} and no {second}").format(first=missing[0], second=missing[1])
        elif missing:
            found = _("no {field}").format(field=missing[0])
        raise InputError(
            _(
                "{name} states no spacing and orientation in the patient; expected a space such as "
                "left-posterior-superior and space directions in its NRRD header, found {found}."
            ).format(name=path.name, found=found)
        )
    units = [MM_PER_UNIT.get(unit, 1.0) for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))]
    spacings = [number for number in _numbers(fields.get("spacings", "")) if np.isfinite(number)]
    return _stored(
        path,
        image,
        size,
        scale=np.array(units if len(units) == 3 else [1.0] * 3),
        spacings={"spacings": spacings} if len(spacings) == 3 else {},
    )


def _check_raw_nrrd(path, fields, image):
    """Refuse voxels that are not compressed, in the same file, and more than stated."""
    header = re.search(rb"\r?\n\r?\n", _beginning(path))
    if fields.get("encoding") == "raw" and not _ELSEWHERE & fields.keys() and header:
        size = image.GetSizeOfPixelComponent() * image.GetNumberOfComponentsPerPixel() * image.GetNumberOfPixels()
        refuse_longer(path, size, path.stat().st_size - header.end(), image.GetSize()[-1])


def _beginning(path):
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def nrrd_fields(path: Path) -> dict[str, str]:
    """Fields of an NRRD header by lower-case name, without key/value pairs (``:=``)."""
    lines = _beginning(path).split(b"\n\n")[0].split(b"\r\n\r\n")[0].decode("latin-1").splitlines()
    pairs = (line.split(": ", 1) for line in lines if ": " in line and not line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, value in pairs if ":=" not in key}


def read_metaimage(path: Path) -> StoredVolume:
    """Read a MetaImage file. See `read_stored`."""
    content = path.read_bytes()
    head, _sign, rest = content[:_HEADER_BYTES].partition(b"ElementDataFile")
    head += b"ElementDataFile" + rest.partition(b"\n")[0]
    fields = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", head.decode("latin-1"), re.MULTILINE))
    check_voxels(path, fields, content)
    image = _image(path, "MetaImage", "MetaImageIO")
    size = three_sizes(path, image.GetSize())
    spacing = _numbers(fields.get("ElementSpacing", ""))
    if not spacing or min(spacing) <= 0:
        raise InputError(
            _(
                "{name} states no usable spacing; expected ElementSpacing in its MetaImage header, three "
                "lengths above 0 mm, found {found}."
            ).format(name=path.name, found=fields.get("ElementSpacing") or _("none"))
        )
    for field, plain in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if _numbers(fields.get(field, "")) not in ([], [plain]):
            raise InputError(
                _(
                    "{name} scales its values by {field} = {value}, which few programs apply; expected "
                    "values that are stored in HU."
                ).format(name=path.name, field=field, value=fields[field])
            )
    warnings = []
    if not {"TransformMatrix", "Rotation", "Orientation"} & fields.keys():
        warnings.append(
            _(
                "The MetaImage header states no orientation; the default of the format was assumed: voxels "
                "from right to left, front to back and upward. Left and right may be wrong."
            )
        )
    lengths = np.linalg.norm(np.reshape(image.GetDirection(), (image.GetDimension(),) * 2), axis=0)
    if np.abs(lengths - 1).max() > 0.01:
        raise InputError(
            _(
                "{name} states directions that are no unit vectors; expected columns of TransformMatrix of length 1, "
                "found {lengths}."
            ).format(name=path.name, lengths=", ".join(f"{length:.3g}" for length in lengths))
        )
    _compare_letters(path, image, fields.get("AnatomicalOrientation", ""))
    extent = _numbers(fields.get("ElementSize", ""))
    # Along the third axis it may be the slice thickness.
    spacings = {"ElementSize": [*extent[:2], None]} if len(extent) == 3 else {}
    unit = MM_PER_UNIT.get(fields.get("DistanceUnits", "mm"), 1.0)
    return _stored(path, image, size, np.full(3, unit), spacings, tuple(warnings))


def _compare_letters(path, image, letters):
    """Check AnatomicalOrientation against the direction matrix: some write where axes start, others where they end."""
    if image.GetDimension() != 3 or not re.fullmatch("[RLAPIS]{3}", letters):
        return
    direction = np.reshape(image.GetDirection(), (3, 3))
    if np.abs(direction).max(axis=0).min() < 0.8:
        return
    nearest = np.abs(direction).argmax(axis=0)
    toward = "".join("RAI LPS"[axis + 4 * (direction[axis, n] > 0)] for n, axis in enumerate(nearest))
    coming = toward.translate(str.maketrans("RLAPIS", "LRPASI"))
    if letters not in (toward, coming):
        raise InputError(
            _(
                "{name} states two different orientations; expected TransformMatrix and "
                "AnatomicalOrientation to agree, found {matrix} and {orientation}."
            ).format(name=path.name, matrix=coming, orientation=letters)
        )


def _image(path, format_name, image_io):
    import SimpleITK

    try:
        with utf8_path(path) as readable:
            return SimpleITK.ReadImage(str(readable), imageIO=image_io)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        found = content_words(path) or _reason(error) or _("a truncated one or another format")
        raise InputError(
            _("{name} cannot be read; expected a complete {format} file, found: {found}.").format(
                name=path.name, format=format_name, found=found
            )
        ) from error


def _reason(error):
    """What the library says about a header, without its own names; empty if it says nothing of use."""
    said = re.findall(r"(?:\[nrrd\] \w+|ITK ERROR: \w+\(\w+\)(?:: \w+)?): (.+)", str(error))
    if not said or said[-1].startswith("File cannot be read"):
        return ""
    return said[-1].split(". ")[0].strip(" .!")


def _stored(path, image, size, scale, spacings, warnings=()):
    """Values, checked geometry and header of an image; `scale` is mm per unit along each spatial axis."""
    import SimpleITK

    dimension = image.GetDimension()
    values = SimpleITK.GetArrayFromImage(image)
    values = values.reshape(*size[::-1], *values.shape[dimension:])
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3] * image.GetSpacing()[:3]
    matrix[:3, 3] = image.GetOrigin()[:3]
    matrix[:3] *= scale[:, None]
    affine, found = checked_affine(path.name, {_("direction and spacing"): LPS_TO_RAS @ matrix}, spacings)
    # The library can be asked for no field whose name is not UTF-8.
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if is_utf8(key)}
    return StoredVolume(values, affine, header, (*warnings, *found))


def _numbers(text):
    """Numbers in a field; empty if it contains anything else."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []


FORMATS: dict[str, tuple[str, Callable[[Path], StoredVolume]]] = {
    ".nii": ("NIfTI", read_nifti),
    ".nii.gz": ("NIfTI", read_nifti),
    ".nrrd": ("NRRD", read_nrrd),
    ".nhdr": ("NRRD", read_nrrd),
    ".mha": ("MetaImage", read_metaimage),
    ".mhd": ("MetaImage", read_metaimage),
}
"""Name and reader of each format, by suffix: another format is one more line."""
