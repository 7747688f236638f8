"""Simulated scans on disk: DICOM and NIfTI that others read, cohorts that continue."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK
from sklearn.metrics import roc_auc_score

from ICHMultiTaskLib.common.errors import Canceled, InputError, OutputError
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient, write_cohort, write_dicom, write_nifti
from ICHMultiTaskLib.simulation.cohort import COLUMNS, summarize
from ICHMultiTaskTrainingLib.data.manifest import read_manifest

TINY = SimulationSettings(matrix=64, slices=12)


@pytest.fixture(scope="module")
def tilted():
    return simulate_patient(2, SimulationSettings(matrix=64, slices=12, tilt_deg=15.0))


@pytest.fixture(scope="module")
def straight():
    return simulate_patient(2, SimulationSettings(matrix=64, slices=12, tilt_deg=0.0))


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_dicom_is_a_ct_series_that_says_that_it_is_simulated(tilted, tmp_path):
    write_dicom(tilted.head_ct, tmp_path / "series")
    files = sorted((tmp_path / "series").iterdir())
    assert len(files) == 12
    datasets = [pydicom.dcmread(f) for f in files]
    first = datasets[0]
    assert first.SOPClassUID == pydicom.uid.CTImageStorage
    assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert str(first.PatientName).startswith("SimulatedPatient^")
    assert first.ImageType[0] == "DERIVED" and "imulated" in first.ImageComments
    assert len({d.SeriesInstanceUID for d in datasets}) == 1 and len({d.SOPInstanceUID for d in datasets}) == 12
    assert first.pixel_array.dtype == np.int16
    hu = first.pixel_array * first.RescaleSlope + first.RescaleIntercept
    np.testing.assert_array_equal(hu, tilted.head_ct.hu[0])
    assert "GantryDetectorTilt" in first and abs(float(first.GantryDetectorTilt)) == pytest.approx(15.0)
    write_dicom(tilted.head_ct, tmp_path / "again")
    assert digest(tmp_path / "series") == digest(tmp_path / "again")


def test_dicom_keeps_voxels_and_geometry_through_this_projects_reader(tilted, tmp_path):
    write_dicom(tilted.head_ct, tmp_path)
    read = read_head_ct(tmp_path)
    np.testing.assert_array_equal(read.hu, tilted.head_ct.hu)
    np.testing.assert_allclose(read.ijk_to_ras, tilted.head_ct.ijk_to_ras, atol=1e-6)


def test_marked_point_is_where_simpleitk_finds_it(straight, tmp_path):
    write_dicom(straight.head_ct, tmp_path)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    image = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), straight.head_ct.hu)
    lps = np.array(image.TransformIndexToPhysicalPoint((10, 20, 7)))
    ras = straight.head_ct.ijk_to_ras @ (10, 20, 7, 1)
    np.testing.assert_allclose(lps * (-1, -1, 1), ras[:3], atol=1e-4)


def test_nifti_keeps_the_shear_and_says_where_a_point_is(tilted, straight, tmp_path):
    path = write_nifti(straight.head_ct.hu, straight.head_ct.ijk_to_ras, tmp_path / "straight.nii.gz")
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), straight.head_ct.hu)
    lps = np.array(image.TransformIndexToPhysicalPoint((10, 20, 7)))
    np.testing.assert_allclose(lps * (-1, -1, 1), (straight.head_ct.ijk_to_ras @ (10, 20, 7, 1))[:3], atol=1e-3)
    path = write_nifti(tilted.head_ct.hu, tilted.head_ct.ijk_to_ras, tmp_path / "tilted.nii.gz")
    read = read_head_ct(path)
    np.testing.assert_allclose(read.ijk_to_ras, tilted.head_ct.ijk_to_ras, atol=1e-4)
    np.testing.assert_array_equal(read.hu, tilted.head_ct.hu)


def test_cohort_is_read_by_the_trainer_and_goes_on_where_it_stopped(tmp_path):
    def stop(fraction, message):
        if fraction > 0.6:
            raise Canceled("Canceled.")

    with pytest.raises(Canceled):
        write_cohort(3, 9, tmp_path / "stopped", progress=stop, settings=TINY)
    assert not (tmp_path / "stopped" / "manifest.csv").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "stopped" / "images").iterdir()}
    assert len(before) == 2
    manifest = write_cohort(3, 9, tmp_path / "stopped", settings=TINY)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    write_cohort(3, 9, tmp_path / "whole", settings=TINY, processes=2)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")
    rows = read_manifest(manifest).rows
    rows[1].image.unlink()  # as by a copy that left it out
    rows[2].mask.unlink()
    write_cohort(3, 9, tmp_path / "stopped", settings=TINY)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")
    header = manifest.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header == list(COLUMNS) and {"patient_id", "image", "volume_ml", "died", "mask"} <= set(header)
    assert all(row.extra[f"rater_{n}"] and row.extra["nihss"] for row in rows for n in range(1, 9))
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["patients"], summary["died"]) == (3, sum(row.died for row in rows))


def test_summary_states_the_best_reachable_auc_among_bleeds():
    """As the mean over draws of who dies; heads without a bleed, which are told easily, do not count."""
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=200)
    names = ("volume_ml", "died", "death_probability", "death_probability_image")
    rows = [dict(zip(names, (5.0, int(rng.uniform() < p), p, p // 0.25 * 0.25 + 0.125))) for p in probability]
    none = dict(zip(names, (0.0, 0, 0.0, 0.0)))
    summary = summarize([*rows, none, none])
    draws = [rng.uniform(size=200) < probability for _ in range(200)]
    expected = np.mean([roc_auc_score(died, probability) for died in draws])
    assert summary["auc_best_clinical"] == pytest.approx(expected, abs=0.01)
    assert summary["auc_best_image"] < summary["auc_best_clinical"]
    assert (summary["patients"], summary["bleeds"]) == (202, 200)
    assert summary["mortality"] == pytest.approx(np.mean([row["died"] for row in rows]), abs=1e-4)
    assert summarize([none, none])["auc_best_image"] is None


def test_cohort_of_so_many_deaths_differs_in_who_dies_alone(tmp_path):
    settings = replace(TINY, bleed=True)
    free = read_manifest(write_cohort(4, 3, tmp_path / "free", settings=settings)).rows
    for deaths in (0, 2, 4):
        folder = tmp_path / str(deaths)
        fixed = read_manifest(write_cohort(4, 3, folder, settings=settings, deaths=deaths)).rows
        assert sum(row.died for row in fixed) == deaths
        assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["died"] == deaths
        assert [row.extra for row in fixed] == [row.extra for row in free]
        assert digest(folder / "images") == digest(tmp_path / "free" / "images")
    with pytest.raises(InputError, match="expected the same seed, format and settings"):
        write_cohort(4, 3, tmp_path / "2", settings=settings)
    with pytest.raises(InputError, match="expected 0 to 4, found 5"):
        write_cohort(4, 3, tmp_path / "5", settings=settings, deaths=5)


def test_cohort_in_dicom(tmp_path):
    manifest = write_cohort(1, 3, tmp_path, format="dicom", settings=TINY)
    row = read_manifest(manifest).rows[0]
    assert read_head_ct(row.image).hu.shape == (12, 64, 64)
    assert not list(tmp_path.rglob(".ichmultitask-*"))


def test_cohort_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty; expected a new or an empty folder"):
        write_cohort(1, 3, tmp_path, settings=TINY)
    write_cohort(1, 3, tmp_path / "a", settings=TINY)
    with pytest.raises(InputError, match="holds another simulated cohort"):
        write_cohort(1, 4, tmp_path / "a", settings=TINY)
    with pytest.raises(InputError, match="expected one of nifti, dicom, found 'tiff'"):
        write_cohort(1, 4, tmp_path / "b", format="tiff")
