"""Reading DICOM: which series, which slices, which values."""

import shutil
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.fileset import FileSet

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


def test_folder_subfolders_foreign_files_zip_and_single_file(tmp_path, dicom_files, head):
    hu, affine = head
    paths = dicom_files.write(tmp_path / "scan" / "a", hu[:16], affine)
    shifted = affine.copy()
    shifted[:3, 3] += 16 * affine[:3, 2]
    dicom_files.write(tmp_path / "scan" / "b", hu[16:], shifted, name="IM")
    (tmp_path / "scan" / "readme.txt").write_text("not an image")
    (tmp_path / "scan" / "empty").write_bytes(b"")
    (tmp_path / "scan" / "._slice000.dcm").write_bytes(b"macOS attributes")
    archive = shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "scan")

    head_ct = read_head_ct(tmp_path / "scan")
    np.testing.assert_array_equal(head_ct.hu, np.maximum(hu, -1024))
    np.testing.assert_allclose(head_ct.ijk_to_ras, affine, atol=1e-6)
    assert head_ct.hu.dtype == np.int16
    (warning,) = head_ct.facts.warnings
    assert warning.startswith("1 file could not be read and was left out (first: empty)")
    assert (head_ct.facts.patient_id, head_ct.facts.patient_name) == ("P1", "Doe^Jane")
    assert (head_ct.facts.series_uid, head_ct.facts.kernel, head_ct.facts.format) == ("1.2.3.4", "H31s", "DICOM")
    assert head_ct.facts.slice_steps_mm == (5.0,)
    np.testing.assert_array_equal(read_head_ct(archive).hu, head_ct.hu)
    assert read_head_ct(archive).facts.path == archive
    assert len(read_head_ct(paths[3]).hu) == 16, "a file stands for the series in its own folder"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_images_of_one_name_in_an_archive_do_not_replace_each_other(tmp_path, dicom_files, head):
    """An export that names the images of every series alike: the sharp kernel must not replace the soft one."""
    hu, affine = head
    soft = dicom_files.write(tmp_path / "soft", hu, affine)
    sharp = dicom_files.write(tmp_path / "sharp", hu + 50, affine, SeriesInstanceUID="1.2.7", ConvolutionKernel="H70h")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for n, path in enumerate([*soft, *sharp]):
            archive.write(path, f"DICOM/IM{n % len(soft)}")
    head_ct = read_head_ct(tmp_path / "scan.zip")
    np.testing.assert_array_equal(head_ct.hu, np.maximum(hu, -1024))
    assert "sharp kernel H70h" in head_ct.facts.series_choice


def test_text_of_another_character_set_than_stated_causes_no_warning(tmp_path, dicom_files, head, recwarn):
    """Warnings of a library, with paths of its files, would stand among the messages of a command."""
    for path in dicom_files.write(tmp_path, *head, SpecificCharacterSet="ISO_IR 192", SeriesDescription="Schxdel 5.0"):
        path.write_bytes(path.read_bytes().replace(b"Schxdel", b"Sch\xe4del"))
    recwarn.clear()
    assert read_head_ct(tmp_path).facts.series_description == "Sch\N{REPLACEMENT CHARACTER}del 5.0"
    assert not list(recwarn)


def test_control_characters_in_texts_are_spaces(tmp_path, dicom_files, head):
    """A scene whose XML holds them cannot be opened, and a terminal obeys them."""
    names = {"SeriesDescription": "Head\x0b\x1b[31m\r\n5 mm\x00", "PatientName": "A\x07B^C\uffff"}
    dicom_files.write(tmp_path, *head, SpecificCharacterSet="ISO_IR 192", **names)
    facts = read_head_ct(tmp_path).facts
    assert (facts.series_description, facts.patient_name) == ("Head [31m 5 mm", "A B^C")


def test_linked_folders_are_searched_and_hidden_ones_are_not(tmp_path, dicom_files, head):
    """A link to the folder above it must not lead round in circles, and a trash can holds no scan to analyze."""
    hu, affine = head
    dicom_files.write(tmp_path / "disk", hu, affine)
    dicom_files.write(tmp_path / "study" / ".Trash", hu + 5, affine, SeriesInstanceUID="1.2.7")
    try:
        (tmp_path / "study" / "series").symlink_to(tmp_path / "disk", target_is_directory=True)
        (tmp_path / "study" / "above").symlink_to(tmp_path / "study", target_is_directory=True)
    except OSError:
        pytest.skip("this account may not make links")
    head_ct = read_head_ct(tmp_path / "study")
    np.testing.assert_array_equal(head_ct.hu, hu)
    assert head_ct.facts.warnings == ()


