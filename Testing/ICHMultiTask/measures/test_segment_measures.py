"""Measures of segmented hematomas, on shapes whose measures are known."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.measures.formulas import (
    DEFINITIONS_VERSION,
    FORMULAS,
    formula_volumes,
    kothari_weights,
    present_name,
)
from ICHMultiTaskLib.measures.grids import resampled_mask
from ICHMultiTaskLib.measures.segment import Segment, measure
from ICHMultiTaskLib.measures.shape import greatest_diameter, surface_area_mm2
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT


def grid(spacing_ijk, size_mm=72.0, tilt_deg=0.0, axes=(0, 1, 2), signs=(1, 1, 1)):
    """A grid centered on the origin: its affine and its shape (k, j, i); the tilt shears it as a gantry does."""
    angle = np.radians(tilt_deg)
    directions = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, 0, 1.0]])
    columns = [directions[n] * spacing_ijk[n] * signs[n] for n in axes]
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T
    shape_ijk = np.array([int(np.ceil(size_mm / spacing_ijk[n])) for n in axes])
    affine[:3, 3] = -affine[:3, :3] @ ((shape_ijk - 1) / 2)
    return affine, tuple(shape_ijk[::-1])


def ellipsoid(affine, shape, half_axes_mm, center_mm=(0, 0, 0), rotation_deg=0.0, tilt_deg=0.0):
    """Voxels whose centers lie in an ellipsoid, rotated about the slice normal and standing on tilted slices."""
    k, j, i = np.indices(shape)
    points = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3] - center_mm
    turn, tilt = np.radians(rotation_deg), np.radians(tilt_deg)
    to_slices = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    in_plane = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return (((points @ to_slices.T @ in_plane.T) / half_axes_mm) ** 2).sum(-1) < 1


def expected(a, b, c):
    """The formulas on an ellipsoid, by calculus: at height z the area is the largest × (1 - (2z/C)²)."""
    # Areas above 75 % lie within |z| < C/4 and count whole, those from 25 % on within |z| < √0.75·C/2 and count half.
    kothari_c = c * (0.5 + 0.5 * (np.sqrt(0.75) - 0.5))
    volume = np.pi / 6 * a * b * c / 1000
    shares = [3 / np.pi, 3 / np.pi * kothari_c / c, 2.5 / np.pi, 2 / np.pi, 3 / 4, 1]
    return {name: share * volume for name, share in zip(FORMULAS, shares)}


@pytest.mark.parametrize("rotation_deg", [0, 118])
def test_ellipsoid_on_a_fine_grid(rotation_deg):
    affine, shape = grid((0.5, 0.5, 0.5), 64)
    segment = Segment("ICH", ellipsoid(affine, shape, (30, 20, 15), (0.1, -0.2, 0.1), rotation_deg), affine)
    found = measure(segment)
    volume = np.pi / 6 * 60 * 40 * 30 / 1000
    assert found.volume_ml == pytest.approx(volume, rel=0.002)
    assert (found.a_mm, found.b_mm) == (pytest.approx(60, rel=0.012), pytest.approx(40, rel=0.015))
    assert found.max_diameter_mm == pytest.approx(60, rel=0.012)
    assert found.largest_area_cm2 == pytest.approx(np.pi / 4 * 24, rel=0.002)
    assert found.slices == pytest.approx(60, abs=1)
    for name, ml in expected(60, 40, 30).items():
        assert found.formulas_ml[name] == pytest.approx(ml, rel=0.03), name
    assert found.components_ml == (found.volume_ml,) and found.notes == ()


def test_formulas_are_exact_where_a_b_and_c_are():
    """Every slice above 75 %: a cylinder of 6 slices, so C and h are its height."""
    areas = np.full(6, np.pi / 4 * 40 * 30)
    found = formula_volumes(40, 30, areas, 5.0)
    assert found == pytest.approx(dict(zip(FORMULAS, [18, 18, 15, 12, np.pi * 4.5, np.pi * 6])))


@pytest.mark.parametrize(
    "share, weight", [(1.0, 1), (0.7501, 1), (0.75, 0.5), (0.5, 0.5), (0.25, 0.5), (0.2499, 0), (0.0, 0)]
)
def test_kothari_counts_slices_by_their_share_of_the_largest(share, weight):
    assert list(kothari_weights([800 * share, 800])) == [weight, 1]


def test_names_in_earlier_tables_are_translated():
    """A table that states no version is never read as one of today's."""
    assert [present_name(name, None) for name in ("ABC/2", "ABC/2 simplified", "ABC/3", "Planimetry")] == [
        "ABC/2 (Kothari)", "ABC/2", "ABC/3", "Planimetry",
    ]  # fmt: skip
    assert present_name("ABC/2", 1) == "ABC/2 (Kothari)" and present_name("ABC/2", 2) == "ABC/2"
    assert [present_name(name, DEFINITIONS_VERSION) for name in FORMULAS] == list(FORMULAS) and DEFINITIONS_VERSION == 2


