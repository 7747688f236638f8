"""Follow-up scan of a simulated patient, in which the bleed may have grown.

    second = simulate_follow_up(first, settings)

Growth is more likely after early scans, with anticoagulation, and with imaging signs of an unstable bleed: black hole
or blend sign, swirl sign, and an irregular, multilobular or satellite shape. These predictors are published (Al-Shahi
Salman et al. 2018, doi 10.1016/S1474-4422(18)30253-9; Morotti et al. 2019, doi 10.1002/ana.25563); the effect sizes
here are assumptions.
"""

from dataclasses import replace

import numpy as np

from .hematoma import LARGEST_ML
from .patient import SimulatedPatient, SimulationSettings, simulate_patient

HOURS_LATER = (12.0, 36.0)
"""Hours from the first scan to the second, uniformly distributed."""
ODDS = 0.22
"""Odds of growth after a scan at `USUAL_HOURS`, for a smooth, homogeneous bleed without anticoagulation."""
USUAL_HOURS, ODDS_A_DOUBLING = 3.0, 0.6
ODDS_ANTICOAGULATED, ODDS_OF_HOLE_OR_BLEND, ODDS_OF_SWIRL, ODDS_IRREGULAR = 2.6, 2.4, 1.5, 1.6
MARKED_SWIRL_HU = 5.0
IRREGULAR = ("irregular", "multilobular", "satellite")
MIN_GROWTH, MEAN_FURTHER_GROWTH, MAX_GROWTH_ML = 0.33, 0.6, 70.0
"""Relative growth: at least a third, a usual definition of expansion, plus a random part; limited in mL."""
STEADY_SPREAD = 0.03
"""Relative standard deviation of the volume of a bleed that does not grow."""


def growth_probability(patient: SimulatedPatient) -> float:
    """Probability that the bleed grows after the scan; 0 without a bleed."""
    if patient.volume_ml <= 0:
        return 0.0
    signs = patient.facts["signs"]
    odds = ODDS * ODDS_A_DOUBLING ** np.log2(max(patient.onset_hours, 0.5) / USUAL_HOURS)
    odds *= ODDS_ANTICOAGULATED**patient.anticoagulation
    odds *= ODDS_OF_HOLE_OR_BLEND ** (signs["black_hole"] or signs["blend"])
    odds *= ODDS_OF_SWIRL ** (signs["swirl_hu"] >= MARKED_SWIRL_HU)
    odds *= ODDS_IRREGULAR ** (patient.facts["shape"] in IRREGULAR)
    return float(odds / (1.0 + odds))


def simulate_follow_up(
    first: SimulatedPatient, settings: SimulationSettings | None = None
) -> tuple[SimulatedPatient, SimulatedPatient]:
    """Simulate a second scan, and let the outcome follow from its findings.

    Head, location and shape of the bleed are those of the first scan; pose, scanner and noise are redrawn. GCS falls as
    the bleed grows. No patient dies between the scans.

    Parameters
    ----------
    first : SimulatedPatient
        First scan, of a simulated head.
    settings : SimulationSettings, optional
        Settings of the first scan.

    Returns
    -------
    first, second : SimulatedPatient
        Both have the outcome and `death_probability` of the second scan. The first keeps its own GCS; its
        `death_probability_image` is NaN, since the probability given the first scan alone is not known.
    """
    settings = settings or SimulationSettings()
    rng = np.random.default_rng([first.seed, 2])
    grows = rng.uniform() < growth_probability(first)
    further, steady = rng.exponential(MEAN_FURTHER_GROWTH), rng.normal(0.0, STEADY_SPREAD)
    hours = round(float(rng.uniform(*HOURS_LATER)), 1)
    if first.volume_ml > 0:
        grown = first.volume_ml * (1.0 + (MIN_GROWTH + further if grows else abs(steady)))
        most = max(first.volume_ml, min(LARGEST_ML[first.location], first.volume_ml + MAX_GROWTH_ML))
        settings = replace(settings, volume_ml=float(min(grown, most)))
    second = simulate_patient(first.seed, settings, first.patient_id, visit=1)
    second = replace(
        second, onset_hours=round(first.onset_hours + hours, 1), anticoagulation=first.anticoagulation,
        facts=second.facts | {"hours_since_first": hours},
    )  # fmt: skip
    first = replace(
        first, died=second.died, death_probability=second.death_probability, death_probability_image=float("nan")
    )
    return first, second
