"""Which slices of a series make one volume."""

import errno
import shutil

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan import dicom_files as dicom_files_module
from ICHMultiTaskLib.scan.reading import read_head_ct


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


def read(folder):
    """The scan's voxels and its warnings as one text."""
    head_ct = read_head_ct(folder)
    return head_ct.hu, " ".join(head_ct.facts.warnings)


def test_copied_images_are_left_out(tmp_path, dicom_files, head):
    hu, affine = head
    paths = dicom_files.write(tmp_path, hu, affine)
    shutil.copy(paths[4], tmp_path / "again.dcm")
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert warnings == "32 of the series' 33 images were used; left out: 1 copied image."


def test_second_transfer_under_new_names_is_left_out(tmp_path, dicom_files, head):
    """The whole scan once more, with other instance UIDs, as a second export gives it; of one image a broken copy."""
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine, AcquisitionTime="101500")
    paths = dicom_files.write(tmp_path, hu, affine, name="more", AcquisitionTime="101500")
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "left out: 32 copied images" in warnings
    whole = paths[3].with_name("slice003.dcm")
    shutil.copy(whole, paths[3])
    whole.write_bytes(whole.read_bytes()[:-3000])
    np.testing.assert_array_equal(read(tmp_path)[0], hu)


def test_copies_by_their_headers_that_differ_are_refused(tmp_path, dicom_files, head):
    """A second reconstruction whose kernel an anonymizer removed: one of the two would be taken by its file's name."""
    hu, affine = head
    bone = hu + np.random.default_rng(0).normal(0, 40, hu.shape).round().astype(hu.dtype)
    study = {"StudyInstanceUID": "1.2.3", "ConvolutionKernel": None}

    def without_number(dataset, k):
        del dataset.InstanceNumber

    for folder, tags in (("same", {"AcquisitionTime": "101500"}), ("none", {"change": without_number})):
        for name, values in (("soft", hu), ("bone", bone)):
            dicom_files.write(tmp_path / folder, values, affine, name=name, **study, **tags)
        words = r"two images at one place .*bone\d+.*soft\d+.* expected copies, found values that differ by \d+ HU"
        with pytest.raises(InputError, match=words):
            read_head_ct(tmp_path / folder)


def test_second_reconstruction_of_which_a_part_is_there_is_refused(tmp_path, dicom_files, head):
    """Half of the slices would be those of one kernel and half of the other, which no one could see in the number."""
    hu, affine = head
    bone = hu + np.random.default_rng(0).normal(0, 40, hu.shape).round().astype(hu.dtype)
    for folder, step in (("none", 0), ("by position", 2)):

        def number(dataset, k, step=step):
            dataset.InstanceNumber = step * k or None

        dicom_files.write(tmp_path / folder, hu, affine, name="soft", change=number)
        paths = dicom_files.write(tmp_path / folder, bone, affine, name="bone", change=number)
        for path in paths[12:]:
            path.unlink()
        with pytest.raises(InputError, match=r"two images at one place .*bone\d+.*soft\d+.* expected copies"):
            read_head_ct(tmp_path / folder)


def test_direction_cosines_and_spacing_that_differ_in_the_fifth_digit(tmp_path, dicom_files, head):
    hu, affine = head

    def jitter(dataset, k):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0.00049 if k % 2 else 0.00051]
        dataset.PixelSpacing = [4.0 + 0.00002 * (k % 3), 4.0]

    dicom_files.write(tmp_path, hu, affine, change=jitter)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert warnings == ""


