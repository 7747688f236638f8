"""What a head's shape says of the geometry: size, proportions, and how it lies."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.coarse_head import coarse_head
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.head_shape import measure_head, misplacement
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient


@pytest.fixture(scope="module")
def head():
    """A simulated head, face and skull base included."""
    return simulate_patient(6, SimulationSettings(matrix=160, slices=40)).head_ct


@pytest.fixture(scope="module")
def real_head(data_folder):
    return read_head_ct(data_folder / "ge_head_tilt18_variable_spacing.zip")


def with_header(head_ct, change):
    """The same voxels with a header that says something else: a 3×3 matrix applied to the world."""
    affine = np.eye(4)
    affine[:3, :3] = change
    return HeadCT(head_ct.hu, affine @ head_ct.ijk_to_ras)


def scaled(head_ct, factors):
    affine = head_ct.ijk_to_ras.copy()
    affine[:3, :3] *= factors
    return HeadCT(head_ct.hu, affine)


@pytest.mark.parametrize(("half_axes", "thickness"), [((72, 90, 70), 8), ((62, 80, 62), 6)])
def test_size_of_an_ellipsoid(half_axes, thickness):
    """Outer table to outer table within a sample (4 mm) at each end; volume within 6 %."""
    k, j, i = np.meshgrid(*(np.arange(-100.0, 101, 2) for _ in range(3)), indexing="ij")
    width, length, height = half_axes
    hu = np.full(k.shape, -1000, np.int16)
    for shrink, value in ((-6, 20), (0, 900), (thickness, 32)):
        inside = (i / (width - shrink)) ** 2 + (j / (length - shrink)) ** 2 + (k / (height - shrink)) ** 2 < 1
        hu[inside] = value
    shape = measure_head(coarse_head(HeadCT(hu, np.diag([2.0, 2.0, 2.0, 1.0]))))
    assert shape.width_mm == pytest.approx(2 * width, abs=8)
    assert shape.length_mm == pytest.approx(2 * length, abs=8)
    inner = 4 / 3 * np.pi * np.prod(np.array(half_axes) - thickness) / 1000
    assert shape.intracranial_ml == pytest.approx(inner, rel=0.06)
    assert shape.covered > 0.95 and min(shape.symmetry) > 0.95


def test_a_head_is_measured_in_its_stated_orientation(head):
    shape = measure_head(coarse_head(head))
    assert misplacement(shape) is None
    assert 1200 < shape.intracranial_ml < 2000 and 130 < shape.width_mm < 160 and 165 < shape.length_mm < 215
    assert shape.closed_below < 0.1 and shape.symmetry[2] == max(shape.symmetry)
    up, forward = shape.cavities_mm
    assert up < -20 and forward > 20, "the air of nose and sinuses lies below and in front"
    assert check_head_ct(head).facts.intracranial_ml == pytest.approx(shape.intracranial_ml, abs=0.1)


@pytest.mark.parametrize("degrees", [-45, -25, 25, 45])
def test_a_head_turned_to_a_side_keeps_its_width_and_length(head, degrees):
    """Along the axes of the scan it would be up to 20 mm wider, and a large head no longer one of human size."""
    turned = ndimage.rotate(head.hu, degrees, axes=(1, 2), reshape=False, order=1, cval=-1000)
    stated, found = (measure_head(coarse_head(HeadCT(hu, head.ijk_to_ras))) for hu in (head.hu, turned))
    assert misplacement(found) is None
    assert found.width_mm == pytest.approx(stated.width_mm, abs=8)
    assert found.length_mm == pytest.approx(stated.length_mm, abs=8)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_storage_does_not_matter(head, axes):
    """The same head with its voxels stored along other axes and in other directions, and a header that says so."""
    expected = measure_head(coarse_head(head))
    for flips in product((1, -1), repeat=3):
        columns = head.ijk_to_ras[:, [2, 1, 0, 3]]
        hu, affine = np.transpose(head.hu, axes), columns[:, [*axes, 3]].copy()
        for axis, flip in enumerate(flips):
            if flip < 0:
                affine[:, 3] += affine[:, axis] * (hu.shape[axis] - 1)
                affine[:, axis] *= -1
                hu = np.flip(hu, axis)
        found = measure_head(coarse_head(HeadCT(hu, affine[:, [2, 1, 0, 3]])))
        # Samples start at the other end of an axis.
        assert found.intracranial_ml == pytest.approx(expected.intracranial_ml, rel=0.03)
        assert misplacement(found) is None


def test_a_scale_error_of_ten_percent_is_not_reported(head):
    """Every volume is a third larger, and the head's own still one that people have."""
    found, stated = (check_head_ct(one).facts for one in (scaled(head, 1.1), head))
    assert found.intracranial_ml == pytest.approx(1.331 * stated.intracranial_ml, rel=0.05)
    assert not any("size" in sentence for sentence in found.warnings)


