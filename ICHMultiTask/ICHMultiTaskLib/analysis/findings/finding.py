"""One finding of the scan or fact of the patient, with its source and accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...common.choices import Choice
from ...common.numbers import number, yes_no
from ...common.translation import joined
from ...common.words import word
from .place import Place


class Source(Choice):
    """Where a value comes from."""

    BLEED = "measured on the marked bleed"
    HEADER = "DICOM header"
    ENTERED = "entered"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes
    ----------
    name : str
        Name of the field in `ClinicalContext` or of the manifest's column, if there is one: such as "location" or
        "midline_shift_mm".
    label : str
        Shown to the user, such as "Midline shift".
    value : str, bool or float
    unit : str
        "mL", "mm", "years" or empty.
    source : Source
    accuracy : str
        Accuracy on simulated patients, as a clause; empty if it was not measured.
    correctable : bool
        Whether it is a field of the clinical scores, where an entered value replaces it.
    """

    name: str
    label: str
    value: str | bool | float
    unit: str = ""
    source: str = Source.BLEED
    accuracy: str = ""
    correctable: bool = False

    @property
    def text(self) -> str:
        """The value with its unit, as shown to the user."""
        if isinstance(self.value, bool):
            return yes_no(self.value)
        if isinstance(self.value, str):
            return word(self.value)
        amount = number(self.value, 0 if self.unit == "years" else 1)
        return joined(" ", filter(None, (amount, self.unit)))


def findings_text(findings: Findings) -> str:
    """All findings in one line, such as "location deep, side left, infratentorial no"."""
    return ", ".join(f"{item.label[0].lower()}{item.label[1:]} {item.text}" for item in findings.items)


@dataclass(frozen=True)
class Findings(Place):
    """Findings of a scan other than the volume: the location of the bleed, and the list of all findings.

    Attributes
    ----------
    items : tuple of Finding
        All findings, including the place, in display order.
    """

    items: tuple[Finding, ...] = ()

    def as_dict(self) -> dict:
        """As plain values, for report.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict | None) -> Findings | None:
        """Read what this or an earlier version's `as_dict` returned; None if it is missing or unreadable."""
        if not isinstance(kept, dict):
            return None
        try:
            items = tuple(Finding(**item) for item in kept.get("items", ()))
            return cls(kept["side"], kept["location"], kept["infratentorial"], items)
        except (KeyError, TypeError):
            return None
