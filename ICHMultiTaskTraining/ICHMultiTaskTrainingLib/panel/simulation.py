"""Section of the training panel that simulates a cohort."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from slicer.i18n import tr as _

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.translation import translated
from ICHMultiTaskLib.panel.work import WARNING_STYLE

from ..cli.process import CommandProcess, LogReader


class SimulationSection:
    """Simulates patients in a separate process.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel.
    whenDone : callable (path)
        Called with the path of the manifest.
    """

    def __init__(self, ui: SimpleNamespace, whenDone: Callable[[Path], object]):
        self.ui, self.whenDone = ui, whenDone
        self.process = self._log = None
        self._last = ""
        self._logs = tempfile.TemporaryDirectory(prefix="ichmultitask-")
        ui.simulateButton.connect("clicked(bool)", self.onSimulateButton)

    def cleanup(self) -> None:
        """Stop a running simulation; it can be continued later."""
        if self.process is not None:
            self.process.stop()
            self.process.wait(5)
        self._logs.cleanup()

    def onSimulateButton(self, checked: bool = False) -> None:
        """Start the simulation, or stop it."""
        if self.process is not None:
            self.process.stop()
            return
        ui = self.ui
        try:
            self.process = simulate(
                ui.cohortPath.currentPath, ui.patientsSpinBox.value, ui.seedSpinBox.value, ui.matrixSpinBox.value,
                Path(self._logs.name) / "simulation.txt",
            )  # fmt: skip
        except ICHMultiTaskError as error:
            self._say(translated(error), failed=True)
            return
        self._log, self._last = LogReader(self.process.log), ""
        self._say("")
        self._update()

    def follow(self) -> None:
        """Show the progress; called by the panel's timer."""
        if self.process is None:
            return
        status = self.process.status  # read before the log, so that its last lines are not missed
        self._last = ([self._last] + [line for line in self._log.lines() if line])[-1]
        folder = Path(self.ui.cohortPath.currentPath)
        self.ui.simulationProgressBar.value = len(list(folder.glob("rows/*.json")))
        if status is None:
            return
        process, self.process = self.process, None
        if process.stopped:
            self._say(_("Stopped. Press Simulate to continue."))
        elif status:
            self._say(self._last, failed=True)
        else:
            self._say(_("Done. The new table of scans is selected below."))
            self.whenDone(folder / "manifest.csv")
        self._update()

    def _update(self):
        ui, running = self.ui, self.process is not None
        ui.simulateButton.text = _("Stop") if running else _("Simulate")
        ui.simulationChoicesWidget.enabled = not running
        ui.simulationProgressBar.visible = running
        if running:
            ui.simulationProgressBar.maximum = ui.patientsSpinBox.value
            ui.simulationProgressBar.setFormat(_("%v of %m patients"))

    def _say(self, text, failed=False):
        self.ui.simulationLabel.text = text
        self.ui.simulationLabel.visible = bool(text)
        self.ui.simulationLabel.styleSheet = WARNING_STYLE if failed else ""


def simulate(
    output: str | os.PathLike, patients: int, seed: int, matrix: int, log: str | os.PathLike
) -> CommandProcess:
    """Start the simulation of a cohort.

    Parameters
    ----------
    output : path
        Empty, or with an interrupted cohort of the same seed and settings.
    patients, seed : int
    matrix : int
        Rows and columns of a slice.
    log : path

    Returns
    -------
    CommandProcess

    Raises
    ------
    InputError
        If no folder is given.
    """
    if not str(output):
        raise InputError("No folder was chosen for the cohort: choose an empty one for the scans and their table.")
    arguments = ["simulate", "--patients", patients, "--seed", seed, "--matrix", matrix, "--output", output]
    return CommandProcess([*arguments, "--processes", spare_processes()], log)


def spare_processes() -> int:
    """Half of the processors, so that the application stays responsive."""
    return max(1, (os.cpu_count() or 1) // 2)
