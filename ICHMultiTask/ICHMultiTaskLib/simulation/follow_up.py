"""A second scan of the same patient, in which the bleed may have grown.

    second = simulate_follow_up(first, settings)

Early scans, anticoagulation and the signs of an unstable bleed make growth likelier: a black hole or a blend of two
densities, a swirl, and an irregular, multilobular or satellite shape. That they do is published (Al-Shahi Salman et al.
2018, doi 10.1016/S1474-4422(18)30253-9; Morotti et al. 2019, doi 10.1002/ana.25563); the sizes here are choices.
"""

from dataclasses import replace

import numpy as np

from .hematoma import LARGEST_ML
from .patient import SimulatedPatient, SimulationSettings, simulate_patient

HOURS_LATER = (12.0, 36.0)
"""From the first scan to the second, evenly."""
ODDS = 0.22
"""Of growth in a scan `USUAL_HOURS` after onset, of a smooth and even bleed without anticoagulation."""
USUAL_HOURS, ODDS_A_DOUBLING = 3.0, 0.6
ODDS_ANTICOAGULATED, ODDS_OF_HOLE_OR_BLEND, ODDS_OF_SWIRL, ODDS_IRREGULAR = 2.6, 2.4, 1.5, 1.6
MARKED_SWIRL_HU = 5.0
IRREGULAR = ("irregular", "multilobular", "satellite")
MIN_GROWTH, MEAN_FURTHER_GROWTH, MAX_GROWTH_ML = 0.33, 0.6, 70.0
"""A bleed that grows does so by a third at least, which is one of the usual definitions, and by a random part more."""
STEADY_SPREAD = 0.03
"""Spread of the volume of a bleed that does not grow, as a share of it."""


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
    """Scan the patient again, and let the outcome follow from what the second scan shows.

    Head, place and shape of the bleed are those of the first scan; pose, scanner and noise are drawn anew. GCS falls as
    the bleed grows. Nobody dies between the scans.

    Parameters
    ----------
    first : SimulatedPatient
        Of a simulated head.
    settings : SimulationSettings, optional
        Those of the first scan.

    Returns
    -------
    first, second : SimulatedPatient
        Both with the outcome and `death_probability` of the second; the first keeps its own GCS, and its
        `death_probability_image` is NaN, since what a first scan tells of an outcome after growth is not known.
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
