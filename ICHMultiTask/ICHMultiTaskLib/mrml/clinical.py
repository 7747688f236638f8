"""Clinical data of the patient, stored on the scan's node, and the scores calculated from it. Needs no Qt."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..common.clinical_variables import read_with
from ..common.errors import InputError
from ..common.numbers import NOT_COMPUTED, probability
from ..common.research_use import RESEARCH_USE
from ..common.translation import joined, translated
from ..measures.clinical_scores import ClinicalContext
from . import results
from .translation import tr as _

if TYPE_CHECKING:
    import slicer

    from ..analysis.findings.assessment import ClinicalAssessment
    from ..measures.clinical_scores import ClinicalScore

_ATTRIBUTE = "ICHMultiTask.Clinical"


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
            missing_sentence(score) if score.missing else joined(" ", score.notes),
        )
        for score in assessment.scores
    ]
    if assessment.without_prognosis:
        found.append((_("Model, from the image alone"), "", "", assessment.without_prognosis, "", RESEARCH_USE))
    elif assessment.mortality_probability is not None:
        mortality = _("30-day mortality {percent}").format(
            percent=translated(probability(assessment.mortality_probability))
        )
        found.append(
            (
                _("Model, {source}").format(source=translated(read_with(assessment.clinical))),
                "",
                "",
                mortality,
                "",
                RESEARCH_USE,
            )
        )
    return titles, found + [(_("Alert"), "", "", "", "", sentence) for sentence in assessment.alerts]


def missing_sentence(score: ClinicalScore) -> str:
    """Name the values that a score needs and that are missing."""
    return _("Needs {fields}.").format(fields=", ".join(map(translated, score.missing)))