def test_media_directory(tmp_path, dicom_files, head):
    """A disk as a PACS writes it: DICOMDIR beside folders of images without an extension."""
    hu, affine = head
    medium = FileSet()
    ids = {"StudyID": "1", "StudyTime": "101010", "AccessionNumber": "1", "SeriesNumber": 1}
    for path in dicom_files.write(tmp_path / "source", hu, affine, **ids):
        medium.add(path)
    medium.write(tmp_path / "disk")
    for path in (tmp_path / "disk", tmp_path / "disk" / "DICOMDIR"):
        head_ct = read_head_ct(path)
        np.testing.assert_array_equal(head_ct.hu, hu)
        assert head_ct.facts.warnings == ()


def test_slices_are_ordered_by_position_not_by_number_or_name(tmp_path, dicom_files, head):
    hu, affine = head

    def shuffle(dataset, k):
        dataset.InstanceNumber = (k * 7) % 32

    dicom_files.write(tmp_path, hu[::-1], affine, offsets=range(31, -1, -1), change=shuffle)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


def test_variable_spacing_overlap_and_missing_slices(tmp_path, dicom_files):
    """A ramp along the slice direction shows where each resampled slice lies."""
    affine = dicom_files.affine(step_mm=1.0)
    thin, overlap, thick = np.arange(0, 48, 4.0), np.array([46.0]), np.arange(54, 110, 8.0)
    offsets = np.concatenate([thin, overlap, thick])  # mm; steps 4, 2 and 8
    ramp = np.broadcast_to((10 * offsets[:, None, None]).astype(np.int16), (len(offsets), 56, 56))
    dicom_files.write(tmp_path / "varying", ramp, affine, offsets=offsets, SliceThickness=4)
    head_ct = read_head_ct(tmp_path / "varying")
    assert head_ct.facts.slice_steps_mm == (2.0, 4.0, 8.0)
    sentence = next(text for text in head_ct.facts.warnings if "varies" in text)
    assert "2.00 mm (1 ×), 4.00 mm (11 ×), 8.00 mm (7 ×), with 1 overlapping pair of slices" in sentence
    height = head_ct.ijk_to_ras[2, 3] - affine[2, 3] + head_ct.ijk_to_ras[2, 2] * np.arange(len(head_ct.hu))
    np.testing.assert_allclose(height[[0, -1]], offsets[[0, -1]], atol=1e-6)
    np.testing.assert_allclose(head_ct.hu[:, 5, 5], 10 * height, atol=0.51)

    affine = dicom_files.affine()
    hu = dicom_files.head(affine)
    dicom_files.write(tmp_path / "missing", hu, affine, change=lambda dataset, k: k not in (12, 20))
    missing = read_head_ct(tmp_path / "missing")
    assert missing.hu.shape == hu.shape
    assert any("5.00 mm (27 ×), 10.00 mm (2 ×)" in text for text in missing.facts.warnings)
    np.testing.assert_allclose(missing.ijk_to_ras, affine, atol=1e-6)


def test_positions_rounded_by_the_scanner_need_no_resampling(tmp_path, dicom_files, head):
    hu, affine = head
    affine[2, 2] = 4.83

    def rounded(dataset, k):
        dataset.ImagePositionPatient[2] = round(float(dataset.ImagePositionPatient[2]), 1)

    dicom_files.write(tmp_path, hu, affine, change=rounded)
    head_ct = read_head_ct(tmp_path)
    np.testing.assert_array_equal(head_ct.hu, hu)
    assert head_ct.facts.warnings == ()


def test_stated_tilt_that_the_positions_lack_is_reported(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine, GantryDetectorTilt=15)
    (warning,) = read_head_ct(tmp_path).facts.warnings
    assert "tilt of 15°, but the slice positions show 0.0°" in warning


