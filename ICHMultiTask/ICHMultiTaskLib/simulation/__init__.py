"""Simulated non-contrast head CT with spontaneous intracerebral hemorrhage, with exact volumes and masks."""

from .cohort import patient_seed, write_cohort
from .follow_up import growth_probability, simulate_follow_up
from .insertion import Anatomy, insert_hematoma
from .mask_insertion import insert_mask
from .patient import DEMONSTRATION_SEED, SimulatedPatient, SimulationSettings, simulate_patient
from .scans import find_scans, usable_scans
from .writers import write_dicom, write_nifti

__all__ = [
    "Anatomy",
    "DEMONSTRATION_SEED",
    "SimulatedPatient",
    "SimulationSettings",
    "find_scans",
    "growth_probability",
    "insert_hematoma",
    "insert_mask",
    "patient_seed",
    "simulate_follow_up",
    "simulate_patient",
    "usable_scans",
    "write_cohort",
    "write_dicom",
    "write_nifti",
]
