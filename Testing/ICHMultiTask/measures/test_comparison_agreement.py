"""Agreement of volumes, attention and readers."""

import numpy as np
import pytest

from ICHMultiTaskLib.measures import agreement
from ICHMultiTaskLib.measures.agreement import compare_attention, compare_segments, compare_volumes, volume_rows
from ICHMultiTaskLib.measures.segment import Segment, measure
from ICHMultiTaskLib.scan.geometry import apply_affine

AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1.0, 0, 30], [0, 0, 4.0, -30], [0, 0, 0, 1]])
SHAPE = (16, 60, 60)
TILTED = np.array([[0.7, 0, 0, -25], [0, 0.66, 0, -25], [0, 0.24, 2.0, -30], [0, 0, 0, 1]])
TILTED_SHAPE = (30, 76, 72)


def ball(radius_mm, center_mm=(0, 0, 0), affine=AFFINE, shape=SHAPE, name="ball", reader=""):
    k, j, i = np.indices(shape)
    distance = np.linalg.norm(apply_affine(affine, np.stack([i, j, k], -1)) - center_mm, axis=-1)
    return Segment(name, distance < radius_mm, affine, reader)


def test_volumes_are_compared_with_the_model():
    rows = compare_volumes(20.0, (15.0, 25.0), [("ABC/2", 25.0), ("ABC/3", 24.9), ("1/2 Sh", 14.0), ("2/3 Sh", 16.0)])
    assert [row.difference_ml for row in rows] == pytest.approx([5.0, 4.9, -6.0, -4.0])
    assert [row.difference_percent for row in rows] == pytest.approx([25.0, 24.5, -30.0, -20.0])
    assert [row.inside_interval for row in rows] == [True, True, False, True]
    assert [row.within_5_ml for row in rows] == [True, True, False, True]
    assert [row.within_20_percent for row in rows] == [False, False, False, True]
    assert all(row.notes == () for row in rows)


def test_limits_hold_where_they_are_reached_exactly():
    for model, other in ((3.0, 3.6), (0.3, 0.36), (7.7, 9.24)):
        assert compare_volumes(model, None, [("ABC/2", other)])[0].within_20_percent
    assert compare_volumes(4.1, None, [("ABC/2", 9.1)])[0].within_5_ml


def test_missing_values_are_none_and_noted():
    (zero,) = compare_volumes(0.0, None, [("Planimetry", 3.0)])
    assert (zero.difference_ml, zero.difference_percent, zero.within_20_percent) == (3.0, None, None)
    assert zero.within_5_ml is True and zero.inside_interval is None
    assert zero.notes == (
        "The model measured 0 mL; there is no percentage of it.", "The model gave no interval.",
    )  # fmt: skip
    for ml in (None, float("nan")):
        (missing,) = compare_volumes(20.0, (15, 25), [("ABC/2", ml)])
        assert missing.volume_ml is None and missing.difference_ml is None and missing.within_5_ml is None
        assert missing.notes == ("This method gave no volume.",)


def test_rows_of_a_segment():
    measures = measure(ball(15))
    rows = volume_rows(measures)
    assert rows[0] == ("Planimetry", measures.volume_ml)
    assert [name for name, _ in rows[1:]] == list(measures.formulas_ml)
    assert volume_rows(measure(ball(0))) == [("Planimetry", 0.0)]


def attention(center_mm, width_mm=10.0):
    """A blurred spot, 1 at its hottest voxel."""
    k, j, i = np.indices(SHAPE)
    distance = np.linalg.norm(apply_affine(AFFINE, np.stack([i, j, k], -1)) - center_mm, axis=-1)
    array = np.exp(-((distance / width_mm) ** 2)).astype(np.float32)
    return array / array.max()


def test_attention_on_the_bleed():
    segment, array = ball(12, (0, 0, 2)), attention((0, 0, 2))
    found = compare_attention(array, AFFINE, segment, 0.5)
    assert found.peak_inside and found.peak_distance_mm == 0 and found.notes == ()
    assert found.attention_inside_fraction == pytest.approx(array[segment.mask].sum() / array.sum(), rel=1e-5)

    def dice(threshold):
        hot = array >= threshold
        return 2 * (hot & segment.mask).sum() / (hot.sum() + segment.mask.sum())

    assert found.shown_dice == pytest.approx(dice(0.5))
    assert found.best_dice == pytest.approx(dice(found.best_threshold), abs=2e-3)
    assert found.best_dice == pytest.approx(max(dice(t) for t in np.arange(1, 201) / 200), abs=2e-3)
    assert found.best_dice > 0.9 and found.best_threshold == pytest.approx(np.exp(-1.44), abs=0.06)


def test_attention_equal_to_the_mask_agrees_completely():
    segment = ball(12)
    found = compare_attention(segment.mask.astype(np.float32), AFFINE, segment, 1.0)
    assert (found.best_dice, found.shown_dice, found.attention_inside_fraction) == (1.0, 1.0, 1.0)
    assert found.peak_inside


def test_attention_beside_the_bleed():
    """Hottest at (30, 0, 2), 12 mm bleed at the origin: 18 mm away but for the voxels' size."""
    found = compare_attention(attention((30, 0, 2)), AFFINE, ball(12, (0, 0, 2)), 0.5)
    assert found.peak_inside is False and found.peak_distance_mm == pytest.approx(18, abs=1)
    assert found.attention_inside_fraction < 0.05 and found.shown_dice == 0


