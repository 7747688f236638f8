"""A run that is killed, runs out of disk or loses a file: it says so and goes on as if nothing had happened."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data.cache import CachedScans, prepare_all
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.checkpoint import save_checkpoint
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.trainer import Trainer

KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import torch
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.training import optimization, trainer as training
torch.set_num_threads(1)
training.CHECKPOINT_SECONDS = 0.0
where, count = {where!r}, 0

def torn(file):
    os.ftruncate(file, os.fstat(file).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)

real = optimization.Optimization.step
def step(self):
    global count
    count += 1
    if where == "after a checkpoint within an epoch" and count == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    if where == "while a checkpoint is written" and count == 5:
        os.fsync = torn
    real(self)
optimization.Optimization.step = step
cli.main({arguments!r})
"""


@pytest.fixture(scope="module")
def uninterrupted(training_manifest, small_settings, tmp_path_factory):
    """Its last checkpoint, and the scans that it has prepared."""
    run = tmp_path_factory.mktemp("uninterrupted")
    Trainer(read_manifest(training_manifest), make_config(**small_settings), run, "cpu").run()
    return torch.load(run / "latest.pt", weights_only=True), run / "cache"


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of Unix")
@pytest.mark.parametrize("where", ["after a checkpoint within an epoch", "while a checkpoint is written"])
def test_killed_run_is_continued_and_ends_with_the_same_weights(
    where, uninterrupted, training_manifest, small_settings, tmp_path
):
    run, (expected, cache) = tmp_path / "run", uninterrupted
    (tmp_path / "settings.json").write_text(json.dumps(small_settings))
    arguments = ["train", str(training_manifest), "--device", "cpu", "--config", str(tmp_path / "settings.json")]
    arguments += ["--output", str(run), "--cache", str(cache)]
    code = KILLED.format(path=sys.path, where=where, arguments=arguments)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    left = torch.load(run / "latest.pt", weights_only=True)
    assert (left["epoch"], left["step"]) == {"after a checkpoint within an epoch": (1, 2)}.get(where, (1, 0))
    torn = list(run.glob(".ichmultitask-*"))
    assert len(torn) == (where == "while a checkpoint is written")

    Trainer(read_manifest(training_manifest), make_config(**small_settings), run, "cpu", cache=cache).run()
    found = torch.load(run / "latest.pt", weights_only=True)
    for name, value in expected["network"].items():
        assert torch.equal(value, found["network"][name]), name
    for before, after in zip(expected["history"], found["history"], strict=True):
        clock = {"seconds": 0, "ended": 0}
        assert before | clock == after | clock
    assert not list(run.rglob(".ichmultitask-*"))


def test_checkpoint_and_settings_of_the_first_version_are_continued(training_manifest, small_settings, tmp_path):
    manifest, config = read_manifest(training_manifest), make_config(**small_settings)
    whole = Trainer(manifest, config, tmp_path, "cpu")
    reductions, whole.reductions = whole.reductions, whole.reductions[:1]
    whole.run()
    state = torch.load(tmp_path / "latest.pt", weights_only=True)
    first_keys = ("network", "mask_loss", "optimizer", "scheduler", "epoch", "history")
    state = {key: state[key] for key in first_keys}
    losses = ("epoch", "volume_loss", "prognosis_loss", "mask_loss", "validation_mae_ml", "validation_auc")
    state["history"] = [{key: entry[key] for key in losses} for entry in state["history"]]
    save_checkpoint(state, tmp_path / "latest.pt")
    settings = json.loads((tmp_path / "config.json").read_text())
    for name in ("accumulate", "precision", "tasks", "start_from", "frozen_encoder", "fold", "folds"):
        del settings["config"][name]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    whole.reductions = reductions
    whole.run()
    resumed = Trainer(manifest, config, tmp_path, "cpu")
    assert resumed.epoch == 2
    save_checkpoint(state, tmp_path / "latest.pt")
    resumed = Trainer(manifest, config, tmp_path, "cpu")
    assert resumed.epoch == 1
    resumed.run()
    expected = whole.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.network.state_dict().items())


def test_damaged_checkpoint_is_named(training_manifest, small_settings, tmp_path):
    start = read_manifest(training_manifest), make_config(**small_settings), tmp_path, "cpu"
    Trainer(*start)
    (tmp_path / "latest.pt").write_bytes(b"\x00" * 100)
    # By kills while the model and the report were written, for the first time or again.
    left = [tmp_path / name / ".ichmultitask-0.partial" for name in ("", "bundle", "bundle-best", "report")]
    for folder in left:
        (folder / "models").mkdir(parents=True)
    with pytest.raises(InputError, match="checkpoint .*latest.pt is damaged: expected .* delete it"):
        Trainer(*start)
    assert not any(folder.exists() for folder in left)


def test_folder_with_other_files_is_not_a_run(training_manifest, small_settings, tmp_path):
    (tmp_path / "history.json").write_text("mine")
    with pytest.raises(OutputError, match="contains history.json, but no run"):
        Trainer(read_manifest(training_manifest), make_config(**small_settings), tmp_path, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


@contextlib.contextmanager
def file_size_limit(size):
    """No file may be larger; more is refused as by a full disk. Ends within the test: pytest may write to a file."""
    resource = pytest.importorskip("resource", reason="limits of file size are of Unix")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_full_disk_keeps_the_last_checkpoint(training_manifest, small_settings, tmp_path):
    manifest, config = read_manifest(training_manifest), make_config(**small_settings)
    trainer = Trainer(manifest, config, tmp_path, "cpu")
    reductions, trainer.reductions = trainer.reductions, trainer.reductions[:1]
    trainer.run()
    good = (tmp_path / "latest.pt").read_bytes()
    trainer.reductions = reductions
    with (
        file_size_limit(len(good) // 2),
        pytest.raises(OutputError, match="disk is full: .*latest.pt could not be written"),
    ):
        trainer.run()
    assert (tmp_path / "latest.pt").read_bytes() == good
    assert not list(tmp_path.rglob(".ichmultitask-*"))


def test_full_disk_while_scans_are_prepared(training_manifest, small_settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ICHMultiTaskTrainingLib.training.trainer.prepare_all", prepare_all)  # none is prepared yet
    (tmp_path / "settings.json").write_text(json.dumps(small_settings))
    command = ["train", str(training_manifest), "--output", str(tmp_path / "run"), "--device", "cpu"]
    with file_size_limit(3000):
        status = cli.main([*command, "--config", str(tmp_path / "settings.json")])
    assert status == 1 and "disk is full" in capsys.readouterr().err
    cache = tmp_path / "run" / "cache"
    assert cache.is_dir() and not list(cache.iterdir())


def test_vanished_scan_and_vanished_or_damaged_prepared_scan_are_named(training_manifest, small_settings, tmp_path):
    from dataclasses import replace

    rows = read_manifest(training_manifest).rows[:3]
    settings = make_config(**small_settings).preprocessing
    gone = [rows[0], replace(rows[1], image=tmp_path / "gone.nii.gz"), replace(rows[2], mask=tmp_path / "lost.nii.gz")]
    with pytest.raises(InputError, match="2 of 3 scans .*p1: .*gone.nii.gz cannot be read: No such.*p2: .*lost.nii.gz"):
        prepare_all(gone, settings, tmp_path / "cache")
    files = prepare_all(rows, settings, tmp_path / "cache")
    files[1].write_bytes(files[1].read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{files[1].name} is missing or damaged"):
        CachedScans(rows, files)
    files[1].unlink()
    with pytest.raises(InputError, match=f"{files[1].name} is missing or damaged"):
        CachedScans(rows, files)
