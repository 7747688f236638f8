"""Robustness: the erased hematoma, the same head scanned differently, real anatomy, two models compared."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle
from ICHMultiTaskLib.model.testing import HEMATOMA_ML, phantom, tiny_bundle
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.simulation import DEMONSTRATION_SEED, write_nifti
from ICHMultiTaskTrainingLib.bundles.model_card import model_card
from ICHMultiTaskTrainingLib.cli import main
from ICHMultiTaskTrainingLib.evaluation.model_comparison import compare_models
from ICHMultiTaskTrainingLib.evaluation.robustness import scans as robustness_scans
from ICHMultiTaskTrainingLib.evaluation.robustness import variations
from ICHMultiTaskTrainingLib.evaluation.robustness.erasing import erase_hematoma, midline_plane
from ICHMultiTaskTrainingLib.evaluation.robustness.metrics import summarize, summary
from ICHMultiTaskTrainingLib.evaluation.robustness.run import robustness
from ICHMultiTaskTrainingLib.evaluation.robustness.variations import (
    REFERENCE,
    VARIATIONS,
    filtered,
    scan_variations,
    scanned_range,
)


@pytest.fixture(scope="module")
def head():
    """The phantom, its mask, and brain of different density in the two hemispheres."""
    scan = phantom((28, 96, 96), (6.0, 2.2, 2.2))
    mask = (scan.hu > 50) & (scan.hu < 100)
    hu = scan.hu.copy()
    left = np.arange(96) >= 48  # the hematoma is in the right hemisphere, at low i
    brain = (hu > 0) & (hu < 50)
    hu[brain & left] -= 8
    return replace(scan, hu=hu), mask


def turned(scan, angle_deg, shift_mm):
    """The same voxels, with the head turned about the scan axis and moved to the right."""
    angle = np.radians(angle_deg)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[0, 3] = shift_mm
    return replace(scan, ijk_to_ras=turn @ scan.ijk_to_ras)


@pytest.mark.parametrize("angle_deg, shift_mm", [(0.0, 0.0), (9.0, 12.0), (-7.0, -5.0)])
def test_midline_plane_follows_the_head(head, angle_deg, shift_mm):
    normal, offset = midline_plane(turned(head[0], angle_deg, shift_mm))
    expected = np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg)), 0.0])
    assert np.degrees(np.arccos(min(1.0, normal @ expected))) < 1.0
    assert offset == pytest.approx(shift_mm * expected[0], abs=1.0)


def test_erased_hematoma_is_tissue_of_the_other_side(head):
    scan, mask = head
    erased = erase_hematoma(scan, mask)
    assert erased.hu.dtype == scan.hu.dtype and np.array_equal(erased.ijk_to_ras, scan.ijk_to_ras)
    # 33 HU of brain less the 8 that make the left hemisphere differ; the noise stays too.
    assert erased.hu[mask].mean() == pytest.approx(25, abs=0.5)
    assert erased.hu[mask].std() == pytest.approx(4, abs=1)
    far = apply_affine(scan.ijk_to_ras, np.argwhere(mask)[:, ::-1]).mean(axis=0)
    points = apply_affine(scan.ijk_to_ras, np.stack(np.indices(mask.shape)[::-1], -1))
    far = np.linalg.norm(points - far, axis=-1) > 20 + 18  # 3 slices of 6 mm
    assert np.array_equal(erased.hu[far], scan.hu[far])
    assert mask.any() and far.any()


def test_skull_beside_a_hematoma_is_left_alone(head):
    scan, _ = head
    bone = scan.hu > 500
    mask = np.zeros(bone.shape, bool)
    mask[12:16, 40:50, 10:24] = True  # from the inner table inwards
    mask &= ~bone
    hu = scan.hu.copy()
    hu[mask] = 70
    erased = erase_hematoma(replace(scan, hu=hu), mask)
    assert np.array_equal(erased.hu[bone], scan.hu[bone])
    assert erased.hu[mask].max() < 50


def test_hematoma_across_the_midline_is_erased_too(head):
    scan, first = head
    mask = first.copy()
    mask[12:16, 40:56, 42:54] = True
    hu = scan.hu.copy()
    hu[mask] = 70
    erased = erase_hematoma(replace(scan, hu=hu), mask)
    assert 20 < erased.hu[mask].mean() < 36 and erased.hu[mask].max() < 55  # blood: 68 and 70


def test_mask_that_cannot_be_erased_is_refused(head):
    scan, mask = head
    with pytest.raises(InputError, match=r"not on the scan's grid: expected \(28, 96, 96\).*found \(27, 96, 96\)"):
        erase_hematoma(scan, mask[1:])
    with pytest.raises(InputError, match="found an empty one"):
        erase_hematoma(scan, np.zeros_like(mask))
    with pytest.raises(InputError, match="no skull"):
        erase_hematoma(replace(scan, hu=np.minimum(scan.hu, 100)), mask)


@pytest.fixture(scope="module")
def scans():
    """Scans of one small simulated patient by name, with the masks; three of those that need a simulation each."""
    chosen = ("half_pixel_size", "slices_of_10_mm", "tilt_plus_20_deg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variations, "SCANNERS", {name: variations.SCANNERS[name] for name in chosen})
        return {name: (scan, mask) for name, scan, mask in scan_variations(DEMONSTRATION_SEED, 64)}


def test_variations_keep_the_bleed_and_change_the_scan(scans):
    assert list(scans)[0] == REFERENCE and set(scans) < {REFERENCE, *VARIATIONS}
    reference, mask = scans[REFERENCE]
    bleed_ml = mask.sum() * reference.voxel_volume_mm3 / 1000
    assert bleed_ml > 1
    for name in set(scans) - {"half_pixel_size"}:
        scan, varied = scans[name]
        assert varied.shape == scan.hu.shape
        # Counted in voxels of 3.6 mm × 3.6 mm × 5 or 10 mm.
        assert varied.sum() * scan.voxel_volume_mm3 / 1000 == pytest.approx(bleed_ml, rel=0.2), name
    assert reference.spacing_kji == pytest.approx([5, 230 / 64, 230 / 64])
    assert scans["slices_of_10_mm"][0].spacing_kji[0] == pytest.approx(10)
    assert scans["half_pixel_size"][0].spacing_kji[1:] == pytest.approx([115 / 64, 115 / 64])
    tilted = scans["tilt_plus_20_deg"][0]
    assert tilted.voxel_volume_mm3 == pytest.approx(reference.voxel_volume_mm3 * np.cos(np.radians(20)))


def test_range_offset_and_kernel_are_made_of_the_reference_scan(scans):
    reference, mask = scans[REFERENCE]
    long, long_mask = scans["with_neck"]
    short = scans["skull_base_cut_off"][0]
    assert len(long.hu) == 45 and len(reference.hu) == 32 and len(short.hu) == 27  # 225, 160 and 135 mm
    assert np.array_equal(long.hu[-32:], reference.hu) and np.array_equal(short.hu, reference.hu[-27:])
    assert long_mask.sum() == mask.sum()
    place = apply_affine(reference.ijk_to_ras, [5, 6, 7])
    assert place == pytest.approx(apply_affine(long.ijk_to_ras, [5, 6, 7 + 13]))
    inside = (reference.hu > -900) & (reference.hu < 3000)
    assert np.all(scans["offset_plus_6_hu"][0].hu[inside] == reference.hu[inside] + 6)
    assert np.all(scans["offset_minus_6_hu"][0].hu[inside] == reference.hu[inside] - 6)
    # One pixel of this coarse scan; the kernels themselves reach 1 mm.
    smooth, sharp = filtered(reference, 3.6, -1.0), filtered(reference, 3.6, 0.5)
    assert smooth.hu[mask].std() < reference.hu[mask].std() < sharp.hu[mask].std()
    assert smooth.hu.mean((1, 2)) == pytest.approx(reference.hu.mean((1, 2)), abs=0.3)


def test_a_short_scan_still_holds_the_bleed():
    scan = phantom()
    mask = np.zeros(scan.hu.shape, bool)
    mask[3:6, 60, 60] = True
    cut, kept = scanned_range(scan, mask, 60.0)
    assert len(cut.hu) == 28 - 1 and kept.sum() == 3  # 10 mm below the bleed are two slices of 6 mm
    cut, _ = scanned_range(scan, np.zeros_like(mask), 60.0)
    assert len(cut.hu) == 10


def reading(part, case, scan, true_ml, predicted_ml, **others):
    return {
        "part": part, "case": case, "patient_id": f"P{case}", "scan": scan, "volume_ml": true_ml,
        "predicted_volume_ml": predicted_ml, "hemorrhage": "found", "mortality_probability": None,
        "peak_inside": None, "problem": "", **others,
    }  # fmt: skip


def test_metrics_of_readings():
    readings = []
    for case, true, reference, neck, erased in ((0, 10, 10, 10.5, 2), (1, 20, 25, 20, 5), (2, 40, 40, 42, 36)):
        readings += [
            reading("simulated", case, REFERENCE, true, reference, mortality_probability=0.2),
            reading("simulated", case, "with_neck", true, neck, mortality_probability=0.24 + 0.1 * case),
            reading("simulated", case, "erased", true, erased),
        ]
    # The reference reading of 0 has no change in percent; the case is only in the errors and the falls.
    readings += [reading("simulated", 3, REFERENCE, 5, 0.0), reading("simulated", 3, "with_neck", 5, 1.0)]
    readings[-1] |= {"hemorrhage": "none", "mortality_probability": None}
    readings += [reading("simulated", 3, "turned", 5, None, problem="no head")]
    for case in range(2):
        readings.append(reading("anatomy", case, "as_it_is", 0.0, 0.5 + 2 * case))
        readings.append(reading("anatomy", case, "inserted", 10.0, 13.0, peak_inside=case))
        readings.append(reading("anatomy", case, "inserted", 30.0, 29.0, peak_inside=1))
        readings.append(reading("anatomy", case, "real_shape", 20.0, 24.0, peak_inside=0, in_interval=case))
    found = summarize(readings)
    scanner = found["scanner"]
    assert scanner["patients"] == 4 and scanner["reference_mae_ml"] == pytest.approx((0 + 5 + 0 + 5) / 4)
    neck = scanner["variations"]["with_neck"]
    assert neck == pytest.approx(
        {
            "scans": 3, "change_median_percent": 5, "absolute_change_median_percent": 5,
            "absolute_change_p90_percent": 5 + 0.8 * 15, "below_10_percent_fraction": 2 / 3,
            "mae_ml": (0.5 + 0 + 2 + 4) / 4, "found_fraction": 3 / 4,
            # 4, 14 and 24 points.
            "probability_change_median_points": 14, "probability_change_p95_points": 23,
            "within_10_points_fraction": 1 / 3,
        }
    )  # fmt: skip
    assert scanner["variations"]["all"] == neck and scanner["variations"]["turned"]["change_median_percent"] is None
    # Falls of 8 / 10, 20 / 20 and 4 / 40 of the truth.
    erased = found["erased"]
    assert erased["patients"] == 3 and erased["fall_of_truth_median"] == pytest.approx(0.8)
    assert erased["fall_of_truth_quartiles"] == pytest.approx([0.45, 0.9])
    assert erased["at_least_70_percent_fraction"] == pytest.approx(2 / 3) and erased["reading_left_median_ml"] == 5
    assert found["erased_of_manifest"] is None
    real = found["real_anatomy"]
    assert real["heads"] == 2 and real["peak_inside_fraction"] == 0.75
    without = real["without_hemorrhage"]
    assert without["as_it_is"] == {"median_ml": 1.5, "highest_ml": 2.5, "below_2_ml_fraction": 0.5}
    assert without["offset_plus_6_hu"]["median_ml"] is None
    assert real["inserted"]["mae_ml"] == pytest.approx(2) and real["inserted"]["bias_ml"] == pytest.approx(1)
    assert real["inserted"]["patients"] == 4 and real["inserted"]["in_interval_fraction"] is None
    shapes = real["real_shapes"]
    assert (shapes["patients"], shapes["mae_ml"], shapes["bias_ml"], shapes["in_interval_fraction"]) == (
        2,
        4.0,
        4.0,
        0.5,
    )
    assert "2 inserted shapes of real hematomas: MAE 4.0 mL, bias +4.0 mL, 50 % within the interval." in summary(found)
    assert found["skipped"] == [{"patient_id": "P3", "scan": "turned", "reason": "no head"}]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """One simulated patient in one scan, a manifest and a folder of heads, read by a network of random weights."""
    folder = tmp_path_factory.mktemp("robustness")
    heads = folder / "heads"
    heads.mkdir()
    scan = phantom()
    mask = (scan.hu > 55) & (scan.hu < 100)
    write_nifti(scan.hu, scan.ijk_to_ras, folder / "scan.nii.gz")
    write_nifti(mask.astype(np.uint8), scan.ijk_to_ras, folder / "mask.nii.gz")
    write_nifti(np.where(mask, 33, scan.hu).astype(np.int16), scan.ijk_to_ras, heads / "normal.nii.gz")
    (heads / "damaged.nii.gz").write_bytes(b"no scan")
    (folder / "manifest.csv").write_text(
        f"patient_id,image,volume_ml,died,mask\nA,scan.nii.gz,{HEMATOMA_ML},0,mask.nii.gz\nB,scan.nii.gz,3,0,\n"
    )
    (folder / "masks").mkdir()
    (folder / "masks" / "notes.txt").write_text("no mask")
    for name, part in (("whole", mask), ("too-small", mask & (np.arange(mask.shape[2]) < mask.shape[2] // 3))):
        write_nifti(part.astype(np.uint8), scan.ijk_to_ras, folder / "masks" / f"{name}.nii.gz")
    bundle = tiny_bundle(folder / "tiny")
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variations, "SCANNERS", {})
        results = robustness(
            folder / "out", bundle, "cpu", patients=1, seed=5, manifest=folder / "manifest.csv", anatomy=heads,
            insertions=2, matrix=64, progress=lambda *report: reports.append(report), masks=folder / "masks",
        )  # fmt: skip
    return results, folder, reports


def test_whole_run_writes_what_it_measured(whole_run):
    results, folder, reports = whole_run
    names = {path.name for path in (folder / "out").iterdir()}
    assert results["figures"] == ["scanner.png", "erased.png", "real_anatomy.png"]
    assert names == {"robustness.json", "readings.csv", LIST_FILE, *results["figures"]}
    assert all((folder / "out" / name).read_bytes().startswith(b"\x89PNG") for name in results["figures"])
    assert json.loads((folder / "out" / "robustness.json").read_text(encoding="utf-8")) == results
    assert (results["provenance"]["device"], results["provenance"]["number_format"]) == ("cpu", "float32")
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert results["scanner"]["patients"] == 1 and results["scanner"]["variations"]["all"]["scans"] == 6
    assert results["erased"]["patients"] == results["erased_of_manifest"]["patients"] == 1
    assert [one["patient_id"] for one in results["skipped"]] == ["damaged.nii.gz"]
    with (folder / "out" / "readings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    inserted = [row for row in rows if row["scan"] == "inserted"]
    assert [float(row["volume_ml"]) for row in inserted] == pytest.approx([5, 80], rel=0.01)
    assert all(row["location"] and row["peak_inside"] in "01" for row in inserted)
    assert float(next(row for row in rows if row["scan"] == "as_it_is")["volume_ml"]) == HEMATOMA_ML
    assert results["real_anatomy"]["inserted"]["patients"] == 2
    (shape,) = (row for row in rows if row["scan"] == "real_shape")
    assert shape["location"] == "whole.nii.gz" and shape["in_interval"] in "01" and not shape["problem"]
    assert float(shape["volume_ml"]) == pytest.approx(HEMATOMA_ML, rel=0.1)
    assert results["real_anatomy"]["real_shapes"]["patients"] == 1


def test_several_processes_read_what_one_reads(whole_run, tmp_path):
    _, folder, _ = whole_run
    tables = []
    for processes in (1, 2):
        robustness(
            tmp_path / "out", folder / "tiny", "cpu", patients=0, manifest=folder / "manifest.csv",
            anatomy=folder / "heads", insertions=1, processes=processes,
        )  # fmt: skip
        with (tmp_path / "out" / "readings.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables[0]) == 2 + 1 + 3 + 1, "manifest, damaged head, head with two offsets, insertion"
    for row, other in zip(*tables, strict=True):
        assert float(row.pop("predicted_volume_ml") or 0) == pytest.approx(
            float(other.pop("predicted_volume_ml") or 0), rel=1e-3, abs=1e-3
        )
        assert float(row.pop("mortality_probability") or 0) == pytest.approx(
            float(other.pop("mortality_probability") or 0), rel=1e-3
        )
        assert row == other


def test_masks_need_heads_and_a_volume(whole_run, tmp_path):
    _, folder, _ = whole_run
    with pytest.raises(InputError, match="Masks need head CTs"):
        robustness(tmp_path / "out", folder / "tiny", "cpu", patients=1, masks=folder / "masks")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected segmentations of 4 to 60 mL in .*, found none"):
        robustness(
            tmp_path / "out", folder / "tiny", "cpu", patients=1, anatomy=folder / "heads", masks=tmp_path / "empty"
        )
    assert not (tmp_path / "out").exists()


def test_model_card_states_the_robustness(whole_run):
    bundle = ModelBundle.load(default_bundle())
    metrics = bundle.metadata["metrics"] | {"robustness": whole_run[0]}
    card = model_card(bundle.metadata | {"metrics": metrics})
    assert "1 simulated patients of seed 5" in card and "with neck" in card and "2 inserted hematomas: MAE" in card


def test_canceled_or_refused_run_leaves_nothing(whole_run, tmp_path, monkeypatch):
    _, folder, _ = whole_run

    def cancel(fraction, message):
        if fraction > 0:
            raise Canceled("stop")

    monkeypatch.setattr(variations, "SCANNERS", {})
    with pytest.raises(Canceled):
        robustness(tmp_path / "out", folder / "tiny", "cpu", patients=1, matrix=64, progress=cancel)
    (folder / "without.csv").write_text("patient_id,image,volume_ml,died\nA,scan.nii.gz,30,0\n")
    with pytest.raises(InputError, match="expected rows with a mask and a volume_ml of at least 5, found none"):
        robustness(tmp_path / "out", folder / "tiny", "cpu", patients=1, manifest=folder / "without.csv")
    with pytest.raises(InputError, match="does not exist"):
        robustness(tmp_path / "out", folder / "tiny", "cpu", patients=1, anatomy=folder / "nowhere")
    assert not list(tmp_path.iterdir())


def test_patients_have_bleeds_of_5_ml(monkeypatch):
    drawn = []
    simulate = robustness_scans.simulate_patient
    monkeypatch.setattr(robustness_scans, "simulate_patient", lambda *args: drawn.append(simulate(*args)) or drawn[-1])
    seed, patient = robustness_scans._draw_patient(37)
    assert patient is drawn[-1] and patient.seed == seed and patient.volume_ml >= 5
    assert all(earlier.volume_ml < 5 for earlier in drawn[:-1]) and len(drawn) > 1


def write_predictions(path, predicted, probability, volumes=(0, 10, 20, 40), died=(0, 0, 1, 1)):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "volume_ml", "died", "predicted_volume_ml", "mortality_probability"])
        writer.writerows(zip("ABCD", volumes, died, predicted, probability))
    return path


def test_models_compared(tmp_path, capsys):
    first = write_predictions(tmp_path / "first.csv", (1, 12, 17, ""), (0.1, 0.2, 0.3, 0.4))
    second = write_predictions(tmp_path / "second.csv", (0, 14, 14, 44), (0.1, 0.35, 0.3, 0.4))
    (tmp_path / "alone").mkdir()
    alone = write_predictions(tmp_path / "alone" / "predictions.csv", (0, 10, 20, 40), [""] * 4)
    found = compare_models(first, second, alone)
    assert [model["auc"] for model in (found["first"], *found["others"])] == [1.0, 0.75, None]
    assert [model["mae_ml"] for model in (found["first"], *found["others"])] == [2.0, 3.5, 0.0]
    # Without the last patient, whom the first model could not read: errors of 1, 2, 3 against 0, 4, 6.
    volume, prognosis = found["others"][0]["volume"], found["others"][0]["prognosis"]
    assert volume["patients"] == 3
    assert volume["mae_difference_ml"] == pytest.approx(2 - 10 / 3)
    assert (prognosis["patients"], prognosis["deaths"], prognosis["auc_difference"]) == (4, 2, 0.25)
    low, high = prognosis["auc_difference_interval"]
    assert 0 <= low <= 0.25 <= high
    assert found["others"][1]["prognosis"]["auc_difference"] is None

    bundle = shutil.copytree(default_bundle(), tmp_path / "bundle")
    arguments = [first, second, alone, "--note", "Said above.", "--record", bundle]
    assert main(["compare-models", *map(str, arguments), "--output", str(tmp_path / "out.json")]) == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert written.pop("provenance")["software"] == "ICHMultiTask"
    assert written == {"note": "Said above.", **found}
    table = capsys.readouterr().out.strip()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[2] == ["first", "2.00", "", "+0.00", "1.000", ""]
    assert rows[3][:2] == ["second", "3.50"] and rows[3][2].startswith("+1.33 (") and rows[3][4] == "0.750"
    assert rows[4][0] == "alone" and rows[4][4:] == ["–", "–"]
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert table in card and "Said above." in card


def test_models_of_other_scans_are_not_compared(tmp_path, capsys):
    first = write_predictions(tmp_path / "first.csv", (1, 2, 3, 4), (0, 0, 1, 1))
    second = write_predictions(tmp_path / "second.csv", (1, 2, 3, 4), (0, 0, 1, 1), volumes=(0, 10, 20, 41))
    with pytest.raises(InputError, match="expected the same volume_ml"):
        compare_models(first, second)
    (tmp_path / "other.csv").write_text("patient_id,volume_ml\nA,3\n")
    assert main(["compare-models", str(first), str(tmp_path / "other.csv"), "--output", str(tmp_path / "o.json")]) == 1
    assert "found no died, predicted_volume_ml, mortality_probability among" in capsys.readouterr().err
    with pytest.raises(InputError, match="does not exist"):
        compare_models(first, tmp_path / "missing.csv")
