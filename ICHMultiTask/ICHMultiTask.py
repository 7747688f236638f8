"""The ICHMultiTask module of 3D Slicer: registration, panel, logic and self test. The rest: ICHMultiTaskLib."""

import functools
import html
import tempfile
import time
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from ICHMultiTaskLib.common.background import BackgroundTask
from ICHMultiTaskLib.common.errors import Canceled, ICHMultiTaskError
from ICHMultiTaskLib.model import testing
from ICHMultiTaskLib.mrml import layout, results
from ICHMultiTaskLib.mrml.comparison_session import ComparisonSession
from ICHMultiTaskLib.mrml.parameters import Device, ICHMultiTaskParameterNode
from ICHMultiTaskLib.mrml.sample_data import register_sample_data
from ICHMultiTaskLib.mrml.scene import create_scene, nodes_of_class
from ICHMultiTaskLib.mrml.volumes import head_ct_to_node, ijk_to_ras_of, set_voxels
from ICHMultiTaskLib.panel.clinical import ClinicalSection
from ICHMultiTaskLib.panel.cohort import CohortSection
from ICHMultiTaskLib.panel.compare import CompareSection
from ICHMultiTaskLib.panel.dependencies import install_missing_packages, missing_packages
from ICHMultiTaskLib.panel.repeat import RepeatSection
from ICHMultiTaskLib.panel.work import WARNING_STYLE, Work


