"""Simulated non-contrast head CT with spontaneous intracerebral hemorrhage, with exact volumes and masks."""

from .patient import TRAINING_SETTINGS, SimulatedPatient, SimulationSettings, simulate_patient

__all__ = ["TRAINING_SETTINGS", "SimulatedPatient", "SimulationSettings", "simulate_patient"]
