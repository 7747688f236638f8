"""Openings of the skull and streaks of metal."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.simulation import SimulationSettings, mimics, simulate_patient, surgery
from ICHMultiTaskLib.simulation.anatomy import Head

HEAD = {"matrix": 112, "slices": 28, "noise_hu": 0.0, "offset_hu": 0.0, "tilt_deg": 0.0, "table": False}
BONE_HU = 300


def head(kind="none"):
    """The same head without a bleed, with one kind of opening or none."""
    return simulate_patient(31, SimulationSettings(**HEAD, bleed=False, artifacts=False, surgery=kind))


@pytest.mark.parametrize("kind", surgery.SHARES)
def test_an_opening_removes_bone_and_changes_nothing_far_from_it(kind):
    plain, opened = head(), head(kind)
    assert opened.facts["surgery"] == (kind,) and plain.facts["surgery"] == ()
    removed = (plain.head_ct.hu > BONE_HU) & (opened.head_ct.hu < BONE_HU / 2)
    assert removed.any()
    k, j, i = np.nonzero(plain.head_ct.hu != opened.head_ct.hu)
    places = apply_affine(plain.head_ct.ijk_to_ras, np.stack([i, j, k], 1))
    extent = np.linalg.norm(places - places.mean(axis=0), axis=1).max()
    assert extent < 1.4 * surgery.RADIUS_MM[kind][1] + 2 * surgery.BURR_MM + 15.0


def test_openings_are_as_large_as_their_kinds():
    removed_ml = {
        kind: np.count_nonzero((head().head_ct.hu > BONE_HU) & (head(kind).head_ct.hu < BONE_HU / 2))
        for kind in surgery.SHARES
    }
    assert removed_ml["burr hole"] < removed_ml["craniectomy"] / 10
    assert removed_ml["craniotomy"] < removed_ml["craniectomy"]


def test_only_metal_causes_streaks(monkeypatch):
    def scanned(clip, streaks):
        monkeypatch.setattr(mimics, "MIMICS", {name: (float(clip and name == "clip"),) * 2 for name in mimics.MIMICS})
        monkeypatch.setattr(mimics, "CLIP_STREAK_HU", streaks)
        return simulate_patient(8, SimulationSettings(**HEAD, bleed=False, surgery="none")).head_ct.hu.astype(int)

    without = scanned(True, 0.0)
    changed = np.abs(scanned(True, 150.0) - without) > 3
    assert 1 <= changed.any(axis=(1, 2)).sum() < len(changed) / 2
    assert not changed[without < -500].any()  # none in air
    np.testing.assert_array_equal(scanned(False, 150.0), scanned(False, 0.0))


@pytest.mark.parametrize("has_bleed", [False, True])
def test_shares_of_openings(has_bleed):
    rng = np.random.default_rng(0)
    head = Head(rng, 60)
    drawn = [surgery.draw_surgery(rng, head, has_bleed, 1.0) for _ in range(3000)]
    assert np.mean([bool(openings) for openings in drawn]) == pytest.approx(
        sum(shares[has_bleed] for shares in surgery.SHARES.values()), abs=0.02
    )
    assert not any(surgery.draw_surgery(rng, head, has_bleed, 0.0) for _ in range(100))


def test_an_unknown_surgery_is_refused():
    with pytest.raises(InputError, match="craniectomy"):
        SimulationSettings(surgery="lobotomy")
