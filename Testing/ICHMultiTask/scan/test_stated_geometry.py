"""Headers as careless writers leave them: the head comes out right, or is refused in one sentence."""

import re
import struct

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}


@pytest.fixture(scope="module")
def head():
    """A simulated head with face and skull base on an axial grid: HU and affine."""
    head_ct = simulate_patient(6, SimulationSettings(matrix=160, slices=40)).head_ct
    affine = np.diag([-1.4, -1.4, 4.25, 1.0])
    affine[:3, 3] = 112.0, 105.0, -80.0
    return head_ct.hu, affine


def turned(degrees, axis=0):
    """Rotation about a patient axis, 4×4."""
    angle, matrix = np.radians(degrees), np.eye(4)
    first, second = [n for n in range(3) if n != axis]
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def quaternion_of(affine):
    """Quaternion b, c, d and qfac of nifti1.h, of an affine without shear."""
    turn = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    qfac = 1.0 if np.linalg.det(turn) > 0 else -1.0
    turn = turn * [1, 1, qfac]
    values, vectors = np.linalg.eigh(turn + turn.T)
    axis = vectors[:, -1]
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    for sign in (1, -1):
        a, (b, c, d) = np.cos(angle / 2), sign * np.sin(angle / 2) * axis
        found = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        if np.allclose(found, turn, atol=1e-6):
            return (b, c, d), qfac
    raise AssertionError(values)


def nifti(path, values, affine, sform=1, qform=0, pixdim=None, qfac=None, quaternion=None, units=2, slope=(1, 0),
          dim=None, other=None):  # fmt: skip
    """A NIfTI-1 file by hand; `other` is the geometry of the qform where it is not that of the sform."""
    by_qform = affine if other is None else other
    own_quaternion, own_qfac = quaternion_of(by_qform) if qform else ((0, 0, 0), 1)
    spacing = np.linalg.norm(by_qform[:3, :3], axis=0) if pixdim is None else pixdim
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *(dim or (3, *values.shape[::-1], 1, 1, 1, 1)))
    struct.pack_into("<2h", header, 70, TYPES[values.dtype.str[1:]], values.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, own_qfac if qfac is None else qfac, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, *slope)
    header[123] = units
    struct.pack_into("<2h", header, 252, qform, sform)
    struct.pack_into("<6f", header, 256, *(own_quaternion if quaternion is None else quaternion), *by_qform[:3, 3])
    struct.pack_into("<12f", header, 280, *(affine[:3].ravel() if sform else [0] * 12))
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + values.tobytes())
    return path


def nrrd(path, values, affine, drop=(), **fields):
    """An NRRD file by hand, left-posterior-superior unless told otherwise; `drop` leaves fields out."""
    matrix = RAS_TO_LPS @ affine
    vectors = [f"({','.join(repr(float(x)) for x in column)})" for column in matrix[:3].T]
    header = {
        "type": "int16", "dimension": "3", "space": "left-posterior-superior",
        "sizes": " ".join(map(str, values.shape[::-1])), "space directions": " ".join(vectors[:3]),
        "endian": "little", "encoding": "raw", "space origin": vectors[3],
    } | {key.replace("_", " "): value for key, value in fields.items()}  # fmt: skip
    lines = [f"{key}: {value}" for key, value in header.items() if key not in drop]
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + values.tobytes())
    return path


def metaimage(path, values, affine, drop=(), **fields):
    """A MetaImage file by hand."""
    matrix = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)

    def words(numbers):
        return " ".join(f"{number:.9g}" for number in np.ravel(numbers))

    header = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": words((matrix[:3, :3] / spacing).T),
        "Offset": words(matrix[:3, 3]),
        "ElementSpacing": words(spacing), "DimSize": words(values.shape[::-1]), "ElementType": "MET_SHORT",
    } | fields  # fmt: skip
    lines = [f"{key} = {value}" for key, value in header.items() if key not in drop]
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + values.tobytes())
    return path


def accepted(path, head, warning=None, hu=None):
    """The file gives the head with its size, place and values, and the warning expected, if one is."""
    found = check_head_ct(read_head_ct(path))
    np.testing.assert_allclose(found.ijk_to_ras, head[1], atol=1e-2)
    np.testing.assert_array_equal(found.hu, head[0] if hu is None else hu)
    if warning is None:
        assert found.facts.warnings == ()
    else:
        assert [text for text in found.facts.warnings if re.search(warning, text)], found.facts.warnings


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        check_head_ct(read_head_ct(path))
    sentence = str(caught.value)
    assert sentence.endswith(".") and "expected" in sentence and "\n" not in sentence