@pytest.mark.parametrize("shift_mm", [0.0, 0.9, 2.5])
@pytest.mark.parametrize(
    "attribute", ["AcquisitionNumber", "AcquisitionTime", "InstanceNumber", "each slice", "numbers from 1"]
)
def test_two_acquisitions_of_one_range_are_not_interleaved(tmp_path, dicom_files, head, shift_mm, attribute):
    """Similar except for a table shift; the second one has other values, so that interleaving would be visible."""
    hu, affine = head
    shifted = affine.copy()
    shifted[2, 3] += shift_mm
    for number, (grid, voxels) in enumerate(((affine, hu), (shifted, hu + 100))):

        def mark(dataset, k, number=number):
            if attribute == "AcquisitionNumber":
                dataset.AcquisitionNumber = number + 1
            elif attribute == "AcquisitionTime":
                dataset.AcquisitionTime = f"10{number}{k // 10}{k % 10:02d}.5"
            elif attribute == "each slice":
                dataset.AcquisitionNumber = 32 * number + k + 1
            dataset.InstanceNumber = k + 1 if attribute == "numbers from 1" else 32 * number + k + 1

        dicom_files.write(tmp_path, voxels, grid, name="ab"[number], change=mark)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert ("32 of the series' 64 images were used; left out: another stack of 32 slices" in warnings) or (
        "32 images at the position of another" in warnings
    )


def test_repeated_part_of_the_scan_is_left_out(tmp_path, dicom_files, head):
    """The patient moved: 10 slices were scanned again, 1.5 mm off."""
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine)
    again = affine.copy()
    again[:3, 3] += 12 * affine[:3, 2] + [0, 0, 1.5]
    dicom_files.write(tmp_path, hu[12:22] + 100, again, name="again", AcquisitionNumber=2)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "left out: another stack of 10 slices of 5 mm of acquisition 2" in warnings


def test_blocks_of_one_scan_stay_together(tmp_path, dicom_files, head):
    """Skull base and vertex as two acquisitions, the upper one scanned downward; they share one place."""
    hu, affine = head
    upper = affine.copy()
    upper[:3, 3] += 14 * affine[:3, 2]
    dicom_files.write(tmp_path, hu[:15], affine, AcquisitionNumber=1)
    dicom_files.write(
        tmp_path, hu[14:], upper, name="upper", AcquisitionNumber=2,
        change=lambda dataset, k: setattr(dataset, "InstanceNumber", 100 - k),
    )  # fmt: skip
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "1 image at the position of another" in warnings


def test_odd_slices_first_and_even_ones_after_are_one_scan(tmp_path, dicom_files, head):
    hu, affine = head

    def interleave(dataset, k):
        dataset.InstanceNumber = k // 2 + 1 + 16 * (k % 2)
        dataset.AcquisitionNumber = 1 + k % 2

    dicom_files.write(tmp_path, hu, affine, change=interleave)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert warnings == ""


def test_slices_farther_apart_than_they_are_thick_are_reported(tmp_path, dicom_files, head):
    """Half of a transfer, every second image: nothing in the positions looks uneven."""
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine, change=lambda dataset, k: k % 2 == 0)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu[::2])
    assert "Slices of 5 mm lie 10 mm apart" in warnings


def test_images_that_each_state_a_series_of_their_own(tmp_path, dicom_files, head):
    """As some anonymizers write them; another series number and description are another series."""
    hu, affine = head

    def alone(dataset, k):
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.{k + 1}"

    paths = dicom_files.write(tmp_path, hu, affine, change=alone, SeriesNumber=2)
    bone = {"SeriesDescription": "BONE", "ConvolutionKernel": "H60s", "SeriesInstanceUID": "1.2.9", "SeriesNumber": 3}
    dicom_files.write(tmp_path, hu + 100, affine, "bone", change=alone, **bone)
    for source in (tmp_path, paths[7]):
        found, warnings = read(source)
        np.testing.assert_array_equal(found, hu)
        assert "Each image states a series of its own" in warnings


def test_thick_and_thin_slices_in_one_series(tmp_path, dicom_files, head):
    hu, affine = head
    thin = affine.copy()
    thin[:3, 2] /= 4
    dicom_files.write(tmp_path, np.repeat(hu, 4, axis=0) + 100, thin, name="thin")
    dicom_files.write(tmp_path, hu, affine, name="usual")
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "left out: another stack of 128 slices of 1.25 mm" in warnings


