"""The steps of the preprocessing on grids so small that the result can be written down or found in another way."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.preprocessing import (
    BATCH,
    PRESETS,
    NetworkInput,
    PreprocessingSettings,
    _head_box,
    _linear_matrix,
    _orientation,
    _resize_matrix,
    _spline_matrix,
    prepare,
    resize,
)
from ICHMultiTaskLib.scan.head_ct import HeadCT

AIR, BRAIN, BONE = -1000, 30, 900


def block(shape, *parts):
    """Air with boxes in it: each a value and bounds (low, high) along k, j and i."""
    volume = np.full(shape, AIR, np.int16)
    for value, *bounds in parts:
        volume[tuple(slice(*b) for b in bounds)] = value
    return volume


def test_linear_weights():
    found = _linear_matrix(np.array([-3.0, 0.0, 0.25, 1.0, 1.75, 2.0, 9.0]), 3)
    expected = [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1], [0, 0, 1]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(_linear_matrix(np.array([-1.0, 0.5, 1.5]), 2), [[1, 0], [0.5, 0.5], [0, 1]], atol=1e-7)
    np.testing.assert_array_equal(_linear_matrix(np.array([-1.0, 0.0, 2.0]), 1), [[1], [1], [1]])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_spline_weights_are_those_of_the_cubic_b_spline_mirrored_at_the_ends(size):
    positions = np.concatenate([np.linspace(-1.5, size + 0.5, 41), np.arange(size, dtype=float)])
    kernel = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    expected = np.zeros((len(positions), size))
    for row, position in zip(expected, np.clip(positions, 0, size - 1)):
        for node in range(-3, size + 3):
            mirrored = abs(node) % max(2 * size - 2, 1)
            row[min(mirrored, 2 * size - 2 - mirrored)] += np.nan_to_num(kernel(position - node))
    found = _spline_matrix(positions, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)  # float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_weights_of_a_resize():
    np.testing.assert_allclose(_resize_matrix(4, 2, False), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], atol=1e-7)
    # A triangle of twice the width: of samples 0.5, 0.5 and 1.5 from its middle, 0.75, 0.75 and 0.25.
    expected = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    np.testing.assert_allclose(_resize_matrix(4, 2, True), expected, atol=1e-7)
    # Three to two, the least by which a grid can be coarser here: middles at 0.25 and 1.75, half a width of 1.5.
    expected = np.array([[10, 6, 0], [0, 6, 10]]) / 16
    np.testing.assert_allclose(_resize_matrix(3, 2, True), expected, atol=1e-7)
    for average in (False, True):
        np.testing.assert_array_equal(_resize_matrix(3, 3, average), np.eye(3))
        finer = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
        np.testing.assert_allclose(_resize_matrix(2, 4, average), finer, atol=1e-7)


@pytest.mark.parametrize("average", [False, True])
def test_resize_windows_first_and_weighs_each_axis(average):
    volume = np.random.default_rng(0).integers(-200, 300, (5, 7, 9)).astype(np.int16)
    found = resize(volume, (-50.0, 150.0), (3, 8, 4), average)
    windowed = (np.clip(volume.astype(float), -50, 150) + 50) / 200
    weights = [_resize_matrix(n, m, average) for n, m in zip(volume.shape, found.shape)]
    expected = np.einsum("dk,hj,wi,kji->dhw", *weights, windowed)
    assert found.shape == (3, 8, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
@pytest.mark.parametrize(("samples", "is_skull"), [(25, True), (24, False)], ids=["100 mm", "96 mm"])
def test_bone_from_100_mm_on_is_the_skull_and_shorter_bone_is_none(axis, samples, is_skull):
    """Every slice, second row and fourth column is looked at: 4 mm each. The margin is 1 mm: one column."""
    steps, strides = (4.0, 2.0, 1.0), (1, 2, 4)
    bone, head = [(6, 10), (12, 16), (12, 16)], [(2, 18), (4, 40), (5, 41)]  # in samples
    bone[axis] = (8, 8 + samples)
    voxels = [[tuple(n * stride for n in bounds) for bounds, stride in zip(part, strides)] for part in (head, bone)]
    found = _head_box(block((24, 100, 200), (BRAIN, *voxels[0]), (BONE, *voxels[1])), steps)
    assert found == [(low - margin, high + margin) for (low, high), margin in zip(voxels[is_skull], (0, 0, 1))]


def test_height_alone_does_not_make_bone_a_skull():
    """A spine: bone of 100 mm from head to feet, narrow across."""
    head = [(0, 26), (5, 15), (6, 17)]
    volume = block((26, 20, 22), (BRAIN, *head), (BONE, (0, 26), (8, 11), (9, 12)))
    assert _head_box(volume, (4.0, 4.0, 4.0)) == head


@pytest.mark.parametrize("shift", range(8))
def test_box_does_not_depend_on_where_the_samples_lie(shift):
    """Every second slice, fourth row and eighth column is looked at; the margin is 0, 1 and 2 voxels."""
    volume = block((40, 160, 320), (BONE, (9, 20), (42, 101), (83, 300)))
    expected = [(9, 20), (41, 102), (81, 302)]
    assert _head_box(volume[:, shift:, shift:], (2.0, 1.0, 0.5)) == [
        expected[0],
        *[(low - shift, high - shift) for low, high in expected[1:]],
    ]
    assert _head_box(volume[shift:], (2.0, 1.0, 0.5)) == [(9 - shift, 20 - shift), *expected[1:]]


def test_dense_parts_beside_the_head_are_not_reached():
    """Plates half a millimeter and 1 mm beside the skull, between samples."""
    skull = (BONE, (8, 20), (42, 101), (83, 300))
    alone = _head_box(block((40, 160, 320), skull), (2.0, 1.0, 0.5))
    plates = [(BONE, (8, 20), (102, 104), (83, 300)), (BONE, (8, 20), (42, 101), (81, 82))]
    assert _head_box(block((40, 160, 320), skull, *plates), (2.0, 1.0, 0.5)) == alone


@pytest.mark.parametrize("seed", range(6))
def test_box_is_that_of_the_skull_in_all_voxels(seed):
    """A tilted shell and a head holder below it that fills corners of its box: as SciPy labels all voxels."""
    draw = np.random.default_rng(seed)
    steps, shape = draw.uniform((2.5, 0.7, 0.4), (6.0, 1.1, 0.6)), (30, 230, 420)
    z, y, x = ((np.arange(n) - draw.uniform(0.45, 0.5) * n) * step for n, step in zip(shape, steps))
    y = y[:, None] + 0.2 * z[:, None, None]
    radius = np.sqrt((z[:, None, None] / 70) ** 2 + (y / 75) ** 2 + (x / 65) ** 2)
    holder = np.sqrt((y / 92) ** 2 + (x / 82) ** 2)
    dense = ((radius < 1) & (radius > 0.88)) | ((abs(holder - 1) < 0.02) & (y > 30))
    parts, _count = ndimage.label(dense, np.ones((3, 3, 3)))
    (bounds,) = ndimage.find_objects((parts == np.bincount(parts[dense]).argmax()).astype(int))
    margins = [round(1 / step) for step in steps]
    expected = [(max(0, b.start - m), min(n, b.stop + m)) for b, m, n in zip(bounds, margins, shape)]
    assert _head_box(np.where(dense, BONE, AIR).astype(np.int16), steps) == expected


def test_box_reaches_two_samples_at_most():
    """A thin spike that the samples miss, longer than two of them."""
    volume = block((40, 160, 320), (BONE, (8, 20), (40, 101), (80, 297)), (BONE, (9, 10), (101, 130), (81, 82)))
    assert _head_box(volume, (2.0, 1.0, 0.5))[1] == (39, 101 + 8 + 1)


def test_box_stays_inside_the_scan_and_keeps_coarse_voxels():
    volume = np.full((3, 30, 31), BONE, np.int16)
    assert _head_box(volume, (10.0, 4.0, 4.0)) == [(0, 3), (0, 30), (0, 31)]
    volume = np.full((3, 61, 62), BONE, np.int16)
    assert _head_box(volume, (10.0, 2.0, 2.0)) == [(0, 3), (0, 61), (0, 62)]


def test_box_is_of_the_largest_part_and_diagonal_voxels_touch():
    volume = block(
        (8, 40, 40),
        (BONE, (1, 3), (2, 30), (2, 30)),
        (BONE, (3, 5), (30, 32), (30, 32)),
        (BONE, (6, 8), (36, 38), (1, 3)),
    )
    assert _head_box(volume, (4.0, 4.0, 4.0)) == [(1, 5), (2, 32), (2, 32)]


def test_thresholds_are_not_part_of_bone_and_head():
    volume = block((8, 40, 40), (300, (1, 3), (2, 30), (2, 30)), (BRAIN, (3, 5), (4, 9), (4, 9)))
    volume[6, 20:39, 20:39] = -300
    assert _head_box(volume, (4.0, 4.0, 4.0)) == [(1, 5), (2, 30), (2, 30)]
    volume[volume == 300] = 301
    assert _head_box(volume, (4.0, 4.0, 4.0)) == [(1, 3), (2, 30), (2, 30)]
    with pytest.raises(InputError, match="denser than -300 HU"):
        _head_box(np.full((4, 5, 6), -300, np.int16), (4.0, 4.0, 4.0))


def test_orientation_takes_each_axis_once():
    assert _orientation(np.diag([-1.0, -1.0, 1.0, 1.0])) == ((0, 1, 2), (False, False, False))
    assert _orientation(np.diag([0.5, 0.5, -5.0, 1.0])) == ((0, 1, 2), (True, True, True))
    coronal = np.array([[-1.0, 0, 0, 0], [0, 0, -5, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert _orientation(coronal) == ((1, 0, 2), (False, False, False))
    # Coronal slices of 5 mm with rows of 0.5 mm, turned by 30°: directions count, not lengths.
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    thick = np.array([[-0.5, 0, 0, 0], [0, 0.5 * s, -5 * c, 0], [0, 0.5 * c, 5 * s, 0], [0, 0, 0, 1]])
    assert _orientation(thick) == ((1, 0, 2), (False, False, False))
    # Beyond 45° the second axis would be nearest to superior again, though the first one is nearer.
    turned = np.array([[-1.0, 0, 0, 0], [0, -0.6, -0.8, 0], [0, -0.8, 0.6, 0], [0, 0, 0, 1]])
    assert _orientation(turned) == ((1, 0, 2), (True, False, False))


@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, False)], ids=str)
def test_a_grid_is_spread_over_the_scan(flips):
    """More slices than are taken at once, axes exchanged, a crop, strides: against SciPy at positions by hand."""
    crop, axes, scan_shape, strides = ((3, 3 + 2 * BATCH + 5), (1, 9), (2, 14)), (1, 0, 2), (11, 80, 17), (2, 1, 3)
    array = np.zeros((1, 8, 6, 12), np.float32)
    made = NetworkInput(array, axes, flips, crop, scan_shape, 1.0)
    grid = np.random.default_rng(1).uniform(-1, 1, (4, 6, 4)).astype(np.float32)
    positions = []
    for (low, high), size, flip, stride in zip(crop, array.shape[1:], flips, strides):
        position = (np.arange(high - low) + 0.5) / (high - low) * size - 0.5
        positions.append((position[::-1] if flip else position) / stride)
    last = np.reshape(grid.shape, (3, 1, 1, 1)) - 1
    at = np.clip(np.stack(np.meshgrid(*positions, indexing="ij")), 0, last)
    expected = np.zeros(scan_shape)
    inside = ndimage.map_coordinates(grid, at, order=3, mode="mirror", prefilter=False)
    expected.transpose(axes)[tuple(slice(*c) for c in crop)] = inside
    found = made.to_scan(grid, strides)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for axis, ((low, high), position) in enumerate(zip(crop, positions)):
        np.testing.assert_allclose(made.scan_to_network(axis, range(low, high)), position * strides[axis], atol=1e-9)
    whole = NetworkInput(array, (0, 1, 2), (False, False, False), ((0, 8), (0, 6), (0, 12)), (8, 6, 12), 1.0)
    grid = np.random.default_rng(2).uniform(size=(8, 6, 12)).astype(np.float32)
    nodes = np.stack(np.indices(grid.shape)).astype(float)
    expected = ndimage.map_coordinates(grid, nodes, order=3, mode="mirror", prefilter=False)
    np.testing.assert_allclose(whole.to_scan(grid), expected, atol=1e-5)


@pytest.mark.parametrize("step_k", [2.0, -2.0], ids=["feet to head", "head to feet"])
def test_a_scan_becomes_network_input(step_k):
    """The top of the head is kept, the crop's volume is that of its voxels, and what is on top comes last."""
    bounds = [(4, 54), (2, 28), (3, 29)]
    volume = block((60, 32, 32), (BONE, *bounds))
    volume[[6, 50], 9, 20] = 20  # one mark near the first slice, one near the last
    scan = HeadCT(volume, np.diag([-4.0, -4.0, step_k, 1.0]))
    settings = PreprocessingSettings(window_hu=(20, 900), shape_kji=(21, 26, 26), max_height_mm=41.0)
    found = prepare(scan, settings)
    kept = (34, 54) if step_k > 0 else (4, 24)
    assert found.crop == (kept, *bounds[1:])
    assert found.flips == (step_k < 0, False, False) and found.axes == (0, 1, 2)
    assert found.scan_shape == (60, 32, 32) and found.array.shape == (1, 21, 26, 26)
    assert found.crop_volume_mm3 == pytest.approx(20 * 26 * 26 * 32.0)
    cropped = volume[tuple(slice(*c) for c in found.crop)]
    upward = cropped if step_k > 0 else cropped[::-1]
    np.testing.assert_allclose(found.array[0], resize(upward, (20.0, 900.0), (21, 26, 26), False), atol=1e-6)


