"""A voxel marked at a known place is found there, whatever the format, orientation, spacing or shear."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.geometry import apply_affine, regular_offsets, resample_slices, tilt_deg, voxel_volume_mm3
from ICHMultiTaskLib.scan.reading import read_head_ct

SHAPE = (12, 10, 9)  # k, j, i
MARK = (8, 2, 5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(axis, degrees):
    """Rotation matrix about an axis, by Rodrigues' formula."""
    axis = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(matrix, origin=(31.5, -47.25, 112.75)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    return affine


ANISOTROPIC = np.diag([0.45, 0.6, 5.0])
TILT = np.array([[0.45, 0, 0], [0, 0.6 * np.cos(0.323), 0], [0, 0.6 * np.sin(0.323), 5.0]])
ORTHOGONAL = {
    "anisotropic": affine_of(ANISOTROPIC),
    "flipped i and j": affine_of(ANISOTROPIC * [-1, -1, 1]),
    "flipped k": affine_of(ANISOTROPIC * [1, 1, -1]),
    "oblique": affine_of(rotation([1, 2, 3], 25) @ ANISOTROPIC * [-1, -1, 1]),
    "sagittal": affine_of(ANISOTROPIC[[2, 0, 1]] * [1, 1, -1]),
}
SHEARED = {
    "tilted": affine_of(TILT * [-1, -1, 1]),
    "tilted the other way": affine_of((np.diag([1, 1, -1]) @ TILT) * [-1, -1, -1]),
    "tilted and turned": affine_of(rotation([0.2, -1, 0.4], 12) @ TILT),
}
ALL = {**ORTHOGONAL, **SHEARED}
every_grid = pytest.mark.parametrize("affine", ALL.values(), ids=ALL.keys())
orthogonal_grid = pytest.mark.parametrize("affine", ORTHOGONAL.values(), ids=ORTHOGONAL.keys())


@pytest.fixture
def marked():
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[3:9, 2:8, 2:7] = 35
    hu[MARK] = 1500
    return hu


def check(head_ct, affine, hu, tolerance=1e-3):
    """The mark is one voxel, at the place that the affine written gives it; so are volume and tilt."""
    found = np.argwhere(head_ct.hu == 1500)
    assert len(found) == 1
    expected = affine[:3, :3] @ MARK[::-1] + affine[:3, 3]
    np.testing.assert_allclose(apply_affine(head_ct.ijk_to_ras, found[0][::-1]), expected, atol=tolerance)
    assert head_ct.voxel_volume_mm3 == pytest.approx(abs(np.linalg.det(affine[:3, :3])), rel=1e-4)
    assert sorted(head_ct.hu.ravel()) == sorted(hu.ravel())


@every_grid
def test_dicom(tmp_path, dicom_files, marked, affine):
    paths = dicom_files.write(tmp_path, marked, affine)
    head_ct = read_head_ct(paths[0])
    check(head_ct, affine, marked)
    assert head_ct.facts.warnings[1:] == ()  # the first says that it is not axial or short, if at all
    # Each slice has its own position, so that a reader of single slices is an oracle for tilted stacks as well.
    for path in (paths[0], paths[7], paths[-1]):
        image = sitk.ReadImage(str(path))
        corner = np.array(image.TransformIndexToPhysicalPoint((8, 1, 0))) * [-1, -1, 1]
        ijk = apply_affine(np.linalg.inv(head_ct.ijk_to_ras), corner)
        np.testing.assert_allclose(ijk, np.round(ijk), atol=1e-3)
        np.testing.assert_allclose(ijk[:2], [8, 1], atol=1e-3)
        assert head_ct.hu[round(ijk[2]), 1, 8] == sitk.GetArrayFromImage(image)[0, 1, 8]


def test_dicom_tilt_in_degrees(tmp_path, dicom_files, marked):
    """The header's sign is kept where there is one, since makers differ; the degrees are the geometry's."""
    own = tilt_deg(SHEARED["tilted"])
    for name, stated, expected in (("plus", 18.5, abs(own)), ("minus", -18.5, -abs(own)), ("none", None, own)):
        paths = dicom_files.write(tmp_path / name, marked, SHEARED["tilted"], GantryDetectorTilt=stated)
        assert read_head_ct(paths[0]).facts.gantry_tilt_deg == pytest.approx(expected, abs=0.01)
    assert abs(tilt_deg(SHEARED["tilted"])) == pytest.approx(np.degrees(0.323))
    assert tilt_deg(SHEARED["tilted"]) == -tilt_deg(SHEARED["tilted the other way"])
    assert tilt_deg(ORTHOGONAL["oblique"]) == pytest.approx(0.0, abs=1e-6)


def test_voxel_volume_of_tilted_scan():
    assert voxel_volume_mm3(SHEARED["tilted"]) == pytest.approx(0.45 * 0.6 * 5.0 * np.cos(0.323))


def to_simpleitk(hu, affine):
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    image.SetOrigin(lps[:3, 3])
    return image


@orthogonal_grid
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_files_written_by_simpleitk(tmp_path, marked, affine, suffix):
    path = tmp_path / f"scan{suffix}"
    image = to_simpleitk(marked, affine)
    sitk.WriteImage(image, str(path))
    head_ct = read_head_ct(path)
    check(head_ct, affine, marked)
    np.testing.assert_array_equal(head_ct.hu, marked)
    point = np.array(image.TransformIndexToPhysicalPoint(MARK[::-1])) * [-1, -1, 1]
    np.testing.assert_allclose(apply_affine(head_ct.ijk_to_ras, MARK[::-1]), point, atol=1e-3)


@orthogonal_grid
def test_nifti_with_qform_only(tmp_path, marked, affine):
    path = tmp_path / "scan.nii"
    sitk.WriteImage(to_simpleitk(marked, affine), str(path))
    content = bytearray(path.read_bytes())
    assert struct.unpack_from("<hh", content, 252)[0] > 0
    content[254:256] = struct.pack("<h", 0)
    content[280:328] = bytes(48)
    path.write_bytes(content)
    check(read_head_ct(path), affine, marked)


def nifti(hu, affine, order="<", second=False, dim=None, units=2, slope=0.0, intercept=0.0, kind=4, **codes):
    """A NIfTI file by hand, after nifti1.h and nifti2.h, with an sform."""
    dim = dim or (3, *hu.shape[::-1], 1, 1, 1, 1)
    spacing = (1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0)
    bits = hu.dtype.itemsize * 8
    qform, sform = codes.get("qform", 0), codes.get("sform", 1)
    if second:
        head = struct.pack(f"{order}i8shh8q", 540, b"n+2\0\r\n\x1a\n", kind, bits, *dim)
        head += struct.pack(f"{order}3d8dq2d", 0, 0, 0, *spacing, 544, slope, intercept)
        head = head.ljust(344, b"\0") + struct.pack(f"{order}ii6d12d", qform, sform, *[0] * 6, *affine[:3].ravel())
        head = (head.ljust(500, b"\0") + struct.pack(f"{order}i", units)).ljust(544, b"\0")
    else:
        head = struct.pack(f"{order}i", 348).ljust(40, b"\0") + struct.pack(f"{order}8h", *dim)
        head = head.ljust(70, b"\0") + struct.pack(f"{order}hhh8f3f", kind, bits, 0, *spacing, 352, slope, intercept)
        head = head.ljust(123, b"\0") + bytes([units])
        head = head.ljust(252, b"\0") + struct.pack(f"{order}hh6f12f", qform, sform, *[0] * 6, *affine[:3].ravel())
        head = head.ljust(344, b"\0") + b"n+1\0" + bytes(4)
    return head + hu.astype(hu.dtype.newbyteorder(order)).tobytes()


@every_grid
@pytest.mark.parametrize("second", [False, True], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize("order", "<>", ids=["little", "big"])
def test_nifti_sform(tmp_path, marked, affine, second, order):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(nifti(marked, affine, order, second), 1))
    check(read_head_ct(path), affine, marked)


def test_nifti_one_frame_scaling_and_units(tmp_path, marked):
    affine = SHEARED["tilted"]
    path = tmp_path / "scan.nii"
    path.write_bytes(nifti(marked, affine, dim=(4, *SHAPE[::-1], 1, 1, 1, 1)))
    check(read_head_ct(path), affine, marked)
    stored = ((marked.astype(np.int32) + 1024) * 2).astype(np.uint16)
    path.write_bytes(nifti(stored, affine, kind=512, slope=0.5, intercept=-1024.0))
    assert read_head_ct(path).hu.dtype == np.int16, "whole numbers after scaling are exact in int16"
    check(read_head_ct(path), affine, marked)
    meters = affine.copy()
    meters[:3] /= 1000
    path.write_bytes(nifti(marked.astype(np.float32), meters, kind=16, units=1))
    check(read_head_ct(path), affine, marked)
    path.write_bytes(nifti((marked + 0.5).astype(np.float64), affine, kind=64))
    head_ct = read_head_ct(path)
    assert head_ct.hu.dtype == np.float32
    np.testing.assert_array_equal(head_ct.hu, marked + 0.5)


def test_nifti_without_orientation_is_refused(tmp_path, marked):
    path = tmp_path / "scan.nii"
    path.write_bytes(nifti(marked, SHEARED["tilted"], sform=0))
    with pytest.raises(InputError, match="states no orientation; expected an sform or a qform"):
        read_head_ct(path)


@every_grid
@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_nrrd_by_hand(tmp_path, marked, affine, detached, space):
    """NRRD's space directions hold any shear; Slicer writes left-posterior-superior."""
    matrix = LPS @ affine if space.startswith("left") else affine
    vectors = [f"({','.join(repr(float(x)) for x in column)})" for column in matrix[:3].T]
    header = "\n".join(
        [
            "NRRD0004", "type: int16", "dimension: 3", f"space: {space}", "sizes: " + " ".join(map(str, SHAPE[::-1])),
            "space directions: " + " ".join(vectors[:3]), "kinds: domain domain domain", "endian: little",
            "encoding: raw", f"space origin: {vectors[3]}", *(["data file: scan.raw"] if detached else []), "", "",
        ]
    ).encode()  # fmt: skip
    path = tmp_path / ("scan.nhdr" if detached else "scan.nrrd")
    path.write_bytes(header + (b"" if detached else marked.tobytes()))
    if detached:
        (tmp_path / "scan.raw").write_bytes(marked.tobytes())
    check(read_head_ct(path), affine, marked)


def test_regular_offsets():
    grid, is_regular = regular_offsets([0, 5, 10.04, 15])
    assert is_regular and np.allclose(grid, [0, 5, 10, 15])
    steps = [4.22] * 13 + [1.14] + [7.38] * 13
    grid, is_regular = regular_offsets(np.concatenate([[0], np.cumsum(steps)]))
    assert not is_regular and len(grid) == 37 and grid[-1] == pytest.approx(sum(steps))
    grid, _ = regular_offsets([0, 0.6, 1.2, 3.0, 3.6, 4.2])  # thin slices: a tenth of a millimeter matters
    assert np.allclose(np.diff(grid), 0.6)


def test_resampling_is_linear_and_exact_on_slices():
    offsets = np.array([0.0, 1.0, 4.0])
    array = np.array([0, 10, 100], dtype=np.int16).reshape(3, 1, 1)
    found = resample_slices(array, offsets, np.array([0.0, 0.5, 1.0, 2.0, 4.0]))
    assert found.dtype == np.int16
    assert found.ravel().tolist() == [0, 5, 10, 40, 100]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_tilt_of_a_sheared_grid_is_stated(suffix, tmp_path):
    step = np.array([0.0, 5.0 * np.tan(np.radians(18.0)), 5.0])
    if suffix == ".nrrd":
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 8 8 8\n"
            f"space directions: (1,0,0) (0,1,0) ({step[0]},{step[1]},{step[2]})\nkinds: domain domain domain\n"
            "endian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
        )
        (tmp_path / "scan.nrrd").write_bytes(header.encode() + np.arange(512, dtype="<i2").tobytes())
    else:
        from ICHMultiTaskLib.simulation import write_nifti

        affine = np.eye(4)
        affine[:3, 2] = step
        write_nifti(np.arange(512, dtype=np.int16).reshape(8, 8, 8), affine, tmp_path / "scan.nii.gz")
    assert abs(read_head_ct(tmp_path / f"scan{suffix}").facts.gantry_tilt_deg) == pytest.approx(18.0, abs=0.1)