@pytest.mark.parametrize("is_other", [lambda k: k < 16, lambda k: k % 2], ids=["a half", "every second"])
@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("StudyInstanceUID", ("1.2.3", "1.2.9")),
        ("PatientID", ("P1", "p1 ")),
        ("ContrastBolusAgent", ("NONE", "no")),
        ("ContrastBolusAgent", ("", "none")),
        ("ConvolutionKernel", ("H31s", "H30s")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"])),
    ],
)
def test_slices_that_fill_each_others_gaps_are_one_scan_however_their_headers_differ(
    tmp_path, dicom_files, head, keyword, values, is_other
):
    hu, affine = head

    def change(dataset, k):
        setattr(dataset, keyword, values[bool(is_other(k))])

    dicom_files.write(tmp_path, hu, affine, change=change)
    np.testing.assert_array_equal(read(tmp_path)[0], hu)


def test_two_kernels_in_one_series(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu + 100, affine, name="a", ConvolutionKernel="H60s")
    dicom_files.write(tmp_path, hu, affine, name="b", AcquisitionNumber=None)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "another stack of 32 slices of 5 mm with kernel H60s" in warnings


def test_two_kernels_that_share_all_numbers_and_times_are_no_copies(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu + 100, affine, name="a", ConvolutionKernel="H60s", AcquisitionTime="120000")
    dicom_files.write(tmp_path, hu, affine, name="b", AcquisitionTime="120000")
    np.testing.assert_array_equal(read(tmp_path)[0], hu)


def test_indistinguishable_interleaved_acquisitions_are_refused(tmp_path, dicom_files, head):
    hu, affine = head
    shifted = affine.copy()
    shifted[2, 3] += 1.2

    def strip(dataset, k):
        del dataset.InstanceNumber, dataset.AcquisitionNumber

    dicom_files.write(tmp_path, hu, affine, change=strip)
    dicom_files.write(tmp_path, hu + 100, shifted, name="other", change=strip)
    with pytest.raises(InputError, match="several acquisitions that the headers do not distinguish"):
        read_head_ct(tmp_path)


def test_missing_instance_numbers(tmp_path, dicom_files, head):
    hu, affine = head

    def strip(dataset, k):
        del dataset.InstanceNumber, dataset.AcquisitionNumber

    dicom_files.write(tmp_path, hu, affine, change=strip)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert warnings == ""


def test_dynamic_series_is_not_a_scan(tmp_path, dicom_files, head):
    hu, affine = head
    for time in range(4):
        dicom_files.write(tmp_path, hu + 5 * time, affine, name=f"t{time}_", AcquisitionNumber=time)
    with pytest.raises(InputError, match="found a dynamic series of 4 volumes"):
        read_head_ct(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsAllocated": 8, "BitsStored": 8}, "in color"),
        ({"ImagePositionPatient": None}, "without a slice position"),
        ({"ImageOrientationPatient": None}, "without a usable slice orientation"),
        ({"PixelSpacing": None}, "without a usable pixel spacing"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "of a localizer"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "of another modality than CT"),
        ({"NumberOfFrames": 3}, "of several frames without positions"),
    ],
)
def test_foreign_page_under_the_series_uid_is_left_out(tmp_path, dicom_files, head, attributes, words):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine)

    def spoil(dataset, k):
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    (page,) = dicom_files.write(tmp_path, hu[:1], affine, name="page", change=spoil)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert f"left out: 1 image {words} (page000.dcm)" in warnings

    page.rename(tmp_path / "slice012.dcm")  # in the place of a slice, which is then missing
    with pytest.raises(
        InputError, match=r"scan is incomplete: slice012\.dcm cannot be read as a slice; .* after slice 12"
    ):
        read_head_ct(tmp_path)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(128) + b"DICM" + bytes(range(256)) * 20])
