"""Growth between two scans and their alignment."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ICHMultiTaskLib.analysis.alignment import align
from ICHMultiTaskLib.analysis.growth import growth
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskLib.scan.geometry import apply_affine


@pytest.mark.parametrize(
    "first, second, expansion",
    [
        (20, 26, True), (20, 25.9, False), (30, 35.9, False),  # 6 mL
        (10, 13.3, True), (10, 13.2, False),  # 33 %
        (20, 10, False), (0, 5, False), (0, 6, True), (4, 5.4, True), (1.9, 3.8, False), (2.0, 2.7, True),
    ],
)  # fmt: skip
def test_expansion_as_published(first, second, expansion):
    found = growth(first, None, second, None)
    assert found.is_expansion is expansion
    assert found.absolute_ml == pytest.approx(second - first)
    assert found.relative_percent == (pytest.approx(100 * (second - first) / first) if first else None)
    assert found.verdict is None and found.absolute_interval_ml is None


@pytest.mark.parametrize(
    "first, second, expansion",
    [
        (40, 45.96, True),  # reads +6.0 mL
        (40, 45.94, False),  # reads +5.9 mL
        (10, 13.296, True),  # reads +33.0 %
        (10, 13.27, False),  # reads +32.7 %, and not +33 %
        (8, 10.64, True),
    ],
)
def test_growth_is_judged_as_it_is_shown(first, second, expansion):
    assert growth(first, None, second, None).is_expansion is expansion
    exact = growth(first, (first, first), second, (second, second))
    assert (exact.is_expansion, exact.verdict) == (expansion, "likely" if expansion else "unlikely")


def test_intervals_by_hand():
    """Square and add: 20 (16 to 23) and 30 (26 to 36)."""
    found = growth(20, (16, 23), 30, (26, 36), 0.9)
    assert found.absolute_interval_ml == pytest.approx((10 - 5, 10 + np.sqrt(36 + 16)))
    low = 1.5 * np.exp(-np.hypot(np.log(30 / 26), np.log(23 / 20)))
    high = 1.5 * np.exp(np.hypot(np.log(36 / 30), np.log(20 / 16)))
    assert found.relative_interval_percent == pytest.approx((100 * low - 100, 100 * high - 100))
    assert (found.is_expansion, found.verdict, found.coverage, found.notes) == (True, "undecided", 0.9, ())


@pytest.mark.parametrize(
    "first, second, verdict",
    [
        ((20, 19, 21), (40, 37, 43), "likely"),
        ((20, 18, 22), (20.5, 18.5, 22.5), "unlikely"),
        ((20, 18, 22), (26, 23, 29), "undecided"),
        ((3, 2.8, 3.2), (5, 4.7, 5.3), "likely"),  # by the relative growth alone
        ((100, 99, 101), (108, 107, 109), "likely"),  # by the absolute growth alone
        ((40, 36, 44), (20, 18, 22), "unlikely"),
        ((5, 0, 9), (5, 0, 9), "undecided"),
    ],
)
def test_verdict_says_what_the_intervals_allow(first, second, verdict):
    assert growth(first[0], first[1:], second[0], second[1:], 0.9).verdict == verdict


@pytest.mark.parametrize("true_first, true_second", [(5, 7), (20, 30), (60, 62), (30, 12)])
def test_intervals_hold_the_growth_as_often_as_they_say(true_first, true_second):
    """Errors spread evenly on the cube-root scale, as the model's intervals have it; 90 % intervals of each volume."""
    rng = np.random.default_rng(1)
    spread = 0.12
    held = []
    for _ in range(1000):
        center = np.cbrt([true_first, true_second]) + rng.normal(0, spread, 2)
        volumes = center**3
        intervals = [tuple((c + side * 1.6449 * spread) ** 3 for side in (-1, 1)) for c in center]
        found = growth(volumes[0], intervals[0], volumes[1], intervals[1], 0.9)
        held.append([
            low <= value <= high
            for (low, high), value in (
                (found.absolute_interval_ml, true_second - true_first),
                (found.relative_interval_percent, 100 * (true_second / true_first - 1)),
            )
        ])  # fmt: skip
    assert np.mean(held, axis=0) == pytest.approx([0.9, 0.9], abs=0.035)