WRONG = {
    "upside down": np.diag([1, 1, -1]),
    "with the face to the back": np.diag([1, -1, 1]),
    "upside down and with the face to the back": np.diag([1, -1, -1]),
    "symmetry across the axis from back to front": np.eye(3)[[1, 0, 2]],
    "symmetry across the axis from head to feet": np.eye(3)[[2, 1, 0]],
    "(on its face or its back|with the face to the back)": np.eye(3)[[0, 2, 1]],
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_head_in_another_orientation_is_refused(head, words, mirrored):
    """Each with right and left as they are and exchanged, which the head cannot tell."""
    left_right = np.diag([-1 if mirrored else 1, 1, 1])
    with pytest.raises(InputError, match=f"The head lies .*{words}.*expected the orientation that the header states"):
        check_head_ct(with_header(head, WRONG[words] @ left_right))


@pytest.mark.parametrize("words", list(WRONG)[:5])
def test_a_real_head_in_another_orientation_is_refused(real_head, words):
    with pytest.raises(InputError, match=words):
        check_head_ct(with_header(real_head, WRONG[words]))


def test_left_and_right_are_not_distinguished(head, real_head):
    for scan in (head, real_head):
        for sign in (1, -1):
            assert check_head_ct(with_header(scan, np.diag([sign, 1, 1]))).facts.warnings == ()


@pytest.mark.parametrize("factors", [1 / 0.7, 1.25, 0.7, (2, 2, 1), (1, 1, 1.8), (1, 1, 0.55), (1.5, 1, 1)])
def test_a_head_without_human_size_is_refused(head, factors):
    with pytest.raises(
        InputError, match="not have a human size, so the stated spacing must be wrong; expected .* found "
    ):
        check_head_ct(scaled(head, factors))


@pytest.mark.parametrize("factors", [0.82, 1.13, (1, 1, 0.72)])
def test_a_head_without_adult_size_gets_a_warning(head, factors):
    (warning,) = (text for text in check_head_ct(scaled(head, factors)).facts.warnings if "adult" in text)
    assert warning.startswith("The head does not have an adult's size: expected ") and "check the spacing" in warning


@pytest.mark.parametrize("shape", ["whole", "to the base"])
def test_padding_below_the_neck_is_not_taken_for_air(head, shape):
    """A scan resampled to a taller grid: what was outside is -1024."""
    first = 0 if shape == "whole" else 4
    padded = np.full((len(head.hu) + 20, *head.hu.shape[1:]), -1024, np.int16)
    padded[10 + first : 10 + len(head.hu)] = head.hu[first:]
    affine = head.ijk_to_ras.copy()
    affine[:3, 3] -= 10 * affine[:3, 2]
    assert measure_head(coarse_head(HeadCT(padded, affine))).closed_below < 0.1
    check_head_ct(HeadCT(padded, affine))


@pytest.mark.parametrize("degrees", [-40, 25, 40])
def test_a_head_rotated_to_the_side_is_accepted(head, degrees):
    turned = ndimage.rotate(head.hu, degrees, axes=(1, 2), reshape=False, order=1, cval=-1000)
    assert misplacement(measure_head(coarse_head(HeadCT(turned, head.ijk_to_ras)))) is None


def test_noise_does_not_hide_a_head(head):
    noise = np.random.default_rng(0).normal(0, 70, head.hu.shape)
    noisy = HeadCT(np.clip(head.hu + noise, -1024, 3071).astype(np.int16), head.ijk_to_ras)
    expected = check_head_ct(head).facts
    assert check_head_ct(noisy).facts.intracranial_ml == pytest.approx(expected.intracranial_ml, rel=0.1)


def test_an_open_skull_is_no_reason_to_refuse(real_head):
    """Bone taken off one side of a real head, wider than any craniectomy."""
    hu = real_head.hu.copy()
    window = hu[13:31, 150:360, :256]
    window[window > 150] = 25
    check_head_ct(HeadCT(hu, real_head.ijk_to_ras))


def test_contrast_medium_is_seen_in_the_voxels(head):
    """Tubes of 180 HU where large vessels and sinuses run; a clot of the same size is none."""
    k, j, i = np.indices(head.hu.shape)
    ras = np.stack([i, j, k], axis=-1) @ head.ijk_to_ras[:3, :3].T + head.ijk_to_ras[:3, 3]
    middle = ras[tuple(np.round(np.argwhere((head.hu > 15) & (head.hu < 60)).mean(axis=0)).astype(int))]
    dense = np.zeros(head.hu.shape, dtype=bool)
    for side in (-22.0, -8.0, 8.0, 22.0):
        across = ras[..., [0, 2]] - middle[[0, 2]] - [side, 15.0]
        dense |= ((across**2).sum(-1) < 3.5**2) & (np.abs(ras[..., 1] - middle[1]) < 45)
    with_contrast = HeadCT(np.where(dense, 180, head.hu).astype(np.int16), head.ijk_to_ras)
    assert any("filled with contrast medium" in text for text in check_head_ct(with_contrast).facts.warnings)
    clot = HeadCT(np.where(dense, 75, head.hu).astype(np.int16), head.ijk_to_ras)
    assert not any("contrast medium" in text for text in check_head_ct(clot).facts.warnings)
    assert not any("contrast medium" in text for text in check_head_ct(head).facts.warnings)
