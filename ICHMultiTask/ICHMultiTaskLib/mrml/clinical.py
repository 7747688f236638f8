"""What is known of the patient, kept on the scan's node, and the scores that follow from it. Needs no Qt."""

import json
from dataclasses import asdict, dataclass

from ..common.errors import InputError
from ..common.numbers import NOT_COMPUTED, probability
from ..common.research_use import RESEARCH_USE
from ..measures.clinical_scores import ClinicalContext, alerts, clinical_scores
from . import results
from .translation import tr as _

_ATTRIBUTE = "ICHMultiTask.Clinical"


@dataclass(frozen=True)
class ClinicalAssessment:
    """Scores and alerts beside the model's own probability.

    Attributes
    ----------
    context : ClinicalContext
    scores : tuple of ClinicalScore
    alerts : tuple of str
    mortality_probability : float or None
        The model's, seen from the image alone.
    """

    context: ClinicalContext
    scores: tuple
    alerts: tuple
    mortality_probability: float | None


def context_of(scan_node):
    """What is known of the patient of a scan; nothing where nothing was kept, or what was kept cannot be read.

    Returns
    -------
    ClinicalContext
    """
    try:
        return ClinicalContext(**json.loads(scan_node.GetAttribute(_ATTRIBUTE) or "{}"))
    except (InputError, TypeError, ValueError):
        return ClinicalContext()


def keep_context(scan_node, context):
    """Keep what is known of the patient on the scan's node, with which it is saved: GCS and NIHSS are of one moment."""
    known = {name: value for name, value in asdict(context).items() if value is not None}
    scan_node.SetAttribute(_ATTRIBUTE, json.dumps(known) if known else None)


def assess(scan_node, facts):
    """Scores and alerts for the patient of an analyzed scan.

    Parameters
    ----------
    scan_node : vtkMRMLScalarVolumeNode
    facts : dict
        As `kept_results.kept_result` gives it.

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
    )


def write_table(scene, scan_node, assessment):
    """Write scores and alerts into a table of the scan, or remove it where nothing is known of the patient.

    Returns
    -------
    vtkMRMLTableNode or None
    """
    if assessment.context.is_empty:
        results.remove_result(scene, scan_node, "clinical scores")
        return None
    return results.write_rows(scene, scan_node, "clinical scores", *table(assessment))


def table(assessment):
    """Titles and cells of the table, as text."""
    titles = (_("Score"), _("Points"), _("Most points"), _("Published outcome"), _("Source"), _("Remark"))
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
        found.append((_("Model, from the image alone"), "", "", mortality, "", _(RESEARCH_USE)))
    return titles, found + [(_("Alert"), "", "", "", "", sentence) for sentence in assessment.alerts]


def missing_sentence(score):
    """What a score needs and was not given."""
    return _("Needs {fields}.").format(fields=", ".join(score.missing))
