"""The companion module: starts, follows and stops a training run, which is the command `ichmultitask-train train`."""

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
from ICHMultiTaskLib.common.progress import duration
from ICHMultiTaskLib.common.writing import os_error_sentence
from ICHMultiTaskLib.mrml.parameters import Device
from ICHMultiTaskLib.panel.dependencies import TRAINING, install_missing_packages
from ICHMultiTaskLib.panel.work import WARNING_STYLE, Work
from ICHMultiTaskTrainingLib.cli.process import CommandProcess, LogReader
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.panel.curves import CurvesSection
from ICHMultiTaskTrainingLib.panel.settings import SettingsSection
from ICHMultiTaskTrainingLib.panel.simulation import SimulationSection, spare_processes
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.run_folder import LOG, RunFolder, check_same_run
from ICHMultiTaskTrainingLib.training.settings_text import assignments, manifest_text, plan_text

FOLLOW_MSEC = 500
TYPING_MSEC = 400
"""The table is read when its name has not changed for so long."""
SHOWN_PROBLEMS = 8
SETTINGS_KEY = "ICHMultiTaskTraining/"


class ICHMultiTaskTraining(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ICH Multi-Task Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = ["ICHMultiTask"]
        parent.contributors = ["ICHMultiTask contributors"]
        parent.helpText = _(
            "Trains the ICH Multi-Task network on your own scans: a table with patient_id, image, volume_ml and died, "
            "and no drawn masks. It runs outside 3D Slicer; a stopped run continues where it was."
        )
        parent.acknowledgementText = ""


class ICHMultiTaskTrainingWidget(ScriptedLoadableModuleWidget):
    """The panel. A run is always followed by its folder, whether it was started here, elsewhere or earlier."""

    def setup(self):
        """Build the panel when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ICHMultiTaskTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHMultiTaskTrainingLogic()
        self.run = self._log = self._manifest = None
        self._processes = {}
        self._running, self._outcome = False, ("", False)
        for device in Device:
            ui.deviceSelector.addItem(device.label(), device.value)
        self.settings = SettingsSection(ui, self._changed)
        self.simulation = SimulationSection(ui, self.useManifest)
        self.curves = CurvesSection(ui)
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
        ui.startButton.connect("clicked(bool)", self.onStartButton)
        ui.useModelButton.connect("clicked(bool)", self.onUseModelButton)
        self._restorePaths()

    def cleanup(self):
        """End what runs when the application does; it can be continued."""
        self._timer.stop()
        self._typing.stop()
        self.check.stop()
        for process in self._processes.values():
            process.stop()
        self.simulation.cleanup()
        self.curves.cleanup()

    def enter(self):
        """Follow the run from the first visit on."""
        self._timer.start()
        self._follow()

    @property
    def process(self):
        """The process that trains in the folder on show, if it was started here; else None."""
        return self._processes.get(self.run.path) if self.run else None

    def openRun(self, folder):
        """Show the run in a folder, whoever started it; in an empty folder a new one can be started."""
        self.ui.outputPath.currentPath = str(folder)

    def useManifest(self, path):
        """Choose a table of scans."""
        self.ui.manifestPath.currentPath = str(path)
        self._checkManifest()

    def onStartButton(self, checked=False):
        """Start or continue the run, or stop the running one."""
        try:
            if self._running:
                self._stop()
                return
            install_missing_packages(TRAINING)
            self._processes[self.run.path] = self.logic.start(
                self.ui.manifestPath.currentPath, self.run.path, self.settings.preset, self._device(),
                self.settings.changes(), self.ui.skipCheckBox.checked,
            )  # fmt: skip
        except ICHMultiTaskError as error:
            self._say(str(error), failed=True)
            return
        for name in ("manifestPath", "outputPath"):
            qt.QSettings().setValue(SETTINGS_KEY + name, getattr(self.ui, name).currentPath)
        self._running = True
        self._say("")

    def onUseModelButton(self, checked=False):
        """Go to the module that analyzes scans, with the trained model chosen."""
        bundle = str(self.run.bundle)
        slicer.util.selectModule("ICHMultiTask")
        slicer.modules.ICHMultiTaskWidget.panel.analyze.useBundle(bundle)

    def _stop(self):
        if self.process is not None:
            self.process.stop()
        else:
            self.run.stop()

    def _device(self):
        return self.ui.deviceSelector.itemData(self.ui.deviceSelector.currentIndex)

    def _restorePaths(self):
        """Take up the last run, or propose folders of a new one."""
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
        problems = text.replace(" unusable rows: ", " unusable rows:\n").replace("; line ", "\nline ").split("\n")
        if len(problems) > SHOWN_PROBLEMS:
            for problem in problems:
                self.ui.logText.appendPlainText(problem)
            more = _("… and {n} more, all of them in the log below").format(n=len(problems) - SHOWN_PROBLEMS)
            problems[SHOWN_PROBLEMS:] = [more]
        self._sayOfManifest("\n".join(problems), failed=True)
        self._update()

    def _sayOfManifest(self, text, failed=False):
        label = self.ui.manifestInfoLabel
        label.text, label.visible = text, bool(text)
        label.styleSheet = WARNING_STYLE if failed else ""

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
            self._say(str(error), failed=True)
        if stored is not None:
            self.settings.show(stored["config"])
            self.useManifest(stored["manifest"])
        self._follow()

    def _follow(self):
        """Look at what runs and at the run's folder."""
        self.simulation.follow()
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
        self.curves.show(self.run.history if self.run else [])
        self._showProgress()

    def _ended(self, process, status):
        if process.stopped:
            self._say(_("Stopped. Continue goes on where it was."))
        elif status:
            lines = [line for line in self.ui.logText.toPlainText().split("\n") if line]
            self._say(lines[-1] if lines else _("It ended with status {n}.").format(n=status), failed=True)
        else:
            self._say("")

    def _changed(self):
        """What was said of the last attempt no longer holds."""
        self._say("")

    def _say(self, text, failed=False):
        self._outcome = (text, failed)
        self._update()

    def _update(self):
        """Show what can be done now and why not."""
        ui, running = self.ui, self._running
        for widget in (ui.manifestPath, ui.presetSelector, ui.startFromSelector, ui.deviceSelector, ui.settingsBox):
            widget.enabled = not running
        begun = bool(self.run and self.run.begun)
        ui.startButton.text = _("Stop") if running else _("Continue") if begun else _("Start")
        ui.startButton.enabled, text, failed = (True, "", False) if running else self._readiness(begun)
        if self._outcome[0]:
            text, failed = self._outcome
        ui.statusLabel.text, ui.statusLabel.visible = text, bool(text)
        ui.statusLabel.styleSheet = WARNING_STYLE if failed else ""
        ui.useModelButton.visible = bool(self.run and self.run.bundle)
        self._showProgress()

    def _readiness(self, begun):
        """Whether the run can be started or continued, what to say of it, and whether that is an error."""
        if self.run is None:
            return False, _("Choose a folder for the run."), False
        try:
            if begun and self.run.finished:
                self.ui.startButton.text = _("Finished")
                return False, self._finishedText(), False
            config = self.settings.config()
            self.ui.planLabel.text = plan_text(config)
            if not self.ui.manifestPath.currentPath:
                return False, _("Choose a table of scans, or simulate some."), False
            if self._manifest is None:  # what is the matter stands beside the table
                return False, "", False
            if begun:
                stored = self.run.stored
                chosen = {"config": config.as_dict(), "manifest": str(self._manifest.path.resolve())}
                check_same_run(self.run.path, stored, stored | chosen)
        except ICHMultiTaskError as error:
            return False, str(error), True
        if not begun:
            return True, "", False
        done, total = self.run.epochs_done, len(config.reductions())
        return True, _("{done} of {total} epochs are done.").format(done=done, total=total), False

    def _finishedText(self):
        entry = self.run.history[-1]
        text = _("Finished after {n} epochs.").format(n=self.run.epochs_done)
        if entry.get("validation_mae_ml") is not None:
            text += _(" Validation MAE {mae:.1f} mL.").format(mae=entry["validation_mae_ml"])
        if entry.get("validation_auc") is not None:
            text += _(" AUC {auc:.2f}.").format(auc=entry["validation_auc"])
        if self.run.report:
            text += _(' <a href="{address}">Report</a>').format(address=self.run.report.resolve().as_uri())
        return text

    def _showProgress(self):
        ui, running = self.ui, self._running
        ui.progressBar.visible = ui.stageLabel.visible = running
        if not running:
            return
        progress = self.run.progress if self.run.running else None
        ui.progressBar.value = round(1000 * progress.fraction) if progress else 0
        text = progress.message if progress else _("Starting…")
        if progress and progress.seconds_left:
            text += _("; {time} left").format(time=duration(progress.seconds_left))
        if progress and self.process is None:
            text += _(" (process {n} on {computer})").format(n=progress.process, computer=progress.computer)
        ui.stageLabel.text = text


class ICHMultiTaskTrainingLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts."""

    def arguments(self, manifest, output, preset="default", device="auto", settings=None, skip_unusable=False):
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

    def start(self, manifest, output, preset="default", device="auto", settings=None, skip_unusable=False):
        """Start a training run, or continue the one in `output`, in a process of its own.

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

    def test_missingTableIsSaidBeforeAnythingStarts(self):
        with self.assertRaisesRegex(InputError, "expected a CSV file, found no choice"):
            ICHMultiTaskTrainingLogic().arguments("", "run")

    def test_failureOfTheRunIsInItsLog(self):
        with tempfile.TemporaryDirectory() as folder:
            table, run = Path(folder) / "manifest.csv", Path(folder) / "run"
            table.write_text("patient_id,image\n1,none.nii.gz\n", encoding="utf-8")
            process = ICHMultiTaskTrainingLogic().start(table, run, device="cpu")
            self.assertEqual(process.wait(120), 1)
            self.assertIn("volume_ml", "\n".join(LogReader(run / LOG).lines()))

    def test_settingsReachTheCommand(self):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "manifest.csv"
            table.touch()
            arguments = ICHMultiTaskTrainingLogic().arguments(table, "run", settings={"epochs": 3})
            self.assertIn("epochs=3", arguments)
            with self.assertRaisesRegex(InputError, "epochs is too small"):
                ICHMultiTaskTrainingLogic().arguments(table, "run", settings={"epochs": 0})
