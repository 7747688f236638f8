"""Clinical variables and 30-day death from the published ICH score (Hemphill 2001)."""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

MORTALITY = (0.0, 0.13, 0.26, 0.72, 0.97, 1.0, 1.0)
"""30-day mortality for ICH scores 0 to 6 (6 did not occur in the derivation cohort)."""
GCS_SPREAD = 2.4
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 67.0, 13.0, (30.0, 96.0)


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


def _expected_gcs(volume_ml, location, ivh):
    loss = {"brainstem": 0.75, "cerebellum": 0.18, "thalamus": 0.19}.get(location, 0.125) * volume_ml
    return 15.0 - min(loss, 11.0) - (1.8 if ivh else 0.0)


def _normal_cdf(value):
    return 0.5 * (1.0 + erf(value / sqrt(2.0)))
