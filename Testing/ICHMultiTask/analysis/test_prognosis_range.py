"""The varied readings beside the prognosis: what is varied, and how."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ICHMultiTaskLib.analysis.prognosis_range import percentile_range, varied_images  # noqa: E402
from ICHMultiTaskLib.model.preprocessing import NetworkInput  # noqa: E402

WINDOW = (0.0, 100.0)
SPACING = np.array([5.0, 0.5, 0.5])


@pytest.fixture(scope="module")
def network_input():
    """A block of 30 HU with a bright bar on the patient's left, air around."""
    array = np.zeros((1, 4, 60, 40), np.float32)
    array[:, :, 10:50, 8:32] = 0.3
    array[:, :, 28:32, 24:30] = 0.7
    crop = ((0, 8), (0, 300), (0, 200))
    return NetworkInput(array, (0, 1, 2), (False, False, False), crop, (8, 300, 200), 1.0)


@pytest.fixture(scope="module")
def images(network_input):
    return varied_images(network_input, SPACING, WINDOW)


def test_prognosis_range_uses_nine_additional_predictions(images, network_input):
    assert images.shape == (9, *network_input.array.shape) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1


def test_lighter_and_darker_by_three_hounsfield_units(images, network_input):
    inside = network_input.array > 0
    for image, step in zip(images[:2], (-0.03, 0.03)):
        assert image[inside] == pytest.approx(network_input.array[inside] + step, abs=1e-6)
        assert not image[~inside].any()  # air stays air


def test_mirrored_halves(images, network_input):
    assert np.array_equal(images[4], network_input.array[..., ::-1])
    assert np.array_equal(images[5:], images[:4][..., ::-1])


def test_rotation_by_three_degrees_is_in_millimeters(images):
    """The bar's center moves on a circle about the image's middle, in mm, not in voxels."""
    step_mm = np.array([300 * 0.5 / 60, 200 * 0.5 / 40])
    middle = (np.array([60, 40]) - 1) / 2

    def center(image):
        weight = np.clip(image[0, 1] - 0.4, 0.0, None)  # of the bar alone
        rows, columns = np.indices(weight.shape)
        return (np.array([(rows * weight).sum(), (columns * weight).sum()]) / weight.sum() - middle) * step_mm

    start = np.array([(28 + 31) / 2 - middle[0], (24 + 29) / 2 - middle[1]]) * step_mm
    moved = [center(image) - start for image in images[2:4]]
    expected = np.radians(3.0) * np.linalg.norm(start)
    for way in moved:
        assert np.linalg.norm(way) == pytest.approx(expected, abs=0.2)
    assert moved[0] @ moved[1] < 0


def test_percentiles():
    assert percentile_range(np.linspace(0, 1, 101)) == pytest.approx((0.05, 0.95))
    assert percentile_range([0.2]) == (0.2, 0.2)
