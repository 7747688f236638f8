"""A GPU computes what the processor does: the same code, run here on the processor under another of its names."""

from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.model.preprocessing import PRESETS, prepare
from ICHMultiTaskLib.model.testing import phantom

DEVICE = "cpu:0"


@pytest.fixture(scope="module")
def scan():
    return phantom((20, 96, 96), (7.0, 2.3, 2.3))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("slice_sampling", ["linear", "spline", "even"])
def test_the_network_reads_the_same(scan, preset, slice_sampling):
    settings = replace(PRESETS[preset], shape_kji=(16, 40, 44), slice_sampling=slice_sampling)
    np.testing.assert_allclose(prepare(scan, settings, DEVICE).array, prepare(scan, settings).array, atol=2e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_map_is_the_same(scan, order, dtype):
    """Also in a scan whose slices are sagittal, and in one stored as float32."""
    turned = replace(
        scan,
        hu=np.ascontiguousarray(scan.hu.transpose(order)).astype(dtype),
        ijk_to_ras=scan.ijk_to_ras[:, [*(2 - np.array(order))[::-1], 3]],
    )
    found = prepare(turned, PRESETS["default"])
    grid = np.random.default_rng(0).random((9, 7, 8), dtype=np.float32)
    region = turned.hu > 0
    maps = [found.map_to_scan(grid, (4, 16, 14), (1.0, 2.0, 0.0), region, device) for device in ("cpu", DEVICE)]
    np.testing.assert_allclose(maps[1][0], maps[0][0], atol=2e-6)
    assert maps[1][0].shape == turned.hu.shape and maps[0][1] == maps[1][1]
    assert maps[1][0][maps[1][1]] == 1.0 and not maps[1][0][~region].any()


def test_a_blank_map_has_no_peak(scan):
    found = prepare(scan, PRESETS["default"])
    for device in ("cpu", DEVICE):
        region = np.ones(scan.hu.shape, bool)
        array, peak = found.map_to_scan(np.zeros((2, 4, 4), np.float32), (16, 28, 28), (0.0, 0.0, 0.0), region, device)
        assert peak is None and array.shape == scan.hu.shape and not array.any()
