"""Scans of which a part is missing, lies on another grid, or cannot be read: refused, with the reason."""

import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        check_head_ct(read_head_ct(path))
    assert str(caught.value).endswith(".") and "expected" in str(caught.value)


def test_all_slices_at_one_position(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head, ImagePositionPatient=[0, 0, 0])
    with pytest.raises(InputError, match="All 32 slices of the series lie at one position"):
        read_head_ct(tmp_path)


def test_halves_of_a_scan_on_two_grids(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu[:14], affine)
    upper = affine.copy()
    upper[:3, 3] += affine[:3, :3] @ [4, 4, 14]
    dicom_files.write(tmp_path, hu[14:, 4:-4, 4:-4], upper, name="upper")
    words = "two grids; expected slices of one size and orientation, found 18 of "
    refused(tmp_path, words + "48 × 48 × 4 mm and 14 of 56 × 56 × 4 mm that follow them")


@pytest.mark.parametrize("angle", [12, 180])
def test_parts_of_a_scan_that_are_turned_against_each_other(tmp_path, dicom_files, head, angle):
    """The skull base with a tilted gantry and the rest without, or rows stored the other way round in one half."""
    hu, affine = head
    dicom_files.write(tmp_path, hu[14:], affine @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 14], [0, 0, 0, 1]])
    middle, turn = affine @ [27.5, 27.5, 6.5, 1], np.eye(4)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    plane = np.ix_([1, 2], [1, 2]) if angle < 90 else np.ix_([0, 1], [0, 1])
    turn[plane] = [[cosine, -sine], [sine, cosine]]
    turn[:3, 3] = middle[:3] - turn[:3, :3] @ middle[:3]
    dicom_files.write(tmp_path, hu[:14], turn @ affine, name="base")
    refused(tmp_path, f"two grids; .*found 18 of .* and 14 of 56 × 56 × 4 mm, turned by {angle}°, that follow them")


def test_part_of_a_head_whose_other_images_cannot_be_read(tmp_path, dicom_files, head):
    paths = dicom_files.write(tmp_path, *head)
    for path in paths[16:]:
        dataset = pydicom.dcmread(path)
        del dataset.ImagePositionPatient
        dataset.save_as(path)
    words = "is incomplete: 16 images, such as slice016.dcm, cannot be read as slices; .* whole head, found 75 mm of it"
    refused(tmp_path, words)
    for path in paths[16:]:
        path.write_bytes(path.read_bytes()[:200])
    refused(tmp_path, words)


def test_single_slice(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path / "one", hu[15:16], affine)
    refused(tmp_path / "one", "The series has 1 slice; expected a stack of slices")
    dicom_files.write(tmp_path / "few", hu[15:20], affine)
    refused(tmp_path / "few", "The scan has only 5 slices along one axis; expected at least 8")
    sitk.WriteImage(sitk.GetImageFromArray(hu[15:16]), str(tmp_path / "one.nii"))
    refused(tmp_path / "one.nii", "The scan has only 1 slice along one axis")


def test_series_cut_in_half(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path / "lower", hu[:16], affine)
    refused(tmp_path / "lower", "The head is cut off at the vertex; expected a scan of the whole head .*, found 80 mm")
    dicom_files.write(tmp_path / "upper", hu[17:], affine)
    refused(tmp_path / "upper", "The head is cut off at the skull base|covers too little of a head")
    dicom_files.write(tmp_path / "gap", hu, affine, change=lambda dataset, k: not 10 <= k < 16)
    refused(tmp_path / "gap", "Slices are missing: expected a slice every 5.0 mm, found a gap of 35.0 mm after")


def test_real_series_cut_in_half(data_folder, tmp_path):
    with zipfile.ZipFile(data_folder / "ge_head_tilt18_variable_spacing.zip") as archive:
        names = sorted(archive.namelist())
        archive.extractall(tmp_path / "lower", names[:14])
        archive.extractall(tmp_path / "upper", names[14:])
    refused(tmp_path / "lower", "covers too little of a head; expected at least 75 mm along every axis, found .* 56 mm")
    refused(tmp_path / "upper", "The head is cut off at the skull base; .* found 98 mm")
