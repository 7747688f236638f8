"""The training panel in the running application: simulate, start, follow, stop, continue, use the model.

Run by `Testing/test_panel_application.py`, or in Slicer:
`Slicer --testing --additional-module-paths ICHMultiTask ICHMultiTaskTraining --python-script <this file>`.
With ICHMULTITASK_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

import contextlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import qt
import slicer

sys.path.insert(0, str(Path(__file__).parent))
from panel_case import LegibleCase  # noqa: E402

from ICHMultiTaskLib.model import testing  # noqa: E402
from ICHMultiTaskLib.model.bundle import METADATA  # noqa: E402
from ICHMultiTaskLib.mrml import results, volumes  # noqa: E402
from ICHMultiTaskLib.panel.dependencies import TRAINING, missing_packages  # noqa: E402
from ICHMultiTaskTrainingLib.cli.process import command, python_executable  # noqa: E402
from ICHMultiTaskTrainingLib.training.progress_file import read_progress  # noqa: E402
from ICHMultiTaskTrainingLib.training.settings_text import settings_text  # noqa: E402

PATIENTS = 8
TINY = {
    "architecture": {"width": 4, "stem_stride": [1, 2, 2], "stage_strides": [1, 2, [1, 2, 2], 1], "final_relu": False},
    "preprocessing": {"window_hu": [0, 100], "shape_kji": [8, 64, 64], "average": True, "max_height_mm": 170},
    "coarse_epochs": [[2, 12]],
    "validation_fraction": 0.3,
}
# Other work on the machine stretches the clock: the allowance grows with the load beyond the processors.
FREEZE_SECONDS = 1.0 * max(1.0, os.getloadavg()[0] / os.cpu_count() if hasattr(os, "getloadavg") else 1.0)
HOLDER = """
import sys
sys.path[:0] = {folders}
from ICHMultiTaskLib.common.progress import NullProgress
from ICHMultiTaskTrainingLib.training.progress_file import followed
with followed({folder!r}, NullProgress()) as progress:
    progress(0.25, "Epoch 3 of 12")
    print("held", flush=True)
    sys.stdin.read()
"""


HALTER = """
import os, signal, sys, time
file, process = sys.argv[1], int(sys.argv[2])
while not os.path.isfile(file):
    os.kill(process, 0)
    time.sleep(0.001)
os.kill(process, signal.SIGSTOP)
"""
"""Halts a process as soon as a file exists. The window's event loop would look too late on a busy machine."""


