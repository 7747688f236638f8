"""Blood of a real hematoma's shape laid into another head: its volume, its place, and nothing else changed."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.geometry import voxel_volume_mm3
from ICHMultiTaskLib.simulation import Anatomy, SimulationSettings, insert_mask, simulate_patient

LPS_5_MM = np.array([[-0.9, 0, 0, 115], [0, -0.9, 0, 115], [0, 0, 5, -75], [0, 0, 0, 1.0]])
SHAPE = (30, 256, 256)


@pytest.fixture(scope="module")
def anatomy():
    settings = SimulationSettings(bleed=False, matrix=128, slices=32, noise_hu=4.0, tilt_deg=12.0)
    return Anatomy(simulate_patient(1, settings).head_ct)


def ellipsoid(center_ras, radii, ijk_to_ras=LPS_5_MM):
    """A mask whose center lies so many mm from the middle of its grid, and its volume in mL."""
    k, j, i = np.indices(SHAPE)
    index = np.stack([i, j, k], -1) - (np.array(SHAPE[::-1]) - 1) / 2
    ras = index @ ijk_to_ras[:3, :3].T - np.array(center_ras)
    mask = ((ras / np.array(radii)) ** 2).sum(-1) < 1.0
    return mask, mask.sum() * voxel_volume_mm3(ijk_to_ras) / 1000.0


@pytest.mark.parametrize("side", [-1, 1])
def test_volume_density_and_side_are_kept(anatomy, side):
    mask, volume = ellipsoid((side * 28.0, 2.0, 5.0), (13.0, 20.0, 16.0))
    scan, inserted, inserted_ml = insert_mask(anatomy, mask, LPS_5_MM, seed=3)
    assert inserted_ml == pytest.approx(volume, rel=0.05)
    assert inserted_ml == pytest.approx(inserted.sum() * scan.voxel_volume_mm3 / 1000.0)
    assert scan.hu.dtype == anatomy.head_ct.hu.dtype and scan.facts.simulated
    # The density drawn, softened at the rim and shifted by at most what this head differs from others.
    assert 45.0 < np.median(scan.hu[inserted]) < 80.0
    center = np.argwhere(inserted).mean(axis=0)[::-1]
    x, y, z = (anatomy.head.ras_to_rigid @ scan.ijk_to_ras @ np.r_[center, 1.0])[:3]
    assert np.abs(np.array([x, y, z]) - (side * 28.0, 2.0, 5.0)).max() < 4.0
    changed = scan.hu != anatomy.head_ct.hu
    assert changed[inserted].mean() > 0.95 and not changed[anatomy.head_ct.hu < -200].any()
    assert changed.sum() < 6 * inserted.sum(), "no mass effect, no edema"


def test_sheared_masks_keep_their_volume_and_shape(anatomy):
    sheared = LPS_5_MM.copy()
    sheared[1, 2], sheared[2, 1] = -1.5, -0.14
    mask, volume = ellipsoid((-25.0, 0.0, 5.0), (14.0, 18.0, 15.0), sheared)
    scan, inserted, inserted_ml = insert_mask(anatomy, mask, sheared, seed=1)
    assert inserted_ml == pytest.approx(volume, rel=0.05)
    points = np.argwhere(inserted)[:, ::-1] @ (anatomy.to_rigid[:3, :3]).T
    # Half axes of an ellipsoid are the square root of 5 times the standard deviations of its points.
    found = np.sqrt(5.0) * points.std(axis=0)
    np.testing.assert_allclose(found, (14.0, 18.0, 15.0), atol=1.5)


def test_blood_outside_the_skull_moves_inward(anatomy):
    mask, volume = ellipsoid((85.0, 0.0, 5.0), (12.0, 12.0, 12.0))
    _, inserted, inserted_ml = insert_mask(anatomy, mask, LPS_5_MM)
    # Of so small a ball in voxels of 1.8 × 1.8 × 5 mm many are just below half full; what is told is what was counted.
    assert inserted_ml == pytest.approx(volume, rel=0.15)
    assert not inserted[anatomy.head_ct.hu > 700].any()


def test_the_same_seed_gives_the_same_scan(anatomy):
    mask, _ = ellipsoid((20.0, 0.0, 0.0), (12.0, 12.0, 12.0))
    first, again, other = (insert_mask(anatomy, mask, LPS_5_MM, seed)[0].hu for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_mask_that_cannot_be_inserted_is_refused(anatomy):
    with pytest.raises(InputError, match="The mask is empty"):
        insert_mask(anatomy, np.zeros(SHAPE, bool), LPS_5_MM)
    mask, _ = ellipsoid((0.0, 0.0, 0.0), (100.0, 100.0, 70.0))
    with pytest.raises(InputError, match="The mask does not fit: expected room for .* mL within the .* mL"):
        insert_mask(anatomy, mask, LPS_5_MM)
