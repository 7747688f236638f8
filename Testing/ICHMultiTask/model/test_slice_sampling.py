"""Slices of the network's grid by spline and by even selection: against SciPy and the scan itself, there and back."""

import json

import numpy as np
import pytest
from scipy import ndimage

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.model.bundle import METADATA
from ICHMultiTaskLib.model.preprocessing import PRESETS, PreprocessingSettings, prepare
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskLib.scan.head_ct import HeadCT

GRID = (16, 40, 32)
FEET_TO_HEAD, HEAD_TO_FEET = np.diag([-2.0, -2.0, 5.0, 1.0]), np.diag([-2.0, -2.0, -5.0, 1.0])


def solid(slices, affine=FEET_TO_HEAD):
    """Noise of soft tissue everywhere, on the grid's rows and columns: only the number of slices changes."""
    hu = np.random.default_rng(slices).uniform(-50, 150, (slices, *GRID[1:])).astype(np.float32)
    return HeadCT(hu, affine)


def settings(sampling, **changes):
    return PreprocessingSettings((0, 100), GRID, slice_sampling=sampling, **changes)


def windowed(hu):
    return np.clip(hu, 0, 100) / 100


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 7, 16, 31, 150])
def test_spline_equals_scipy(slices, average):
    scan = solid(slices)
    zoom = (GRID[0] / slices, 1, 1)
    expected = ndimage.zoom(windowed(scan.hu), zoom, order=3, mode="nearest", grid_mode=True).clip(0, 1)
    found = prepare(scan, settings("spline", average=average))
    np.testing.assert_allclose(found.array[0], expected, atol=1e-5)
    upside_down = prepare(HeadCT(scan.hu[::-1].copy(), HEAD_TO_FEET), settings("spline", average=average))
    np.testing.assert_allclose(upside_down.array, found.array, atol=1e-5)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 7, 16, 31, 32, 150])
def test_even_slices_are_slices_of_the_scan_at_equal_distances(slices, average):
    scan = solid(slices)
    found = prepare(scan, settings("even", average=average))
    np.testing.assert_allclose(found.array[0], windowed(scan.hu)[list(found.slices)], atol=1e-6)
    # Each is the slice that contains the center of its part of the head.
    centers = (np.arange(GRID[0]) + 0.5) * slices / GRID[0]
    assert (np.abs(np.array(found.slices) + 0.5 - centers) <= 0.5).all()
    assert np.ptp(np.diff(found.slices)) <= 1
    # Two slices can be equally near: what the network sees does not depend on how the scan is stored.
    upside_down = prepare(HeadCT(scan.hu[::-1].copy(), HEAD_TO_FEET), settings("even", average=average))
    np.testing.assert_allclose(upside_down.array, found.array, atol=1e-6)
    assert upside_down.slices == tuple(slices - 1 - n for n in reversed(found.slices))
    assert found.crop_volume_mm3 == pytest.approx(scan.hu.size * 20)


@pytest.mark.parametrize("affine", [FEET_TO_HEAD, HEAD_TO_FEET], ids=["feet to head", "head to feet"])
@pytest.mark.parametrize("slices", [5, 7, 16, 31, 150])
def test_attention_on_an_even_slice_returns_to_it(slices, affine):
    found = prepare(solid(slices, affine), settings("even"))
    order = found.slices[::-1] if found.flips[0] else found.slices
    for n in range(1, GRID[0] - 1):
        grid = np.zeros(GRID, np.float32)
        grid[n, 20, 16] = 1
        copies = [other for other in range(GRID[0]) if order[other] == order[n]]
        position = found.scan_to_network(0, order[n])
        assert position == np.mean(copies)
        if copies == [n]:
            shown = found.to_scan(grid)[:, 20, 16]
            assert shown.argmax() == order[n]
            assert shown[order[n]] == pytest.approx((2 / 3) ** 3, rel=1e-5)  # of the spline, at its own node
    assert (np.diff(found.scan_to_network(0, np.arange(slices))) * affine[2, 2] >= 0).all()


def test_even_slices_of_a_head_in_air_lie_in_its_crop():
    hu = np.full((70, 60, 50), -1000, np.int16)
    hu[11:61, 10:50, 8:42] = 30
    found = prepare(HeadCT(hu, HEAD_TO_FEET), settings("even", max_height_mm=100.0))
    low, high = found.crop[0]
    assert low <= 11 and high - low == 20 and low <= min(found.slices) and max(found.slices) < high
    marked = np.zeros(hu.shape, bool)
    marked[found.slices[3]] = True
    seen = found.cropped(marked)
    assert seen.shape[0] == GRID[0] and seen[3].all() and not seen[4].any()


def test_linear_sampling_is_not_written_so_that_earlier_versions_read_the_bundle():
    assert PreprocessingSettings() == PRESETS["paper"] and "slice_sampling" not in PRESETS["paper"].as_dict()
    spline = settings("spline")
    assert spline.as_dict()["slice_sampling"] == "spline" and PreprocessingSettings(**spline.as_dict()) == spline


def test_a_bundle_is_analyzed_with_the_sampling_that_it_names(tmp_path):
    bundle, scan = tiny_bundle(tmp_path / "bundle"), phantom()
    path, outputs = bundle / METADATA, set()
    for sampling in ("linear", "spline", "even"):
        metadata = json.loads(path.read_text()) | {"preprocessing": settings(sampling).as_dict()}
        path.write_text(json.dumps(metadata))
        analysis = Analyzer(bundle, "cpu").analyze(scan)
        expected = prepare(scan, settings(sampling)).array
        np.testing.assert_array_equal(analysis.prediction.network_input.array, expected)
        assert analysis.attention.array.shape == scan.hu.shape
        outputs.add(analysis.prediction.output)
    assert len(outputs) == 3
