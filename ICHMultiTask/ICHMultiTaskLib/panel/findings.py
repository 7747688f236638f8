"""The section "Findings": fields of the ICH score with their sources, and the other findings."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..common.translation import translated
from ..common.words import word
from ..measures.clinical_scores import LOCATIONS
from ..mrml.translation import local
from .colors import quiet, set_warning

if TYPE_CHECKING:
    from .clinical_state import ClinicalState

_NUMBERS, _CHOICES = ("gcs", "age"), ("location", "ivh")


class FindingsSection:
    """Fields of the chosen scan. Editing one corrects the finding; a link restores it.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskFindings.ui.
    state : ClinicalState
    """

    def __init__(self, widget: qt.QWidget, state: ClinicalState):
        self.widget, self.state, self.panel = widget, state, state.panel
        self.ui = slicer.util.childWidgetVariables(widget)
        self.ui.location.addItem(_("unknown"), "")
        for name, group in LOCATIONS.items():
            title, groups = translated(word(name)), translated(word(group))
            self.ui.location.addItem(title if name == group else f"{title} ({groups})", name)
        fill_yes_no(self.ui.ivh)
        for name in _NUMBERS:
            box = self._box(name)
            box.connect("valueChanged(int)", lambda value, name=name, box=box: self._enter(name, number_in(box)))
        self.ui.location.connect("activated(int)", lambda index: self._enter("location", self._location()))
        self.ui.ivh.connect("activated(int)", lambda index: self._enter("ivh", yes_no_in(self.ui.ivh)))
        for name in (*_NUMBERS, *_CHOICES):
            label = getattr(self.ui, f"{name}Source")
            label.textFormat = qt.Qt.RichText
            label.connect("linkActivated(QString)", lambda link, name=name: self._enter(name, None))
        self._filling = False

    def update(self) -> None:
        """Show the fields, the score and the other findings."""
        ui, state = self.ui, self.state
        self.widget.visible = self.panel.scan is not None
        if self.panel.scan is None:
            return
        self._filling = True
        for name in _NUMBERS:
            show_number(self._box(name), state.field(name).value)
        ui.location.currentIndex = max(0, ui.location.findData(state.field("location").value or ""))
        show_yes_no(ui.ivh, state.field("ivh").value)
        self._filling = False
        for name in (*_NUMBERS, *_CHOICES):
            self._showSource(name, state.field(name))
        ui.scoreLabel.text = local(state.score())
        ui.scoreLabel.visible = bool(ui.scoreLabel.text)
        sentences = state.alerts()
        ui.alertsLabel.text = local("<br>".join(f"⚠ {escape(sentence)}" for sentence in sentences))
        ui.alertsLabel.visible = bool(sentences)
        set_warning(ui.alertsLabel, True)
        items = state.other_texts()
        words = [f"{escape(item.label)} <b>{escape(item.text)}</b>" for item in items]
        ui.othersLabel.text = local(" · ".join(words))
        ui.othersLabel.toolTip = "\n".join(item.hint for item in items)
        ui.othersLabel.visible = bool(items)

    def _showSource(self, name, field):
        label = getattr(self.ui, f"{name}Source")
        text = f"<span style='color: {quiet()}'>{escape(field.source)}</span>"
        if field.found:
            back = _("found: {value}").format(value=field.found)
            text += local(f", <a href='{name}'>{escape(back)}</a>")
        label.text, label.toolTip = text, field.hint

    def _enter(self, name, value):
        if not self._filling:
            self.state.enter(**{name: value})

    def _box(self, name):
        return getattr(self.ui, name)

    def _location(self):
        return self.ui.location.itemData(self.ui.location.currentIndex) or None


def number_in(box: qt.QSpinBox) -> int | None:
    """Value of a spin box whose minimum means unknown, or None."""
    return box.value if box.value > box.minimum else None


def show_number(box: qt.QSpinBox, value: float | None) -> None:
    """Show a number in a spin box whose minimum means unknown; text being typed is kept if its value is the same."""
    shown = box.minimum if value is None else round(value)
    if box.value != shown:
        box.value = shown


def fill_yes_no(box: qt.QComboBox) -> None:
    """Offer unknown, no and yes in a combo box."""
    for text in (_("unknown"), _("no"), _("yes")):
        box.addItem(text)


def yes_no_in(box: qt.QComboBox) -> bool | None:
    """Value of a box filled by `fill_yes_no`: bool or None."""
    return None if box.currentIndex == 0 else box.currentIndex == 2


def show_yes_no(box: qt.QComboBox, value: bool | None) -> None:
    """Show a bool or None in a box filled by `fill_yes_no`."""
    box.currentIndex = 0 if value is None else 2 if value else 1
