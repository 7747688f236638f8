"""What each setting does to a step: weights of deaths, warm-up, clipping, the grown target."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ICHMultiTaskTrainingLib.data.batches import scale_target
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.losses import prognosis_loss
from ICHMultiTaskTrainingLib.training.trainer import Trainer


def test_a_death_has_its_weight_and_a_survival_one():
    scores = torch.tensor([[0.3, -0.2], [1.0, 0.4], [-0.5, 0.7]])
    death = torch.tensor([1.0, 0.0, 0.0])
    each = F.cross_entropy(scores, death.long(), reduction="none")
    expected = (4.0 * each[0] + each[1] + each[2]) / 6.0
    assert prognosis_loss(scores, death, 4.0) == pytest.approx(float(expected))
    # Four times the deaths at a weight of 1 are the same.
    rows = [0, 0, 0, 0, 1, 2]
    assert prognosis_loss(scores[rows], death[rows], 1.0) == pytest.approx(float(expected))


@pytest.mark.parametrize("target", ["cube_root_ml", "cube_root_fraction"])
def test_cube_root_of_a_grown_bleed_grows_by_the_cube_root(target):
    volume = torch.tensor([8.0, 27.0])
    assert scale_target(volume ** (1 / 3), 1.331, target) == pytest.approx([2.2, 3.3], rel=1e-6)
    assert scale_target(volume, 1.331, "fraction_percent") == pytest.approx([8 * 1.331, 27 * 1.331], rel=1e-6)


@pytest.fixture(scope="module")
def trainer(training_manifest, small_settings, tmp_path_factory):
    """Seventeen scans in batches of two: eight steps an epoch, forty in five epochs."""
    changes = {"batch_size": 2, "coarse_epochs": [], "epochs": 5, "learning_rate": 1e-3}
    config = make_config(**small_settings | changes)
    return Trainer(read_manifest(training_manifest), config, tmp_path_factory.mktemp("run"), "cpu")


def test_rate_warms_up_over_a_tenth_of_the_steps_and_falls_to_0(trainer):
    steps = 5 * trainer.batches.steps
    assert steps == 40
    rates = [trainer.optimization.rate(step) for step in range(steps)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert np.diff(rates[4:]) == pytest.approx(np.full(35, -1 / 36)) and rates[4] == 1.0
    assert trainer.optimization.optimizer.param_groups[0]["lr"] == pytest.approx(0.25e-3)  # of the first step


@pytest.mark.parametrize("limit, expected", [(5.0, 5.0), (0.5, 0.5), (None, 40.0), (100.0, 40.0)])
def test_gradient_is_clipped_at_the_given_norm(trainer, limit, expected, monkeypatch):
    seen = {}
    optimization = trainer.optimization
    monkeypatch.setattr(optimization, "config", make_config(gradient_clip=limit))
    for parameter in optimization.parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimization.parameters[0].grad.view(-1)[0] = 40.0

    def look(*_arguments, **_keywords):
        seen["norm"] = torch.sqrt(sum((p.grad**2).sum() for p in optimization.parameters)).item()

    monkeypatch.setattr(optimization.optimizer, "step", look)
    optimization.clip()
    optimization.step()
    assert seen["norm"] == pytest.approx(expected, rel=1e-4)


def test_paper_preset_states_no_weight_of_deaths_and_no_clipping():
    config = make_config("paper")
    assert config.death_weighting is False and config.gradient_clip is None
    assert make_config().death_weighting is True and make_config().gradient_clip == 5.0


@pytest.mark.parametrize("final_relu", [True, False])
def test_a_prognosis_that_its_relu_silences_is_named_after_each_epoch(
    training_manifest, small_settings, tmp_path, final_relu
):
    architecture = small_settings["architecture"] | {"final_relu": final_relu}
    config = make_config(**small_settings | {"architecture": architecture, "coarse_epochs": [], "epochs": 1})
    lines = []
    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu", log=lines.append)
    dense = trainer.network.prognosis_head.dense
    with torch.no_grad():
        dense.weight.zero_()
        dense.bias.copy_(torch.tensor([-3.0, -5.0]))  # so far down that the few steps do not reach 0
    trainer.run()
    assert ("silent_prognosis" in trainer.history[-1]) is final_relu
    assert ("architecture.final_relu=false" in lines[-1]) is final_relu
    if final_relu:
        assert trainer.history[-1]["prognosis_loss"] == pytest.approx(np.log(2))