def stretched(affine, factor):
    return affine @ np.diag([factor, factor, factor, 1.0])


def test_nifti_whose_statements_agree(head, tmp_path):
    hu, affine = head
    path = tmp_path / "scan.nii"
    accepted(nifti(path, hu, affine), head)
    accepted(nifti(path, hu, affine, sform=0, qform=1), head)
    accepted(nifti(path, hu, affine, qform=1), head)
    accepted(nifti(path, hu, affine, pixdim=(0, 0, 0)), head)
    accepted(nifti(path, hu, affine, pixdim=(1.402, 1.398, 4.27)), head)
    tilted = affine @ np.array([[1, 0, 0, 0], [0, 1, 0.6, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    # What cannot hold the shear holds the nearest turn, and the distance of the planes.
    left, _, right = np.linalg.svd(tilted[:3, :3] / np.linalg.norm(tilted[:3, :3], axis=0))
    nearest = np.eye(4)
    nearest[:3, :3] = left @ right * [1.4, 1.4, 4.25]
    nearest[:3, 3] = affine[:3, 3]
    found = read_head_ct(nifti(path, hu, tilted, qform=1, other=nearest))
    np.testing.assert_allclose(found.ijk_to_ras, tilted, atol=1e-2)
    assert abs(found.facts.gantry_tilt_deg) == pytest.approx(np.degrees(np.arctan(0.6 * 1.4 / 4.25)), abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sform": 0}, "states no orientation; expected an sform or a qform in the NIfTI header"),
        ({"qform": 1, "pixdim": (1, 1, 1), "sform": 0}, "human size|covers too little"),
        ({"qform": 1, "pixdim": (1.4, 1.4, 3)}, "two different spacings along its axis k; expected sform and qform"),
        ({"pixdim": (1.4, 1.4, 3)}, "along its axis k; expected sform and pixdim to agree, found 4.25 and 3 mm"),
        ({"pixdim": (1, 1, 1)}, "two different spacings along its axis i; expected sform and pixdim"),
        ({"qform": 1, "qfac": -1}, "two orientations that mirror each other; expected sform and qform to agree"),
        (
            {"qform": 1, "sform": 0, "quaternion": (1, 1, 1)},
            "no usable orientation; expected the three parts of a unit",
        ),
        ({"qform": 1, "sform": 0, "quaternion": (np.nan, 0, 0)}, "no usable orientation; .* found nan, 0, 0"),
        ({"qform": 1, "sform": 0, "pixdim": (0, 0, 0)}, "no usable spacing .qform.; expected three lengths above 0 mm"),
        ({"pixdim": (np.nan, 1.4, 4.25)}, "two different spacings along its axis i; .* and nan mm"),
        ({"units": 1}, "The scan is .* mm long; expected a scan of the head alone"),
        ({"units": 3}, "covers too little of a head"),
        ({"units": 7}, "length unit of code 7; expected m, mm or µm"),
        (
            {"dim": (4, 160, 160, 20, 2, 1, 1, 1)},
            r"4 dimensions \(160, 160, 20, 2\), which are 2 volumes; expected one",
        ),
        ({"dim": (4, 160, 160, 1, 40, 1, 1, 1)}, r"4 dimensions \(160, 160, 1, 40\), which are 40 volumes"),
        ({"dim": (5, 160, 160, 20, 1, 2, 1, 1)}, "5 dimensions"),
        ({"dim": (2, 160, 160, 1, 1, 1, 1, 1)}, "2 dimensions"),
        ({"dim": (0, 160, 160, 40, 1, 1, 1, 1)}, "0 dimensions"),
    ],
)
def test_nifti_whose_statements_do_not(head, tmp_path, options, message):
    refused(nifti(tmp_path / "scan.nii", *head, **options), message)


@pytest.mark.parametrize("axis", range(3))
def test_nifti_with_a_negative_pixdim(head, tmp_path, axis):
    pixdim = [1.4, 1.4, 4.25]
    pixdim[axis] *= -1
    for sform in (0, 1):
        path = nifti(tmp_path / "scan.nii", *head, sform=sform, qform=1, pixdim=pixdim)
        accepted(path, head, "negative spacing in pixdim, which NIfTI forbids; the sign was ignored")


def test_nifti_with_two_positions(head, tmp_path):
    hu, affine = head
    path, moved = tmp_path / "scan.nii", affine.copy()
    refused(
        nifti(path, hu, affine, qform=1, other=turned(30) @ affine), "two different orientations; .* a rotation of 30°"
    )
    moved[0, 3] += 40
    accepted(nifti(path, hu, affine, qform=1, other=moved), head, "states two positions 40 mm apart .sform and qform")
    # An sform to a template stretches the head; the scanner's own geometry does not.
    refused(nifti(path, hu, stretched(affine, 1.2), qform=1, other=affine), "two different spacings")
    accepted(nifti(path, hu, stretched(affine, 1.2), sform=4, qform=1, other=affine), head, "sform maps to a template")
    refused(nifti(path, hu, stretched(affine, 1.2), sform=4, pixdim=(1.4, 1.4, 4.25)), "expected sform and pixdim to")
    # What a program fitted to a template by itself, with no geometry of the scanner left.
    for codes in ({"sform": 4}, {"sform": 5, "qform": 5, "other": affine}, {"sform": 0, "qform": 3, "other": affine}):
        accepted(nifti(path, hu, affine, **codes), head, "in the space of a template and states no geometry of the sc")


def test_nifti_units_of_length(head, tmp_path):
    hu, affine = head
    for units, factor in ((1, 0.001), (3, 1000.0), (0, 1.0)):
        written = np.diag([factor, factor, factor, 1.0]) @ affine
        accepted(nifti(tmp_path / "scan.nii", hu, written, units=units | 8), head)  # 8: seconds, of no fourth axis


def test_nifti_four_axes_with_one_volume(head, tmp_path):
    for dim in ((4, 160, 160, 40, 1, 1, 1, 1), (7, 160, 160, 40, 1, 1, 1, 1)):
        accepted(nifti(tmp_path / "scan.nii", *head, dim=dim), head)


@pytest.mark.parametrize(
    ("dtype", "scale", "slope"),
    [
        ("i2", lambda hu: hu, (0, 0)), ("i2", lambda hu: hu, (np.nan, np.nan)), ("i2", lambda hu: 2 * hu, (0.5, 0)),
        ("u2", lambda hu: hu + 1024, (1, -1024)), ("u2", lambda hu: 4 * (hu + 1024), (0.25, -1024)),
        ("u2", lambda hu: hu + 8192, (1, -8192)), ("i4", lambda hu: hu, (1, 0)), ("i8", lambda hu: hu, (1, 0)),
        ("u4", lambda hu: hu + 1024, (1, -1024)), ("u8", lambda hu: hu + 1024, (1, -1024)),
        ("f4", lambda hu: hu, (1, 0)), ("f8", lambda hu: hu, (1, 0)), ("f8", lambda hu: hu / 1000, (1000, 0)),
    ],
)  # fmt: skip
def test_nifti_types_and_slopes(head, tmp_path, dtype, scale, slope):
    hu, affine = head
    accepted(nifti(tmp_path / "scan.nii", scale(hu.astype(float)).astype(dtype), affine, slope=slope), head)


def test_nifti_voxels_begin_behind_the_header(head, tmp_path):
    """An offset of 0 is often written for a single file; one within the header would shift the head by some voxels."""
    path = tmp_path / "scan.nii"
    nifti(path, *head)
    content = bytearray(path.read_bytes())
    for offset in (0.0, 100.0):
        struct.pack_into("<f", content, 108, offset)
        path.write_bytes(bytes(content))
        if not offset:
            np.testing.assert_array_equal(read_head_ct(path).hu, head[0])
    with pytest.raises(InputError, match="begin at byte 100, within the header; expected 352 or more"):
        read_head_ct(path)


def test_nifti_values_that_are_not_hu(head, tmp_path):
    hu, affine = head
    path, wide = tmp_path / "scan.nii", hu.astype(np.int32)
    unscaled = (wide + 1024).astype("u2")
    accepted(nifti(path, unscaled, affine, slope=(0, -1024)), head, "stored without their offset .*1024 was subtracted")
    refused(nifti(path, (wide + 32768).astype("u2"), affine), "not Hounsfield units; expected air near -1000 HU")
    refused(nifti(path, hu.view("u2"), affine), "not Hounsfield units")
    refused(nifti(path, (np.clip(wide, -20, 80) * 2.5 + 50).astype("u1"), affine), "not Hounsfield units")
    refused(nifti(path, (wide * 10).astype("i4"), affine), "The brain measures|not brain|human size|look like")
    refused(nifti(path, -wide.astype("i2"), affine), r"The brain measures -[23]\d HU")
    broken = hu.astype("f8")
    broken[20, 80, 80] = np.nan
    refused(nifti(path, broken, affine), "The scan contains 1 voxels of NaN or infinity")
    hot = hu.astype("i4")
    hot[20, 80, 80] = 2_000_000_000
    accepted(nifti(path, hot, affine), head, hu=np.minimum(hot, 32767))


FORMATS = {".nii": nifti, ".nrrd": nrrd, ".mha": metaimage}
every_format = pytest.mark.parametrize("suffix", FORMATS)


@every_format
def test_a_spacing_that_nobody_stated_is_refused(head, tmp_path, suffix):
    for affine in (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])):
        path = FORMATS[suffix](tmp_path / f"scan{suffix}", head[0], affine)
        refused(path, "states no spacing; .* found only the default of 1 × 1 × 1 mm with the first voxel at the origin")


