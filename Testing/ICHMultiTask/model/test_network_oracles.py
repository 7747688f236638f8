"""Networks against the packages that have the same ones: equal outputs for equal weights.

The 3D ResNets have theirs in test_network.py. P3D, TSM, TIN and Uniformizing-3D have none that installs beside any
PyTorch: Docs/paper.md holds them against their authors' code.
"""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.r2plus1d import middle_channels, split_convolution
from ICHMultiTaskLib.model.networks.tin import Interlacing
from ICHMultiTaskLib.model.networks.tsm import SliceShift
from ICHMultiTaskLib.model.networks.x3d import InvertedBlock


def scrambled(module):
    """The module with weights and norms that do something: at their start, mistakes in them would not show."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.1)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


def take(network, weights, scores):
    """Give a network weights, in the order in which it names its own, and those [3, C] and [3] of the outputs."""
    own = {key: value for key, value in network.state_dict().items() if "num_batches" not in key and "_head" not in key}
    assert [value.numel() for value in own.values()] == [value.numel() for value in weights]
    for value, other in zip(own.values(), weights):
        value.copy_(other.reshape(value.shape))
    for name, rows in (("weight", scores[0]), ("bias", scores[1])):
        for head, part in ((network.volume_head, rows[:1]), (network.prognosis_head, rows[1:])):
            own = getattr(head.dense, name).data
            own.copy_(part.reshape(own.shape))


def weights_of(module):
    return {key: value for key, value in module.state_dict().items() if "num_batches" not in key}


def outputs(network, image):
    with torch.no_grad():
        volume, scores = network.eval()(image)
    return torch.cat([volume[:, None], scores], dim=1)


def test_densenet_equals_monai():
    nets = pytest.importorskip("monai.networks.nets", reason="the oracle, MONAI, is not installed")
    twin = scrambled(
        nets.DenseNet(
            3, 1, 3, init_features=8, growth_rate=4, block_config=(6, 12, 24, 16), bn_size=4, dropout_prob=0.0
        )
    )
    network = build_network({"network": "densenet121", "width": 8, "final_relu": False})
    *body, weight, bias = weights_of(twin).values()
    take(network, body, (weight, bias))
    image = torch.rand(2, 1, 32, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network, image), twin(image), rtol=1e-4, atol=1e-4)


def test_slices_pass_through_the_resnet_of_tsm_as_through_monais(monkeypatch):
    """Without the shift: each slice through a 2D ResNet, the mean of the outputs."""
    nets = pytest.importorskip("monai.networks.nets", reason="the oracle, MONAI, is not installed")
    monkeypatch.setattr(SliceShift, "forward", lambda self, x: x)
    for name, block in (("tsm34", "basic"), ("tsm50", "bottleneck")):
        twin = scrambled(
            nets.ResNet(
                block, [3, 4, 6, 3], [8, 16, 32, 64], spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_size=7,
                conv1_t_stride=2, bias_downsample=False,
            )
        )  # fmt: skip
        network = build_network({"network": name, "width": 8, "final_relu": False})
        *body, weight, bias = weights_of(twin).values()
        take(network, body, (weight, bias))
        image = torch.rand(1, 1, 3, 40, 48)
        with torch.no_grad():
            expected = twin(image[0, 0, :, None]).mean(0, keepdim=True)
        torch.testing.assert_close(outputs(network, image), expected, rtol=1e-4, atol=1e-4)


def test_shift_moves_an_eighth_each_way():
    x = torch.randn(2, 16, 4, 3, 3)
    found = SliceShift()(x)
    zero = torch.zeros(2, 2, 1, 3, 3)
    assert torch.equal(found[:, :2], torch.cat([x[:, :2, 1:], zero], dim=2))
    assert torch.equal(found[:, 2:4], torch.cat([zero, x[:, 2:4, :-1]], dim=2))
    assert torch.equal(found[:, 4:], x[:, 4:])


@pytest.mark.parametrize("distance", [(0.5, -1.25), (0.0, 1.0), (1.9, -1.9)])
def test_interlacing_moves_groups_by_parts_of_slices(distance):
    """A feature goes to the two slices around its new place, by how near it is; what leaves the ends is lost."""
    module = Interlacing(16, slices=5).double().eval()
    nn.init.zeros_(module.distance["out"].weight)
    shares = torch.tensor(distance, dtype=torch.double) / 4 + 0.5
    module.distance["out"].bias.data.copy_(torch.logit(shares))
    x = torch.randn(2, 16, 5, 2, 2, dtype=torch.double)
    weight = 2 * torch.sigmoid(module.weight(x[:, :4].mean((3, 4))))
    expected = x.clone()
    expected[:, :4] = 0
    for channel, moved in enumerate((*distance, *(-d for d in distance))):
        whole = int(torch.floor(torch.tensor(moved)))
        for slice_ in range(5):
            for target, share in ((slice_ + whole, whole + 1 - moved), (slice_ + whole + 1, moved - whole)):
                if 0 <= target < 5:
                    expected[:, channel, target] += share * x[:, channel, slice_]
    expected[:, :4] *= weight[:, [0, 1, 0, 1], :, None, None]
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("name", "blocks"), [("r2plus1d18", [2, 2, 2, 2]), ("r2plus1d34", [3, 4, 6, 3])])
def test_r2plus1d_equals_torchvision(name, blocks):
    theirs = pytest.importorskip("torchvision.models.video.resnet", reason="the oracle, torchvision, is not installed")
    twin = theirs.VideoResNet(
        theirs.BasicBlock, [theirs.Conv2Plus1D] * 4, blocks, theirs.R2Plus1dStem, num_classes=3
    )  # fmt: skip
    twin.stem[0] = nn.Conv3d(1, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    scrambled(twin)
    network = build_network({"network": name, "final_relu": False})
    # There both convolutions of a block have the middle channels of its first; the authors work them out for each.
    for before, stage in ((64, network.stage2), (128, network.stage3), (256, network.stage4)):
        filters = 2 * before
        stage[0].conv2 = split_convolution(filters, filters, middle=middle_channels(before, filters))
    *body, weight, bias = weights_of(twin).values()
    take(network, body, (weight, bias))
    image = torch.rand(1, 1, 8, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network, image), twin(image), rtol=1e-3, atol=1e-3)


@pytest.fixture
def pytorchvideo(monkeypatch):
    """PyTorchVideo's X3D. Of torchvision it wants a layer for detection alone, which none of these networks has."""
    pytest.importorskip("fvcore", reason="the oracle, PyTorchVideo, is not installed")
    if "torchvision" not in sys.modules:
        stand_in, operations = ModuleType("torchvision"), ModuleType("torchvision.ops")
        stand_in.ops, operations.RoIAlign = operations, None
        monkeypatch.setitem(sys.modules, "torchvision", stand_in)
        monkeypatch.setitem(sys.modules, "torchvision.ops", operations)
    return pytest.importorskip("pytorchvideo.models.x3d", reason="the oracle, PyTorchVideo, is not installed")


