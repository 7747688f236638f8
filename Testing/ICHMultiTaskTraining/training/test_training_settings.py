"""Settings of a run: single tasks, a bundle to start from, frozen encoder, accumulation, number formats, folds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.common.errors import BundleError, InputError
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle, save_bundle
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.runtime import Runtime
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.export import export_bundle
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.data.splits import split_rows
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.learner import Learner, choose_runtime
from ICHMultiTaskTrainingLib.training.trainer import Trainer, TrainingError


def train(manifest, folder, settings, **changes):
    """A finished run."""
    trainer = Trainer(read_manifest(manifest), make_config(**settings | {"coarse_epochs": []} | changes), folder, "cpu")
    trainer.first = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    return trainer


def changed(trainer):
    """Names of the network's parts whose weights or statistics were changed by training."""
    state = trainer.network.state_dict()
    return {name.split(".")[0] for name, value in trainer.first.items() if not torch.equal(value, state[name])}


@pytest.fixture(scope="module")
def upstream(training_manifest, small_settings, tmp_path_factory):
    """The folder of a run of the volume alone, by command."""
    folder = tmp_path_factory.mktemp("upstream")
    settings = small_settings | {"coarse_epochs": [], "tasks": "volume"}
    (folder / "settings.json").write_text(json.dumps(settings))
    command = ["train", str(training_manifest), "--output", str(folder), "--device", "cpu"]
    assert cli.main([*command, "--config", str(folder / "settings.json")]) == 0
    return folder


def test_single_task_leaves_the_other_head_alone_and_its_bundle_says_so(upstream, small_settings):
    (entry,) = json.loads((upstream / "history.json").read_text())
    assert entry["prognosis_loss"] is None and entry["validation_auc"] is None and entry["validation_mae_ml"] > 0
    bundle = ModelBundle.load(upstream / "bundle")
    assert bundle.training_data.endswith("only for the volume: its prognosis is meaningless")
    assert bundle.probability(5.0) == pytest.approx(bundle.probability(-5.0), abs=1e-5)
    torch.manual_seed(make_config().seed)
    expected = build_network(small_settings["architecture"]).prognosis_head.dense.weight
    torch.testing.assert_close(bundle.network().prognosis_head.dense.weight, expected.half().float())
    page = (upstream / "report" / "report.html").read_text()
    assert "Hematoma volume" in page and "<h2>Prognosis</h2>" not in page


def test_prognosis_alone_gives_no_interval(training_manifest, small_settings, tmp_path):
    trainer = train(training_manifest, tmp_path, small_settings, tasks="prognosis", mask_weight=0.0)
    assert changed(trainer) == {"stem", "stage1", "stage2", "stage3", "stage4", "prognosis_head"}
    assert trainer.history[0]["volume_loss"] is None and trainer.history[0]["validation_mae_ml"] is None
    assert trainer.calibration(trainer.choose())["volume_interval"] is None


def test_second_step_starts_from_the_weights_of_the_first(upstream, training_manifest, tmp_path):
    bundle = ModelBundle.load(upstream / "bundle")
    config = make_config(start_from=str(upstream / "bundle"), coarse_epochs=[], epochs=1)
    assert config.bundle_architecture() == bundle.metadata["architecture"] and config.target == "fraction_percent"
    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu")
    expected = bundle.network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trainer.network.state_dict().items())
    with pytest.raises(
        InputError, match="setting target cannot differ .* expected fraction_percent, found cube_root_ml"
    ):
        make_config(start_from=str(upstream / "bundle"), target="cube_root_ml")
    with pytest.raises(BundleError, match="not a model bundle"):
        make_config(start_from=str(tmp_path / "none"))
    with pytest.raises(
        InputError, match="prognosis would not be trained: .* or tasks=volume for a model of the volume"
    ):
        make_config("fine-tune", start_from=str(upstream / "bundle"))
    shipped = ModelBundle.load(default_bundle())
    assert make_config(start_from="shipped").bundle_architecture() == shipped.metadata["architecture"]


def test_a_head_that_the_start_lacks_is_not_given_up_with_the_trained_weights(
    upstream, training_manifest, tmp_path, monkeypatch
):
    """The paper's second step: a start without a prognosis, given back, would show one that nobody trained."""
    monkeypatch.setattr("ICHMultiTaskTrainingLib.training.selection.score", lambda entry: entry["epoch"])  # ended worse
    heads = {}
    for name, start, tasks in (("second", upstream / "bundle", "both"), ("third", tmp_path / "second", "volume")):
        config = make_config(start_from=str(start), tasks=tasks, coarse_epochs=[], epochs=1)
        trainer = Trainer(read_manifest(training_manifest), config, tmp_path / f"run-{name}", "cpu")
        trainer.run()
        bundle = export_bundle(trainer, tmp_path / name, name, None, None, "", choice := trainer.choose())
        heads[name] = choice.is_start, bundle.tasks, "meaningless" in bundle.training_data
    # The third could be given back, and has both heads of its start.
    assert heads == {"second": (False, ("volume", "prognosis"), False), "third": (True, ("volume", "prognosis"), False)}