@pytest.mark.parametrize("flipped", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_the_direction_in_which_a_scan_is_stored_does_not_matter(flipped):
    """NIfTI files often hold rows from back to front; their crop must not differ from that of the DICOM images."""
    volume = block((31, 101, 98), (BONE, (3, 28), (11, 90), (14, 87))).astype(np.int16)
    volume[4:27, 13:88, 16:85] = np.random.default_rng(4).integers(0, 100, (23, 75, 69))
    affine = np.diag([-1.5, -1.5, 5.0, 1.0])
    stored = affine.copy()
    for axis in flipped:
        stored[:3, 3] += affine[:3, 2 - axis] * (volume.shape[axis] - 1)
        stored[:3, 2 - axis] *= -1
    one, other = prepare(HeadCT(volume, affine)), prepare(HeadCT(np.flip(volume, flipped), stored))
    np.testing.assert_allclose(one.array, other.array, atol=1e-6)
    assert one.crop_volume_mm3 == pytest.approx(other.crop_volume_mm3)
    for axis, size in enumerate(volume.shape):
        places = np.arange(size)
        in_other = size - 1 - places if axis in flipped else places
        np.testing.assert_allclose(one.scan_to_network(axis, places), other.scan_to_network(axis, in_other))


def test_at_least_a_slice_is_kept_and_no_limit_keeps_all():
    volume = block((12, 30, 30), (BONE, (1, 11), (2, 28), (2, 28)))
    scan = HeadCT(volume, np.diag([-4.0, -4.0, 4.0, 1.0]))
    low = PreprocessingSettings(shape_kji=(4, 8, 8), max_height_mm=1.0)
    assert prepare(scan, low).crop[0] == (10, 11)
    assert prepare(scan, PreprocessingSettings(shape_kji=(4, 8, 8))).crop[0] == (1, 11)
    high = PreprocessingSettings(shape_kji=(4, 8, 8), max_height_mm=400.0)
    assert prepare(scan, high).crop[0] == (1, 11)


def test_presets_and_their_types():
    assert PRESETS["paper"].as_dict() == {
        "window_hu": [40.0, 110.0], "shape_kji": [32, 224, 224], "average": False, "max_height_mm": None,
    }  # fmt: skip
    assert PRESETS["default"].as_dict() == {
        "window_hu": [0.0, 100.0], "shape_kji": [32, 112, 112], "average": True, "max_height_mm": 170.0,
    }  # fmt: skip
    read = PreprocessingSettings(window_hu=["1", 2], shape_kji=[3.0, 4, 5])
    assert read.window_hu == (1.0, 2.0) and read.shape_kji == (3, 4, 5)
    with pytest.raises(AttributeError):
        read.average = True
