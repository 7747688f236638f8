"""What a network costs, against what can be counted by hand."""

import pytest
import torch
from torch import nn

from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskTrainingLib.experiments.cost import cost, counted

SMALL = {"width": 4, "stem_stride": [1, 2, 2], "stage_strides": [1, 2, [1, 2, 2], 1], "final_relu": False}


def test_a_convolution_and_a_dense_layer_by_hand():
    network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 6 * 6, 5)).eval()
    parameters, macs, memory = counted(network, torch.zeros(1, 1, 4, 6, 6))
    voxels = 4 * 6 * 6
    assert parameters == 8 * 27 + 8 + 8 * voxels * 5 + 5
    assert macs == 8 * 27 * voxels + 8 * voxels * 5
    # Weights, the image, and the output of the convolution beside that of the ReLU.
    assert memory == 4 * (parameters + voxels + 2 * 8 * voxels)


def test_the_papers_network_counted_without_computing_it():
    """Published for this input: 63.5 million parameters of a 3D ResNet-34 (Hara et al. 2018); with one channel less."""
    with torch.device("meta"):
        network = build_network({}).eval()
        parameters, macs, _memory = counted(network, torch.empty(1, 1, 32, 224, 224))
    assert parameters == pytest.approx(63.5e6, rel=0.01)
    # The stem alone: 64 filters of 7×7×7 on a grid of half the size.
    assert macs > 64 * 343 * 16 * 112 * 112


def test_what_is_not_at_hand_is_not_measured():
    found = cost(SMALL, (8, 32, 32), devices=["cpu"])
    assert found["seconds"]["cpu"] > 0 and found["seconds"]["cuda"] is None
    assert set(found["measured_on"]) == {"cpu"} and found["memory_mb"] > 4 * found["parameters"] / 1e6
