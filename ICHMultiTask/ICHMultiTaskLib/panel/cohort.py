"""The section "Cohort": volumes of many patients compared with reference volumes."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..common.errors import Canceled, ICHMultiTaskError
from ..common.translation import translated
from .colors import set_warning
from .dependencies import FIGURES, install_missing_packages
from .state import as_rich_text, outcome_text

if TYPE_CHECKING:
    from .state import PanelState

SECTION = "cohort"


class CohortSection:
    """Widgets to compare a table of volumes.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskCohort.ui.
    panel : PanelState
    """

    def __init__(self, widget: qt.QWidget, panel: PanelState):
        self.widget, self.panel, self.logic = widget, panel, panel.logic.cohort
        self.ui = slicer.util.childWidgetVariables(widget)
        self.ui.cohortProgress.setRange(0, 0)
        self.ui.cohortStatusLabel.textFormat = qt.Qt.RichText
        for signal in ("currentPathChanged(QString)", "validInputChanged(bool)"):  # the latter when it was cleared
            self.ui.cohortPath.connect(signal, lambda value: self.update())
        self.ui.cohortCompareButton.connect("clicked(bool)", self.onCompareButton)
        self.ui.cohortReportButton.connect("clicked(bool)", self.onReportButton)
        self.update()

    def onCompareButton(self, checked: bool = False) -> None:
        """Compare the chosen table."""
        self.compare(self.ui.cohortPath.currentPath)

    def compare(self, path: str | os.PathLike) -> None:
        """Compare the volumes of a table and show the result below the views."""
        self._start(self.logic.work(path), lambda comparison: self._onCompared(comparison, path))

    def onReportButton(self, checked: bool = False) -> None:
        """Save the report into a new folder inside one that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose where to save the report"))
        if folder:
            self.saveReport(self.ui.cohortPath.currentPath, folder)

    def saveReport(self, path: str | os.PathLike, folder: str | os.PathLike) -> None:
        """Save the report of a table into a new folder inside `folder` and show a link to it."""
        try:
            install_missing_packages(FIGURES, None)
        except ICHMultiTaskError as error:
            self._ended(error)
            return
        self._start(self.logic.report_work(path, folder), self._onSaved)

    def _start(self, work, whenDone):
        self._say("")
        self.panel.queue.submit(SECTION, work, whenDone, self._ended)

    def _onCompared(self, comparison, path):
        self.logic.show(comparison, Path(path).stem)
        counted = _("Patients: {patients}. Methods and raters: {methods}. The table is below the views.").format(
            patients=len(comparison.cohort.patients), methods=len(comparison.rows)
        )
        simulated = [_("Simulated patients.")] if comparison.cohort.simulated else []
        self._say(
            "<br>".join([counted, *simulated, *(escape(translated(warning)) for warning in comparison.cohort.warnings)])
        )

    def _onSaved(self, page):
        self._say(
            _("Report saved: {link}").format(link=f'<a href="{page.as_uri()}">{as_rich_text(page.parent.name)}</a>')
        )

    def _ended(self, error):
        if error is not None:
            self._say(as_rich_text(outcome_text(error)), failed=not isinstance(error, Canceled))

    def _say(self, text, failed=False):
        self.ui.cohortStatusLabel.text = text
        set_warning(self.ui.cohortStatusLabel, failed)
        self.ui.cohortStatusLabel.visible = bool(text)

    def update(self) -> None:
        """Enable the buttons that can be used now."""
        running = self.panel.queue.job(SECTION) is not None
        ready = bool(self.ui.cohortPath.currentPath) and not running
        self.ui.cohortCompareButton.enabled = self.ui.cohortReportButton.enabled = ready
        self.ui.cohortProgress.visible = running
