"""What a run shows of itself: lines, curves, event log, final report; the folds of a cross-validation put together."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common import progress
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import ShellProgress, duration
from ICHMultiTaskLib.common.tables import write_csv
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.testing import HEMATOMA_ML, phantom, tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.averaging import ensemble_bundles
from ICHMultiTaskTrainingLib.data.manifest import Row
from ICHMultiTaskTrainingLib.evaluation.cross_validation import cross_calibrate, gather_folds
from ICHMultiTaskTrainingLib.evaluation.figures import attention_example, example_rows
from ICHMultiTaskTrainingLib.evaluation.metrics import auc
from ICHMultiTaskTrainingLib.training.curves import EventLog, draw_curves

HISTORY = [
    {"epoch": 1, "volume_loss": 0.5, "prognosis_loss": None, "validation_auc": None, "reduction": 2, "ended": 100.0},
    {"epoch": 2, "volume_loss": 0.25, "prognosis_loss": None, "validation_auc": 0.75, "reduction": 1, "ended": 160.0},
]


def read_events(folder):
    """Steps, times and values of an event log by tag, as TensorBoard reads them."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = module.EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return {tag: [(e.step, e.wall_time, e.value) for e in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


def test_event_log_holds_the_history_and_grows(tmp_path):
    expected = {
        "volume_loss": [(1, 100.0, 0.5), (2, 160.0, 0.25)],
        "reduction": [(1, 100.0, 2.0), (2, 160.0, 1.0)],
        "validation/auc": [(2, 160.0, 0.75)],
    }
    log = EventLog(tmp_path / "log")
    log.show(HISTORY[:1])
    assert read_events(tmp_path / "log")["volume_loss"] == expected["volume_loss"][:1]
    log.show(HISTORY)
    assert read_events(tmp_path / "log") == expected
    log.close()
    # Another start writes it anew and hides what the first one left, an epoch of it lost by a kill.
    again = EventLog(tmp_path / "log")
    again.show(HISTORY)
    again.close()
    assert read_events(tmp_path / "log") == expected


