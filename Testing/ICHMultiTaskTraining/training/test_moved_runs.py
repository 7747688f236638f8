"""A run that begins anew, is moved, or finds other scans than it began with."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.evaluation.cross_validation import gather_folds
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.trainer import Trainer, TrainingError


@pytest.fixture
def cohort(training_manifest, tmp_path):
    """A copy of the cohort that may be changed."""
    shutil.copytree(training_manifest.parent, tmp_path / "cohort")
    return tmp_path / "cohort" / training_manifest.name


def test_run_that_ended_before_a_checkpoint_takes_other_settings(cohort, small_settings, tmp_path):
    """Such as a smaller learning rate after a loss that is not finite, or a table whose unusable row is corrected."""
    manifest = read_manifest(cohort)
    trainer = Trainer(manifest, make_config(**small_settings), tmp_path / "run", "cpu")
    with torch.no_grad():
        trainer.network.stage4[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="there is no checkpoint to continue. A smaller learning_rate"):
        trainer.run()
    cohort.write_text(cohort.read_text() + "\n")
    other = make_config(**small_settings | {"learning_rate": 1e-4, "seed": 5, "validation_fraction": 0.3})
    again = Trainer(read_manifest(cohort), other, tmp_path / "run", "cpu")
    assert len(again.validation_rows) == 6
    again.run(until=1)
    with pytest.raises(InputError, match="found manifest .* learning_rate"):
        Trainer(manifest, make_config(**small_settings), tmp_path / "run", "cpu")


def test_run_that_was_moved_ends_with_the_same_weights(cohort, small_settings, tmp_path):
    """With its table and the model to start from, as to another computer."""
    small = make_config(**small_settings | {"coarse_epochs": [], "epochs": 2}).preprocessing

    def trainer(table, start, run):
        config = make_config(start_from=str(start), coarse_epochs=[], epochs=2)
        return Trainer(read_manifest(table), replace(config, preprocessing=small), run, "cpu")

    start = tiny_bundle(tmp_path / "start")
    whole = trainer(cohort, start, tmp_path / "whole")
    whole.run()
    trainer(cohort, start, tmp_path / "run").run(until=1)
    (tmp_path / "moved").mkdir()
    for name in ("cohort", "start", "run"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    table = tmp_path / "moved" / "cohort" / cohort.name
    start = tmp_path / "moved" / "start"
    resumed = trainer(table, start, tmp_path / "moved" / "run")
    assert resumed.epoch == 1
    resumed.run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    stored = json.loads((tmp_path / "moved" / "run" / "config.json").read_text())
    assert stored["manifest"] == str(table.resolve()) and stored["config"]["start_from"] == str(start)


def test_scans_that_have_changed_are_not_continued(cohort, small_settings, tmp_path):
    """An image exported anew, a mask drawn anew, a scan that could not be read at first: not half a run with each."""
    manifest, config = read_manifest(cohort), make_config(**small_settings)
    broken = manifest.rows[4].image
    whole = broken.read_bytes()
    broken.write_bytes(b"no scan")

    def trainer():
        return Trainer(manifest, config, tmp_path / "run", "cpu", skip_unusable=True)

    trainer().run(until=1)
    trainer()  # the same goes on
    first, second = manifest.rows[0], manifest.rows[1]
    kept = first.image.read_bytes()
    first.image.write_bytes(second.image.read_bytes())
    with pytest.raises(InputError, match=r"scans have changed .* found p0 \(used then, used with other content now\)"):
        trainer()
    first.image.write_bytes(kept)
    broken.write_bytes(whole)
    with pytest.raises(InputError, match=r"found p4 \(left out then, used with other content now\)"):
        trainer()
    broken.write_bytes(b"no scan")
    trainer().run()


def test_folds_of_several_computers_are_gathered_and_half_finished_ones_are_not(cohort, small_settings, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(cohort.parent, copy)
    (tmp_path / "settings.json").write_text(json.dumps(small_settings | {"coarse_epochs": [], "epochs": 1}))
    command = ["train", "--device", "cpu", "--config", str(tmp_path / "settings.json"), "--folds", "2"]
    runs = [str(tmp_path / f"fold-{fold}") for fold in range(2)]
    for fold, table in enumerate((cohort, copy / cohort.name)):
        assert cli.main([*command, str(table), "--output", runs[fold], "--fold", str(fold)]) == 0
    gather = ["gather", *runs, "--output", str(tmp_path / "all")]
    assert cli.main(gather) == 0
    # Trained further, and stopped before its new report.
    config = replace(make_config(**small_settings | {"coarse_epochs": [], "epochs": 2}), fold=1, folds=2)
    Trainer(read_manifest(copy / cohort.name), config, runs[1], "cpu")
    with pytest.raises(InputError, match="Runs are not finished: expected all epochs .* found none in .*fold-1"):
        gather_folds(runs, tmp_path / "all")
