"""Values too coarse for what is measured on them are said."""

import numpy as np
import pytest

from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.validation import check_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient


@pytest.fixture(scope="module")
def head_ct():
    return simulate_patient(6, SimulationSettings(matrix=160, slices=40)).head_ct


@pytest.mark.parametrize("step, is_coarse", [(1, False), (5, False), (10, True), (4080 / 255, True)])
def test_values_in_coarse_steps_are_said(head_ct, step, is_coarse):
    """As after a conversion to 8 bits: blood and brain are then two or three values apart."""
    hu = np.rint(np.rint((head_ct.hu + 1024) / step) * step - 1024).astype(np.int16)
    warnings = check_head_ct(HeadCT(hu, head_ct.ijk_to_ras)).facts.warnings
    assert (
        any(text.startswith(f"The values lie {step:.2g} HU apart, as after a conv") for text in warnings) == is_coarse
    )


@pytest.mark.parametrize("added, is_noisy", [(0, False), (15, False), (50, True)])
def test_noise_that_hides_blood_is_said(head_ct, added, is_noisy):
    """A bleed of 21 mL in noise of 85 HU was not found, without a word."""
    noise = np.random.default_rng(0).normal(0, added, head_ct.hu.shape)
    hu = np.where(head_ct.hu > -900, np.rint(head_ct.hu + noise), head_ct.hu).astype(np.int16)
    warnings = check_head_ct(HeadCT(hu, head_ct.ijk_to_ras)).facts.warnings
    assert any("HU; expected 5 to 15. On ten simulated heads" in text for text in warnings) == is_noisy
