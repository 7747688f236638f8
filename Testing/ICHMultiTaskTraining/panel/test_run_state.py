"""What the training panel says of a run, and what it does with a finished one; without a window."""

import csv
import json
import shutil
import time

import pytest
import SimpleITK as sitk

pytest.importorskip("slicer")  # for the translation of what is said

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.panel.follow_up import CALIBRATED, FollowUp, check_unseen, comparison_text
from ICHMultiTaskTrainingLib.panel.run_state import (
    finished_text,
    more_epochs,
    preset_for,
    view_of,
)
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.curves import without_auc_of_few
from ICHMultiTaskTrainingLib.training.plan import DONE, NOW, WAITING, plan_of, seconds_of
from ICHMultiTaskTrainingLib.training.progress_file import PREPARED, TRAINED, RunProgress
from ICHMultiTaskTrainingLib.training.run_folder import RunFolder

CONFIG = make_config(coarse_epochs=[[2, 12]], epochs=2)


def progress(fraction, began=0.0, first=None, now=10.0):
    return RunProgress(1, "here", fraction, "Epoch", now, began, fraction if first is None else first)


def epochs(count, seconds=10.0):
    return [{"epoch": n, "reduction": 2 if n <= 12 else 1, "seconds": seconds * (1 if n <= 12 else 4)}
            for n in range(1, count + 1)]  # fmt: skip


def texts(steps):
    return [f"{step.state} {step}" for step in steps]


def test_phases_stand_there_before_the_start_without_minutes():
    assert texts(plan_of(CONFIG, 20)) == [
        "waiting Prepare 20 scans",
        "waiting 12 epochs at half resolution",
        "waiting 2 epochs at full resolution",
        "waiting Calibrate, write the model and the report",
    ]


def test_minutes_follow_as_soon_as_anything_is_measured():
    preparing = plan_of(CONFIG, 20, (), progress(PREPARED / 2, first=0.0))
    assert (preparing[0].state, preparing[0].seconds) == (NOW, 10.0)
    assert [step.seconds for step in preparing[1:]] == [None, None, None]
    # A tenth of the epochs' cost, of which 12 at a quarter and 2 whole ones make 5, took 10 s: a whole one takes 20.
    first = plan_of(CONFIG, 20, (), progress(PREPARED + (TRAINED - PREPARED) / 10, first=PREPARED))
    assert [step.state for step in first] == [DONE, NOW, WAITING, WAITING]
    assert first[2].seconds == pytest.approx(40.0)
    assert first[1].seconds == pytest.approx(55.0), "but for the epoch that goes on"
    done = plan_of(CONFIG, 20, epochs(12))
    assert done[1].state == DONE and done[1].seconds == pytest.approx(120.0)
    assert done[2].seconds == pytest.approx(80.0), "four times those at half resolution"
    assert str(done[2]) == "2 epochs at full resolution: about 1 min"
    finished = plan_of(CONFIG, 20, epochs(14), finished=True)
    assert {step.state for step in finished} == {DONE}
    last = plan_of(CONFIG, 20, epochs(14), progress(TRAINED))
    assert [step.state for step in last] == [DONE, DONE, DONE, NOW]


def test_epoch_that_was_not_measured_costs_what_its_resolution_does():
    assert seconds_of([], 1) is None
    assert seconds_of(epochs(3), 1) == 40.0
    assert seconds_of(epochs(14), 1) == 40.0 and seconds_of(epochs(14), 2) == 10.0


def test_plan_of_a_run_that_began_with_a_model_counts_no_epoch_0():
    config = make_config(coarse_epochs=[], epochs=3)
    history = [{"epoch": 0, "reduction": 1}, {"epoch": 1, "reduction": 1, "seconds": 60.0}]
    assert str(plan_of(config, 5, history)[1]) == "3 epochs at full resolution, 1 done: about 2 min"


