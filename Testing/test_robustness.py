"""Robustness: the erased hematoma, the same head scanned differently, real anatomy, two models compared."""

from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.errors import InputError
from ICHMultiTaskLib.geometry import apply_affine
from ICHMultiTaskLib.testing import phantom
from ICHMultiTaskTrainingLib.erasing import erase_hematoma, midline_plane


@pytest.fixture(scope="module")
def head():
    """The phantom, its mask, and brain of different density in the two hemispheres."""
    scan = phantom((28, 96, 96), (6.0, 2.2, 2.2))
    mask = (scan.hu > 50) & (scan.hu < 100)
    hu = scan.hu.copy()
    left = np.arange(96) >= 48  # the hematoma is in the right hemisphere, at low i
    brain = (hu > 0) & (hu < 50)
    hu[brain & left] -= 8
    return replace(scan, hu=hu), mask


def turned(scan, angle_deg, shift_mm):
    """The same voxels, with the head turned about the scan axis and moved to the right."""
    angle = np.radians(angle_deg)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[0, 3] = shift_mm
    return replace(scan, ijk_to_ras=turn @ scan.ijk_to_ras)


@pytest.mark.parametrize("angle_deg, shift_mm", [(0.0, 0.0), (9.0, 12.0), (-7.0, -5.0)])
def test_midline_plane_follows_the_head(head, angle_deg, shift_mm):
    normal, offset = midline_plane(turned(head[0], angle_deg, shift_mm))
    expected = np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg)), 0.0])
    assert np.degrees(np.arccos(min(1.0, normal @ expected))) < 1.0
    assert offset == pytest.approx(shift_mm * expected[0], abs=1.0)


def test_erased_hematoma_is_tissue_of_the_other_side(head):
    scan, mask = head
    erased = erase_hematoma(scan, mask)
    assert erased.hu.dtype == scan.hu.dtype and np.array_equal(erased.ijk_to_ras, scan.ijk_to_ras)
    # 33 HU of brain less the 8 that make the left hemisphere differ; the noise stays too.
    assert erased.hu[mask].mean() == pytest.approx(25, abs=0.5)
    assert erased.hu[mask].std() == pytest.approx(4, abs=1)
    far = apply_affine(scan.ijk_to_ras, np.argwhere(mask)[:, ::-1]).mean(axis=0)
    points = apply_affine(scan.ijk_to_ras, np.stack(np.indices(mask.shape)[::-1], -1))
    far = np.linalg.norm(points - far, axis=-1) > 20 + 18  # 3 slices of 6 mm
    assert np.array_equal(erased.hu[far], scan.hu[far])
    assert mask.any() and far.any()


def test_skull_beside_a_hematoma_is_left_alone(head):
    scan, _ = head
    bone = scan.hu > 500
    mask = np.zeros(bone.shape, bool)
    mask[12:16, 40:50, 10:24] = True  # from the inner table inwards
    mask &= ~bone
    hu = scan.hu.copy()
    hu[mask] = 70
    erased = erase_hematoma(replace(scan, hu=hu), mask)
    assert np.array_equal(erased.hu[bone], scan.hu[bone])
    assert erased.hu[mask].max() < 50


def test_hematoma_across_the_midline_is_erased_too(head):
    scan, first = head
    mask = first.copy()
    mask[12:16, 40:56, 42:54] = True
    hu = scan.hu.copy()
    hu[mask] = 70
    erased = erase_hematoma(replace(scan, hu=hu), mask)
    assert 20 < erased.hu[mask].mean() < 36 and erased.hu[mask].max() < 55  # blood: 68 and 70


def test_what_cannot_be_erased_is_refused(head):
    scan, mask = head
    with pytest.raises(InputError, match=r"not on the scan's grid: expected \(28, 96, 96\).*found \(27, 96, 96\)"):
        erase_hematoma(scan, mask[1:])
    with pytest.raises(InputError, match="found it empty"):
        erase_hematoma(scan, np.zeros_like(mask))
    with pytest.raises(InputError, match="no skull"):
        erase_hematoma(replace(scan, hu=np.minimum(scan.hu, 100)), mask)
