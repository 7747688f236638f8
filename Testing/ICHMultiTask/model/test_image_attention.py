"""Attention methods of the image against Captum, against the properties that define them, and on the real network."""

import pytest
import torch
from torch import nn

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.model.attention import INPUT, INPUT_METHODS, METHODS, check_choice, stage_of_map
from ICHMultiTaskLib.model.attention import occlusion as occlusion_module
from ICHMultiTaskLib.model.attention.maps import image_map
from ICHMultiTaskLib.model.attention.relevance import relevance
from ICHMultiTaskLib.model.attention.smoothgrad import noisy
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet

STRIDES = {"stem_stride": (1, 2, 2), "stage_strides": (1, 2, (1, 2, 2), 1), "final_relu": False}


def captum():
    return pytest.importorskip("captum.attr", reason="the oracle, Captum, is not installed")


class Plain(nn.Module):
    """A network that Captum can take: every layer is a module that is used once, and nothing is done in place."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 8, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 4 * 6 * 6, 5), nn.ReLU(), nn.Linear(5, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x).flatten()


@pytest.fixture
def plain():
    torch.manual_seed(3)
    return Plain().eval()


@pytest.fixture
def small():
    return torch.rand(1, 1, 8, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MultiTaskResNet(width=4, **STRIDES).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.bias.data.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def image():
    return torch.rand(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(2))


def agree(found, expected):
    expected = expected.detach()
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_saliency_equals_captum(plain, small):
    agree(METHODS["saliency"](plain, small), captum().Saliency(plain).attribute(small.clone().requires_grad_())[:, 0])


def test_smoothgrad_is_the_mean_of_captums_gradients_of_the_noisy_copies(plain, small):
    gradients = captum().Saliency(plain)
    copies = [gradients.attribute(copy.requires_grad_(), abs=False) for copy in noisy(small)]
    agree(METHODS["smoothgrad"](plain, small), torch.stack(copies).mean(0).abs()[:, 0])
    spread = torch.stack([copy - small for copy in noisy(small)]).std()
    assert spread == pytest.approx(0.1, rel=0.05), "a tenth of the image's range, which is 1"


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("method, name", [("guided", "GuidedBackprop"), ("deconvolution", "Deconvolution")])
def test_rectified_gradients_equal_captum(plain, small, method, name):
    expected = getattr(captum(), name)(plain).attribute(small.clone().requires_grad_())[:, 0]
    found = METHODS[method](plain, small)
    agree(found, expected.relu())
    assert not torch.allclose(found, METHODS["saliency"](plain, small))


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_relevance_equals_captum(plain, small, gamma):
    rules = pytest.importorskip("captum.attr._utils.lrp_rules", reason="the oracle, Captum, is not installed")
    for module in plain.layers:
        if isinstance(module, nn.Conv3d):
            module.rule = rules.GammaRule(gamma) if gamma else rules.EpsilonRule()
        elif isinstance(module, (nn.MaxPool3d, nn.Flatten)):
            module.rule = rules.EpsilonRule()
    found = relevance(plain, small, gamma)
    agree(found, captum().LRP(plain).attribute(small.clone().requires_grad_()))


def test_occlusion_equals_captum(plain, small, monkeypatch):
    monkeypatch.setattr(occlusion_module, "BLOCKS", 4)
    baseline = float(occlusion_module.cover(small))
    expected = captum().Occlusion(plain).attribute(
        small, sliding_window_shapes=(1, 2, 3, 3), strides=(1, 2, 3, 3), baselines=baseline
    )  # fmt: skip
    agree(METHODS["occlusion"](plain, small), expected[:, 0].relu())


@pytest.mark.parametrize("head", ["volume", "prognosis"])
def test_relevance_is_kept_from_layer_to_layer(network, image, head):
    """Without what biases add, the relevance of all voxels together is the score, through batch norms and shortcuts."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.bias.zero_()
            module.running_mean.zero_()
        elif isinstance(module, nn.Conv3d) and module.bias is not None:
            module.bias.zero_()

    def score(x):
        volume, scores = network(x)
        return volume if head == "volume" else scores[:, 1]

    for gamma in (0.0, 0.25, 2.0):
        assert float(relevance(score, image, gamma).sum()) == pytest.approx(float(score(image)), rel=1e-2)
    assert not torch.allclose(relevance(score, image, 0.0), relevance(score, image, 0.25), rtol=0.1)


