"""The panel: its sections, the timer of its queue, and its reactions to changes of the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..mrml import focus, layout, results
from ..mrml.placement import follow
from .analyze import AnalyzeSection
from .analyze_state import AnalyzeState
from .attention import AttentionSection
from .bleed_state import BleedState
from .clinical import ClinicalSection
from .clinical_state import ClinicalState
from .cohort import CohortSection
from .compare import CompareSection
from .compare_state import CompareState
from .findings import FindingsSection
from .fitting import TextFitter
from .repeat import RepeatSection
from .repeat_state import RepeatState
from .state import PanelState, belongings
from .tour import TourSection, load_sample
from .tour_state import TourState
from .work import Ticker

if TYPE_CHECKING:
    from .logic import Logic


class Panel(VTKObservationMixin):
    """All sections of the module, which share one state.

    Parameters
    ----------
    layout : QBoxLayout
        Its last item is a spacer.
    loadSection : callable (name) -> QWidget
    logic : Logic
        Also needs `getParameterNode`.
    """

    def __init__(self, sectionsLayout: qt.QBoxLayout, loadSection: Callable[[str], qt.QWidget], logic: Logic):
        VTKObservationMixin.__init__(self)
        self.logic = logic
        self.state = PanelState(logic)
        self.entered = False
        self._loading = []
        self._leaving = {}

        def section(name):
            widget = loadSection(name)
            sectionsLayout.insertWidget(sectionsLayout.count() - 1, widget)
            return widget

        analyzeState, compareState = AnalyzeState(self.state), CompareState(self.state)
        actions = (load_sample, self._onAnalyzeKey, self._onMarkKey, self._onSideBySideKey)
        self.tour = TourSection(section("Tour"), TourState(self.state, compareState), actions)
        self.analyze = AnalyzeSection(section("Analyze"), analyzeState, BleedState(self.state, compareState))
        clinicalState = ClinicalState(self.state)
        self.findings = FindingsSection(section("Findings"), clinicalState)
        self.attention = AttentionSection(section("Attention"), analyzeState)
        self.compare = CompareSection(section("Compare"), compareState)
        self.clinical = ClinicalSection(section("Clinical"), clinicalState)
        self.repeat = RepeatSection(section("Repeat"), RepeatState(self.state))
        self.cohort = CohortSection(section("Cohort"), self.state)
        self.sections = (self.tour, self.analyze, self.findings, self.attention, self.compare, self.clinical,
                         self.repeat, self.cohort)  # fmt: skip
        self.compare.whenEdited = self.attention.hideForEditing
        self._guiTags = []
        self.ticker = Ticker(self.state.queue)
        self._updateTimer = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(0)
        self._updateTimer.connect("timeout()", self.update)
        self.fitter = TextFitter([section.widget for section in self.sections], self._fitMore)
        for section in self.sections:
            if section.widget.className() == "ctkCollapsibleButton":
                section.widget.connect("contentsCollapsed(bool)", lambda collapsed: self._updateTimer.start())
        self.state.listeners.append(self._updateTimer.start)
        self._shortcuts = [
            _shortcut("Shift+A", self._onAnalyzeKey),
            _shortcut("Shift+N", self.analyze.bleed.show_next),
            _shortcut("Shift+M", lambda: self.attention.ui.overlayBox.toggle()),
            _shortcut("Shift+O", self._onOutlineKey),
        ]
        scene = slicer.mrmlScene
        self.addObserver(layout.layout_node(scene), vtk.vtkCommand.ModifiedEvent, self._onViewsChanged)
        for event, method in (
            (scene.StartCloseEvent, self._onSceneStartClose),
            (scene.EndCloseEvent, self._onSceneReplaced),
            (scene.EndImportEvent, self._onSceneReplaced),
            (scene.EndRestoreEvent, self._onSceneReplaced),
            (scene.EndUndoEvent, self._onSceneReplaced),
            (scene.EndRedoEvent, self._onSceneReplaced),
            (scene.NodeAddedEvent, self._onNodeAdded),
            (scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved),
            (scene.NodeRemovedEvent, self._onNodeRemoved),
        ):
            self.addObserver(scene, event, method)

    def cleanup(self) -> None:
        """Stop all timers and work, and remove all observers, connections and shortcuts."""
        self.exit()
        self.release()
        for shortcut in filter(None, self._shortcuts):  # of the main window, which stays when the module is reloaded
            shortcut.deleteLater()
        self._shortcuts.clear()
        self.ticker.stop()
        self._updateTimer.stop()
        self.fitter.stop()
        self.compare.cleanup()
        self.removeObservers()

    def enter(self) -> None:
        """Bind to the present scene and update the sections."""
        self.entered = True
        self._enableShortcuts(True)
        self.bind()
        self.attention.bringBack()
        self.analyze.lookUpDevices()

    def exit(self) -> None:
        """Disable the shortcuts while another module is shown; running work continues."""
        self.entered = False
        self._enableShortcuts(False)

    def bind(self) -> None:
        """Bind the panel to the scene's parameter node, which may have been replaced with the scene."""
        self.release()
        parameters = self.logic.getParameterNode()
        self.state.parameters = parameters
        self._guiTags = [parameters.connectGui(section.ui) for section in (self.analyze, self.attention)]
        self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self.analyze.updateBundles()
        self.analyze.showDevices()  # the selector was refilled
        self.state.scene_changed()

    def release(self) -> None:
        """Disconnect the panel from the parameter node."""
        parameters = self.state.parameters
        if parameters is not None:
            for tag in self._guiTags:
                parameters.disconnectGui(tag)
            self.removeObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self.state.parameters, self._guiTags = None, []

    def _observeScans(self):
        """Notice changes of the scans, which move their maps or make their results outdated."""
        modified = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
                    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)  # fmt: skip
        for scan in focus.scans(slicer.mrmlScene):
            for event in modified:
                if not self.hasObserver(scan, event, self._onScanModified):
                    self.addObserver(scan, event, self._onScanModified)

    def _onScanModified(self, scan=None, event=None):
        follow(results.result_node(scan, "attention"), scan)
        self.state.changed()

    def update(self) -> None:
        """Update every section."""
        self._observeScans()
        for section in self.sections:
            section.update()
        self.fitter.start()

    def _fitMore(self):
        return self.analyze.fitHeadline() | self.compare.fitTable()

    def _enableShortcuts(self, enabled):
        for shortcut in filter(None, self._shortcuts):
            shortcut.setEnabled(enabled)

    def _onAnalyzeKey(self):
        if self.analyze.ui.analyzeButton.enabled:
            self.analyze.onAnalyzeButton()

    def _onMarkKey(self):
        self.compare.widget.collapsed = False
        if self.compare.ui.markButton.enabled:
            self.compare.onMarkButton()

    def _onSideBySideKey(self):
        self.compare.widget.collapsed = False
        if self.compare.ui.sideBySideButton.enabled:
            self.compare.onSideBySideButton(True)

    def _onOutlineKey(self):
        if self.state.scan is not None:
            self.logic.comparison.toggle_segments(self.state.scan)

    def _onParametersModified(self, caller=None, event=None):
        self.state.follow()
        self.analyze.state.set_overlay()

    def _onViewsChanged(self, caller=None, event=None):
        """Restore the views' settings when the user leaves the side-by-side layout."""
        if not layout.is_side_by_side(slicer.mrmlScene):
            self.logic.comparison.leave_side_by_side()
        self.state.changed()

    def _onSceneStartClose(self, caller=None, event=None):
        self.release()
        self.state.scene_closing()

    def _onSceneReplaced(self, caller=None, event=None):
        self.release()  # the node that the panel is bound to may have been replaced by that of a scene
        self._loading.clear()
        qt.QTimer.singleShot(0, self._bindAgain)

    def _bindAgain(self):
        if self.entered and not slicer.mrmlScene.IsBatchProcessing():
            self.bind()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, scene, event, node):
        """Choose a scan that is loaded while the panel is open, as soon as it has voxels."""
        if self.entered and node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            if not scene.IsBatchProcessing():
                self._loading.append(node)
            qt.QTimer.singleShot(0, self._chooseLoaded)

    def _chooseLoaded(self):
        loaded = [node for node in self._loading if node in focus.scans(slicer.mrmlScene) and node.GetImageData()]
        self._loading.clear()
        if loaded and self.state.parameters is not None:
            self.state.choose(loaded[-1])
        self.state.changed()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and not scene.IsClosing():
            self._leaving[node.GetID()] = belongings(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, scene, event, node):
        if node is not None and not scene.IsClosing():
            remains = self._leaving.pop(node.GetID(), None)
            if remains is not None:
                self.state.scan_removed(node.GetID(), node, remains)
        self.state.changed()


def _shortcut(keys, method):
    """A shortcut of the main window while the panel is open; None without a window."""
    window = slicer.util.mainWindow()
    if window is None:
        return None
    shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
    shortcut.connect("activated()", method)
    shortcut.setEnabled(False)
    return shortcut