@every_format
def test_a_head_read_at_the_wrong_scale_is_refused(head, tmp_path, suffix):
    hu, affine = head
    for factor in (1 / 1.4, 1.3):
        path = FORMATS[suffix](tmp_path / f"scan{suffix}", hu, stretched(affine, factor))
        refused(path, "does not have a human size, so the stated spacing must be wrong")


@every_format
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_obliques_are_treated_alike(head, tmp_path, suffix, axis):
    hu, affine = head
    for degrees in (20, -35):
        oblique = turned(degrees, axis) @ affine
        accepted(FORMATS[suffix](tmp_path / f"scan{suffix}", hu, oblique), (hu, oblique))
    path = FORMATS[suffix](tmp_path / f"scan{suffix}", hu, turned(44, axis) @ affine)
    refused(path, "The scan lies 44° oblique to the patient's axes; expected .* within 41°")


@every_format
def test_shear_that_no_gantry_makes_is_refused(head, tmp_path, suffix):
    hu, affine = head
    for shear in ([[1, 0, 0, 0], [0, 1, 4.0, 0], [0, 0, 1, 0]], [[1, 0.3, 0.2, 0], [0, 1, 0.6, 0], [0, 0, 1, 0]]):
        path = FORMATS[suffix](tmp_path / f"scan{suffix}", hu, affine @ np.array([*shear, [0, 0, 0, 1.0]]))
        refused(path, "states a sheared grid .*; expected perpendicular axes, or slices shifted by a gantry tilt")


