"""Clinical variables and 30-day mortality of simulated patients: the ICH score (Hemphill 2001) and imaging findings.

Death depends only on age, GCS, volume, location, intraventricular blood, midline shift, hydrocephalus and edema;
NIHSS, anticoagulation and the time from onset correlate with these but add no information. Therefore the best
reachable AUC is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from ..measures.clinical_scores import ICH_MORTALITY_PERCENT, LOCATIONS, ich_points

MORTALITY = (*(percent / 100 for percent in ICH_MORTALITY_PERCENT), 1.0)
"""30-day mortality for ICH scores 0 to 6 (6 did not occur in the derivation cohort)."""
LOWEST_RISK, HIGHEST_RISK = 0.01, 0.98
"""Limits of the score's mortality before imaging findings shift the odds: no patient is certain to survive or die."""
ODDS_A_SHIFT_MM, ODDS_OF_HYDROCEPHALUS, ODDS_OF_EDEMA = 1.12, 2.5, 1.3
"""Odds ratios of death: per millimeter of midline shift, for hydrocephalus (an independent predictor in Diringer et al.
1998), and per doubling of edema relative to the usual amount for the volume. The values are assumptions of published
magnitude."""
USUAL_SHIFT_MM, USUAL_HYDROCEPHALUS = 1.0, 0.2
"""Values at which the odds equal those of the score, so that the average mortality stays as published."""
GCS_SPREAD = 2.8
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 67.0, 13.0, (30.0, 96.0)
ATROPHY_AGE, ATROPHY_YEARS, ATROPHY_SPREAD, ATROPHY_RANGE = 35.0, 50.0, 0.25, (0.0, 1.6)
"""Atrophy is (age - 35) / 50 with a normal spread, within limits."""

ANTICOAGULATED = 0.15
"""Share at `AGE_MEAN`, about that of recent series; it rises by `ANTICOAGULATED_PER_YEAR` per year of age."""
ANTICOAGULATED_PER_YEAR = 0.006
NIHSS_OF_VOLUME = {"lobar": 5.0, "putamen": 8.0, "thalamus": 7.5, "caudate": 3.0, "cerebellum": 2.5, "brainstem": 9.0}
"""NIHSS points per tenfold increase of (1 + mL): more in locations close to the motor pathways."""
NIHSS_OF_GCS, NIHSS_SPREAD = 1.7, 3.0
ONSET_MEDIAN_HOURS, ONSET_SPREAD, ONSET_RANGE_HOURS = 4.0, 0.9, (0.5, 72.0)


@dataclass(frozen=True)
class Findings:
    """Imaging findings of a bleed."""

    volume_ml: float
    location: str
    ivh: int = 0
    midline_shift_mm: float = USUAL_SHIFT_MM
    hydrocephalus: int = 0
    edema_excess: float = 0.0
    """Base-2 logarithm of the edema relative to the usual amount for the volume."""
    atrophy: float | None = None

    @property
    def infratentorial(self) -> bool:
        """Whether the bleed is in the cerebellum or brainstem."""
        return LOCATIONS.get(self.location) == "infratentorial"


@dataclass(frozen=True)
class Presentation:
    """Further clinical data on admission."""

    nihss: int
    anticoagulation: int
    """1 if taking oral anticoagulants."""
    onset_hours: float
    """From onset to scan."""


@dataclass(frozen=True)
class Outcome:
    """Clinical data and outcome of one simulated patient."""

    age: int
    sex: str
    gcs: int
    ich_score: int
    died: int
    death_probability: float
    """Probability from which `died` was drawn: given age, GCS and the findings."""
    death_probability_image: float
    """The same, given only the image: the findings, and the age distribution for the visible atrophy."""


def draw_age_and_sex(rng: np.random.Generator) -> tuple[int, str]:
    """Age in whole years and "M" or "F"."""
    return int(np.clip(rng.normal(AGE_MEAN, AGE_SPREAD), *AGE_RANGE)), "M" if rng.uniform() < 0.56 else "F"


def draw_atrophy(rng: np.random.Generator, age: float) -> float:
    """Atrophy of the brain for an age, from 0 to 1.6."""
    return float(np.clip((age - ATROPHY_AGE) / ATROPHY_YEARS + rng.normal(0.0, ATROPHY_SPREAD), *ATROPHY_RANGE))


def death_probability(score: int, findings: Findings) -> float:
    """Probability of death within 30 days from the ICH score and the imaging findings."""
    risk = np.clip(MORTALITY[score], LOWEST_RISK, HIGHEST_RISK)
    odds = risk / (1.0 - risk) * ODDS_A_SHIFT_MM ** (findings.midline_shift_mm - USUAL_SHIFT_MM)
    odds *= ODDS_OF_HYDROCEPHALUS ** (findings.hydrocephalus - USUAL_HYDROCEPHALUS)
    odds *= ODDS_OF_EDEMA**findings.edema_excess
    return float(odds / (1.0 + odds))


