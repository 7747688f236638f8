"""What the training panel is made of, outside the application: a run's folder, the command as a process, curves."""

import json
import os
import runpy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.shell import parse
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.cli.process import CommandProcess, LogReader, command
from ICHMultiTaskTrainingLib.cli.train import read_settings
from ICHMultiTaskTrainingLib.data.manifest import Manifest, Row
from ICHMultiTaskTrainingLib.training import progress_file
from ICHMultiTaskTrainingLib.training.config import TrainingConfig, make_config
from ICHMultiTaskTrainingLib.training.progress_file import followed, is_running, read_progress
from ICHMultiTaskTrainingLib.training.run_folder import RunFolder, check_same_run
from ICHMultiTaskTrainingLib.training.settings_text import (
    assignments,
    changes_of,
    manifest_text,
    parse_settings,
    plan_text,
    problem_lines,
    settings_text,
)

MODULE = Path(__file__).parents[3] / "ICHMultiTaskTraining"


class Shell:
    """Stands for the progress in a shell."""

    def __init__(self):
        self.seen, self.lines = [], []

    def __call__(self, fraction, message):
        self.seen.append((fraction, message))

    def line(self, text):
        self.lines.append(text)


def hold(folder):
    """Another process that is at work in a folder until its input ends."""
    code = (
        f"import sys; sys.path[:0] = {[str(MODULE), str(MODULE.parent / 'ICHMultiTask')]}\n"
        "from ICHMultiTaskTrainingLib.training.progress_file import followed\n"
        "from ICHMultiTaskLib.common.progress import NullProgress\n"
        f"with followed({str(folder)!r}, NullProgress()) as progress:\n"
        "    progress(0.0, 'Epoch 1 of 2'); print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_folder_is_locked_as_long_as_the_process_lives_and_tells_its_progress(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert not run.running and run.progress is None
    process = hold(run.path)
    assert run.running
    assert (run.progress.process, run.progress.message) == (process.pid, "Epoch 1 of 2")
    with pytest.raises(InputError, match=f"another training is running .* in process {process.pid} on "):
        with followed(run.path, Shell()):
            pass
    process.kill()
    process.wait()
    assert not run.running
    with followed(run.path, Shell()):
        pass


def test_run_of_another_process_can_be_stopped_on_this_computer_only(tmp_path, monkeypatch):
    run, process = RunFolder(tmp_path), hold(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        with pytest.raises(InputError, match="expected it on this computer, found it on"):
            run.stop()
    assert process.poll() is None
    run.stop()
    assert process.wait(120) != 0 and not run.running


def test_progress_is_passed_on_and_the_time_left_is_that_of_the_phase(tmp_path, monkeypatch):
    shell, clock = Shell(), [1000.0]
    monkeypatch.setattr(progress_file.time, "time", lambda: clock[0])
    with followed(tmp_path, shell) as progress:
        assert read_progress(tmp_path).seconds_left is None
        for seconds, fraction, message in ((5, 0.05, "Preparing"), (2, 0.075, "Preparing"), (1, 0.1, "Epoch 1")):
            clock[0] += seconds
            progress(fraction, message)
            if fraction == 0.075:
                # A quarter of the preparation in 2 s; the half that was there before costs nothing.
                assert read_progress(tmp_path).seconds_left == pytest.approx(2.0)
        clock[0] += 3
        progress(0.185, "Epoch 1")
        assert read_progress(tmp_path).seconds_left == pytest.approx(27.0), "of the epochs, not of the whole"
        clock[0] += 0.1
        progress(0.2, "ä" * 300)
        assert read_progress(tmp_path).fraction == 0.185, "written too often"
        progress(0.95, "Writing the model")
        assert read_progress(tmp_path).message == "Writing the model", "a new phase is told at once"
        progress(1.0, "ä" * 300)
        assert read_progress(tmp_path).message == "ä" * 200
        progress.line("a line")
    assert shell.seen[2] == (0.1, "Epoch 1") and len(shell.seen) == 7 and shell.lines == ["a line"]


def test_only_the_first_of_several_processes_writes(tmp_path):
    with followed(tmp_path, Shell(), rank=1) as progress:
        progress(0.5, "Epoch 1")
        progress.line("nothing")
    assert list(tmp_path.iterdir()) == []


def test_command_that_fails_leaves_its_sentence_in_the_log(tmp_path):
    log = tmp_path / "log.txt"
    process = CommandProcess(["train", tmp_path / "gone.csv", "--output", tmp_path / "run"], log)
    assert process.wait(120) == 1 and not process.stopped
    assert "does not exist: expected a CSV file" in LogReader(log).lines()[-1]


def test_stop_ends_the_processes_of_the_command_too(tmp_path):
    arguments = ["simulate", "--patients", 400, "--matrix", 256, "--processes", 2, "--output", tmp_path / "cohort"]
    process = CommandProcess(arguments, tmp_path / "log.txt")
    while not (tmp_path / "cohort" / "simulation.json").exists():
        assert process.status is None
        time.sleep(0.05)
    process.stop()
    assert process.wait(120) != 0 and process.stopped
    if sys.platform != "win32":
        end = time.monotonic() + 120
        while alive := states_of_group(process._process.pid):
            assert time.monotonic() < end, alive
            time.sleep(0.05)


def states_of_group(group):
    """States of the processes of a group that have not ended; one that was told to end takes a moment."""
    listed = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True)
    return [state for state in listed.stdout.split() if not state.startswith("Z")]


def test_log_is_read_line_by_line_as_it_grows(tmp_path):
    path = tmp_path / "log.txt"
    reader = LogReader(path)
    assert reader.lines() == []
    text = "eins\r\nMärz 50 mL²\nhalf".encode()
    for n, expected in ((8, ["eins"]), (len(text) - 1, ["März 50 mL²"]), (len(text), [])):
        path.write_bytes(text[:n])
        assert reader.lines() == expected
    with path.open("ab") as file:
        file.write(b" a line\n")
    assert reader.lines() == ["half a line"]


def test_run_inside_slicer_passes_arguments_output_and_status_through(capfd):
    script = Path(cli.__file__).with_name("in_slicer.py")
    main = runpy.run_path(str(script))["main"]  # as the application runs it: not as a part of its package
    assert main(["train"]) == 2
    assert "usage: ichmultitask-train train" in capfd.readouterr().err
    assert main(["evaluate", "--help"]) == 0
    assert "--record" in capfd.readouterr().out


def test_command_keeps_arguments_apart():
    assert command(["train", Path("a b.csv"), "--output", "ä"])[-4:] == ["train", "a b.csv", "--output", "ä"]


def stored(config, manifest):
    return json.loads(json.dumps({"config": config.as_dict(), "manifest": str(manifest.resolve())}))


def test_run_of_other_settings_is_refused_in_words(tmp_path):
    manifest = tmp_path / "manifest.csv"
    config = make_config(epochs=3)
    check_same_run(tmp_path, stored(config, manifest), stored(config, manifest))
    other = stored(replace(config, epochs=5), manifest) | {"processes": 2}
    with pytest.raises(InputError, match="found epochs 3 there and 5 here, processes null there and 2 here"):
        check_same_run(tmp_path, stored(config, manifest), other)
    with pytest.raises(InputError, match="found manifest .*manifest.csv. there and .*b.csv. here"):
        check_same_run(tmp_path, stored(config, manifest), stored(config, tmp_path / "b.csv"))


def test_folder_without_a_run_and_one_that_cannot_be_read(tmp_path):
    run = RunFolder(tmp_path)
    assert (run.stored, run.begun, run.history, run.bundle, run.report) == (None, False, [], None, None)
    (tmp_path / "config.json").write_text("{")
    for content in ("{", "{}", '{"config": {"no_setting": 1}}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match="settings cannot be read: .*config.json with other or damaged content"):
            _ = run.stored


@pytest.mark.skipif(os.name == "nt", reason="there the file is told from a folder only when the run starts")
def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="needs a folder: expected one, found the file .*file"):
        _ = RunFolder(tmp_path / "file").stored


def test_history_is_read_anew_when_it_changes_and_kept_while_it_is_written(tmp_path):
    run, path = RunFolder(tmp_path), tmp_path / "history.json"
    path.write_text(json.dumps([{"epoch": 1}]))
    first = run.history
    assert first == [{"epoch": 1}] and run.history is first
    path.write_text("[{")
    assert run.history == first
    path.write_text(json.dumps([{"epoch": 1}, {"epoch": 2}]))
    assert len(run.history) == 2
    path.unlink()
    assert run.history == []


def test_settings_of_a_run_come_back_from_its_folder(tmp_path):
    changes = {"architecture": {"width": 4, "final_relu": False}, "coarse_epochs": [[2, 1]], "precision": "fp32"}
    config = make_config("default", **changes)
    found = changes_of(stored(config, tmp_path)["config"])
    assert found == changes
    assert parse_settings(settings_text(found)) == changes
    assert changes_of(stored(make_config("paper"), tmp_path)["config"]) == {}


def test_what_a_bundle_determines_is_no_setting_of_the_run(tmp_path):
    config = make_config("paper", start_from="shipped", epochs=2)
    found = changes_of(stored(config, tmp_path)["config"])
    assert found == {"start_from": "shipped", "epochs": 2, "dense_from": "stage3"}  # which may be changed
    assert make_config("paper", **found) == config


@pytest.mark.parametrize(
    "text, message",
    [
        ("epochs", "expected name=value, found 'epochs'"),
        ("a='b", "cannot be read: No closing quotation"),
    ],
)
def test_malformed_settings_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_settings(text)


def test_settings_reach_the_command_as_they_were(tmp_path):
    settings = {"precision": "fp32", "fold": None, "coarse_epochs": [[2, 1]], "augment": False, "start_from": "a b"}
    arguments = ["train", "m.csv", "--output", "run", "--device", "cpu", *_set(settings)]
    options = parse("ichmultitask-train", cli.COMMANDS, arguments, cli.DESCRIPTION)
    assert read_settings(options) == ("default", settings)


def _set(settings):
    return [part for assignment in assignments(settings) for part in ("--set", assignment)]


def test_more_epochs_than_were_chosen_are_explained():
    config = make_config(coarse_epochs=[[4, 3], [2, 0]], epochs=2)
    assert plan_text(config).startswith("5 epochs: first 3 at lower resolution")
    assert plan_text(TrainingConfig(coarse_epochs=[], epochs=1)) == "1 epoch"


def test_problems_of_a_table_stand_in_lines_of_their_own():
    refused = "The manifest m.csv has 2 unusable rows: row 2: image a does not exist; row 7: died must be 0 or 1"
    assert problem_lines(refused) == [
        "The manifest m.csv has 2 unusable rows:", "row 2: image a does not exist", "row 7: died must be 0 or 1",
    ]  # fmt: skip
    assert problem_lines("The table is empty.") == ["The table is empty."]


def test_manifest_in_a_sentence():
    rows = [
        Row("a", Path("1"), 0.0, 0, None, "train", {}),
        Row("a", Path("2"), 10.0, 0, Path("m"), "train", {}),
        Row("b", Path("3"), 50.0, 1, None, "test", {}),
    ]
    assert manifest_text(Manifest(Path("m.csv"), tuple(rows))) == (
        "3 scans of 2 patients, 1 died (33%); volumes 0.0 to 50.0 mL, median 10.0 mL; 1 mask; split: 2 train, 1 test."
    )


HISTORY = [
    {"epoch": n, "volume_loss": 1 / n, "prognosis_loss": None, "mask_loss": 0.0, "validation_mae_ml": 10.0 - n,
     "validation_auc": None if n == 1 else 0.8, "train_mae_ml": 9.0}
    for n in (1, 2, 3)
]  # fmt: skip


def test_curves_are_charts_and_follow_the_history():
    pytest.importorskip("slicer")
    from ICHMultiTaskLib.mrml.scene import create_scene, nodes_of_class
    from ICHMultiTaskTrainingLib.mrml.plots import forget_history, show_history

    scene = create_scene()
    before = scene.GetNumberOfNodes()
    assert show_history(scene, []) == {}
    charts = show_history(scene, HISTORY[:2])
    assert list(charts) == ["Loss", "Mean absolute error (mL)", "AUC of the prognosis"]
    names = {
        title: [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]
        for title, chart in charts.items()
    }
    assert names == {
        "Loss": ["volume"],
        "Mean absolute error (mL)": ["training", "validation"],
        "AUC of the prognosis": ["validation"],
    }
    count = scene.GetNumberOfNodes()
    again = show_history(scene, HISTORY)
    assert again == charts and scene.GetNumberOfNodes() == count
    table = again["Mean absolute error (mL)"].GetNthPlotSeriesNode(1).GetTableNode()
    assert [table.GetCellText(row, 1) for row in range(3)] == ["9", "8", "7"]
    assert again["AUC of the prognosis"].GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 2
    assert not any(node.GetSaveWithScene() for node in nodes_of_class(scene, "vtkMRMLPlotChartNode"))
    table = show_history(scene, HISTORY[:1])["Mean absolute error (mL)"].GetNthPlotSeriesNode(1).GetTableNode()
    assert [table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())] == ["9", "9"], "a line needs two"
    forget_history(scene)
    assert scene.GetNumberOfNodes() == before


def test_lock_is_free_where_nothing_was(tmp_path):
    assert not is_running(tmp_path / "none")
