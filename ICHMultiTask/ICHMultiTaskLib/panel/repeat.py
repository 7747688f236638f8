"""The section "Repeat scan": growth since an earlier scan of the same patient."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..common.translation import translated
from ..mrml.translation import local
from .colors import set_warning
from .dependencies import install_missing_packages
from .repeat_state import SECTION

if TYPE_CHECKING:
    from .repeat_state import RepeatState


class RepeatSection:
    """Widgets that show a RepeatState.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskRepeat.ui.
    state : RepeatState
    """

    def __init__(self, widget: qt.QWidget, state: RepeatState):
        self.widget, self.state, self.panel = widget, state, state.panel
        self.ui = slicer.util.childWidgetVariables(widget)
        self._scans = []
        self.ui.growthStatusLabel.textFormat = qt.Qt.RichText
        self.ui.earlierSelector.connect("activated(int)", self.onEarlierSelected)
        self.ui.growthButton.connect("clicked(bool)", self.onGrowthButton)
        self.ui.repeatViewsButton.connect("clicked(bool)", lambda checked: state.show_views(checked))
        self.ui.laterOutlineBox.connect("toggled(bool)", self.onLaterOutlineBox)

    def onEarlierSelected(self, index: int) -> None:
        """Select the earlier scan from the list; the first entry stands for none."""
        self.panel.parameters.earlierVolume = self._scans[index - 1] if index > 0 else None
        self.panel.changed()

    def onGrowthButton(self, checked: bool = False) -> None:
        """Analyze both scans and compare them, or cancel."""
        if self.state.job is not None:
            self.state.cancel()
            return

        def start():
            install_missing_packages()
            self.state.measure()

        self.panel.attempt(SECTION, start)

    def onLaterOutlineBox(self, checked: bool) -> None:
        """Show the later scan's segments over the earlier one as well, or hide them there."""
        self.panel.attempt(SECTION, lambda: self.state.set_later_outline(checked))

    def update(self) -> None:
        """Update the buttons, and show the growth if these two scans have been compared."""
        ui, state, job = self.ui, self.state, self.state.job
        self._updateScans()
        ui.earlierSelector.enabled = job is None
        ui.growthButton.text = _("Measure growth") if job is None else _("Cancel")
        ui.growthButton.enabled = state.can_measure if job is None else not job.canceled
        ui.growthButton.toolTip = state.hint() or _("Analyze both scans, align them and compare the volumes")
        ui.growthProgress.visible = job is not None
        if job is not None:
            ui.growthProgress.value = round(100 * job.fraction)
            ui.growthProgress.setFormat(_("Canceling…") if job.canceled else translated(job.message))
        message = self.panel.message(SECTION)
        ui.growthStatusLabel.text, ui.growthStatusLabel.visible = message.text, bool(message.text)
        set_warning(ui.growthStatusLabel, message.failed)
        verdict = state.verdict()
        for widget in (ui.verdictLabel, ui.growthLabel, ui.alignmentLabel, ui.laterOutlineBox):
            widget.visible = bool(verdict)
        ui.repeatViewsButton.visible = bool(verdict)
        ui.repeatViewsButton.checked = bool(verdict) and state.views_shown
        ui.verdictLabel.text = verdict
        ui.growthLabel.text = local(_html(state.rows(), state.notes()))
        ui.alignmentLabel.text = local(", ".join(" ".join(filter(None, row)) for row in state.small_rows()))

    def _updateScans(self):
        selector, found = self.ui.earlierSelector, self.state.candidates()
        self._scans = [scan for scan, _text in found]
        texts = [_("Choose the earlier scan"), *(local(text) for _scan, text in found)]
        if [selector.itemText(n) for n in range(selector.count)] != texts:
            selector.clear()
            selector.addItems(texts)
        earlier = self.state.earlier
        selector.currentIndex = 1 + self._scans.index(earlier) if earlier in self._scans else 0


def _html(rows, notes):
    lines = []
    for measure, value, unit in ([escape(text) for text in row] for row in rows):
        cell = f"<td style='padding-left: 10px; white-space: nowrap'><b>{value}</b> {unit}</td>"
        lines.append(f"<tr><td>{measure}</td>{cell}</tr>")
    lines += [f"<tr><td colspan='2'>⚠ {escape(note)}</td></tr>" for note in notes]
    return f"<table>{''.join(lines)}</table>"
