"""Legible and quick, in the running application: small screens, dark themes, decimals, the bleed, standstills.

Run by `Testing/test_panel_application.py`, or in Slicer:
`Slicer --testing --additional-module-paths ICHMultiTask ICHMultiTaskTraining --python-script <this file>`.
With ICHMULTITASK_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

import os
import sys
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer

sys.path.insert(0, str(Path(__file__).parent))
from panel_case import PanelCase, run  # noqa: E402

from ICHMultiTaskLib.analysis.analyzer import Analyzer  # noqa: E402
from ICHMultiTaskLib.mrml import acquisition, results, scene, translation, volumes  # noqa: E402
from ICHMultiTaskLib.mrml.sample_data import show_sample, simulate_sample  # noqa: E402
from ICHMultiTaskLib.panel import colors  # noqa: E402
from ICHMultiTaskLib.scan.reading import read_head_ct  # noqa: E402

DATA = Path(os.environ.get("ICHMULTITASK_DATA", Path(__file__).parents[3] / "shared" / "data"))


def contrast(first, second):
    """Contrast of two colors by WCAG 2: 1 for equal ones, 21 for black on white."""

    def luminance(color):
        color = qt.QColor(color)
        parts = np.array([color.red(), color.green(), color.blue()]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722) + 0.05

    low, high = sorted((luminance(first), luminance(second)))
    return high / low


class ICHMultiTaskLegibleTest(PanelCase):
    """What a surgeon sees, on the simulated patient with the shipped model."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.patient = simulate_sample()

    def setUp(self):
        super().setUp()
        slicer.util.mainWindow().resize(1366, 768)
        self.parameters.bundleFolder = ""
        self.settle()

    def tearDown(self):
        super().tearDown()
        slicer.util.mainWindow().resize(1500, 980)

    def analyzedSample(self):
        node = show_sample(self.patient)
        self.settle()
        self.ui.analyzeButton.click()
        self.settle()
        return node

    def viewport(self):
        areas = slicer.util.findChildren(slicer.util.mainWindow(), className="QScrollArea")
        return next(area for area in areas if area.isAncestorOf(self.panel.analyze.widget)).viewport()

    def assertSeen(self, widget):
        """It lies within the panel's visible part, which is not scrolled."""
        viewport = self.viewport()
        top, bottom = (widget.mapTo(viewport, qt.QPoint(0, y)).y() for y in (0, widget.height))
        self.assertTrue(widget.visible and 0 <= top < bottom <= viewport.height, f"{widget.name}: {top} to {bottom}")

    def test_resultWarningsAndButtonsAreSeenOnASmallScreen(self):
        dock = slicer.util.findChild(slicer.util.mainWindow(), "PanelDockWidget")
        width = dock.width
        node = self.analyzedSample()
        volumes.add_warning(node, "Slices are 7.4 mm apart in the upper half and 4.2 mm in the lower one.")
        volumes.add_warning(
            node, "The scan seems to end before the vertex; hemorrhage beyond its last slice is not seen."
        )
        self.ui.analyzeButton.click()
        self.settle()
        self.screenshot("small")
        self.assertEqual(len(self.panel.analyze.state.result().warnings), 2)
        for widget in (self.ui.warningsLabel, self.ui.headlineButton, self.ui.mortalityLabel, self.ui.useLabel,
                       self.ui.tableButton, self.ui.reportButton):  # fmt: skip
            self.assertSeen(widget)
        for section in (self.panel.compare, self.panel.clinical, self.panel.attention, self.panel.repeat):
            section.widget.collapsed = False
        self.panel.compare.ui.markButton.click()
        self.settle()
        self.assertTrue(self.panel.compare.ui.comparisonWidget.visible)
        self.assertNothingIsCut(self.panel.analyze.widget.parent())
        self.assertEqual(dock.width, width, "no jump as the table appears")
        self.assertLess(width, 430)
        needed = self.panel.analyze.widget.parent().layout().minimumSize().width()
        self.assertLessEqual(needed, self.panel.analyze.widget.parent().width, "all sections fit in")
        table = self.panel.compare.ui.comparisonTable
        self.assertFalse(table.verticalScrollBar().visible or table.horizontalScrollBar().visible)

    def test_bothThemesAreLegible(self):
        node, light = self.analyzedSample(), slicer.app.palette()
        dark = qt.QPalette(light)
        for role, color in (("Window", "#353535"), ("WindowText", "#ffffff"), ("Base", "#2a2a2a"), ("Text", "#ffffff"),
                            ("Button", "#353535"), ("ButtonText", "#ffffff"), ("Link", "#4aa3ff")):  # fmt: skip
            dark.setColor(getattr(qt.QPalette, role), qt.QColor(color))
        self.addCleanup(slicer.app.setPalette, light)
        for palette, is_dark in ((light, False), (dark, True)):
            slicer.app.setPalette(palette)
            slicer.app.processEvents()
            self.assertEqual(colors.is_dark(), is_dark)
            for color in (colors.quiet(), colors.disagrees()):
                self.assertGreater(contrast(color, palette.window().color()), 4.5)
            self.state.changed()
            self.settle()
            self.assertIn(palette.windowText().color().name(), self.ui.headlineButton.styleSheet)
            self.assertIn(colors.quiet(), self.panel.findings.ui.locationSource.text)
            self.screenshot("dark" if is_dark else "light")
        self.assertGreater(contrast("#5c4400", "#fff3cd"), 4.5)
        self.assertIsNotNone(results.result_node(node, "attention"))

    def test_aLargeFontCutsNoButtonAndNoNameOfAMethod(self):
        usual, large = slicer.app.font(), qt.QFont(slicer.app.font())
        large.setPointSize(14)
        self.addCleanup(slicer.app.setFont, usual)
        slicer.app.setFont(large)
        self.analyzedSample()
        self.panel.compare.widget.collapsed = False
        self.panel.compare.ui.markButton.click()
        self.settle()
        self.screenshot("large_font")
        for button in slicer.util.findChildren(self.panel.compare.widget, className="QPushButton"):
            if button.visible:
                needed = qt.QFontMetrics(button.font).horizontalAdvance(button.text)
                self.assertGreaterEqual(button.width, needed, button.text)
        table = self.panel.compare.ui.comparisonTable
        for row in range(table.rowCount):
            if table.columnSpan(row, 0) == 1:
                needed = qt.QFontMetrics(table.item(row, 0).font()).horizontalAdvance(table.item(row, 0).text())
                self.assertGreater(table.columnWidth(0), needed, table.item(row, 0).text())

    def test_numbersHaveTheSystemsDecimalSign(self):
        node = self.analyzedSample()
        with mock.patch.object(translation, "decimal_sign", lambda: ","):
            self.state.changed()
            self.settle()
            volume = f"{self.logic.analysis.facts_of(node)['volume_ml']:.1f} mL".replace(".", ",")
            self.assertEqual(self.ui.headlineButton.text, volume)
            self.assertTrue(self.ui.scanSelector.currentText.endswith(volume))
        table = results.result_node(node, "table")
        self.assertIn(".", table.GetCellText(0, 1), "what programs read keeps the point")
        self.state.changed()
        self.settle()

    def test_theVolumeLeadsToTheBleedAndTheArrowsThroughIt(self):
        self.analyzedSample()
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.ui.headlineButton.click()
        slicer.app.processEvents()
        middle, matrix = red.GetSliceOffset(), red.GetSliceToRAS()
        blood = np.argwhere(self.patient.mask)[:, ::-1].mean(axis=0)
        center = (self.patient.head_ct.ijk_to_ras @ [*blood, 1])[:3]
        found = [matrix.GetElement(row, 3) for row in range(3)]
        self.assertLess(np.linalg.norm(found - center), 15)
        up, _right, down, _left = self.panel.analyze._arrows
        up.activated()
        step = red.GetSliceOffset() - middle
        self.assertGreater(step, 0.5)
        down.activated()
        down.activated()
        self.assertAlmostEqual(red.GetSliceOffset(), middle - step, delta=0.1)
        self.panel.analyze.bleed.show_next()
        self.assertLess(abs(red.GetSliceOffset() - middle), 30)

    def test_theMapHasAScaleOnScreen(self):
        self.analyzedSample()
        self.assertEqual(self.scales(), 1)
        self.screenshot("scale")
        self.attention.overlayBox.checked = False
        self.settle()
        self.assertEqual(self.scales(), 0)
        self.attention.overlayBox.checked = True
        self.settle()
        self.assertEqual(self.scales(), 1)

    @staticmethod
    def scales():
        """Number of color scales in the red view."""
        view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        view.forceRender()
        renderers = view.renderWindow().GetRenderers()
        actors = [a for r in map(renderers.GetItemAsObject, range(renderers.GetNumberOfItems())) for a in _flat(r)]
        return len({actor for actor in actors if "ScalarBar" in actor.GetClassName() and actor.GetVisibility()})

    def tiltedScan(self):
        """Folder of a real head without a bleed, whose slices are tilted and unevenly spaced."""
        archive = DATA / "ge_head_tilt18_variable_spacing.zip"
        if not archive.is_file():
            self.skipTest(f"{archive} is missing")
        folder = Path(self.folder.name) / "ge"
        if not folder.is_dir():
            zipfile.ZipFile(archive).extractall(folder)
        return folder

    def assertAsByTheCommand(self, folder):
        """The chosen scan, once analyzed, reads what the command reads from the files."""
        node = self.state.scan
        self.ui.analyzeButton.click()
        self.settle()
        facts = self.logic.analysis.facts_of(node)
        self.assertIsNotNone(facts, self.ui.statusLabel.text)
        expected = Analyzer(device="cpu").analyze(read_head_ct(folder), attention=False)
        print(f"{self.id().rpartition('.')[2]}: {facts['volume_ml']:.3f} mL, the command {expected.volume_ml:.3f} mL")
        self.assertAlmostEqual(facts["volume_ml"], expected.volume_ml, delta=0.02 * expected.volume_ml)
        self.assertEqual(facts["hemorrhage"], expected.hemorrhage.value)

    def test_aTiltedScanFromTheDatabaseIsThatOfTheCommand(self):
        if not hasattr(slicer.modules, "dicom"):
            self.skipTest("the application has no DICOM module")
        from DICOMLib import DICOMUtils

        folder = self.tiltedScan()
        with DICOMUtils.TemporaryDICOMDatabase(str(Path(self.folder.name) / "database")) as database:
            self.assertTrue(DICOMUtils.importDicom(str(folder), database))
            for patient in database.patients():
                DICOMUtils.loadPatientByUID(patient)
            slicer.util.selectModule("ICHMultiTask")  # an import opens the DICOM module
            self.settle()
            node = self.state.scan
            self.assertIsNotNone(node)
            files = acquisition.source_files(node)
            self.assertEqual(len(files), node.GetImageData().GetDimensions()[2])
            self.assertTrue(all(path.is_relative_to(folder) for path in files), "found by their instance UIDs")
            self.assertAsByTheCommand(folder)
            self.screenshot("database")

    def test_aTiltedScanLoadedByItsFilesIsThatOfTheCommand(self):
        folder = self.tiltedScan()
        slicer.util.loadVolume(str(sorted(folder.rglob("*.dcm"))[0]), {"singleFile": False})
        self.settle()
        self.assertAsByTheCommand(folder)
        bounds, red = np.zeros(6), slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.state.scan.GetRASBounds(bounds)
        self.assertAlmostEqual(red.GetSliceOffset(), bounds[4:].mean(), delta=10, msg="in the middle, not in the neck")
        self.screenshot("tilted")
        self.assertFalse(self.ui.mortalityLabel.visible)
        for widget in (self.ui.warningsLabel, self.ui.headlineButton, self.ui.reportButton):
            self.assertSeen(widget)
        self.assertNothingIsCut(self.panel.analyze.widget)

    def test_keysAndTour(self):
        qt.QSettings().remove("ICHMultiTask/TourDone")
        self.state.changed()
        self.settle()
        self.assertTrue(self.panel.tour.widget.visible)
        self.assertIn("1 of 4", self.panel.tour.ui.tourLabel.text)
        node = show_sample(self.patient)
        self.settle()
        keys = {shortcut.key.toString(): shortcut for shortcut in self.panel._shortcuts}
        self.assertEqual(set(keys), {"Shift+A", "Shift+N", "Shift+M", "Shift+O"})
        keys["Shift+A"].activated()
        self.settle()
        self.assertIsNotNone(self.logic.analysis.facts_of(node))
        self.assertIn("3 of 4", self.panel.tour.ui.tourLabel.text)
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        keys["Shift+M"].activated()
        self.assertIsNone(red.GetForegroundVolumeID())
        keys["Shift+M"].activated()
        self.assertIsNotNone(red.GetForegroundVolumeID())
        keys["Shift+N"].activated()
        self.panel.tour.ui.closeTourButton.click()
        self.assertFalse(self.panel.tour.widget.visible)

    def test_everyControlHasAHelpText(self):
        for kind in ("QPushButton", "QToolButton", "QComboBox", "QSpinBox", "QCheckBox", "ctkSliderWidget"):
            for widget in slicer.util.findChildren(self.panel.analyze.widget.parent(), className=kind):
                ours = any(section.ui.__dict__.get(widget.name) is widget for section in self.panel.sections)
                self.assertTrue(widget.toolTip or not ours or not widget.enabled, f"{kind} {widget.name}")

    def test_windowStaysAlive(self):
        """What this software does; the application's own widgets are made once, before they are measured."""
        node, compare = self.analyzedSample(), self.panel.compare
        compare.widget.collapsed = False
        with self.alive():
            compare.ui.markButton.click()
            self.settle()
        with self.alive():
            self.attention.attentionStageSelector.currentIndex = 0
            self.settle()
        with self.alive():
            self.ui.headlineButton.click()
            self.settle()
        with self.alive():
            compare.ui.diametersBox.checked = True
            self.settle()
        with self.alive():
            self.panel.analyze.saveReport(self.folder.name)
            self.settle()
        compare.ui.sideBySideButton.click()
        self.settle()
        compare.ui.sideBySideButton.click()
        self.settle()
        with self.alive():
            compare.ui.sideBySideButton.click()
            self.settle()
        compare.ui.sideBySideButton.click()
        self.settle()
        self.assertEqual(self.ui.statusLabel.text.count("Report saved"), 1)
        self.assertIsNotNone(scene.nodes_of_class(slicer.mrmlScene, "vtkMRMLSegmentationNode"))
        self.assertIs(self.state.scan, node)


def _flat(renderer):
    collection = renderer.GetActors2D()
    return [collection.GetItemAsObject(n) for n in range(collection.GetNumberOfItems())]


if __name__ == "__main__":
    run(ICHMultiTaskLegibleTest)
