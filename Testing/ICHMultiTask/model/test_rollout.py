"""Attention rollout against the matrices of the publication, all tokens written out; Grad-CAM on tokens."""

import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.base import STAGES

SHAPE = (3, 32, 48)
GRID = (3, 2, 3)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build_network({"network": "timesformer", "width": 8, "grid": SHAPE, "final_relu": False}).double().eval()
    for parameter in network.parameters():  # attention that says something, from slice to slice as well
        parameter.data.normal_(0, 0.5)
    return network


def stored(network):
    image = torch.rand(2, 1, *SHAPE, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return dict(network.features(image))


@pytest.mark.parametrize("stage", ["stage1", "stage4"])
def test_rollout_is_the_product_of_the_layers(network, stage):
    """One matrix a layer over all tokens, the class token first: half identity, half attention."""
    depth, places = GRID[0], GRID[1] * GRID[2]
    tokens = 1 + depth * places
    features = stored(network)[stage]
    product = torch.eye(tokens, dtype=torch.double).expand(2, -1, -1)
    for across, within in network.attention_weights(features, stage):
        columns, slices = torch.zeros(2, tokens, tokens).double(), torch.zeros(2, tokens, tokens).double()
        columns[:, 0, 0] = 1
        for k in range(depth):
            first = 1 + k * places
            slices[:, first : first + places, 0] = within[:, k, 1:, 0]
            slices[:, first : first + places, first : first + places] = within[:, k, 1:, 1:]
            slices[:, 0, 0] += within[:, k, 0, 0] / depth
            slices[:, 0, first : first + places] = within[:, k, 0, 1:] / depth
            for m in range(depth):
                for j in range(places):
                    columns[:, first + j, 1 + m * places + j] = across[:, j, k, m]
        for layer in (columns, slices):
            product = (torch.eye(tokens).double() + layer) / 2 @ product
    torch.testing.assert_close(product.sum(2), torch.ones(2, tokens).double())
    # As the map is of float32 features, its network is too.
    found = attention_map(network.float(), features.float(), stage, method="rollout")
    assert found.shape == (2, *GRID)
    torch.testing.assert_close(found.flatten(1).double(), product[:, 0, 1:], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_gradcam_on_tokens_leaves_the_class_token_out(network, stage):
    """Mean gradient of a channel over the tokens of the grid, times the tokens."""
    features, highest = stored(network)[stage].float().requires_grad_(), 0.0
    network.float()
    for _ in range(2):  # of which one at least is not blank
        network.volume_head.dense.weight.data *= -1
        (gradients,) = torch.autograd.grad(network.heads(features, stage)[0].sum(), features)
        activation, gradient = features.detach()[:, :, 1:], gradients[:, :, 1:]
        expected = (gradient.mean((2, 3, 4), keepdim=True) * activation).sum(1).relu()
        found = attention_map(network, features, stage)
        assert found.shape == (2, *GRID)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))
        highest = max(highest, float(found.max()))
    assert highest > 0


def test_rollout_of_a_network_without_tokens_is_refused():
    network = build_network({"network": "resnet18", "width": 2})
    with pytest.raises(InputError, match="Attention rollout.*expected the network timesformer, found resnet18"):
        attention_map(network, torch.zeros(1, 16, 1, 2, 2), "stage4", method="rollout")
