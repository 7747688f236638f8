"""Which of the series of a folder is analyzed, and what is said of the choice."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.dicom_files import Slice
from ICHMultiTaskLib.scan.reading import list_series, read_head_ct
from ICHMultiTaskLib.scan.series_choice import choose_series, rank_series, summarize

DERIVED, LOCALIZER = ["DERIVED", "SECONDARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "LOCALIZER"]


@pytest.fixture
def head(dicom_files):
    affine = dicom_files.affine()
    return dicom_files.head(affine), affine


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
        "1.1": "original axial slices of 2.5 to 6 mm, soft-tissue kernel, no contrast",
        "1.2": "sharp kernel H60s", "1.3": "contrast-enhanced", "1.4": "localizer",
        "1.5": "not axial", "1.6": "covers 45 mm with 10 slices", "1.7": "angiography", "1.8": "secondary capture",
        "1.9": "covers 90 mm with 64 slices",
    }  # fmt: skip
    assert {uid: text for uid, text in expected.items() if text not in summaries[uid].why} == {}

    head_ct = read_head_ct(tmp_path)
    assert head_ct.facts.series_uid == "1.1"
    assert head_ct.facts.series_choice.startswith(
        "9 series were found; analyzed “HEAD 5.0 H31s” (32 slices of 5 mm; original axial slices"
    )
    assert head_ct.facts.warnings == (), "no other series is of the same rank"
    bone = read_head_ct(tmp_path, series_uid="1.2")
    assert bone.facts.series_uid == "1.2"
    assert any("sharp kernel H60s; a soft-tissue kernel is expected" in text for text in bone.facts.warnings)
    assert any("contrast-enhanced" in text for text in read_head_ct(tmp_path, "1.3").facts.warnings)
    with pytest.raises(InputError, match=r"Series 9\.9 is not among the files; expected one of: 1\.1 \(HEAD 5\.0"):
        read_head_ct(tmp_path, series_uid="9.9")


def test_newest_of_several_studies(tmp_path, dicom_files, head):
    for number in (1, 2):
        ids = {"SeriesInstanceUID": f"2.{number}", "StudyInstanceUID": f"1.{number}", "StudyDate": f"2026010{number}"}
        dicom_files.write(tmp_path / str(number), *head, **ids, Manufacturer="ICHMultiTask simulation")
    head_ct = read_head_ct(tmp_path)
    assert (head_ct.facts.study_date, head_ct.facts.simulated) == ("20260102", True)
    assert head_ct.facts.warnings[0].endswith("study of 20260101).")


def chosen(folder):
    """Description of the series taken, and all warnings as one text."""
    facts = read_head_ct(folder).facts
    return facts.series_description, " ".join(facts.warnings)


RIVALS = {
    "AX_MIP_10mm": {}, "Head MinIP 10/2.5": {}, "THICK_MIP": {}, "Head 3.0 MPR ax": {},
    "HEAD AVG": {"ImageType": DERIVED},
    "HEAD POST": {}, "Kopf mit KM": {}, "TC CON E SENZA MDC": {}, "HEAD 4cc/sec 70cc": {}, "Head arterial": {},
    "HEAD a": {"ContrastBolusAgent": "Omnipaque 350"}, "HEAD b": {"ContrastBolusVolume": "80"},
    "HEAD c": {"ImageType": ["ORIGINAL", "PRIMARY", "POST_CONTRAST"]},
    "Neuro CTA": {}, "CarotidAngio 1.0": {}, "SmartPrep": {}, "PreMonitoring": {}, "TSA+WILLIS": {},
    "VPCT 5.0 H20f": {}, "RAPID TMax [s]": {}, "HEAD d": {"ImageType": ["DERIVED", "PRIMARY", "PERFUSION"]},
    "DE_Head_VNC": {}, "MonoE 70 keV": {}, "HEAD e": {"RescaleType": "MGML"}, "DE Caput Rho#1": {},
    "HEAD f": {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "MONOENERGETIC"]},
    "HEAD g": {"ImageType": ["DERIVED", "SECONDARY", "MIN_IP"]},
    "HEAD h": {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
    "HEAD i": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    "HEAD BONE": {"ConvolutionKernel": None}, "HEAD j": {"ConvolutionKernel": "BONEPLUS"},
    "HEAD k": {"ConvolutionKernel": "H60s"}, "HEAD l": {"ConvolutionKernel": "YB"}, "HEAD m": {"KVP": "80"},
    "THORAX": {"BodyPartExamined": "CHEST"}, "C-Spine 2.0": {"BodyPartExamined": "SPINE"},
    "HWS 3.0": {"BodyPartExamined": "HEAD"}, "HEAD n": {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]},
    "Dose Report": {}, "Patient Protocol": {}, "Topogram 0.6 T20f": {},
}  # fmt: skip


def headers(uid, step_mm=5.0, orientation=(1, 0, 0, 0, 1, 0), **attributes):
    """Headers of a series of a head 160 mm high, as they are read from its files."""
    common = {
        "SOPClassUID": pydicom.uid.CTImageStorage, "Modality": "CT", "PatientID": "P1", "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": uid, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "ConvolutionKernel": "H31s",
        "SliceThickness": step_mm, "PixelSpacing": [0.45, 0.45], "Rows": 512, "Columns": 512,
        "ImageOrientationPatient": list(orientation), "BodyPartExamined": "HEAD", **attributes,
    }  # fmt: skip
    slices = []
    for k in range(round(160 / step_mm)):
        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.InstanceNumber, header.ImagePositionPatient = k + 1, [0, 0, k * step_mm]
        for keyword, value in common.items():
            if value is not None:
                setattr(header, keyword, value)
        slices.append(Slice(Path(f"{uid}-{k}"), header))
    return slices


@pytest.mark.parametrize("name", RIVALS)
def test_plain_series_is_preferred_to(name):
    """Beside every other kind, also where that comes first and has more slices."""
    rival = {"SeriesDescription": name, "SeriesNumber": 1, "SliceThickness": 5, **RIVALS[name]}
    plain = headers("1.2", SeriesDescription="HEAD WITHOUT CONTRAST", SeriesNumber=2)
    taken, _, is_clear = choose_series(headers("1.1", step_mm=2.5, **rival) + plain)
    assert (taken.uid, is_clear) == ("1.2", True)


@pytest.mark.parametrize("agent", ["NO CONTRAST", "without", "W/O", "-", "NONE"])
def test_agent_value_that_means_no_contrast(tmp_path, dicom_files, head, agent):
    dicom_files.write(tmp_path, *head, ContrastBolusAgent=agent)
    assert chosen(tmp_path) == ("HEAD 5.0 H31s", "")


def test_ranks():
    """Usual before thin, thin before thick, thick before an axial reformat, that before a sharp kernel."""
    series = [
        headers("usual", 4.0), headers("thin", 1.25), headers("thick", 8.0),
        headers("reformat", 3.2, SeriesDescription="3.0 MPR ax", ImageType=["DERIVED", "SECONDARY", "AXIAL", "MPR"]),
        headers("bone", ConvolutionKernel="H70h"), headers("neck", BodyPartExamined="NECK"),
    ]  # fmt: skip
    for number, best in enumerate(series):
        taken, _, is_clear = choose_series(sum(reversed(series[number:]), []))
        assert taken.slices == best
        assert is_clear is (number < 4)


def test_second_series_of_the_same_rank_is_named():
    taken, summaries, is_clear = choose_series(headers("1.1", 3.2) + headers("1.2"))
    assert (taken.uid, is_clear) == ("1.2", False)
    assert [item.uid for item in summaries] == ["1.2", "1.1"]


def test_partial_scan_is_not_preferred_to_a_whole_thin_scan():
    taken, summaries, _ = choose_series(headers("1.1", 1.25) + headers("1.2")[:22])
    assert taken.uid == "1.1"
    assert summaries[1].why == "covers 105 mm with 22 slices"


def test_short_soft_tissue_series_beside_a_long_bone_series():
    soft = headers("1.1")[:24]
    assert choose_series(headers("1.2", 1.25, ConvolutionKernel="H70h") + soft)[0].uid == "1.1"


def test_newest_study_with_a_soft_tissue_series_counts():
    """A newer study that holds only an angiography does not hide the older native scan."""
    old = headers("1.1", StudyInstanceUID="1", StudyDate="20260101")
    newer = {"StudyInstanceUID": "2", "StudyDate": "20260102"}
    angiography = headers("1.2", 2.0, SeriesDescription="CTA HEAD", **newer)
    taken, _, is_clear = choose_series(old + angiography)
    assert (taken.uid, is_clear) == ("1.1", True)
    taken, summaries, is_clear = choose_series(old + angiography + headers("1.3", 1.25, **newer))
    assert (taken.uid, is_clear) == ("1.3", False)
    assert "study of 20260101" in summaries[1].why
    later = headers("1.4", StudyInstanceUID="3", StudyDate="20260101", StudyTime="1900")
    assert choose_series(old + later)[0].uid == "1.4"


def test_several_patients():
    both = headers("1.1") + headers("1.2", PatientID="P2")
    with pytest.raises(InputError, match="files belong to 2 patients; .* found P1, P2"):
        choose_series(both)
    assert choose_series(both, "1.2")[0].uid == "1.2"
    report = headers("1.3", PatientID=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert choose_series(headers("1.1") + report)[0].uid == "1.1"
    unnamed = headers("1.1", PatientID=None, PatientName="Doe^Jane")  # the rest of a half anonymized export
    assert choose_series(headers("1.2", PatientName="DOE^JANE") + unnamed)
    with pytest.raises(InputError, match=r"files belong to 2 patients; .* found Doe\^Jane, P1"):
        choose_series(headers("1.2", PatientName="Roe^Mary") + unnamed)


def test_images_of_another_class_than_their_modality_are_named():
    with pytest.raises(InputError, match=r"found MR Image Storage \(modality CT\)"):
        choose_series(headers("1.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))


@pytest.mark.parametrize(
    ("orientation", "words"),
    [((1, 0, 0, 0, 0, -1), "not axial"), ((0, 1, 0, 0, 0, -1), "not axial"), ((1, 0, 0, 0, 0.6, -0.8), "not axial")],
)
def test_other_planes(orientation, words):
    with pytest.raises(InputError, match=words):
        choose_series(headers("1.1", orientation=orientation))
    taken = choose_series(headers("1.1", orientation=orientation, SeriesNumber=1) + headers("1.2", SeriesNumber=2))[0]
    assert taken.uid == "1.2"


def test_a_coronal_reformat_is_no_axial_one():
    coronal = headers("1.1", orientation=(1, 0, 0, 0, 0, -1), SeriesDescription="Coronal Head 3.0")
    (summary,) = summarize(rank_series(coronal))
    assert "not axial" in summary.why and "an axial" not in summary.why


def test_kernel_outweighs_the_words():
    """A protocol is called “bone”, its kernel is soft; the other way round the kernel counts as well."""
    soft = headers("1.1", SeriesDescription="TRAUMA BONE AND BRAIN", ConvolutionKernel="STANDARD")
    sharp = headers("1.2", SeriesDescription="BRAIN", ConvolutionKernel="BONE")
    assert choose_series(sharp + soft)[0].uid == "1.1"


@pytest.mark.parametrize("description", ["CTA HEAD", "HEAD C+", "AX MIP 10", "VNC HEAD", "HEAD PERFUSION 5.0"])
def test_series_that_is_analyzed_only_if_requested(tmp_path, dicom_files, head, description):
    dicom_files.write(tmp_path, *head, SeriesDescription=description)
    with pytest.raises(InputError, match="no axial CT series to analyze; .* only if requested by its UID"):
        read_head_ct(tmp_path)
    (summary,) = list_series(tmp_path)
    assert (summary.uid, summary.chosen) == ("1.2.3.4", False)
    facts = read_head_ct(tmp_path, series_uid=summary.uid).facts
    assert any(text.startswith("According to its header the series is ") for text in facts.warnings)


def test_other_objects_of_a_study_are_left_alone(tmp_path, dicom_files, head):
    """Dose report, presentation state, structured report, scout and screen picture beside the scan."""
    hu, affine = head
    dicom_files.write(tmp_path, hu, affine)
    for number, kind in enumerate(("88.67", "11.1", "88.11", "7", "104.1")):
        (path,) = dicom_files.write(
            tmp_path, hu[:1], affine, name=f"o{number}_", SeriesInstanceUID=f"9.{number}",
            SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}",
        )  # fmt: skip
        if kind != "7":
            dataset = pydicom.dcmread(path)
            del dataset.Rows, dataset.Columns, dataset.PixelData
            dataset.save_as(path)
    dicom_files.write(tmp_path, hu[:1], affine, name="t", SeriesInstanceUID="9.9", ImageType=LOCALIZER)
    assert chosen(tmp_path) == ("HEAD 5.0 H31s", "")
