"""Fields of the clinical scores that the scan fills in; entered values take precedence."""

from __future__ import annotations

from dataclasses import asdict, replace

from ...common.translation import tr as _
from ...measures.clinical_scores import LOCATIONS, ClinicalContext
from ...scan.head_ct import ScanFacts
from .finding import Finding, Findings, Source

NOTHING_KNOWN = ClinicalContext()


def shown_findings(
    findings: Findings | None, facts: ScanFacts, context: ClinicalContext = NOTHING_KNOWN
) -> tuple[Finding, ...]:
    """Findings with the user's corrections, and the age if it is known.

    Parameters
    ----------
    findings : Findings or None
        Findings of the scan.
    facts : ScanFacts
        Its `patient_age` is the age in the DICOM header.
    context : ClinicalContext
        Entered values; they replace the findings.

    Returns
    -------
    tuple of Finding
    """
    found = {item.name: item for item in findings.items} if findings else {}
    if facts.patient_age is not None and findings:
        found["age"] = Finding("age", _("Age"), facts.patient_age, _("years"), Source.HEADER, correctable=True)
    for name, item in found.items():
        entered = getattr(context, name, None) if item.correctable else None
        if entered is not None:
            found[name] = replace(item, value=entered, source=Source.ENTERED, accuracy="")
    if context.location is not None and "infratentorial" in found:
        below = LOCATIONS[context.location] == "infratentorial"
        found["infratentorial"] = replace(found["infratentorial"], value=below, source=Source.ENTERED, accuracy="")
    return tuple(found.values())


def filled_context(
    findings: Findings | None, facts: ScanFacts, context: ClinicalContext = NOTHING_KNOWN
) -> tuple[ClinicalContext, dict[str, str]]:
    """Fill the fields of the clinical scores that were not entered.

    Takes the parameters of `shown_findings`. Without findings nothing is filled in: a scan without a hemorrhage
    gets no score.

    Returns
    -------
    context : ClinicalContext
    sources : dict of str to str
        `Source` of each known field.
    """
    sources = {name: Source.ENTERED.value for name, value in asdict(context).items() if value is not None}
    filled = {}
    for item in shown_findings(findings, facts, context):
        if item.correctable and item.name not in sources:
            filled[item.name], sources[item.name] = item.value, str(item.source)
    return replace(context, **filled), sources
