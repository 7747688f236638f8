"""The section "Clinical": what is known of the patient, published scores, and the model's probability beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from ..common.clinical_variables import read_with
from ..common.numbers import probability
from ..measures.clinical_scores import LOCATIONS, ClinicalContext
from ..mrml.clinical import missing_sentence
from .work import WARNING_STYLE

if TYPE_CHECKING:
    import qt

    from .state import PanelState

_NUMBERS = ("age", "gcs", "nihss")
_FLAGS = ("ivh", "anticoagulation", "cognitive_impairment")


class ClinicalSection:
    """Fields that belong to the chosen scan and are kept on its node.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskClinical.ui.
    panel : PanelState
    """

    def __init__(self, widget: qt.QWidget, panel: PanelState):
        self.widget, self.panel, self.logic = widget, panel, panel.logic.comparison
        self.ui = slicer.util.childWidgetVariables(widget)
        self._scanNode = None
        self._filling = False
        self.ui.location.addItem(_("unknown"), "")
        for name, group in LOCATIONS.items():
            self.ui.location.addItem(name if name == group else f"{name} ({group})", name)
        for name in _FLAGS:
            box = self._field(name)
            for text, value in ((_("unknown"), ""), (_("no"), "no"), (_("yes"), "yes")):
                box.addItem(text, value)
            box.connect("currentIndexChanged(int)", self._onChanged)
        self.ui.location.connect("currentIndexChanged(int)", self._onChanged)
        for name in _NUMBERS:
            self._field(name).connect("valueChanged(int)", self._onChanged)
        self.ui.clearButton.connect("clicked(bool)", lambda checked: self._keep(ClinicalContext()))

    def update(self) -> None:
        """Show what is known of the chosen scan's patient, and the scores for its volume."""
        if self.panel.scan is not self._scanNode:
            self._scanNode = self.panel.scan
            self._fill()
        ui, scan = self.ui, self._scanNode
        ui.fieldsWidget.enabled = scan is not None
        assessment = self.logic.assess(scan)
        known = scan is not None and not self.logic.clinical_context(scan).is_empty
        ui.clearButton.enabled = known
        ui.scoresLabel.visible = known and assessment is not None
        ui.hintLabel.visible = not ui.scoresLabel.visible
        ui.hintLabel.text = (
            _("The scores need a volume: press Analyze first.")
            if known
            else _("All fields are optional; each score says what it needs.")
        )
        sentences = assessment.alerts if known and assessment is not None else ()
        ui.alertsLabel.text = "<br>".join(f"⚠ {sentence}" for sentence in sentences)
        ui.alertsLabel.styleSheet = WARNING_STYLE
        ui.alertsLabel.visible = bool(sentences)
        if ui.scoresLabel.visible:
            ui.scoresLabel.text = _html(assessment)

    def _field(self, name):
        return getattr(self.ui, name)

    def _fill(self):
        context = self.logic.clinical_context(self._scanNode) if self._scanNode else ClinicalContext()
        self._filling = True
        for name in _NUMBERS:
            box, value = self._field(name), getattr(context, name)
            box.value = box.minimum if value is None else int(value)
        self.ui.location.currentIndex = max(0, self.ui.location.findData(context.location or ""))
        for name in _FLAGS:
            value = getattr(context, name)
            self._field(name).currentIndex = 0 if value is None else 2 if value else 1
        self._filling = False

    def _onChanged(self, value):
        if self._filling or self._scanNode is None:
            return
        fields = {name: box.value if box.value > box.minimum else None for name, box in self._boxes()}
        fields["location"] = self.ui.location.currentData or None
        for name in _FLAGS:
            index = self._field(name).currentIndex
            fields[name] = None if index == 0 else index == 2
        kept = self.logic.clinical_context(self._scanNode)  # what has no field here
        self._keep(replace(kept, **fields))

    def _boxes(self):
        return [(name, self._field(name)) for name in _NUMBERS]

    def _keep(self, context):
        self.logic.keep_clinical_context(self._scanNode, context)
        self._fill()
        self.update()


def _html(assessment):
    lines = []
    for score in assessment.scores:
        if score.points is None:
            lines.append(f"<b>{score.name}</b>: {missing_sentence(score)}")
            continue
        span = score.points_range
        points = f"{score.points}" if not span or span[0] == span[1] else f"{score.points} ({span[0]} to {span[1]})"
        notes = "".join(f"<br>{note}" for note in score.notes)
        source = f"<br><span style='color: gray'>{score.source}</span>"
        lines.append(f"<b>{score.name} {points} of {score.maximum}</b>: {score.outcome}.{source}{notes}")
    if assessment.mortality_probability is not None:
        words = _("<b>Model {probability}</b>: 30-day mortality, seen {source}; not validated on patients.")
        shown = probability(assessment.mortality_probability)
        lines.append(words.format(probability=shown, source=read_with(assessment.clinical)))
    lines.append(
        _("A score is recommended at baseline. It must not be the sole basis for prognosis or for limiting care "
          "(AHA/ASA guideline of 2022).")
    )  # fmt: skip
    return "<p>" + "</p><p>".join(lines) + "</p>"
