"""Where a marked bleed lies: on simulated heads, turned and tilted ones among them."""

from dataclasses import replace

import numpy as np
import pytest

from ICHMultiTaskLib.analysis.findings.place import find_place, place
from ICHMultiTaskLib.measures.clinical_scores import LOCATIONS
from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

BROAD = {"putamen": "deep", "thalamus": "deep", "caudate": "deep"}


@pytest.mark.parametrize(
    "seed, location, changes",
    [
        (21, "putamen", {"rotation_deg": (6.0, -5.0, 8.0)}),
        (22, "lobar", {"tilt_deg": 18.0}),
        (23, "cerebellum", {}),
        (24, "brainstem", {"tilt_deg": -15.0}),
    ],
)
def test_simulated_bleeds(seed, location, changes):
    settings = SimulationSettings(bleed=True, location=location, matrix=128, slices=32, **changes)
    patient = simulate_patient(seed, settings)
    found = find_place(patient.head_ct, patient.mask)
    assert found.location == BROAD.get(location, location)
    assert found.infratentorial == (location in ("cerebellum", "brainstem"))
    center = apply_affine(patient.head_ct.ijk_to_ras, np.argwhere(patient.mask).mean(0)[::-1])
    aside = apply_affine(patient.facts["atlas"], center)[0]
    if abs(aside) > 8:
        assert found.side == ("right" if aside > 0 else "left")


def test_the_side_is_the_patients_whatever_the_order_of_the_array():
    settings = SimulationSettings(bleed=True, location="putamen", matrix=128, slices=32, volume_ml=10.0)
    patient = simulate_patient(25, settings)
    scan, mask = patient.head_ct, patient.mask
    expected = find_place(scan, mask)
    affine = scan.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 0] * (scan.hu.shape[2] - 1)
    affine[:3, 0] *= -1
    same = replace(scan, hu=scan.hu[:, :, ::-1], ijk_to_ras=affine)
    assert find_place(same, mask[:, :, ::-1]) == expected
    swapped = replace(scan, hu=scan.hu.transpose(2, 0, 1), ijk_to_ras=scan.ijk_to_ras[:, [1, 2, 0, 3]])
    assert find_place(swapped, mask.transpose(2, 0, 1)) == expected
    mirrored = replace(scan, ijk_to_ras=np.diag([-1.0, 1, 1, 1]) @ scan.ijk_to_ras)
    assert find_place(mirrored, mask).side == {"left": "right", "right": "left"}[expected.side]


def test_words_are_those_of_the_scores():
    corners = [(a, b, c) for a in (-0.9, 0.0, 0.5) for b in (-0.9, 0.1, 0.8) for c in (0.1, 0.9, 1.9)]
    assert {place(*corner).location for corner in corners} == {"lobar", "deep", "cerebellum", "brainstem"}
    assert all(place(*corner).location in LOCATIONS for corner in corners)


def test_nothing_is_told_without_a_mark_or_a_skull():
    head = phantom()
    assert find_place(head, np.zeros(head.hu.shape, bool)) is None
    bare = replace(head, hu=np.where(head.hu > 300, np.int16(30), head.hu))
    assert find_place(bare, head.hu > 60) is None
