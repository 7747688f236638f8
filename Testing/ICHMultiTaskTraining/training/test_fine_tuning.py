"""Runs that start from a model: they never give back less than they began with, and say what they were made from."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.analysis import analyzer as analyzer_module
from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.averaging import average_bundles
from ICHMultiTaskTrainingLib.bundles.export import export_bundle
from ICHMultiTaskTrainingLib.bundles.model_card import model_card, record_metrics
from ICHMultiTaskTrainingLib.bundles.recalibration import outlined_volumes
from ICHMultiTaskTrainingLib.cli.train import add_arguments, read_settings
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.lineage import death_weight, uncalibrated
from ICHMultiTaskTrainingLib.training.run_folder import RunFolder, check_start, claim_run
from ICHMultiTaskTrainingLib.training.selection import largest_sure, mean_state
from ICHMultiTaskTrainingLib.training.trainer import Trainer
from ICHMultiTaskTrainingLib.training.validation import best_entry, score


@pytest.fixture(scope="module")
def start(training_manifest, small_settings, tmp_path_factory):
    """The bundle of a short run, in 8 bits, with a correction and a calibrated probability."""
    folder = tmp_path_factory.mktemp("start")
    config = make_config(**small_settings | {"coarse_epochs": [], "epochs": 2})
    trainer = Trainer(read_manifest(training_manifest), config, folder / "run", "cpu")
    trainer.run()
    bundle = export_bundle(trainer, folder / "bundle", "first", "1.2.3", "twenty balls", "train")
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    metadata["license"] = "CC-BY-4.0"
    metadata["calibration"] |= {
        "volume_correction": {"slope": 1.1, "offset_cm": -0.05, "softening_ml": 1.0}, "temperature": 2.0, "bias": -0.5,
    }  # fmt: skip
    state = bundle.network().state_dict()
    return save_bundle(folder / "bundle", state, metadata, "card", overwrite=True, weights="int8")


def fine_tune(manifest, start, folder, preset="fine-tune", **changes):
    config = make_config(preset, **{"start_from": str(start.folder), "epochs": 1} | changes)
    trainer = Trainer(read_manifest(manifest), config, folder, "cpu")
    trainer.run()
    return trainer


def test_mask_loss_is_left_out_unless_requested(start):
    here = str(start.folder)
    assert make_config(start_from=here).mask_weight == 0
    assert make_config(start_from=here, mask_weight=0.5).mask_weight == 0.5
    assert make_config().mask_weight == 1


def test_a_hospital_without_deaths_can_fine_tune_the_volume(training_manifest, start):
    manifest = read_manifest(training_manifest)
    manifest = replace(manifest, rows=tuple(replace(row, died=0) for row in manifest.rows))
    check_start(manifest, make_config("fine-tune", start_from=str(start.folder)))
    with pytest.raises(InputError, match="no patient died of 20"):
        check_start(manifest, make_config("fine-tune", start_from=str(start.folder), prognosis_weight=0.2))


def test_epoch_0_is_the_start_as_it_is(training_manifest, start, tmp_path):
    lines = []
    config = make_config("fine-tune", start_from=str(start.folder), epochs=1)
    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu", log=lines.append)
    volumes = [
        start.volume_ml(output, crop)
        for output, crop in zip(_outputs(start, trainer.validation), trainer.validation.crop_volume_mm3)
    ]
    trainer.run()
    first = trainer.history[0]
    assert first["epoch"] == 0 and "volume_loss" not in first
    # As the bundle reads it, correction included; its weights have 16 bits.
    expected = np.abs(np.array(volumes) - trainer.validation.volume_ml).mean()
    assert first["validation_mae_ml"] == pytest.approx(expected, rel=1e-3)
    assert lines[0].startswith("Epoch 0 of 1: the unchanged start; validation MAE")
    assert [entry["epoch"] for entry in json.loads((tmp_path / "history.json").read_text())] == [0, 1]


def _outputs(bundle, scans):
    images = torch.from_numpy(scans.images).float().div(255)[:, None]
    with torch.no_grad():
        return bundle.network()(images)[0].numpy()


def test_frozen_norms_keep_the_statistics_of_the_start(training_manifest, start, tmp_path):
    for frozen in (True, False):
        trainer = fine_tune(training_manifest, start, tmp_path / str(frozen), frozen_norm=frozen, frozen_encoder=False)
        state, before = trainer.network.state_dict(), start.network().state_dict()
        statistics = [name for name in state if name.endswith(("running_mean", "running_var"))]
        kept = [torch.equal(state[name], before[name]) for name in statistics]
        assert all(kept) if frozen else not any(kept)


def test_anchor_pulls_toward_the_start(training_manifest, start, tmp_path):
    """So strong a pull that each step is taken back whole."""
    free, held = (
        fine_tune(training_manifest, start, tmp_path / str(anchor), anchor=anchor, learning_rate=1e-3)
        for anchor in (0.0, 1e9)
    )
    name, before = "volume_head.dense.weight", start.network().state_dict()
    moved = [(t.network.state_dict()[name] - before[name]).abs().max() for t in (free, held)]
    assert moved[0] > 1e-4 and moved[1] < 1e-6


@pytest.mark.parametrize("preset", ["default", "fine-tune"])
def test_run_that_ended_worse_gives_the_start_and_says_so(training_manifest, start, tmp_path, preset, capsys):
    settings = tmp_path / "settings.json"
    changes = {"start_from": str(start.folder), "epochs": 1, "learning_rate": 0.3, "coarse_epochs": []}
    # So long a step that no part of the way is better than the start.
    changes |= {"anchor": 0.0, "learning_rate": 30.0} if preset == "fine-tune" else {}
    settings.write_text(json.dumps(changes))
    command = ["train", str(training_manifest), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main([*command, "--preset", preset, "--config", str(settings)]) == 0
    said = capsys.readouterr()
    assert "Training did not improve the model" in said.out + said.err
    bundle = ModelBundle.load(tmp_path / "run" / "bundle")
    assert bundle.metadata["calibration"] == start.metadata["calibration"]
    expected = start.network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in bundle.network().state_dict().items())
    # Its name, version, license and training data are its own and name the start's.
    assert (bundle.name, bundle.version, bundle.metadata["license"]) == ("first-fine-tuned", "0.1.0", "CC-BY-4.0")
    assert bundle.training_data.startswith("twenty balls; fine-tuned on ")
    (origin,) = bundle.metadata["derived_from"]
    assert (origin["name"], origin["version"], origin["sha256"]) == ("first", "1.2.3", start.sha256)
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Training did not improve the model" in card and "Fine-tuned from first 1.2.3 (license CC-BY-4.0" in card
    assert "Fine-tuned from first 1.2.3 (CC-BY-4.0)" in (bundle.folder / "LICENSE").read_text(encoding="utf-8")
    assert RunFolder(tmp_path / "run").finished


def test_mean_with_the_start():
    start, end = ({"a": torch.tensor([value]), "n": torch.tensor(7)} for value in (1.0, 3.0))
    assert mean_state(start, end, 0.25)["a"] == 1.5 and mean_state(start, end, 1.0)["a"] == 3.0


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (-0.10, 0.04, 1.0),
        (-0.10, 0.07, 0.5),  # the whole way and three quarters would have to be better by two standard errors
        (-0.10, 0.11, 0.0),
        (0.10, 0.01, 0.0),
    ],
)
def test_a_half_way_is_taken_sooner_than_the_whole(mean, error, expected):
    """Changes that grow with the share, of five patients."""
    shape = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    spread = shape / shape.std(ddof=1) * np.sqrt(5)
    share, by = largest_sure(lambda share: share * (mean + error * spread))
    assert share == expected and by == pytest.approx(expected * mean)


def test_one_held_out_patient_proves_nothing():
    assert largest_sure(lambda share: np.array([-1.0])) == (0.0, 0.0)


def test_calibration_of_the_start_is_kept_below_the_floors(training_manifest, start, tmp_path):
    trainer = fine_tune(training_manifest, start, tmp_path, mix_with_start=False)
    choice = replace(trainer.choose(), is_start=False)
    found = trainer.calibration(choice)
    assert found["volume_interval"] is None  # of six patients
    assert found["volume_correction"] == start.metadata["calibration"]["volume_correction"]
    assert (found["temperature"], found["bias"]) == (2.0, -0.5)
    assert len(found["notes"]) == 3


def test_a_run_reads_volumes_twice_as_its_start_does(training_manifest, start, tmp_path, monkeypatch):
    outline = {"weight": 0.75, "correction": {"knots_cm": [[1.0, 1.0], [2.0, 2.1]], "softening_ml": 1.0}}
    metadata = {key: value for key, value in start.metadata.items() if key != "sha256"}
    metadata["calibration"] = {**metadata["calibration"], "outline": outline}
    twice = save_bundle(tmp_path / "twice", start.network().state_dict(), metadata, "card")
    trainer = fine_tune(training_manifest, twice, tmp_path / "run")
    choice = replace(trainer.choose(), is_start=False)
    monkeypatch.setattr(analyzer_module, "decide", lambda *of: (Hemorrhage.FOUND, ""))
    bundle = export_bundle(trainer, tmp_path / "bundle", None, None, None, "train", choice)
    calibration = bundle.metadata["calibration"]
    assert calibration["outline"] == outline
    outlined = outlined_volumes(Analyzer(bundle, "cpu"), trainer.validation_rows)
    assert np.isfinite(outlined).any()
    assert calibration == trainer.calibration(choice, outlined) != trainer.calibration(choice)


def test_deaths_that_weigh_more_are_weighed_back():
    """One death in five counts fourfold: the odds come out four times too high."""
    died = np.arange(100) % 5 == 0
    config = make_config()
    assert death_weight(config, died) == pytest.approx(4.0)
    assert uncalibrated(config, died) == {"temperature": 1.0, "bias": pytest.approx(-np.log(4.0))}
    for other in (make_config("paper"), make_config(death_weighting=False), make_config(outcome="risk")):
        assert death_weight(other, died) == 1.0


def test_best_epoch_is_of_both_heads_at_full_resolution():
    def entry(epoch, volume, prognosis, reduction=1):
        return {"epoch": epoch, "reduction": reduction, "validation_volume_loss": volume,
                "validation_prognosis_loss": prognosis}  # fmt: skip

    history = [entry(1, 0.01, 0.01, 2), entry(2, 0.04, 0.5), entry(3, 0.02, 0.6), entry(4, 0.019, 0.9)]
    assert best_entry(history)["epoch"] == 3
    assert score(history[2]) == pytest.approx(np.log(0.02 * 0.6) / 2)
    assert score({"validation_volume_loss": 0.02, "validation_prognosis_loss": None}) == pytest.approx(np.log(0.02))


def test_run_stops_early_and_takes_its_best_epoch(training_manifest, small_settings, tmp_path):
    changes = {"coarse_epochs": [], "epochs": 30, "patience": 2, "learning_rate": 0.02, "schedule": "constant"}
    config = make_config(**small_settings | changes)
    lines = []
    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu", log=lines.append)
    trainer.run()
    last, best = trainer.history[-1], best_entry(trainer.history)
    assert last["epoch"] == best["epoch"] + 2 < 30 and last["stopped_early"]
    assert lines[-1].endswith(f"stopped, since no epoch was better than epoch {best['epoch']}")
    choice = trainer.choose()
    assert choice.entry is best and "evaluate it on other" in choice.note
    expected = torch.load(tmp_path / "best.pt", weights_only=True)["network"]
    assert all(torch.equal(value, expected[name]) for name, value in choice.state.items())
    again = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu")
    again.run()
    assert len(again.history) == len(trainer.history)
    more = replace(config, epochs=40)
    with pytest.raises(
        InputError, match="stopped early, after epoch .* more patience, found more epochs .40., with which"
    ):
        Trainer(read_manifest(training_manifest), more, tmp_path, "cpu")
    assert RunFolder(tmp_path).stored["config"]["epochs"] == 30


def test_changed_table_is_not_continued(training_manifest, small_settings, tmp_path):
    table = training_manifest.with_name("edited.csv")
    table.write_bytes(training_manifest.read_bytes())
    config = make_config(**small_settings)
    claim_run(tmp_path, read_manifest(table), config)
    (tmp_path / "latest.pt").touch()
    claim_run(tmp_path, read_manifest(table), config)  # the same goes on
    table.write_bytes(training_manifest.read_bytes().replace(b",1,", b",0,", 1))
    with pytest.raises(InputError, match="found manifest .SHA-256 .* there and .SHA-256 .* here"):
        claim_run(tmp_path, read_manifest(table), config)


def test_bundle_without_a_record_of_its_training(tmp_path):
    bundles = [tiny_bundle(tmp_path / str(n)) for n in range(2)]
    mean = average_bundles(bundles, tmp_path / "mean")
    card = (mean.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert (mean.name, mean.version) == ("tiny-averaged", "0.1.0") and "Averaged from tiny 0.0.1" in card
    assert "not recorded" in model_card(ModelBundle.load(bundles[0]).metadata)
    assert "not recorded" in (record_metrics(ModelBundle.load(bundles[0]), {"volume": None, "prognosis": None,
        "attention": None}).folder / "docs" / "README.md").read_text(encoding="utf-8")  # fmt: skip


@pytest.mark.parametrize(("device", "options", "expected"), [
    ("cpu", [], "default"), ("cuda", [], "gpu"), ("cuda", ["--preset", "paper"], "paper"),
])  # fmt: skip
def test_the_preset_is_that_of_the_device_unless_it_is_named(monkeypatch, device, options, expected):
    monkeypatch.setattr("ICHMultiTaskLib.model.runtime.choose_device", lambda name: device)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    preset, settings = read_settings(parser.parse_args(["m.csv", "--output", "run", *options]))
    assert preset == expected
    assert make_config(preset, **settings).preset == expected


def test_settings_of_a_run_are_taken_again_and_nested_ones_one_by_one(tmp_path):
    config = make_config("paper", **{"architecture.width": 8, "preprocessing.shape_kji": [16, 64, 64]})
    assert config.architecture["width"] == 8 and config.architecture["stem_stride"] == 2
    (tmp_path / "config.json").write_text(json.dumps({"config": config.as_dict(), "manifest": "m.csv"}))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    command = ["m.csv", "--output", "run", "--config", str(tmp_path / "config.json")]
    preset, settings = read_settings(parser.parse_args([*command, "--set", "architecture.width=4"]))
    again = make_config(preset, **settings)
    assert again == replace(config, architecture=config.architecture | {"width": 4})
    with pytest.raises(InputError, match="presets differ: expected one, found default in --preset and paper in .*json"):
        read_settings(parser.parse_args([*command, "--preset", "default"]))
    with pytest.raises(InputError, match="presets differ: expected one, found paper in --preset and gpu in --set"):
        read_settings(parser.parse_args(["m.csv", "--output", "run", "--preset", "paper", "--set", "preset=gpu"]))
    assert read_settings(parser.parse_args(["m.csv", "--output", "run", "--set", "preset=paper"])) == ("paper", {})
    with pytest.raises(InputError, match="setting architecture.depth is unknown: expected architecture of netw"):
        make_config(**{"architecture.depth": 3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--folds", "5"], "no effect without the fold that is held out: expected --fold with it"),
        (["--set", "folds=3"], "no effect without the fold"),
        (
            ["--fold", "0", "--set", "validation_fraction=0.3"],
            "expected one of both, found fold 0 and validation_fract",
        ),
    ],
)
def test_who_is_held_out_is_said_once(options, words):
    """With the number of folds alone, one run held out other patients, and was taken for a cross-validation."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InputError, match=words):
        read_settings(parser.parse_args(["m.csv", "--output", "run", *options]))


def test_finished_run_continues_for_more_epochs(training_manifest, small_settings, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(small_settings | {"coarse_epochs": [], "epochs": 1}))
    command = ["train", str(training_manifest), "--output", str(tmp_path / "run"), "--device", "cpu",
               "--cache", str(tmp_path / "cache"), "--config", str(settings)]  # fmt: skip
    assert cli.main(command) == 0
    run = RunFolder(tmp_path / "run")
    assert run.finished and run.epochs_done == 1 and not (tmp_path / "run" / "cache").exists()
    prepared = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert cli.main([*command, "--set", "epochs=2"]) == 0
    run = RunFolder(tmp_path / "run")
    assert run.finished and run.epochs_done == 2 and run.stored["config"]["epochs"] == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == prepared
    assert cli.main([*command, "--set", "epochs=3", "--set", "batch_size=2"]) == 1