def test_c_is_the_full_height_and_kotharis_is_weighted():
    affine, shape = grid((1, 1, 5), 60)
    found = measure(Segment("ICH", ellipsoid(affine, shape, (20, 20, 25)), affine))
    assert found.c_mm == found.slices * found.thickness_mm
    assert found.c_kothari_mm < 0.8 * found.c_mm
    product = found.a_mm * found.b_mm / 2000
    assert found.formulas_ml["ABC/2"] == pytest.approx(product * found.c_mm)
    assert found.formulas_ml["ABC/2 (Kothari)"] == pytest.approx(product * found.c_kothari_mm)


@pytest.mark.filterwarnings("error")
def test_kothari_without_area():
    assert list(kothari_weights([0, 0])) == [0, 0] and kothari_weights([]).size == 0
    assert list(kothari_weights([0.1, 0.3, 0.9])) == [0, 0.5, 1]  # mm²: the share counts, not the size


GRIDS = {
    "thick slices": grid((0.45, 0.45, 5.0)),
    "pixels not square": grid((0.4, 0.8, 2.5)),
    "tilted": grid((0.5, 0.5, 2.5), tilt_deg=20),
    "tilted back, flipped": grid((0.5, 0.5, 2.5), tilt_deg=-24, signs=(-1, -1, -1)),
    "sagittal": grid((0.8, 0.8, 0.8), axes=(1, 2, 0), signs=(1, -1, 1)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_grids_agree(name):
    affine, shape = GRIDS[name]
    tilt = {"tilted": 20, "tilted back, flipped": -24}.get(name, 0)
    found = measure(Segment("ICH", ellipsoid(affine, shape, (28, 20, 25), rotation_deg=30, tilt_deg=tilt), affine))
    assert found.volume_ml == pytest.approx(np.pi / 6 * 56 * 40 * 50 / 1000, rel=0.012)
    assert found.a_mm == pytest.approx(56, rel=0.02)
    assert found.b_mm == pytest.approx(40, rel=0.03)
    assert found.slices * found.thickness_mm == pytest.approx(50, abs=1.01 * found.thickness_mm)
    assert found.formulas_ml["ABC/2"] == pytest.approx(56 * 40 * 50 / 2000, rel=0.03 + found.thickness_mm / 50)
    # The lines lie where the shape does: their lengths are A, B and C, B stands at 90° to A, C at 90° to both.
    lines = [found.a_line_ras_mm, found.b_line_ras_mm, found.c_line_ras_mm]
    directions = np.array([line[1] - line[0] for line in lines])
    assert np.linalg.norm(directions, axis=1) == pytest.approx([found.a_mm, found.b_mm, found.c_mm])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    assert directions @ directions.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.abs(np.mean(lines, axis=1)).max() < max(2.5, found.thickness_mm)
    normal = [0, -np.sin(np.radians(tilt)), np.cos(np.radians(tilt))]
    assert abs(directions[2] @ normal) == pytest.approx(1)


def test_border_lies_between_the_voxels():
    """One voxel has its own size; from center to center it would have none."""
    affine, shape = grid((0.5, 0.5, 5.0), 20)
    mask = np.zeros(shape, bool)
    mask[2, 10, 10] = True
    found = measure(Segment("ICH", mask, affine))
    assert (found.a_mm, found.b_mm, found.c_mm) == pytest.approx((0.5, 0.5, 5.0))
    assert found.volume_ml == pytest.approx(0.5 * 0.5 * 5 / 1000)
    assert "one slice only" in found.notes[0]
    # Ten voxels in a row are ten voxels long, whichever way they lie.
    for index, a in (((2, 10, slice(5, 15)), 5.0), ((2, slice(5, 15), 10), 5.0)):
        mask = np.zeros(shape, bool)
        mask[index] = True
        found = measure(Segment("ICH", mask, affine))
        assert (found.a_mm, found.b_mm) == pytest.approx((a, 0.5))


@pytest.mark.parametrize("count", [2, 3, 60])
def test_greatest_diameter_of_points(count):
    points = np.random.default_rng(count).normal(size=(count, 3))
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    found = greatest_diameter(points)
    assert np.linalg.norm(found[1] - found[0]) == pytest.approx(apart.max())


def test_b_is_the_longest_chord_at_right_angles():
    """A triangle with corners (0, 0), (60, 0), (15, 20): A is its base, B its height, standing at x = 15."""
    affine, shape = grid((0.25, 0.25, 5.0), 64)
    k, j, i = np.indices(shape)
    x, y = (apply_affine(affine, np.stack([i, j, k], -1))[..., n] + 30 for n in (0, 1))
    found = measure(Segment("ICH", (y > 0) & (y < x * 4 / 3) & (y < (60 - x) * 4 / 9) & (k == 3), affine))
    assert (found.a_mm, found.b_mm) == (pytest.approx(60, abs=0.5), pytest.approx(20, abs=0.5))
    assert found.b_line_ras_mm[:, 0] == pytest.approx([-15, -15], abs=1)


def test_multilobular_shape_is_overestimated_as_published():
    """Three lobes around a core. Published: multilobular +39 %, regular +10 %, which is 1.26 times as much."""
    affine, shape = grid((0.5, 0.5, 5.0), 90)
    mask = ellipsoid(affine, shape, (12, 12, 12))
    for angle in np.radians([0, 120, 240]):
        mask |= ellipsoid(affine, shape, (10, 10, 10), (18 * np.cos(angle), 18 * np.sin(angle), 0))
    lobed = measure(Segment("ICH", mask, affine))
    smooth = measure(Segment("ICH", ellipsoid(affine, shape, (22, 18, 15)), affine))
    share = {name: [f.formulas_ml[name] / f.volume_ml for f in (smooth, lobed)] for name in FORMULAS}
    assert share["ABC/2"][1] > 1.2 and share["ABC/2"][0] < 1.0
    for name in ("ABC/2", "ABC/2 (Kothari)", "ABC/2.4", "ABC/3"):
        assert share[name][1] / share[name][0] > 1.19, name
    for name in ("1/2 Sh", "2/3 Sh"):  # which measure the area instead of two diameters
        assert share[name][1] / share[name][0] < 1.0, name
    assert lobed.irregularity_index > smooth.irregularity_index + 10
    assert len(lobed.components_ml) == 1


def test_stray_voxels_do_not_stretch_the_lines():
    affine, shape = grid((0.5, 0.5, 5.0), 90)
    mask = ellipsoid(affine, shape, (15, 10, 12))
    alone = measure(Segment("ICH", mask, affine))
    mask[len(mask) // 2, 2, 2] = True
    found = measure(Segment("ICH", mask, affine))
    assert (found.a_mm, found.b_mm, found.formulas_ml) == (alone.a_mm, alone.b_mm, alone.formulas_ml)
    assert found.voxels == alone.voxels + 1
    assert found.components_ml == pytest.approx((alone.volume_ml, 0.00125))
    assert found.volume_ml == pytest.approx(sum(found.components_ml))
    assert "2 separate components" in found.notes[0]


def image_of(mask, affine):
    """The mask for SimpleITK; orthogonal grids only."""
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0).tolist())
    return image


@pytest.mark.parametrize("name", ["thick slices", "pixels not square"])
def test_agrees_with_label_shape_statistics(name):
    affine, shape = GRIDS[name]
    mask = ellipsoid(affine, shape, (25, 15, 20), rotation_deg=25)
    mask |= ellipsoid(affine, shape, (8, 9, 7), (15, 15, 5))
    found = measure(Segment("ICH", mask, affine))
    oracle = SimpleITK.LabelShapeStatisticsImageFilter()
    oracle.ComputeFeretDiameterOn()
    oracle.Execute(image_of(mask, affine))
    assert found.voxels == oracle.GetNumberOfPixels(1)
    assert found.volume_ml == pytest.approx(oracle.GetPhysicalSize(1) / 1000)
    assert found.surface_cm2 == pytest.approx(oracle.GetPerimeter(1) / 100, rel=0.03)
    # The filter measures from center to center.
    assert oracle.GetFeretDiameter(1) < found.max_diameter_mm < oracle.GetFeretDiameter(1) + max(found.thickness_mm, 1)


def test_surface_of_a_sphere_on_sheared_and_plain_grids():
    for affine, shape in GRIDS.values():
        area = surface_area_mm2(ellipsoid(affine, shape, (25, 25, 25)), affine[:3, 2::-1].T)
        assert area == pytest.approx(4 * np.pi * 625, rel=0.03)
    affine, shape = grid((0.6, 0.6, 0.6), 54)
    assert measure(Segment("ball", ellipsoid(affine, shape, (25, 25, 25)), affine)).irregularity_index == pytest.approx(
        100, abs=1
    )


def test_volume_is_segment_statistics_labelmap_volume():
    """The plug-in's definition on Slicer's own segmentation: voxel count × product of the labelmap's spacing."""
    slicer = pytest.importorskip("slicer")
    affine, shape = GRIDS["thick slices"]
    mask = ellipsoid(affine, shape, (25, 15, 20))
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    labelmap = slicer.vtkOrientedImageData()
    labelmap.SetDimensions(*shape[::-1])
    labelmap.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel())
    labelmap.SetGeometryFromImageToWorldMatrix(matrix)
    count = vtk.vtkImageAccumulate()
    count.SetInputData(labelmap)
    count.IgnoreZeroOn()
    count.Update()
    volume_cm3 = count.GetVoxelCount() * np.prod(labelmap.GetSpacing()) * 0.001
    assert measure(Segment("ICH", mask, affine)).volume_ml == pytest.approx(volume_cm3, rel=1e-12)