def test_relevance_passes_through_attention_gates_and_layer_norm():
    """A layer of another kind than a ResNet's must not break the sum either."""
    torch.manual_seed(5)
    dense, norm = nn.Linear(6, 6, bias=False).eval(), nn.LayerNorm(6).eval()

    def score(x):
        tokens = norm(x.flatten(1).reshape(1, -1, 6))
        mixed = nn.functional.scaled_dot_product_attention(dense(tokens), tokens, tokens)
        return (nn.functional.gelu(mixed) * torch.sigmoid(tokens)).sum((1, 2))

    x = torch.randn(1, 1, 2, 3, 4)
    assert float(relevance(score, x).sum()) == pytest.approx(float(score(x)), rel=1e-3)


@pytest.mark.parametrize("method", sorted(INPUT_METHODS))
def test_a_method_explains_the_real_network_and_leaves_it_as_it_was(network, image, method, monkeypatch):
    monkeypatch.setattr(occlusion_module, "BLOCKS", 4)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = network(image)
    found = image_map(network, image, "prognosis", method)
    assert found.shape == (1, 16, 32, 32) and found.min() >= 0 and found.max() > 0 and torch.isfinite(found).all()
    again, other = (image_map(network, image, head, method) for head in ("prognosis", "volume"))
    assert torch.equal(found, again) and not torch.allclose(found / found.max(), other / other.max(), atol=1e-3)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert torch.equal(before[0], network(image)[0])


@pytest.mark.parametrize("method", sorted(INPUT_METHODS))
def test_voxels_without_influence_on_the_score_get_no_attention(method):
    def score(x):
        return (x[:, 0, :4, :6, :6].relu() ** 2).sum((1, 2, 3))

    image = torch.rand(1, 1, 8, 12, 12, generator=torch.Generator().manual_seed(4)) * 0.9 + 0.05
    image[:, :, :4, :6, :6] = 0.99  # above what occlusion covers with
    found = METHODS[method](score, image)
    assert found[:, :4, :6, :6].min() > 0
    assert found[:, 4:].abs().max() == 0 and found[:, :, 6:].abs().max() == 0


def test_images_of_a_batch_are_explained_independently(plain, small):
    both = torch.cat([small, small.flip(2)])
    for method in INPUT_METHODS - {"smoothgrad"}:  # whose noise differs between the two
        found = METHODS[method](plain, both)
        agree(found[:1], METHODS[method](plain, small))
        agree(found[1:], METHODS[method](plain, small.flip(2)))


@pytest.mark.parametrize("method", ["smoothgrad", "occlusion"])
def test_slow_methods_can_be_canceled(plain, small, method):
    def cancel(fraction, message):
        if fraction > 0.4:
            raise Canceled

    with pytest.raises(Canceled):
        METHODS[method](plain, small, cancel)


def test_a_black_image_is_no_error(network):
    for method in INPUT_METHODS:
        assert torch.isfinite(image_map(network, torch.zeros(1, 1, 16, 32, 32), "volume", method)).all()


@pytest.mark.parametrize("method", ["saliency", "occlusion"])
def test_clinical_inputs_reach_every_copy_of_the_image(network, image, method, monkeypatch):
    monkeypatch.setattr(occlusion_module, "BLOCKS", 4)
    network.take_clinical(2)
    plain = image_map(network, image, "volume", method)
    known = image_map(network, image, "volume", method, clinical=torch.ones(1, 2))
    assert torch.equal(plain, known), "the volume is the image's alone"
    assert image_map(network, image, "prognosis", method, clinical=torch.ones(1, 2)).max() > 0


def test_the_stage_of_a_map():
    assert {stage_of_map("stage2", method) for method in INPUT_METHODS} == {INPUT}
    assert stage_of_map("stage2", "cam") == "stage4" and stage_of_map("stage2", "gradcam") == "stage2"
    check_choice("volume", INPUT, "lrp")
    with pytest.raises(InputError, match="attention stage is unknown: expected one of stage1, .*, found 'input'"):
        check_choice("volume", INPUT, "gradcam")