def test_undefined_growth_is_none_and_noted():
    zero = growth(0, (0, 1.2), 8, (6, 11), 0.9)
    assert zero.relative_percent is None and zero.relative_interval_percent is None
    assert zero.is_expansion and zero.verdict == "undecided" and "first volume is 0 mL" in zero.notes[0]
    maybe_zero = growth(3, (0, 5), 6, (4, 9), 0.9)
    assert maybe_zero.relative_interval_percent[1] is None and "no upper bound" in maybe_zero.notes[0]
    assert maybe_zero.relative_percent == pytest.approx(100) and not maybe_zero.is_expansion
    assert "may be 0 mL: only the absolute growth counts" in maybe_zero.notes[1]
    gone = growth(20, (17, 24), 0, (0, 1.5), 0.9)
    assert gone.relative_interval_percent == pytest.approx((-100, 100 * (1.5 / 17 - 1)))
    assert (gone.is_expansion, gone.verdict) == (False, "unlikely")
    nothing = growth(0.3, (0, 1.4), 0.8, (0, 1.9), 0.9, shows_bleed=False)
    assert nothing.is_expansion is None and nothing.verdict is None
    assert not any("hemorrhage" in note for note in nothing.notes), "the verdict says so"


@pytest.mark.parametrize(
    "first, second, expansion",
    [
        ((0.4, 0, 1.6), (1.1, 0, 2.6), False),  # what a head without a bleed can read
        ((1.7, 0.3, 3.5), (2.6, 1.0, 4.6), False),
        ((2.5, 0, 4.5), (4.0, 2.0, 6.5), False),  # 0 mL lies in the interval
        ((1.7, 0.3, 3.5), (8.0, 6.0, 10.0), True),  # 6 mL are an expansion from wherever
        ((2.0, 1.0, 3.2), (2.7, 1.5, 4.1), True),
    ],
)
def test_a_third_of_noise_is_no_expansion(first, second, expansion):
    found = growth(first[0], first[1:], second[0], second[1:], 0.9)
    assert found.is_expansion is expansion
    assert growth(first[0], None, second[0], None).is_expansion is (expansion or first[0] >= 2.0)


def test_change_within_the_intervals_is_within_measurement_error():
    overlapping, touching, apart = (growth(10, (8, 13), 15, (low, 20), 0.9) for low in (11, 13, 13.1))
    assert overlapping.within_error and touching.within_error and not apart.within_error
    assert growth(10, None, 15, (11, 20)).within_error is None
    assert growth(15, (11, 20), 10, (8, 13), 0.9).within_error


def test_growth_stays_within_what_is_possible():
    found = growth(10, (2, 12), 1, (0, 3), 0.9)
    assert found.absolute_interval_ml[0] >= -12 and found.absolute_interval_ml[1] <= 3


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((-1, None, 5, None), "The first volume is impossible"),
        ((5, None, float("nan"), None), "The second volume is impossible"),
        ((5, (6, 7), 5, None), "The interval of the first volume is impossible: expected bounds from 0 around 5 mL"),
        ((5, None, 5, (1, 4)), "The interval of the second volume"),
        ((5, (-1, 7), 5, None), "The interval of the first volume"),
    ],
)
def test_impossible_volumes_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        growth(*arguments)