def test_empty_segment_is_noted():
    found = measure(Segment("ICH", np.zeros((4, 5, 6)), np.eye(4)))
    assert found.volume_ml == 0 and found.components_ml == () and found.formulas_ml == {}
    assert found.a_mm is None and found.surface_cm2 is None
    assert found.notes == ("The segment is empty; nothing to measure.",)


def test_slices_that_a_reader_left_out_are_noted():
    """Whoever draws every second slice has half of the volume; two bleeds one above the other leave nothing out."""
    affine, shape = grid((1.0, 1.0, 5.0))
    mask = ellipsoid(affine, shape, (20, 15, 25))
    assert not any("were drawn" in note for note in measure(Segment("ICH", mask, affine)).notes)
    first = int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
    mask[first + 1 : first + 6 : 2] = False
    words = "The segment is empty in 3 of its slices, above and below which it lies: the volume is only that of"
    assert any(note.startswith(words) for note in measure(Segment("ICH", mask, affine)).notes)
    two = ellipsoid(affine, shape, (9, 9, 9), (-15, 0, -20)) | ellipsoid(affine, shape, (9, 9, 9), (15, 0, 10))
    assert not any("were drawn" in note for note in measure(Segment("ICH", two, affine)).notes)


def test_segment_that_fills_its_grid():
    """A labelmap in a scene is cropped to what it holds."""
    affine, shape = grid((0.5, 0.5, 5.0), 60)
    mask = ellipsoid(affine, shape, (20, 15, 18))
    k, j, i = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    first = affine.copy()
    first[:3, 3] = apply_affine(affine, (i[0], j[0], k[0]))
    cropped = mask[k[0] : k[-1] + 1, j[0] : j[-1] + 1, i[0] : i[-1] + 1]
    whole, part = measure(Segment("ICH", mask, affine)), measure(Segment("ICH", cropped, first))
    assert part.formulas_ml == pytest.approx(whole.formulas_ml) and part.surface_cm2 == pytest.approx(whole.surface_cm2)
    assert part.a_line_ras_mm == pytest.approx(whole.a_line_ras_mm)


