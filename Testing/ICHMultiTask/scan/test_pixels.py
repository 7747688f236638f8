"""Stored values to Hounsfield units: transfer syntaxes, rescale, padding."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file

from ICHMultiTaskLib.common.errors import DependencyError, InputError
from ICHMultiTaskLib.scan import pixels
from ICHMultiTaskLib.scan.dicom_files import Slice
from ICHMultiTaskLib.scan.reading import read_head_ct


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


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


def test_frames_of_jpeg_in_one_file(tmp_path, dicom_files, head):
    """Each frame is decoded by itself, and only then rescaled."""
    hu, affine = head
    frames = []
    for path in dicom_files.write(tmp_path / "scan", (hu + 1024).astype(np.uint16), affine, PixelRepresentation=0):
        compress(path, "JPEG", tmp_path)
        frames += list(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames, dataset.PixelData = len(frames), pydicom.encaps.encapsulate(frames)
    dataset.save_as(tmp_path / "frames.dcm")
    item = Slice(tmp_path / "frames.dcm", dataset)
    np.testing.assert_array_equal(pixels._decode(item, False), hu + 1024)


def test_lossy_jpeg_of_12_bits():
    """The values that pydicom's own tests expect of this file."""
    path = get_testdata_file("JPGExtended.dcm", download=False)
    stored = pixels._decode(Slice(Path(path), pydicom.dcmread(path)), False)
    assert (stored[420, 140], stored[230, 120], stored.dtype) == (244, 95, np.uint16)


def test_damaged_jpeg_is_refused(tmp_path, dicom_files, head):
    for path in dicom_files.write(tmp_path / "scan", *head):
        compress(path, "JPEG", tmp_path)
    dataset = pydicom.dcmread(path)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(len(frame) - 2)])
    dataset.save_as(path)
    with pytest.raises(InputError, match=f"{path.name} cannot be decoded; expected readable pixels.*JPEG Lossless"):
        read_head_ct(tmp_path / "scan")


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
    enhanced.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames[:-2])
    enhanced.save_as(tmp_path / "enhanced.dcm")
    (said, *_others) = read_head_ct(tmp_path / "enhanced.dcm").facts.warnings
    assert said.startswith(f"{len(frames) - 2} of the series' {len(frames)} images were used"), "frames without a group"


def test_pixels_as_real_numbers_are_named(tmp_path, dicom_files, head):
    for path in dicom_files.write(tmp_path, *head):
        dataset = pydicom.dcmread(path)
        dataset.BitsAllocated, dataset.FloatPixelData = 32, dataset.pixel_array.astype("<f4").tobytes()
        del dataset.PixelData
        dataset.save_as(path)
    with pytest.raises(InputError, match="holds pixels as real numbers; expected whole ones"):
        read_head_ct(tmp_path)


def test_modality_table_in_place_of_a_rescale_intercept_is_applied(tmp_path, dicom_files, head):
    hu, affine = head
    for path, plane in zip(dicom_files.write(tmp_path, hu, affine), hu, strict=True):
        dataset, table = pydicom.dcmread(path), pydicom.Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "HU"
        table.add_new("LUTData", "OW", np.arange(4095, -1, -1).astype("<u2").tobytes())
        dataset.ModalityLUTSequence, dataset.PixelRepresentation = pydicom.Sequence([table]), 0
        dataset.PixelData = (4095 - (plane.astype(int) + 1024)).astype("<u2").tobytes()
        del dataset.RescaleIntercept, dataset.RescaleSlope
        dataset.save_as(path)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu, "the offset of 1024 is taken off as well")


def test_deflated(tmp_path, dicom_files, head):
    hu, affine = head
    for path in dicom_files.write(tmp_path, hu, affine):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


