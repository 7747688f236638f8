"""The panel in the running application: clicks, cancels, closed scenes, and how long the window stands still.

Run by `Testing/test_panel_application.py`, or in Slicer:
`Slicer --testing --additional-module-paths ICHMultiTask ICHMultiTaskTraining --python-script <this file>`.
With ICHMULTITASK_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

import sys
from pathlib import Path
from unittest import mock

import slicer

sys.path.insert(0, str(Path(__file__).parent))
from panel_case import PanelCase, run  # noqa: E402

from ICHMultiTaskLib.mrml import results, scene  # noqa: E402
from ICHMultiTaskLib.mrml.parameters import AttentionMethod  # noqa: E402
from ICHMultiTaskLib.panel import analyze_state  # noqa: E402


class ICHMultiTaskPanelTest(PanelCase):
    """The panel's first sections: scan, result, attention overlay."""

    def test_nothingToAnalyze(self):
        self.assertFalse(self.ui.analyzeButton.enabled)
        self.assertIn("Choose a head CT first", self.ui.analyzeButton.toolTip)
        self.assertFalse(self.ui.resultWidget.visible)
        self.screenshot("empty")

    def test_analyzeShowsResultAndOverlay(self):
        node = self.load()
        self.assertTrue(self.ui.analyzeButton.enabled)
        self.ui.analyzeButton.click()
        slicer.app.processEvents()
        self.assertEqual(self.ui.analyzeButton.text, "Cancel")
        self.assertFalse(self.ui.modelButton.enabled)
        self.screenshot("running")
        self.settle()
        self.assertEqual(self.ui.analyzeButton.text, "Analyze")
        facts = self.logic.analysis.facts_of(node)
        volume = f"{facts['volume_ml']:.1f} mL"
        if facts["hemorrhage"] == "found":
            self.assertEqual(self.ui.headlineButton.text, volume)
            self.assertRegex(self.ui.mortalityLabel.text, r"^30-day mortality (above |below )?\d+ % \(.* to .*\)$")
        else:
            self.assertIn("emorrhage", self.ui.headlineButton.text)
            self.assertFalse(self.ui.mortalityLabel.visible)
        self.assertIn("Random weights", self.ui.modelLabel.text)
        self.assertIn("not validated on patients", self.ui.useLabel.text)
        self.assertEqual(self.ui.scanSelector.currentText, f"Head CT: {self.ui.headlineButton.text}")
        self.assertNothingIsCut(self.panel.analyze.widget)
        attention = results.result_node(node, "attention")
        for composite in scene.nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetForegroundVolumeID(), attention.GetID())
        self.screenshot("result")
        self.ui.tableButton.click()
        self.screenshot("table")

    def test_windowStaysAlive(self):
        self.load(shape_kji=(64, 512, 512), spacing_kji=(2.6, 0.45, 0.45))
        with self.alive():
            self.ui.analyzeButton.click()
            self.settle()
        self.assertTrue(self.ui.resultWidget.visible)

    def test_doubleClickStartsOnce(self):
        self.load()
        self.ui.analyzeButton.click()
        self.ui.analyzeButton.click()
        self.settle()
        self.assertTrue(self.ui.resultWidget.visible)

    def test_cancel(self):
        node = self.load()
        self.ui.analyzeButton.click()
        self.panel.analyze.state.job.submitted -= 10
        self.ui.analyzeButton.click()
        self.settle()
        self.assertEqual(self.ui.statusLabel.text, "Canceled.")
        self.assertIsNone(results.result_node(node, "table"))
        self.assertEqual(self.ui.analyzeButton.text, "Analyze")

    def test_sceneClosedMidRun(self):
        self.load()
        self.ui.analyzeButton.click()
        slicer.mrmlScene.Clear(0)
        self.settle()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)
        self.assertFalse(self.ui.analyzeButton.enabled)

    def test_volumeDeletedMidRun(self):
        node = self.load()
        self.ui.analyzeButton.click()
        slicer.mrmlScene.RemoveNode(node)
        self.settle()
        self.assertEqual(self.ui.statusLabel.text, "", "what was said of a scan goes with it")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)

    def test_slidersChangeTheOverlay(self):
        node = self.analyze()
        self.attention.opacitySlider.value = 0.75
        self.attention.thresholdSlider.value = 0.6
        slicer.app.processEvents()
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        self.assertAlmostEqual(red.GetForegroundOpacity(), 0.75)
        display = results.result_node(node, "attention").GetDisplayNode()
        self.assertAlmostEqual(display.GetLowerThreshold(), 0.6)

    def test_anotherMapIsShownAtOnce(self):
        node = self.analyze()
        attention = results.result_node(node, "attention")
        before = slicer.util.arrayFromVolume(attention).copy()
        self.attention.attentionHeadSelector.currentIndex = 1
        self.attention.attentionStageSelector.currentIndex = 1
        self.settle()
        self.assertEqual(attention.GetAttribute("ICHMultiTask.head"), "prognosis")
        self.assertEqual(attention.GetAttribute("ICHMultiTask.stage"), "stage2")
        self.assertTrue((slicer.util.arrayFromVolume(attention) != before).any())

    def test_mapIsNotOfferedAsScan(self):
        node = self.analyze()
        self.assertEqual([scan for scan, _text in self.state.scans()], [node])
        self.assertEqual(self.ui.scanSelector.count, 1)

    def test_anotherScanHidesTheResult(self):
        self.analyze()
        self.load()
        self.assertFalse(self.ui.resultWidget.visible)
        self.assertTrue(self.ui.noResultLabel.visible)

    def test_reportIsSaved(self):
        self.analyze()
        with self.alive():
            self.panel.analyze.saveReport(self.folder.name)
            self.settle()
        page = next(Path(self.folder.name).glob("Head-CT-report*/report.html"))
        self.assertIn(page.parent.name, self.ui.statusLabel.text)

    def test_wrongBundleIsSaid(self):
        self.panel.analyze.useBundle(self.folder.name)
        self.settle()
        self.assertIn("is not a model bundle", self.ui.statusLabel.text)

    def test_devicesThatAreMissingCannotBeChosen(self):
        model = self.ui.deviceSelector.model()
        enabled = [model.item(row).isEnabled() for row in range(4)]
        self.assertEqual((enabled[0], enabled[3]), (True, True))
        self.assertEqual(enabled[1:3], [name in self.panel.analyze.state.devices for name in ("cuda", "mps")])

    def test_withoutPyTorchTheOtherMapsCannotBeChosen(self):
        self.analyze()
        button, selector = self.attention.pytorchButton, self.attention.attentionMethodSelector
        saliency = list(AttentionMethod).index(AttentionMethod.SALIENCY)
        self.panel.attention.widget.collapsed = False
        for installed in (False, True):
            with mock.patch.object(analyze_state, "is_installed", lambda library, found=installed: found):
                self.state.changed()
                self.settle()
                self.assertEqual(button.visible, not installed)
                self.assertEqual(selector.itemText(saliency), "Saliency" if installed else "Saliency (needs PyTorch)")
                self.assertEqual(selector.model().item(saliency).isEnabled(), installed)
                self.assertTrue(selector.model().item(0).isEnabled())
                self.screenshot("with-pytorch" if installed else "without-pytorch")

    def test_sceneOpenedWhileThePanelIsOpen(self):
        self.analyze()
        before = self.ui.headlineButton.text
        self.attention.opacitySlider.value = 0.7
        path = scene.save_mrb(slicer.mrmlScene, Path(self.folder.name) / "case.mrb")
        slicer.mrmlScene.Clear(0)
        self.settle()
        self.assertFalse(self.ui.resultWidget.visible)
        self.assertTrue(slicer.mrmlScene.ReadFromMRB(str(path), True), "as the application opens it")
        self.settle()
        self.assertEqual(self.state.scan.GetName(), "Head CT")
        self.assertTrue(self.ui.analyzeButton.enabled)
        self.assertEqual(self.ui.headlineButton.text, before)
        self.assertAlmostEqual(self.attention.opacitySlider.value, 0.7)
        self.assertIsNotNone(results.result_node(self.state.scan, "attention"))
        self.attention.attentionStageSelector.currentIndex = 1
        self.settle()
        attention = results.result_node(self.state.scan, "attention")
        self.assertEqual(attention.GetAttribute("ICHMultiTask.stage"), "stage2", "the network ran again, silently")
        self.screenshot("scene_opened")

    def test_scanLoadedWhileThePanelIsOpenIsChosen(self):
        first = self.analyze()
        second = self.load()
        self.assertIs(self.state.scan, second)
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        self.assertEqual((red.GetBackgroundVolumeID(), red.GetForegroundVolumeID()), (second.GetID(), None))
        self.ui.scanSelector.setCurrentIndex(0)
        self.panel.analyze.onScanSelected(0)
        self.settle()
        self.assertIs(self.state.scan, first)
        self.assertTrue(self.ui.resultWidget.visible)
        self.assertIsNotNone(red.GetForegroundVolumeID())

    def test_deletedScanTakesItsResultsAlong(self):
        node = self.analyze()
        slicer.mrmlScene.RemoveNode(node)
        self.settle()
        for kind in ("vtkMRMLTableNode", "vtkMRMLScalarVolumeNode"):
            self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass(kind), 0)
        self.assertFalse(self.ui.resultWidget.visible)

    def test_changedScanIsSaid(self):
        node = self.analyze()
        self.assertFalse(self.ui.outdatedLabel.visible)
        slicer.util.arrayFromVolume(node)[:] += 5
        slicer.util.arrayFromVolumeModified(node)
        self.settle()
        self.assertIn("were changed since", self.ui.outdatedLabel.text)
        self.assertEqual(self.ui.scanSelector.currentText, "Head CT")
        self.ui.tableButton.click()
        self.settle()
        self.assertIn("press Analyze first", self.ui.statusLabel.text)

    def test_scanLoadedMidRunKeepsItsViews(self):
        first = self.analyze()
        self.ui.tableButton.click()
        self.ui.analyzeButton.click()
        second = self.load()
        self.settle()
        self.assertIs(self.state.scan, second)
        for composite in scene.nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode"):
            if composite.GetLayoutName() in ("Red", "Green", "Yellow"):
                found = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
                self.assertEqual(found, (second.GetID(), None))
        table = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableViewNode").GetTableNode()
        self.assertIsNone(table, "no numbers of the first below the views")
        self.assertIsNotNone(self.logic.analysis.facts_of(first))

    def test_reloadedMidRun(self):
        self.load()
        self.ui.analyzeButton.click()
        slicer.util.reloadScriptedModule("ICHMultiTask")
        self.takePanel()
        self.settle()
        self.assertEqual(self.ui.scanSelector.currentText, "Head CT")
        self.assertTrue(self.ui.analyzeButton.enabled)
        self.parameters.overlayOpacity = 0.7  # no widget of the panel before is told
        self.ui.analyzeButton.click()
        self.settle()
        self.assertTrue(self.ui.resultWidget.visible)
        shortcuts = slicer.util.findChildren(slicer.util.mainWindow(), className="QShortcut")
        active = [found.key.toString() for found in shortcuts if found.enabled]
        self.assertEqual(active.count("Shift+A"), 1, "two would block each other")

    def test_missingModelOfASceneIsListed(self):
        self.parameters.bundleFolder = "/gone/model"
        self.panel.analyze.updateBundles()
        self.assertEqual(self.ui.bundleSelector.currentText, "Missing or damaged: model")
        self.analyze()
        self.assertIn("not a model bundle", self.ui.statusLabel.text)
        self.panel.analyze.onBundleSelected(0)
        self.settle()
        self.assertFalse(self.ui.statusLabel.visible)
        self.ui.analyzeButton.click()
        self.settle()
        self.assertTrue(self.ui.headlineButton.visible)

    def test_leavingThePanelMidRun(self):
        node = self.load()
        self.ui.analyzeButton.click()
        slicer.util.selectModule("Data")
        self.settle()
        self.assertIsNotNone(results.result_node(node, "table"))
        slicer.util.selectModule("ICHMultiTask")
        self.settle()
        self.assertTrue(self.ui.resultWidget.visible)


if __name__ == "__main__":
    run(ICHMultiTaskPanelTest)
