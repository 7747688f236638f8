"""A table of scans made from segmentations: found beside their scans, measured, checked, listed, written whole."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.scan.geometry import voxel_volume_mm3
from ICHMultiTaskLib.simulation.writers import write_nifti
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data.labeled_files import core_name, find_labeled
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.run_folder import check_start

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


def head(dicom_files, radius=6, center=(16, 28, 28), tilt=0.0):
    """A head with a ball of blood: HU, mask, affine."""
    affine = dicom_files.affine(tilt)
    hu = dicom_files.head(affine)
    k, j, i = np.indices(hu.shape)
    mask = ((k - center[0]) * 1.25) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2 < radius**2
    hu[mask] = 62
    return hu, mask, affine


def volume_of(mask, affine):
    return mask.sum() * voxel_volume_mm3(affine) / 1000


def write_head(path, hu, affine):
    write_nifti(hu, affine, path, "a head")


def write_mask(path, mask, affine):
    write_nifti(mask.astype(np.uint8), affine, path, "a mask")


def outcomes(folder, died, name="outcomes.csv"):
    path = folder / name
    path.write_text("patient_id,died,age\n" + "".join(f"{p},{d},70\n" for p, d in died.items()), encoding="utf-8")
    return path


def run(*arguments):
    return cli.main(["manifest", *map(str, arguments)])


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_seg(path, mask, affine, labels=("Hemorrhage",), series="1.2.3.4", skip_empty=True):
    """A binary DICOM segmentation whose segments all hold the mask, but for the first: an eighth of it."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = SEG_CLASS, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = SEG_CLASS, "1.2.3.9", "SEG"
    ds.SeriesDescription, ds.PatientID, ds.SegmentationType = "Dr. A", "P1", "BINARY"
    reference = Dataset()
    reference.SeriesInstanceUID = series
    ds.ReferencedSeriesSequence = Sequence([reference])
    ds.SegmentSequence, frames, groups = Sequence(), [], Sequence()
    for number, label in enumerate(labels, start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = number, label
        ds.SegmentSequence.append(item)
        for k, plane in enumerate(mask):
            if skip_empty and not plane.any():
                continue
            place, which, group = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [f"{x:.8f}"[:16] for x in lps[:3, 3] + k * lps[:3, 2]]
            which.ReferencedSegmentNumber = number
            group.PlanePositionSequence, group.SegmentIdentificationSequence = Sequence([place]), Sequence([which])
            groups.append(group)
            frames.append(plane)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
    unit = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    orientation.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in unit]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), groups
    ds.Rows, ds.Columns = mask.shape[1:]
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.PhotometricInterpretation = len(frames), 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    packed = np.packbits(np.array(frames, np.uint8).ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("tilt", [0.0, 18.0])
def test_dicom_segmentation_has_the_volume_of_its_scan_though_empty_frames_are_left_out(tmp_path, dicom_files, tilt):
    _, mask, affine = head(dicom_files, tilt=tilt)
    mask[14] = False  # a gap within the bleed
    write_seg(tmp_path / "seg.dcm", mask, affine, ("Skull", "Hemorrhage"))
    skull, bleed = read_segments(tmp_path / "seg.dcm")
    assert (skull.name, bleed.name, bleed.reader) == ("Skull", "Hemorrhage", "Dr. A")
    assert bleed.mask.sum() == mask.sum()
    volume = bleed.mask.sum() * voxel_volume_mm3(bleed.ijk_to_ras) / 1000
    assert volume == pytest.approx(volume_of(mask, affine), rel=1e-4)
    first = np.argwhere(bleed.mask).mean(0)[::-1]
    expected = np.argwhere(mask).mean(0)[::-1]
    places = [a[:3, :3] @ p + a[:3, 3] for a, p in ((bleed.ijk_to_ras, first), (affine, expected))]
    np.testing.assert_allclose(*places, atol=0.01)


def test_frames_of_a_dicom_segmentation_are_all_counted(tmp_path, dicom_files):
    """Two frames in one plane add up, and a number that the list of segments lacks hides nothing."""
    _, mask, affine = head(dicom_files)
    right = mask & (np.arange(mask.shape[2]) < np.argwhere(mask)[:, 2].mean())
    write_seg(tmp_path / "seg.dcm", np.concatenate([mask & ~right, right]), affine)
    dataset = dcmread(tmp_path / "seg.dcm")
    for n, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        first = dataset.PerFrameFunctionalGroupsSequence[n % (dataset.NumberOfFrames // 2)]
        group.PlanePositionSequence = first.PlanePositionSequence
    dataset.SegmentSequence[0].SegmentNumber = 7
    dataset.save_as(tmp_path / "seg.dcm")
    bleed, empty = read_segments(tmp_path / "seg.dcm")
    assert (bleed.name, bleed.mask.sum()) == ("Segment 1", mask.sum())
    assert (empty.name, empty.mask.any()) == ("Hemorrhage", False)


def test_damaged_dicom_segmentation_is_refused(tmp_path, dicom_files):
    from ICHMultiTaskLib.common.errors import InputError

    _, mask, affine = head(dicom_files)
    write_seg(tmp_path / "seg.dcm", mask, affine)
    for values in (["nan"] * 6, [0] * 6, [1, 0, 0]):
        dataset = dcmread(tmp_path / "seg.dcm")
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = values
        dataset.save_as(tmp_path / "turned.dcm")
        with pytest.raises(InputError, match="turned.dcm is damaged; .* found an unusable position, orientation or pi"):
            read_segments(tmp_path / "turned.dcm")
    dataset = dcmread(tmp_path / "seg.dcm")
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="seg.dcm cannot be read; expected a DICOM segmentation .* no PixelSpacing"):
        read_segments(tmp_path / "seg.dcm")
    del dataset.SegmentSequence
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="found: no SegmentSequence"):
        read_segments(tmp_path / "seg.dcm")


@pytest.mark.parametrize(
    "name, core",
    [
        ("P001.nii.gz", "p001"), ("P001.seg.nrrd", "p001"), ("P001_mask.nii.gz", "p001"), ("CASE_0000.nii.gz", "case"),
        ("scan07.nii", "07"), ("mask07.nii", "07"), ("Segmentation.seg.nrrd", ""), ("ct.nrrd", ""),
        ("Smith segment.nrrd", "smith-segment"),
    ],
)  # fmt: skip
def test_name_of_the_patient_in_a_file_name(tmp_path, name, core):
    assert core_name(tmp_path / name) == core


def test_every_layout_is_found_measured_and_written(tmp_path, dicom_files, capsys):
    expected = {}
    # A folder a patient: DICOM with a DICOM SEG, a tilted one with .seg.nrrd, one with a mask on a grid of its own.
    hu, mask, affine = head(dicom_files, 7)
    dicom_files.write(tmp_path / "Ann" / "CT", hu, affine, PatientID="A-1")
    write_seg(tmp_path / "Ann" / "seg.dcm", mask, affine)
    expected["A-1"] = volume_of(mask, affine)
    hu, mask, affine = head(dicom_files, 5, tilt=18.0)
    dicom_files.write(tmp_path / "Ben" / "DICOM", hu, affine, PatientID="")
    (tmp_path / "Ben" / "segmentations").mkdir()
    write_mask(tmp_path / "Ben" / "segmentations" / "reader.nii.gz", mask, affine)
    expected["Ben"] = volume_of(mask, affine)
    # Parallel folders, whose names are those of the patients.
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    hu, mask, affine = head(dicom_files, 6)
    write_head(tmp_path / "images" / "007_CT.nii.gz", hu, affine)
    crop = mask[10:22]
    shifted = affine.copy()
    shifted[:3, 3] += 10 * affine[:3, 2]
    write_mask(tmp_path / "masks" / "007_mask.nii.gz", crop, shifted)
    expected["7"] = volume_of(mask, affine)
    # In one folder, told apart by their voxels alone.
    hu, mask, affine = head(dicom_files, 4)
    write_head(tmp_path / "dora.nii.gz", hu, affine)
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((4, 4, 5))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    image.SetOrigin([float(x) for x in (np.diag([-1, -1, 1, 1.0]) @ affine)[:3, 3]])
    sitk.WriteImage(image, str(tmp_path / "dora.seg.nrrd"))
    expected["dora"] = volume_of(mask, affine)
    died = outcomes(tmp_path, {"A-1": "1", "Ben": "0", "7": "no", "DORA": "yes", "Emil": "0"})
    assert run(tmp_path, "--outcomes", died, "--output", tmp_path / "manifest.csv") == 0
    said = capsys.readouterr().out
    assert "4 of 4 scans can be used: 4 patients, 2 of them died" in said
    assert "Patients of the table of outcomes without a scan (1): Emil." in said
    rows = read_manifest(tmp_path / "manifest.csv").rows
    assert {row.patient_id.replace("DORA", "dora"): row.volume_ml for row in rows} == pytest.approx(expected, rel=1e-3)
    assert {row.patient_id: row.died for row in rows} == {"A-1": 1, "Ben": 0, "7": 0, "DORA": 1}
    masks = {row.patient_id: row.mask and row.mask.name for row in rows}
    assert masks == {"A-1": None, "Ben": "reader.nii.gz", "7": None, "DORA": "dora.seg.nrrd"}
    assert all(row.extra["age"] == "70" for row in rows)


def test_nothing_is_written_while_something_is_wrong_and_everything_is_named(tmp_path, dicom_files, capsys):
    hu, mask, affine = head(dicom_files)
    names = ("good", "empty", "elsewhere", "outside", "bone", "many", "none", "nobody", "copy")
    for n, name in enumerate(names):
        (tmp_path / name).mkdir()
        own = hu.copy()
        own[0, 0, n] = -1000 + n  # images that differ, but for the copy
        write_head(tmp_path / name / "ct.nii.gz", hu if name in ("good", "copy") else own, affine)
        if name != "none":
            write_mask(tmp_path / name / "mask.nii.gz", mask & (name != "empty"), affine)
    other = affine.copy()
    other[:3, 3] += [0, 30, 0]
    write_mask(tmp_path / "elsewhere" / "mask.nii.gz", mask, other)
    write_mask(tmp_path / "outside" / "mask.nii.gz", mask[:20], other + np.pad([[110.0]], ((0, 3), (3, 0))))
    write_mask(tmp_path / "bone" / "mask.nii.gz", hu > 500, affine)
    write_nifti(
        mask.astype(np.uint8) + 2 * (hu == 900).astype(np.uint8),
        affine,
        tmp_path / "many" / "mask.nii.gz",
        "two labels",
    )
    died = outcomes(tmp_path, {name: int(n % 2) for n, name in enumerate(names) if name != "nobody"})
    output = tmp_path / "manifest.csv"
    assert run(tmp_path, "--outcomes", died, "--output", output) == 1
    said = capsys.readouterr()
    assert not output.exists() and "Nothing was written: 8 of the files above cannot be used" in said.err
    for name, problem in {
        "empty": "the segment is empty", "elsewhere": "on a wrong grid", "outside": "of it lies outside",
        "bone": "does not lie on blood", "many": "“Label 1 (mask)”, “Label 2 (mask)”", "none": "it has no segmentation",
        "nobody": "the patient has no outcome", "copy": "the image is a duplicate of",
    }.items():  # fmt: skip
        found = [line for line in said.out.splitlines() if problem in line]
        assert len(found) == 1, (name, found)
        assert name in found[0] or name == "copy"
    assert run(tmp_path, "--outcomes", died, "--output", output, "--skip-unusable", "--segment", "1") == 0
    assert {row["patient_id"] for row in table(output)} == {"copy", "many"}  # "good" is the copy's copy


def test_without_an_output_it_only_lists(tmp_path, dicom_files, capsys):
    hu, mask, affine = head(dicom_files)
    (tmp_path / "P").mkdir()
    write_head(tmp_path / "P" / "ct.nii.gz", hu, affine)
    write_mask(tmp_path / "P" / "mask.nii.gz", mask, affine)
    before = sorted(tmp_path.rglob("*"))
    assert run(tmp_path, "--outcomes", outcomes(tmp_path, {"P": 0})) == 0
    assert f"{volume_of(mask, affine):.1f}" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "outcomes.csv"])


