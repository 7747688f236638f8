"""Compare, Clinical, Repeat scan and Cohort in the running application, and what a careless user does to them.

Run by `Testing/test_panel_application.py`, or in Slicer:
`Slicer --testing --additional-module-paths ICHMultiTask ICHMultiTaskTraining --python-script <this file>`.
With ICHMULTITASK_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

import sys
from pathlib import Path

import numpy as np
import qt
import slicer

sys.path.insert(0, str(Path(__file__).parent))
from panel_case import PanelCase, run  # noqa: E402

from ICHMultiTaskLib.analysis.marking import Marking  # noqa: E402
from ICHMultiTaskLib.model import testing  # noqa: E402
from ICHMultiTaskLib.mrml import layout, results, scene, volumes  # noqa: E402
from ICHMultiTaskLib.panel.scan_table import ScanTableDialog  # noqa: E402

COHORT = "patient_id,volume_ml,predicted_volume_ml,rater_1\na,10,11,9\nb,20,19,26\nc,30,33,31\n"


class ICHMultiTaskCompareTest(PanelCase):
    """The sections below the attention overlay."""

    def setUp(self):
        super().setUp()
        self.compare, self.clinical = self.panel.compare, self.panel.clinical
        self.repeat, self.cohort = self.panel.repeat, self.panel.cohort
        layout.layout_node(slicer.mrmlScene).SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for section in (self.compare, self.clinical, self.repeat, self.cohort):
            section.widget.collapsed = False

    def draw(self, scan, name="Dr. A", threshold=60):
        """A segmentation of what is dense, inside the skull."""
        hu = slicer.util.arrayFromVolume(scan)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
        segmentID = node.GetSegmentation().AddEmptySegment("", "Hemorrhage", (0.9, 0.2, 0.2))
        mask = ((hu > threshold) & (hu < 120)).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentID, scan)
        return node, segmentID

    def compared(self, *names):
        """An analyzed scan and the segmentations of some readers, all ticked."""
        scan = self.analyze()
        drawn = [self.draw(scan, name) for name in names]
        self.settle()
        self.compare.state.tick(self.compare.state.choices)
        self.settle()
        return scan, drawn

    def table(self):
        widget = self.compare.ui.comparisonTable
        text = [
            [item.text() if (item := widget.item(row, column)) else "" for column in range(widget.columnCount)]
            for row in range(widget.rowCount)
        ]
        return {row[0]: row[1:] for row in text}

    def test_scanAndSegmentAreAddedToATable(self):
        scan = self.load()
        self.draw(scan)
        self.settle()
        self.panel.compare.refresh()
        self.settle()
        ui, compare = self.panel.compare.ui, self.panel.compare
        self.panel.compare.widget.collapsed = False
        self.assertTrue(ui.addToTableButton.enabled)
        dialog = ScanTableDialog(compare.scanTable.proposed_patient(), compare.current().short_name)
        add = dialog.addButton
        table = Path(self.folder.name) / "table.csv"
        self.assertFalse(add.enabled)
        dialog.path.text, dialog.outcome.currentIndex = str(table), 2
        self.assertTrue(add.enabled)
        compare.addToTable(compare.current(), *dialog.answer())
        self.settle()
        self.assertRegex(ui.tableLabel.text, r"^Added to table.csv: \d+\.\d mL of .* It holds 1 scans now")
        self.assertTrue(ui.tableLabel.visible)
        self.assertIn("images/", table.read_text(encoding="utf-8"))
        self.assertNothingIsCut(compare.widget)
        self.screenshot("compare-table")

    def test_nothingToCompareWithIsSaid(self):
        self.settle()
        self.assertIn("no segment in the scene", self.compare.ui.noComparisonLabel.text)
        scan = self.load()
        self.draw(scan)
        self.draw(scan, "Dr. B")
        self.settle()
        self.assertIn("Tick the segments", self.compare.ui.noComparisonLabel.text)
        self.compare.state.tick(self.compare.state.choices)
        self.settle()
        self.assertIn("not been analyzed", self.compare.ui.noComparisonLabel.text)
        self.assertFalse(self.compare.ui.comparisonWidget.visible)
        self.assertFalse(self.compare.ui.markButton.enabled)

    def test_onlySegmentIsComparedAfterTheAnalysis(self):
        self.draw(self.load())
        self.settle()
        self.ui.analyzeButton.click()
        self.settle()
        self.settle()
        self.assertTrue(self.compare.ui.comparisonWidget.visible)
        self.assertIn("Planimetry", self.table())
        self.assertEqual(self.compare.ui.segmentList.item(0).checkState(), qt.Qt.Checked)

    def test_planimetryIsThatOfSegmentStatistics(self):
        from SegmentStatistics import SegmentStatisticsLogic

        scan, [(node, segmentID)] = self.compared("Dr. A")
        statistics = SegmentStatisticsLogic()
        statistics.getParameterNode().SetParameter("Segmentation", node.GetID())
        statistics.getParameterNode().SetParameter("ScalarVolume", scan.GetID())
        statistics.computeStatistics()
        found = statistics.getStatistics()
        measures = self.compare.state.compared.comparison.segments[0].measures
        expected = found[segmentID, "LabelmapSegmentStatisticsPlugin.volume_cm3"]
        self.assertGreater(expected, 10)
        self.assertAlmostEqual(measures.volume_ml, expected, places=6)
        mean = found[segmentID, "ScalarVolumeSegmentStatisticsPlugin.mean"]
        self.assertAlmostEqual(measures.hu_mean, mean, places=3)

    def test_tableFollowsTheSegmentEditorAndItsUndo(self):
        scan, [(_node, segmentID)] = self.compared("Dr. A")
        before = self.table()["Planimetry"]
        self.compare.ui.segmentEditorButton.click()
        self.assertEqual(slicer.util.selectedModule(), "SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        self.assertEqual(editor.currentSegmentID(), segmentID)
        self.assertIs(editor.sourceVolumeNode(), scan)
        editor.setActiveEffectByName("Margin")
        editor.activeEffect().setParameter("MarginSizeMm", 8)
        editor.activeEffect().self().onApply()
        slicer.app.processEvents()  # to apply and to draw it is the application's own work; the comparison waits
        with self.alive():
            self.settle()
        grown = results.result_node(scan, "volume comparison").GetCellText(1, 2)
        self.assertGreater(float(grown), float(before[0]) + 1)
        editor.undo()
        self.settle()
        self.assertEqual(results.result_node(scan, "volume comparison").GetCellText(1, 2), before[0])
        slicer.util.selectModule("ICHMultiTask")
        self.settle()
        self.assertEqual(self.table()["Planimetry"], before)

    def test_renamedAndHiddenSegmentsStayChosen(self):
        _scan, [(node, _segmentID)] = self.compared("Dr. A")
        node.SetName("Dr. <C> & 出血")
        node.GetDisplayNode().SetVisibility(False)
        self.settle()
        self.assertEqual(self.compare.ui.segmentList.item(0).text(), "Dr. <C> & 出血, hidden")
        self.assertIn("Dr. <C> & 出血", self.table())
        self.assertIn("Dr. &lt;C&gt; &amp; 出血", self.compare.ui.sentencesLabel.text)

    def test_deletedSegmentationLeavesTableAndLines(self):
        scan, [(first, _), (second, _)] = self.compared("Dr. A", "Dr. B")
        self.compare.ui.diametersBox.checked = True
        self.assertIn("against", self.compare.ui.sentencesLabel.text)
        self.screenshot("compare")
        slicer.mrmlScene.RemoveNode(first)
        self.settle()
        self.assertNotIn("Dr. A", self.table())
        self.assertIn("Dr. B", self.table())
        slicer.mrmlScene.RemoveNode(second)
        self.settle()
        self.assertFalse(self.compare.ui.comparisonWidget.visible)
        self.assertIsNone(results.result_node(scan, "volume comparison"))
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode"), 0)

    def test_deletedWhileItIsCompared(self):
        _scan, [(node, _segmentID)] = self.compared("Dr. A")
        self.compare.state.edited()
        self.compare.refresh()
        self.assertIsNotNone(self.state.queue.job("compare"))
        slicer.mrmlScene.RemoveNode(node)
        self.settle()
        self.assertFalse(self.compare.ui.comparisonWidget.visible)

    def test_sceneClosedWhileItIsCompared(self):
        self.compared("Dr. A")
        self.compare.ui.sideBySideButton.click()
        self.compare.state.edited()
        self.compare.refresh()
        slicer.mrmlScene.Clear(0)
        self.settle()
        self.assertFalse(layout.is_side_by_side(slicer.mrmlScene))
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)
        self.assertFalse(self.compare.ui.comparisonWidget.visible)

    def test_windowStaysAliveWhileReadersAreCompared(self):
        scan = self.analyze(shape_kji=(32, 512, 512), spacing_kji=(5.0, 0.45, 0.45))
        for reader in ("Dr. A", "Dr. B", "Dr. C"):
            self.draw(scan, reader)
        self.settle()  # what was drawn is on show
        with self.alive():
            self.compare.state.tick(self.compare.state.choices)
            self.settle()
        self.assertEqual(len(self.compare.state.compared.comparison.readers), 3)

    def test_sideBySideAndBack(self):
        scan, [(node, _segmentID)] = self.compared("Dr. A")
        self.compare.ui.sideBySideButton.click()
        slicer.app.processEvents()
        self.screenshot("side_by_side")
        widgets = [slicer.app.layoutManager().sliceWidget(name) for name in (layout.LEFT, layout.RIGHT)]
        logics = [widget.sliceLogic() for widget in widgets]
        attention = results.result_node(scan, "attention")
        self.assertEqual([logic.GetSliceCompositeNode().GetForegroundVolumeID() for logic in logics],
                         [attention.GetID(), None])  # fmt: skip
        self.assertFalse(node.GetDisplayNode().IsDisplayableInView(widgets[0].mrmlSliceNode().GetID()))
        self.assertTrue(node.GetDisplayNode().IsDisplayableInView(widgets[1].mrmlSliceNode().GetID()))
        widgets[0].sliceController().setSliceOffsetValue(12.0)
        slicer.app.processEvents()
        self.assertAlmostEqual(widgets[1].mrmlSliceNode().GetSliceOffset(), 12.0, places=3)
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.app.processEvents()
        self.assertFalse(self.compare.ui.sideBySideButton.checked)
        self.assertEqual(node.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)

    def test_markedBleedIsTickedAndComparedAndOpensInTheEditor(self):
        self.parameters.bundleFolder = ""
        scan = self.analyze()
        self.settle()
        with self.alive():
            self.compare.ui.markButton.click()
            self.settle()
        self.settle()
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        self.assertIsNotNone(node, self.compare.ui.remarksLabel.text)
        measures = self.compare.state.compared.comparison.segments[0].measures
        self.assertGreater(measures.volume_ml, 0.5 * testing.HEMATOMA_ML)
        found = measures.a_line_ras_mm.mean(axis=0)
        hu = slicer.util.arrayFromVolume(scan)
        blood = np.argwhere((hu > 60) & (hu < 90))[:, ::-1]
        center = np.median(blood, axis=0) @ volumes.ijk_to_ras_of(scan)[:3, :3].T + volumes.ijk_to_ras_of(scan)[:3, 3]
        self.assertLess(np.linalg.norm(found - center), 20)
        with self.alive():
            self.compare.ui.segmentEditorButton.click()
            self.settle()
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        self.assertIs(editor.segmentationNode(), node)
        self.assertIs(editor.sourceVolumeNode(), scan)

    def test_notesOnTheDraftEndWithItsCorrection(self):
        scan = self.analyze()
        mask = np.zeros(slicer.util.arrayFromVolume(scan).shape, bool)
        mask[12:15, 60:70, 60:70] = True
        marking = Marking(mask, 5.832, 9.0, (5.832,), False, ("The borders enclose less.",))
        self.compare.state._marked((scan, self.logic.analysis.analysis_of(scan), marking))
        self.settle()
        self.assertIn("The borders enclose less.", self.compare.ui.remarksLabel.text)
        # Qt guesses otherwise, and shows &#x27; for an apostrophe where one sentence alone has no markup.
        self.assertEqual(self.compare.ui.remarksLabel.textFormat, qt.Qt.RichText)
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        mask[15] = mask[14]
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), node, node.GetSegmentation().GetNthSegmentID(0), scan
        )
        self.settle()
        self.assertAlmostEqual(self.compare.state.compared.comparison.segments[0].measures.volume_ml, 7.776)
        self.assertNotIn("The borders enclose less.", self.compare.ui.remarksLabel.text)
        nothing = Marking(np.zeros_like(mask), 0.0, 9.0, (), False, ("Nothing is marked.",))
        self.compare.state._marked((scan, self.logic.analysis.analysis_of(scan), nothing))
        self.settle()
        self.assertIn("Nothing is marked.", self.compare.ui.remarksLabel.text)
        self.load()
        self.settle()
        self.assertNotIn("Nothing is marked.", self.compare.ui.remarksLabel.text)

    def test_findingsAndScoreBelongToTheScan(self):
        self.parameters.bundleFolder = ""
        scan, ui, clinical = self.analyze(), self.panel.findings.ui, self.clinical.ui
        self.settle()
        self.assertIn("from the scan", ui.locationSource.text)
        self.assertIn("GCS", ui.scoreLabel.text)
        ui.age.value, ui.gcs.value = 81, 9
        ui.location.currentIndex = ui.location.findData("thalamus")
        ui.location.activated(ui.location.currentIndex)
        ui.ivh.currentIndex = 2
        ui.ivh.activated(2)
        self.settle()
        self.assertIn("ICH score", ui.scoreLabel.text)
        self.assertIn("entered", ui.locationSource.text)
        self.assertIn("found: ", ui.locationSource.text)
        self.assertIn("Hemphill", clinical.scoresLabel.text)
        self.assertIn("Needs NIHSS, oral anticoagulation", clinical.scoresLabel.text)
        self.assertIn("Model", clinical.scoresLabel.text)
        self.assertNothingIsCut(self.panel.findings.widget)
        self.assertNothingIsCut(self.clinical.widget)
        self.screenshot("findings")
        ui.locationSource.linkActivated("location")
        self.settle()
        self.assertIn("from the scan", ui.locationSource.text)
        self.load()
        self.settle()
        self.assertEqual(ui.age.text, "unknown")
        self.panel.state.choose(scan)
        self.settle()
        self.assertEqual((ui.age.value, ui.gcs.value), (81, 9))
        clinical.clearButton.click()
        self.settle()
        self.assertEqual(ui.gcs.text, "unknown")

    def test_growthSinceAnEarlierScan(self):
        earlier = volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom(), "Earlier")
        matrix = np.eye(4)
        matrix[:3, 3] = 9, -6, 4
        later = volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom(), "Later")
        later.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix @ volumes.ijk_to_ras_of(later)))
        self.state.choose(later)
        self.settle()
        self.assertFalse(self.repeat.ui.growthButton.enabled)
        self.assertEqual(self.repeat.ui.earlierSelector.count, 2)
        self.parameters.earlierVolume = earlier
        self.settle()
        self.assertTrue(self.repeat.ui.growthButton.enabled)
        with self.alive():
            self.repeat.ui.growthButton.click()
            self.settle()
        self.assertTrue(self.repeat.ui.verdictLabel.text)
        self.assertTrue(self.ui.resultWidget.visible)
        np.testing.assert_allclose(
            volumes.world_affine(earlier)[0][:3, 3], volumes.ijk_to_ras_of(later)[:3, 3], atol=1.5
        )
        self.repeat.ui.repeatViewsButton.click()
        self.settle()
        self.assertIs(layout.volume_on(slicer.mrmlScene, layout.LEFT), earlier)
        self.screenshot("repeat")
        slicer.mrmlScene.RemoveNode(earlier)
        self.settle()
        self.assertFalse(self.repeat.ui.verdictLabel.visible)
        self.assertFalse(self.repeat.ui.growthButton.enabled)

    def test_growthCanceledAndSceneClosed(self):
        earlier = volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom(), "Earlier")
        self.load()
        self.parameters.earlierVolume = earlier
        self.settle()
        self.repeat.ui.growthButton.click()
        slicer.app.processEvents()
        self.assertEqual(self.repeat.ui.growthButton.text, "Cancel")
        self.repeat.ui.growthButton.click()
        self.settle()
        self.assertEqual(self.repeat.ui.growthStatusLabel.text, "Canceled.")
        self.assertIsNone(earlier.GetParentTransformNode())
        self.repeat.ui.growthButton.click()
        slicer.mrmlScene.Clear(0)
        self.settle()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)

    def test_cohortIsATableAndAReport(self):
        path = Path(self.folder.name) / "cohort.csv"
        path.write_text(COHORT, encoding="utf-8")
        self.assertFalse(self.cohort.ui.cohortCompareButton.enabled)
        self.cohort.ui.cohortPath.currentPath = str(path)
        self.cohort.ui.cohortCompareButton.click()
        self.settle()
        table = slicer.mrmlScene.GetFirstNodeByName("cohort comparison")
        self.assertEqual(table.GetCellText(0, 0), "Model")
        self.assertIn("Patients: 3.", self.cohort.ui.cohortStatusLabel.text)
        self.screenshot("cohort")
        path.write_text("patient_id,weight\na,3\n", encoding="utf-8")
        self.cohort.ui.cohortCompareButton.click()
        self.settle()
        self.assertIn("No column was recognized as the reference", self.cohort.ui.cohortStatusLabel.text)

    def test_choicesComeBackWithTheScene(self):
        self.compared("Dr. A", "Dr. B")
        path = scene.save_mrb(slicer.mrmlScene, Path(self.folder.name) / "compared.mrb")
        slicer.mrmlScene.Clear(0)
        slicer.mrmlScene.ReadFromMRB(str(path), True)
        self.settle()
        self.assertEqual(len(self.compare.state.ticked()), 2)


if __name__ == "__main__":
    run(ICHMultiTaskCompareTest)