def test_a_head_that_the_start_lacks_is_not_pulled_toward_it(upstream):
    for pull in ({"anchor": 1.0}, {"mix_with_start": True}):
        with pytest.raises(
            InputError, match="prognosis of the model to start from was not trained: expected .* found anch"
        ):
            make_config(start_from=str(upstream / "bundle"), **pull)
        make_config(start_from=str(upstream / "bundle"), tasks="volume", **pull)


def test_run_is_not_continued_from_another_bundle(training_manifest, small_settings, tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    changes = {"start_from": str(bundle), "preprocessing": {}, "coarse_epochs": [], "epochs": 1}
    settings = make_config(**changes)
    manifest = read_manifest(training_manifest)
    settings = replace(settings, preprocessing=small_settings["preprocessing"])
    Trainer(manifest, settings, tmp_path / "run", "cpu").run(until=0)
    metadata = ModelBundle.load(bundle).metadata
    state = {name: value * 2 for name, value in ModelBundle.load(bundle).network().state_dict().items()}
    save_bundle(bundle, state, metadata, "# Tiny\n", overwrite=True)
    with pytest.raises(InputError, match="belongs to a run with other settings"):
        Trainer(manifest, settings, tmp_path / "run", "cpu")


def test_frozen_encoder_trains_the_heads_alone(upstream, training_manifest, small_settings, tmp_path):
    changes = {"start_from": str(upstream / "bundle"), "frozen_encoder": True, "epochs": 1, "learning_rate": 0.1}
    settings = {"batch_size": 4}
    trainer = train(training_manifest, tmp_path, settings, **changes)
    assert changed(trainer) == {"volume_head", "prognosis_head"}
    with pytest.raises(
        InputError, match="frozen_encoder needs trained weights.*expected start_from with a trained bundle"
    ):
        make_config(frozen_encoder=True)


def test_accumulated_batches_are_one_step(upstream, training_manifest, tmp_path):
    # With a frozen encoder no batch norm sees how the rows of a step are spread over batches.
    changes = {"start_from": str(upstream / "bundle"), "frozen_encoder": True, "epochs": 2, "learning_rate": 0.1}
    whole = train(training_manifest, tmp_path / "a", {}, batch_size=6, augment=False, **changes)
    parts = train(training_manifest, tmp_path / "b", {}, batch_size=2, accumulate=3, augment=False, **changes)
    assert whole.batches.steps == parts.batches.steps == 3
    for name in ("volume_loss", "prognosis_loss", "train_mae_ml", "train_mse_ml2", "validation_mae_ml"):
        assert parts.history[1][name] == pytest.approx(whole.history[1][name], rel=1e-4), name
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_scans_kept_on_the_device_and_losses_read_rarely_change_nothing(
    training_manifest, small_settings, tmp_path, monkeypatch
):
    """As on a GPU, which would wait for a copy of each batch and for each reading."""
    expected = train(training_manifest, tmp_path / "a", small_settings)
    config = make_config(**small_settings | {"coarse_epochs": []})
    other = Trainer(read_manifest(training_manifest), config, tmp_path / "b", "cpu")
    for scans in (other.scans, other.validation):
        scans.keep_on("cpu")
    other.read_every, reads, read = 3, [], other._read
    monkeypatch.setattr(other, "_read", lambda: reads.append(other.step + 1) or read())
    other.run()
    steps = other.batches.steps
    assert reads == [*range(3, steps, 3), steps] * config.epochs and 3 < steps
    found = other.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.network.state_dict().items())
    for name in ("volume_loss", "prognosis_loss", "mask_loss", "train_mae_ml", "train_mse_ml2"):
        assert other.history[-1][name] == pytest.approx(expected.history[-1][name], rel=1e-6), name


def test_non_finite_values_stop_the_training(training_manifest, small_settings, tmp_path):
    trainer = Trainer(read_manifest(training_manifest), make_config(**small_settings), tmp_path, "cpu")
    trainer.read_every = 1000
    trainer.network.stage4[2].conv2.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="is not finite in epoch 1: expected a number, found nan"):
        trainer.run()
    assert not (tmp_path / "latest.pt").exists()


