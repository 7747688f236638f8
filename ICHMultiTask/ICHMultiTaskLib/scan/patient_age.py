"""The patient's age at the time of the study, from a DICOM header."""

from __future__ import annotations

import re
from datetime import date

YEARS_OF = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
OLDEST = 120
AGREEMENT_YEARS = 1.5
"""Largest difference between the stated age, which is rounded, and the age from the dates."""


def patient_age(stated: str, birth_date: str, study_date: str) -> float | None:
    """Read the age, in full years.

    Parameters
    ----------
    stated : str
        PatientAge, such as "071Y".
    birth_date, study_date : str
        PatientBirthDate and StudyDate, such as "19550131".

    Returns
    -------
    float or None
        None if the header was de-identified, is inconsistent, or states an impossible age. An age of 0 is regarded as
        a result of de-identification, which is more likely than an infant.
    """
    found = [age for age in (_of_age_string(stated), _of_dates(birth_date, study_date)) if age is not None]
    if not found or max(found) - min(found) > AGREEMENT_YEARS or not 0 < int(found[0]) <= OLDEST:
        return None
    return float(int(found[0]))


def _of_age_string(text):
    match = re.fullmatch(r"\s*(\d{1,3})\s*([YMWD])\s*", text.upper())
    return int(match[1]) * YEARS_OF[match[2]] if match and int(match[1]) else None


def _of_dates(birth_date, study_date):
    try:
        born, studied = (date.fromisoformat(f"{d[:4]}-{d[4:6]}-{d[6:8]}") for d in (birth_date, study_date))
    except ValueError:
        return None
    years = studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))
    return float(years) if 0 < years <= OLDEST else None