class ICHMultiTask(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ICH Multi-Task")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = []
        parent.contributors = ["ICHMultiTask contributors"]
        parent.helpText = _(
            "Volume, prognosis and attention map of an intracerebral hemorrhage on a non-contrast head CT. "
            "Research use only; not validated on patients."
        )
        parent.acknowledgementText = _(
            "The network follows Gong et al., Unified ICH quantification and prognosis prediction in NCCT images using "
            "a multi-task interpretable network, Front. Neurosci. 2023, doi 10.3389/fnins.2023.1118340."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


class ICHMultiTaskWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Long work runs in a thread that touches no node; a timer follows it."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.devices = None
        self._parameterNode = None
        self._guiTag = None
        self._attentionOnShow = None

    def setup(self):
        """Build the panel when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ICHMultiTask.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHMultiTaskLogic()
        self.work = Work(self._showProgress, self._ended)
        section, views = functools.partial(self._addSection, layout=uiWidget.layout()), self._onViewsChanged
        self.compare = CompareSection(section("Compare"), self.logic, views)
        self.clinical = ClinicalSection(section("Clinical"), self.logic)
        self.repeat = RepeatSection(section("Repeat"), self.logic, self._onAnalysisShown, views)
        self.cohort = CohortSection(section("Cohort"), self.logic)
        self.addObserver(layout.layout_node(slicer.mrmlScene), vtk.vtkCommand.ModifiedEvent, self._onViewsChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.analyzeButton.connect("clicked(bool)", self.onAnalyzeButton)
        self.ui.bundleSelector.connect("activated(int)", self.onBundleSelected)
        self.ui.bundleFolderButton.connect("clicked(bool)", self.onBundleFolderButton)
        self.ui.tableButton.connect("clicked(bool)", self.onTableButton)
        self.ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.initializeParameterNode()

    def _addSection(self, name, layout):
        """Load a section's widgets and put them below the others."""
        section = slicer.util.loadUI(self.resourcePath(f"UI/ICHMultiTask{name}.ui"))
        layout.insertWidget(layout.count() - 1, section)  # above the spacer
        return section

    def cleanup(self):
        """Stop the work and observe nothing when the module is unloaded."""
        self.work.stop()
        self.compare.cleanup()
        self.repeat.work.stop()
        self.cohort.work.stop()
        self.removeObservers()

    def enter(self):
        """Look up the devices at the first visit, in the background: loading PyTorch takes seconds."""
        self.initializeParameterNode()
        if self.work.task is None and self.devices is None and not missing_packages():
            self._start(lambda progress: self.logic.devices(), self._setDevices)

    def exit(self):
        """Leave the parameter node alone while another module is shown; a running analysis goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller=None, event=None):
        """Drop a running analysis: its scan goes away."""
        self.work.stop()
        self.logic.leave_side_by_side()
        self.logic.forget()
        self.setParameterNode(None)
        self.compare.setParameters(None)
        self.clinical.setScan(None)
        self.repeat.setParameters(None)

    def onSceneEndClose(self, caller=None, event=None):
        """Start anew if the panel is shown."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Make sure that there is a parameter node, and take the scan on show if none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = self.logic.suggested_volume()

    def setParameterNode(self, parameterNode):
        """Connect the panel to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._parameterNode = parameterNode
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self._updateBundles()
            self._hideResultsFromSelector()
            self._setDevices(self.devices)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            self.compare.setParameters(parameterNode)
            self.repeat.setParameters(parameterNode)
            self._onParametersModified()

    def onAnalyzeButton(self, checked=False):
        """Start an analysis, or cancel the running one."""
        if self._analyzing():
            # The second half of a double click must not cancel what the first half has started.
            if time.monotonic() - self.work.started > slicer.app.doubleClickInterval / 1000:
                self.work.task.cancel()
                self._update()
            return
        parameters = self._parameterNode
        try:
            install_missing_packages()
            bundle, device = parameters.bundleFolder or None, parameters.device.value
            work = self.logic.work(parameters.inputVolume, bundle, device, *self._attentionChoice())
        except ICHMultiTaskError as error:
            self._showOutcome(str(error), failed=True)
            return
        self._start(work, self._onAnalyzed)

    def onBundleSelected(self, index):
        """Take the model chosen in the list."""
        self._parameterNode.bundleFolder = self.ui.bundleSelector.itemData(index) or ""

    def onBundleFolderButton(self, checked=False):
        """Let the user choose a folder with a model bundle."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose the folder of a model bundle"))
        if folder:
            self.useBundle(folder)

    def useBundle(self, folder):
        """Offer a bundle in the list and choose it; say so if it is none."""
        try:
            self._parameterNode.bundleFolder = str(self.logic.add_bundle(folder))
        except ICHMultiTaskError as error:
            self._showOutcome(str(error), failed=True)
        self._updateBundles()

    def onTableButton(self, checked=False):
        """Show the result table below the views."""
        self.logic.show_table()

    def onReportButton(self, checked=False):
        """Save the report into a new folder inside one that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose where to save the report"))
        if folder:
            self.saveReport(folder)

    def saveReport(self, folder):
        """Save the report into a new folder inside `folder` and show a link to it."""
        def repaint(fraction, message):
            slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)

        try:
            self._start(self.logic.report_work(folder, repaint), self._onReportSaved)
        except ICHMultiTaskError as error:
            self._showOutcome(str(error), failed=True)

    def _onReportSaved(self, page):
        link = f'<a href="{page.as_uri()}">{page.parent.name}</a>'
        self._showOutcome(_("Report saved: {link}").format(link=link))

    def _attentionChoice(self):
        parameters = self._parameterNode
        return parameters.attentionHead.value, parameters.attentionStage.value, parameters.attentionMethod.value

    def _analyzing(self):
        return self.work.task is not None and self.work.whenDone == self._onAnalyzed

    def _start(self, work, whenDone):
        """Run work in a thread, in place of what ran before; `whenDone` gets its result on the main thread."""
        self.work.start(work, whenDone)
        self._showOutcome("")

    def _ended(self, text, failed):
        if text:
            self._showOutcome(text, failed)
        self._update()

    def _onAnalyzed(self, nodeAndAnalysis):
        self.logic.show(nodeAndAnalysis)
        self._attentionOnShow = self._attentionChoice() if self._parameterNode else None
        seconds = time.monotonic() - self.work.started
        self._showOutcome(_("Done in {seconds:.1f} s.").format(seconds=seconds))
        self._onAnalysisShown()

    def _onAnalysisShown(self):
        self.compare.stop()
        self._hideResultsFromSelector()
        self._onParametersModified()

    def _onViewsChanged(self, caller=None, event=None):
        """Undo what the two linked views needed once the user leaves their layout."""
        if not layout.is_side_by_side(slicer.mrmlScene):
            self.logic.leave_side_by_side()
        self.compare.updateButtons()
        self.repeat.update()

    def _onAttention(self, nodeAnalysisAndAttention):
        self.logic.show_attention(nodeAnalysisAndAttention)
        self.compare.schedule()

    def _setDevices(self, devices):
        """Leave only the devices at hand enabled; before PyTorch is loaded, those that are everywhere."""
        self.devices = devices
        model = self.ui.deviceSelector.model()
        for row, device in enumerate(Device):
            model.item(row).setEnabled(device.value in ("auto", "cpu", *(devices or ())))

    def _hideResultsFromSelector(self):
        """Offer scans only: an attention map is a scalar volume as well."""
        volumes = nodes_of_class(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")
        hidden = [node.GetID() for node in volumes if results.is_result(node)]
        self.ui.inputSelector.sortFilterProxyModel().hiddenNodeIDs = hidden

    def _updateBundles(self):
        selector = self.ui.bundleSelector
        selector.clear()
        for label, folder in self.logic.bundles():
            selector.addItem(label, str(folder))
        chosen = self._parameterNode.bundleFolder
        selector.currentIndex = max(0, selector.findData(chosen)) if chosen else 0
        if selector.count == 0:
            selector.addItem(_("No model found: choose a folder"), "")

    def _onParametersModified(self, caller=None, event=None):
        parameters = self._parameterNode
        if parameters is None:
            return
        analysis = self.logic.analysis_of(parameters.inputVolume)
        if analysis is not None:
            results.set_overlay(parameters.inputVolume, parameters.overlayOpacity, parameters.overlayThreshold)
            choice = self._attentionChoice()
            if choice != self._attentionOnShow and not self._analyzing():
                self._attentionOnShow = choice
                self._start(self.logic.attention_work(*choice), self._onAttention)
        self.compare.schedule()
        self.clinical.setScan(parameters.inputVolume)
        self.repeat.update()
        self._update()

    def _showProgress(self, task):
        self.ui.progressBar.value = round(100 * task.fraction)
        self.ui.stageLabel.text = _("Canceling…") if task.canceled else task.message

    def _showOutcome(self, text, failed=False):
        self.ui.statusLabel.text = text
        self.ui.statusLabel.styleSheet = WARNING_STYLE if failed else ""
        self._update()

    def _update(self):
        """Show what can be done now and what is known."""
        ui, task, analyzing = self.ui, self.work.task, self._analyzing()
        inputVolume = self._parameterNode.inputVolume if self._parameterNode else None
        ui.analyzeButton.text = _("Cancel") if analyzing else _("Analyze")
        ui.analyzeButton.enabled = not task.canceled if analyzing else inputVolume is not None
        missing = _("Choose a head CT first: load one, or take it from the Sample Data module")
        ui.analyzeButton.toolTip = _("Measure the hemorrhage") if inputVolume else missing
        ui.choicesWidget.enabled = not analyzing
        ui.progressBar.visible = ui.stageLabel.visible = analyzing
        if analyzing:
            self._showProgress(task)
        ui.statusLabel.visible = bool(ui.statusLabel.text)
        analysis = self.logic.analysis_of(inputVolume)
        ui.resultButton.enabled = ui.overlayButton.enabled = analysis is not None and not analyzing
        ui.resultWidget.visible = analysis is not None
        ui.noResultLabel.visible = analysis is None
        if analysis is not None:
            self._showResult(analysis)

    def _showResult(self, analysis):
        ui, model = self.ui, analysis.model
        ui.volumeLabel.text = _("{volume:.1f} mL").format(volume=analysis.volume_ml)
        ui.intervalLabel.visible = analysis.volume_interval_ml is not None
        if analysis.volume_interval_ml is not None:
            words = _("{coverage:.0%} interval {low:.1f} to {high:.1f} mL")
            low, high = analysis.volume_interval_ml
            ui.intervalLabel.text = words.format(coverage=analysis.interval_coverage, low=low, high=high)
        ui.probabilityLabel.text = results.percent_text(analysis.mortality_probability)
        ui.prognosisLabel.text = _("Prognosis: survival") if analysis.prognosis == "survival" else _("Prognosis: death")
        ui.warningsLabel.text = "<br>".join(f"⚠ {html.escape(sentence)}" for sentence in analysis.warnings)
        ui.warningsLabel.styleSheet, ui.warningsLabel.visible = WARNING_STYLE, bool(analysis.warnings)
        ui.modelLabel.text = _("<b>{use}</b><br>Model {name} {version}. {data}").format(
            use=_(results.RESEARCH_USE), name=model["name"], version=model["version"], data=model["training_data"]
        )


class ICHMultiTaskLogic(ScriptedLoadableModuleLogic, ComparisonSession):
    """What the panel does, for scripts: `ICHMultiTaskLogic().process(volumeNode)`."""

    def getParameterNode(self):
        """Return the module's parameters in the current scene."""
        return ICHMultiTaskParameterNode(super().getParameterNode())