def test_number_formats(small_settings):
    assert choose_runtime("auto", "cpu").dtype == torch.float32
    with pytest.raises(InputError, match="expected auto or fp32 on a CPU, found bf16"):
        choose_runtime("bf16", "cpu")
    learner = Learner(build_network(small_settings["architecture"]), choose_runtime("fp32", "cpu")).eval()
    images = torch.rand(2, 1, 8, 32, 32)
    occupancy, has_mask = torch.zeros(2, 1, 8, 8, 8), torch.zeros(2, dtype=bool)
    full = learner(images, occupancy, has_mask, 1)[0]
    learner.runtime = Runtime("cpu", torch.bfloat16)
    half = learner(images, occupancy, has_mask, 1)[0]
    # The encoder ran in bf16 indeed, the heads and their outputs in float32.
    assert half.dtype == torch.float32 and not torch.equal(half, full)


def test_gradient_that_is_not_finite_stops(training_manifest, small_settings, tmp_path):
    config = make_config(**small_settings)
    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu")
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    trainer.network.stage4[2].conv2.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="gradient is not finite in epoch 1: expected a number, found nan"):
        trainer.run()
    assert all(torch.equal(value, before[name]) for name, value in trainer.network.named_parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "many"}, "setting epochs has a wrong value: expected a whole number, found 'many'"),
        ({"epochs": True}, "setting epochs has a wrong value: expected a whole number, found True"),
        ({"augment": 1}, "setting augment has a wrong value: expected true or false, found 1"),
        ({"fold": 1.5}, "setting fold has a wrong value: expected a whole number or null, found 1.5"),
        ({"tasks": "all"}, "tasks is unknown: expected both, volume, prognosis, found 'all'"),
        ({"precision": "fp8"}, "precision is unknown: expected auto, fp32, bf16, fp16"),
        ({"optimizer": "lbfgs"}, "optimizer is unknown: expected sgd, adamw"),
        (
            {"preprocessing.slice_sampling": "odd"},
            "^The slice_sampling is unknown: expected one of linear, spline, even",
        ),
        ({"accumulate": 0}, "accumulate is too small: expected at least 1, found 0"),
        ({"fold": 5}, "fold is out of range: expected 0 to 4, found 5"),
        ({"preprocessing.shape_kji": [2, 32, 32]}, "too few slices for augment, which blurs over 3: .* found 2"),
        ({"seed": 2**63}, "seed is out of range: expected below 2\\^63, found 9223372036854775808"),
        ({"prognosis_weight": 0}, "prognosis would not be trained: expected prognosis_weight above 0, or tasks=volume"),
        ({"volume_weight": 0}, "volume would not be trained: .* found volume_weight 0 and tasks both"),
        ({"tasks": "volume", "volume_weight": 0.0}, "volume would not be trained"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        make_config(**changes)
    assert make_config(learning_rate=1).learning_rate == 1


def test_too_few_scans_for_the_batches_of_a_step(training_manifest, small_settings, tmp_path):
    with pytest.raises(InputError, match="Too few scans for training: expected at least 18, .* found 17"):
        train(training_manifest, tmp_path, small_settings, accumulate=18)


def test_folds_share_the_patients_alike(training_manifest, tmp_path):
    rows = read_manifest(training_manifest).rows
    rows = [*rows, *rows[:5], replace(rows[19], split="test")]
    held_out, means = [], []
    for fold in range(4):
        test_patient = rows[19].patient_id
        usable = [row for row in rows if row.patient_id != test_patient or row.split == "test"]
        split = split_rows(usable, 0.15, 3, tmp_path / f"{fold}.json", fold, 4)
        validation = {row.patient_id for row in split["validation"]}
        assert not validation & {row.patient_id for row in split["train"]} and test_patient not in validation
        held_out += validation
        means.append(np.mean([row.volume_ml for row in split["validation"]]))
    assert sorted(held_out) == sorted({row.patient_id for row in rows} - {test_patient})
    assert np.std(means) < 0.25 * np.mean(means)


def test_folds_of_the_manifest_are_followed(training_manifest, tmp_path):
    rows = [replace(row, extra={"fold": str(n % 3)}) for n, row in enumerate(read_manifest(training_manifest).rows)]
    split = split_rows(rows, 0.15, 0, tmp_path / "s.json", 1, 3)
    assert {row.patient_id for row in split["validation"]} == {row.patient_id for row in rows[1::3]}
    with pytest.raises(InputError, match="number from 0 to 1 in every row, found '2' for p2"):
        split_rows(rows, 0.15, 0, tmp_path / "t.json", 1, 2)
    twice = [*rows, replace(rows[0], extra={"fold": "2"})]
    with pytest.raises(InputError, match="two folds: .* p0"):
        split_rows(twice, 0.15, 0, tmp_path / "u.json", 1, 3)


def test_patient_of_the_test_split_does_not_train(training_manifest, tmp_path):
    rows = [
        replace(row, split="train" if n else "validation")
        for n, row in enumerate(read_manifest(training_manifest).rows)
    ]
    with pytest.raises(InputError, match="both training and test: .*p4"):
        split_rows([*rows, replace(rows[4], split="test")], 0.15, 0, tmp_path / "s.json")
