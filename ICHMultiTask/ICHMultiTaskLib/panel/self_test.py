"""Self test of the logic on real nodes, with a tiny untrained network: only the numbers are meaningless."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer

from ..common.background import BackgroundTask
from ..common.errors import BundleError, Canceled, InputError
from ..model import testing
from ..mrml import results
from ..mrml.scene import create_scene
from ..mrml.volumes import head_ct_to_node, ijk_to_ras_of, set_voxels
from .dependencies import missing_packages
from .logic import Logic


class LogicTest:
    """Runs in the application and, with a TestCase, on slicer-core."""

    logicClass = Logic

    def setUp(self) -> None:
        """An empty scene with a scan, and a tiny bundle."""
        self.scene = create_scene()
        self.scene.Clear(0)
        self.addCleanup(self.scene.Clear, 0)
        if missing := missing_packages(runtime="torch"):
            self.skipTest(f"not installed: {', '.join(missing)}")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.bundle = testing.tiny_bundle(Path(self.folder.name) / "tiny")
        self.logic = self.logicClass()
        self.volume = head_ct_to_node(self.scene, testing.phantom(), "Head CT")

    def test_processShowsMapAndTable(self) -> None:
        messages = []
        shown = self.logic.process(self.volume, lambda fraction, text: messages.append(text), bundle=self.bundle)
        self.assertEqual(shown.attention.GetImageData().GetDimensions(), self.volume.GetImageData().GetDimensions())
        rows = [shown.table.GetCellText(row, 0) for row in range(shown.table.GetNumberOfRows())]
        self.assertIn("Hematoma volume", rows)
        self.assertIn("Attention map", messages)

    def test_secondRunReplacesTheFirst(self) -> None:
        self.logic.process(self.volume, bundle=self.bundle)
        count = self.scene.GetNumberOfNodes()
        self.logic.process(self.volume, bundle=self.bundle)
        self.assertEqual(self.scene.GetNumberOfNodes(), count)

    def test_anotherMapNeedsNoSecondRun(self) -> None:
        shown = self.logic.process(self.volume, bundle=self.bundle)
        analysis = self.logic.analysis
        node = analysis.show_attention(analysis.attention_work(self.volume, "prognosis", "stage2", "layercam")(None))
        self.assertIs(node, shown.attention)
        self.assertEqual(node.GetAttribute("ICHMultiTask.stage"), "stage2")

    def test_cancelLeavesNothing(self) -> None:
        task = BackgroundTask(self.logic.analysis.work(self.volume, self.bundle))
        task.cancel()
        with self.assertRaises(Canceled):
            task.result()
        self.assertIsNone(results.result_node(self.volume, "table"))
        self.assertIsNone(self.logic.analysis.analysis_of(self.volume))

    def test_sceneClosedMidRunIsHarmless(self) -> None:
        task = BackgroundTask(self.logic.analysis.work(self.volume, self.bundle))
        self.scene.Clear(0)
        with self.assertRaises(InputError):
            self.logic.analysis.show(task.result())
        self.assertEqual(self.scene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)

    def test_compareFillsTheTables(self) -> None:
        self.logic.process(self.volume, bundle=self.bundle)
        hu, drawn = slicer.util.arrayFromVolume(self.volume), slice(50, 80)
        labels = self.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Dr. A")
        set_voxels(labels, (hu[:, drawn, drawn] > 55).astype("uint8"), ijk_to_ras_of(self.volume))
        measured = self.logic.comparison.compare(self.volume, labels).comparison.segments[0].measures
        self.assertEqual(measured.voxels, (hu[:, drawn, drawn] > 55).sum())
        table = results.result_node(self.volume, "volume comparison")
        self.assertEqual([table.GetCellText(row, 1) for row in (0, 1, 2)], ["Model", "Planimetry", "ABC/2"])
        self.assertEqual(table.GetCellText(1, 2), f"{measured.volume_ml:.1f}")

    def test_reportIsSavedBesideEarlierOnes(self) -> None:
        self.logic.process(self.volume, bundle=self.bundle)
        pages = [self.logic.report_work(self.volume, self.folder.name)(lambda fraction, text: None) for n in range(2)]
        self.assertEqual([page.parent.name for page in pages], ["Head-CT-report", "Head-CT-report-2"])
        self.assertIn("Random weights", pages[1].read_text(encoding="utf-8"))

    def test_errorsAreOurOwn(self) -> None:
        with self.assertRaises(InputError):
            self.logic.process(None, bundle=self.bundle)
        with self.assertRaises(BundleError):
            self.logic.process(self.volume, bundle=self.folder.name)
        with self.assertRaises(InputError):  # nothing has been analyzed
            self.logic.report_work(self.volume, self.folder.name)
