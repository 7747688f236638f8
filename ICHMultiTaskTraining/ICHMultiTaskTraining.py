"""The companion module: starts, follows and stops a training run, which is the command `ichmultitask-train train`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError, OutputError
from ICHMultiTaskLib.common.translation import translated
from ICHMultiTaskLib.common.writing import os_error_sentence
from ICHMultiTaskLib.mrml.parameters import Device
from ICHMultiTaskLib.panel.dependencies import TRAINING, install_missing_packages
from ICHMultiTaskLib.panel.fitting import TextFitter
from ICHMultiTaskLib.panel.work import WARNING_STYLE, Work
from ICHMultiTaskTrainingLib.cli.process import CommandProcess, LogReader
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.panel.curves import CurvesSection
from ICHMultiTaskTrainingLib.panel.finished import FinishedSection
from ICHMultiTaskTrainingLib.panel.run_state import more_epochs, view_of
from ICHMultiTaskTrainingLib.panel.settings import SettingsSection
from ICHMultiTaskTrainingLib.panel.simulation import SimulationSection, spare_processes
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.curves import without_auc_of_few
from ICHMultiTaskTrainingLib.training.run_folder import LOG, RunFolder
from ICHMultiTaskTrainingLib.training.settings_text import assignments, manifest_text, plan_text, problem_lines

FOLLOW_MSEC = 500
TYPING_MSEC = 400
"""The table is read when its name has not changed for this long."""
SHOWN_PROBLEMS = 8
SETTINGS_KEY = "ICHMultiTaskTraining/"


class ICHMultiTaskTraining(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent: slicer.qSlicerScriptedLoadableModule):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ICH Multi-Task Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = ["ICHMultiTask"]
        parent.contributors = ["ICHMultiTask contributors"]
        parent.helpText = _(
            "Trains the ICH Multi-Task network on your own scans: a table with patient_id, image, volume_ml and died, "
            "and no drawn masks. It runs outside 3D Slicer; a stopped run can be continued."
        )
        parent.acknowledgementText = ""


class ICHMultiTaskTrainingWidget(ScriptedLoadableModuleWidget):
    """The panel. A run is identified by its folder, whether it was started here, elsewhere or earlier."""

    def setup(self) -> None:
        """Build the panel when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ICHMultiTaskTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.fitter = TextFitter([uiWidget])
        self.logic = ICHMultiTaskTrainingLogic()
        self.run = self._log = self._manifest = None
        self._processes = {}
        self._running, self._outcome, self._shown = False, ("", False), (None, [])
        for device in Device:
            ui.deviceSelector.addItem(device.label(), device.value)
        self.settings = SettingsSection(ui, self._changed)
        self.simulation = SimulationSection(ui, self.useManifest)
        self.curves = CurvesSection(ui)
        self.finished = FinishedSection(ui, self.trainOn, self._device)
        self.check = Work(lambda task: None, self._onCheckFailed)
        self._typing = qt.QTimer()
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MSEC)
        self._typing.connect("timeout()", self._checkManifest)
        self._timer = qt.QTimer()
        self._timer.setInterval(FOLLOW_MSEC)
        self._timer.connect("timeout()", self._follow)
        ui.manifestPath.connect("currentPathChanged(QString)", self._onManifestChanged)
        ui.outputPath.connect("currentPathChanged(QString)", self._onOutputChanged)
        # A path that cannot be one, such as none, is told of by this signal alone.
        ui.manifestPath.connect("validInputChanged(bool)", lambda valid: valid or self._onManifestChanged(""))
        ui.outputPath.connect("validInputChanged(bool)", lambda valid: valid or self._onOutputChanged(""))
        ui.startButton.connect("clicked(bool)", self.onStartButton)
        self._restorePaths()

    def cleanup(self) -> None:
        """Stop running commands when the application closes; they can be continued."""
        self._timer.stop()
        self._typing.stop()
        self.fitter.stop()
        self.check.stop()
        for process in self._processes.values():
            process.stop()
        self.simulation.cleanup()
        self.finished.cleanup()
        self.curves.cleanup()

    def enter(self) -> None:
        """Follow the run from the first visit on."""
        self._timer.start()
        self._follow()

    @property
    def process(self) -> CommandProcess | None:
        """The process that trains in the displayed folder if it was started here; else None."""
        return self._processes.get(self.run.path) if self.run else None

    def openRun(self, folder: str | os.PathLike) -> None:
        """Show the run in a folder, whoever started it; in an empty folder a new one can be started."""
        self.ui.outputPath.currentPath = str(folder)

    def useManifest(self, path: str | os.PathLike) -> None:
        """Choose a table of scans."""
        self.ui.manifestPath.currentPath = str(path)
        self._checkManifest()

    def onStartButton(self, checked: bool = False) -> None:
        """Start or continue the run, or stop the running one."""
        if self._running:
            try:
                self._stop()
            except ICHMultiTaskError as error:
                self._say(translated(error), failed=True)
            return
        self._start(self.settings.preset, self.settings.changes)

    def trainOn(self, epochs: int) -> None:
        """Continue a finished run for more epochs."""
        self._start(None, lambda: more_epochs(self.run, epochs))

    def _start(self, preset, readSettings):
        try:
            install_missing_packages(TRAINING, "torch")
            settings = readSettings()
            table = self.ui.manifestPath.currentPath
            if preset is None:
                preset, settings = settings
                table = self.run.stored["manifest"]
            self._processes[self.run.path] = self.logic.start(
                table, self.run.path, preset, self._device(), settings, self.ui.skipCheckBox.checked
            )
        except ICHMultiTaskError as error:
            self._say(translated(error), failed=True)
            return
        for name in ("manifestPath", "outputPath"):
            qt.QSettings().setValue(SETTINGS_KEY + name, getattr(self.ui, name).currentPath)
        if settings.get("epochs"):
            self.settings.showEpochs(settings["epochs"])
        self._running = True
        self._say("")

    def _stop(self):
        if self.process is not None:
            self.process.stop()
        else:
            self.run.stop()

    def _device(self):
        return self.ui.deviceSelector.itemData(self.ui.deviceSelector.currentIndex)

    def _restorePaths(self):
        """Show the last run, or propose folders for a new one."""
        documents = Path(slicer.app.defaultScenePath) / "ICHMultiTask"
        self.ui.cohortPath.currentPath = str(documents / "cohort")
        stored = {name: qt.QSettings().value(SETTINGS_KEY + name) for name in ("manifestPath", "outputPath")}
        self.ui.manifestPath.currentPath = stored["manifestPath"] or ""
        self.openRun(stored["outputPath"] or documents / "run")

    def _onManifestChanged(self, path):
        self._manifest = None
        self._typing.start()
        self._changed()

    def _checkManifest(self):
        """Read the table in the background: it may be long, and the scans on a slow disk."""
        self._typing.stop()
        path = self.ui.manifestPath.currentPath
        self._manifest = None
        self.check.stop()
        self._sayOfManifest("")
        if path:
            self._sayOfManifest(_("Reading the table…"))
            self.check.start(lambda progress: read_manifest(path), self._onManifestRead)
        self._changed()

    def _onManifestRead(self, manifest):
        self._manifest = manifest
        self._sayOfManifest(manifest_text(manifest))
        self._changed()

    def _onCheckFailed(self, text, failed):
        if not text:
            return
        problems = problem_lines(text)
        if len(problems) > SHOWN_PROBLEMS:
            for problem in problems:
                self.ui.logText.appendPlainText(problem)
            more = _("… and {n} more, all of them in the log below").format(n=len(problems) - SHOWN_PROBLEMS)
            problems[SHOWN_PROBLEMS:] = [more]
        self._sayOfManifest("\n".join(problems), failed=True)
        self._update()

    def _sayOfManifest(self, text, failed=False):
        _show(self.ui.manifestInfoLabel, text, failed)

    def _onOutputChanged(self, path):
        """Show the run of a folder: its settings, curves and log."""
        self.run = RunFolder(path) if path else None
        self.ui.logText.clear()
        self._log = LogReader(self.run.path / LOG) if self.run else None
        self._say("")
        try:
            stored = self.run.stored if self.run else None
        except InputError as error:
            stored = None
            self._say(translated(error), failed=True)
        if stored is not None:
            self.settings.show(stored["config"])
            self.useManifest(stored["manifest"])
        self._follow()

    def _follow(self):
        """Check the running commands and the run's folder."""
        self.simulation.follow()
        self.finished.follow()
        process = self.process
        status = process.status if process else None  # asked before the last lines are read
        if self._log is not None:
            for line in self._log.lines():
                self.ui.logText.appendPlainText(line)
        before, self._running = self._running, bool(self.run and (process and status is None or self.run.running))
        if status is not None:
            self._ended(self._processes.pop(self.run.path), status)
        elif before != self._running:
            self._update()
        self.curves.show(self._history())
        if self._running:
            self._update()
        self.fitter.start()

    def _ended(self, process, status):
        if process.stopped:
            self._say(_("Stopped. Press Continue to resume."))
        elif status:
            lines = [line for line in self.ui.logText.toPlainText().split("\n") if line]
            self._say(lines[-1] if lines else _("It ended with status {n}.").format(n=status), failed=True)
        else:
            self._say("")

    def _changed(self):
        """Clear the message of the last attempt."""
        self._say("")

    def _say(self, text, failed=False):
        self._outcome = (text, failed)
        self._update()

    def _update(self):
        """Enable the buttons that can be used now, or say why not."""
        ui, running = self.ui, self._running
        for widget in (ui.manifestPath, ui.presetSelector, ui.startFromSelector, ui.deviceSelector, ui.settingsBox):
            widget.enabled = not running
        chosen = bool(ui.manifestPath.currentPath)
        view = view_of(self.run, self.settings.config, self._manifest, chosen, running, self.process is not None)
        ui.startButton.text, ui.startButton.enabled = view.button, view.enabled
        text, failed = self._outcome if self._outcome[0] else (view.text, view.failed)
        _show(ui.statusLabel, text, failed)
        _show(ui.planLabel, view.plan)
        _show(ui.epochsInfoLabel, self._epochsText())
        ui.progressBar.visible = running
        ui.progressBar.value = round(1000 * (view.fraction or 0.0))
        _show(ui.stageLabel, view.stage)
        self.finished.show(self.run, view.finished and not running)
        self.fitter.start()

    def _epochsText(self):
        try:
            return plan_text(self.settings.config())
        except ICHMultiTaskError:
            return ""

    def _history(self):
        """The history of the run for the curves."""
        if self.run is None:
            return []
        history = self.run.history
        if history is not self._shown[0]:
            died = self.run.validation_outcomes(self._manifest)
            self._shown = history, history if died is None else without_auc_of_few(history, died)
        return self._shown[1]


