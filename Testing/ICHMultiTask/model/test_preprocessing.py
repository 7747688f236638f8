"""From scan to network grid and back, against PyTorch, SimpleITK and SciPy, in every storage order."""

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.preprocessing import PRESETS, PreprocessingSettings, prepare
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT

CENTER_RAS = np.array([4.0, -11.0, 23.0])
HALF_AXES_MM = np.array([72.0, 88.0, 76.0])
PAPER, DEFAULT = PRESETS["paper"], PRESETS["default"]
GRIDS = (((32, 224, 224), (1, 1, 1)), ((16, 14, 14), (2, 16, 16)), ((1, 7, 7), (32, 32, 32)))
"""Shape and strides: the input's own grid, the shipped network's last stage, the paper's."""


def rotation(degrees_x, degrees_y, degrees_z):
    matrix = np.eye(3)
    for axis, degrees in enumerate((degrees_x, degrees_y, degrees_z)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(t := np.radians(degrees)), -np.sin(t), np.sin(t), np.cos(t)
        matrix = turn @ matrix
    return matrix


def affine(columns, shape_kji):
    """IJK-to-RAS with these columns (i, j, k) in mm, the grid's middle at the head's center."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose(columns)
    matrix[:3, 3] = CENTER_RAS - matrix[:3, :3] @ ((np.array(shape_kji[::-1]) - 1) / 2)
    return matrix


def geometries():
    """Name → (shape k, j, i; affine): one head in every way that scanners and converters store it."""
    axial = [(-1.4, 0, 0), (0, -1.4, 0), (0, 0, 5.0)]
    shape = (38, 150, 130)
    oblique = (rotation(12, -9, 17) @ np.transpose(axial)).T
    tilt = np.tan(np.radians(18.5)) * 5.0
    return {
        "axial DICOM": (shape, axial),
        "thin slices": ((160, 90, 80), [(-2.3, 0, 0), (0, -2.3, 0), (0, 0, 1.2)]),
        "head to feet": (shape, [axial[0], axial[1], (0, 0, -5.0)]),
        "RAS rows": (shape, [(1.4, 0, 0), (0, 1.4, 0), (0, 0, 5.0)]),
        "mirrored columns": (shape, [(1.4, 0, 0), axial[1], axial[2]]),
        "oblique": (shape, oblique),
        "gantry tilt": (shape, [axial[0], axial[1], (0, tilt, 5.0)]),
        "gantry tilt, head to feet": (shape, [axial[0], axial[1], (0, tilt, -5.0)]),
        "coronal": ((150, 38, 130), [(-1.4, 0, 0), (0, 0, -5.0), (0, 1.4, 0)]),
        "sagittal": ((130, 38, 150), [(0, -1.4, 0), (0, 0, -5.0), (-1.4, 0, 0)]),
    }


def voxel_ras(shape, ijk_to_ras):
    k, j, i = np.indices(shape, sparse=False)
    return apply_affine(ijk_to_ras, np.stack([i, j, k], axis=-1))


def head(shape, columns, ball_ras=None, radius_mm=9.0, half_axes=HALF_AXES_MM):
    """An ellipsoid of brain (30 HU) in air; a ball of 90 HU where wanted; edges a few mm soft, as in a real scan."""
    matrix = affine(columns, shape)
    points = voxel_ras(shape, matrix)
    depth = (1 - np.linalg.norm((points - CENTER_RAS) / half_axes, axis=-1)) * half_axes.min()
    hu = -1000 + 1030 / (1 + np.exp(-depth / 1.0))
    if ball_ras is not None:
        hu += 60 / (1 + np.exp((np.linalg.norm(points - ball_ras, axis=-1) - radius_mm) / 1.0))
    return HeadCT(hu.astype(np.float32), matrix)


def solid(shape, columns=((-1, 0, 0), (0, -1, 0), (0, 0, 3)), seed=0):
    """Noise in the soft-tissue range everywhere: nothing is cut off."""
    hu = np.random.default_rng(seed).uniform(-50, 150, shape).astype(np.float32)
    return HeadCT(hu, affine(columns, shape))


@cache
def plain_head(name):
    return head(*geometries()[name])


def expected_window(hu, settings):
    low, high = settings.window_hu
    return (np.clip(hu, low, high) - low) / (high - low)


@pytest.mark.parametrize("shape", [(28, 300, 260), (70, 100, 512), (3, 224, 224), (1, 40, 40)])
def test_paper_resize_equals_pytorch(shape):
    scan = solid(shape)
    windowed = torch.from_numpy(expected_window(scan.hu.astype(float), PAPER))[None, None]
    expected = torch.nn.functional.interpolate(windowed, (32, 224, 224), mode="trilinear", align_corners=False)
    found = prepare(scan, PAPER).array
    assert found.dtype == np.float32 and found.shape == (1, 32, 224, 224) and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected[0].numpy(), atol=2e-6)


def test_paper_resize_equals_simpleitk():
    scan = solid((28, 150, 131))
    image = sitk.GetImageFromArray(expected_window(scan.hu, PAPER))
    size = PAPER.shape_kji[::-1]
    spacing = [n / m for n, m in zip(image.GetSize(), size)]
    expected = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, [s / 2 - 0.5 for s in spacing], spacing, np.eye(3).ravel()
    )
    np.testing.assert_allclose(prepare(scan, PAPER).array[0], sitk.GetArrayFromImage(expected), atol=2e-5)


@pytest.mark.parametrize("shape", [(28, 300, 260), (100, 100, 512)])
def test_averaging_resize_equals_pytorch_with_antialiasing(shape):
    settings = PreprocessingSettings(window_hu=(0, 100), average=True)
    scan = solid(shape)
    windowed = torch.from_numpy(expected_window(scan.hu, settings))

    def resize(x, size):
        return torch.nn.functional.interpolate(x[None], size, mode="bilinear", align_corners=False, antialias=True)[0]

    in_plane = resize(windowed, (224, 224))
    expected = resize(in_plane.permute(1, 0, 2), (32, 224)).permute(1, 0, 2)
    np.testing.assert_allclose(prepare(scan, settings).array[0], expected.numpy(), atol=2e-5)


def test_averaging_keeps_the_mean_of_thin_slices():
    """Every source voxel counts: noise shrinks, where plain interpolation throws most slices away."""
    scan = solid((320, 224, 224))
    plain, averaged = (prepare(scan, PreprocessingSettings((0, 100), average=a)).array for a in (False, True))
    assert averaged.std() < 0.45 * plain.std()
    assert averaged.mean() == pytest.approx(plain.mean(), abs=2e-3)


def test_averaging_where_the_grid_is_finer_is_linear_interpolation():
    scan = solid((16, 112, 90))
    plain, averaged = (prepare(scan, PreprocessingSettings((0, 100), average=a)).array for a in (False, True))
    np.testing.assert_allclose(averaged, plain, atol=1e-6)  # float32


@pytest.mark.parametrize(("settings", "low", "high"), [(PAPER, 40, 110), (DEFAULT, 0, 100)])
def test_window(settings, low, high):
    # The size of the network's grid: the resize changes nothing.
    values = [-1024, low, (low + high) / 2, high, 3000]
    scan = HeadCT(np.full(settings.shape_kji, 20, dtype=np.int16), np.diag([-1.0, -1.0, 5.0, 1.0]))
    for n, value in enumerate(values):
        scan.hu[n, 50:60, 50:60] = value
    found = prepare(scan, settings).array[0, : len(values), 55, 55]
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_settings_round_trip_through_json_values():
    assert PreprocessingSettings(**DEFAULT.as_dict()) == DEFAULT
    assert PAPER == PreprocessingSettings((40, 110), (32, 224, 224), False, None)
    assert DEFAULT == PreprocessingSettings((0, 100), (32, 112, 112), True, 170)


def box_scan(spacing=(1.0, 0.7, 3.0), rest=True):
    """A 90 × 140 × 120 mm (i, j, k) block of tissue in air, a head rest 12 mm below it; bounds by array axis."""
    shape = (60, 300, 200)
    hu = np.full(shape, -1000, dtype=np.int16)
    bounds = ((8, 48), (40, 240), (60, 150))
    hu[tuple(slice(*b) for b in bounds)] = 40
    if rest:
        hu[:, 258:264, 30:180] = 200
    return HeadCT(hu, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])), bounds


def test_crop_holds_the_head_with_little_margin_and_no_head_rest():
    scan, bounds = box_scan()
    found = prepare(scan, PAPER)
    for (low, high), (head_low, head_high), step in zip(found.crop, bounds, scan.spacing_kji):
        assert low <= head_low and head_high <= high
        assert (head_low - low) * step <= 8 and (high - head_high) * step <= 8
    assert found.crop[1][1] < 258
    assert found.crop == prepare(box_scan(rest=False)[0], PAPER).crop


def test_crop_is_the_skull_where_table_and_cushion_touch_the_scalp():
    z, y, x = (np.arange(n, dtype=float) - n / 2 for n in (40, 260, 220))
    distance = np.sqrt((z[:, None, None] / 17) ** 2 + (y[:, None] / 90) ** 2 + (x / 70) ** 2)
    hu = np.full(distance.shape, -1000, dtype=np.int16)
    hu[distance < 1.08] = 0  # scalp, 7 mm
    hu[distance < 1] = 900
    hu[distance < 0.93] = 35
    alone = prepare(HeadCT(hu.copy(), np.diag([-1.0, -1.0, 5.0, 1.0])), DEFAULT).crop
    hu[:, 225:250, 20:200] = np.maximum(hu[:, 225:250, 20:200], 100)  # a cushion, against the scalp
    hu[:, 252:256, :] = 500  # a dense table
    found = prepare(HeadCT(hu, np.diag([-1.0, -1.0, 5.0, 1.0])), DEFAULT).crop
    assert found == alone
    for (low, high), middle, half in zip(found, (20, 130, 110), (17, 90, 70)):
        assert abs(low - (middle - half)) <= 6 and abs(high - (middle + half)) <= 6


def test_crop_volume_is_the_physical_volume_of_the_crop():
    found = prepare(box_scan()[0], PAPER)
    voxels = np.prod([high - low for low, high in found.crop])
    assert found.crop_volume_mm3 == pytest.approx(voxels * 1.0 * 0.7 * 3.0)
    tilted = HeadCT(box_scan()[0].hu, affine([(-1, 0, 0), (0, -0.7, 0), (0, 1.5, 3)], (60, 300, 200)))
    assert prepare(tilted, PAPER).crop_volume_mm3 == pytest.approx(voxels * 1.0 * 0.7 * 3.0)


@pytest.mark.parametrize("name", ["axial DICOM", "head to feet", "coronal", "sagittal"])
def test_neck_below_the_limit_is_cut_off(name):
    shape, columns = geometries()[name]
    scan = head(shape, columns)
    points = voxel_ras(shape, scan.ijk_to_ras)
    # A column through the field of view.
    scan.hu[np.linalg.norm(((points - CENTER_RAS) / 50)[..., :2], axis=-1) < 1] = 30
    settings = PreprocessingSettings(max_height_mm=100.0)
    found = prepare(scan, settings)
    inside = np.zeros(shape, dtype=bool)
    inside[tuple(slice(*found.crop[found.axes.index(axis)]) for axis in range(3))] = True
    superior = points[inside][:, 2]
    assert np.ptp(superior) == pytest.approx(100, abs=6)
    assert superior.max() == pytest.approx(points[..., 2].max(), abs=0.01)


def test_an_empty_scan_is_refused():
    scan = HeadCT(np.full((10, 20, 20), -1000, np.int16), np.eye(4))
    with pytest.raises(InputError, match="scan is empty: expected a head denser than -300 HU, found nothing above it"):
        prepare(scan)


@pytest.mark.parametrize("name", geometries())
@pytest.mark.parametrize("offset", [(30, 35, 25), (-35, -20, 28)], ids=str)
def test_a_marked_voxel_keeps_its_position_in_a_round_trip(name, offset):
    shape, columns = geometries()[name]
    ball_ras = CENTER_RAS + offset
    scan = head(shape, columns, ball_ras)
    found = prepare(scan, PAPER)
    # On the network's grid: center of mass of what is bright, as a fraction of the head, in patient directions.
    position = np.array(ndimage.center_of_mass(found.array[0]))
    relative = position / (np.array(PAPER.shape_kji) - 1) - 0.5
    right, anterior, superior = offset
    assert np.array_equal(np.sign(relative), np.sign([superior, -anterior, -right]))
    # The voxel under it: the map of indices is a straight line along each axis.
    index_kji = np.zeros(3)
    for axis in range(3):
        ends = np.array([0.0, scan.hu.shape[found.axes[axis]] - 1.0])
        mapped = found.scan_to_network(axis, ends)
        index_kji[found.axes[axis]] = ends[1] * (position[axis] - mapped[0]) / (mapped[1] - mapped[0])
        assert found.scan_to_network(axis, index_kji[found.axes[axis]]) == pytest.approx(position[axis])
    one_network_voxel = np.array([(high - low) / n for (low, high), n in zip(found.crop, PAPER.shape_kji)])
    true_kji = apply_affine(np.linalg.inv(scan.ijk_to_ras), ball_ras)[::-1]
    assert (np.abs(index_kji - true_kji)[list(found.axes)] <= np.maximum(one_network_voxel, 0.5)).all()
    # And in the map resampled to the scan.
    back = found.to_scan(found.array[0])
    assert back.shape == shape
    back_kji = np.array(ndimage.center_of_mass(back))
    assert (np.abs(back_kji - true_kji)[list(found.axes)] <= np.maximum(one_network_voxel, 0.5)).all()


@pytest.mark.parametrize("name", geometries())
def test_to_scan_equals_scipy_at_positions_through_physical_space(name):
    scan = plain_head(name)
    shape = scan.hu.shape
    found = prepare(scan, DEFAULT)
    # The network grid's own affine, from the crop's corner voxels alone: superior, posterior, left are its axes.
    low, high = np.transpose(found.crop)
    corner = np.where(found.flips, high - 0.5, low - 0.5)  # outer corner where the network's index starts
    directions = np.zeros((3, 3))
    start = np.zeros(3)
    for axis, stored in enumerate(found.axes):
        size = (high - low)[axis] / DEFAULT.shape_kji[axis] * (-1 if found.flips[axis] else 1)
        directions[:, axis] = scan.ijk_to_ras[:3, 2 - stored] * size
        start[2 - stored] = corner[axis]
    assert directions[2, 0] > 0 and directions[1, 1] < 0 and directions[0, 2] < 0
    origin = apply_affine(scan.ijk_to_ras, start) + directions @ [0.5, 0.5, 0.5]
    positions = np.moveaxis((voxel_ras(shape, scan.ijk_to_ras) - origin) @ np.linalg.inv(directions).T, -1, 0)
    outside = np.ones(shape, dtype=bool)
    outside[tuple(slice(*found.crop[found.axes.index(axis)]) for axis in range(3))] = False
    for grid_shape, strides in GRIDS:
        grid = np.random.default_rng(3).uniform(size=grid_shape).astype(np.float32)
        last = np.reshape(grid_shape, (3, 1, 1, 1)) - 1
        at = np.clip(positions / np.reshape(strides, (3, 1, 1, 1)), 0, last)  # constant beyond the outer nodes
        expected = ndimage.map_coordinates(grid, at, order=3, mode="mirror", prefilter=False)
        expected[outside] = 0
        np.testing.assert_allclose(found.to_scan(grid, strides), expected, atol=1e-4)


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (0.5, 0.3, -0.4), (-0.25, 0.5, 0.5)])
def test_peak_of_a_small_bump_lies_between_the_nodes_of_a_coarse_grid(offset):
    """Linear interpolation has its maximum on a node, up to half a step off along each axis."""
    found = prepare(plain_head("axial DICOM"), DEFAULT)
    center = np.array([4.0, 6.0, 7.0]) + offset
    nodes = np.moveaxis(np.indices((8, 14, 14)), 0, -1)
    grid = np.exp(-((nodes - center) ** 2).sum(-1) / 2)
    strides = (4, 8, 8)
    peak = np.unravel_index(found.to_scan(grid, strides).argmax(), found.scan_shape)
    for axis in range(3):
        position = found.scan_to_network(axis, peak[found.axes[axis]]) / strides[axis]
        low, high = found.crop[axis]
        half_a_voxel = DEFAULT.shape_kji[axis] / (high - low) / strides[axis] / 2
        assert position == pytest.approx(center[axis], abs=half_a_voxel + 0.1)


@pytest.mark.parametrize(
    "columns_and_shape",
    [
        ([(-0.7, 0, 0), (0, -0.7, 0), (0, 0, 5.0)], (38, 300, 250)),
        ([(-1.2, 0, 0), (0, -1.2, 0), (0, 0, 2.5)], (76, 175, 145)),
        ([(1.6, 0, 0), (0, 1.6, 0), (0, 0, -1.25)], (150, 130, 110)),
    ],
    ids=["0.7 x 5 mm", "1.2 x 2.5 mm", "1.6 x 1.25 mm, flipped"],
)
def test_one_head_at_another_voxel_size_gives_the_same_input(columns_and_shape):
    ball = CENTER_RAS + [25, 20, 10]
    shape, columns = geometries()["axial DICOM"]
    reference = prepare(head(shape, columns, ball, radius_mm=18), DEFAULT)
    columns, shape = columns_and_shape
    found = prepare(head(shape, columns, ball, radius_mm=18), DEFAULT)
    assert found.crop_volume_mm3 == pytest.approx(reference.crop_volume_mm3, rel=0.1)
    difference = np.abs(found.array - reference.array)
    assert difference.mean() < 0.02
    # The share of the image that the ball fills, times the crop's volume, is its volume, whatever the voxel size.
    for one in (reference, found):
        brain = 0.3
        volume = ((one.array - brain).clip(0) / 0.6).mean() * one.crop_volume_mm3
        assert volume == pytest.approx(4 / 3 * np.pi * 18**3, rel=0.05)