class ICHMultiTaskTrainingPanelTest(LegibleCase):
    """One cohort, simulated through the panel, serves all tests."""

    @classmethod
    def setUpClass(cls):
        if missing := missing_packages(TRAINING, "torch"):
            raise unittest.SkipTest(f"not installed: {', '.join(missing)}")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        keys = [f"ICHMultiTaskTraining/{name}" for name in ("manifestPath", "outputPath")]
        for key, value in [(key, qt.QSettings().value(key)) for key in keys]:
            cls.addClassCleanup(qt.QSettings().setValue, key, value)
        slicer.util.mainWindow().resize(1500, 980)
        slicer.util.selectModule("ICHMultiTaskTraining")
        cls.widget = slicer.modules.ICHMultiTaskTrainingWidget
        cls.ui = cls.widget.ui
        cls.simulate()

    @classmethod
    def simulate(cls):
        ui = cls.ui
        ui.simulationButton.collapsed = False
        ui.cohortPath.currentPath = str(cls.folder / "cohort")
        ui.patientsSpinBox.value, ui.matrixSpinBox.value = PATIENTS, 64
        ui.simulateButton.click()
        assert ui.simulateButton.text == "Stop", ui.simulationLabel.text
        cls.screenshot("training-simulating")
        cls.waitFor(lambda: cls.widget.simulation.process is None)
        assert ui.simulationLabel.text.startswith("Done"), ui.simulationLabel.text
        cls.manifest = cls.folder / "cohort" / "manifest.csv"
        assert ui.manifestPath.currentPath == str(cls.manifest)
        ui.simulationButton.collapsed = True

    def setUp(self):
        slicer.util.selectModule("ICHMultiTaskTraining")
        self.widget = slicer.modules.ICHMultiTaskTrainingWidget
        self.ui = self.widget.ui
        self.widget.openRun(self.folder / self._testMethodName)
        self.ui.presetSelector.currentText = "default"
        self.widget.settings.onPresetSelected(0)
        self.ui.epochsSpinBox.value = 2
        self.widget.useManifest(self.manifest)
        self.write(settings_text(TINY))
        self.waitFor(lambda: self.widget.check.task is None)

    def tearDown(self):
        widget = slicer.modules.ICHMultiTaskTrainingWidget
        if widget._running:
            widget.ui.startButton.click()
            self.waitFor(lambda: not widget._running)

    @staticmethod
    def waitFor(condition, seconds=400):
        """Run the event loop until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited too long"
            slicer.app.processEvents()
            time.sleep(0.005)

    @contextlib.contextmanager
    def alive(self):
        """Fail if the window stands still for too long meanwhile: a timer of 20 ms must keep ticking."""
        ticks = [time.monotonic()]
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
        timer.start(20)
        yield
        timer.stop()
        longest = max(later - earlier for earlier, later in itertools.pairwise([*ticks, time.monotonic()]))
        logging.info(f"longest standstill {longest:.2f} s")
        # Other work on the machine stretches the clock: the allowance grows with the load beyond the processors.
        load = os.getloadavg()[0] / os.cpu_count() if hasattr(os, "getloadavg") else 1.0
        self.assertLess(longest, FREEZE_SECONDS * max(1.0, load))

    @staticmethod
    def screenshot(name):
        folder = os.environ.get("ICHMULTITASK_SCREENSHOTS")
        if folder:
            for _n in range(10):
                slicer.app.processEvents()
                time.sleep(0.02)
            slicer.util.mainWindow().grab().save(str(Path(folder) / f"{name}.png"))

    def write(self, text):
        """Write further settings as a user does."""
        self.ui.furtherLineEdit.text = text
        self.widget.settings._changed()

    def test_trainStopContinueAndUseTheModel(self):
        ui, widget = self.ui, self.widget
        self.assertRegex(ui.manifestInfoLabel.text, rf"^{PATIENTS} scans of {PATIENTS} patients, \d died .* mL")
        self.assertIn("14 epochs: first 12 at lower resolution", ui.epochsInfoLabel.text)
        self.assertIn("12 epochs at half resolution", ui.planLabel.text)
        self.assertIn("Estimated times", ui.planLabel.text)
        self.waitFor(lambda: not widget.fitter.timer.isActive())
        self.assertNothingIsCut(ui.trainingButton.parent())
        self.screenshot("training-planned")
        self.assertEqual((ui.startButton.text, ui.startButton.enabled), ("Start", True))
        with self.alive():
            ui.startButton.click()
            self.assertEqual(ui.startButton.text, "Stop")
            self.assertFalse(ui.settingsBox.enabled)
            # The bar follows the history a moment later.
            self.waitFor(lambda: len(widget.run.history) > 1 and ui.progressBar.value > 100)
        self.screenshot("training-running")
        self.assertLess(ui.progressBar.value, 950)
        self.assertRegex(ui.planLabel.text, "▶ (12 epochs at half resolution, [0-9]+ done|2 epochs at full resolution)")
        self.waitFor(lambda: re.search(r"^Epoch \d+ of 14, loss .* left$", ui.stageLabel.text), 30)
        self.assertEqual(ui.curveSelector.itemText(0), "Loss")
        self.assertTrue(widget.curves.plot.visible)
        self.assertFalse(ui.finishedWidget.visible)
        ui.startButton.click()
        self.waitFor(lambda: not widget._running)
        done = len(widget.run.history)
        self.assertLess(done, 14)
        self.assertIn("Stopped", ui.statusLabel.text)
        self.assertEqual((ui.startButton.text, ui.startButton.enabled), ("Continue", True))

        ui.batchSizeSpinBox.value = 3
        self.assertFalse(ui.startButton.enabled)
        self.assertIn("batch_size 4 there and 3 here", ui.statusLabel.text)

        # As in another session: nothing is known but the folder.
        widget.openRun(self.folder)
        self.write("")
        widget.openRun(self.folder / self._testMethodName)
        self.waitFor(lambda: widget.check.task is None)
        self.assertEqual(ui.batchSizeSpinBox.value, 4)
        self.assertIn(f"{done} of 14 epochs are done", ui.statusLabel.text)
        self.assertIn("Epoch 1 of 14", ui.logText.toPlainText())
        ui.startButton.click()
        with self.alive():
            self.waitFor(lambda: not widget._running)
        self.assertIn("Finished after 14 epochs", ui.statusLabel.text)
        self.assertEqual([entry["epoch"] for entry in widget.run.history], list(range(1, 15)))
        self.assertIn("report.html", ui.statusLabel.text)
        self.assertRegex(ui.statusLabel.text, r"MAE .* on 2 validation patients, too few")
        self.assertNotIn("AUC 0", ui.statusLabel.text)
        self.assertTrue(ui.finishedWidget.visible)
        self.assertEqual((ui.startButton.text, ui.startButton.enabled), ("Finished", False))
        self.waitFor(lambda: not widget.fitter.timer.isActive())
        self.assertNothingIsCut(ui.trainingButton.parent())
        self.screenshot("training-finished")
        self.assertLess(slicer.util.findChild(slicer.util.mainWindow(), "PanelDockWidget").width, 430)
        sections = ui.trainingButton.parent()
        self.assertLessEqual(sections.layout().minimumSize().width(), sections.width, "all sections fit in")

        ui.compareModelsButton.click()
        self.assertEqual(ui.compareModelsButton.text, "Stop")
        with self.alive():
            self.waitFor(lambda: not widget.finished.work.running)
        self.assertIn("validation patients this model's MAE is", ui.followUpLabel.text)
        self.screenshot("training-compared")
        widget.finished.calibrate(str(self.manifest))
        self.assertIn("cannot be calibrated on patients of its own training", ui.followUpLabel.text)

        widget.trainOn(1)
        self.waitFor(lambda: widget.run.running)
        self.waitFor(lambda: not widget._running)
        self.assertIn("Finished after 15 epochs", ui.statusLabel.text)

        ui.useModelButton.click()
        self.assertEqual(slicer.util.selectedModule(), "ICHMultiTask")
        panel = slicer.modules.ICHMultiTaskWidget.panel
        self.assertEqual(panel.state.parameters.bundleFolder, str(widget.run.bundle))
        self.waitFor(lambda: not panel.state.queue.busy)
        node = volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom(), "Head CT")
        self.waitFor(lambda: panel.state.scan is node and panel.analyze.ui.analyzeButton.enabled)
        panel.analyze.ui.analyzeButton.click()
        self.waitFor(lambda: not panel.state.queue.busy)
        self.assertIsNotNone(results.result_node(node, "table"), panel.analyze.ui.statusLabel.text)

    def test_problemsOfTheTableAreSaidBeforeTheStart(self):
        lines = self.manifest.read_text(encoding="utf-8").split("\n")
        broken = self.manifest.with_name("broken.csv")
        broken.write_text("\n".join([lines[0], *(line.replace("images/", "gone/") for line in lines[1:4]), *lines[4:]]))
        self.widget.useManifest(broken)
        self.waitFor(lambda: self.widget.check.task is None)
        text = self.ui.manifestInfoLabel.text
        self.assertEqual(sum("does not exist" in line for line in text.split("\n")), 3, text)
        self.assertFalse(self.ui.startButton.enabled)
        self.screenshot("training-problems")
        self.ui.logText.appendPlainText(" ".join(["a long line of the log"] * 40))
        slicer.app.processEvents()
        self.assertEqual(self.ui.logText.horizontalScrollBar().maximum, 0, "its beginning is seen, too")

    def test_pathsThatWereClearedAreNotUsed(self):
        self.assertTrue(self.ui.startButton.enabled)
        folder, table = self.ui.outputPath.currentPath, self.ui.manifestPath.currentPath
        for path, text in ((self.ui.outputPath, folder), (self.ui.manifestPath, table)):
            path.currentPath = ""
            self.waitFor(lambda: self.widget.check.task is None and not self.widget._typing.isActive())
            self.assertFalse(self.ui.startButton.enabled)
            self.assertIn("Choose a", self.ui.statusLabel.text)
            path.currentPath = text
            self.waitFor(lambda: self.ui.startButton.enabled)

    def test_wrongSettingIsNamed(self):
        self.write("learning_rat=1")
        self.assertIn("learning_rat", self.ui.statusLabel.text)
        self.assertFalse(self.ui.startButton.enabled)
        self.write("start_from=/nowhere")
        self.assertFalse(self.ui.startButton.enabled)
        self.write("learning_rate=0.01")
        self.assertTrue(self.ui.startButton.enabled)

    def test_fineTuneIsTheFirstChoiceWithAModel(self):
        ui, selector = self.ui, self.ui.startFromSelector
        self.write("")
        selector.currentIndex = 1
        self.widget.settings.onStartFromSelected(1)
        self.assertEqual((ui.presetSelector.currentText, ui.epochsSpinBox.value), ("fine-tune", 20))
        self.assertIn("20 epochs at full resolution", ui.planLabel.text)
        selector.currentIndex = 0
        self.widget.settings.onStartFromSelected(0)
        self.assertEqual(ui.presetSelector.currentText, "default")

    @unittest.skipUnless(hasattr(signal, "SIGSTOP"), "a process cannot be halted on this system")
    def test_stopDuringTheReportIsNoDeadEnd(self):
        self.ui.epochsSpinBox.value = 1
        self.write(settings_text(TINY | {"coarse_epochs": []}))
        self.ui.startButton.click()
        folder = self.folder / self._testMethodName
        self.waitFor(lambda: read_progress(folder) is not None)
        process = read_progress(folder).process
        # The report is written after the bundle: so the process is halted before it.
        halter = [python_executable(), "-c", HALTER, str(folder / "bundle" / METADATA), str(process)]
        subprocess.run(halter, check=True, timeout=400)
        self.assertFalse((folder / "report" / "report.html").exists())
        self.waitFor(lambda: len(self.widget.run.history) == 1)
        self.ui.startButton.click()
        os.kill(process, signal.SIGCONT)  # it ends when it gets the signal, which a halted process does not
        self.waitFor(lambda: not self.widget._running)
        self.assertFalse((folder / "report" / "report.html").exists())
        self.assertEqual((self.ui.startButton.text, self.ui.startButton.enabled), ("Continue", True))
        self.ui.startButton.click()
        self.waitFor(lambda: not self.widget._running)
        self.assertEqual(self.ui.startButton.text, "Finished")

    def test_failureIsShownWithItsReason(self):
        self.write(settings_text({**TINY, "outcome": "sex"}))
        self.ui.startButton.click()
        self.waitFor(lambda: not self.widget._running)
        self.assertIn("The column sex cannot be the outcome", self.ui.statusLabel.text)

    def test_runOfAnotherProcessIsFollowedAndStopped(self):
        ui, run = self.ui, self.folder / "other"
        folders = [str(Path(slicer.modules.ichmultitasktraining.path).parent), str(Path(testing.__file__).parents[2])]
        code = HOLDER.format(folders=folders, folder=str(run))
        process = subprocess.Popen(
            [python_executable(), "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.addCleanup(process.stdin.close)
        self.assertEqual(process.stdout.readline().strip(), b"held")
        self.widget.openRun(run)
        self.assertEqual(ui.startButton.text, "Stop")
        self.assertEqual(ui.progressBar.value, 250)
        self.assertRegex(ui.stageLabel.text, r"^Epoch 3 of 12.* \(process \d+ on ")
        ui.startButton.click()
        self.waitFor(lambda: not self.widget._running)
        self.assertEqual(ui.startButton.text, "Start")

    def test_runEndsWithTheModule(self):
        self.ui.startButton.click()
        process = self.widget.process
        self.waitFor(lambda: self.widget.run.running)
        slicer.util.reloadScriptedModule("ICHMultiTaskTraining")  # unloads the module, as leaving the application does
        slicer.util.selectModule("ICHMultiTask")  # a panel that was loaded anew must be entered to follow its run
        slicer.util.selectModule("ICHMultiTaskTraining")
        self.assertTrue(process.stopped)
        self.waitFor(lambda: process.status is not None)

    def test_closedSceneLeavesTheCurves(self):
        self.widget.curves.show([{"epoch": n, "volume_loss": 1 / n} for n in (1, 2)])
        slicer.mrmlScene.Clear(0)
        self.widget._follow()
        self.widget.curves.show([{"epoch": n, "volume_loss": 1 / n} for n in (1, 2, 3)])
        chart = self.widget.curves._charts["Loss"]
        self.assertEqual(chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows(), 3)

    def test_headlessCommandIsTheSame(self):
        options = subprocess.run(command(["train", "--help"]), capture_output=True, text=True)
        self.assertEqual(options.returncode, 0, options.stderr)
        self.assertIn("--skip-unusable", options.stdout)


def run():
    """Run the tests and leave with their status."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(ICHMultiTaskTrainingPanelTest)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    slicer.util.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    run()