def draw_outcome(rng: np.random.Generator, age: int, sex: str, findings: Findings, lost_gcs: float = 1.0) -> Outcome:
    """Draw GCS and death.

    GCS decreases with volume, faster below the tentorium, with intraventricular blood and with hydrocephalus;
    `lost_gcs` is a factor on this decrease. Patients without a bleed survive.
    """
    mean = _expected_gcs(findings, lost_gcs)
    gcs = int(np.clip(np.rint(rng.normal(mean, GCS_SPREAD)), 3, 15))
    luck = rng.uniform()
    if findings.volume_ml <= 0.0:
        return Outcome(age, sex, gcs, 0, 0, 0.0, 0.0)
    score = ich_points(gcs, findings.volume_ml, findings.ivh, findings.infratentorial, age)
    risk = death_probability(score, findings)
    old = probability_of_80_or_older(findings.atrophy)
    deep, alert = (_normal_cdf((4.5 - mean) / GCS_SPREAD), 1.0 - _normal_cdf((12.5 - mean) / GCS_SPREAD))
    base = ich_points(15, findings.volume_ml, findings.ivh, findings.infratentorial, 50)
    image = sum(
        weight_gcs * weight_age * death_probability(base + points + elder, findings)
        for points, weight_gcs in ((2, deep), (1, 1.0 - deep - alert), (0, alert))
        for elder, weight_age in ((1, old), (0, 1.0 - old))
    )
    return Outcome(age, sex, gcs, score, int(luck < risk), risk, float(image))


def probability_of_80_or_older(atrophy: float | None) -> float:
    """Probability that a patient is 80 or older, given the visible atrophy; None: unknown atrophy."""
    ages = np.arange(int(AGE_RANGE[0]), int(AGE_RANGE[1]) + 1)
    # Ages are truncated to whole years; values beyond the range are clipped to its ends.
    edges = np.concatenate([[-np.inf], ages[1:], [np.inf]])
    below = np.array([_normal_cdf((edge - AGE_MEAN) / AGE_SPREAD) for edge in edges])
    weight = np.diff(below)
    if atrophy is not None:
        expected = (ages - ATROPHY_AGE) / ATROPHY_YEARS
        low, high = ATROPHY_RANGE
        if low < atrophy < high:
            weight = weight * np.exp(-0.5 * ((atrophy - expected) / ATROPHY_SPREAD) ** 2)
        else:
            side = 1.0 if atrophy >= high else -1.0
            weight = weight * [_normal_cdf(side * (e - atrophy) / ATROPHY_SPREAD) for e in expected]
    return float(weight[ages >= 80].sum() / weight.sum())


def draw_presentation(rng: np.random.Generator, age: float, gcs: int, volume_ml: float, location: str) -> Presentation:
    """Draw NIHSS, anticoagulation and hours from onset; the strengths of the associations are assumptions.

    NIHSS rises with lost GCS points, and with volume, most strongly near the motor pathways. Anticoagulation is more
    common in older patients and in large bleeds. Patients with low GCS are scanned sooner.
    """
    expected = NIHSS_OF_GCS * (15 - gcs) + NIHSS_OF_VOLUME.get(location, 0.0) * np.log10(1.0 + volume_ml)
    nihss = int(np.clip(np.rint(rng.normal(expected + 1.0, NIHSS_SPREAD)), 0, 42))
    share = np.clip(ANTICOAGULATED + ANTICOAGULATED_PER_YEAR * (age - AGE_MEAN), 0.02, 0.40)
    odds = share / (1.0 - share) * (np.clip((volume_ml / 12.0) ** 0.35, 0.5, 2.0) if volume_ml > 0 else 1.0)
    anticoagulation = int(rng.uniform() < odds / (1.0 + odds))
    hours = ONSET_MEDIAN_HOURS * (gcs / 13.0) ** 0.4 * np.exp(rng.normal(0.0, ONSET_SPREAD))
    return Presentation(nihss, anticoagulation, round(float(np.clip(hours, *ONSET_RANGE_HOURS)), 1))


def _expected_gcs(findings, lost_gcs):
    a_ml = {"brainstem": 1.1, "cerebellum": 0.22, "thalamus": 0.28}.get(findings.location, 0.16)
    loss = a_ml * findings.volume_ml + (2.4 if findings.ivh else 0.0) + 1.5 * findings.hydrocephalus
    return 15.0 - min(lost_gcs * loss, 12.0)


def _normal_cdf(value):
    return 0.5 * (1.0 + erf(value / sqrt(2.0)))