@pytest.mark.parametrize(
    "mask, affine, words",
    [
        (np.zeros((4, 5)), np.eye(4), "shape (4, 5); expected a 3-D mask"),
        (np.zeros((0, 5, 6)), np.eye(4), "expected a 3-D mask"),
        (np.zeros((4, 5, 6)), None, "no reference geometry"),
        (np.zeros((4, 5, 6)), np.zeros((4, 4)), "unusable geometry"),
        (np.zeros((4, 5, 6)), np.full((4, 4), np.nan), "unusable geometry"),
    ],
)
def test_unusable_segment_is_refused(mask, affine, words):
    with pytest.raises(InputError) as error:
        Segment("Left", mask, affine)
    assert words in str(error.value) and "“Left”" in str(error.value)


@pytest.fixture
def scan():
    """30 HU, and 60 to 70 HU in a ball of 15 mm at the origin."""
    affine, shape = grid((1.0, 1.0, 5.0), 70, tilt_deg=15)
    hu = np.full(shape, 30, np.int16)
    hu[ellipsoid(affine, shape, (15, 15, 15))] = 65
    hu += np.indices(shape)[2].astype(np.int16) % 2 * 4 - 2
    return HeadCT(hu, affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.5, 0.5, 0.5), (2.0, 2.0, 10.0)])
