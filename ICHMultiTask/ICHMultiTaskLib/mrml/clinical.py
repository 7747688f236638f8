"""What is known of the patient, kept on the scan's node, and the scores that follow from it. Needs no Qt."""

import json
from dataclasses import asdict, dataclass

from ..common.errors import InputError
from ..measures.clinical_scores import ClinicalContext, alerts, clinical_scores
from . import results
from .comparison import NOT_COMPUTED

_ATTRIBUTE = "ICHMultiTask.Clinical"
TITLES = ("Score", "Points", "Most points", "Published outcome", "Source", "Remark")


@dataclass(frozen=True)
class ClinicalAssessment:
    """Scores and alerts beside the model's own probability.

    Attributes
    ----------
    context : ClinicalContext
    scores : tuple of ClinicalScore
    alerts : tuple of str
    mortality_probability : float
        The model's, seen from the image alone.
    """

    context: ClinicalContext
    scores: tuple
    alerts: tuple
    mortality_probability: float


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


def assess(scan_node, analysis):
    """Scores and alerts for the patient of an analyzed scan.

    Returns
    -------
    ClinicalAssessment
    """
    context, volume, interval = context_of(scan_node), analysis.volume_ml, analysis.volume_interval_ml
    return ClinicalAssessment(
        context,
        clinical_scores(context, volume, interval),
        alerts(context, volume, interval),
        analysis.mortality_probability,
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
    return results.write_rows(scene, scan_node, "clinical scores", TITLES, rows(assessment))


def rows(assessment):
    """Cells of the table, as text, in the order of TITLES."""
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
    probability = results.percent_text(assessment.mortality_probability)
    found.append(("Model, from the image alone", "", "", f"30-day mortality {probability}", "", results.RESEARCH_USE))
    return found + [("Alert", "", "", "", "", sentence) for sentence in assessment.alerts]


def missing_sentence(score):
    """What a score needs and was not given."""
    return f"Needs {', '.join(score.missing)}."