def test_one_broken_file_beside_the_scan_is_left_out(tmp_path, dicom_files, head, content):
    hu, affine = head
    paths = dicom_files.write(tmp_path, hu, affine)
    (tmp_path / "broken.dcm").write_bytes(content)
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "1 file could not be read and was left out (first: broken.dcm)" in warnings
    paths[7].unlink()
    with pytest.raises(InputError, match=r"scan is incomplete: broken\.dcm cannot be read as a slice"):
        read_head_ct(tmp_path)


def test_scan_that_continues_in_another_series(tmp_path, dicom_files, head):
    """As where a transfer split it, or the identifier of the last slice is damaged."""
    hu, affine = head
    top = affine.copy()
    top[:3, 3] += 30 * affine[:3, 2]
    dicom_files.write(tmp_path, hu[:30], affine)
    dicom_files.write(tmp_path, hu[30:], top, name="top", SeriesInstanceUID="1.2.3.5", SeriesDescription="HEAD 2")
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu[:30])
    assert "The scan continues in another series, which was not used (“HEAD 2, 2 images”)" in warnings


def test_impossible_positions(tmp_path, dicom_files, head):
    hu, affine = head
    offsets = [*range(31), 1e9]
    dicom_files.write(tmp_path / "far", hu, affine, offsets=offsets)
    with pytest.raises(InputError, match=r"slices span 5e\+09 mm|Slices are missing"):
        read_head_ct(tmp_path / "far")
    places = np.cumsum([0.03 if k % 2 else 30.0 for k in range(32)])
    dicom_files.write(tmp_path / "close", hu, dicom_files.affine(step_mm=1.0), offsets=places)
    with pytest.raises(InputError, match="Slices are missing|the headers do not distinguish|distances between slices"):
        read_head_ct(tmp_path / "close")


def test_file_with_a_read_error(tmp_path, dicom_files, head, monkeypatch):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine)
    (tmp_path / "scratched.dcm").write_bytes(b"x")
    read_header = dicom_files_module.read_header

    def refuse(path):
        if path.name in refused:
            raise OSError(errno.EIO, "Input/output error")
        return read_header(path)

    monkeypatch.setattr(dicom_files_module, "read_header", refuse)
    refused = {"scratched.dcm"}
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert "1 file could not be read and was left out (first: scratched.dcm)" in warnings
    refused |= {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="cannot be read; expected .*, found: Input/output error"):
        read_head_ct(tmp_path)


def test_lost_slice_among_steps_of_two_widths(tmp_path, dicom_files):
    """Steps of 5 mm below and 8 mm above; a broken file is no slice of it, or one in the upper block."""
    affine = dicom_files.affine(step_mm=1.0)
    offsets = np.concatenate([np.arange(0, 60, 5.0), np.arange(63, 128, 8.0)])
    hu = np.broadcast_to(np.arange(len(offsets), dtype=np.int16)[:, None, None], (len(offsets), 56, 56))
    paths = dicom_files.write(tmp_path, hu, affine, offsets=offsets, SliceThickness=5)
    (tmp_path / "broken.dcm").write_bytes(b"")
    assert "was left out (first: broken.dcm)" in read(tmp_path)[1]
    paths[-4].write_bytes(b"")
    with pytest.raises(InputError, match=r"expected a slice every 8\.0 mm, found a gap of 16\.0 mm after slice 17"):
        read_head_ct(tmp_path)


def test_other_sizes_and_side_views_are_left_out(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine)
    dicom_files.write(tmp_path, hu[:1], affine[:, [1, 2, 0, 3]], name="side")
    dicom_files.write(tmp_path, hu[:2, :40], affine, name="small")
    found, warnings = read(tmp_path)
    np.testing.assert_array_equal(found, hu)
    assert warnings.startswith("32 of the series' 35 images were used; left out: another stack of 2 slices of 5 mm")
