"""Simulated non-contrast head CT with spontaneous intracerebral hemorrhage, with exact volumes and masks."""

from .cohort import patient_seed, write_cohort
from .patient import (
    DEMONSTRATION_SEED,
    SimulatedPatient,
    SimulationSettings,
    simulate_patient,
)
from .writers import write_dicom, write_nifti

__all__ = [
    "DEMONSTRATION_SEED",
    "SimulatedPatient",
    "SimulationSettings",
    "patient_seed",
    "simulate_patient",
    "write_cohort",
    "write_dicom",
    "write_nifti",
]