def test_hu_of_a_segment_on_a_finer_or_coarser_grid(scan, spacing):
    affine, shape = grid(spacing, 60)
    found = measure(Segment("ICH", ellipsoid(affine, shape, (11, 11, 9)), affine), scan)
    assert found.hu_mean == pytest.approx(65, abs=0.5) and found.hu_sd == pytest.approx(2, abs=0.1)
    assert (found.hu_min, found.hu_max) == (63, 67)
    assert found.outside_scan_fraction == 0 and found.notes == ()


def test_hu_on_the_scans_own_grid_are_the_voxels(scan):
    mask = scan.hu > 50
    found = measure(Segment("ICH", mask, scan.ijk_to_ras), scan)
    inside = scan.hu[mask].astype(float)
    assert (found.hu_mean, found.hu_sd) == (pytest.approx(inside.mean()), pytest.approx(inside.std()))


def test_segment_outside_the_scan_is_noted(scan):
    affine, shape = grid((1.0, 1.0, 2.0), 40)
    mask = ellipsoid(affine, shape, (15, 15, 15))
    away = affine.copy()
    away[0, 3] += 200
    found = measure(Segment("ICH", mask, away), scan)
    assert found.outside_scan_fraction == 1 and found.hu_mean is None
    assert found.notes == ("The segment lies outside the scan; no HU can be measured.",)
    assert found.volume_ml == pytest.approx(measure(Segment("ICH", mask, affine)).volume_ml)
    partly = affine.copy()
    partly[0, 3] += 35
    found = measure(Segment("ICH", mask, partly), scan)
    assert found.outside_scan_fraction == pytest.approx(0.5, abs=0.05) and found.hu_mean == pytest.approx(30, abs=0.5)
    assert "of the segment lies outside the scan" in found.notes[0]


def test_segment_that_cannot_be_a_bleed_is_noted(scan):
    """A mask of another scan, or an inverted one."""
    affine = scan.ijk_to_ras @ np.diag([2.0, 2.0, 2.0, 1.0])
    found = measure(Segment("ICH", np.ones(scan.hu.shape), affine), HeadCT(scan.hu - 500, affine))
    assert found.volume_ml > 500
    assert "at most 500 mL" in found.notes[0] and "expected a mean of 15 to 120 HU, found -4" in found.notes[1]


def test_segment_between_voxel_centers_has_no_hu(scan):
    affine = np.diag([0.1, 0.1, 0.1, 1.0])
    affine[:3, 3] = apply_affine(scan.ijk_to_ras, (20.5, 20.5, 5.5))
    found = measure(Segment("ICH", np.ones((2, 2, 2)), affine), scan)
    assert found.hu_mean is None and "no voxel center" in found.notes[-1]


def test_resampled_mask_looks_up_the_voxel_centers():
    affine, shape = GRIDS["tilted"]
    other, other_shape = GRIDS["sagittal"]
    segment = Segment("ICH", ellipsoid(affine, shape, (28, 20, 25)), affine)
    k, j, i = np.indices(other_shape)
    index = np.rint(apply_affine(np.linalg.inv(affine) @ other, np.stack([i, j, k], -1))).astype(int)
    valid = ((index >= 0) & (index < shape[::-1])).all(-1)
    index[~valid] = 0
    truth = segment.mask[index[..., 2], index[..., 1], index[..., 0]] & valid
    found = resampled_mask(segment, other, other_shape)
    assert np.mean(found != truth) < 1e-5 and found.any()
    assert not resampled_mask(replace(segment, mask=np.zeros(shape)), other, other_shape).any()
