"""Section of the training panel for a finished run: use its model, compare it, calibrate it, or train it for longer."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace

import qt
import slicer
from slicer.i18n import tr as _

from ICHMultiTaskLib.common.errors import ICHMultiTaskError
from ICHMultiTaskLib.common.translation import translated
from ICHMultiTaskLib.panel.work import WARNING_STYLE

from ..training.run_folder import RunFolder
from .follow_up import FollowUp

MORE_EPOCHS = 5
"""Suggested number of further epochs."""


class FinishedSection:
    """Buttons to use the model, compare it, calibrate it, and train it for more epochs.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel.
    train : callable (int)
        Continues the run for this number of further epochs.
    device : callable () -> str
    """

    def __init__(self, ui: SimpleNamespace, train: Callable[[int], object], device: Callable[[], str]):
        self.ui, self._train, self._device = ui, train, device
        self._works = {}  # by the folder of the run
        self.work = None
        ui.useModelButton.connect("clicked(bool)", self.onUseModelButton)
        ui.compareModelsButton.connect("clicked(bool)", self.onCompareButton)
        ui.calibrateButton.connect("clicked(bool)", self.onCalibrateButton)
        ui.moreEpochsButton.connect("clicked(bool)", self.onMoreEpochsButton)

    def cleanup(self) -> None:
        """Stop all running commands."""
        for work in self._works.values():
            work.stop()

    def show(self, run: RunFolder | None, finished: bool) -> None:
        """Show the buttons of a finished run, or hide them.

        Parameters
        ----------
        run : RunFolder or None
        finished : bool
        """
        self.ui.finishedWidget.visible = finished
        self.work = self._works.setdefault(run.path, FollowUp(run, self._device())) if finished else None
        if self.work is not None:
            self.update()

    def follow(self) -> None:
        """Check the running commands; called by the panel's timer."""
        for work in self._works.values():
            if work.follow() and work is self.work:
                self.update()

    def update(self) -> None:
        """Show the message, and enable the buttons that can be used now."""
        ui, work = self.ui, self.work
        idle = not work.running
        for button in (ui.useModelButton, ui.calibrateButton, ui.moreEpochsButton):
            button.enabled = idle
        ui.compareModelsButton.text = _("Compare with the shipped model") if idle else _("Stop")
        label = ui.followUpLabel
        label.text, label.visible = work.text, bool(work.text)
        label.styleSheet = WARNING_STYLE if work.failed else ""

    def onUseModelButton(self, checked: bool = False) -> None:
        """Switch to the module ICH Multi-Task with the trained model selected."""
        bundle = str(self.work.bundle)
        slicer.util.selectModule("ICHMultiTask")
        slicer.modules.ICHMultiTaskWidget.panel.analyze.useBundle(bundle)

    def onCompareButton(self, checked: bool = False) -> None:
        """Compare with the shipped model, or stop the running command."""
        if self.work.running:
            self.work.stop()
        else:
            self._try(self.work.compare)

    def onCalibrateButton(self, checked: bool = False) -> None:
        """Let the user choose a table of scans and calibrate on it."""
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Choose a table of scans that the model has not seen"), "", "CSV (*.csv)"
        )
        if path:
            self.calibrate(path)

    def calibrate(self, path: str | os.PathLike) -> None:
        """Calibrate the model on the scans of a table."""
        self._try(lambda: self.work.calibrate(path))

    def onMoreEpochsButton(self, checked: bool = False) -> None:
        """Ask for the number of further epochs, and continue the training."""
        epochs = qt.QInputDialog.getInt(
            slicer.util.mainWindow(), _("Train for more epochs"), _("Additional epochs at full resolution:"),
            MORE_EPOCHS, 1, 100000,
        )  # fmt: skip
        if isinstance(epochs, tuple):  # (value, whether it was confirmed), as PythonQt returns it in some versions
            epochs = epochs[0] if epochs[1] else 0
        if epochs:
            self._train(epochs)

    def _try(self, begin):
        self.work.device = self._device()
        try:
            begin()
        except ICHMultiTaskError as error:
            self.work.text, self.work.failed = translated(error), True
        self.update()
