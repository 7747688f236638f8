"""Parameters, multiply-adds and kept features worked out on paper, against a run and PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ICHMultiTaskLib.model import runtime
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.cost import cost_of, network_cost

NETWORKS = {"resnet18": 4, "x3d": 4, "r2plus1d18": 4, "tin18": 16, "timesformer": 128, "uniformizing3d": 4}


@pytest.mark.parametrize(("name", "width"), NETWORKS.items())
def test_multiply_adds_are_half_of_pytorchs_operations(name, width):
    architecture, shape = {"network": name, "width": width}, (32, 32, 48)
    cost = network_cost(architecture, shape)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_network(architecture).eval()(torch.empty(1, 1, *shape))
    assert 2 * cost.multiply_adds == counter.get_total_flops() > 0
    assert cost.parameters == sum(p.numel() for p in build_network(architecture).parameters())
    assert network_cost(architecture, shape, batch=3).multiply_adds == 3 * cost.multiply_adds


@pytest.mark.parametrize(("name", "width"), NETWORKS.items())
def test_kept_features_are_those_of_a_run(name, width):
    """Attention may keep its weights or work them out again, which the device decides."""
    architecture, shape = {"network": name, "width": width}, (32, 32, 32)
    expected = cost_of(build_network(architecture), torch.rand(2, 1, *shape)).kept_bytes
    found = network_cost(architecture, shape, batch=2).kept_bytes
    assert found == pytest.approx(expected, rel=0.2 if name == "timesformer" else 0.01)


def test_memory_left_in_a_container(tmp_path):
    files = {"memory.max": "8000000000\n", "memory.current": "6000000000\n", "memory.stat": "anon 5\ninactive_file 7\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert runtime._left_in_container(tmp_path) == 2_000_000_007
    (tmp_path / "memory.max").write_text("max\n")
    assert runtime._left_in_container(tmp_path) is None
    assert runtime._left_in_container(tmp_path / "none") is None


def test_free_memory_is_plausible():
    found = runtime.free_memory("cpu")
    assert found is None or 1e7 < found < 1e14
