"""Where the head is: without air, headrest and pillow."""

import numpy as np
import pytest

from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.head_region import head_region


@pytest.mark.parametrize("shape, spacing", [((32, 128, 128), (5.0, 1.8, 1.8)), ((120, 64, 64), (1.5, 3.6, 3.6))])
def test_head_without_headrest(shape, spacing):
    head = phantom(shape, spacing)
    hu = head.hu.copy()
    rest = slice(shape[1] - 2, shape[1])
    hu[:, rest, 5:-5] = 200
    hu[4, 3:9, 3:9] = 50  # a tube
    found = head_region(HeadCT(hu, head.ijk_to_ras, head.facts))
    is_head = head.hu > -300
    assert found[is_head].mean() > 0.97
    assert not found[:, rest].any() and not found[4, :10, :10].any()
    assert (found & ~is_head).sum() < 0.1 * is_head.sum()


def test_air_inside_the_head_belongs_to_it():
    head = phantom((32, 128, 128), (5.0, 1.8, 1.8))
    hu = head.hu.copy()
    hu[14:18, 60:70, 60:70] = -1000
    assert head_region(HeadCT(hu, head.ijk_to_ras, head.facts))[14:18, 60:70, 60:70].all()


def test_nothing_but_air():
    hu = np.full((5, 8, 9), -1000, np.int16)
    assert head_region(HeadCT(hu, np.eye(4))).all()