def test_progress_rises_and_cancels(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head)
    fractions = []
    read_head_ct(tmp_path, progress=lambda fraction, message: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0

    def cancel(fraction, message):
        if fraction > 0.5:
            raise Canceled("Canceled.")

    with pytest.raises(Canceled):
        read_head_ct(tmp_path, progress=cancel)


def test_every_file_is_decoded_once(tmp_path, dicom_files, monkeypatch):
    """Headers first, then the pixels of the chosen series."""
    paths, read = dicom_files.write(tmp_path, np.zeros((32, 64, 64), np.int16), dicom_files.affine()), []
    read_file = pydicom.dcmread

    def counted(path, *rest, stop_before_pixels=False, **options):
        read.append((Path(path).name, stop_before_pixels))
        return read_file(path, *rest, stop_before_pixels=stop_before_pixels, **options)

    monkeypatch.setattr(pydicom, "dcmread", counted)
    read_head_ct(tmp_path)
    names = [Path(path).name for path in paths]
    assert sorted(read) == sorted((name, only_header) for name in names for only_header in (False, True))


def test_real_head_with_tilt_overlap_and_variable_spacing(data_folder, tmp_path):
    path = data_folder / "ge_head_tilt18_variable_spacing.zip"
    head_ct = check_head_ct(read_head_ct(path))
    facts = head_ct.facts
    assert facts.gantry_tilt_deg == pytest.approx(18.5, abs=0.01)
    assert facts.slice_steps_mm == (1.14, 4.22, 7.38)
    assert len(facts.warnings) == 1
    assert "1.14 mm (1 ×), 4.22 mm (13 ×), 7.38 mm (13 ×), with 1 overlapping pair" in facts.warnings[0]
    assert head_ct.hu.min() == -1024
    assert (facts.kernel, facts.body_part, facts.manufacturer) == ("STD+", "HEAD", "GE MEDICAL SYSTEMS")
    # The voxel volume is pixel area × step × cos(tilt); the stack keeps its ends.
    assert head_ct.voxel_volume_mm3 == pytest.approx(0.4882812**2 * (151.94 / 36) * np.cos(np.radians(18.5)), rel=1e-6)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    for name, k in (("01.dcm", 0), ("28.dcm", -1)):
        image = sitk.ReadImage(str(tmp_path / name))
        np.testing.assert_array_equal(head_ct.hu[k], np.maximum(sitk.GetArrayFromImage(image)[0], -1024))
        lps = np.array(image.TransformIndexToPhysicalPoint((200, 300, 0)))
        found = head_ct.ijk_to_ras @ [200, 300, k % len(head_ct.hu), 1]
        np.testing.assert_allclose(found[:3], lps * [-1, -1, 1], atol=1e-3)


def test_two_threads_that_read_leave_the_callers_settings(tmp_path, dicom_files, head):
    """The second begins while the first reads, if it may, and ends after it."""
    dicom_files.write(tmp_path, *head)
    begun, ended = threading.Event(), threading.Event()

    def second():
        read_head_ct(tmp_path, progress=lambda *_: (begun.set(), ended.wait(60)))

    def begin(*_):
        if not thread.ident:
            thread.start()
            begun.wait(0.5)

    def settings():
        validation = pydicom.config.settings
        return list(warnings.filters), validation.reading_validation_mode, validation.writing_validation_mode

    thread, before = threading.Thread(target=second), settings()
    read_head_ct(tmp_path, progress=begin)
    ended.set()
    thread.join(60)
    assert begun.is_set() and settings() == before


def sphere_volume_ml(head_ct, seed_ijk, threshold_hu=-440.0, radius_mm=16.0):
    """Volume above the threshold near a spherical insert, found from a voxel inside it."""
    start = np.maximum(np.array(seed_ijk[::-1]) - 50, 0)
    near_seed = tuple(slice(first, first + 101) for first in start)
    kji = np.argwhere(head_ct.hu[near_seed] > threshold_hu) + start
    ras = kji[:, ::-1] @ head_ct.ijk_to_ras[:3, :3].T + head_ct.ijk_to_ras[:3, 3]
    center = (head_ct.ijk_to_ras @ [*seed_ijk, 1])[:3]
    for _ in range(8):
        near = np.linalg.norm(ras - center, axis=1) < radius_mm
        center = ras[near].mean(axis=0)
    return near.sum() * head_ct.voxel_volume_mm3 / 1000.0


def test_insert_of_the_phantom_has_one_volume_with_and_without_tilt(data_folder):
    """Half of the way from air (-990 HU) to the insert (about 110 HU); leaving cos(tilt) out would add 5.5 %."""
    straight = read_head_ct(data_folder / "philips_phantom_tilt0.zip")
    tilted = read_head_ct(data_folder / "philips_phantom_tilt-18.zip")
    assert (straight.facts.gantry_tilt_deg, tilted.facts.gantry_tilt_deg) == (0.0, -18.5)
    for head_ct in (straight, tilted):
        with pytest.raises(InputError, match=r"inside of the skull is not brain \(a phantom\?\)"):
            check_head_ct(head_ct)
    volumes = sphere_volume_ml(straight, (204, 186, 16)), sphere_volume_ml(tilted, (213, 212, 26))
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)
    assert 8.0 < volumes[0] < 9.5