def test_without_tensorboard_there_is_no_log(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = EventLog(tmp_path / "log")
    log.show(HISTORY)
    log.close()
    assert not (tmp_path / "log").exists()


def test_curves_are_drawn_despite_missing_values(tmp_path):
    draw_curves(HISTORY, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_without_a_terminal_few_lines_are_printed(monkeypatch):
    clock = iter(np.arange(0, 10_000, 10.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with ShellProgress(stream) as shell:
        for n in range(30):
            shell(n / 30, "Epoch 1 of 1")
        shell.line("Epoch 1 of 1: loss 3")
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "Epoch 1 of 1: loss 3" and 3 <= len(lines) <= 7 and "\r" not in stream.getvalue()
    assert lines[0].startswith("Epoch 1 of 1 (") and lines[0].endswith("%)")


def test_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with ShellProgress(stream) as shell:
        shell(0.5, "Epoch 2 of 2")
        shell.line("Epoch 1 of 2: loss 3")
        shell(1.0, "Epoch 2 of 2")
    assert "Epoch 1 of 2: loss 3\n" in stream.getvalue() and "100%" in stream.getvalue()


def test_durations_in_words():
    assert [duration(s) for s in (4.2, 29.0, 90, 3600, 7500)] == ["4 s", "29 s", "2 min", "1 h 00 min", "2 h 05 min"]


@pytest.fixture(scope="module")
def folds(training_manifest, small_settings, tmp_path_factory):
    """Finished runs of two folds."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "settings.json").write_text(json.dumps(small_settings | {"coarse_epochs": []}))
    command = ["train", str(training_manifest), "--device", "cpu", "--config", str(folder / "settings.json")]
    for fold in "01":
        run = folder / f"fold-{fold}"
        assert cli.main([*command, "--output", str(run), "--fold", fold, "--folds", "2"]) == 0
    return folder


def test_report_of_a_run_stands_alone(folds):
    report = folds / "fold-0" / "report"
    names = {"volume.png", "bland_altman.png", "histogram.png", "roc.png", "calibration.png", "attention.png"}
    names.add("subgroups.png")
    tables = {"metrics.json", "predictions.csv", "report.html", LIST_FILE}
    assert {path.name for path in report.iterdir()} == names | tables
    page = (report / "report.html").read_text(encoding="utf-8")
    made = json.loads((report / "metrics.json").read_text(encoding="utf-8"))["provenance"]
    assert made["code_sha256"] in page and made["date"] in page
    assert page.count("data:image/png;base64,") == len(names) + 1, "the curves are in it, too"
    for part in ("Mean absolute error", "AUC", "Research use only", "--fold 0 --folds 2", "learning_rate"):
        assert part in page, part
    assert "http" not in page, "nothing is loaded from elsewhere"
    metrics = json.loads((report / "metrics.json").read_text())
    with (report / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    errors = [abs(float(row["predicted_volume_ml"]) - float(row["volume_ml"])) for row in rows]
    assert metrics["volume"]["mae_ml"] == pytest.approx(np.mean(errors)) and len(rows) == 10


def test_report_of_a_run_for_the_prognosis_alone(training_manifest, small_settings, tmp_path):
    settings = small_settings | {"tasks": "prognosis", "mask_weight": 0.0}
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    assert cli.main(["train", training_manifest, "--output", tmp_path / "run", "--device", "cpu", *changes]) == 0
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert metrics["volume"]["patients"] == 0 and metrics["prognosis"]["patients"] > 0
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "The prognosis is not evaluated: expected at least 10" in page and "Hematoma volume" not in page


def test_combined_folds_contain_every_patient_once(folds, tmp_path, capsys):
    runs = [str(folds / "fold-0"), str(folds / "fold-1")]
    assert cli.main(["gather", *runs, "--output", str(tmp_path / "all")]) == 0
    metrics = json.loads((tmp_path / "all" / "metrics.json").read_text())
    single = [json.loads(Path(run, "report", "metrics.json").read_text()) for run in runs]
    assert metrics["volume"]["patients"] == metrics["prognosis"]["patients"] == 20
    maes = [fold["volume"]["mae_ml"] for fold in single]
    assert [fold["mae_ml"] for fold in metrics["folds"]] == pytest.approx(maes)
    assert metrics["volume"]["mae_ml"] == pytest.approx(np.mean(maes))
    places = {one["group"]: one["patients"] for one in metrics["subgroups"] if one["by"] == "location"}
    assert places == {"lobar": 10, "putamen": 10}
    assert "cross-validated in 2 folds" in (tmp_path / "all" / "report.html").read_text(encoding="utf-8")

    with pytest.raises(InputError, match="not complete: expected one run of each from 0 to 1, found \\[0\\]"):
        gather_folds(runs[:1], tmp_path / "one")
    with pytest.raises(InputError, match="not complete: .* found \\[0, 0\\]"):
        gather_folds([runs[0], runs[0]], tmp_path / "twice")
    with pytest.raises(InputError, match="not finished: .* none in .*nothing"):
        gather_folds([*runs, tmp_path / "nothing"], tmp_path / "unfinished")
    other = tmp_path / "fold-1"
    shutil.copytree(folds / "fold-1", other, ignore=shutil.ignore_patterns("cache"))
    settings = json.loads((other / "config.json").read_text())
    settings["config"]["seed"] = 7
    (other / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="differ only in fold, found seed"):
        gather_folds([runs[0], other], tmp_path / "mixed")
    shutil.copy(folds / "fold-1" / "config.json", other / "config.json")
    shutil.copy(folds / "fold-0" / "report" / "predictions.csv", other / "report" / "predictions.csv")
    with pytest.raises(InputError, match="is in two folds"):
        gather_folds([runs[0], other], tmp_path / "overlap")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "fold-1"]


def test_a_model_is_not_judged_by_scans_of_its_own_training_unawares(folds, training_manifest, tmp_path, capsys):
    """Not under other names either, nor where only one of several models has seen them."""
    table = tmp_path / "renamed.csv"
    with training_manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for n, row in enumerate(rows):
        (tmp_path / f"{n}.nii.gz").write_bytes((training_manifest.parent / row["image"]).read_bytes())
        rows[n] = row | {"patient_id": f"q{n}", "image": f"{n}.nii.gz", "mask": ""}
    write_csv(table, rows, rows[0])
    model = folds / "fold-0" / "bundle"
    other = ModelBundle.load(model)
    metadata = {key: value for key, value in other.metadata.items() if key != "sha256"}
    metadata["training"] = {**metadata["training"], "images": ""}
    unaware = save_bundle(tmp_path / "unaware", other.network().state_dict(), metadata, "# Other\n")
    ensemble_bundles([model, unaware], tmp_path / "both")
    for bundle, seen in ((model, 20), (unaware.folder, 0), (tmp_path / "both", 20)):
        command = ["evaluate", table, "--model", bundle, "--output", tmp_path / "out", "--device", "cpu"]
        assert cli.main([*command, "--processes", "1"]) == 0
        words = "; 20 scans of these were part of the model's own training, validation or calibration." * bool(seen)
        assert f"Evaluated on 20 scans of renamed.csv{words or '.'}" in capsys.readouterr().out
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["seen"] == seen
    assert cli.main([*command, "--record"]) == 1
    assert (
        "cannot be evaluated for its model card on scans of its own training or calibration" in capsys.readouterr().err
    )
    assert cli.main(["calibrate", table, "--model", tmp_path / "both", "--output", tmp_path / "c"]) == 1
    words = "cannot be calibrated on scans of its own training: expected others, found 20 of 20 (q0, q1"
    assert words in capsys.readouterr().err
    # Nor by those that it was calibrated on, which may be used for that again.
    for model in (unaware.folder, tmp_path / "c"):
        command = ["calibrate", table, "--model", model, "--output", tmp_path / "c", "--device", "cpu"]
        assert cli.main([*command, "--processes", "1"]) == 0
    command = ["evaluate", table, "--model", tmp_path / "c", "--output", tmp_path / "out", "--device", "cpu"]
    assert cli.main([*command, "--processes", "1"]) == 0
    assert "20 scans of these were part of" in capsys.readouterr().out


def test_cross_calibration_keeps_its_coverage():
    """Intervals hold the nominal share of patients, and probabilities that were far off are the true ones."""
    rng, count = np.random.default_rng(0), 2000
    true = rng.uniform(10, 90, count)
    predicted = np.cbrt(true) + rng.normal(0, 0.15, count)
    risk = rng.uniform(0.05, 0.6, count)
    records = [
        {
            "patient_id": f"p{n}",
            "volume_ml": float(true[n]),
            "network_volume_ml": float(predicted[n] ** 3),
            "log_odds": float(3 * np.log(risk[n] / (1 - risk[n])) + 1.5),
            "outcome": float(rng.random() < risk[n]),
        }
        for n in range(count)
    ]
    cross_calibrate(records, np.arange(count) % 5)
    inside = [record["interval_low_ml"] <= record["volume_ml"] <= record["interval_high_ml"] for record in records]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    probability = np.array([record["mortality_probability"] for record in records])
    np.testing.assert_allclose(probability, risk, atol=0.06)
    died = np.array([record["outcome"] for record in records])
    assert auc(probability, died) == pytest.approx(auc(risk, died), abs=0.005)


def test_a_group_is_not_calibrated_on_itself():
    """What is changed in a group's truth changes what is said of the other groups, and nothing of its own."""
    rng, count = np.random.default_rng(1), 300
    groups = np.arange(count) % 3
    said = ("predicted_volume_ml", "interval_low_ml", "interval_high_ml", "mortality_probability")
    records = [
        {
            "patient_id": f"p{n // 2}",
            "volume_ml": float(volume),
            "network_volume_ml": float(volume * rng.uniform(0.7, 1.1)),
            "log_odds": float(rng.normal()),
            "outcome": float(rng.random() < 0.4),
        }
        for n, volume in enumerate(rng.uniform(5, 60, count))
    ]
    other = [record | {"volume_ml": 3.0, "outcome": 1.0} if group == 1 else dict(record)
             for record, group in zip(records, groups)]  # fmt: skip
    cross_calibrate(records, groups)
    cross_calibrate(other, groups)
    changed = np.array([[a[name] != b[name] for name in said] for a, b in zip(records, other)])
    assert not changed[groups == 1].any() and changed[groups != 1].all()


def test_attention_example_is_upright_and_shows_the_maximum(tmp_path):
    scan = phantom()
    analysis = Analyzer(tiny_bundle(tmp_path / "bundle"), "cpu").analyze(scan)
    mask = (scan.hu > 55) & (scan.hu < 90)
    example = attention_example(Row("P", None, HEMATOMA_ML, 1, None, "", {}), analysis, mask)
    assert example["hu"].shape == example["attention"].shape == example["mask"].shape
    assert example["attention"].max() == analysis.attention.array.max() and example["aspect"] == pytest.approx(1.0)
    assert example["title"].startswith("P: ") and "33.5 mL" in example["title"]
    # The phantom's hematoma lies in the right hemisphere: on the left of the picture.
    whole = mask.transpose(analysis.prediction.network_input.axes)
    k = int(whole.sum((1, 2)).argmax())
    flips = analysis.prediction.network_input.flips
    columns = np.flatnonzero(whole[k].any(0))
    middle = whole.shape[2] / 2
    assert (columns.mean() > middle) == bool(flips[2])


def test_examples_are_spread_over_the_bleeds():
    rows = [Row(f"p{n}", None, volume, 0, None, "", {}) for n, volume in enumerate([0, 50, 3, 0, 20, 90])]
    assert example_rows(rows) == [2, 4, 1, 5]
    many = [Row(f"p{n}", None, float(n), 0, None, "", {}) for n in range(100)]
    assert example_rows(many)[0] == 1 and example_rows(many)[-1] == 99 and len(example_rows(many)) == 8
