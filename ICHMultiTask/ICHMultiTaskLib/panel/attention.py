"""The section "Attention": choice and display of the map over the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from ..common.choices import RuntimeLibrary
from ..mrml import results
from ..mrml.parameters import AttentionMethod, AttentionStage
from ..mrml.scene import create_scene
from .analyze_state import SECTION
from .dependencies import install_missing_packages

if TYPE_CHECKING:
    import qt

    from .analyze_state import AnalyzeState


class AttentionSection:
    """Widgets bound to the parameters; the AnalyzeState computes the map that they choose.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskAttention.ui.
    state : AnalyzeState
    """

    def __init__(self, widget: qt.QWidget, state: AnalyzeState):
        self.widget, self.state, self.panel = widget, state, state.panel
        self.ui = slicer.util.childWidgetVariables(widget)
        self.ui.overlayBox.connect("toggled(bool)", self.onOverlayToggled)
        self.ui.pytorchButton.connect("clicked(bool)", self.onPyTorchButton)

    def onOverlayToggled(self, shown: bool) -> None:
        """Show or hide the map over the scan."""
        scan = self.panel.scan
        if scan is not None:
            results.switch_map(create_scene(), scan, shown)
            self.state.set_overlay()

    def onPyTorchButton(self, checked: bool = False) -> None:
        """Install PyTorch, after asking."""
        self.panel.attempt(SECTION, lambda: install_missing_packages(runtime=RuntimeLibrary.TORCH))
        self.panel.changed()

    def hideForEditing(self) -> None:
        """Hide the map while a segment is edited, whatever the box says; `bringBack` shows it again."""
        if self.panel.scan is not None:
            results.show_overlay(create_scene(), self.panel.scan, None)

    def bringBack(self) -> None:
        """Show the map over the scan again if the box is checked."""
        if self.panel.scan is not None:
            self.onOverlayToggled(self.ui.overlayBox.checked)

    def showSwitch(self) -> None:
        """Let the box say whether the map of the chosen scan is on."""
        scan = self.panel.scan
        if scan is not None and results.result_node(scan, "attention") is not None:
            before = self.ui.overlayBox.blockSignals(True)
            self.ui.overlayBox.checked = results.map_to_show(scan) is not None
            self.ui.overlayBox.blockSignals(before)

    def update(self) -> None:
        """Enable the section if there is a result."""
        scan = self.panel.scan
        self.showSwitch()
        analyzed = scan is not None and self.panel.logic.analysis.facts_of(scan) is not None
        self.widget.enabled = analyzed and self.state.job is None
        stages, methods = self.state.offered()
        _offer(self.ui.attentionStageSelector, AttentionStage, stages)
        _offer(self.ui.attentionMethodSelector, AttentionMethod, methods)
        self.ui.pytorchButton.visible = len(methods) < len(AttentionMethod)


def _offer(selector, choices, offered):
    """Let only the offered items be chosen; the others say what they need."""
    for row, choice in enumerate(choices):
        item, can = selector.model().item(row), choice.value in offered
        item.setEnabled(can)
        text = choice.label() if can else _("{map} (needs PyTorch)").format(map=choice.label())
        if item.text() != text:
            item.setText(text)
