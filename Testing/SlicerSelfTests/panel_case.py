"""What the tests of the running panel share."""

import contextlib
import itertools
import os
import tempfile
import time
import unittest
from pathlib import Path

import qt
import slicer

from ICHMultiTaskLib.model import testing
from ICHMultiTaskLib.mrml import volumes
from ICHMultiTaskLib.panel.dependencies import missing_packages

FREEZE_SECONDS = 0.2


class LegibleCase(unittest.TestCase):
    """What all panels must be."""

    def assertNothingIsCut(self, widget):
        """Every label that is shown has the height that its text needs at its width, and every button the width."""
        for label in slicer.util.findChildren(widget, className="QLabel"):
            if label.visible and label.text:
                needed = label.heightForWidth(label.width) if label.wordWrap else label.sizeHint.height()
                self.assertGreaterEqual(label.height, needed, f"{label.name}: {label.text[:60]}")
        for button in slicer.util.findChildren(widget, className="QPushButton"):
            if button.visible:
                needed = qt.QFontMetrics(button.font).horizontalAdvance(button.text)
                self.assertGreaterEqual(button.width, needed, f"{button.name}: {button.text}")


class PanelCase(LegibleCase):
    """Each test starts with an empty scene, the module open and a tiny bundle chosen."""

    @classmethod
    def setUpClass(cls):
        if missing := missing_packages(runtime="torch"):
            raise unittest.SkipTest(f"not installed: {', '.join(missing)}")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        slicer.util.mainWindow().resize(1500, 980)
        cls.bundle = testing.tiny_bundle(Path(cls.folder.name) / "tiny")

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule("ICHMultiTask")
        self.takePanel()
        self.settle()
        self.panel.analyze.useBundle(str(self.bundle))

    def tearDown(self):
        slicer.mrmlScene.Clear(0)

    def takePanel(self):
        """Use the panel that the module has now."""
        self.panel = slicer.modules.ICHMultiTaskWidget.panel
        self.state, self.logic = self.panel.state, self.panel.logic
        self.ui, self.attention = self.panel.analyze.ui, self.panel.attention.ui

    @property
    def parameters(self):
        return self.state.parameters

    def settle(self):
        """Wait until the panel has followed what happened, and all work has ended."""
        for _turn in range(3):
            slicer.app.processEvents()
        timers = self.panel.compare._timer, self.panel._updateTimer, self.panel.fitter.timer
        self.waitFor(lambda: not self.state.queue.busy and not any(timer.isActive() for timer in timers))
        for _turn in range(3):
            slicer.app.processEvents()

    def waitFor(self, condition, seconds=240):
        """Run the event loop until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "waited too long")
            slicer.app.processEvents()
            time.sleep(0.005)

    @contextlib.contextmanager
    def alive(self, seconds=FREEZE_SECONDS):
        """Fail if the window stands still for too long meanwhile: a timer of 20 ms must keep ticking.

        What counts is the processor time of the window's own thread: other work on the machine stretches the clock.
        """
        ticks = [(time.thread_time(), time.monotonic())]
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: ticks.append((time.thread_time(), time.monotonic())))
        timer.start(20)
        yield
        timer.stop()
        gaps = itertools.pairwise([*ticks, (time.thread_time(), time.monotonic())])
        busy, waited = max((later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in gaps)
        print(f"{self.id().rpartition('.')[2]}: longest standstill {busy:.2f} s of work, {waited:.2f} s by the clock")
        self.assertLess(busy, seconds)

    def load(self, **shape):
        node = volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom(**shape), "Head CT")
        self.settle()
        return node

    def analyze(self, **shape):
        node = self.load(**shape)
        self.ui.analyzeButton.click()
        self.settle()
        return node

    def screenshot(self, name):
        folder = os.environ.get("ICHMULTITASK_SCREENSHOTS")
        if folder:
            for _n in range(10):
                slicer.app.processEvents()
                time.sleep(0.02)
            slicer.util.mainWindow().grab().save(str(Path(folder) / f"{name}.png"))


def run(case):
    """Run a class of tests and leave the application with their status."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    slicer.util.exit(0 if result.wasSuccessful() and result.testsRun else 1)
