"""MetaImage files that are damaged, or that ITK reads as something else."""

import re

import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.reading import read_head_ct


@pytest.fixture
def image(dicom_files):
    image = sitk.GetImageFromArray(dicom_files.head(dicom_files.affine()))
    image.SetSpacing((4.0, 4.0, 5.0))
    return image


def refused(path, message):
    with pytest.raises(InputError, match=message):
        read_head_ct(path)


def test_damaged_compressed_metaimage_is_not_read_as_what_lies_in_the_memory(tmp_path, image, capfd):
    path = tmp_path / "scan.mha"
    sitk.WriteImage(image, str(path), useCompression=True)
    content = path.read_bytes()
    assert read_head_ct(path).hu.shape == image.GetSize()[::-1]
    for word in (b"true", b"TRUE", b"1"):  # as other writers say it, and as ITK reads it
        path.write_bytes(content.replace(b"CompressedData = True", b"CompressedData = " + word))
        assert read_head_ct(path).hu.shape == image.GetSize()[::-1]
    path.write_bytes(content[: -len(content) // 4])
    refused(path, r"scan\.mha is truncated or damaged; expected 200704 bytes of voxels, found \d+\.")
    start = content.index(b"CompressedDataSize")
    path.write_bytes(content[:start] + content[content.index(b"\n", start) + 1 :])
    refused(path, r"scan\.mha is compressed; expected CompressedDataSize in its MetaImage header, found none")
    assert capfd.readouterr().err == "", "the library prints nothing of its own"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Name", "x" * 300), ("NDims", "-1"), ("NDims", "100"), ("CompressedDataSize", "-1"),
        ("CompressedDataSize", "9" * 13), ("ElementDataFile", "%s%s%s.raw 1 8 1"), ("ElementDataFile", "LOCAL\x0ex^D}"),
        ("ElementDataFile", "y" * 300), ("Offset", "0 1\xed 2"), ("DimSize", "56 56 -4"), ("DimSize", "56 56"),
        ("ElementSpacing", "4,0 4,0 5,0"), ("TransformMatrix", "1 0 0 0 1 0 0 0"),
    ],
)  # fmt: skip
def test_metaimage_header_that_would_end_the_program_is_refused(tmp_path, image, field, value):
    """ITK writes these beyond its buffers, so that the whole program, 3D Slicer too, ends without a word."""
    sitk.WriteImage(image, str(tmp_path / "scan.mha"), useCompression=True)
    content = (tmp_path / "scan.mha").read_bytes()
    line = re.search(rf"(?m)^{field} = .*$".encode(), content)
    start, end = line.span() if line else (0, 0)
    new = f"{field} = {value}".encode() + b"\n" * (not line)
    (tmp_path / "scan.mha").write_bytes(content[:start] + new + content[end:])
    refused(
        tmp_path / "scan.mha",
        rf"scan\.mha is damaged; expected usable values in its MetaImage header, found {field} = ",
    )


def test_volume_file_with_a_field_of_another_character_set_is_read(tmp_path, image):
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    content = (tmp_path / "scan.mha").read_bytes()
    (tmp_path / "scan.mha").write_bytes(content.replace(b"ElementSpacing", b"Gr\xf6\xdfe = gro\xdf\nElementSpacing"))
    assert read_head_ct(tmp_path / "scan.mha").hu.shape == image.GetSize()[::-1]


def test_metaimage_without_its_voxels_and_with_directions_that_scale(tmp_path, image):
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    header = (tmp_path / "scan.mhd").read_text()
    scaled = re.sub(r"(?m)^TransformMatrix = .*$", "TransformMatrix = 1.05 0 0 0 1.05 0 0 0 1.05", header)
    (tmp_path / "scan.mhd").write_text(scaled)
    refused(tmp_path / "scan.mhd", "expected columns of TransformMatrix of length 1, found 1.05, 1.05, 1.05")
    (tmp_path / "scan.raw").unlink()
    refused(tmp_path / "scan.mhd", r"has its voxels in the file scan\.raw; expected it beside scan\.mhd, found none")


def test_metaimage_with_more_voxels_than_stated(tmp_path, image):
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    raw = (tmp_path / "scan.raw").read_bytes()
    (tmp_path / "scan.raw").write_bytes(raw + b"\n")
    assert read_head_ct(tmp_path / "scan.mhd").hu.shape == image.GetSize()[::-1]
    (tmp_path / "scan.raw").write_bytes(raw + raw[: len(raw) // 32])
    refused(tmp_path / "scan.mhd", r"scan\.mhd holds more than its header says; expected \d+ bytes of voxels, found ")
