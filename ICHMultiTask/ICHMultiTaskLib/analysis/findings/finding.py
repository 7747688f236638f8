"""One thing seen in the scan or known of the patient, with its source and how often it is right."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...common.choices import Choice
from ...common.numbers import number, yes_no


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
        That of the field in `ClinicalContext` or of the manifest's column where there is one, such as "location" or
        "midline_shift_mm".
    label : str
        For people, such as "Midline shift".
    value : str, bool or float
    unit : str
        "mL", "mm", "years" or empty.
    source : Source
    accuracy : str
        As measured on simulated patients, a clause; empty for a value that was not measured.
    correctable : bool
        Whether it is a field of the clinical scores: a value that is entered there replaces it.
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
        """The value for people, with its unit."""
        if isinstance(self.value, bool):
            return yes_no(self.value)
        if isinstance(self.value, str):
            return self.value
        return f"{number(self.value, 0 if self.unit == 'years' else 1)} {self.unit}".strip()


def findings_text(findings: Findings) -> str:
    """All findings in one line, such as "location deep, side left, infratentorial no"."""
    return ", ".join(f"{item.label[0].lower()}{item.label[1:]} {item.text}" for item in findings.items)


@dataclass(frozen=True)
class Findings:
    """What the scan shows besides the volume.

    Attributes
    ----------
    side : str
        "left" or "right" of the patient, or "midline".
    location : str
        "lobar", "deep", "cerebellum" or "brainstem".
    infratentorial : bool
    items : tuple of Finding
        All findings, these three among them, in the order in which they are shown.
    """

    side: str
    location: str
    infratentorial: bool
    items: tuple[Finding, ...] = ()

    def as_dict(self) -> dict:
        """For report.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict | None) -> Findings | None:
        """Read what `as_dict` made, of earlier versions too; None where there is nothing to read."""
        if not isinstance(kept, dict):
            return None
        try:
            items = tuple(Finding(**item) for item in kept.get("items", ()))
            return cls(kept["side"], kept["location"], kept["infratentorial"], items)
        except (KeyError, TypeError):
            return None
