"""What a row's network costs: counted for one scan, timed where there is a device."""

from ICHMultiTaskLib.model.networks.cost import network_cost
from ICHMultiTaskTrainingLib.experiments.cost import cost

SMALL = {"width": 4, "stem_stride": [1, 2, 2], "stage_strides": [1, 2, [1, 2, 2], 1], "final_relu": False}


def test_a_scan_is_counted_and_what_is_not_at_hand_is_not_measured():
    shape = (8, 64, 64)
    found, counted = cost(SMALL, shape, devices=["cpu"]), network_cost(SMALL, shape)
    assert found["parameters"] == counted.parameters and found["multiply_adds"] == counted.multiply_adds
    assert found["memory_mb"] > 0
    assert found["seconds"]["cpu"] > 0 and found["seconds"]["cuda"] is None
    assert set(found["measured_on"]) == {"cpu"}


def test_a_grid_whose_last_stage_is_a_single_voxel():
    assert cost({"width": 2}, (8, 32, 32), devices=[])["multiply_adds"] > 0