@pytest.fixture(scope="module")
def finished(training_manifest, small_settings, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = [f"--set={name}={json.dumps(value)}" for name, value in small_settings.items()]
    assert cli.main(["train", str(training_manifest), "--output", str(folder), "--device", "cpu", *settings]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder(tmp_path / "run")


SETTINGS = ("architecture", "preprocessing", "coarse_epochs", "epochs", "batch_size")


def view(run, training_manifest, **changes):
    stored = run.stored["config"]
    config = make_config(**{name: stored[name] for name in SETTINGS} | changes)
    return view_of(run, lambda: config, read_manifest(training_manifest), True, False)


def test_finished_run_says_what_its_numbers_are_of_and_offers_what_can_be_done(run, training_manifest):
    shown = view(run, training_manifest)
    assert (shown.button, shown.enabled, shown.finished) == ("Finished", False, True)
    assert "on 3 validation patients, too few to judge the model." in shown.text
    assert "AUC 0." not in shown.text and "AUC 1." not in shown.text
    assert "✓ 1 epoch at half resolution" in shown.plan and "report.html" in shown.text


def test_number_from_enough_patients_stands_with_their_count(run):
    path = run.metrics_file
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["volume"] |= {"patients": 60, "mae_ml": 5.04}
    metrics["prognosis"] = (metrics["prognosis"] or {}) | {"patients": 60, "deaths": 12, "auc": 0.807}
    path.write_text(json.dumps(metrics), encoding="utf-8")
    assert "MAE 5.0 mL on 60 validation patients. AUC 0.81 (12 of 60 died)." in finished_text(run)
    metrics["prognosis"]["deaths"] = 9
    path.write_text(json.dumps(metrics), encoding="utf-8")
    assert "No AUC: it needs 10 patients who died and 10 who survived; there are 9 and 51." in finished_text(run)


@pytest.mark.parametrize("lost", ["report", "bundle"])
def test_stop_during_the_report_is_no_dead_end(run, training_manifest, lost):
    shutil.rmtree(run.path / lost)
    shown = view(run, training_manifest)
    assert (shown.button, shown.enabled, shown.finished) == ("Continue", True, False)
    assert "All 2 epochs are done; the model and the report are still to be written" in shown.text


@pytest.mark.slow
def test_continued_after_a_stop_during_the_report_it_is_finished(run, training_manifest):
    shutil.rmtree(run.path / "report")
    settings = [f"--set={name}={json.dumps(run.stored['config'][name])}" for name in SETTINGS]
    arguments = ["train", run.stored["manifest"], "--output", str(run.path), "--device", "cpu", *settings]
    assert cli.main(arguments) == 0
    assert view(run, training_manifest).finished


def test_report_of_an_earlier_model_does_not_count(run, training_manifest):
    metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    metrics["model"]["sha256"] = "0" * 64
    run.metrics_file.write_text(json.dumps(metrics), encoding="utf-8")
    assert not run.finished and view(run, training_manifest).button == "Continue"


def test_finished_run_continues_for_more_epochs(run, training_manifest):
    assert view(run, training_manifest, epochs=3).enabled
    preset, changes = more_epochs(run, 2)
    assert (preset, changes["epochs"]) == ("default", 3)
    with pytest.raises(InputError, match="expected at least 1, found 0"):
        more_epochs(run, 0)
    other = view(run, training_manifest, epochs=3, batch_size=3)
    assert other.failed and "batch_size 4 there and 3 here" in other.text


def test_fine_tune_goes_with_a_model_to_start_from():
    assert preset_for("shipped", "default") == "fine-tune"
    assert preset_for("/a/bundle", "paper") == "paper"
    assert preset_for("", "fine-tune") == "default"
    assert preset_for("", "default") == "default"


def test_curves_and_log_show_no_auc_of_too_few():
    history = [{"epoch": 1, "validation_auc": 1.0, "validation_mae_ml": 3.0}]
    assert without_auc_of_few(history, [1] * 10 + [0] * 10) == history
    few = [1] * 9 + [0] * 30
    assert without_auc_of_few(history, few) == [{"epoch": 1, "validation_auc": None, "validation_mae_ml": 3.0}]


def test_model_is_not_calibrated_on_patients_that_it_knows(run, training_manifest):
    with pytest.raises(InputError, match=r"expected a table of other patients, found 20 of this run \(p0, p1"):
        check_unseen(run, training_manifest)


@pytest.mark.slow
def test_model_is_calibrated_on_other_patients_and_then_is_the_one_to_use(run, training_manifest, tmp_path):
    work = FollowUp(run, "cpu")
    other = tmp_path / "others.csv"
    with training_manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["patient_id"] = "other-" + row["patient_id"]
        for name in ("image", "mask"):
            shutil.copy(training_manifest.parent / row[name], tmp_path)
    with other.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    check_unseen(run, other)
    work.calibrate(other)
    assert work.text == "Calibrating…" and work.bundle == run.bundle
    wait(work)
    assert work.failed and "found 20 of 20" in work.text, "the same images under other names"
    for row in rows:
        image = sitk.ReadImage(str(tmp_path / row["image"]))
        sitk.WriteImage(image + 1, str(tmp_path / row["image"]))
    work.calibrate(other)
    wait(work)
    assert not work.failed, work.text
    assert work.bundle == run.path / CALIBRATED


def test_failure_of_what_follows_is_shown_with_its_reason(run):
    work = FollowUp(run, "cpu")
    (run.path / "report" / "predictions.csv").write_text("patient_id,volume_ml\nnobody,1.0\n", encoding="utf-8")
    work.compare()
    wait(work)
    assert work.failed and "has changed since the run: expected nobody with 1 mL in it" in work.text


@pytest.mark.slow
def test_model_is_compared_with_the_shipped_one(run):
    work = FollowUp(run, "cpu")
    work.compare()
    wait(work)
    assert not work.failed, work.text
    assert "On 3 validation patients this model's MAE is" in work.text and "too few to tell" in work.text


def wait(work):
    end = time.monotonic() + 300
    while work.running:
        assert time.monotonic() < end
        work.follow()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "interval, patients, said",
    [
        ([-3.0, -1.0], 40, "this model is better."), ([1.0, 3.0], 40, "this model is worse."),
        ([-1.0, 3.0], 40, "no difference beyond chance."), ([-3.0, -1.0], 9, "too few to tell which is better."),
    ],
)  # fmt: skip
def test_comparison_in_sentences(interval, patients, said):
    one = {"name": "own 1", "patients": patients + 3, "mae_ml": 4.0, "auc": 0.75}
    other = one | {"name": "ich 0.4.0", "mae_ml": 6.0, "auc": 0.72}  # these AUCs are not of the same patients
    other["volume"] = {"patients": patients, "mae_difference_ml_interval": interval}
    other["prognosis"] = {"auc_first": 0.8, "auc_other": 0.7, "auc_difference": 0.1} | {
        "patients": patients,
        "deaths": 12 if patients == 40 else 2,
    }
    text = comparison_text({"first": one, "others": [other]})
    assert f"On {patients} validation patients this model's MAE is 4.0 mL, ich 0.4.0's 6.0 mL" in text and said in text
    assert ("AUC 0.80 against 0.70 (12 of 40 died)." in text) == (patients == 40)
    assert ("No AUC" in text) == (patients == 9)
