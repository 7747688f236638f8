"""Entered values, findings of the scan, and the scores computed from both. Needs no Qt."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.findings.clinical import shown_findings
from ..analysis.findings.finding import Finding, Findings, Source
from ..common.translation import translated
from ..common.words import word
from ..measures.clinical_scores import ClinicalContext
from ..mrml.clinical import missing_sentence
from ..mrml.translation import tr as _
from ..mrml.volumes import scan_facts

if TYPE_CHECKING:
    from ..analysis.findings.assessment import ClinicalAssessment
    from .state import PanelState


class Field(NamedTuple):
    """One field of the clinical scores.

    Attributes
    ----------
    value : str, bool, float or None
        Entered value, else the finding; None if neither is known.
    source : str
        Short name of the source; empty if the value is not known.
    hint : str
        The source in full, with its accuracy.
    found : str
        The finding of the scan, if a different value was entered; else empty.
    """

    value: object
    source: str
    hint: str
    found: str


class OtherText(NamedTuple):
    """A finding that no score needs, as shown: what it is, its value, and its source in full."""

    label: str
    text: str
    hint: str


class ClinicalState:
    """Clinical fields of the chosen scan, stored on its node; entered values take precedence over findings.

    Parameters
    ----------
    panel : PanelState
    """

    def __init__(self, panel: PanelState):
        self.panel, self.logic = panel, panel.logic.comparison

    @property
    def entered(self) -> ClinicalContext:
        """Entered values of the chosen scan."""
        scan = self.panel.scan
        return ClinicalContext() if scan is None else self.logic.clinical_context(scan)

    def enter(self, **values: object) -> None:
        """Store values of fields; None restores the finding."""
        if self.panel.scan is not None:
            self.logic.keep_clinical_context(self.panel.scan, replace(self.entered, **values))
            self.panel.changed()

    def clear(self) -> None:
        """Clear all entered values."""
        self.enter(**dict.fromkeys(asdict(ClinicalContext())))

    @property
    def assessment(self) -> ClinicalAssessment | None:
        """Scores and alerts; None if the chosen scan was not analyzed."""
        return None if self.panel.scan is None else self.logic.assess(self.panel.scan)

    def field(self, name: str) -> Field:
        """Look up a field of the clinical scores.

        Returns
        -------
        Field
        """
        entered, found = getattr(self.entered, name), self._found(()).get(name)
        found = found if found is not None and found.correctable else None
        if entered is not None:
            differs = found is not None and found.value != entered
            return Field(entered, _("entered"), _("Entered by hand."), translated(found.text) if differs else "")
        if found is None:
            return Field(None, "", "", "")
        hint = ": ".join(filter(None, (translated(word(found.source)), translated(found.accuracy))))
        return Field(found.value, short_source(found.source), hint[:1].upper() + hint[1:] + ".", "")

    def others(self) -> list[Finding]:
        """Findings that are not fields of a score, with the user's corrections.

        Returns
        -------
        list of Finding
        """
        return [item for item in self._found(self.entered).values() if not item.correctable]

    def other_texts(self) -> list[OtherText]:
        """How `others` are shown."""
        return [_other_text(item) for item in self.others()]

    def alerts(self) -> list[str]:
        """Volume thresholds of the guideline that the hematoma reaches, as sentences."""
        return [] if self.assessment is None else [translated(sentence) for sentence in self.assessment.alerts]

    def score(self) -> str:
        """The ICH score in one sentence; empty if it does not apply."""
        assessment = self.assessment
        if assessment is None:
            return _("The score needs a volume: press Analyze.")
        if not assessment.scores:
            return ""
        score = assessment.scores[0]
        notes = map(translated, score.notes)
        if score.points is None:
            return " ".join([_("{name}:").format(name=translated(score.name)), missing_sentence(score), *notes])
        words = _("{name} {points} of {maximum}: {outcome}.")
        name, outcome = translated(score.name), translated(score.outcome)
        found = words.format(name=name, points=score.points, maximum=score.maximum, outcome=outcome)
        return " ".join([found, *notes])

    def _found(self, entered) -> dict[str, Finding]:
        scan, facts = self.panel.scan, self.panel.logic.analysis.facts_of(self.panel.scan)
        if facts is None:
            return {}
        items = shown_findings(Findings.from_dict(facts["findings"]), scan_facts(scan), entered or ClinicalContext())
        return {item.name: item for item in items}


def _other_text(item):
    label = translated(item.label)
    source = ", ".join(filter(None, (short_source(item.source), translated(item.accuracy))))
    return OtherText(label, translated(item.text), f"{label}: {source}")


def short_source(source: str) -> str:
    """Short name of a source.

    Parameters
    ----------
    source : Source
    """
    words = {Source.BLEED: _("from the scan"), Source.HEADER: _("DICOM header"), Source.ENTERED: _("entered")}
    return words.get(source, translated(word(source)))
