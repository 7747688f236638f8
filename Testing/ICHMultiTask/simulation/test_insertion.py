"""Hematomas inserted into head CTs: exact volumes, nothing else changed, the scan's own noise in the blood."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.simulation import (
    Anatomy,
    SimulationSettings,
    find_scans,
    insert_hematoma,
    simulate_patient,
    write_nifti,
)
from ICHMultiTaskTrainingLib.cli import main
from ICHMultiTaskTrainingLib.data.manifest import read_manifest

SCANNER = {"matrix": 128, "slices": 32, "noise_hu": 4.0, "tilt_deg": 12.0}


def wanted(**settings):
    return SimulationSettings(bleed=True, **settings)


@pytest.fixture(scope="module")
def healthy():
    head_ct = simulate_patient(1, SimulationSettings(bleed=False, **SCANNER)).head_ct
    return replace(head_ct, facts=replace(head_ct.facts, patient_id="4711", patient_name="Doe^Jane"))


@pytest.fixture(scope="module")
def anatomy(healthy):
    return Anatomy(healthy)


def mask_ml(patient):
    return patient.mask.sum() * patient.head_ct.voxel_volume_mm3 / 1000.0


@pytest.mark.parametrize("location", ["putamen", "cerebellum"])
def test_fitted_atlas_matches_the_one_of_the_simulated_head(location):
    settings = SimulationSettings(
        bleed=True, location=location, volume_ml=3.0, shape="ellipsoid", rotation_deg=(6.0, -4.0, 8.0), **SCANNER
    )
    patient = simulate_patient(4, settings)
    head = Anatomy(patient.head_ct).head
    found = apply_affine(head.ras_to_rigid, patient.facts["center_ras_mm"]) / head.scale
    mean = {"putamen": (27, 1, 4), "cerebellum": (22, -62, -38)}[location]
    # Twice the spread of the draw itself, and 6 mm for the fit.
    spread = {"putamen": (2.5, 5, 4), "cerebellum": (9, 7, 6)}[location]
    off = np.abs(np.array([abs(found[0]), *found[1:]]) - mean)
    assert (off < 2.0 * np.array(spread) + 6.0).all(), off
    assert 1000.0 < head.found.volume_ml < 1900.0


@pytest.mark.parametrize(
    ("volume", "location"), [(0.5, "putamen"), (5.0, "thalamus"), (40.0, "lobar"), (150.0, "lobar")]
)
def test_inserted_volume_is_the_requested_one(anatomy, volume, location):
    patient = insert_hematoma(anatomy, 7, wanted(volume_ml=volume, location=location))
    assert patient.location == location
    assert patient.volume_ml == pytest.approx(volume, rel=0.01)
    assert mask_ml(patient) == pytest.approx(volume, rel=0.04, abs=0.15)


def test_only_the_inside_of_the_skull_changes(anatomy, healthy):
    patient = insert_hematoma(anatomy, 3, wanted(volume_ml=50.0, location="putamen"))
    assert patient.head_ct.hu.dtype == healthy.hu.dtype and patient.head_ct.hu.shape == healthy.hu.shape
    np.testing.assert_array_equal(patient.head_ct.ijk_to_ras, healthy.ijk_to_ras)
    changed = patient.head_ct.hu != healthy.hu
    assert changed[patient.mask].mean() > 0.95
    assert not changed[healthy.hu < -200].any()
    bone = healthy.hu > 700
    assert np.abs(patient.head_ct.hu[bone].astype(int) - healthy.hu[bone]).max() < 25
    # Tissue is pushed aside far beyond the bleed.
    assert changed.sum() > 3 * patient.mask.sum()
    assert patient.midline_shift_mm > 1.0


def test_blood_is_dense_and_as_noisy_as_the_brain(anatomy, healthy):
    patient = insert_hematoma(anatomy, 5, wanted(shape="regular", location="putamen", volume_ml=50.0))
    blood = patient.head_ct.hu[patient.mask].astype(float)
    assert 45.0 < np.median(blood) < 85.0

    def grain(hu, where):
        steps = np.diff(hu.astype(float), axis=2)
        return 1.4826 * np.median(np.abs(steps[where[:, :, 1:] & where[:, :, :-1]]))

    assert grain(patient.head_ct.hu, patient.mask) == pytest.approx(grain(healthy.hu, patient.mask), rel=0.35)


def test_same_seed_same_bytes(anatomy, healthy):
    first, second = insert_hematoma(anatomy, 11, wanted()), insert_hematoma(healthy, 11, wanted())
    assert first.head_ct.hu.tobytes() == second.head_ct.hu.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert (first.volume_ml, first.gcs, first.rater_ml) == (second.volume_ml, second.gcs, second.rater_ml)
    assert insert_hematoma(anatomy, 12, wanted()).mask.tobytes() != first.mask.tobytes()


def test_without_a_bleed_the_scan_stays_as_it_is(anatomy, healthy):
    patient = insert_hematoma(anatomy, 2, SimulationSettings(bleed=False))
    np.testing.assert_array_equal(patient.head_ct.hu, healthy.hu)
    assert (patient.volume_ml, patient.location, patient.midline_shift_mm, patient.died) == (0.0, "", 0.0, 0)
    assert not patient.mask.any() and patient.rater_ml == (0.0,) * 8


def test_order_and_direction_of_the_axes_do_not_matter(anatomy, healthy):
    """The same head stored from head to feet and with rows and columns exchanged."""
    hu = np.ascontiguousarray(healthy.hu.transpose(0, 2, 1)[::-1])
    affine = healthy.ijk_to_ras[:, [1, 0, 2, 3]].copy()
    affine[:3, 3] += (len(hu) - 1) * affine[:3, 2]
    affine[:3, 2] *= -1.0
    center = insert_hematoma(anatomy, 6, wanted(location="putamen", volume_ml=20.0)).facts["center_ras_mm"]
    settings = wanted(location="putamen", volume_ml=20.0, center_mm=center)
    patients = [insert_hematoma(scan, 6, settings) for scan in (anatomy, HeadCT(hu, affine, healthy.facts))]
    centers = [apply_affine(p.head_ct.ijk_to_ras, np.argwhere(p.mask)[:, ::-1].mean(axis=0)) for p in patients]
    assert np.linalg.norm(centers[0] - centers[1]) < 2.0
    assert mask_ml(patients[0]) == pytest.approx(mask_ml(patients[1]), rel=0.03)


def test_says_that_it_is_simulated_and_keeps_no_identity(anatomy):
    facts = insert_hematoma(anatomy, 1, SimulationSettings(bleed=False)).head_ct.facts
    assert facts.simulated and facts.patient_name.startswith("SimulatedPatient^") and facts.patient_id != "4711"


def test_scan_without_a_cavity_is_refused(healthy):
    k, j, i = np.indices((40, 100, 100))
    ball = ((k - 20) / 18) ** 2 + ((j - 50) / 45) ** 2 + ((i - 50) / 40) ** 2 < 1
    hu = np.where(ball, 30, -1000).astype(np.int16)
    with pytest.raises(InputError, match="No cranial cavity was found: expected soft tissue of 600 to 2400 mL"):
        insert_hematoma(HeadCT(hu, np.diag([-2.0, -2.0, 4.0, 1.0])), 1)


def test_bleed_that_was_not_scanned_is_refused(healthy, monkeypatch):
    monkeypatch.setattr("ICHMultiTaskLib.simulation.insertion.ATTEMPTS", 4)
    top = 12
    affine = healthy.ijk_to_ras.copy()
    affine[:3, 3] += top * affine[:3, 2]
    cut = HeadCT(healthy.hu[top:], affine, healthy.facts)
    with pytest.raises(InputError, match="requested bleed .location brainstem, 4.0 mL. does not fit into this head"):
        insert_hematoma(cut, 1, wanted(location="brainstem", volume_ml=4.0))


def test_command_uses_what_it_can_and_lists_the_rest(healthy, tmp_path, capsys):
    heads = tmp_path / "heads"
    heads.mkdir()
    write_nifti(healthy.hu, healthy.ijk_to_ras, heads / "good.nii.gz")
    write_nifti(np.full((20, 40, 40), 30, np.int16), np.diag([-5.0, -5.0, 8.0, 1.0]), heads / "blank.nii.gz")
    (heads / "notes.txt").write_text("mine")
    assert [path.name for path in find_scans(heads)] == ["blank.nii.gz", "good.nii.gz"]
    arguments = ["simulate", "--anatomy", str(heads), "--patients", "1", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    output = "".join(capsys.readouterr())
    assert "Left out: blank.nii.gz: " in output
    rows = read_manifest(tmp_path / "out" / "manifest.csv").rows
    assert [row.extra["anatomy"] for row in rows] == ["good.nii.gz"]
    assert read_head_ct(rows[0].image).hu.shape == healthy.hu.shape
    assert main([*arguments, "--matrix", "128"]) == 1
    assert "keep their own grid" in capsys.readouterr().err


def test_folder_without_a_usable_scan_is_refused_with_the_reasons(tmp_path):
    with pytest.raises(InputError, match="folder of head CTs does not exist"):
        find_scans(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no scans"):
        find_scans(tmp_path)


def test_dicom_files_beside_scans_are_not_left_out_in_silence(tmp_path):
    dicom = bytes(128) + b"DICM"
    (tmp_path / "viewer").mkdir()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = pydicom.uid.generate_uid(), "1.2.840.10008.1.2.1"
    directory = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    directory.save_as(tmp_path / "DICOMDIR")
    (tmp_path / "readme.txt").write_text("Open the viewer.")
    assert find_scans(tmp_path) == [tmp_path / "viewer"]
    (tmp_path / "I0001").write_bytes(dicom)
    with pytest.raises(InputError, match=r"holds 1 DICOM file \(I0001\) beside 1 scan \(viewer\); expected the DICOM"):
        find_scans(tmp_path)


def test_real_head(data_folder):
    head_ct = read_head_ct(data_folder / "ge_head_tilt18_variable_spacing.zip")
    anatomy = Anatomy(head_ct)
    assert 1200.0 < anatomy.head.found.volume_ml < 1500.0
    patient = insert_hematoma(anatomy, 100, wanted(location="putamen", volume_ml=30.0))
    assert patient.volume_ml == pytest.approx(30.0, rel=0.01)
    assert mask_ml(patient) == pytest.approx(30.0, rel=0.05)
    before, after = (hu[patient.mask].mean() for hu in (head_ct.hu, patient.head_ct.hu))
    assert before < 35.0 and 45.0 < after < 75.0


def test_averaged_template(data_folder):
    anatomy = Anatomy(read_head_ct(data_folder / "templates" / "scct_hu.nii.gz"))
    # Average heads in this space are larger than life.
    assert 1600.0 < anatomy.head.found.volume_ml < 2100.0
    patient = insert_hematoma(anatomy, 3, wanted(location="lobar", volume_ml=20.0))
    assert mask_ml(patient) == pytest.approx(20.0, rel=0.05)
