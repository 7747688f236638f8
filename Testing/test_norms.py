"""Batch norm's statistics, estimated anew and kept."""

import pytest
import torch
from torch import nn

from ICHMultiTaskTrainingLib.config import make_config
from ICHMultiTaskTrainingLib.manifest import read_manifest
from ICHMultiTaskTrainingLib.norms import estimate_norms, freeze_norms
from ICHMultiTaskTrainingLib.training import Trainer


def test_statistics_are_plain_means_over_the_batches():
    norm = nn.BatchNorm3d(2)
    norm.running_mean += 7.0
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(6, 2, 3, 4, 4, generator=generator) * (n + 1) + n for n in range(3)]
    estimate_norms(norm, batches)
    means = torch.stack([batch.mean((0, 2, 3, 4)) for batch in batches])
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.momentum == 0.1


def test_a_frozen_norm_gives_a_scan_the_same_output_beside_any_other():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU())
    scan, quiet, loud = torch.randn(3, 1, 6, 6, 6)
    loud = 50 * loud
    estimate_norms(network, [torch.stack([scan, quiet, loud])])
    before = network[1].running_mean.clone()
    network.train()
    outputs = [network(torch.stack([scan, other]))[0] for other in (quiet, loud)]
    assert not torch.allclose(*outputs)
    after = network[1].running_mean.clone()
    assert not torch.equal(before, after)
    network.train()
    freeze_norms(network)
    outputs = [network(torch.stack([scan, other]))[0] for other in (quiet, loud)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)
    assert torch.equal(network[1].running_mean, after)
    outputs[0].sum().backward()
    assert network[1].weight.grad.abs().sum() > 0  # its scale is still learned


@pytest.mark.parametrize(
    "epochs, frozen, expected", [(2, 1, [True, True, False]), (1, 5, [True, False]), (1, 0, [True, True])]
)
def test_norms_are_frozen_in_the_last_epochs_but_never_in_all(
    epochs, frozen, expected, training_manifest, small_settings, tmp_path
):
    config = make_config(**small_settings | {"epochs": epochs, "frozen_norm_epochs": frozen})
    seen = {}

    def watch(fraction, message):
        if "Epoch" in message:
            seen[trainer.epoch] = trainer.network.stage1[0].bn1.training

    trainer = Trainer(read_manifest(training_manifest), config, tmp_path, "cpu", progress=watch)
    trainer.run()
    assert list(seen.values()) == expected
