"""What is known of the patient, what the scan shows, and the scores that follow from both. Needs no Qt."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.findings.clinical import shown_findings
from ..analysis.findings.finding import Finding, Findings, Source
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
        As entered; else as found; None where it is not known.
    source : str
        Where it comes from, in two or three words; empty where it is not known.
    hint : str
        The source in full, with how often it is right.
    found : str
        What the scan says, where something else was entered; else empty.
    """

    value: object
    source: str
    hint: str
    found: str


class ClinicalState:
    """Fields of the chosen scan, kept on its node: what is entered wins over what is found.

    Parameters
    ----------
    panel : PanelState
    """

    def __init__(self, panel: PanelState):
        self.panel, self.logic = panel, panel.logic.comparison

    @property
    def entered(self) -> ClinicalContext:
        """What was entered for the chosen scan, as ClinicalContext."""
        scan = self.panel.scan
        return ClinicalContext() if scan is None else self.logic.clinical_context(scan)

    def enter(self, **values: object) -> None:
        """Keep values of fields; None: what is found counts again."""
        if self.panel.scan is not None:
            self.logic.keep_clinical_context(self.panel.scan, replace(self.entered, **values))
            self.panel.changed()

    def clear(self) -> None:
        """Forget all that was entered."""
        self.enter(**dict.fromkeys(asdict(ClinicalContext())))

    @property
    def assessment(self) -> ClinicalAssessment | None:
        """Scores and alerts, as ClinicalAssessment; None where the chosen scan was not analyzed."""
        return None if self.panel.scan is None else self.logic.assess(self.panel.scan)

    def field(self, name: str) -> Field:
        """A field of the clinical scores.

        Returns
        -------
        Field
        """
        entered, found = getattr(self.entered, name), self._found(()).get(name)
        found = found if found is not None and found.correctable else None
        if entered is not None:
            differs = found is not None and found.value != entered
            return Field(entered, _("entered"), _("Entered by hand."), found.text if differs else "")
        if found is None:
            return Field(None, "", "", "")
        hint = ": ".join(filter(None, (str(found.source), found.accuracy)))
        return Field(found.value, short_source(found.source), hint[:1].upper() + hint[1:] + ".", "")

    def others(self) -> list[Finding]:
        """Findings that are no field of a score, as corrected.

        Returns
        -------
        list of Finding
        """
        return [item for item in self._found(self.entered).values() if not item.correctable]

    def score(self) -> str:
        """The ICH score in a sentence; empty where none is meant."""
        assessment = self.assessment
        if assessment is None:
            return _("The score needs a volume: press Analyze.")
        if not assessment.scores:
            return ""
        score = assessment.scores[0]
        if score.points is None:
            return " ".join([_("{name}:").format(name=score.name), missing_sentence(score), *score.notes])
        words = _("{name} {points} of {maximum}: {outcome}.")
        found = words.format(name=score.name, points=score.points, maximum=score.maximum, outcome=score.outcome)
        return " ".join([found, *score.notes])

    def _found(self, entered) -> dict[str, Finding]:
        scan, facts = self.panel.scan, self.panel.logic.analysis.facts_of(self.panel.scan)
        if facts is None:
            return {}
        items = shown_findings(Findings.from_dict(facts["findings"]), scan_facts(scan), entered or ClinicalContext())
        return {item.name: item for item in items}


def short_source(source: str) -> str:
    """Where a value comes from, in two or three words.

    Parameters
    ----------
    source : Source
    """
    words = {Source.BLEED: _("from the scan"), Source.HEADER: _("DICOM header"), Source.ENTERED: _("entered")}
    return words.get(source, str(source))
