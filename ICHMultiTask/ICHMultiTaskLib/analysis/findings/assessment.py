"""Clinical scores of an analyzed scan: entered values come first, findings of the scan fill the gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...measures.clinical_scores import ClinicalContext, ClinicalScore, alerts, clinical_scores
from ...scan.head_ct import ScanFacts
from ..second_look import WITHOUT_PROGNOSIS, Hemorrhage
from .clinical import NOTHING_KNOWN, filled_context

if TYPE_CHECKING:
    from ..result import Analysis


@dataclass(frozen=True)
class ClinicalAssessment:
    """Clinical scores and alerts, with the model's own probability.

    Attributes
    ----------
    context : ClinicalContext
        Entered values; fields that were not entered are filled from the scan.
    sources : dict of str to str
        `Source` of each known field.
    scores : tuple of ClinicalScore
        Empty if no hemorrhage was found: no score applies then.
    alerts : tuple of str
    mortality_probability : float or None
        Predicted by the model.
    without_prognosis : str or None
        Sentence that is shown in place of the probability.
    clinical : dict
        Clinical inputs of the model by name; empty if it used the image alone.
    """

    context: ClinicalContext
    sources: dict[str, str]
    scores: tuple[ClinicalScore, ...]
    alerts: tuple[str, ...]
    mortality_probability: float | None
    without_prognosis: str | None
    clinical: dict


def assess(result: Analysis, facts: ScanFacts, entered: ClinicalContext = NOTHING_KNOWN) -> ClinicalAssessment:
    """Score an analyzed scan.

    Parameters
    ----------
    result : Analysis
        Or any object with `volume_ml`, `volume_interval_ml`, `hemorrhage`, `mortality_probability`, `findings` and
        `clinical`.
    facts : ScanFacts
        Facts of the scan, such as the age in its DICOM header.
    entered : ClinicalContext
        Entered by the user; takes precedence over the scan.

    Returns
    -------
    ClinicalAssessment
    """
    volume, interval = result.volume_ml, result.volume_interval_ml
    context, sources = filled_context(result.findings, facts, entered)
    bleeds = volume is not None and result.hemorrhage != Hemorrhage.NONE
    return ClinicalAssessment(
        context,
        sources,
        clinical_scores(context, volume, interval) if bleeds else (),
        alerts(context, volume, interval) if bleeds else (),
        result.mortality_probability,
        WITHOUT_PROGNOSIS.get(result.hemorrhage),
        result.clinical or {},
    )
