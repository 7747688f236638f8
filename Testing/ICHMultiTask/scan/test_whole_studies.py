"""Studies of stroke patients as an archive exports them: which series is analyzed, and no wrong one in silence."""

import numpy as np
import pydicom
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.dicom_files import Slice
from ICHMultiTaskLib.scan.reading import list_series, read_head_ct


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


def noisy(hu, seed, sd_hu=3):
    return (hu + np.random.default_rng(seed).normal(0, sd_hu, hu.shape)).round().astype(hu.dtype)


def write_time_points(folder, dicom_files, head, count=6, first_slices=None, **attributes):
    """Time points of a scan at the same places, numbered place by place; `attributes` may depend on the time point."""
    hu, affine = head
    for time in range(count):

        def number(dataset, k, time=time):
            dataset.InstanceNumber = k * count + time + 1

        stated = {key: value(time) if callable(value) else value for key, value in attributes.items()}
        dicom_files.write(
            folder, noisy(hu, time)[:first_slices], affine, name=f"t{time}_", **{"change": number, **stated}
        )


def moment(time):
    return {"SeriesInstanceUID": f"2.{time}", "AcquisitionTime": f"1001{2 * time:02d}", "AcquisitionNumber": time + 1}


@pytest.mark.parametrize("identifier", [lambda time: time + 1, None], ids=["identified", "unmarked"])
def test_time_points_in_one_series_are_no_scan(tmp_path, dicom_files, head, identifier):
    write_time_points(tmp_path, dicom_files, head, TemporalPositionIdentifier=identifier)
    with pytest.raises(InputError, match="found a dynamic series of 6"):
        read_head_ct(tmp_path)


def test_time_points_of_a_few_slices_are_no_scan(tmp_path, dicom_files, head):
    write_time_points(tmp_path, dicom_files, head, first_slices=4, AcquisitionNumber=lambda time: time + 1)
    with pytest.raises(InputError, match="found a dynamic series of 6 images at each place"):
        read_head_ct(tmp_path)


def write_series_of_time_points(folder, dicom_files, head, count, **attributes):
    hu, affine = head
    for time in range(count):
        stated = {"SeriesDescription": f"Brain 5.0 {2 * time}s", **moment(time), **attributes}
        dicom_files.write(folder, noisy(hu, time), affine, name=f"t{time}_", **stated)


def test_time_points_that_are_each_a_series_are_no_scan(tmp_path, dicom_files, head):
    write_series_of_time_points(tmp_path, dicom_files, head, 6)
    with pytest.raises(InputError, match="found a time point of a dynamic scan"):
        read_head_ct(tmp_path)
    dicom_files.write(tmp_path, *head, SeriesNumber=99, AcquisitionTime="095900")
    facts = read_head_ct(tmp_path).facts
    assert (facts.series_uid, facts.warnings) == ("1.2.3.4", ())


def test_a_scan_repeated_for_movement_and_many_reconstructions_are_no_dynamic_scan(tmp_path, dicom_files, head):
    write_series_of_time_points(tmp_path / "repeated", dicom_files, head, 3)
    assert "3 series were found" in read_head_ct(tmp_path / "repeated").facts.warnings[0]
    write_series_of_time_points(tmp_path / "kernels", dicom_files, head, 6, AcquisitionTime="1001", AcquisitionNumber=1)
    assert "6 series were found" in read_head_ct(tmp_path / "kernels").facts.warnings[0]


def test_newest_of_two_studies_under_one_series_uid(tmp_path, dicom_files, head):
    hu, affine = head
    for day in (1, 2):
        study = {"StudyInstanceUID": f"5.{day}", "StudyDate": f"2026010{day}"}
        dicom_files.write(tmp_path, hu + np.int16(day), affine, name=f"d{day}_", **study)
    facts = read_head_ct(tmp_path).facts
    assert facts.study_date == "20260102"
    assert facts.warnings[0].endswith("another stack of 32 slices of 5 mm of the study of 20260101.")


def coded(**attributes):
    code = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(code, keyword, value)
    return pydicom.Sequence([code])


def test_contrast_of_an_enhanced_ct_is_stated_by_a_code(tmp_path, dicom_files, head):
    codes = {"given": "Iohexol", "none": "No contrast"}
    for name, meaning in codes.items():
        dicom_files.write(tmp_path / name, *head, ContrastBolusAgentSequence=coded(CodeMeaning=meaning))
    with pytest.raises(InputError, match=r"found contrast-enhanced \(HEAD"):
        read_head_ct(tmp_path / "given")
    assert read_head_ct(tmp_path / "given", "1.2.3.4").facts.contrast_agent == "Iohexol"
    assert read_head_ct(tmp_path / "none").facts.warnings == ()
    frame = pydicom.Dataset()
    frame.ContrastBolusAgentSequence, frame.ContrastBolusAgentAdministered = coded(CodeMeaning="Iohexol"), "NO"
    assert Slice(tmp_path, frame).agent == "NO", "a frame before the injection"


