"""Clinical variables and 30-day death from the published ICH score (Hemphill 2001).

Death depends on age, GCS, volume, location and intraventricular blood alone; NIHSS, anticoagulation and the time from
onset go with these but add nothing to them. So the best reachable AUC is known.
"""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

MORTALITY = (0.0, 0.13, 0.26, 0.72, 0.97, 1.0, 1.0)
"""30-day mortality for ICH scores 0 to 6 (6 did not occur in the derivation cohort)."""
GCS_SPREAD = 2.4
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 67.0, 13.0, (30.0, 96.0)

ANTICOAGULATED = 0.15
"""Share at `AGE_MEAN`, about that of recent series; it rises by `ANTICOAGULATED_A_YEAR` with age."""
ANTICOAGULATED_A_YEAR = 0.006
NIHSS_OF_VOLUME = {"lobar": 5.0, "putamen": 8.0, "thalamus": 7.5, "caudate": 3.0, "cerebellum": 2.5, "brainstem": 9.0}
"""Points per factor of ten in (1 + mL): by how much of the motor pathways lies near."""
NIHSS_OF_GCS, NIHSS_SPREAD = 1.7, 3.0
ONSET_MEDIAN_HOURS, ONSET_SPREAD, ONSET_RANGE_HOURS = 4.0, 0.9, (0.5, 72.0)


@dataclass(frozen=True)
class Presentation:
    """What else is known when the patient arrives."""

    nihss: int
    anticoagulation: int
    """1 if taking oral anticoagulants."""
    onset_hours: float
    """From onset to scan."""


@dataclass(frozen=True)
class Outcome:
    """Clinical facts of one simulated patient."""

    age: int
    sex: str
    gcs: int
    ich_score: int
    died: int
    death_probability: float
    """Probability from which `died` was drawn: given age, GCS, volume, location and intraventricular blood."""
    death_probability_image: float
    """The same, given only what the image shows: volume, location and intraventricular blood."""


def draw_age_and_sex(rng):
    """Age in whole years and "M" or "F"."""
    return int(np.clip(rng.normal(AGE_MEAN, AGE_SPREAD), *AGE_RANGE)), "M" if rng.uniform() < 0.56 else "F"


def ich_score(gcs, volume_ml, ivh, infratentorial, age):
    """ICH score, 0 to 6 (Hemphill 2001)."""
    return (
        (2 if gcs <= 4 else 1 if gcs <= 12 else 0)
        + int(volume_ml >= 30.0)
        + int(bool(ivh))
        + int(bool(infratentorial))
        + int(age >= 80)
    )


def draw_outcome(rng, age, sex, volume_ml, location, ivh):
    """Draw GCS and death; GCS falls with volume, faster below the tentorium, and with intraventricular blood."""
    infratentorial = location in ("cerebellum", "brainstem")
    mean = _expected_gcs(volume_ml, location, ivh)
    gcs = int(np.clip(np.rint(rng.normal(mean, GCS_SPREAD)), 3, 15))
    luck = rng.uniform()
    if volume_ml <= 0.0:
        return Outcome(age, sex, gcs, 0, 0, 0.0, 0.0)
    score = ich_score(gcs, volume_ml, ivh, infratentorial, age)
    old = 1.0 - _normal_cdf((80.0 - AGE_MEAN) / AGE_SPREAD)
    deep, alert = (_normal_cdf((4.5 - mean) / GCS_SPREAD), 1.0 - _normal_cdf((12.5 - mean) / GCS_SPREAD))
    base = ich_score(15, volume_ml, ivh, infratentorial, 50)
    image = sum(
        weight_gcs * weight_age * MORTALITY[base + points + elder]
        for points, weight_gcs in ((2, deep), (1, 1.0 - deep - alert), (0, alert))
        for elder, weight_age in ((1, old), (0, 1.0 - old))
    )
    return Outcome(age, sex, gcs, score, int(luck < MORTALITY[score]), MORTALITY[score], float(image))


def draw_presentation(rng, age, gcs, volume_ml, location):
    """Draw NIHSS, anticoagulation and hours from onset; the sizes of the dependences are choices.

    NIHSS rises with lost GCS points, and with volume most where the motor pathways run. Anticoagulation is commoner in
    the old and among bleeds large for their place. Patients with low GCS are scanned sooner.
    """
    expected = NIHSS_OF_GCS * (15 - gcs) + NIHSS_OF_VOLUME.get(location, 0.0) * np.log10(1.0 + volume_ml)
    nihss = int(np.clip(np.rint(rng.normal(expected + 1.0, NIHSS_SPREAD)), 0, 42))
    share = np.clip(ANTICOAGULATED + ANTICOAGULATED_A_YEAR * (age - AGE_MEAN), 0.02, 0.40)
    odds = share / (1.0 - share) * (np.clip((volume_ml / 12.0) ** 0.35, 0.5, 2.0) if volume_ml > 0 else 1.0)
    anticoagulation = int(rng.uniform() < odds / (1.0 + odds))
    hours = ONSET_MEDIAN_HOURS * (gcs / 13.0) ** 0.4 * np.exp(rng.normal(0.0, ONSET_SPREAD))
    return Presentation(nihss, anticoagulation, round(float(np.clip(hours, *ONSET_RANGE_HOURS)), 1))


def _expected_gcs(volume_ml, location, ivh):
    loss = {"brainstem": 0.75, "cerebellum": 0.18, "thalamus": 0.19}.get(location, 0.125) * volume_ml
    return 15.0 - min(loss, 11.0) - (1.8 if ivh else 0.0)


def _normal_cdf(value):
    return 0.5 * (1.0 + erf(value / sqrt(2.0)))
