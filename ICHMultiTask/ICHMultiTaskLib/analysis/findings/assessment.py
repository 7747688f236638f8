"""Clinical scores of an analyzed scan: from what was entered and, for the rest, from the scan. One way, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...measures.clinical_scores import ClinicalContext, ClinicalScore, alerts, clinical_scores
from ...scan.head_ct import ScanFacts
from ..second_look import WITHOUT_PROGNOSIS, Hemorrhage
from .clinical import NOTHING_KNOWN, filled_context

if TYPE_CHECKING:
    from ..analyzer import Analysis


@dataclass(frozen=True)
class ClinicalAssessment:
    """Scores and alerts beside the model's own probability.

    Attributes
    ----------
    context : ClinicalContext
        As entered and, for the rest, as the scan says.
    sources : dict of str to str
        Where each known field comes from, a `Source`.
    scores : tuple of ClinicalScore
        None where no hemorrhage was found: no score is meant.
    alerts : tuple of str
    mortality_probability : float or None
        The model's.
    without_prognosis : str or None
        What people read in the place of that.
    clinical : dict
        What the model read beside the image, by name; empty where it saw the image alone.
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
        Or anything with its `volume_ml`, `volume_interval_ml`, `hemorrhage`, `mortality_probability`, `findings` and
        `clinical`.
    facts : ScanFacts
        Of the scan.
    entered : ClinicalContext
        What is known of the patient; it wins.

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
