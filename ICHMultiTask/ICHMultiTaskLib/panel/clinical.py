"""The section "Clinical": further clinical fields, published scores, and the model's probability beside them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from ..common.clinical_variables import read_with
from ..common.numbers import probability
from ..common.translation import translated
from ..mrml.clinical import missing_sentence
from ..mrml.translation import local
from .colors import quiet
from .findings import fill_yes_no, number_in, show_number, show_yes_no, yes_no_in

if TYPE_CHECKING:
    import qt

    from .clinical_state import ClinicalState

_FLAGS = ("anticoagulation", "cognitive_impairment")


class ClinicalSection:
    """Fields that the ICH score does not need, and all scores.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskClinical.ui.
    state : ClinicalState
    """

    def __init__(self, widget: qt.QWidget, state: ClinicalState):
        self.widget, self.state, self.panel = widget, state, state.panel
        self.ui = slicer.util.childWidgetVariables(widget)
        self._filling = False
        for name in _FLAGS:
            box = getattr(self.ui, name)
            fill_yes_no(box)
            box.connect("activated(int)", lambda index, name=name, box=box: self._enter(name, yes_no_in(box)))
        nihss, hours = self.ui.nihss, self.ui.onset_hours
        nihss.connect("valueChanged(int)", lambda value: self._enter("nihss", number_in(nihss)))
        hours.connect("valueChanged(double)", lambda value: self._enter("onset_hours", _hours_in(hours)))
        for text, value in ((_("unknown"), ""), (_("female"), "F"), (_("male"), "M")):
            self.ui.sex.addItem(text, value)
        self.ui.sex.connect("activated(int)", lambda index: self._enter("sex", self.ui.sex.itemData(index) or None))
        self.ui.clearButton.connect("clicked(bool)", lambda checked: state.clear())

    def update(self) -> None:
        """Show the entered values of the chosen scan's patient, and the scores."""
        ui, state, entered = self.ui, self.state, self.state.entered
        self._filling = True
        show_number(ui.nihss, entered.nihss)
        for name in _FLAGS:
            show_yes_no(getattr(ui, name), getattr(entered, name))
        ui.sex.currentIndex = ui.sex.findData(entered.sex or "")
        shown = ui.onset_hours.minimum if entered.onset_hours is None else entered.onset_hours
        if _hours_in(ui.onset_hours) != entered.onset_hours:  # else text being typed would be lost
            ui.onset_hours.value = shown
        self._filling = False
        ui.fieldsWidget.enabled = self.panel.scan is not None
        ui.clearButton.enabled = not entered.is_empty
        assessment = state.assessment
        known = assessment is not None and not assessment.context.is_empty
        ui.scoresLabel.visible, ui.hintLabel.visible = known, not known
        ui.hintLabel.text = (
            _("The scores need a volume: press Analyze first.")
            if assessment is None
            else _("All fields are optional; each score says what it needs.")
        )
        if known:
            ui.scoresLabel.text = local(_html(assessment))

    def _enter(self, name, value):
        if not self._filling:
            self.state.enter(**{name: value})


def _hours_in(box):
    """Hours in a box whose minimum means unknown; None for unknown. A step from there may stop below 0."""
    return None if box.value <= box.minimum else max(box.value, 0.0)


def _html(assessment):
    lines = []
    for score in assessment.scores:
        notes = "".join(f"<br>{escape(translated(note))}" for note in score.notes)
        if score.points is None:
            lines.append(f"<b>{escape(translated(score.name))}</b>: {escape(missing_sentence(score))}{notes}")
            continue
        span = score.points_range
        points = (
            _("{name} {points} of {maximum}")
            if not span or span[0] == span[1]
            else _("{name} {points} ({low} to {high}) of {maximum}")
        )
        low, high = span or ("", "")
        points = points.format(
            name=translated(score.name), points=score.points, low=low, high=high, maximum=score.maximum
        )
        source = f"<br><span style='color: {quiet()}'>{escape(score.source)}</span>"
        lines.append(f"<b>{points}</b>: {escape(translated(score.outcome))}.{source}{notes}")
    if assessment.without_prognosis:
        lines.append(_("<b>Model</b>: {words}").format(words=translated(assessment.without_prognosis)))
    elif assessment.mortality_probability is not None:
        words = _("<b>Model {probability}</b>: 30-day mortality, seen {source}; not validated on patients.")
        shown = translated(probability(assessment.mortality_probability))
        lines.append(words.format(probability=shown, source=translated(read_with(assessment.clinical))))
    lines.append(
        _("A score is recommended at baseline. It must not be the sole basis for prognosis or for limiting care "
          "(AHA/ASA guideline of 2022).")
    )  # fmt: skip
    return "<p>" + "</p><p>".join(lines) + "</p>"