class ICHMultiTaskTest(ScriptedLoadableModuleTest):
    """The logic on real nodes, with a tiny network of random weights; the numbers mean nothing, the way is real."""

    def setUp(self):
        self.scene = create_scene()
        self.scene.Clear(0)
        self.addCleanup(self.scene.Clear, 0)
        if missing_packages():
            self.skipTest(f"not installed: {', '.join(missing_packages())}")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.bundle = testing.tiny_bundle(Path(self.folder.name) / "tiny")
        self.logic = ICHMultiTaskLogic()
        self.volume = head_ct_to_node(self.scene, testing.phantom(), "Head CT")

    def test_processShowsMapAndTable(self):
        messages = []
        shown = self.logic.process(self.volume, lambda fraction, text: messages.append(text), bundle=self.bundle)
        self.assertEqual(shown.attention.GetImageData().GetDimensions(), self.volume.GetImageData().GetDimensions())
        self.assertEqual(shown.table.GetCellText(0, 0), "Hematoma volume")
        self.assertIn("Attention map", messages)

    def test_secondRunReplacesTheFirst(self):
        self.logic.process(self.volume, bundle=self.bundle)
        count = self.scene.GetNumberOfNodes()
        self.logic.process(self.volume, bundle=self.bundle)
        self.assertEqual(self.scene.GetNumberOfNodes(), count)

    def test_anotherMapNeedsNoSecondRun(self):
        shown = self.logic.process(self.volume, bundle=self.bundle)
        node = self.logic.show_attention(self.logic.attention_work("prognosis", "stage2", "layercam")(None))
        self.assertIs(node, shown.attention)
        self.assertEqual(node.GetAttribute("ICHMultiTask.stage"), "stage2")

    def test_cancelLeavesNothing(self):
        task = BackgroundTask(self.logic.work(self.volume, self.bundle))
        task.cancel()
        with self.assertRaises(Canceled):
            task.result()
        self.assertIsNone(results.result_node(self.volume, "table"))
        self.assertIsNone(self.logic.analysis_of(self.volume))

    def test_sceneClosedMidRunIsHarmless(self):
        task = BackgroundTask(self.logic.work(self.volume, self.bundle))
        self.scene.Clear(0)
        with self.assertRaisesRegex(ICHMultiTaskError, "no longer in the scene"):
            self.logic.show(task.result())

    def test_compareFillsTheTables(self):
        self.logic.process(self.volume, bundle=self.bundle)
        hu, drawn = slicer.util.arrayFromVolume(self.volume), slice(50, 80)
        labels = self.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Dr. A")
        set_voxels(labels, (hu[:, drawn, drawn] > 55).astype("uint8"), ijk_to_ras_of(self.volume))
        measured = self.logic.compare(labels).comparison.segments[0].measures
        self.assertEqual(measured.voxels, (hu[:, drawn, drawn] > 55).sum())
        table = results.result_node(self.volume, "volume comparison")
        self.assertEqual([table.GetCellText(row, 1) for row in (0, 1, 2)], ["Model", "Planimetry", "ABC/2"])
        self.assertEqual(table.GetCellText(1, 2), f"{measured.volume_ml:.1f}")

    def test_reportIsSavedBesideEarlierOnes(self):
        self.logic.process(self.volume, bundle=self.bundle)
        pages = [self.logic.report_work(self.folder.name)(lambda fraction, text: None) for n in range(2)]
        self.assertEqual([page.parent.name for page in pages], ["Head-CT-report", "Head-CT-report-2"])
        self.assertIn("Random weights", pages[1].read_text(encoding="utf-8"))

    def test_errorsAreSentences(self):
        with self.assertRaisesRegex(ICHMultiTaskError, "No volume was given"):
            self.logic.process(None, bundle=self.bundle)
        with self.assertRaisesRegex(ICHMultiTaskError, "is not a model bundle"):
            self.logic.process(self.volume, bundle=self.folder.name)
        with self.assertRaisesRegex(ICHMultiTaskError, "press Analyze first"):
            self.logic.report_work(self.folder.name)
