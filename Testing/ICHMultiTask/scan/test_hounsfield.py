"""Stored values as Hounsfield units: any number type, saturating, an offset that was never taken off."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.hounsfield import as_hu


@pytest.fixture
def head(dicom_files):
    """A head with noise, so that its peaks have a width."""
    hu = dicom_files.head(dicom_files.affine()).astype(float)
    return (hu + np.random.default_rng(0).normal(0, 5, hu.shape)).round().astype(np.int16)


@pytest.mark.parametrize("dtype", ["i2", ">i2", "i4", "i8", "f4", "f8", ">f4"])
def test_every_type_of_numbers_gives_the_same_hu(head, dtype):
    hu, warnings = as_hu(head.astype(dtype))
    assert hu.dtype == np.int16 and warnings == ()
    np.testing.assert_array_equal(hu, np.maximum(head, -1024))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "bool"])
def test_small_whole_numbers_stay(dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    hu, warnings = as_hu(values)
    assert hu.dtype == np.int16 and warnings == ()
    np.testing.assert_array_equal(hu, values.astype(np.int16))


def test_plain_hu_are_not_copied_and_fractions_are_kept(head):
    plain = np.maximum(head, -1024)
    assert np.shares_memory(as_hu(plain)[0], plain)
    fractions = plain.astype(np.float32) + np.float32(0.25)
    hu, _ = as_hu(fractions)
    assert hu.dtype == np.float32
    np.testing.assert_array_equal(hu, fractions)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("u2", 65535, 32767), ("u2", 32768, 32767), ("i4", 2**31 - 1, 32767), ("i4", -(2**31), -1024),
        ("i8", 2**62, 32767), ("i8", -(2**62), -1024), ("u8", 2**64 - 1, 32767), ("f8", 1e300, 32767),
        ("f8", -1e300, -1024), ("f4", 40000.5, 32767), ("i2", -32768, -1024), ("i2", -1025, -1024),
    ],
)  # fmt: skip
def test_values_saturate(dtype, value, expected):
    values = np.full((2, 3, 4), 40, dtype)
    values[1, 2, 3] = value
    hu, _ = as_hu(values)
    assert (hu[1, 2, 3], hu[0, 0, 0]) == (expected, 40)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_for_the_check_that_refuses_them(head, value):
    values = head.astype(np.float64)
    values[3, 2, 1] = value
    hu, _ = as_hu(values)
    assert hu.dtype == np.float32 and np.count_nonzero(~np.isfinite(hu)) == 1


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match="values of type complex128; expected whole or real numbers in HU"):
        as_hu(np.zeros((2, 2, 2), complex))


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "f4"])
def test_a_missing_offset_is_recognized_by_air_and_brain(head, dtype):
    plain = np.maximum(head, -1024)
    hu, (warning,) = as_hu((plain.astype(int) + 1024).astype(dtype))
    np.testing.assert_array_equal(hu, plain)
    assert warning.startswith("The values were stored without their offset (air at 2")
    assert warning.endswith("1024 was subtracted to get Hounsfield units.")


def test_a_hot_pixel_does_not_hide_the_missing_offset(head):
    values = (np.maximum(head, -1024).astype(int) + 1024).astype(np.uint16)
    values[0, 0, 0] = 65535
    hu, warnings = as_hu(values)
    assert len(warnings) == 1 and hu[0, 0, 0] == 32767 - 1024 and hu[16, 28, 28] == head[16, 28, 28]


@pytest.mark.parametrize(
    "stored",
    [
        lambda hu: hu + 1000,  # another offset: the brain would lie at 8 HU
        lambda hu: hu + 32768,
        lambda hu: hu.astype(np.int16).view(np.uint16).astype(int),
        lambda hu: np.clip(hu, 0, 80) * 3,  # a window of gray values
        lambda hu: np.where(hu > 700, 60, np.where(hu > -500, 1050 + hu, 20)),  # MR: dark bone
        lambda hu: np.where(hu > 500, 3000, np.where(hu > -500, 1500, 24)),  # tissue at another place
    ],
)
def test_ambiguous_values_are_not_changed(head, stored):
    values = np.maximum(stored(head.astype(int)), 0).astype(np.uint16)
    hu, warnings = as_hu(values)
    assert warnings == ()
    np.testing.assert_array_equal(hu, np.minimum(values, 32767))


def outside_circle(shape, margin=0):
    """Voxels outside the circle that a scanner reconstructs."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape[1:])
    return np.broadcast_to(np.hypot(rows[:, None], columns) > shape[1] / 2 - margin, shape)


@pytest.mark.parametrize("value", [3071, 4095, 32767, 0])
def test_constant_padding_around_the_scan_is_air_and_metal_of_its_value_stays(head, value):
    outside = outside_circle(head.shape)
    assert (head[outside] < -500).all()
    padded = np.where(outside, value, head)
    middle = tuple(n // 2 for n in head.shape)
    padded[middle] = value
    before = padded.copy()
    hu, (warning,) = as_hu(padded)
    assert warning.startswith(f"The constant value {value} around the scan (") and "padding" in warning
    assert (hu[outside] == -1024).all() and hu[middle] == value
    inside = ~outside_circle(head.shape, 2)
    np.testing.assert_array_equal(hu[inside], np.maximum(padded[inside], -1024))
    np.testing.assert_array_equal(padded, before, "the input is not changed")


def test_tissue_at_a_corner_and_pictures_without_air_are_no_padding(head):
    tight = head[:, 20:44, 20:44]
    hu, warnings = as_hu(tight)
    assert warnings == () and np.array_equal(hu, np.maximum(tight, -1024))
    picture = np.clip(head, 0, 80)  # a window: no air is left that would show what 0 means
    hu, warnings = as_hu(picture)
    assert warnings == () and hu.min() == 0


def test_nan_around_the_scan_is_air_and_a_blank_slice_is_none(head):
    values = np.where(outside_circle(head.shape), np.nan, head).astype(np.float32)
    hu, (warning,) = as_hu(values)
    assert "hold no number (NaN)" in warning and hu[0, 0, 0] == -1024
    assert np.isfinite(hu).all() and np.isnan(values[0, 0, 0])
    values[0] = np.nan
    assert np.isnan(as_hu(values)[0]).any(), "left to the check that refuses it"
