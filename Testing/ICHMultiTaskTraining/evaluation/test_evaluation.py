"""Evaluation of a model on a manifest: files, numbers, bad rows, cancellation."""

import csv
import gzip
import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.analysis import analyzer as analyzer_module
from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.attention import Attention
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.common.errors import Canceled, InputError, OutputError
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle, save_bundle
from ICHMultiTaskLib.model.calibration import fit_volume_interval
from ICHMultiTaskLib.model.testing import HEMATOMA_ML, phantom, tiny_bundle
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.recalibration import recalibrate
from ICHMultiTaskTrainingLib.evaluation.evaluation import attention_metrics, evaluate, locate_attention
from ICHMultiTaskTrainingLib.evaluation.features import FILE as FEATURES
from ICHMultiTaskTrainingLib.evaluation.features import pooled_features, read_features
from ICHMultiTaskTrainingLib.evaluation.robustness.run import robustness


def write_nifti(path, array, ijk_to_ras):
    image = sitk.GetImageFromArray(array)
    lps = np.diag([-1, -1, 1, 1]) @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    image.SetOrigin(lps[:3, 3])
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return ModelBundle.load(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Six phantoms that differ in noise; two have masks, one a mask on another grid, one is an unreadable file."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for n in range(6):
        scan = phantom()
        hu = scan.hu + np.where(scan.hu > 0, np.random.default_rng(n).normal(0, 5 * n, scan.hu.shape), 0)
        write_nifti(folder / f"{n}.nii.gz", hu.astype(np.int16), scan.ijk_to_ras)
        rows.append({"patient_id": f"P{n}", "image": f"{n}.nii.gz", "volume_ml": HEMATOMA_ML, "died": n % 2})
        rows[-1] |= {"sex": "MF"[n % 2], "slice_mm": "" if n else 1.25}
    mask = np.zeros(scan.hu.shape, np.uint8)
    mask[10:20, 50:80, 20:60] = 1
    write_nifti(folder / "mask.nii.gz", mask, scan.ijk_to_ras)
    write_nifti(folder / "other.nii.gz", mask[:20], scan.ijk_to_ras)
    write_nifti(folder / "copy.nii.gz", mask, scan.ijk_to_ras)
    rows[0]["mask"], rows[1]["mask"] = "mask.nii.gz", "copy.nii.gz"
    rows[2]["mask"] = "other.nii.gz"
    (folder / "5.nii.gz").write_bytes(b"not a scan")
    return folder, rows


def write_manifest(folder, rows, name="manifest.csv"):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def many_patients(cohort, count, of, **changes):
    """Rows of patients whose images differ in a note of their header alone."""
    folder, rows = cohort
    found = []
    for n in range(count):
        row = rows[n % of] | {"patient_id": f"Q{n}", "image": f"Q{n}.nii.gz", "mask": ""} | changes
        try:
            content = bytearray(gzip.decompress((folder / rows[n % of]["image"]).read_bytes()))
            content[148:150] = b"%02d" % n  # of NIfTI's field descrip
            (folder / row["image"]).write_bytes(gzip.compress(content, 1))
        except gzip.BadGzipFile:
            (folder / row["image"]).write_bytes(b"not a scan %d" % n)
        found.append(row | {"volume_ml": 10.0 + n})
    return found


@pytest.fixture(scope="module")
def result(cohort, bundle, tmp_path_factory):
    folder, rows = cohort
    output = tmp_path_factory.mktemp("result") / "evaluation"
    reports = []
    manifest = write_manifest(folder, rows)
    metrics = evaluate(manifest, output, bundle, "cpu", lambda *report: reports.append(report), features=True)
    return metrics, output, reports


def test_files_and_progress(result):
    metrics, output, reports = result
    names = {path.name for path in output.iterdir()}
    figures = ["volume.png", "bland_altman.png", "roc.png", "calibration.png", "histogram.png", "subgroups.png"]
    figures.append("attention.png")
    tables = {"metrics.json", "predictions.csv", "report.html", FEATURES, LIST_FILE}
    assert metrics["figures"] == figures and names == {*figures, *tables}
    assert all((output / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8")) == metrics
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1


def test_predictions_are_those_of_the_analyzer(result, cohort, bundle):
    metrics, output, _ = result
    with (output / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient_id"] for row in rows] == [f"P{n}" for n in range(6)]
    analyzer = Analyzer(bundle, "cpu")
    predicted = []
    for row, source in zip(rows[:5], cohort[1]):
        analysis = analyzer.analyze(read_head_ct(cohort[0] / source["image"]))
        predicted.append(analysis.volume_ml)
        assert float(row["predicted_volume_ml"]) == pytest.approx(analysis.volume_ml)
        assert float(row["mortality_probability"]) == pytest.approx(analysis.mortality_probability)
        assert row["prognosis"] == analysis.prognosis and float(row["volume_ml"]) == HEMATOMA_ML
    assert metrics["volume"]["mae_ml"] == pytest.approx(np.abs(np.array(predicted) - HEMATOMA_ML).mean())
    assert metrics["volume"]["patients"] == 5 and metrics["prognosis"]["deaths"] == 2


def test_subgroups_are_of_the_manifest_or_the_scan(result, cohort):
    metrics, output, _ = result
    found = {(one["by"], one["group"]): one["patients"] for one in metrics["subgroups"]}
    step = phantom().spacing_kji[0]
    assert step > 3, "P0 alone has thin slices, by the manifest"
    assert found == {
        ("", "all"): 5, ("slices", "up to 3 mm"): 1, ("slices", "above 3 mm"): 4,
        ("sex", "female"): 2, ("sex", "male"): 3,
    }  # fmt: skip
    with (output / "predictions.csv").open(newline="") as file:
        assert [float(row["slice_mm"]) for row in list(csv.DictReader(file))[:5]] == [1.25, *[round(step, 2)] * 4]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<h2>Subgroups</h2>" in page and "sex: female" in page and "2 deaths, 10 needed" in page


def test_features_of_each_scan_are_those_of_the_analyzer(result, cohort, bundle):
    names, features = read_features(result[1] / FEATURES)
    assert names == [f"P{n}" for n in range(6)] and np.isnan(features[5]).all(), "P5 cannot be read"
    prediction = Analyzer(bundle, "cpu").analyze(read_head_ct(cohort[0] / "3.nii.gz")).prediction
    np.testing.assert_allclose(features[3], pooled_features(prediction), rtol=1e-5)


def test_bad_rows_are_listed_with_their_reason(result):
    skipped = {one["patient_id"]: one["reason"] for one in result[0]["skipped"]}
    assert set(skipped) == {"P2", "P5"}
    assert "mask other.nii.gz is not on the grid of its scan" in skipped["P2"]
    assert "5.nii.gz" in skipped["P5"]


def test_attention_of_scans_with_a_mask(result, cohort, bundle):
    attention = result[0]["attention"]
    assert attention["patients"] == 2
    shares = []
    for n in range(2):
        found = Analyzer(bundle, "cpu").analyze(read_head_ct(cohort[0] / f"{n}.nii.gz")).attention
        shares.append(found.array[10:20, 50:80, 20:60].sum(dtype=float) / found.array.sum(dtype=float))
    assert attention["attention_share_inside"] == pytest.approx(np.mean(shares), rel=1e-5)


def test_model_and_data_are_named(result, bundle):
    metrics = result[0]
    assert metrics["model"] == {
        "name": "tiny", "version": "0.0.1", "sha256": bundle.sha256, "training_data": bundle.training_data,
    }  # fmt: skip
    assert metrics["data"] == "5 scans of manifest.csv" and metrics["simulated"] is False
    assert metrics["prognosis"]["auc_best_reachable"] is None


def test_simulated_cohorts_are_marked_and_only_test_rows_are_counted(cohort, bundle, tmp_path):
    folder, rows = cohort
    rows = [
        row | {"mask": "", "split": "train" if n < 2 else "test", "death_probability": 0.2 + 0.1 * n, "simulated": 1}
        for n, row in enumerate(rows[:5])
    ]
    rows[3]["died"], rows[4]["died"] = 0, 1
    metrics = evaluate(write_manifest(folder, rows, "split.csv"), tmp_path / "out", bundle, "cpu")
    assert metrics["simulated"] is True and metrics["data"] == "3 simulated scans of the test split of split.csv"
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [row["simulated"] for row in csv.DictReader(file)] == ["1"] * 3
    assert metrics["volume"]["patients"] == 3 and metrics["attention"]["peak_inside_fraction"] is None
    assert metrics["prognosis"]["auc_best_reachable"] == 1.0


def test_canceled_leaves_nothing(cohort, bundle, tmp_path):
    def progress(fraction, _message):
        if fraction > 0:
            raise Canceled("Stopped.")

    with pytest.raises(Canceled):
        evaluate(write_manifest(*cohort), tmp_path / "out", bundle, "cpu", progress)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def eight(cohort):
    """A table of eight scans, which are worth two processes; the last one cannot be read."""
    folder, rows = cohort
    for n in (6, 7):
        scan = phantom()
        write_nifti(folder / f"{n}.nii.gz", (scan.hu + n * (scan.hu > 0)).astype(np.int16), scan.ijk_to_ras)
    more = [rows[4] | {"image": f"{n}.nii.gz", "patient_id": f"P{n}"} for n in (6, 7)]
    return write_manifest(folder, [*rows[:5], *more, rows[5]], "eight.csv")


def test_several_processes_give_the_results_of_one(eight, bundle, tmp_path):
    tables, found = [], []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        found.append(evaluate(eight, output, bundle, "cpu", features=True, processes=processes))
        with (output / "predictions.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
        assert (output / "attention.png").exists()
    one, two = (read_features(tmp_path / name / FEATURES) for name in "12")
    assert one[0] == two[0] and [row["patient_id"] for row in tables[1]] == [f"P{n}" for n in (0, 1, 2, 3, 4, 6, 7, 5)]
    np.testing.assert_allclose(one[1], two[1], rtol=1e-4, atol=1e-6)
    for row, other in zip(*tables, strict=True):
        assert float(row["predicted_volume_ml"] or 0) == pytest.approx(
            float(other["predicted_volume_ml"] or 0), rel=1e-4
        )
        assert row["problem"] == other["problem"] and row["hemorrhage"] == other["hemorrhage"]
    assert found[0]["skipped"] == found[1]["skipped"] and "5.nii.gz" in found[1]["skipped"][-1]["reason"]


def test_canceled_processes_end_and_leave_nothing(eight, bundle, tmp_path):
    def progress(fraction, _message):
        if fraction > 0:
            raise Canceled("Stopped.")

    before = set(multiprocessing.active_children())
    with pytest.raises(Canceled):
        evaluate(eight, tmp_path / "out", bundle, "cpu", progress, processes=2)
    assert not list(tmp_path.iterdir()) and not set(multiprocessing.active_children()) - before


def test_no_usable_scan_is_one_sentence_and_leaves_nothing(cohort, bundle, tmp_path):
    folder, rows = cohort
    with pytest.raises(InputError, match=r"No scan of the manifest could be analyzed: .*5\.nii\.gz"):
        evaluate(write_manifest(folder, rows[5:], "bad.csv"), tmp_path / "out", bundle, "cpu")
    assert not list(tmp_path.iterdir())


def test_impossible_labels_are_found_before_the_work(cohort, bundle, tmp_path):
    folder, rows = cohort
    wrong = [rows[0], rows[1] | {"image": rows[0]["image"]}, rows[2] | {"volume_ml": 1e9}]
    with pytest.raises(InputError, match="volume_ml above 500 mL in 1 of 3 rows.*the same image is listed for P0, P1"):
        evaluate(write_manifest(folder, wrong, "wrong.csv"), tmp_path / "out", bundle, "cpu")


def test_a_model_of_the_prognosis_alone_is_evaluated(cohort, bundle, tmp_path):
    """The single task of the paper's table 2. Robustness is of the volume, and refused before the work."""
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    metadata["training"] = {"command": "train", "config": {"tasks": "prognosis"}}
    alone = save_bundle(tmp_path / "alone", bundle.network().state_dict(), metadata, "# Alone\n")
    metrics = evaluate(write_manifest(*cohort), tmp_path / "out", alone, "cpu")
    assert metrics["volume"]["patients"] == 0 and metrics["prognosis"]["patients"] == 5
    assert "attention.png" in metrics["figures"]
    with pytest.raises(
        InputError, match="measured on the volume: expected a model that reads it, found prognosis alone"
    ):
        robustness(tmp_path / "robust", alone, "cpu", patients=1)


def test_a_folder_with_something_else_is_not_overwritten(cohort, bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        evaluate(write_manifest(*cohort), tmp_path, bundle, "cpu")


def test_attention_against_a_mask_by_hand():
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3], array[1, 2, 4] = 1.0, 0.5
    mask = np.zeros(array.shape, bool)
    mask[1, 2, 4:] = True
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    attention = Attention(array, "volume", "stage3", "hirescam", (6.0, 6.0, 5.0))
    found = locate_attention(attention, mask, affine)
    assert found == {"peak_inside": 0, "peak_distance_mm": 2.0, "attention_share_inside": pytest.approx(1 / 3)}
    mask[1, 2, 3] = True
    found = locate_attention(attention, mask, affine)
    assert found == {"peak_inside": 1, "peak_distance_mm": 0.0, "attention_share_inside": 1.0}
    blank = Attention(np.zeros_like(array), "volume", "stage3", "hirescam", None)
    assert locate_attention(blank, mask, affine)["peak_inside"] == 0
    assert locate_attention(attention, np.zeros_like(mask), affine)["peak_inside"] is None


def test_attention_is_counted_by_volume():
    seen = ((0.5, 0), (2.0, 1), (4.0, 0), (30.0, 1), (None, 1), (0.0, None))
    rest = {"peak_distance_mm": 1.0, "attention_share_inside": 0.1}
    found = attention_metrics([
        {"patient_id": f"P{n // 2}", "volume_ml": volume, "peak_inside": inside} | rest
        for n, (volume, inside) in enumerate(seen)
    ])  # fmt: skip
    assert (found["patients"], found["scans"]) == (3, 5) and found["peak_inside_fraction"] == 0.6
    assert found["peak_inside_fraction_1_to_5_ml"] == 0.5 and found["peak_inside_fraction_from_30_ml"] == 1.0
    assert found["peak_inside_fraction_5_to_30_ml"] is None


def test_recalibration_fits_new_scans_and_keeps_the_weights(bundle, cohort, tmp_path):
    folder, _ = cohort
    readable = many_patients(cohort, 20, of=5, simulated=1)
    path = write_manifest(folder, readable, "calibration.csv")
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"} | {
        "training": {"command": "train", "config": {}, "scans": 4},
        "metrics": {"validation": {"validation_mae_ml": 1.0}, "validation_scans": 4, "held_out": {}},
    }
    trained = save_bundle(tmp_path / "trained", bundle.network().state_dict(), metadata, "card")
    fitted = recalibrate(path, trained, tmp_path / "fitted", device="cpu")
    assert fitted.sha256 == bundle.sha256
    beside = recalibrate(path, trained, tmp_path / "beside", device="cpu", processes=2)
    assert beside.probability(0.3) == pytest.approx(fitted.probability(0.3), rel=1e-3)
    assert beside.volume_interval_ml(12.0) == pytest.approx(fitted.volume_interval_ml(12.0), rel=1e-3)
    analyzer = Analyzer(fitted, "cpu")
    images = {row["image"] for row in readable}
    intervals = {image: analyzer.analyze(read_head_ct(folder / image)).volume_interval_ml for image in images}
    held = [low <= row["volume_ml"] <= high for row in readable for low, high in [intervals[row["image"]]]]
    assert np.mean(held) >= 0.9
    assert fitted.probability(0.0) == pytest.approx(0.4, abs=0.1)  # 8 of 20 died
    card = (tmp_path / "fitted/docs/README.md").read_text(encoding="utf-8")
    assert "20 separate simulated scans" in card and "held_out" not in fitted.metadata["metrics"]
    # In place, from here on. In 8 bits, it is calibrated as it is written.
    command = ["calibrate", str(path), "--model", str(fitted.folder), "--weights", "int8", "--device", "cpu"]
    assert cli.main(command) == 0
    small = ModelBundle.load(fitted.folder)
    assert small.metadata["weights"] == "int8" and small.sha256 != bundle.sha256
    again = recalibrate(path, small, small.folder, device="cpu")
    assert again.sha256 == small.sha256 and again.metadata["calibration"] == small.metadata["calibration"]
    with pytest.raises(InputError, match="format of the weights is unknown: expected one of half, int8, found 'int4'"):
        recalibrate(path, small, tmp_path / "x", device="cpu", weights="int4")


def test_recalibration_keeps_the_combination_of_few_scans_and_its_interval_is_of_both_readings(
    bundle, cohort, tmp_path, monkeypatch
):
    """The blood is searched for as far as the newly calibrated volume reaches."""
    folder, _ = cohort
    readable = many_patients(cohort, 20, of=5)
    path = write_manifest(folder, readable, "both.csv")
    monkeypatch.setattr(analyzer_module, "decide", lambda *of: (Hemorrhage.FOUND, ""))
    outline = {"weight": 0.75, "correction": {"knots_cm": [[1.0, 1.0], [2.0, 2.1]], "softening_ml": 1.0}}
    start = replace(bundle, metadata={**bundle.metadata, "calibration": {**NO_CALIBRATION, "outline": outline}})
    fitted = recalibrate(path, start, tmp_path / "fitted", device="cpu")
    assert fitted.metadata["calibration"]["outline"] == outline
    analyzer, images = Analyzer(fitted, "cpu"), {row["image"] for row in readable}
    volumes = {image: analyzer.analyze(read_head_ct(folder / image)) for image in images}
    assert all(found.outlined_volume_ml is not None for found in volumes.values())
    expected = fit_volume_interval(
        np.array([volumes[row["image"]].volume_ml for row in readable]), np.array([r["volume_ml"] for r in readable])
    )
    assert fitted.metadata["calibration"]["volume_interval"]["strata"][0]["half_width_cm"] == pytest.approx(
        expected["strata"][0]["half_width_cm"], abs=1e-6
    )
    card = (tmp_path / "fitted/docs/README.md").read_text(encoding="utf-8")
    assert "with a weight of 75%, the volume outlined in the scan" in card


def test_recalibration_refuses_few_or_unreadable_scans(bundle, cohort, tmp_path):
    folder, rows = cohort
    with pytest.raises(InputError, match="expected at least 20, found 6"):
        recalibrate(write_manifest(folder, rows, "few.csv"), bundle, tmp_path / "x", device="cpu")
    many = many_patients(cohort, 21, of=6)
    with pytest.raises(InputError, match="3 of 21 scans cannot be used: Q5: "):
        recalibrate(write_manifest(folder, many, "bad.csv"), bundle, tmp_path / "x", device="cpu")
    cubic_mm = [row | {"volume_ml": 1000 * row["volume_ml"]} for row in many]
    with pytest.raises(InputError, match="volume_ml above 500 mL in 21 of 21 rows.*are they in mm³"):
        recalibrate(write_manifest(folder, cubic_mm, "mm3.csv"), bundle, tmp_path / "x", device="cpu")
    assert not (tmp_path / "x").exists()
