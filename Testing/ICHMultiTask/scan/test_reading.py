"""Reading DICOM: which series, which slices, which values."""

import shutil
import time
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.scan.reading import list_series, read_head_ct
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
    assert head_ct.facts.warnings == ()
    assert (head_ct.facts.patient_id, head_ct.facts.patient_name) == ("P1", "Doe^Jane")
    assert (head_ct.facts.series_uid, head_ct.facts.kernel, head_ct.facts.format) == ("1.2.3.4", "H31s", "DICOM")
    assert head_ct.facts.slice_steps_mm == (5.0,)
    np.testing.assert_array_equal(read_head_ct(archive).hu, head_ct.hu)
    assert read_head_ct(archive).facts.path == archive
    assert len(read_head_ct(paths[3]).hu) == 16, "a file stands for the series in its own folder"


def test_slices_are_ordered_by_position_not_by_number_or_name(tmp_path, dicom_files, head):
    hu, affine = head

    def shuffle(dataset, k):
        dataset.InstanceNumber = (k * 7) % 32

    dicom_files.write(tmp_path, hu[::-1], affine, offsets=range(31, -1, -1), change=shuffle)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


def test_rescale_by_slice_and_fractional_slope(tmp_path, dicom_files, head):
    hu, affine = head

    def per_slice(dataset, k):
        dataset.RescaleIntercept = -k
        dataset.PixelData = (hu[k] + k).astype(np.int16).tobytes()

    dicom_files.write(tmp_path / "shifted", hu, affine, change=per_slice)
    np.testing.assert_array_equal(read_head_ct(tmp_path / "shifted").hu, hu)

    dicom_files.write(tmp_path / "fraction", hu * 2, affine, RescaleSlope="0.5", RescaleIntercept="0.25")
    head_ct = read_head_ct(tmp_path / "fraction")
    assert head_ct.hu.dtype == np.float32
    np.testing.assert_allclose(head_ct.hu, hu + 0.25)


def test_unsigned_values_and_bits_above_those_stored(tmp_path, dicom_files, head):
    hu, affine = head
    overlay = np.uint16(0x8000)
    stored = (hu.astype(np.int32) + 1024).astype(np.uint16) | overlay
    unsigned = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    dicom_files.write(tmp_path / "unsigned", stored, affine, **unsigned)
    np.testing.assert_array_equal(read_head_ct(tmp_path / "unsigned").hu, hu)

    twelve_bits = (hu & 0x0FFF).astype(np.uint16)  # negative values without extended sign
    dicom_files.write(tmp_path / "signed", twelve_bits, affine, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_head_ct(tmp_path / "signed").hu, hu)


@pytest.mark.parametrize("padding", [-1500, -2000, 3500])
def test_padding_becomes_air(tmp_path, dicom_files, head, padding):
    hu, affine = head
    padded = hu.copy()
    padded[:, :5] = padding

    def add_padding(dataset, k):
        dataset.add_new("PixelPaddingValue", "SS", padding)

    dicom_files.write(tmp_path, padded, affine, change=add_padding)
    found = read_head_ct(tmp_path).hu
    assert (found[:, :5] == -1024).all()
    np.testing.assert_array_equal(found[:, 5:], hu[:, 5:])


def test_padding_value_of_tissue_does_not_erase_it(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine, change=lambda dataset, k: dataset.add_new("PixelPaddingValue", "SS", 32))
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


def compress(path, compressor, work):
    """Compress a DICOM file in place: with GDCM, or RLE with pydicom."""
    dataset = pydicom.dcmread(path)
    if compressor == "RLE":
        dataset.compress(pydicom.uid.RLELossless)
    else:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(work / "compressed.dcm"))
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        donor = pydicom.dcmread(work / "compressed.dcm")
        dataset.file_meta.TransferSyntaxUID = donor.file_meta.TransferSyntaxUID
        dataset.PixelData = donor.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
        assert donor.PixelRepresentation == dataset.PixelRepresentation
    assert dataset.file_meta.TransferSyntaxUID.is_compressed
    dataset.save_as(path)


@pytest.mark.parametrize("compressor", ["RLE", "JPEG", "JPEGLS", "JPEG2000"])
@pytest.mark.parametrize("signed", [True, False])
def test_compressed_transfer_syntaxes(tmp_path, dicom_files, head, compressor, signed):
    hu, affine = head
    stored = hu if signed else (hu + 1024).astype(np.uint16)
    attributes = {} if signed else {"PixelRepresentation": 0, "RescaleIntercept": -1024}
    for path in dicom_files.write(tmp_path / "scan", stored, affine, **attributes):
        compress(path, compressor, tmp_path)
    head_ct = read_head_ct(tmp_path / "scan")
    np.testing.assert_array_equal(head_ct.hu, hu)
    assert head_ct.hu.dtype == np.int16


