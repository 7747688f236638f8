"""What every network must be: two heads, four stages that lie where it says they do, weights that all learn."""

import inspect

import pytest
import torch

from ICHMultiTaskLib.model.networks import ARGUMENTS, NETWORKS, PUBLISHED_WIDTHS, TRAINABLE, build_network, built_for
from ICHMultiTaskLib.model.networks.base import STAGES
from ICHMultiTaskLib.model.networks.x3d import SqueezeExcitation
from ICHMultiTaskLib.model.runtime import LARGE_WEIGHT, Runtime

MIN_WIDTH = {"tin": 16, "tsm": 8, "timesformer": 16}
"""Of each kind that cannot be narrower; 4 for the others."""
FAMILIES = (
    "resnet18", "resnet50", "densenet121", "x3d", "r2plus1d18", "p3d50", "tsm18", "tin18", "timesformer",
    "uniformizing3d",
)  # fmt: skip
"""One of each kind."""


def tiny(name, **changes):
    """A narrow network of that name, without the randomness of dropout."""
    torch.manual_seed(0)
    width = next((width for kind, width in MIN_WIDTH.items() if name.startswith(kind)), 4)
    quiet = {key: 0.0 for key in ("dropout", "drop_path") if key in ARGUMENTS[name]}
    return build_network({"network": name, "width": width, "final_relu": False} | quiet | changes)


@pytest.mark.parametrize("name", TRAINABLE)
def test_arguments_are_those_of_the_class(name):
    arguments = inspect.signature(NETWORKS[name]).parameters
    assert set(ARGUMENTS[name]) == set(arguments) and PUBLISHED_WIDTHS[name] == arguments["width"].default


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_and_heads_are_as_the_network_says(name):
    """On a coarse epoch's grid; from each stage on, the heads say what they say of the image."""
    network = tiny(name).eval()
    image = torch.rand(2, 1, 32, 56, 56)
    with torch.no_grad():
        features, (volume, scores) = dict(network.features(image)), network(image)
        assert volume.shape == (2,) and scores.shape == (2, 2)
        for stage in STAGES:
            grid = network.on_grid(features[stage])
            assert grid.shape[:2] == (2, network.stage_channels[stage])
            for size, nodes, stride, offset in zip(
                image.shape[2:], grid.shape[2:], network.feature_strides[stage], network.feature_offsets[stage]
            ):
                last = offset + stride * (nodes - 1)
                assert 0 <= offset < stride
                assert last - stride / 2 < size and last + stride > size - stride, (stage, size, nodes, stride)
            for found, expected in zip(network.heads(features[stage], stage), (volume, scores)):
                torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_architecture_rebuilds_the_network_and_every_weight_learns(name):
    network = tiny(name)
    again = build_network(network.architecture)
    again.load_state_dict(network.state_dict())
    image = torch.rand(2, 1, 32, 56, 56)
    with torch.no_grad():
        for found, expected in zip(again.eval()(image), network.eval()(image)):
            assert torch.equal(found, expected)
    volume, scores = network.train()(image)
    (volume.sum() + scores[:, 1].sum()).backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("densenet121", {}),
        ("p3d50", {}),
        ("r2plus1d18", {}),
        ("tsm18", {}),
        ("uniformizing3d", {"padding": 0}),
        ("uniformizing3d", {"padding": 1}),
        ("x3d", {}),
    ],
)
@pytest.mark.parametrize("axis", [0, 2])
def test_features_lie_where_the_network_says(name, changes, axis):
    """Which nodes a voxel reaches, found with NaN: over all voxels of a stride, they lie around it evenly."""
    network = tiny(name, **changes).eval()
    for module in network.modules():
        if isinstance(module, SqueezeExcitation):  # which reaches everything
            module.forward = lambda x: x
    thick = {"densenet121": 16, "p3d50": 8, "uniformizing3d": 24}.get(name, 1)  # or a pool would leave nothing
    for stage in STAGES[:3]:
        stride, offset = network.feature_strides[stage][axis], network.feature_offsets[stage][axis]
        # As far to both sides as the stage sees: it must not see the ends.
        middle = stride * {"densenet121": 48, "x3d": 28}.get(name, 14)
        length = 2 * middle
        shape = [stride, 1, thick, thick, thick]
        shape[2 + axis] = length
        image = torch.zeros(shape)
        for n in range(stride):
            image.select(2 + axis, middle + n)[n] = float("nan")
        with torch.no_grad():
            output = next(output for name, output in network.features(image) if name == stage)
        reached = output.isnan().any(1).movedim(1 + axis, 1).flatten(2).any(2)
        assert not reached[:, 0].any() and not reached[:, -1].any(), stage
        places = offset + stride * torch.arange(reached.shape[1])
        distances = [places[nodes].float().mean() - middle - n for n, nodes in enumerate(reached)]
        assert abs(sum(distances) / stride) < 1e-3, (stage, distances)


@pytest.mark.parametrize("name", FAMILIES)
def test_few_slices_reach_the_heads(name):
    """Of 16 slices, half a node would be left of the last stage of networks that divide by 32."""
    shape = (16, 48, 48)
    volume, scores = tiny(name, **built_for(name, shape)).train()(torch.rand(2, 1, *shape))
    assert volume.isfinite().all() and scores.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_memory_layout_changes_no_output(name):
    """Trainings keep weights and images channels last, results do not."""
    network, image = tiny(name).eval(), torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = network(image)
        for channels_last in (True, False):
            runtime = Runtime("cpu", channels_last=channels_last)
            found = runtime.arrange(network)(runtime.arrange(image))
            for one, other in zip(found, expected):
                # Kernels of the two layouts add up in another order.
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for weights in network.parameters():
        assert weights.is_contiguous()


def test_large_weights_keep_their_layout_on_a_cpu():
    small, large = torch.nn.Conv3d(8, 8, 3), torch.nn.Conv3d(8, 1 + LARGE_WEIGHT // 8 // 27, 3)
    for layer, kept in ((small, False), (large, True)):
        weight = Runtime("cpu", channels_last=True).arrange(layer).weight
        assert weight.is_contiguous() == kept
        assert weight.is_contiguous(memory_format=torch.channels_last_3d) != kept


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_network_overfits_a_single_batch(name):
    """Volume and outcome of two images of noise, which only weights that work together can tell apart."""
    network = tiny(name).train()
    image = torch.rand(2, 1, 32, 32, 32)
    volume, death = torch.tensor([0.2, 1.4]), torch.tensor([0, 1])
    # Tokens of noise have nearly the same mean: attention finds what differs only by many small steps.
    rate, steps = (3e-4, 200) if name == "timesformer" else (5e-3, 60)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0)
    losses = []
    for _ in range(steps):
        output, scores = network(image)
        loss = (output - volume).square().mean() + torch.nn.functional.cross_entropy(scores, death)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-10:]) < 0.1 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("shape", [(32, 224, 224), (32, 112, 112)])
def test_published_size_runs_on_both_grids(name, shape):
    with torch.device("meta"):
        network = build_network({"network": name})
        volume, scores = network(torch.empty(2, 1, *shape))
    assert volume.shape == (2,) and scores.shape == (2, 2)