@pytest.fixture(scope="module")
def repeated():
    """One simulated patient scanned twice, the bleed grown, and another; each with its true head-to-RAS transform."""
    from ICHMultiTaskLib.simulation import patient

    poses, draw = [], patient.draw_acquisition

    def remember(*arguments):
        acquisition = draw(*arguments)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = acquisition.rotation, acquisition.translation
        poses.append(pose)
        return acquisition

    common = {"matrix": 96, "artifacts": False, "table": False, "location": "putamen"}
    scans = [
        (8, {"slices": 26, "rotation_deg": (0, 0, 0), "tilt_deg": 0.0, "volume_ml": 10.0}),
        (8, {"slices": None, "thickness_mm": 5.0, "rotation_deg": (8, -5, 10), "tilt_deg": 14.0, "volume_ml": 30.0}),
        (2, {"slices": 26, "rotation_deg": (0, 0, 0), "tilt_deg": 0.0, "volume_ml": 10.0}),
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patient, "draw_acquisition", remember)
        found = [
            patient.simulate_patient(seed, patient.SimulationSettings(**common, **settings)) for seed, settings in scans
        ]
    return [(p.head_ct, pose) for p, pose in zip(found, poses, strict=True)]


def test_alignment_of_a_patient_scanned_twice(repeated):
    (first, first_pose), (second, second_pose), _ = repeated
    found = align(first, second)
    inside = np.array(list(product((-50, 0, 50), (-70, 0, 70), (-30, 10, 50))), float)  # mm, in the head
    expected, moved = apply_affine(first_pose, inside), apply_affine(second_pose, inside)
    before = np.linalg.norm(moved - expected, axis=1).mean()
    residual = np.linalg.norm(apply_affine(found.moving_to_fixed, moved) - expected, axis=1)
    assert before > 8 and residual.mean() < 1.0 and residual.max() < 1.5
    assert found.succeeded and found.correlation > 0.9 and found.notes == ()
    rotation = found.moving_to_fixed[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9) and np.linalg.det(rotation) == pytest.approx(1)
    assert found.rotation_deg == pytest.approx(np.degrees(np.arccos((np.trace(second_pose[:3, :3]) - 1) / 2)), abs=2)
    assert np.array_equal(align(first, second).moving_to_fixed, found.moving_to_fixed)


def test_alignment_of_two_patients_fails_and_says_so(repeated):
    (first, _), _, (other, _) = repeated
    found = align(first, other)
    assert not found.succeeded and found.correlation < 0.78
    assert "could not be aligned: expected a correlation of the bone of at least 0.78" in found.notes[0]


def test_alignment_of_a_moved_copy():
    scan = phantom((24, 64, 64), (6.5, 3.6, 3.6))
    moved = scan.ijk_to_ras.copy()
    moved[:3, 3] += (12, -7, 5)
    found = align(scan, replace(scan, ijk_to_ras=moved))
    assert found.moving_to_fixed[:3, 3] == pytest.approx((-12, 7, -5), abs=0.5)
    assert found.translation_mm == pytest.approx(np.linalg.norm((12, 7, 5)), abs=0.5) and found.rotation_deg < 0.5


@pytest.mark.parametrize("turn_deg", [(38, 0, 0), (-40, 0, 0), (30, 20, 25)])
def test_a_head_that_was_turned_far_is_aligned_in_both_directions(repeated, turn_deg):
    """One way ends far from the right place, as at 38° with a correlation of 0.89, which is above the limit."""
    scan = repeated[0][0]
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    turned = replace(scan, ijk_to_ras=turn @ scan.ijk_to_ras)
    for fixed, moving, expected in ((scan, turned, np.linalg.inv(turn)), (turned, scan, turn)):
        found = align(fixed, moving)
        error = Rotation.from_matrix(expected[:3, :3].T @ found.moving_to_fixed[:3, :3]).magnitude()
        assert found.correlation > 0.95 and np.degrees(error) < 2.0


def test_alignment_without_a_skull_is_refused():
    scan = phantom((24, 64, 64), (6.5, 3.6, 3.6))
    soft = replace(scan, hu=np.minimum(scan.hu, 80))
    with pytest.raises(InputError, match="second scan cannot be aligned: expected a skull, found 0 mL of bone"):
        align(scan, soft)
