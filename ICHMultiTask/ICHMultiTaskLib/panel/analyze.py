"""The section "Analyze": scan, button and result."""

from __future__ import annotations

import os
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..common.translation import translated
from ..mrml.parameters import Device
from ..mrml.translation import local
from .analyze_state import SECTION
from .colors import set_warning
from .dependencies import install_missing_packages, missing_packages

if TYPE_CHECKING:
    from .analyze_state import AnalyzeState
    from .bleed_state import BleedState

HEADLINE_STYLE = """
QPushButton {{ text-align: left; border: none; padding: 0px; color: {color}; }}
QPushButton:focus {{ text-decoration: underline; }}
"""
HEADLINE_POINTS = range(24, 11, -1)
"""Sizes of the headline's font: a volume is short, words are not."""


class AnalyzeSection:
    """Widgets that show an AnalyzeState.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskAnalyze.ui.
    state : AnalyzeState
    bleed : BleedState
    """

    def __init__(self, widget: qt.QWidget, state: AnalyzeState, bleed: BleedState):
        self.widget, self.state, self.panel, self.bleed = widget, state, state.panel, bleed
        self.ui = slicer.util.childWidgetVariables(widget)
        self._scans = []
        self.ui.scanSelector.connect("activated(int)", self.onScanSelected)
        self.ui.analyzeButton.connect("clicked(bool)", self.onAnalyzeButton)
        self.ui.bundleSelector.connect("activated(int)", self.onBundleSelected)
        self.ui.bundleFolderButton.connect("clicked(bool)", self.onBundleFolderButton)
        self.ui.tableButton.connect("clicked(bool)", self.onTableButton)
        self.ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.ui.headlineButton.connect("clicked(bool)", lambda checked: bleed.show())
        self._arrows = [
            _key_of(self.ui.headlineButton, keys, lambda slices=slices: bleed.step(slices))
            for keys, slices in (("Up", 1), ("Right", 1), ("Down", -1), ("Left", -1))
        ]
        self.ui.statusLabel.textFormat = qt.Qt.RichText
        for label in (self.ui.outdatedLabel, self.ui.warningsLabel):
            set_warning(label, True)
            label.textFormat = qt.Qt.RichText

    def fitHeadline(self) -> bool:
        """Give the headline the largest font in which it fits; return whether the font has changed."""
        button = self.ui.headlineButton
        font, before = button.font, button.font.pointSize()
        for points in HEADLINE_POINTS:
            font.setPointSize(points)
            if qt.QFontMetrics(font).horizontalAdvance(button.text) <= button.width:
                break
        button.setFont(font)
        return points != before

    def lookUpDevices(self) -> None:
        """At the first visit, list the devices in the background, since loading PyTorch takes seconds."""
        if self.state.devices is None and not missing_packages():
            work = lambda progress: self.panel.logic.analysis.models.devices()  # noqa: E731
            self.panel.submit("devices", work, self._setDevices)

    def onScanSelected(self, index: int) -> None:
        """Choose the scan of the list."""
        self.panel.choose(self._scans[index] if index < len(self._scans) else None)

    def onAnalyzeButton(self, checked: bool = False) -> None:
        """Start an analysis, or cancel the running one."""
        job = self.state.job
        if job is not None:
            # The second click of a double click must not cancel the analysis that the first has started.
            if time.monotonic() - job.submitted > slicer.app.doubleClickInterval / 1000:
                self.state.cancel()
            return

        def start():
            install_missing_packages(runtime=self.state.runtime)
            self.state.analyze()

        self.panel.attempt(SECTION, start)

    def onBundleSelected(self, index: int) -> None:
        """Take the model chosen in the list."""
        self.panel.parameters.bundleFolder = self.ui.bundleSelector.itemData(index) or ""
        self.panel.say(SECTION, "")  # what was said of another model

    def onBundleFolderButton(self, checked: bool = False) -> None:
        """Let the user choose a folder with a model bundle."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose the folder of a model bundle"))
        if folder:
            self.useBundle(folder)

    def useBundle(self, folder: str) -> None:
        """Add a bundle to the list and choose it; show a message if it is not a bundle."""

        def use():
            self.panel.parameters.bundleFolder = str(self.panel.logic.analysis.models.add(folder))
            self.panel.say(SECTION, "")

        self.panel.attempt(SECTION, use)
        self.updateBundles()

    def onTableButton(self, checked: bool = False) -> None:
        """Show the result table below the views."""
        self.panel.attempt(SECTION, lambda: self.panel.logic.analysis.show_table(self.panel.scan))

    def onReportButton(self, checked: bool = False) -> None:
        """Save the report into a new folder inside one that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose where to save the report"))
        if folder:
            self.saveReport(folder)

    def saveReport(self, folder: str | os.PathLike) -> None:
        """Save the report into a new folder inside `folder` and show a link to it."""

        def repaint(fraction, message):
            slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)

        self.panel.attempt(SECTION, lambda: self.state.save_report(folder, repaint))

    def updateBundles(self) -> None:
        """List the models; the chosen one also if it cannot be used, such as that of a scene from elsewhere."""
        selector = self.ui.bundleSelector
        selector.clear()
        for label, folder in self.panel.logic.analysis.models.bundles():
            selector.addItem(label, str(folder))
        chosen = self.panel.parameters.bundleFolder if self.panel.parameters else ""
        if chosen and selector.findData(chosen) < 0:
            selector.addItem(_("Missing or damaged: {folder}").format(folder=Path(chosen).name), chosen)
        for row in range(selector.count):
            selector.setItemData(row, selector.itemData(row), qt.Qt.ToolTipRole)
        selector.currentIndex = max(0, selector.findData(chosen)) if chosen else 0
        if selector.count == 0:
            selector.addItem(_("No model found: choose a folder"), "")

    def update(self) -> None:
        """Update the available actions and the result."""
        ui, state, job = self.ui, self.state, self.state.job
        self._updateScans()
        ui.analyzeButton.text = _("Analyze") if job is None else _("Cancel")
        ui.analyzeButton.enabled = state.can_analyze if job is None else not job.canceled
        ui.analyzeButton.toolTip = state.hint
        ui.scanSelector.enabled = ui.modelButton.enabled = job is None
        ui.progressBar.visible = job is not None
        if job is not None:
            ui.progressBar.value = round(100 * job.fraction)
            waiting = _("Waiting for other work to end…")
            step = _("Canceling…") if job.canceled else waiting if job.waiting else translated(job.message)
            ui.progressBar.setFormat(state.named(step))
        message = self.panel.message(SECTION)
        ui.statusLabel.text, ui.statusLabel.visible = message.text, bool(message.text)
        set_warning(ui.statusLabel, message.failed)
        result = state.result() if self.panel.parameters else None
        ui.resultWidget.visible = result is not None
        ui.resultWidget.enabled = job is None
        ui.noResultLabel.visible = result is None and self.panel.scan is not None and job is None
        if result is not None:
            self._showResult(result)

    def _updateScans(self):
        selector, found = self.ui.scanSelector, self.panel.scans()
        self._scans = [scan for scan, _text in found]
        texts = [local(text) for _scan, text in found] or [_("Load a head CT first")]
        if [selector.itemText(n) for n in range(selector.count)] != texts:
            selector.clear()
            selector.addItems(texts)
        selector.currentIndex = self._scans.index(self.panel.scan) if self.panel.scan in self._scans else -1
        if not self._scans:
            selector.currentIndex = 0

    def _showResult(self, result):
        ui = self.ui
        for label, sentences in ((ui.outdatedLabel, result.outdated), (ui.warningsLabel, result.warnings)):
            label.text = local("<br>".join(f"⚠ {escape(sentence)}" for sentence in sentences))
            label.visible = bool(sentences)
        style = HEADLINE_STYLE.format(color=slicer.app.palette().windowText().color().name())
        if ui.headlineButton.styleSheet != style:  # else the color of the previous theme would remain
            ui.headlineButton.styleSheet = style
        ui.headlineButton.text = local(result.headline)
        ui.detailLabel.text, ui.detailLabel.visible = local(result.detail), bool(result.detail)
        ui.mortalityLabel.text, ui.mortalityLabel.visible = local(result.mortality), bool(result.mortality)
        ui.useLabel.text, ui.modelLabel.text = result.use, result.model
        ui.reportButton.enabled = not self.state.reporting

    def _setDevices(self, devices):
        self.state.devices = devices
        self.showDevices()

    def showDevices(self) -> None:
        """Enable only the available devices; before PyTorch is loaded, only those that always exist."""
        model = self.ui.deviceSelector.model()
        for row, device in enumerate(Device):
            model.item(row).setEnabled(device.value in ("auto", "cpu", *(self.state.devices or ())))


def _key_of(widget, keys, method):
    """Shortcut that works while a widget has the focus."""
    shortcut = qt.QShortcut(qt.QKeySequence(keys), widget)
    shortcut.setContext(qt.Qt.WidgetShortcut)
    shortcut.connect("activated()", method)
    return shortcut