def test_attention_against_a_segment_on_another_grid():
    array = attention((0, 0, 2))
    own, other = (compare_attention(array, AFFINE, s) for s in (ball(14), ball(14, affine=TILTED, shape=TILTED_SHAPE)))
    assert other.peak_inside
    assert other.attention_inside_fraction == pytest.approx(own.attention_inside_fraction, abs=0.02)
    assert other.best_dice == pytest.approx(own.best_dice, abs=0.02)
    assert other.shown_dice is None and other.shown_threshold is None


def test_attention_that_cannot_be_compared_is_noted():
    blank = compare_attention(np.zeros(SHAPE, np.float32), AFFINE, ball(12), 0.5)
    assert blank.peak_inside is None and blank.best_dice is None and blank.notes == ("The attention map is blank.",)
    empty = compare_attention(attention((0, 0, 0)), AFFINE, ball(0))
    assert empty.peak_inside is None and "is empty" in empty.notes[0]
    away = AFFINE.copy()
    away[0, 3] += 300
    outside = compare_attention(attention((0, 0, 0)), AFFINE, Segment("away", ball(12).mask, away), 0.5)
    assert outside.peak_inside is False and outside.best_dice is None and outside.shown_dice is None
    assert outside.peak_distance_mm > 250 and "no voxel of the attention map" in outside.notes[0]


def test_readers_on_one_grid():
    """Two equal balls 6 mm apart: Dice by the lens formula, distance at most 6 mm, no difference in volume."""
    first, second = ball(15, reader="A"), ball(15, (6, 0, 0), reader="B")
    found = compare_segments(first, second)
    d, r = 6.0, 15.0
    lens = np.pi * (2 * r - d) ** 2 * (d**2 + 4 * d * r) / (12 * d)
    assert found.dice == pytest.approx(lens / (4 / 3 * np.pi * r**3), abs=0.01)
    assert 4.5 < found.hausdorff_95_mm <= 6.0
    assert found.volume_difference_ml == pytest.approx(0, abs=0.05)
    assert (found.first, found.second) == ("ball (A)", "ball (B)") and found.notes == ()


def test_a_reader_agrees_with_oneself():
    found = compare_segments(ball(15), ball(15))
    assert (found.dice, found.hausdorff_95_mm, found.volume_difference_ml) == (1.0, 0.0, 0.0)


def test_readers_on_different_grids():
    first, second = ball(15), ball(15, affine=TILTED, shape=TILTED_SHAPE)
    for a, b in ((first, second), (second, first)):
        found = compare_segments(a, b)
        assert found.dice > 0.93 and found.hausdorff_95_mm < 3
        assert found.volume_difference_percent == pytest.approx(0, abs=2)
    cropped = Segment("crop", first.mask[4:12, 10:50, 10:50], AFFINE.copy())
    cropped.ijk_to_ras[:3, 3] = apply_affine(AFFINE, (10, 10, 4))
    assert compare_segments(first, cropped).dice == 1.0


def test_volume_difference_is_of_the_segments_themselves():
    found = compare_segments(ball(15), ball(18))
    first, second = (measure(ball(r)).volume_ml for r in (15, 18))
    assert found.volume_difference_ml == pytest.approx(second - first)
    assert found.volume_difference_percent == pytest.approx(100 * (second - first) / first)


def test_empty_segments_of_readers_are_noted():
    both = compare_segments(ball(0, name="x"), ball(0, name="y"))
    assert both.dice is None and both.hausdorff_95_mm is None and len(both.notes) == 2
    one = compare_segments(ball(0, name="x"), ball(15))
    assert one.dice == 0 and one.hausdorff_95_mm is None and one.volume_difference_percent is None
    assert one.notes == ("The segment “x” is empty.",)
    away = AFFINE.copy()
    away[1, 3] += 500
    far = compare_segments(ball(15), Segment("far", ball(15).mask, away))
    assert far.dice == 0 and far.hausdorff_95_mm > 400


def test_borders_of_very_fine_grids_are_thinned(monkeypatch):
    borders = [np.random.default_rng(seed).uniform(-30, 30 + 10 * seed, (4000, 3)) for seed in (0, 1)]
    exact = agreement._hausdorff_95(borders)
    monkeypatch.setattr(agreement, "_BORDER_VOXELS", 1000)
    thinned = agreement._hausdorff_95(borders)
    assert thinned != exact and thinned == pytest.approx(exact, rel=0.1)


def test_agrees_with_monai():
    metrics = pytest.importorskip("monai.metrics")
    import torch

    first, second = ball(15), ball(14, (4, 3, 3))
    tensors = [torch.from_numpy(s.mask.astype(np.float32))[None, None] for s in (first, second)]
    hausdorff = metrics.compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=(4, 1, 1))
    found = compare_segments(first, second)
    assert found.hausdorff_95_mm == pytest.approx(float(hausdorff), abs=0.3)
    dice = metrics.compute_dice(*tensors)
    assert found.dice == pytest.approx(float(dice), abs=1e-6)
