"""The companion module: starts, follows and stops a training run, which is the command `ichmultitask-train train`."""

import os
import queue
import sys
import tempfile
import threading
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

from ICHMultiTaskLib.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.mrml.dependencies import TRAINING, install_missing_packages

POLL_MSEC = 200
DEVICES = ("auto", "cuda", "mps", "cpu")
PRESETS = ("default", "paper")


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
    """The panel: choose a table and a folder, start, read the log, stop."""

    def setup(self):
        """Build the panel when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ICHMultiTaskTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.logic = ICHMultiTaskTrainingLogic()
        self._run = None
        self.ui.presetSelector.addItems(PRESETS)
        self.ui.deviceSelector.addItems(DEVICES)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MSEC)
        self._timer.connect("timeout()", self._poll)
        self.ui.startButton.connect("clicked(bool)", self.onStartButton)

    def cleanup(self):
        """End the run with the application; it can be continued."""
        self._timer.stop()
        if self._run is not None:
            self._run.stop()

    def onStartButton(self, checked=False):
        """Start the run, or stop the running one."""
        ui = self.ui
        if self._run is not None:
            self._run.stop()
            return
        try:
            install_missing_packages(TRAINING)
            self._run = self.logic.start(
                ui.manifestPath.currentPath, ui.outputPath.currentPath,
                ui.presetSelector.currentText, ui.deviceSelector.currentText,
            )  # fmt: skip
        except ICHMultiTaskError as error:
            ui.statusLabel.text = str(error)
            return
        ui.logText.clear()
        ui.statusLabel.text = _("Training…")
        ui.startButton.text = _("Stop")
        ui.choicesWidget.enabled = False
        self._timer.start()

    def _poll(self):
        ended = self._run.done  # asked first, so that the last lines are read before the end is told
        for line in self._run.lines():
            self.ui.logText.appendPlainText(line)
        if not ended:
            return
        self._timer.stop()
        run, self._run = self._run, None
        if run.stopped:
            self.ui.statusLabel.text = _("Stopped. Start continues where it was.")
        elif run.status == 0:
            self.ui.statusLabel.text = _("Finished.")
        else:
            self.ui.statusLabel.text = _("Failed; the log says why.")
        self.ui.startButton.text = _("Start")
        self.ui.choicesWidget.enabled = True


class TrainingRun:
    """A running process whose output is read in a thread, so that nobody waits for it."""

    def __init__(self, process):
        self.stopped = False
        self._process = process
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def done(self):
        """Whether the process has ended and all it printed was read."""
        return not self._reader.is_alive()

    @property
    def status(self):
        """Exit status, None while it runs."""
        return self._process.poll()

    def lines(self):
        """Yield what was printed since the last call."""
        while not self._lines.empty():
            yield self._lines.get()

    def stop(self):
        """End the process; checkpoints are written whole, so that the run can be continued."""
        self.stopped = True
        self._process.terminate()

    def wait(self, seconds=None):
        """Block until it has ended or the time is up; return `done`."""
        self._reader.join(seconds)
        return self.done

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip())
        self._process.wait()


class ICHMultiTaskTrainingLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts."""

    def command(self, manifest, output, preset="default", device="auto"):
        """Return the training command as a list of arguments.

        Raises
        ------
        InputError
            If the table or the folder is missing.
        """
        if not Path(manifest).is_file():
            raise InputError(f"The table of scans is missing: expected a CSV file, found {manifest or 'no choice'}.")
        if not output:
            raise InputError("The run has no folder: choose where weights, log and model bundle go.")
        arguments = ["train", str(manifest), "--output", str(output), "--preset", preset, "--device", device]
        # The path is set in the code: a launcher may replace the one in the environment.
        here = Path(__file__).resolve().parent
        folders = [str(here), str(here.parent / "ICHMultiTask")]
        code = f"import sys; sys.path[:0] = {folders}; from ICHMultiTaskTrainingLib.cli import main; sys.exit(main())"
        return [self.pythonExecutable(), "-u", "-c", code, *arguments]

    def start(self, manifest, output, preset="default", device="auto"):
        """Start a training run, or continue the one in `output`.

        Returns
        -------
        TrainingRun
        """
        return TrainingRun(
            slicer.util.launchConsoleProcess(
                self.command(manifest, output, preset, device),
                useStartupEnvironment=False,
                updateEnvironment={"PYTHONIOENCODING": "utf-8"},
            )
        )

    @staticmethod
    def pythonExecutable():
        """The interpreter itself: ending the PythonSlicer launcher would leave its child running."""
        name = "python-real.exe" if os.name == "nt" else "python-real"
        real = Path(sys.executable).with_name(name)
        return str(real if real.is_file() else sys.executable)


class ICHMultiTaskTrainingTest(ScriptedLoadableModuleTest):
    """The command as a real process."""

    def test_missingTableIsSaidBeforeAnythingStarts(self):
        with self.assertRaisesRegex(InputError, "expected a CSV file, found no choice"):
            ICHMultiTaskTrainingLogic().command("", "run")

    def test_failureOfTheRunIsInItsLog(self):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "manifest.csv"
            table.write_text("patient_id,image\n1,none.nii.gz\n", encoding="utf-8")
            run = ICHMultiTaskTrainingLogic().start(table, Path(folder) / "run", device="cpu")
            self.assertTrue(run.wait(120))
            self.assertEqual(run.status, 1)
            self.assertIn("volume_ml", "\n".join(run.lines()))

    def test_stopEndsTheProcess(self):
        process = slicer.util.launchConsoleProcess(
            [ICHMultiTaskTrainingLogic.pythonExecutable(), "-c", "import time; time.sleep(600)"],
            useStartupEnvironment=False,
        )
        run = TrainingRun(process)
        self.assertFalse(run.wait(0.2))
        run.stop()
        self.assertTrue(run.wait(30) and run.stopped)