def test_x3d_equals_pytorchvideo(pytorchvideo):
    twin = scrambled(
        pytorchvideo.create_x3d(
            input_channel=1, input_clip_length=4, input_crop_size=64, model_num_class=3, head_activation=None
        )
    )
    network = build_network({"network": "x3d", "final_relu": False})
    # There the way around comes first; in the first stage it has no norm, unlike in the author's code.
    first = [block for block in network.modules() if isinstance(block, InvertedBlock)][0]
    norm = nn.BatchNorm3d(24, eps=0.0)
    first.shortcut[1] = norm
    own = dict.fromkeys(key.rpartition(".")[0] for key in weights_of(twin))
    places = [key for key in own if ".branch1_" not in key]
    for key in [key for key in own if ".branch1_" in key]:
        block = key.partition(".branch1_")[0]
        last = max(n for n, place in enumerate(places) if place.startswith(f"{block}."))
        places.insert(last + 1, key)
    if "blocks.1.res_blocks.0.branch1_norm" not in places:
        places.insert(places.index("blocks.1.res_blocks.0.branch1_conv") + 1, None)
    values = []
    for place in places:
        module = norm if place is None else twin.get_submodule(place)
        values += weights_of(module).values()
    *body, weight, bias = values
    take(network, body, (weight, bias))
    image = torch.rand(2, 1, 4, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network, image), twin(image), rtol=1e-3, atol=1e-3)


def test_timesformer_equals_transformers():
    transformers = pytest.importorskip("transformers", reason="the oracle, Transformers, is not installed")
    width, shape = 128, (3, 32, 32)  # there the images are square
    config = transformers.TimesformerConfig(
        image_size=32, patch_size=16, num_channels=1, num_frames=3, hidden_size=width, num_hidden_layers=12,
        num_attention_heads=2, intermediate_size=4 * width,
    )  # fmt: skip
    twin = transformers.TimesformerModel(config).eval()
    torch.manual_seed(0)
    for parameter in twin.parameters():
        parameter.data.normal_(0, 0.05)
    theirs = dict(twin.named_parameters())
    network = build_network({"network": "timesformer", "width": width, "grid": list(shape), "final_relu": False}).eval()
    place = theirs["embeddings.position_embeddings"][0]
    network.load_state_dict(
        {
            "stem.project.weight": theirs["embeddings.patch_embeddings.projection.weight"][:, :, None],
            "stem.project.bias": theirs["embeddings.patch_embeddings.projection.bias"],
            "stem.place": place[1:].T.reshape(1, width, 2, 2),
            "stem.slice": theirs["embeddings.time_embeddings"].transpose(1, 2),
            "stem.token": theirs["embeddings.cls_token"][0],
            "stem.token_place": place[:1],
            "neck.norm.weight": theirs["layernorm.weight"],
            "neck.norm.bias": theirs["layernorm.bias"],
        }
        | {key: value for key, value in network.state_dict().items() if "_head" in key}
        | {
            f"{block}.{ours}.{kind}": theirs[f"encoder.layer.{n}.{other}.{kind}"]
            for n in range(12)
            for block in ["neck.block" if n == 11 else f"stage{n // 3 + 1}.blocks.{n % 3}"]
            for ours, other in {
                "norm_across": "temporal_layernorm",
                "across.qkv": "temporal_attention.attention.qkv",
                "across.out": "temporal_attention.output.dense",
                "project_across": "temporal_dense",
                "norm_within": "layernorm_before",
                "within.qkv": "attention.attention.qkv",
                "within.out": "attention.output.dense",
                "norm_mlp": "layernorm_after",
                "mlp.0": "intermediate.dense",
                "mlp.2": "output.dense",
            }.items()
            for kind in ("weight", "bias")
        }
    )
    image = torch.rand(2, 1, *shape)
    with torch.no_grad():
        stage4 = dict(network.features(image))["stage4"]
        found = network.neck(stage4).flatten(1)
        expected = twin(image.transpose(1, 2)).last_hidden_state[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
