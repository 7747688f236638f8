"""Losses and the weight of a death, against the formulas written out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.lineage import death_weight
from ICHMultiTaskTrainingLib.training.losses import MaskLoss, prognosis_loss, volume_loss

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


def test_a_death_counts_with_its_weight():
    scores, death = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-1.0, 1.5]]), torch.tensor([0.0, 1.0, 0.25])
    shifted = scores.double().numpy()
    log_survival, log_death = (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).T
    risk = death.double().numpy()
    cross_entropy = -(risk * log_death + (1 - risk) * log_survival)
    weight = 1 + 2 * risk  # 3 for a death, 1 for a survival
    expected = (weight * cross_entropy).sum() / weight.sum()
    assert float(prognosis_loss(scores, death, 3.0)) == pytest.approx(expected, **CLOSE)
    assert float(prognosis_loss(scores, death, 1.0)) == pytest.approx(cross_entropy.mean(), **CLOSE)


@pytest.mark.parametrize(("deaths", "weight"), [(20, 4.0), (50, 1.0), (80, 0.25), (0, 19.0), (100, 1 / 19)])
def test_rare_deaths_count_more(deaths, weight):
    """As many times as there are more survivals, within 1 to 20."""
    died = (np.arange(100) < deaths).astype(float)
    assert death_weight(make_config(), died) == pytest.approx(weight)
    assert death_weight(make_config(death_weighting=False), died) == 1.0
    assert death_weight(make_config(outcome="risk"), died) == 1.0
    assert death_weight(make_config(), np.array([])) == 1.0


def mask_loss():
    strides = {"stage2": (2, 4, 4), "stage4": (4, 8, 8)}
    offsets = dict.fromkeys(strides, (0.0, 0.0, 0.0))
    torch.manual_seed(0)
    channels = {"stage2": 3, "stage4": 5}
    return MaskLoss(SimpleNamespace(feature_strides=strides, feature_offsets=offsets, stage_channels=channels))


def test_mask_loss_is_cross_entropy_and_dice_of_the_rows_with_a_mask():
    """Blood in whole cells: both stages must say 1 there and 0 elsewhere; a wrong cell of blood counts five times."""
    loss = mask_loss()
    generator = torch.Generator().manual_seed(1)
    features = {
        "stage2": torch.randn(3, 3, 4, 6, 10, generator=generator),
        "stage4": torch.randn(3, 5, 2, 3, 5, generator=generator),
    }
    occupancy = torch.rand(3, 1, 8, 6, 10, generator=generator)
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


def test_mask_loss_without_masks_is_zero():
    found = mask_loss()({}, torch.ones(2, 1, 8, 4, 4), torch.tensor([False, False]), 1)
    assert float(found) == 0.0 and found.shape == ()
