"""Mark the bleed: simulated patients with exact masks, geometries, and scans with nothing to mark."""

from dataclasses import replace

import numpy as np
import pytest
from ICHMultiTaskLib.analysis import Analysis, Attention
from ICHMultiTaskLib.comparison.marking import denoise, mark
from ICHMultiTaskLib.errors import Canceled, InputError
from ICHMultiTaskLib.geometry import apply_affine
from ICHMultiTaskLib.head_ct import HeadCT
from ICHMultiTaskLib.testing import HEMATOMA_ML, phantom
from ICHMultiTaskTrainingLib.simulation import SimulationSettings, simulate_patient
from scipy import ndimage

PATIENTS = {
    "putamen": (3, SimulationSettings(bleed=True, location="putamen", volume_ml=12.0, matrix=160, slices=28)),
    "lobar": (4, SimulationSettings(bleed=True, location="lobar", volume_ml=45.0, matrix=160, slices=28, tilt_deg=-18.0)),
    "thalamus": (5, SimulationSettings(bleed=True, location="thalamus", volume_ml=4.0, matrix=160, slices=40)),
}


def analysis_of(head_ct, truth, volume_ml, blur_mm=12.0):
    """An analysis that is right: attention is the blurred truth, as coarse as a network's."""
    array = ndimage.gaussian_filter(truth.astype(np.float32), blur_mm / head_ct.spacing_kji)
    array /= max(float(array.max()), 1e-12)
    peak = apply_affine(head_ct.ijk_to_ras, np.unravel_index(int(array.argmax()), array.shape)[::-1])
    peak = tuple(float(v) for v in peak) if truth.any() else None
    return Analysis(
        head_ct=head_ct, volume_ml=volume_ml, volume_interval_ml=None, interval_coverage=None,
        mortality_probability=0.1, prognosis="survival", model={}, warnings=(), timing_s={}, prediction=None,
        attention=Attention(array, "volume", "stage4", "gradcam", peak),
    )  # fmt: skip


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("name", PATIENTS)
def test_simulated_patients(name):
    seed, settings = PATIENTS[name]
    patient = simulate_patient(seed, settings)
    found = mark(analysis_of(patient.head_ct, patient.mask, patient.volume_ml))
    assert dice(found.mask, patient.mask) > 0.8
    assert found.volume_ml == pytest.approx(patient.volume_ml, rel=0.11)
    assert found.volume_ml == pytest.approx(np.count_nonzero(found.mask) * patient.head_ct.voxel_volume_mm3 / 1000)
    assert sum(found.components_ml) == pytest.approx(found.volume_ml)
