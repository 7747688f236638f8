"""Every bad input is refused with one sentence: what was wrong, what was expected, what was found."""

import os
import re
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.reading import list_series, read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct

MR, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


def refused(path, message, **options):
    """Assert the refusal by message, and that it is one sentence."""
    with pytest.raises(InputError, match=message) as caught:
        check_head_ct(read_head_ct(path, **options))
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and "expected" in sentence
    assert not re.search(r"[.!?] [A-Z]", sentence), f"more than one sentence: {sentence}"


@pytest.mark.parametrize("given", ["", None, 5, b"scan", ["scan"]], ids=repr)
def test_what_is_no_path(given):
    """An empty path would mean the working folder."""
    for read in (read_head_ct, list_series):
        with pytest.raises(InputError, match="No path of a scan was given; expected a folder"):
            read(given)


@pytest.mark.parametrize(
    "hu", [[[[1]]], np.zeros((2, 2, 2), complex), np.full((2, 2, 2), "1")], ids=["list", "complex", "text"]
)
def test_values_that_are_no_real_numbers(hu):
    with pytest.raises(InputError, match="values are unusable: expected an array of real numbers"):
        HeadCT(hu, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_missing_path(tmp_path):
    refused(tmp_path / "nowhere", r"nowhere does not exist; expected a folder, file or \.zip of DICOM images")
    refused(tmp_path / "scan.nii.gz", r"scan\.nii\.gz does not exist")


def test_empty_folder_and_folder_of_other_files(tmp_path):
    refused(tmp_path, "holds no DICOM image; expected a folder, file")
    (tmp_path / "notes.txt").write_text("nothing to see")
    refused(tmp_path, "holds no DICOM image")
    with pytest.raises(InputError, match="holds no DICOM image"):
        list_series(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scan.nii.gz", "give the path of that file"),
        ("study.zip", "give the path"),
        ("study.tar.gz", "unpack it first"),
    ],
)
def test_folder_that_holds_the_scan_in_another_form_names_it(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(InputError, match=f"holds no DICOM image; expected .* found {name}: {words}"):
        read_head_ct(tmp_path)


def test_result_and_pipe_are_no_scans(tmp_path):
    (tmp_path / ".ichmultitask.json").write_text("{}")
    (tmp_path / "attention.nrrd").touch()
    with pytest.raises(InputError, match="found a result of this software, which does not hold the scan"):
        read_head_ct(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="pipe is neither a folder nor a file"):
            read_head_ct(tmp_path / "pipe")


def test_png_alone_in_a_folder_and_renamed(tmp_path):
    picture = sitk.GetImageFromArray(np.zeros((8, 8), np.uint8))
    sitk.WriteImage(picture, str(tmp_path / "picture.png"))
    refused(tmp_path / "picture.png", r"picture\.png is not a CT; expected .*, found a \.png file")
    refused(tmp_path, "holds no DICOM image")
    (tmp_path / "picture.png").rename(tmp_path / "picture.dcm")
    refused(tmp_path / "picture.dcm", r"picture\.dcm cannot be read; expected a complete DICOM image")
    (tmp_path / "picture.dcm").rename(tmp_path / "picture.nrrd")
    refused(tmp_path / "picture.nrrd", r"picture\.nrrd cannot be read; expected a complete NRRD file")
    (tmp_path / "picture.nrrd").rename(tmp_path / "picture.nii.gz")
    refused(tmp_path / "picture.nii.gz", r"picture\.nii\.gz is not a readable NIfTI file")


@pytest.mark.parametrize(
    ("kind", "modality", "words"),
    [(MR, "MR", "MR"), (ULTRASOUND, "US", "ultrasound"), (SECONDARY_CAPTURE, "CT", "secondary capture")],
)
def test_not_a_ct(tmp_path, dicom_files, head, kind, modality, words):
    paths = dicom_files.write(tmp_path, *head, SOPClassUID=kind, Modality=modality)
    refused(tmp_path, rf"no axial CT series to analyze; expected a non-contrast head CT, found {words}.*32 images")
    refused(paths[0], rf"The series contains no CT slices; expected CT images, found: {words}")


def test_localizer_sagittal_and_angiography_alone(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path / "scout", hu[:2], affine, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    refused(tmp_path / "scout", "no axial CT series to analyze; .* found localizer")
    dicom_files.write(tmp_path / "side", hu, affine[:, [1, 2, 0, 3]])
    refused(tmp_path / "side", "no axial CT series to analyze; .* found not axial")
    dicom_files.write(tmp_path / "cta", hu, affine, SeriesDescription="CTA HEAD 0.6")
    refused(
        tmp_path / "cta",
        r"no axial CT series to analyze; expected a non-contrast .*, found angiography \(CTA HEAD 0\.6, 32 images\): "
        "such a series is analyzed only if requested by its UID",
    )


def test_colors_of_a_palette_are_no_hounsfield_units(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head, PhotometricInterpretation="PALETTE COLOR")
    refused(tmp_path, "expected a non-contrast head CT, found CT images in color")


def test_dicom_object_without_an_image_is_named(tmp_path, dicom_files, head):
    (path,) = dicom_files.write(tmp_path, head[0][:1], head[1])
    dataset = pydicom.dcmread(path)
    del dataset.Rows, dataset.PixelData
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.save_as(path)
    refused(path, r"slice000.dcm holds no image; .*, found a DICOM object of the class RT Structure Set Storage\.")


def test_truncated_and_damaged_dicom(tmp_path, dicom_files, head):
    hu, affine = head
    paths = dicom_files.write(tmp_path, hu, affine)
    content = paths[5].read_bytes()
    paths[5].write_bytes(content[:-1000])
    refused(tmp_path, r"slice005\.dcm is truncated; expected 6272 bytes of pixels, found 5272")
    for length in (0, 200, 600, 900):
        paths[5].write_bytes(content[:length])
        refused(tmp_path, r"slice005\.dcm (cannot be read as a slice; .* a gap of 10\.0 mm after slice 5|is truncated)")
    paths[5].write_bytes(content[:400] + bytes(np.random.default_rng(0).integers(0, 256, 6000, dtype=np.uint8)))
    refused(tmp_path, r"slice005\.dcm")
    refused(paths[5], r"slice005\.dcm")


def test_image_of_another_patient_under_the_name_of_one_whose_header_was_read(tmp_path, dicom_files, head):
    """As in a folder that the next export fills while the last one is analyzed."""
    dicom_files.write(tmp_path / "scan", *head, PatientID="1")
    dicom_files.write(tmp_path / "next", *head, PatientID="2")

    def replace(fraction, message):
        if message.startswith("Reading slice") and (tmp_path / "next" / "slice009.dcm").exists():
            os.replace(tmp_path / "next" / "slice009.dcm", tmp_path / "scan" / "slice009.dcm")

    refused(tmp_path / "scan", r"slice009\.dcm was replaced while the scan was read; expected", progress=replace)


def test_damaged_compressed_pixels(tmp_path, dicom_files, head):
    def break_pixels(dataset, k):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
        dataset.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x08\x00\x00\x00broken!!"
        dataset["PixelData"].is_undefined_length = True

    dicom_files.write(tmp_path, *head, change=break_pixels)
    refused(tmp_path, r"slice000\.dcm cannot be decoded; expected readable pixels, found .*JPEG Lossless")


def test_broken_archives(tmp_path, dicom_files, head):
    (tmp_path / "scan.zip").write_bytes(b"PK not an archive")
    refused(tmp_path / "scan.zip", r"scan\.zip is not a readable \.zip archive")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    refused(tmp_path / "empty.zip", r"empty\.zip holds no DICOM image")
    (path,) = dicom_files.write(tmp_path / "scan", head[0][:1], head[1])
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        archive.write(path, "slice.dcm")
    content = bytearray((tmp_path / "damaged.zip").read_bytes())
    content[3000:3100] = bytes(100)
    (tmp_path / "damaged.zip").write_bytes(content)
    refused(tmp_path / "damaged.zip", r"damaged\.zip cannot be unpacked; expected a complete \.zip")


def test_patients_mixed_in_one_series(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head, change=lambda dataset, k: setattr(dataset, "PatientID", f"P{k}"))
    with pytest.raises(InputError, match="The files belong to 32 patients"):
        read_head_ct(tmp_path)


def test_two_patients_in_one_folder(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head, name="a", SeriesInstanceUID="1.1", PatientID="ANNA")
    dicom_files.write(tmp_path, *head, name="b", SeriesInstanceUID="1.2", PatientID="BERTA")
    refused(tmp_path, "The files belong to 2 patients; expected the scan of one: .*; found ANNA, BERTA")
    assert read_head_ct(tmp_path, series_uid="1.2").facts.patient_id == "BERTA"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelSpacing": None}, "without a usable pixel spacing"),
        ({"PixelSpacing": [0, 0.5]}, "without a usable pixel spacing"),
        ({"ImageOrientationPatient": None}, "without a usable slice orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.3, 0.95, 0]}, "without a usable slice orientation"),
        ({"ImagePositionPatient": None}, "without a slice position"),
        ({"SamplesPerPixel": 3}, "in color"),
    ],
)
def test_headers_without_what_geometry_needs(tmp_path, dicom_files, head, attributes, message):
    def change(dataset, k):
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    dicom_files.write(tmp_path, *head, change=change)
    refused(tmp_path, rf"no axial CT series to analyze; expected .*, found CT images {message} \(HEAD.*, 32 images\)")


def nifti_of(path, array, spacing=(4.0, 4.0, 5.0), vector=False):
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_wrong_values_and_shapes(tmp_path, head, suffix):
    hu, _ = head

    def refuse(array, message, **options):
        refused(nifti_of(tmp_path / f"scan{suffix}", array, **options), message)

    refuse(np.full_like(hu, -1000), "The scan is constant; expected a head CT in HU, found the value -1000 everywhere")
    refuse(np.zeros_like(hu), "The scan is constant; .* found the value 0 everywhere")
    noise = np.random.default_rng(0).integers(-1010, -990, hu.shape).astype(np.int16)
    refuse(noise, "The scan contains almost nothing but air; expected a head, found values from -1010 to -991 HU")
    with_nan = hu.astype(np.float32)
    with_nan[4, 5, 6] = np.nan
    refuse(with_nan, "The scan contains 1 voxels of NaN or infinity; expected a HU value in every voxel")
    with_nan[4, 5, 6] = np.inf
    refuse(with_nan, "The scan contains 1 voxels of NaN or infinity")
    refuse(np.full(hu.shape, np.nan, np.float32), "voxels of NaN or infinity")
    mr = np.clip((hu + 1000) // 5, 0, 255).astype(np.uint8)
    refuse(mr, "The values are not Hounsfield units; expected air near -1000 HU, found values from 0 to 255")
    refuse((hu + 1000).astype(np.uint16), "not Hounsfield units; .* from 0 to 1900; the offset of -1024 may not have")
    toy = (2 / 56, 2 / 56, 2 / 32)
    refuse(hu, "covers too little of a head; expected .* 75 mm along every axis, found 2 × 2 × 2 mm", spacing=toy)
    refuse(np.stack([hu, hu]), r"has (4 dimensions \(56, 56, 32, 2\)|.*several frames)")
    refuse(np.stack([hu] * 3, axis=-1).astype(np.uint8), "values per voxel|dimensions|color", vector=True)


def test_volume_files_with_more_voxels_than_stated(tmp_path, head):
    """The header is that of another image: the first slices would be taken for the whole head."""
    content = bytearray(nifti_of(tmp_path / "scan.nii", head[0]).read_bytes())
    (tmp_path / "scan.nii").write_bytes(content + b"\n")
    assert read_head_ct(tmp_path / "scan.nii").hu.shape == head[0].shape
    content[46:48] = (30).to_bytes(2, "little")  # the third of its sizes
    (tmp_path / "scan.nii").write_bytes(content)
    refused(
        tmp_path / "scan.nii", r"scan\.nii holds more than its header says; expected 188160 bytes of voxels, found 2"
    )
    content = nifti_of(tmp_path / "scan.nrrd", head[0]).read_bytes()
    (tmp_path / "scan.nrrd").write_bytes(content.replace(b"sizes: 56 56 32", b"sizes: 56 56 30"))
    refused(
        tmp_path / "scan.nrrd", r"scan\.nrrd holds more than its header says; expected 188160 bytes of voxels, found 2"
    )


def test_truncated_volume_files(tmp_path, head):
    for suffix, message in (
        (".nii", r"scan\.nii is truncated; expected 200704 bytes of voxels, found "),
        (".nii.gz", r"scan\.nii\.gz is truncated or damaged; expected a complete gzip file"),
        (".nrrd", r"scan\.nrrd cannot be read; expected a complete NRRD file"),
        (".mha", r"scan\.mha is truncated or damaged; expected 200704 bytes of voxels, found "),
    ):
        path = nifti_of(tmp_path / f"scan{suffix}", head[0])
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused(path, message)
    path = tmp_path / "scan.nii"
    path.write_bytes(b"")
    refused(path, r"scan\.nii is not a readable NIfTI file; expected .*, found an empty file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a page of the web or another text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS to a file that was not downloaded"),
        (b"/annex/objects/MD5E-s1--a.nii.gz\n", "a pointer of git-annex to a file that was not downloaded"),
        (bytes(128) + b"DICM" + bytes(300), "a DICOM image: name it .dcm"),
        (b"PK\x03\x04" + bytes(300), "a .zip archive: unpack it first"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_content_that_is_not_what_the_name_says_is_named(tmp_path, suffix, content, words):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    refused(path, re.escape(f"found {words}") if "nii" in suffix else re.escape(f"found: {words}"))


def test_nrrd_header_that_the_library_refuses_is_explained(tmp_path, head):
    path = nifti_of(tmp_path / "scan.nrrd", head[0])
    path.write_bytes(re.sub(rb"(?m)^encoding: .*$", b"encoding: zrl", path.read_bytes()))
    refused(path, r'expected a complete NRRD file, found: couldn\'t parse encoding "zrl"')


def test_archive_is_named(tmp_path):
    (tmp_path / "scan.tar.gz").write_bytes(b"\x1f\x8b")
    refused(tmp_path / "scan.tar.gz", "found an archive: unpack it first")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind, on POSIX")
def test_unreadable_by_permission(tmp_path, dicom_files, head):
    path = nifti_of(tmp_path / "scan.nii", head[0])
    path.chmod(0)
    refused(path, r"scan\.nii cannot be read; expected .*, found: Permission denied")
    paths = dicom_files.write(tmp_path / "dicom", *head)
    paths[3].chmod(0)
    refused(tmp_path / "dicom", r"slice003\.dcm cannot be read as a slice")
    for path in paths:
        path.chmod(0)
    refused(tmp_path / "dicom", "cannot be read; expected .*, found: Permission denied")


def test_damaged_headers_never_end_in_a_traceback(tmp_path, dicom_files, head):
    """Random bytes in the headers: read, or refused in one sentence."""
    hu, affine = head
    rng = np.random.default_rng(3)
    slices = dicom_files.write(tmp_path / "dicom", hu[::4], affine @ np.diag([1, 1, 4, 1]))
    nifti = nifti_of(tmp_path / "scan.nii", hu)
    for path, target, length in ((slices[4], tmp_path / "dicom", 1200), (nifti, nifti, 352)):
        content = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(content)
            damaged[4:length] = (
                np.where(rng.random(length - 4) < 4 / length, rng.integers(0, 256, length - 4), list(content[4:length]))
                .astype(np.uint8)
                .tobytes()
            )
            path.write_bytes(damaged)
            try:
                check_head_ct(read_head_ct(target))
            except InputError as error:
                assert str(error).endswith(".")


def test_chest(tmp_path, dicom_files):
    """A trunk with lungs, a spine with its canal, ribs and sternum, labeled as such or not."""
    affine = dicom_files.affine(pixel_mm=6.5)
    k, j, i = np.indices((32, 56, 56))
    x, y = (i - 27.5) * 6.5, (j - 27.5) * 6.5
    hu = np.full(x.shape, -1000, np.int16)
    hu[(x / 165) ** 2 + (y / 115) ** 2 < 1] = 40
    wall = ((x / 150) ** 2 + (y / 100) ** 2 < 1) & ((x / 138) ** 2 + (y / 88) ** 2 > 1)
    hu[wall & ((k + i) % 5 < 2)] = 600
    hu[((np.abs(x) - 70) / 50) ** 2 + (y / 75) ** 2 < 1] = -820
    hu[(x / 22) ** 2 + ((y - 85) / 22) ** 2 < 1] = 500
    hu[(x / 10) ** 2 + ((y - 85) / 10) ** 2 < 1] = 30
    message = "does not look like a head CT; expected a skull around at least 250 mL, found .* mL of lung-like tissue"
    dicom_files.write(tmp_path / "head", hu, affine)
    refused(tmp_path / "head", message)
    dicom_files.write(tmp_path / "chest", hu, affine, BodyPartExamined="CHEST", SeriesDescription="Thorax")
    refused(tmp_path / "chest", message)


def test_series_asked_of_a_volume_file(tmp_path, head):
    path = nifti_of(tmp_path / "scan.nii", head[0])
    refused(path, "contains one volume; expected .*DICOM", series_uid="1.2.3")
    with pytest.raises(InputError, match="contains one volume and no series; expected DICOM images"):
        list_series(path)
