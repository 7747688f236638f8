"""The networks' cost beside the published one, and on grids that do not fit all of them."""

import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks.cost import network_cost
from ICHMultiTaskTrainingLib.evaluation import network_costs
from ICHMultiTaskTrainingLib.evaluation.network_costs import PUBLISHED, as_published, cost_rows, measured_cost, seconds

SMALL = {"width": 4, "stem_stride": [1, 2, 2], "stage_strides": [1, 2, [1, 2, 2], 1], "final_relu": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_with_the_published_input_and_output_is_as_published(name):
    published = PUBLISHED[name]
    cost = as_published(name, published)
    assert cost.parameters == pytest.approx(published.parameters_m * 1e6, rel=2e-3)
    if published.multiply_adds_g is not None:
        assert cost.multiply_adds == pytest.approx(published.multiply_adds_g * 1e9, rel=1e-2)


def test_networks_are_built_for_the_grid_and_one_that_cannot_read_it_is_named(monkeypatch):
    monkeypatch.setattr(network_costs, "TRAINABLE", ("tin18", "timesformer", "uniformizing3d"))
    monkeypatch.setattr(network_costs, "PUBLISHED", {})
    headings, rows = cost_rows([(16, 64, 64)])
    assert headings[3:5] == ["G multiply-adds, 16×64×64", "MiB kept in training, 16×64×64"]
    assert {row[1]: row[3] for row in rows} == {"tin18": "2.3", "timesformer": "31.5", "uniformizing3d": "1.4"}
    with pytest.raises(InputError, match="uniformizing3d cannot read 3×64×64 voxels"):
        cost_rows([(3, 64, 64)])


def test_each_grid_has_its_own_columns_with_the_seconds_of_each_device(monkeypatch):
    monkeypatch.setattr(network_costs, "TRAINABLE", ("tsm18",))
    monkeypatch.setattr(network_costs, "PUBLISHED", {})
    headings, (row,) = cost_rows([(16, 32, 32), (8, 32, 32)], ["cpu"])
    assert len(headings) == len(row)
    assert [text.rpartition(", ")[2] for text in headings[3:9]] == ["16×32×32"] * 3 + ["8×32×32"] * 3
    assert headings[5].startswith("seconds on ") and float(row[5]) > 0 and float(row[8]) > 0
    assert float(row[4]) == pytest.approx(2 * float(row[7]), abs=2)  # half the slices, half the memory


def test_a_scan_is_counted_and_what_is_not_at_hand_is_not_measured():
    shape = (8, 64, 64)
    found, counted = measured_cost(SMALL, shape, devices=["cpu"]), network_cost(SMALL, shape)
    assert found["parameters"] == counted.parameters and found["multiply_adds"] == counted.multiply_adds
    assert found["memory_mb"] > 0
    assert found["seconds"]["cpu"] > 0 and found["seconds"]["cuda"] is None
    assert set(found["measured_on"]) == {"cpu"}


def test_a_grid_whose_last_stage_is_a_single_voxel():
    assert measured_cost({"width": 2}, (8, 32, 32), devices=[])["multiply_adds"] > 0


def test_one_slow_run_does_not_count(monkeypatch):
    ends = iter([9.0, 0.3, 5.0, 0.2])  # for warming up; then three, of which one was interrupted
    clock = [0.0]

    class Network(torch.nn.Module):
        def forward(self, image):
            clock[0] += next(ends)
            return image.sum((1, 2, 3, 4)), None

    monkeypatch.setattr(network_costs.time, "perf_counter", lambda: clock[0])
    assert seconds(Network(), (2, 2, 2), "cpu") == pytest.approx(0.2)