def test_big_endian(tmp_path, dicom_files, head):
    hu, affine = head
    paths = dicom_files.write(tmp_path / "little", hu, affine)
    (tmp_path / "big").mkdir()
    for path, plane in zip(paths, hu, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        dataset.PixelData = plane.astype(">i2").tobytes()
        pydicom.dcmwrite(tmp_path / "big" / path.name, dataset, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(read_head_ct(tmp_path / "big").hu, hu)


def test_enhanced_multi_frame(tmp_path, dicom_files, head):
    """Frames in reverse order, positions and rescale in the functional groups."""
    hu, affine = head
    paths = dicom_files.write(tmp_path / "classic", hu, affine)
    enhanced = pydicom.dcmread(paths[0])
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    shared, frames = pydicom.Dataset(), []

    def group(keywords):
        item = pydicom.Dataset()
        for keyword in keywords:
            setattr(item, keyword, source.get(keyword))
        return pydicom.Sequence([item])

    for path in reversed(paths):
        source = pydicom.dcmread(path)
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = group(["ImagePositionPatient"])
        frames.append(frame)
    shared.PixelMeasuresSequence = group(["PixelSpacing", "SliceThickness"])
    shared.PlaneOrientationSequence = group(["ImageOrientationPatient"])
    shared.PixelValueTransformationSequence = group(["RescaleIntercept", "RescaleSlope"])
    shared.CTReconstructionSequence = group(["ConvolutionKernel"])
    del enhanced.ImagePositionPatient, enhanced.ImageOrientationPatient, enhanced.PixelSpacing
    del enhanced.RescaleSlope, enhanced.RescaleIntercept
    enhanced.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    enhanced.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    enhanced.NumberOfFrames = len(frames)
    enhanced.PixelData = hu[::-1].tobytes()
    enhanced.save_as(tmp_path / "enhanced.dcm")
    head_ct = read_head_ct(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(head_ct.hu, hu)
    np.testing.assert_allclose(head_ct.ijk_to_ras, affine, atol=1e-6)
    assert head_ct.facts.kernel == "H31s"


def test_choice_among_series(tmp_path, dicom_files, head):
    hu, affine = head
    thin = affine.copy()
    thin[:3, 2] /= 3.5
    sagittal = affine[:, [1, 2, 0, 3]]
    kinds = {
        "1.1": ({"SeriesDescription": "HEAD 5.0 H31s"}, affine, hu),
        "1.2": ({"SeriesDescription": "HEAD BONE", "ConvolutionKernel": "H60s"}, affine, hu),
        "1.3": ({"SeriesDescription": "HEAD CE", "ContrastBolusAgent": "IOMERON"}, affine, hu),
        "1.4": ({"SeriesDescription": "TOPO", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, affine, hu[:2]),
        "1.5": ({"SeriesDescription": "HEAD SAG", "ImageType": ["DERIVED", "SECONDARY", "MPR"]}, sagittal, hu),
        "1.6": ({"SeriesDescription": "HEAD 5.0 H31s short"}, affine, hu[:10]),
        "1.7": ({"SeriesDescription": "CTA CIRCLE OF WILLIS"}, affine, hu),
        "1.8": ({"SeriesDescription": "SCREEN SAVE", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, affine, hu[:1]),
        "1.9": ({"SeriesDescription": "HEAD THIN"}, thin, np.repeat(hu, 2, axis=0)),
    }
    for uid, (attributes, grid, voxels) in kinds.items():
        dicom_files.write(tmp_path, voxels, grid, name=f"s{uid}_", SeriesInstanceUID=uid, **attributes)
    summaries = {item.uid: item for item in list_series(tmp_path)}
    assert set(summaries) == set(kinds)
    assert [uid for uid, item in summaries.items() if item.chosen] == ["1.1"]
    expected = {
        "1.1": "axial, soft-tissue kernel", "1.2": "sharp kernel H60s", "1.3": "contrast-enhanced", "1.4": "localizer",
        "1.5": "not axial", "1.6": "covers 45 mm with 10 slices", "1.7": "angiography", "1.8": "secondary capture",
        "1.9": "64 slices",
    }  # fmt: skip
    assert {uid: text for uid, text in expected.items() if text not in summaries[uid].why} == {}

    head_ct = read_head_ct(tmp_path)
    assert head_ct.facts.series_uid == "1.1"
    assert head_ct.facts.warnings[0].startswith("9 series were found; analyzed “HEAD 5.0 H31s” (32 slices of 5 mm; ")
    bone = read_head_ct(tmp_path, series_uid="1.2")
    assert bone.facts.series_uid == "1.2"
    assert any("sharp kernel H60s; a soft-tissue kernel is expected" in text for text in bone.facts.warnings)
    assert any("contrast-enhanced" in text for text in read_head_ct(tmp_path, "1.3").facts.warnings[1:])
    with pytest.raises(InputError, match=r"Series 9\.9 is not among the files; expected one of: 1\.1 \(HEAD 5\.0"):
        read_head_ct(tmp_path, series_uid="9.9")


def test_newest_of_several_studies(tmp_path, dicom_files, head):
    for number in (1, 2):
        ids = {"SeriesInstanceUID": f"2.{number}", "StudyInstanceUID": f"1.{number}", "StudyDate": f"2026010{number}"}
        dicom_files.write(tmp_path / str(number), *head, **ids, Manufacturer="ICHMultiTask simulation")
    head_ct = read_head_ct(tmp_path)
    assert (head_ct.facts.study_date, head_ct.facts.simulated) == ("20260102", True)
    assert head_ct.facts.warnings[0].endswith("study of 20260101).")


@pytest.mark.parametrize(
    ("kernel", "description", "sharp"),
    [
        ("H31s", "", False), ("H60s", "", True), ("Hr40f 3", "", False), ("Hr59 3", "", True), ("J70h", "", True),
        ("STANDARD", "", False), ("SOFT", "", False), ("BONEPLUS", "", True), ("EDGE", "", True), ("STD+", "", False),
        ("FC26", "", False), ("FC30", "", True), ("FC81", "", True), ("FC68", "", False), ("UB", "", False),
        ("YC", "", True), ("", "Schädel Knochenfenster", True), ("", "Head", False), ("B70f", "", True),
    ],
)  # fmt: skip
def test_sharp_kernels(kernel, description, sharp):
    from ICHMultiTaskLib.scan.dicom_series import is_sharp_kernel

    assert is_sharp_kernel(kernel, description) is sharp


def test_copies_repeats_and_stray_images_are_left_out(tmp_path, dicom_files, head):
    hu, affine = head
    paths = dicom_files.write(tmp_path / "copies", hu, affine)
    shutil.copy(paths[4], tmp_path / "copies" / "again.dcm")
    copied = read_head_ct(tmp_path / "copies")
    np.testing.assert_array_equal(copied.hu, hu)
    assert "1 copied image was left out." in copied.facts.warnings

    dicom_files.write(tmp_path / "phases", hu, affine, AcquisitionNumber=2, name="first")
    dicom_files.write(tmp_path / "phases", hu + 100, affine, AcquisitionNumber=3, name="second")
    phases = read_head_ct(tmp_path / "phases")
    np.testing.assert_array_equal(phases.hu, hu)
    assert "The series holds 2 acquisitions of the same range; the first was taken." in phases.facts.warnings

    dicom_files.write(tmp_path / "stray", hu, affine)
    scout, side_view = ["ORIGINAL", "PRIMARY", "LOCALIZER"], affine[:, [1, 2, 0, 3]]
    dicom_files.write(tmp_path / "stray", hu[:1], side_view, name="scout", ImageType=scout)
    dicom_files.write(tmp_path / "stray", hu[:2, :40], affine, name="small")
    stray = read_head_ct(tmp_path / "stray")
    np.testing.assert_array_equal(stray.hu, hu)
    assert any(text.startswith("2 of the series' 34 images differ") for text in stray.facts.warnings)


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


def test_usual_scan_reads_in_a_second(tmp_path, dicom_files):
    affine = dicom_files.affine(pixel_mm=0.45, size=512)
    dicom_files.write(tmp_path, np.zeros((32, 512, 512), np.int16), affine)
    start = time.process_time()
    read_head_ct(tmp_path)
    assert time.process_time() - start < 1.0


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
    straight = check_head_ct(read_head_ct(data_folder / "philips_phantom_tilt0.zip"))
    tilted = check_head_ct(read_head_ct(data_folder / "philips_phantom_tilt-18.zip"))
    assert (straight.facts.gantry_tilt_deg, tilted.facts.gantry_tilt_deg) == (0.0, -18.5)
    for head_ct in (straight, tilted):
        assert any("phantom" in text for text in head_ct.facts.warnings)
    volumes = sphere_volume_ml(straight, (204, 186, 16)), sphere_volume_ml(tilted, (213, 212, 26))
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)
    assert 8.0 < volumes[0] < 9.5