@every_format
def test_a_head_in_another_orientation_than_stated(head, tmp_path, suffix):
    hu, affine = head
    for change, words in ((np.diag([1, 1, -1, 1]), "upside down"), (np.diag([1, -1, 1, 1]), "face to the back"),
                          (np.eye(4)[[1, 0, 2, 3]], "symmetry across the axis from back to front")):  # fmt: skip
        refused(FORMATS[suffix](tmp_path / f"scan{suffix}", hu, change @ affine), f"The head lies .*{words}")


@pytest.mark.parametrize(
    ("drop", "fields", "message"),
    [
        (("space",), {}, "found no space|cannot be read"),
        (("space directions",), {}, "found no space directions|cannot be read"),
        (
            ("space", "space directions", "space origin"),
            {"spacings": "1.4 1.4 4.25"},
            "no spacing and orientation in the patient; expected a space .*, found no space and no space directions",
        ),
        ((), {"space": "scanner-xyz"}, "found the space scanner-xyz"),
        ((), {"space": "3D-right-handed"}, "found the space 3D-right-handed"),
    ],
)
def test_nrrd_without_geometry_is_refused(head, tmp_path, drop, fields, message):
    refused(nrrd(tmp_path / "scan.nrrd", *head, drop=drop, **fields), message)


def test_nrrd_directions_that_state_nothing_are_none(head, tmp_path):
    refused(nrrd(tmp_path / "scan.nrrd", *head, space_directions="none none none"), "states no spacing and .* found no")


def test_nrrd_spaces_and_units(head, tmp_path):
    hu, affine = head
    path = tmp_path / "scan.nrrd"
    accepted(nrrd(path, hu, affine), head)
    for name, signs in (("right-anterior-superior", (-1, -1)), ("RAS", (-1, -1)), ("left-anterior-superior", (1, -1))):
        accepted(nrrd(path, hu, np.diag([*signs, 1, 1]) @ affine, space=name), head)
    accepted(nrrd(path, hu, affine, space_units='"mm" "mm" "mm"'), head)
    accepted(nrrd(path, hu, np.diag([0.1, 0.1, 0.1, 1]) @ affine, space_units='"cm" "cm" "cm"'), head)