def _show(label, text, failed=False):
    """Show a text in a label; hide the label if the text is empty."""
    if label.text != text:
        label.text = text
    label.visible = bool(text)
    label.styleSheet = WARNING_STYLE if failed else ""


class ICHMultiTaskTrainingLogic(ScriptedLoadableModuleLogic):
    """The functions of the panel, for scripts."""

    def arguments(
        self,
        manifest: str | os.PathLike,
        output: str | os.PathLike,
        preset: str = "default",
        device: str = "auto",
        settings: dict | None = None,
        skip_unusable: bool = False,
    ) -> list[str]:
        """Return the arguments of the training command.

        Raises
        ------
        InputError
            If the table or the folder is missing, or a setting is wrong.
        """
        if not Path(manifest).is_file():
            raise InputError(f"The table of scans is missing: expected a CSV file, found {manifest or 'no choice'}.")
        if not str(output):
            raise InputError("The run has no folder: choose where weights, log and model bundle go.")
        make_config(preset, **(settings or {}))
        arguments = ["train", str(manifest), "--output", str(output), "--preset", preset, "--device", device]
        for assignment in assignments(settings or {}):
            arguments += ["--set", assignment]
        if skip_unusable:
            arguments.append("--skip-unusable")
        return [*arguments, "--name", Path(output).name, "--processes", str(spare_processes())]

    def start(
        self,
        manifest: str | os.PathLike,
        output: str | os.PathLike,
        preset: str = "default",
        device: str = "auto",
        settings: dict | None = None,
        skip_unusable: bool = False,
    ) -> CommandProcess:
        """Start a training run, or continue the one in `output`, in a separate process.

        Parameters
        ----------
        manifest, output : path
        preset, device : str
        settings : dict, optional
            Settings that differ from the preset, as in `TrainingConfig`.
        skip_unusable : bool
            Leave out scans that cannot be used, instead of stopping at them.

        Returns
        -------
        CommandProcess

        Raises
        ------
        InputError, OutputError
        """
        arguments = self.arguments(manifest, output, preset, device, settings, skip_unusable)
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(os_error_sentence(error, output)) from error
        return CommandProcess(arguments, Path(output) / LOG)


class ICHMultiTaskTrainingTest(ScriptedLoadableModuleTest):
    """The command as a real process."""

    def test_missingTableIsSaidBeforeAnythingStarts(self) -> None:
        with self.assertRaisesRegex(InputError, "expected a CSV file, found no choice"):
            ICHMultiTaskTrainingLogic().arguments("", "run")

    def test_failureOfTheRunIsInItsLog(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            table, run = Path(folder) / "manifest.csv", Path(folder) / "run"
            table.write_text("patient_id,image\n1,none.nii.gz\n", encoding="utf-8")
            process = ICHMultiTaskTrainingLogic().start(table, run, device="cpu")
            self.assertEqual(process.wait(120), 1)
            self.assertIn("volume_ml", "\n".join(LogReader(run / LOG).lines()))

    def test_settingsReachTheCommand(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "manifest.csv"
            table.touch()
            arguments = ICHMultiTaskTrainingLogic().arguments(table, "run", settings={"epochs": 3})
            self.assertIn("epochs=3", arguments)
            with self.assertRaisesRegex(InputError, "epochs is too small"):
                ICHMultiTaskTrainingLogic().arguments(table, "run", settings={"epochs": 0})
