"""Slices that do not follow each other are recognized by their likeness; thick slices and real heads are left alone."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.coarse_head import coarse_head
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.slice_order import ORDERED, order_by_likeness
from ICHMultiTaskLib.scan.validation import check_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient


@pytest.fixture(scope="module")
def head_ct():
    return simulate_patient(213, SimulationSettings(matrix=128)).head_ct


def in_order(head_ct, order):
    return HeadCT(head_ct.hu[np.asarray(order)], head_ct.ijk_to_ras)


def orders(count):
    pairs = np.arange(count)
    pairs[: count // 2 * 2] = pairs[: count // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return {
        "shuffled": np.random.default_rng(0).permutation(count),
        "by name": np.array(sorted(range(1, count + 1), key=str)) - 1,
        "odd first": [*range(1, count, 2), *range(0, count, 2)],
        "pairs exchanged": pairs,
        "halves exchanged": [*range(count // 2, count), *range(count // 2)],
    }


@pytest.mark.parametrize("kind", orders(8))
def test_slices_that_do_not_follow_each_other_are_refused(head_ct, kind):
    mixed = in_order(head_ct, orders(len(head_ct.hu))[kind])
    with pytest.raises(InputError, match=r"slices do not follow each other: .* jumps after slice \d+.* from below"):
        check_head_ct(mixed)


def test_a_part_in_the_opposite_order_is_said(head_ct):
    order = [*range(12), *range(12, 18)[::-1], *range(18, len(head_ct.hu))]
    (said,) = [words for words in check_head_ct(in_order(head_ct, order)).facts.warnings if "order" in words]
    assert "the anatomy jumps after slice 12, 18 from below" in said


def test_a_blank_slice_is_refused_and_a_repeated_one_said(head_ct):
    hu = head_ct.hu.copy()
    hu[14] = 0
    with pytest.raises(InputError, match="Blank slices lie within the head; .* found none in slice 15 of 32"):
        check_head_ct(HeadCT(hu, head_ct.ijk_to_ras))
    hu[14:17] = head_ct.hu[13]
    (said,) = [words for words in check_head_ct(HeadCT(hu, head_ct.ijk_to_ras)).facts.warnings if "same image" in words]
    assert said.startswith("Slices 14 to 17 of 32 hold one and the same image")


@pytest.mark.parametrize("thickness_mm", [1.0, 5.0, 8.0, 10.0])
def test_simulated_heads_follow_each_other(thickness_mm):
    settings = SimulationSettings(matrix=128, slices=None, thickness_mm=thickness_mm)
    ratio, _ = order_by_likeness(coarse_head(simulate_patient(207, settings).head_ct))
    assert ratio > ORDERED


def test_a_real_head_with_variable_spacing_follows_itself(data_folder):
    head_ct = read_head_ct(data_folder / "ge_head_tilt18_variable_spacing.zip")
    for every in (1, 2):
        ratio, breaks = order_by_likeness(coarse_head(HeadCT(head_ct.hu[::every], head_ct.ijk_to_ras)))
        assert ratio > 0.99 and breaks == ()
    with pytest.raises(InputError, match="do not follow each other"):
        check_head_ct(in_order(head_ct, orders(len(head_ct.hu))["shuffled"]))


def test_what_is_the_same_above_and_below_is_not_judged(dicom_files):
    affine = dicom_files.affine()
    assert order_by_likeness(coarse_head(HeadCT(dicom_files.head(affine), affine))) == (1.0, ())