@pytest.mark.parametrize(
    ("drop", "fields", "message"),
    [
        (("ElementSpacing",), {}, "states no usable spacing; expected ElementSpacing .* found none"),
        ((), {"ElementSpacing": "1.4 -1.4 4.25"}, "no usable spacing; .* found 1.4 -1.4 4.25"),
        ((), {"ElementSpacing": "0 1.4 4.25"}, "no usable spacing|cannot be read"),
        ((), {"ElementSize": "0.7 0.7 4.25"}, "two different spacings along its axis i; .* and ElementSize to agree"),
        (
            (),
            {"AnatomicalOrientation": "ASL"},
            "expected TransformMatrix and AnatomicalOrientation to agree, found .* ASL",
        ),
        ((), {"ElementToIntensityFunctionSlope": "0.5"}, "ElementToIntensityFunctionSlope = 0.5, which few programs"),
    ],
)
def test_metaimage_with_missing_or_unusual_fields(head, tmp_path, drop, fields, message):
    refused(metaimage(tmp_path / "scan.mha", *head, drop=drop, **fields), message)


def test_metaimage_statements_that_agree(head, tmp_path):
    hu, affine = head
    path = tmp_path / "scan.mha"
    for letters in ("RAI", "LPS"):  # where the axes come from, as ITK writes; where they go, as the format's page says
        accepted(metaimage(path, hu, affine, AnatomicalOrientation=letters, ElementSize="1.4 1.4 6"), head)
    accepted(metaimage(path, hu, np.diag([0.1, 0.1, 0.1, 1]) @ affine, DistanceUnits="cm"), head)
    without = metaimage(path, hu, affine, drop=("TransformMatrix",))
    accepted(
        without, head, "states no orientation; the default of the format was assumed: .* Left and right may be wrong"
    )


def test_dicom_statements(head, tmp_path, dicom_files):
    hu, affine = head
    plain = {"ReconstructionDiameter": 224, "SpacingBetweenSlices": 4.25}
    dicom_files.write(tmp_path / "plain", hu, affine, **plain)
    accepted(tmp_path / "plain", head)
    dicom_files.write(tmp_path / "step", hu, affine, SpacingBetweenSlices=8.5)
    accepted(
        tmp_path / "step", head, "4.25 mm by the slice positions and PixelSpacing and 8.5 mm by SpacingBetweenSlices"
    )
    dicom_files.write(tmp_path / "diameter", hu, affine, ReconstructionDiameter=160)
    accepted(tmp_path / "diameter", head, "and 1 mm by ReconstructionDiameter; .* If it is wrong, so is every volume")
    dicom_files.write(tmp_path / "oblique", hu, turned(44) @ affine)
    refused(tmp_path / "oblique", "not axial|44° oblique")
    dicom_files.write(tmp_path / "spacing", hu, affine, PixelSpacing=[0.7, 0.7])
    refused(tmp_path / "spacing", "does not have a human size, so the stated spacing must be wrong")


def test_masks_are_not_turned_to_hu(head, tmp_path):
    hu, affine = head
    mask = (hu > 500) & (hu < 900)
    assert mask.any()
    for dtype, value in (("u1", 255), ("u2", 65535), ("i2", 1), ("u4", 4_000_000_000), ("f4", 40000.0), ("f8", 1.0)):
        (segment,) = read_segments(nifti(tmp_path / "mask.nii", (mask * value).astype(dtype), affine))
        np.testing.assert_array_equal(segment.mask, mask)
    first, second = read_segments(nifti(tmp_path / "mask.nii", np.where(mask, 1049, 0).astype("u2") + 0, affine)), mask
    np.testing.assert_array_equal(first[0].mask, second)


def test_a_node_is_checked_like_a_file(head):
    """`check_head_ct` sees the same array and affine whatever they came from."""
    hu, affine = head
    with pytest.raises(InputError, match="states no spacing"):
        check_head_ct(HeadCT(hu, np.eye(4)))
    with pytest.raises(InputError, match="44° oblique"):
        check_head_ct(HeadCT(hu, turned(44) @ affine))
