"""Blood in the ventricles, its casts, and hydrocephalus."""

import numpy as np
import pytest

from ICHMultiTaskLib.simulation import SimulationSettings, hematoma, simulate_patient
from ICHMultiTaskLib.simulation.anatomy import Head
from ICHMultiTaskLib.simulation.brain import ventricle_distance
from ICHMultiTaskLib.simulation.fields import Canvas

HEAD = {"matrix": 112, "slices": 28, "noise_hu": 0.0, "offset_hu": 0.0, "tilt_deg": 0.0, "table": False}


def test_a_cast_fills_the_ventricle_of_its_side_and_leaves_the_hematoma(monkeypatch):
    settings = SimulationSettings(**HEAD, bleed=True, location="thalamus", volume_ml=25.0)
    monkeypatch.setitem(hematoma.RUPTURE, "thalamus", 2.0)
    monkeypatch.setattr(hematoma, "CASTS", 0.0)
    plain = simulate_patient(13, settings)
    monkeypatch.setattr(hematoma, "CASTS", 100.0)
    filled = simulate_patient(13, settings)
    assert filled.ivh_ml > 1.3 * plain.ivh_ml > 0
    assert filled.volume_ml == plain.volume_ml
    assert np.count_nonzero(filled.mask != plain.mask) < 0.02 * np.count_nonzero(plain.mask)


def test_ventricular_blood_is_as_much_as_the_scan_shows_beside_the_hematoma(monkeypatch):
    settings = SimulationSettings(**HEAD, artifacts=False, bleed=True, location="caudate", volume_ml=30.0)
    monkeypatch.setattr(hematoma.Hematoma, "hydrocephalus", lambda self, draws: (False, 1.0))
    monkeypatch.setattr(hematoma, "CASTS", 0.0)
    monkeypatch.setitem(hematoma.RUPTURE, "caudate", 0.0)
    dry = simulate_patient(15, settings)
    monkeypatch.setitem(hematoma.RUPTURE, "caudate", 2.0)
    patient = simulate_patient(15, settings)
    brighter = patient.head_ct.hu.astype(int) - dry.head_ct.hu > 20
    seen_ml = np.count_nonzero(brighter) * patient.head_ct.voxel_volume_mm3 / 1000.0
    assert dry.ivh_ml == 0.0 and patient.ivh_ml == pytest.approx(seen_ml, rel=0.25)


def ventricles_ml(head):
    """Volume of the ventricles in the atlas."""
    axes = np.arange(-60.0, 60.0, 2.0), np.arange(-100.0, 70.0, 2.0), np.arange(-70.0, 70.0, 2.0)
    z, y, x = (values.astype(np.float32) for values in np.meshgrid(*axes, indexing="ij"))
    canvas = Canvas(x, y, z, np.zeros_like(x), 2.0, 2.0)
    return np.count_nonzero(ventricle_distance(canvas, head) > 0.0) * 0.008


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_hydrocephalus_adds_as_much_fluid_to_wide_ventricles_as_to_slender_ones(factor):
    head, added_ml = Head(np.random.default_rng(0), 60), []
    for width in (1.0, 1.5, 2.3):
        head.ventricle = width
        before_ml = ventricles_ml(head)
        head.dilate_ventricles(factor)
        added_ml.append(ventricles_ml(head) - before_ml)
    assert min(added_ml) > 15.0
    np.testing.assert_allclose(added_ml, added_ml[0], rtol=0.1)


def test_hydrocephalus_makes_narrow_ventricles_as_wide_as_usual_ones():
    narrow, usual = (Head(np.random.default_rng(0), 60) for _ in range(2))
    narrow.ventricle, usual.ventricle = 0.8, 1.0
    for head in (narrow, usual):
        head.dilate_ventricles(1.6)
    assert narrow.ventricle == usual.ventricle == pytest.approx(1.6)
