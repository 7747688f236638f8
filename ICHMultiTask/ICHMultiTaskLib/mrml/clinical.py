"""Clinical data of the patient, stored on the scan's node, and the scores calculated from it. Needs no Qt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..common.clinical_variables import read_with
from ..common.errors import InputError
from ..common.numbers import NOT_COMPUTED, probability
from ..common.research_use import RESEARCH_USE
from ..measures.clinical_scores import ClinicalContext, ClinicalScore, alerts, clinical_scores
from . import results
from .translation import tr as _

if TYPE_CHECKING:
    import slicer

_ATTRIBUTE = "ICHMultiTask.Clinical"


@dataclass(frozen=True)
class ClinicalAssessment:
    """Scores and alerts, with the model's own probability.

    Attributes
    ----------
    context : ClinicalContext
    scores : tuple of ClinicalScore
    alerts : tuple of str
    mortality_probability : float or None
        Of the model.
    clinical : dict
        What the model read beside the image, by name; empty where it saw the image alone.
    """

    context: ClinicalContext
    scores: tuple
    alerts: tuple
    mortality_probability: float | None
    clinical: dict = field(default_factory=dict)


def context_of(scan_node: slicer.vtkMRMLScalarVolumeNode) -> ClinicalContext:
    """Clinical data stored on a scan's node; empty if there is none, or it cannot be read.

    Returns
    -------
    ClinicalContext
    """
    try:
        return ClinicalContext(**json.loads(scan_node.GetAttribute(_ATTRIBUTE) or "{}"))
    except (InputError, TypeError, ValueError):
        return ClinicalContext()


def keep_context(scan_node: slicer.vtkMRMLScalarVolumeNode, context: ClinicalContext) -> None:
    """Store clinical data on the scan's node: GCS and NIHSS belong to the time of the scan."""
    known = {name: value for name, value in asdict(context).items() if value is not None}
    scan_node.SetAttribute(_ATTRIBUTE, json.dumps(known) if known else None)


def assess(scan_node: slicer.vtkMRMLScalarVolumeNode, facts: Mapping) -> ClinicalAssessment:
    """Scores and alerts for the patient of an analyzed scan.

    Parameters
    ----------
    scan_node : vtkMRMLScalarVolumeNode
    facts : dict
        From `kept_results.kept_result`.

    Returns
    -------
    ClinicalAssessment
    """
    context, volume, interval = context_of(scan_node), facts["volume_ml"], facts["volume_interval_ml"]
    return ClinicalAssessment(
        context,
        clinical_scores(context, volume, interval),
        alerts(context, volume, interval),
        facts["mortality_probability"],
        facts.get("clinical_inputs") or {},
    )


def write_table(
    scene: slicer.vtkMRMLScene, scan_node: slicer.vtkMRMLScalarVolumeNode, assessment: ClinicalAssessment
) -> slicer.vtkMRMLTableNode | None:
    """Write scores and alerts to a table of the scan, or remove the table if there is no clinical data.

    Returns
    -------
    vtkMRMLTableNode or None
    """
    if assessment.context.is_empty:
        results.remove_result(scene, scan_node, "clinical scores")
        return None
    return results.write_rows(scene, scan_node, "clinical scores", *table(assessment))


def table(assessment: ClinicalAssessment) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and cells of the table, as text."""
    titles = (_("Score"), _("Points"), _("Maximum"), _("Published outcome"), _("Source"), _("Remark"))
    found = [
        (
            score.name,
            NOT_COMPUTED if score.points is None else str(score.points),
            str(score.maximum),
            score.outcome or NOT_COMPUTED,
            score.source,
            missing_sentence(score) if score.missing else " ".join(score.notes),
        )
        for score in assessment.scores
    ]
    if assessment.mortality_probability is not None:
        mortality = _("30-day mortality {percent}").format(percent=probability(assessment.mortality_probability))
        found.append((_("Model") + f", {read_with(assessment.clinical)}", "", "", mortality, "", _(RESEARCH_USE)))
    return titles, found + [(_("Alert"), "", "", "", "", sentence) for sentence in assessment.alerts]


def missing_sentence(score: ClinicalScore) -> str:
    """Name the values that a score needs and that are missing."""
    return _("Needs {fields}.").format(fields=", ".join(score.missing))
