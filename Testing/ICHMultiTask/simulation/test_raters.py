"""Bedside readings of simulated hematomas: the published errors, less of them with experience."""

import numpy as np
import pytest

from ICHMultiTaskLib.simulation.anatomy import Head
from ICHMultiTaskLib.simulation.hematoma import Hematoma
from ICHMultiTaskLib.simulation.raters import EXPERIENCE_YEARS, read_volumes

PIXEL_MM, SLICE_MM, LAYERS = 1.25, 5.0, 3
GRID = np.diag([PIXEL_MM, PIXEL_MM, SLICE_MM, 1.0])


def mask_of(hematoma):
    """Voxels at least half filled, on slices of 5 mm."""
    steps = (PIXEL_MM, PIXEL_MM, SLICE_MM / LAYERS)
    x, y, z = (np.arange(a, b, step, dtype=np.float32) for a, b, step in zip(*hematoma.bounds(), steps))
    z = z[: len(z) // LAYERS * LAYERS]
    inside = hematoma.field(*np.meshgrid(x, y, z, indexing="ij")).T > 0
    return inside.reshape(-1, LAYERS, len(y), len(x)).mean(axis=1) > 0.5


@pytest.fixture(scope="module")
def readings():
    """Shape, exact volume and eight readings of hematomas of 8 to 30 mL."""
    rng = np.random.default_rng(0)
    head = Head(rng, 65)
    rows = []
    for shape in ("regular", "irregular", "multilobular"):
        for volume in np.geomspace(8.0, 30.0, 7):
            hematoma = Hematoma(rng, head, "lobar", shape, volume)
            rows.append((shape, hematoma.volume_ml, read_volumes(rng, mask_of(hematoma), GRID)))
    return rows


def test_errors_are_as_published(readings):
    """ABC/2 against planimetry: regular +10 %, irregular +18 %, multilobular +39 % (PubMed 25316277)."""
    excess = {}
    for shape in ("regular", "irregular", "multilobular"):
        exact = np.array([volume for s, volume, _ in readings if s == shape])
        read = np.array([ml for s, _, ml in readings if s == shape])
        excess[shape] = 100.0 * (read.mean(axis=1).sum() / exact.sum() - 1.0)
    assert excess["regular"] < excess["irregular"] < excess["multilobular"]
    assert excess["regular"] == pytest.approx(10.0, abs=15.0)
    assert excess["irregular"] == pytest.approx(18.0, abs=15.0)
    assert excess["multilobular"] == pytest.approx(39.0, abs=15.0)


def test_experience_makes_readings_better(readings):
    exact = np.array([volume for _, volume, _ in readings])
    error = np.array([ml for *_, ml in readings]) / exact[:, None] - 1.0
    least, most = np.abs(error[:, 0]).mean(), np.abs(error[:, -1]).mean()
    assert EXPERIENCE_YEARS == (2, 3, 3, 4, 4, 8, 15, 20)
    assert most < 0.75 * least
    assert np.corrcoef(EXPERIENCE_YEARS, np.abs(error).mean(axis=0))[0, 1] < -0.4


def test_same_seed_same_readings_and_raters_differ():
    mask = np.zeros((7, 40, 40), bool)
    mask[2:5, 10:30, 12:25] = True
    first, second = (read_volumes(np.random.default_rng(3), mask, GRID) for _ in range(2))
    assert first == second and len(set(first)) > 4
    assert read_volumes(np.random.default_rng(4), mask, GRID) != first


def test_empty_mask_gives_volumes_of_zero():
    assert read_volumes(np.random.default_rng(0), np.zeros((3, 4, 4), bool), GRID) == (0.0,) * 8