@pytest.mark.parametrize(
    "content, message",
    [
        ("patient,dead\nP,1\n", "lacks columns: expected patient_id, died"),
        ("patient_id,died\nP,maybe\n", "row 2: died must be 0 or 1, found 'maybe'"),
        ("patient_id,died\nP,1\nP,0\n", "row 3: P appears more than once, with different outcomes"),
        ("patient_id,died\n,1\n", "row 2: patient_id is empty"),
    ],
)
def test_invalid_outcomes_get_a_clear_message(tmp_path, capsys, content, message):
    (tmp_path / "outcomes.csv").write_text(content)
    assert run(tmp_path, "--outcomes", tmp_path / "outcomes.csv", "--output", tmp_path / "m.csv") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["gone"], "expected a folder, found nothing"),
        (["here"], "contains no scan"),
        (["here", "--output", "m.csv"], "expected --outcomes with patient_id and died"),
        (["here", "--outcomes", "outcomes.csv", "--output", "m.txt"], "ending in .csv, found m.txt"),
        (["here", "--outcomes", "outcomes.csv", "--output", "outcomes.csv"], "is no earlier result"),
        (["here", "--outcomes", "outcomes.csv", "--output", "own.csv"], "is no earlier result"),
    ],
)
def test_invalid_arguments_get_a_clear_message(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    outcomes(tmp_path, {"P": 1})
    (tmp_path / "own.csv").write_text("patient_id,image,volume_ml,died\nP,p.nii,12,1\n")
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err


def test_stray_segmentation_goes_to_no_other_patient(tmp_path, dicom_files):
    hu, mask, affine = head(dicom_files)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write_head(tmp_path / "images" / "P1.nii.gz", hu, affine)
    write_mask(tmp_path / "masks" / "P2.nii.gz", mask, affine)
    found = find_labeled(tmp_path)
    assert found.pairs[0].segmentations == () and found.alone[0][0].name == "P2.nii.gz"


def test_segmentation_chooses_the_series_that_it_was_drawn_on(tmp_path, dicom_files, capsys):
    hu, mask, affine = head(dicom_files)
    thin = affine.copy()
    thin[:3, 2] /= 2
    dicom_files.write(tmp_path / "P" / "thick", hu, affine, SeriesInstanceUID="1.2.3.4")
    dicom_files.write(tmp_path / "P" / "thin", np.repeat(hu, 2, 0), thin, SeriesInstanceUID="1.2.3.5", PatientID="P1")
    write_mask(tmp_path / "P" / "drawn.nii.gz", np.repeat(mask, 2, 0), thin)
    died = outcomes(tmp_path, {"P1": 1})
    assert run(tmp_path, "--outcomes", died, "--output", tmp_path / "m.csv", "--skip-unusable") == 0
    (row,) = table(tmp_path / "m.csv")
    assert row["image"] == "P/thin"
    assert float(row["volume_ml"]) == pytest.approx(volume_of(mask, affine), rel=1e-3)


def test_reader_is_chosen_among_several(tmp_path, dicom_files, capsys):
    hu, mask, affine = head(dicom_files)
    (tmp_path / "P1").mkdir()
    write_head(tmp_path / "P1" / "ct.nii.gz", hu, affine)
    write_mask(tmp_path / "P1" / "ann.nii.gz", mask, affine)
    smaller = mask.copy()
    smaller[:16] = False
    write_mask(tmp_path / "P1" / "ben.nii.gz", smaller, affine)
    arguments = tmp_path, "--outcomes", outcomes(tmp_path, {"P1": 1}), "--output", tmp_path / "m.csv"
    assert run(*arguments) == 1
    assert "It is not clear which segment is meant" in capsys.readouterr().out
    assert run(*arguments, "--segmentation", "ben*") == 0
    (row,) = table(tmp_path / "m.csv")
    assert float(row["volume_ml"]) == pytest.approx(volume_of(smaller, affine), rel=1e-3)
    assert row["segmentation"] == "P1/ben.nii.gz"


def test_dicom_segmentation_names_its_series_among_those_of_a_folder(tmp_path, dicom_files):
    hu, mask, affine = head(dicom_files)
    thin = affine.copy()
    thin[:3, 2] /= 2
    made = {"Manufacturer": "ICHMultiTask simulation"}
    dicom_files.write(tmp_path / "P1", hu, affine, name="a", SeriesInstanceUID="1.2.3.4", **made)
    dicom_files.write(tmp_path / "P1", np.repeat(hu, 2, 0), thin, name="b", SeriesInstanceUID="1.2.3.5", **made)
    write_seg(tmp_path / "P1" / "seg.dcm", np.repeat(mask, 2, 0), thin, series="1.2.3.5")
    died = outcomes(tmp_path, {"P1": 1})
    assert run(tmp_path, "--outcomes", died, "--output", tmp_path / "m.csv") == 0
    (row,) = table(tmp_path / "m.csv")
    assert row["image"].startswith("P1/b") and row["simulated"] == "1"
    assert float(row["volume_ml"]) == pytest.approx(volume_of(mask, affine), rel=1e-3)


def test_series_numbers_are_not_patient_ids(tmp_path, dicom_files, capsys):
    hu, mask, affine = head(dicom_files)
    for n, patient in enumerate(("p17", "p18")):
        own = hu.copy()
        own[0, 0, n] = -999
        dicom_files.write(tmp_path / patient / "2", own, affine, PatientID="")
        write_mask(tmp_path / patient / "mask.nii.gz", mask, affine)
    died = outcomes(tmp_path, {"1": 0, "2": 1, "3": 0})
    assert run(tmp_path, "--outcomes", died, "--output", tmp_path / "m.csv") == 1
    said = capsys.readouterr().out
    assert said.count("2 folders contain a scan named 2, which may be a series number") == 2
    assert (
        run(tmp_path, "--outcomes", outcomes(tmp_path, {"p17": 0, "2": 1, "p18": 1}), "--output", tmp_path / "m.csv")
        == 1
    )
    assert "expected one patient under '2', 'p17', found p17, 2" in capsys.readouterr().out


def test_scene_gives_its_scan_and_its_segment(tmp_path, dicom_files, training_scene):
    scene, volume = training_scene
    died = outcomes(tmp_path, {"Ann": 1})
    (tmp_path / "Ann").mkdir()
    scene.rename(tmp_path / "Ann" / "reading.mrb")
    assert run(tmp_path, "--outcomes", died, "--output", tmp_path / "m.csv") == 0
    (row,) = read_manifest(tmp_path / "m.csv").rows
    assert row.volume_ml == pytest.approx(volume, rel=1e-3)
    assert row.image.parent.name == "m-scans" and row.mask.is_file()


@pytest.fixture
def training_scene(tmp_path, dicom_files):
    """A saved scene with a tilted scan and a segmentation of it."""
    slicer = pytest.importorskip("slicer")
    from vtk.util.numpy_support import numpy_to_vtk

    from ICHMultiTaskLib.mrml import volumes
    from ICHMultiTaskLib.mrml.scene import create_scene, save_mrb
    from ICHMultiTaskLib.scan.head_ct import HeadCT

    hu, mask, affine = head(dicom_files, tilt=12.0)
    scene = create_scene()
    scene.Clear(False)
    scan = volumes.head_ct_to_node(scene, HeadCT(hu, affine), "CT")
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(mask.shape[::-1])
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).reshape(-1), deep=True))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Dr. A")
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, "Hemorrhage")
    path = save_mrb(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    return path, volume_of(mask, affine)


@pytest.fixture
def made(tmp_path, training_manifest):
    """A table made anew of the scans and masks of another one."""
    died = {row["patient_id"].replace("p", "scan"): row["died"] for row in table(training_manifest)}
    path = training_manifest.parent / "made.csv"
    assert run(training_manifest.parent, "--outcomes", outcomes(tmp_path, died), "--output", path) == 0
    yield path
    path.unlink()


def test_table_made_of_segmentations_is_the_one_that_they_came_from(made, training_manifest):
    volumes = [{row["image"]: float(row["volume_ml"]) for row in table(path)} for path in (made, training_manifest)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-4)
    check_start(read_manifest(made), make_config())


@pytest.mark.slow
def test_table_made_of_segmentations_can_be_trained_on(tmp_path, made, small_settings):
    settings = [f"--set={name}={json.dumps(value)}" for name, value in small_settings.items()]
    assert cli.main(["train", str(made), "--output", str(tmp_path / "run"), "--device", "cpu", *settings]) == 0
    assert (tmp_path / "run" / "report" / "report.html").is_file()
