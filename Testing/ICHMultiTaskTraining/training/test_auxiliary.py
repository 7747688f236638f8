"""Auxiliary outputs: findings of the manifest that shape the encoder in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.simulation.cohort import COLUMNS
from ICHMultiTaskLib.simulation.hematoma import LOCATIONS
from ICHMultiTaskTrainingLib.bundles.export import export_bundle
from ICHMultiTaskTrainingLib.data.auxiliary import PLACES, TARGETS, labels_of
from ICHMultiTaskTrainingLib.data.manifest import Row, read_manifest
from ICHMultiTaskTrainingLib.federated.site import Site
from ICHMultiTaskTrainingLib.training.auxiliary import AuxiliaryHeads, measures, measures_text
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.run_folder import check_start
from ICHMultiTaskTrainingLib.training.trainer import Trainer

BY_NAME = {target.name: target for target in TARGETS}
KNOWN = ("infratentorial", "ventricular_blood", "location", "midline_shift", "age")
"""Targets of `findings`, which has no column `atrophy`."""


@pytest.fixture(scope="module")
def findings(with_columns):
    """The same heads with findings, each missing in some rows."""
    return with_columns(
        lambda n, row: {
            "location": "" if n % 5 == 4 else ("putamen", "cerebellum", "lobar", "deep")[n % 4],
            "ivh": "" if n == 7 else int(float(row["volume_ml"]) > 40),
            "midline_shift_mm": "" if n % 2 else f"{float(row['volume_ml']) / 20:.2f}",
            "age": 50 + n,
        }
    )


@pytest.fixture(scope="module")
def settings(small_settings):
    return small_settings | {"coarse_epochs": [], "epochs": 2, "auxiliary_weight": 0.5, "validation_fraction": 0.3}


@pytest.fixture(scope="module")
def run(findings, settings, tmp_path_factory):
    """A finished run, and the lines of its log."""
    lines = []
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(read_manifest(findings), make_config(**settings), folder / "run", "cpu", log=lines.append)
    trainer.run()
    return trainer, lines


def row(**extra):
    return Row("P1", None, 10.0, 0, None, "", extra)


def test_simulated_cohorts_have_every_label():
    assert {target.column for target in TARGETS} <= set(COLUMNS)
    assert set(PLACES) == set(LOCATIONS)


def test_labels_are_read_and_standardized():
    rows = [
        row(location="Cerebellum", ivh="yes", midline_shift_mm="6", atrophy="0.9", age="80"),
        row(location="putamen", ivh="0", midline_shift_mm="0.0", atrophy="", age="n/a"),
        row(location="deep"),
        row(location="infratentorial"),
        row(),
    ]
    nan = np.nan
    expected = [
        [1, 1, PLACES.index("cerebellum"), 1.5, 1, 1],
        [0, 0, PLACES.index("putamen"), 0, nan, nan],
        [0, nan, nan, nan, nan, nan],  # which of the deep locations is unknown
        [1, nan, nan, nan, nan, nan],
        [nan] * 6,
    ]
    np.testing.assert_allclose(labels_of(rows, TARGETS), expected, rtol=1e-6)
    assert labels_of(rows, ()).shape == (5, 0)


def test_losses_are_means_over_the_rows_with_a_label(small_settings):
    torch.manual_seed(0)
    network = build_network(small_settings["architecture"])
    heads = AuxiliaryHeads(network, [BY_NAME[name] for name in ("ventricular_blood", "location", "age", "atrophy")])
    features = torch.randn(4, network.stage_channels["stage4"], 2, 3, 3, requires_grad=True)
    nan = float("nan")
    labels = torch.tensor([[1, 3, nan, nan], [0, nan, 0.5, nan], [nan, 5, nan, nan], [nan, nan, nan, nan]])
    losses = heads.losses(features, labels)
    finding, place, age, _ = heads(features)
    expected = [
        F.binary_cross_entropy_with_logits(finding[:2, 0], torch.tensor([1.0, 0.0])),
        F.cross_entropy(place[[0, 2]], torch.tensor([3, 5])),
        (age[1, 0] - 0.5) ** 2,
        torch.tensor(0.0),  # of which no row has a label
    ]
    assert torch.allclose(losses, torch.stack(expected))
    losses.sum().backward()
    assert features.grad[:3].abs().amax((1, 2, 3, 4)).min() > 0 and not features.grad[3].any()
    assert all(parameter.grad.isfinite().all() for parameter in heads.parameters())


def test_measures_are_in_the_units_of_the_targets():
    targets = [BY_NAME[name] for name in ("ventricular_blood", "location", "midline_shift", "age")]
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(40) % 2, np.arange(40) % 6, rng.uniform(0, 2, 40), np.full(40, np.nan)], axis=1)
    labels[3, 1] = np.nan
    outputs = np.zeros((40, 9))
    outputs[:, 0] = labels[:, 0] - 0.5
    outputs[np.arange(40), 1 + np.nan_to_num(labels[:, 1]).astype(int)] = 1.0
    outputs[0, 1:7] = [0, 0, 0, 0, 0, 9]  # wrong for one of the 39 that are known
    outputs[:, 7] = labels[:, 2] + 0.5
    found = measures(targets, outputs, labels)
    assert found == {
        "validation_ventricular_blood_auc": 1.0, "validation_location_accuracy": pytest.approx(38 / 39),
        "validation_midline_shift_mae_mm": pytest.approx(2.0), "validation_age_mae_years": None,
    }  # fmt: skip
    words = "ventricular blood AUC 1.000, location accuracy 0.97, midline shift MAE 2.00 mm"
    assert measures_text(targets, found) == words
    few = measures(targets, outputs[:8], labels[:8])
    assert few["validation_ventricular_blood_auc"] is None and few["validation_location_accuracy"] is not None


def test_every_target_with_labels_is_trained_and_logged(run):
    trainer, lines = run
    assert tuple(target.name for target in trainer.targets) == KNOWN
    assert len(trainer.history) == len(lines) == 2
    for entry, line in zip(trainer.history, lines):
        assert all(np.isfinite(entry[f"{name}_loss"]) and entry[f"{name}_loss"] > 0 for name in KNOWN)
        assert entry["validation_midline_shift_mae_mm"] > 0 and entry["validation_age_mae_years"] > 0
        assert "midline_shift" in line and "age MAE" in line
    assert trainer.history[1]["age_loss"] != trainer.history[0]["age_loss"]


def test_outputs_shape_the_encoder_and_stay_out_of_the_bundle(run, findings, settings, tmp_path):
    trainer, _ = run
    config = make_config(**settings | {"auxiliary_weight": 0.0})
    without = Trainer(read_manifest(findings), config, tmp_path / "a", "cpu")
    torch.manual_seed(0)
    start = build_network(settings["architecture"]).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in without.network.state_dict().items())
    fresh = Trainer(read_manifest(findings), make_config(**settings), tmp_path / "b", "cpu")
    assert all(torch.equal(value, start[name]) for name, value in fresh.network.state_dict().items())
    without.run()
    names = set(without.network.state_dict())
    assert set(trainer.network.state_dict()) == names
    trained = [r.network.stage4.state_dict() for r in (trainer, without)]
    assert not all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())
    assert not any("age" in name for name in without.history[-1])
    bundle = export_bundle(trainer, tmp_path / "bundle", None, None, None, "train")
    assert set(bundle.network().state_dict()) == set(trainer.bundle_network().state_dict())


def test_an_interrupted_run_ends_with_the_same_weights(run, findings, settings, tmp_path):
    expected, _ = run
    Trainer(read_manifest(findings), make_config(**settings), tmp_path, "cpu").run(until=1)
    resumed = Trainer(read_manifest(findings), make_config(**settings), tmp_path, "cpu")
    assert resumed.epoch == 1
    resumed.run()
    for before, after in ((expected.learner, resumed.learner), (expected.auxiliary, resumed.auxiliary)):
        found = after.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in before.state_dict().items())
    clock = {"seconds": 0, "ended": 0}
    assert [e | clock for e in expected.history] == [e | clock for e in resumed.history]


def test_parts_of_a_step_share_each_target_by_its_labels(findings, settings, tmp_path):
    config = make_config(**settings | {"batch_size": 2, "accumulate": 3})
    trainer = Trainer(read_manifest(findings), config, tmp_path, "cpu")
    parts = list(trainer.batches.epoch(0, 1))[:3]
    known = np.array([batch.labels.isfinite().sum(0).numpy() for batch in parts])
    whole = known.sum(0)
    assert (known != known[0]).any() and (whole > 0).all()
    np.testing.assert_allclose([batch.shares[3:] for batch in parts], known / whole)


def test_a_further_training_can_have_them_and_fine_tuning_has_none(run, findings, tmp_path):
    trainer, _ = run
    start = export_bundle(trainer, tmp_path / "start", None, None, None, "train")
    assert make_config("fine-tune", start_from=str(start.folder)).auxiliary_weight == 0
    config = make_config(start_from=str(start.folder), coarse_epochs=[], epochs=1, auxiliary_weight=0.1)
    further = Trainer(read_manifest(findings), config, tmp_path / "run", "cpu")
    further.run()
    assert [entry["epoch"] for entry in further.history] == [0, 1] and further.history[1]["age_loss"] > 0


def test_hospitals_exchange_the_network_alone(findings, settings, tmp_path):
    site = Site(findings, tmp_path, settings, "cpu")
    weights = site.round({}, 0, 2)
    assert set(weights) <= set(site.trainer.network.state_dict())
    assert site.round(weights, 1, 2).keys() == weights.keys()


def test_wrong_settings_and_labels_are_refused(findings, settings, tmp_path):
    manifest = read_manifest(findings)
    alike = replace(manifest, rows=tuple(replace(row, extra={"location": "lobar"}) for row in manifest.rows))
    with pytest.raises(InputError, match="needs findings to learn from: expected .* columns location, ivh, midline"):
        check_start(alike, make_config(**settings))
    with pytest.raises(InputError, match="no effect on a frozen encoder"):
        make_config("fine-tune", auxiliary_weight=0.1)
    with pytest.raises(InputError, match="auxiliary_weight is out of range"):
        make_config(auxiliary_weight=-1.0)
    text = findings.read_text().replace(",cerebellum,", ",liver,")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match="4 auxiliary labels cannot be used: p1: The location is unknown"):
        check_start(read_manifest(tmp_path / "manifest.csv"), make_config(**settings))
    check_start(read_manifest(tmp_path / "manifest.csv"), make_config(**settings | {"auxiliary_weight": 0.0}))
