"""Attention maps against MONAI, against a backward pass through the whole network, and against the formulas."""

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.common.choices import Head
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.attention import INPUT_METHODS, METHODS, TOKEN_METHODS
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.networks.base import STAGES
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet

SHIPPED = {"stem_stride": (1, 2, 2), "stage_strides": (1, 2, (1, 2, 2), 1), "final_relu": False}
CLASS = {"volume": 0, "prognosis": 2}
OF_A_STAGE = tuple(method for method in METHODS if method not in INPUT_METHODS | TOKEN_METHODS)


class Joined(torch.nn.Module):
    """The network with its outputs in one row: volume, survival, death; MONAI wants one tensor."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        volume, scores = self.network(x)
        return torch.cat([volume[:, None], scores], dim=1)


@pytest.fixture(params=[SHIPPED, {"final_relu": False}], ids=["shipped", "paper strides"])
def network(request):
    torch.manual_seed(0)
    network = MultiTaskResNet(width=4, **request.param).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.bias.data.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def image():
    return torch.rand(1, 1, 16, 48, 48, generator=torch.Generator().manual_seed(2))


def stored_features(network, image):
    with torch.no_grad():
        return dict(network.features(image))


def whole_network_gradients(network, image, head):
    """Features and gradients of every stage by hooks and one backward pass from the head to the image."""
    kept, hooks = {}, []
    for name in STAGES:
        hooks.append(
            getattr(network, name).register_forward_hook(
                lambda _module, _input, output, name=name: (output.retain_grad(), kept.__setitem__(name, output))[1]
            )
        )
    Joined(network)(image)[0, CLASS[head]].backward()
    for hook in hooks:
        hook.remove()
    return {name: (output.detach()[0].numpy(), output.grad[0].numpy()) for name, output in kept.items()}


def by_formula(features, gradients, method):
    """The published formulas, channel by channel, in double precision."""
    features, gradients = features.astype(np.float64), gradients.astype(np.float64)
    total = np.zeros(features.shape[1:])
    for a, g in zip(features, gradients):
        if method == "gradcam":  # Selvaraju et al. 2017, equations 1 and 2
            total += g.mean() * a
        elif method == "cam":  # Zhou et al. 2016, equation 2: the weight of the head is the gradient of its average
            total += g.sum() * a
        elif method == "layercam":  # Jiang et al. 2021, equations 5 to 7
            total += np.maximum(g, 0) * a
        elif method == "hirescam":  # Draelos and Carin 2020: element by element
            total += g * a
        else:  # Chattopadhay et al. 2018, equations 10, 11 and 19
            denominator = 2 * g**2 + a.sum() * g**3
            alpha = np.divide(g**2, denominator, out=np.zeros_like(g), where=denominator != 0)
            total += (alpha * np.maximum(g, 0)).sum() * a
    return np.maximum(total, 0)


@pytest.mark.parametrize("head", Head.values())
@pytest.mark.parametrize("method", OF_A_STAGE)
def test_equals_the_formula_on_gradients_through_the_whole_network(network, image, head, method):
    features = stored_features(network, image)
    gradients = whole_network_gradients(network, image, head)
    for stage, (activation, gradient) in gradients.items() if method != "cam" else [("stage4", gradients["stage4"])]:
        found = attention_map(network, features[stage], stage, head, method)[0].numpy()
        expected = by_formula(activation, gradient, method)
        assert expected.max() > 0, stage
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * expected.max(), err_msg=stage)


@pytest.mark.parametrize("head", Head.values())
@pytest.mark.parametrize("stage", STAGES)
def test_gradcam_equals_monai(network, image, head, stage):
    visualize = pytest.importorskip("monai.visualize", reason="the oracle, MONAI, is not installed")
    # The raw map: MONAI's default post-processing maps the highest attention to 0.
    expected = visualize.GradCAM(Joined(network).eval(), f"network.{stage}").compute_map(image, class_idx=CLASS[head])
    expected = expected[:, 0].detach()
    found = attention_map(network, stored_features(network, image)[stage], stage, head, "gradcam")
    assert expected.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("head", Head.values())
def test_gradcam_plus_plus_equals_monai_on_the_last_stage(network, image, head):
    """On earlier stages MONAI sums features × gradients³ together, where the paper's equation 19 sums the features."""
    visualize = pytest.importorskip("monai.visualize", reason="the oracle, MONAI, is not installed")
    for head_module in (network.volume_head, network.prognosis_head):
        head_module.dense.weight.data *= 30  # MONAI adds 1e-7 to the denominator: keep the gradients far above it
    with torch.no_grad():  # and scales the map by exp(score): keep it from overflowing
        volume, scores = network(image)
        network.volume_head.dense.bias -= volume
        network.prognosis_head.dense.bias -= scores[0]
    expected = visualize.GradCAMpp(Joined(network).eval(), "network.stage4").compute_map(image, class_idx=CLASS[head])
    expected = expected[:, 0].detach()
    found = attention_map(network, stored_features(network, image)["stage4"], "stage4", head, "gradcam++")
    assert expected.max() > 0
    torch.testing.assert_close(found / found.max(), expected / expected.max(), rtol=1e-2, atol=1e-3)


def test_highest_attention_is_where_the_features_raise_the_score(network):
    """Not inverted: one channel that raises the volume, hot in one place."""
    network.volume_head.dense.weight.data.zero_()
    network.volume_head.dense.weight.data[0, 5] = 1.0
    features = torch.zeros(1, 32, 4, 6, 6)
    features[0, 5, 1, 2, 3] = 7.0
    features[0, 6, 3, 5, 5] = 9.0
    for method in OF_A_STAGE:
        found = attention_map(network, features, "stage4", "volume", method)[0]
        assert np.unravel_index(int(found.argmax()), found.shape) == (1, 2, 3)
        assert int((found > 0).sum()) == 1
    network.volume_head.dense.weight.data *= -1
    for method in OF_A_STAGE:
        assert attention_map(network, features, "stage4", "volume", method).abs().sum() == 0


def test_works_on_a_frozen_network_without_touching_it(network, image):
    network.requires_grad_(False)
    features = {name: value.clone() for name, value in stored_features(network, image).items()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for stage in STAGES:
        before = features[stage].clone()
        with torch.no_grad():
            attention_map(network, features[stage], stage, "prognosis", "gradcam")
        assert torch.equal(features[stage], before) and not features[stage].requires_grad
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_half_precision_features_give_nearly_the_same_map(network, image):
    features = stored_features(network, image)["stage4"]
    exact = attention_map(network, features, "stage4")
    found = attention_map(network, features.bfloat16(), "stage4")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.02 * float(exact.max()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "liver"}, "attention head is unknown: expected one of volume, prognosis, found 'liver'"),
        (
            {"method": "smooth"},
            r"method is unknown: expected one of gradcam, hirescam, gradcam\+\+, layercam, .*, found 'smooth'",
        ),
        ({"method": "cam", "stage": "stage2"}, "CAM is not available for every stage: expected stage4, found stage2"),
        ({"method": "lrp"}, "relevance propagation is not available for every stage: expected input, found stage4"),
    ],
)
def test_unknown_choices_are_named(network, arguments, message):
    with pytest.raises(InputError, match=message):
        attention_map(network, torch.zeros(1, 32, 2, 2, 2), **{"stage": "stage4"} | arguments)
