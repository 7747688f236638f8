"""Clinical variables of a patient: one list for the clinical scores and for models with clinical inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import InputError
from .tables import parsed_number
from .translation import Text, joined
from .translation import tr as _
from .words import word

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
            raise InputError(
                _("The {words} is impossible: expected {expected}, found {value!r}.").format(
                    words=self.words, expected=self.expected(), value=value
                )
            )
        return found

    def expected(self) -> Text:
        """The possible values, for messages."""
        kind = _("a whole number") if self.whole else _("a number")
        numbers = _("{kind} from {low:g} to {high:g}") if self.high < math.inf else _("{kind} from {low:g}")
        numbers = numbers.format(kind=kind, low=self.low, high=self.high)
        if not self.codes:
            return numbers
        return _("{codes} or {numbers}").format(codes=", ".join(self.codes), numbers=numbers)


VARIABLES = {
    "age": ClinicalVariable(_("age"), 0, 120, whole=False),
    "gcs": ClinicalVariable("GCS", 3, 15),
    "nihss": ClinicalVariable("NIHSS", 0, 42),
    "location": ClinicalVariable(_("location")),
    "ivh": ClinicalVariable(_("blood in the ventricles"), codes=_YES_NO),
    "anticoagulation": ClinicalVariable(_("oral anticoagulation"), codes=_YES_NO),
    "cognitive_impairment": ClinicalVariable(_("cognitive impairment before the hemorrhage"), codes=_YES_NO),
    "sex": ClinicalVariable(_("sex"), codes={"m": 1.0, "f": 0.0, "male": 1.0, "female": 0.0}),
    "onset_hours": ClinicalVariable(_("time from onset to scan in hours"), 0, math.inf, whole=False),
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
        raise InputError(
            _("The location is unknown: expected one of {locations}, found {value!r}.").format(
                locations=", ".join(LOCATIONS), value=value
            )
        )
    return LOCATIONS.get(text, text)


def read_with(clinical: Mapping[str, object] | None) -> str:
    """Inputs of a prognosis as text: the image, and each given clinical value."""
    given = [described(name, value) for name, value in (clinical or {}).items() if value is not None]
    if not given:
        return _("from the image alone")
    return _("from the image and {values}").format(values=joined(", ", given))


def described(name: str, value: str | bool | float) -> str:
    """A known value as a surgeon says it, such as "56 years", "GCS 14" or "no blood in the ventricles".

    Parameters
    ----------
    name : str
        In `VARIABLES`.
    value : str, bool or float
    """
    variable = VARIABLES[name]
    if name == "location":
        return joined(" ", (variable.words, word(str(value))))
    amount = variable.number(value)
    if variable.codes is _YES_NO:
        return variable.words if amount else _("no {words}").format(words=variable.words)
    if name == "sex":
        return _("male") if amount else _("female")
    if name == "age":
        # Rounded down, as ages are: who is 79.96 years old has not reached the limit of 80.
        return _("{years:g} years").format(years=math.floor(10 * amount) / 10)
    if name == "onset_hours":
        return _("{hours:.3g} hours from onset to scan").format(hours=amount)
    return joined(" ", (variable.words, f"{amount:g}"))


def _text(value):
    return "" if value is None else str(value).strip().lower()
