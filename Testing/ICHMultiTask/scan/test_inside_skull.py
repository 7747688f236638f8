"""What a wall of bone encloses within each slice."""

import numpy as np
from scipy import ndimage

from ICHMultiTaskLib.scan.coarse_head import IN_PLANE
from ICHMultiTaskLib.scan.inside_skull import inside_skull


def square(size=20, low=5, high=15):
    """A closed wall in one slice, and open space above and below."""
    wall = np.zeros((3, size, size), bool)
    wall[1, low:high, low:high] = True
    wall[1, low + 1 : high - 1, low + 1 : high - 1] = False
    return wall


def test_inside_without_the_wall_and_only_in_its_own_slice():
    wall = square()
    inside = inside_skull(wall)
    expected = np.array([ndimage.binary_fill_holes(plane) & ~plane for plane in wall])
    np.testing.assert_array_equal(inside, expected)
    assert inside.sum() == 64


def test_a_gap_opens_the_wall_until_it_is_thickened():
    wall = square()
    wall[1, 5, 8:12] = False
    assert not inside_skull(wall).any()
    assert inside_skull(ndimage.binary_dilation(wall, IN_PLANE, iterations=2))[1, 10, 10]


def test_a_skull_cut_off_by_the_field_of_view():
    wall = square()[:, :, 8:]  # the left wall is missing
    air = np.zeros(wall.shape, bool)
    air[1, :3] = air[1, 17:] = air[1, :, 9:] = True
    assert not inside_skull(wall).any()
    assert inside_skull(wall, air)[1, 10, 3]
    assert not inside_skull(wall, air)[1, 10, 10]
    # Along more than a third of the edge there is no skull, air or not.
    assert not inside_skull(np.zeros_like(wall), np.zeros_like(air)).any()