def test_projections_beside_the_scan_in_one_enhanced_series(tmp_path, dicom_files, head):
    """ImageType says MIXED; FrameType says which frames are projections, and they are not copies of the others."""
    hu, affine = head
    for name, kind in (("a", ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]), ("b", ["ORIGINAL", "PRIMARY", "VOLUME"])):
        mixed = {"ImageType": ["MIXED", "PRIMARY", "VOLUME", "MIXED"], "FrameType": kind, "AcquisitionTime": "1000"}
        dicom_files.write(tmp_path, hu + np.int16(name == "b"), affine, name=name, **mixed)
    found = read_head_ct(tmp_path)
    np.testing.assert_array_equal(found.hu, hu + 1)
    assert "left out: another stack of 32 slices" in found.facts.warnings[0]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]}, "a projection of a slab"),
        ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]}, "material or single-energy images"),
        ({"SeriesDescription": "syngo DynaCT 20s"}, "cone-beam CT"),
        ({"SeriesDescription": "Head", "Modality": "XA"}, "cone-beam CT"),
        ({"SeriesDescription": "Cerebral Blood Volume"}, "a perfusion or dynamic series"),
        ({"SeriesDescription": "Hirnperfusion 10.0"}, "a perfusion or dynamic series"),
        ({"SeriesDescription": "頭部 動脈相", "SpecificCharacterSet": "ISO_IR 192"}, "contrast-enhanced"),
    ],
)
def test_series_that_is_never_taken_by_itself(tmp_path, dicom_files, head, attributes, words):
    dicom_files.write(tmp_path, *head, **attributes)
    with pytest.raises(InputError, match=f"expected a non-contrast head CT, found {words}.* only if requested"):
        read_head_ct(tmp_path)
    assert not list_series(tmp_path)[0].chosen


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"SeriesDescription": "CTAC 3.0"},
            "According to its header the series is a CT for the attenuation correction",
        ),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"]}, "About the analyzed series: derived images; expected"),
        ({"SliceThickness": 20}, "About the analyzed series: slabs of 20 mm every 5 mm; expected original"),
        ({"SeriesDescription": None, "ProtocolName": "Schädel mit KM"}, "“Schädel mit KM”: contrast may have been"),
    ],
)
def test_series_that_is_taken_with_a_warning(tmp_path, dicom_files, head, attributes, words):
    dicom_files.write(tmp_path, *head, **attributes)
    assert [text for text in read_head_ct(tmp_path).facts.warnings if words in text]


def test_refusal_of_a_study_says_how_a_series_is_requested_also_where_a_localizer_comes_first(
    tmp_path, dicom_files, head
):
    hu, affine = head
    kinds = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "1.1", "SeriesNumber": 1}
    dicom_files.write(tmp_path, hu[:1], affine, name="scout", **kinds)
    dicom_files.write(tmp_path, hu, affine, SeriesDescription="CTA", SeriesNumber=2)
    with pytest.raises(
        InputError, match=r"found localizer .*; angiography \(CTA, 32 images\): such a series is analyzed"
    ):
        read_head_ct(tmp_path)


@pytest.mark.parametrize("name", ["1.1", None], ids=["one name for all", "names"])
@pytest.mark.parametrize("same", [{"AcquisitionTime": "1000"}, {"AcquisitionNumber": None, "InstanceNumber": None}])
def test_two_series_under_one_series_uid_that_only_the_description_tells_apart(tmp_path, dicom_files, head, name, same):
    """An anonymizer merged the angiography with the scan: neither is a copy of the other."""
    hu, affine = head
    for folder, description in (("a", "CTA"), ("b", "HEAD")):
        names = {"SOPInstanceUID": name} if name else {}
        voxels = hu + np.int16(folder == "b")
        dicom_files.write(tmp_path / folder, voxels, affine, SeriesDescription=description, **names, **same)
    found = read_head_ct(tmp_path)
    np.testing.assert_array_equal(found.hu, hu + 1)
    assert found.facts.series_description == "HEAD"
    assert "left out: another stack of 32 slices of 5 mm called “CTA”." in found.facts.warnings[0]


def test_two_acquisitions_whose_images_all_have_one_name_are_no_copies(tmp_path, dicom_files, head):
    for number in (1, 2):
        dicom_files.write(tmp_path / str(number), *head, SOPInstanceUID="1.1", AcquisitionNumber=number)
    assert "another stack of 32 slices of 5 mm of acquisition 2" in read_head_ct(tmp_path).facts.warnings[0]
