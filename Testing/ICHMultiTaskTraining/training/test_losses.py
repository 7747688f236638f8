"""Losses, their weights, the learning rate and the clipped step, against the formulas written out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.model.calibration import TARGETS, volume_to_output
from ICHMultiTaskTrainingLib.data.batches import scale_target
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.lineage import death_weight
from ICHMultiTaskTrainingLib.training.losses import MaskLoss, prognosis_loss, volume_loss
from ICHMultiTaskTrainingLib.training.trainer import Trainer

# Losses are worked out in float32, and in double precision here.
CLOSE = {"rel": 1e-4, "abs": 1e-6}


@pytest.mark.parametrize("target", ["cube_root_ml", "cube_root_fraction"])
def test_cube_roots_are_compared_as_they_are(target):
    output, truth = torch.tensor([1.0, 2.0, -0.5]), torch.tensor([1.5, 1.0, 0.0])
    assert float(volume_loss(output, truth, target)) == pytest.approx((0.25 + 1.0 + 0.25) / 3)


def test_percents_are_compared_by_cube_roots_linear_near_zero():
    output, truth = np.array([0.0, 0.5, 4.0, -0.3]), np.array([0.01, 0.7, 2.0, 0.2])

    def root(percent):
        return np.sign(percent) * (np.cbrt(np.abs(percent) + 0.02) - np.cbrt(0.02))

    expected = ((root(output) - root(truth)) ** 2).mean()
    found = volume_loss(torch.tensor(output), torch.tensor(truth), "fraction_percent")
    assert float(found) == pytest.approx(expected, **CLOSE)


def test_a_death_counts_as_often_as_it_is_told_to():
    scores, death = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-1.0, 1.5]]), torch.tensor([0.0, 1.0, 0.25])
    shifted = scores.double().numpy()
    log_survival, log_death = (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).T
    risk = death.double().numpy()
    cross_entropy = -(risk * log_death + (1 - risk) * log_survival)
    weight = 1 + 2 * risk  # 3 for a death, 1 for a survival
    expected = (weight * cross_entropy).sum() / weight.sum()
    assert float(prognosis_loss(scores, death, 3.0)) == pytest.approx(expected, **CLOSE)
    assert float(prognosis_loss(scores, death, 1.0)) == pytest.approx(cross_entropy.mean(), **CLOSE)


@pytest.mark.parametrize(
    ("deaths", "weight"), [(20, 4.0), (50, 1.0), (80, 0.25), (0, 19.0), (100, 1 / 19)]
)
def test_rare_deaths_count_more(deaths, weight):
    """As many times as there are more survivals, within 1 to 20."""
    died = (np.arange(100) < deaths).astype(float)
    assert death_weight(make_config(), died) == pytest.approx(weight)
    assert death_weight(make_config(death_weighting=False), died) == 1.0
    assert death_weight(make_config(outcome="risk"), died) == 1.0
    assert death_weight(make_config(), np.array([])) == 1.0


@pytest.mark.parametrize("target", TARGETS)
def test_target_grows_with_the_blood(target):
    """Blood that takes 1.7 times its share of the image is a bleed 1.7 times as large in it."""
    grown = scale_target(volume_to_output(20.0, target, 3e6), 1.7, target)
    assert grown == pytest.approx(volume_to_output(34.0, target, 3e6))


def rates(steps, **settings):
    config = make_config(coarse_epochs=[], epochs=2, **settings)
    run = SimpleNamespace(config=config, batches=SimpleNamespace(steps=steps))
    return [Trainer._rate(run, step) for step in range(2 * steps)]


def test_learning_rate_warms_up_for_a_tenth_and_falls_to_nothing():
    found = rates(50)
    assert found[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert found[10:] == pytest.approx(np.arange(90, 0, -1) / 90)
    assert rates(2) == pytest.approx([1.0, 1.0, 2 / 3, 1 / 3])
    assert rates(50, schedule="constant") == [1.0] * 100


@pytest.mark.parametrize(
    ("settings", "length"), [({}, 5.0), ({"gradient_clip": 0.5}, 0.5), ({"preset": "paper"}, 50.0)]
)
def test_gradients_are_clipped_at_the_length_that_is_set(settings, length):
    """By default at 5, not at all as in the paper; a step of the rate 0.1 shows the gradient."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], 0.1)
    run = SimpleNamespace(
        config=make_config(**settings), parameters=[weight], optimizer=optimizer, anchors=[],
        scaler=torch.amp.GradScaler("cpu", enabled=False), scheduler=SimpleNamespace(step=lambda: None),
        _check_finite=lambda name, value: None,
    )  # fmt: skip
    weight.grad = torch.tensor([30.0, -40.0])
    Trainer._step_optimizer(run)
    assert weight.tolist() == pytest.approx([-0.06 * length, 0.08 * length], rel=1e-4)
    weight.data.zero_()
    weight.grad = torch.tensor([0.03, -0.04])
    Trainer._step_optimizer(run)
    assert weight.tolist() == pytest.approx([-0.003, 0.004], rel=1e-4)  # a short one stays


def mask_loss():
    strides = {"stage2": (2, 4, 4), "stage4": (4, 8, 8)}
    torch.manual_seed(0)
    return MaskLoss(SimpleNamespace(feature_strides=strides, stage_channels={"stage2": 3, "stage4": 5}))


def test_mask_loss_is_cross_entropy_and_dice_of_the_rows_with_a_mask():
    """Blood in whole cells: both stages must say 1 there and 0 elsewhere; a wrong cell of blood counts five times."""
    loss = mask_loss()
    generator = torch.Generator().manual_seed(1)
    features = {
        "stage2": torch.randn(3, 3, 4, 4, 4, generator=generator),
        "stage4": torch.randn(3, 5, 2, 2, 2, generator=generator),
    }
    occupancy = torch.rand(3, 1, 8, 4, 4, generator=generator)
    has_mask = torch.tensor([True, False, True])
    expected = 0.0
    for name, values in features.items():
        dense = loss.dense[name]
        weight, bias = dense.weight.detach().double().numpy().reshape(-1), float(dense.bias.detach())
        logits = np.einsum("c,ncdhw->ndhw", weight, values.double().numpy())[[0, 2]] + bias
        kernel = {"stage2": (2, 1, 1), "stage4": (4, 2, 2)}[name]
        truth = around_nodes(occupancy.double().numpy()[[0, 2], 0], kernel, logits.shape[1:])
        found = 1 / (1 + np.exp(-logits))
        cross_entropy = -(5 * truth * np.log(found) + (1 - truth) * np.log(1 - found)).mean()
        both = (found * truth).sum((1, 2, 3))
        dice = (2 * both + 0.1) / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 0.1)
        expected += cross_entropy + 0.5 * (1 - dice).mean()
    assert float(loss(features, occupancy, has_mask, 1).detach()) == pytest.approx(expected, **CLOSE)


def around_nodes(occupancy, kernel, shape):
    """Mean of the cells that reach half a kernel to both sides of each node, nothing lying outside."""
    padded = np.pad(occupancy, [(0, 0), *((n // 2, n) for n in kernel)])
    out = np.empty((len(occupancy), *shape))
    for k, j, i in np.ndindex(*shape):
        place = tuple(slice(n * size, (n + 1) * size) for n, size in zip((k, j, i), kernel))
        out[:, k, j, i] = padded[(slice(None), *place)].mean((1, 2, 3))
    return out


def test_mask_loss_without_masks_is_nothing():
    found = mask_loss()({}, torch.ones(2, 1, 8, 4, 4), torch.tensor([False, False]), 1)
    assert float(found) == 0.0 and found.shape == ()
