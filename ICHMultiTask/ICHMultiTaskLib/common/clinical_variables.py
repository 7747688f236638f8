"""Clinical variables of a patient: one list for the clinical scores and for models with clinical inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import InputError
from .tables import parsed_number

LOCATIONS = {
    "lobar": "lobar",
    "deep": "deep",
    "putamen": "deep",
    "thalamus": "deep",
    "caudate": "deep",
    "cerebellum": "infratentorial",
    "brainstem": "infratentorial",
}
"""Locations, and the group of each that scores and models use."""
UNKNOWN = ("", "na", "n/a", "nan", "unknown")
"""Contents of a table's cell that mean an unknown value."""
_YES_NO = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class ClinicalVariable:
    """One variable.

    Attributes
    ----------
    words : str
        Its name in a sentence.
    low, high : float
        Least and largest possible value.
    whole : bool
        Whether only whole numbers are possible.
    codes : dict of str to float
        Texts that stand for a number.
    """

    words: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = True
    codes: Mapping[str, float] | None = None

    def number(self, value: object) -> float | None:
        """The value as a number; None if unknown.

        Raises
        ------
        InputError
            If the value is impossible.
        """
        text = _text(value)
        if text in UNKNOWN:
            return None
        if text in (self.codes or ()):
            return self.codes[text]
        found = parsed_number(text, decimal_comma=True)
        if found is None or not self.low <= found <= self.high or (self.whole and found != int(found)):
            raise InputError(f"The {self.words} is impossible: expected {self._expected()}, found {value!r}.")
        return found

    def _expected(self):
        texts = ", ".join(self.codes or ())
        kind = "a whole number" if self.whole else "a number"
        span = f"from {self.low:g}" + (f" to {self.high:g}" if self.high < math.inf else "")
        return f"{texts} or {kind} {span}" if texts else f"{kind} {span}"


VARIABLES = {
    "age": ClinicalVariable("age", 0, 120, whole=False),
    "gcs": ClinicalVariable("GCS", 3, 15),
    "nihss": ClinicalVariable("NIHSS", 0, 42),
    "location": ClinicalVariable("location"),
    "ivh": ClinicalVariable("intraventricular blood", codes=_YES_NO),
    "anticoagulation": ClinicalVariable("oral anticoagulation", codes=_YES_NO),
    "cognitive_impairment": ClinicalVariable("cognitive impairment before the hemorrhage", codes=_YES_NO),
    "sex": ClinicalVariable("sex", codes={"m": 1.0, "f": 0.0, "male": 1.0, "female": 0.0}),
    "onset_hours": ClinicalVariable("time from onset to scan in hours", 0, math.inf, whole=False),
}
"""By the name of the manifest's column; the order is that of the panel."""


def location_group(value: object) -> str | None:
    """One of lobar, deep and infratentorial; None if the location is unknown.

    Raises
    ------
    InputError
        If there is no such location.
    """
    text = _text(value)
    if text in UNKNOWN:
        return None
    if text not in LOCATIONS and text != "infratentorial":
        raise InputError(f"The location is unknown: expected one of {', '.join(LOCATIONS)}, found {value!r}.")
    return LOCATIONS.get(text, text)


def read_with(clinical: Mapping[str, object] | None) -> str:
    """Inputs of a prognosis as text: the image, and each given clinical value."""
    given = [
        f"{VARIABLES[name].words} {_shown(value)}" for name, value in (clinical or {}).items() if value is not None
    ]
    return f"from the image and {', '.join(given)}" if given else "from the image alone"


def _shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else value


def _text(value):
    return "" if value is None else str(value).strip().lower()
