"""The network against MONAI's ResNet-34 with the same weights, and where its features lie in the image."""

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.model.networks.base import STAGES
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet, ResNet18, ResNet50

SHIPPED = {"stem_stride": (1, 2, 2), "stage_strides": (1, 2, (1, 2, 2), 1), "final_relu": False}


def random_network(seed=0, kind=MultiTaskResNet, **architecture):
    """A network whose norms and biases do something: at their defaults, mistakes in them would not show."""
    torch.manual_seed(seed)
    network = kind(**architecture).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for head in (network.volume_head, network.prognosis_head):
        head.dense.bias.data.normal_()
    return network


def monai_twin(network):
    """MONAI's ResNet of as many layers with the network's weights; three outputs: volume, survival, death."""
    nets = pytest.importorskip("monai.networks.nets", reason="the oracle, MONAI, is not installed")
    width = network.architecture["width"]
    with torch.device("meta"):  # no memory and no random weights for what is replaced below
        twin = nets.ResNet(
            "bottleneck" if isinstance(network, ResNet50) else "basic",
            list(network.blocks),
            [width, 2 * width, 4 * width, 8 * width],
            n_input_channels=1,
            num_classes=3,
            conv1_t_stride=tuple(network.architecture["stem_stride"]),
            bias_downsample=False,
        ).eval()
    renamed = {
        "stem.0": "conv1", "stem.1": "bn1", "stage1": "layer1", "stage2": "layer2", "stage3": "layer3",
        "stage4": "layer4", "shortcut": "downsample",
    }  # fmt: skip
    weights = {}
    for key, tensor in network.state_dict().items():
        for ours, theirs in renamed.items():
            key = key.replace(ours, theirs)
        weights[key] = tensor
    for name in ("weight", "bias"):
        heads = [weights.pop(f"{head}.dense.{name}") for head in ("volume_head", "prognosis_head")]
        weights[f"fc.{name}"] = torch.cat(heads).flatten(1) if name == "weight" else torch.cat(heads)
    twin.load_state_dict(weights, assign=True)  # strict: every weight of either side has its partner
    return twin


@pytest.mark.parametrize(
    ("kind", "width", "stem_stride", "shape"),
    [
        (MultiTaskResNet, 64, 2, (1, 1, 9, 20, 17)),
        (MultiTaskResNet, 8, (1, 2, 2), (2, 1, 16, 56, 60)),
        (MultiTaskResNet, 5, 1, (1, 1, 13, 31, 40)),
        (MultiTaskResNet, 4, 2, (1, 1, 1, 1, 1)),
        (ResNet18, 6, 2, (2, 1, 9, 20, 17)),
        (ResNet50, 6, (1, 2, 2), (2, 1, 9, 20, 17)),
    ],
)
def test_equal_outputs_to_monai(kind, width, stem_stride, shape):
    network = random_network(kind=kind, width=width, stem_stride=stem_stride, final_relu=False)
    image = torch.rand(shape)
    with torch.no_grad():
        volume, scores = network(image)
        expected = monai_twin(network)(image)
    assert volume.shape == (shape[0],) and scores.shape == (shape[0], 2)
    torch.testing.assert_close(volume, expected[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, expected[:, 1:], rtol=1e-4, atol=1e-4)


def test_the_relu_before_the_softmax_can_be_left_out():
    image = torch.rand(1, 1, 8, 32, 32)
    with_relu, without = random_network(width=4, final_relu=True), random_network(width=4, final_relu=False)
    with torch.no_grad():
        for bias in ([3.0, -3.0], [-3.0, 3.0]):
            for network in (with_relu, without):
                network.prognosis_head.dense.bias.copy_(torch.tensor(bias))
            scores = without(image)[1]
            assert (scores < 0).any()
            torch.testing.assert_close(with_relu(image)[1], scores.clamp(min=0))


def test_architecture_rebuilds_the_same_network():
    network = random_network(width=4, **SHIPPED)
    again = MultiTaskResNet(**network.architecture).eval()
    again.load_state_dict(network.state_dict())
    image = torch.rand(1, 1, 8, 32, 32)
    with torch.no_grad():
        for found, expected in zip(again(image), network(image)):
            assert torch.equal(found, expected)


def test_wrong_number_of_strides_is_refused():
    with pytest.raises(ValueError, match="stage_strides has 3 entries; expected 4"):
        MultiTaskResNet(width=4, stage_strides=(1, 2, 2))


@pytest.mark.parametrize("stage", STAGES)
def test_heads_continue_from_any_stage(stage):
    network = random_network(width=4, **SHIPPED)
    image = torch.rand(1, 1, 16, 32, 32)
    with torch.no_grad():
        features = dict(network.features(image))
        for found, expected in zip(network.heads(features[stage], stage), network(image)):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("architecture", [{}, SHIPPED], ids=["paper", "shipped"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_feature_lies_at_stride_times_index(architecture, axis):
    """An impulse at stride × f gives a response symmetric about f: the feature's center is exactly there.

    All weights equal and positive, so that nothing but the layers' geometry can shift the response; a line of voxels,
    so that no border is in reach of the receptive field.
    """
    network = MultiTaskResNet(width=1, **architecture).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data.fill_(1 / (module.kernel_size[0] * module.in_channels))
    length = 2400  # even: not symmetric itself
    strides = network.feature_strides
    at = length // 2 // strides["stage4"][axis] * strides["stage4"][axis]
    shape = [1, 1, 1, 1, 1]
    shape[2 + axis] = length
    image = torch.zeros(shape)
    image.view(-1)[at] = 1.0
    with torch.no_grad():
        for stage, output in network.features(image):
            response = output[0].sum(0).flatten()
            center = at // strides[stage][axis]
            reach = int(response.nonzero().max()) - center
            assert 0 < reach < center
            window = response[center - reach : center + reach + 1]
            torch.testing.assert_close(window, window.flip(0))
            assert response.argmax() == center
            assert response[: center - reach].abs().sum() == 0


@pytest.mark.parametrize("dense_from", ["stage2", "stage3", "stage4"])
@pytest.mark.parametrize("kind", [MultiTaskResNet, ResNet50], ids=["basic", "bottleneck"])
def test_dense_stages_hold_the_strided_ones(kind, dense_from):
    """À trous: every stride-th feature is the strided network's own, and the grid is that much finer."""
    torch.manual_seed(0)
    settings = dict(width=4, stem_stride=(1, 2, 2), stage_strides=(1, 2, (1, 2, 2), (2, 1, 1)), final_relu=False)
    strided, dense = kind(**settings).eval(), kind(**settings, dense_from=dense_from).eval()
    dense.load_state_dict(strided.state_dict())
    image = torch.rand(1, 1, 16, 64, 64)
    with torch.no_grad():
        coarse, fine = dict(strided.features(image)), dict(dense.features(image))
    for name in STAGES:
        steps = [c // f for c, f in zip(strided.feature_strides[name], dense.feature_strides[name])]
        assert np.prod(steps) > 1 if STAGES.index(name) >= STAGES.index(dense_from) else steps == [1, 1, 1]
        picked = fine[name][:, :, :: steps[0], :: steps[1], :: steps[2]]
        torch.testing.assert_close(picked, coarse[name], rtol=1e-4, atol=1e-5)
    assert kind(**dense.architecture).feature_strides == dense.feature_strides
    with pytest.raises(ValueError, match="expected one of stage1"):
        MultiTaskResNet(dense_from="stage9")