@pytest.mark.parametrize("compressed", [False, True])
def test_rescale_of_each_frame(tmp_path, dicom_files, head, compressed):
    """Enhanced CT whose frames have intercepts of their own."""
    hu, affine = head
    paths = dicom_files.write(tmp_path / "classic", hu, affine)
    enhanced = pydicom.dcmread(paths[0])
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage

    def group(**attributes):
        item = pydicom.Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        return pydicom.Sequence([item])

    shared, frames, intercepts = pydicom.Dataset(), [], [-1024 - 30 * (k % 5) for k in range(len(hu))]
    shared.PixelMeasuresSequence = group(PixelSpacing=enhanced.PixelSpacing, SliceThickness=5)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=enhanced.ImageOrientationPatient)
    for path, intercept in zip(paths, intercepts, strict=True):
        frame = pydicom.Dataset()
        position = pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient
        frame.PlanePositionSequence = group(ImagePositionPatient=position)
        frame.PixelValueTransformationSequence = group(RescaleIntercept=str(intercept), RescaleSlope="1")
        frames.append(frame)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"):
        delattr(enhanced, keyword)
    enhanced.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    enhanced.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    enhanced.NumberOfFrames = len(frames)
    stored = [plane - intercept for plane, intercept in zip(hu, intercepts, strict=True)]
    enhanced.PixelData = np.stack(stored).astype(np.int16).tobytes()
    if compressed:
        enhanced.compress(pydicom.uid.RLELossless)
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "scan.dcm")
    np.testing.assert_array_equal(read_head_ct(tmp_path / "enhanced").hu, hu)


def without_intercept(count):
    def strip(dataset, k):
        if k < count:
            del dataset.RescaleIntercept, dataset.RescaleSlope

    return strip


def test_intercept_missing_in_some_slices_is_taken_from_the_others(tmp_path, dicom_files, head):
    hu, affine = head
    stored = (hu + 1024).astype(np.uint16)
    unsigned = {"PixelRepresentation": 0, "RescaleIntercept": -1024}
    dicom_files.write(tmp_path, stored, affine, change=without_intercept(10), **unsigned)
    head_ct = read_head_ct(tmp_path)
    np.testing.assert_array_equal(head_ct.hu, hu)
    (warning,) = head_ct.facts.warnings
    assert warning.startswith("10 of 32 slices state no rescale intercept (first: slice000.dcm); that of the others")


def test_missing_intercept_that_the_pixels_cannot_determine(tmp_path, dicom_files, head):
    """The slices without an intercept hold Hounsfield units already, the others do not."""
    hu, affine = head

    def change(dataset, k):
        if k < 10:
            del dataset.RescaleIntercept, dataset.RescaleSlope
        else:
            dataset.PixelData = (hu[k] + 1024).astype(np.int16).tobytes()

    dicom_files.write(tmp_path, hu, affine, change=change, RescaleIntercept=-1024)
    with pytest.raises(InputError, match=r"slice000\.dcm states no rescale intercept while 22 other slices do"):
        read_head_ct(tmp_path)


def test_intercept_that_does_not_fit_the_pixels(tmp_path, dicom_files, head):
    hu, affine = head

    def change(dataset, k):
        if k == 20:
            dataset.RescaleIntercept = -1000

    stored = (hu + 1024).astype(np.int16)
    dicom_files.write(tmp_path, stored, affine, change=change, RescaleIntercept=-1024)
    with pytest.raises(InputError, match=r"slice020\.dcm states .* of -1000 .*, the usual slice -1024"):
        read_head_ct(tmp_path)


def test_block_of_slices_with_an_intercept_that_does_not_fit(tmp_path, dicom_files, head):
    """Neighbors that are as wrong as the slice itself speak for nothing."""
    hu, affine = head

    def change(dataset, k):
        if k < 10:
            dataset.RescaleIntercept = 0

    stored = (hu + 1024).astype(np.int16)
    dicom_files.write(tmp_path, stored, affine, change=change, RescaleIntercept=-1024)
    with pytest.raises(InputError, match=r"slice000\.dcm states a rescale intercept of 0 .*, the usual slice -1024"):
        read_head_ct(tmp_path)


def test_differing_intercept_that_fits_is_used_and_reported(tmp_path, dicom_files, head):
    hu, affine = head

    def change(dataset, k):
        if k == 20:
            dataset.RescaleIntercept, dataset.PixelData = -500, (hu[k] + 500).astype(np.int16).tobytes()

    dicom_files.write(tmp_path, (hu + 1024).astype(np.int16), affine, change=change, RescaleIntercept=-1024)
    head_ct = read_head_ct(tmp_path)
    np.testing.assert_array_equal(head_ct.hu, hu)
    (warning,) = head_ct.facts.warnings
    assert warning.startswith("1 of 32 slices state other rescale values than the rest (first: slice020.dcm)")


def test_no_intercept_at_all(tmp_path, dicom_files, head):
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine, change=without_intercept(99))
    head_ct = read_head_ct(tmp_path)
    np.testing.assert_array_equal(head_ct.hu, hu)
    assert any("state no rescale intercept; the stored values were used" in text for text in head_ct.facts.warnings)


def test_range_of_padding_values(tmp_path, dicom_files, head):
    hu, affine = head
    padded = hu.copy()
    padded[:, :5] = np.arange(-2004, -1999)[None, :, None]

    def add_padding(dataset, k):
        dataset.add_new("PixelPaddingValue", "SS", -2004)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1500)

    dicom_files.write(tmp_path, padded, affine, change=add_padding)
    found = read_head_ct(tmp_path).hu
    assert (found[:, :5] == -1024).all()
    np.testing.assert_array_equal(found[:, 5:], hu[:, 5:])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SOPClassUID", ["1.2.840.10008.5.1.4.1.1.2"] * 2), ("SeriesInstanceUID", ["1.2", "1.3"]),
        ("RescaleIntercept", ["0", "0"]), ("SliceThickness", []), ("KVP", ["120", "140"]), ("StudyDate", "yesterday"),
        ("InstanceNumber", None), ("Modality", None), ("PhotometricInterpretation", "RGB"), ("ImageType", ["", ""]),
        ("PatientID", ["a", "b"]), ("ConvolutionKernel", ["Hr40f", "3"]), ("NumberOfFrames", ""), ("HighBit", None),
    ],
)  # fmt: skip
def test_odd_values_in_headers(tmp_path, dicom_files, head, keyword, value):
    """Values of the wrong number or form, in every slice: the scan does not depend on them."""
    hu, affine = head

    def change(dataset, k):
        if value is None:
            delattr(dataset, keyword)
        else:
            element = pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), value, validation_mode=0)
            dataset[keyword] = element

    dicom_files.write(tmp_path, hu, affine, change=change)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


def test_unknown_value_representation_in_the_meta_information(tmp_path, dicom_files, head):
    hu, affine = head
    for path in dicom_files.write(tmp_path, hu, affine)[3:6]:
        content = bytearray(path.read_bytes())
        place = content.index(b"UI", 144)
        content[place : place + 2] = b"Q?"
        path.write_bytes(content)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, hu)


def test_rescale_values_implausible_for_a_ct(tmp_path, dicom_files, head):
    dicom_files.write(tmp_path, *head, RescaleIntercept="99999999999")
    with pytest.raises(InputError, match=r"slice000\.dcm states a rescale slope of 1 and an intercept of 1e\+11"):
        read_head_ct(tmp_path)


def test_missing_decoder_names_the_packages(tmp_path, dicom_files, head, monkeypatch):
    for path in dicom_files.write(tmp_path, *head):
        compress(path, "RLE", tmp_path)
    missing = type("Decoder", (), {"is_available": False})
    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda syntax: missing)
    with pytest.raises(DependencyError, match=r"slice000\.dcm is compressed \(RLE Lossless\): install .* pyjpegls"):
        read_head_ct(tmp_path)


def test_stripped_headers_of_the_rsna_hemorrhage_set(tmp_path, dicom_files, head):
    """No SOPClassUID, no InstanceNumber, identifiers that are words."""
    hu, affine = head
    kept = (
        "Modality ImagePositionPatient ImageOrientationPatient SamplesPerPixel PhotometricInterpretation Rows Columns "
        "PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope PixelData"
    ).split()
    for path in dicom_files.write(tmp_path, hu, affine):
        full = pydicom.dcmread(path)
        bare = pydicom.Dataset()
        bare.file_meta = full.file_meta
        del bare.file_meta.MediaStorageSOPClassUID
        for keyword in kept:
            bare[keyword] = full[keyword]
        bare.PatientID, bare.StudyInstanceUID, bare.SeriesInstanceUID = "ID_1", "ID_2", "ID_3"
        bare.save_as(path, enforce_file_format=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head_ct = read_head_ct(tmp_path)
    np.testing.assert_array_equal(head_ct.hu, hu)
    assert head_ct.facts.warnings == ()
