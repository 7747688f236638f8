"""One user's work with one scan at a time: analyze, look at other maps, save a report. Needs no Qt."""

import itertools
import re
import shutil
import tempfile
from pathlib import Path

from ..common.errors import InputError
from ..common.writing import new_folder
from ..model.bundle import ModelBundle, default_bundle, find_bundles
from ..report.result import write_report
from . import results
from .pictures import slice_pictures
from .result_folder import PICTURES_FOLDER
from .scene import create_scene, nodes_of_class
from .volumes import head_ct_from_node


class AnalysisSession:
    """Analyzes volume nodes and keeps the latest analysis, with its network, at hand.

    Methods that return work (`work`, `attention_work`, `report_work`) read nodes at once; the work itself touches none
    and may run in a thread. `show` and `show_attention` take what it returned, on the main thread.

    Attributes
    ----------
    analysis : Analysis or None
        The latest.
    scanNode : vtkMRMLScalarVolumeNode or None
        What it was made of.
    attention : Attention or None
        The map on show.
    """

    def __init__(self):
        super().__init__()
        self.analysis = None
        self.scanNode = None
        self.attention = None
        self._analyzer = None
        self._analyzerKey = None
        self._bundleFolders = []

    def process(self, inputVolume, progress=None, **choices):
        """Analyze a volume node and show the result; returns when it is done.

        Parameters
        ----------
        inputVolume : vtkMRMLScalarVolumeNode
        progress : callable (fraction, message), optional
        **choices
            `bundle` and `device` of `Analyzer`, `head`, `stage` and `method` of its `analyze`.

        Returns
        -------
        ResultNodes
        """
        return self.show(self.work(inputVolume, **choices)(progress or ignore))

    def work(self, inputVolume, bundle=None, device="auto", head="volume", stage=None, method=None):
        """Read the node and return the analysis of it as a callable (progress) -> (node, Analysis)."""
        head_ct = head_ct_from_node(inputVolume)

        def analyze(progress):
            progress(0.0, "Loading the model")
            analyzer = self.analyzer_for(bundle, device)
            return inputVolume, analyzer.analyze(head_ct, head, stage, method, progress=progress)

        return analyze

    def show(self, nodeAndAnalysis):
        """Show an analysis beside its scan.

        Returns
        -------
        ResultNodes

        Raises
        ------
        InputError
            If the scan was removed meanwhile; the earlier analysis is kept.
        """
        node, analysis = nodeAndAnalysis
        shown = results.show_analysis(create_scene(), analysis, node)
        self.scanNode, self.analysis, self.attention = node, analysis, analysis.attention
        return shown

    def attention_work(self, head="volume", stage=None, method=None):
        """Return another map of the latest analysis as a callable (progress) -> (node, Analysis, Attention)."""
        node, analysis = self.scanNode, self.analysis
        own = self._analyzer.bundle.metadata["attention"]
        stage, method = stage or own.get("stage", "stage4"), method or own.get("method", "gradcam")
        return lambda progress: (node, analysis, analysis.attention_for(head, stage, method))

    def show_attention(self, nodeAnalysisAndAttention):
        """Show another map in place of the one on show.

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        node, analysis, attention = nodeAnalysisAndAttention
        shown = results.show_attention(create_scene(), analysis, attention, node)
        self.attention = attention
        return shown

    def analysis_of(self, node):
        """Return the latest analysis if it is that of this node and the node is still there, else None."""
        same = node is not None and node is self.scanNode and node.GetScene() is not None
        return self.analysis if same else None

    def check_analyzed(self):
        """Raise InputError if there is no analysis, or its scan was removed."""
        if self.analysis_of(self.scanNode) is None:
            raise InputError("There is no analysis yet, or its scan was removed; press Analyze first.")

    def forget(self):
        """Let go of the latest analysis, for instance as the scene is closed; the network is kept."""
        self.analysis = self.scanNode = self.attention = None

    def report_work(self, parent, progress=None):
        """Draw the slices and return the writing of the report as a callable (progress) -> path of report.html.

        It is the shell's report without the scene, which can hold other patients.

        Parameters
        ----------
        parent : path-like
            A new folder is made in here and named after the scan.
        progress : callable (fraction, message), optional
            Called before each slice is drawn.

        Raises
        ------
        InputError
            If nothing was analyzed or the scan was removed.
        OutputError
            Now or by the callable, if a file cannot be written.
        """
        self.check_analyzed()
        analysis, comparison = self.analysis, self.comparison_for_report()
        name = re.sub(r"[^\w.-]+", "-", self.scanNode.GetName()).strip("-.") or "scan"
        destination = unused_folder(parent, f"{name}-report")
        drawn = tempfile.TemporaryDirectory(prefix="ICHMultiTask-")
        attention = results.result_node(self.scanNode, "attention")
        slice_pictures(create_scene(), self.scanNode, attention, drawn.name, progress=progress)

        def write(progress):
            progress(0.0, "Writing the report")
            with drawn, new_folder(destination, "report") as folder:
                shutil.copytree(drawn.name, folder / PICTURES_FOLDER)
                write_report(analysis, folder, sorted((folder / PICTURES_FOLDER).iterdir()), comparison=comparison)
            return destination / "report.html"

        return write

    def comparison_for_report(self):
        """Return what the report says beside the analysis, as the key `comparison` of report.json; None: nothing."""
        return None

    def bundles(self):
        """Usable model bundles to choose from, as (name and version, folder), the shipped ones first."""
        found = []
        for folder in find_bundles(self._bundleFolders):
            try:
                bundle = ModelBundle.load(folder)
            except ValueError:
                continue
            found.append((f"{bundle.name} {bundle.version}", folder))
        return found

    def add_bundle(self, folder):
        """Offer a bundle of the user's.

        Returns
        -------
        Path

        Raises
        ------
        BundleError
            If it is none.
        """
        ModelBundle.load(folder)
        if folder not in self._bundleFolders:
            self._bundleFolders.append(folder)
        return Path(folder)

    @staticmethod
    def devices():
        """Names of the devices at hand; loads PyTorch, which takes seconds the first time."""
        from ..model.runtime import available_devices

        return available_devices()

    @staticmethod
    def suggested_volume():
        """Return the volume in the slice views, else the first in the scene that is no result, else None."""
        scene = create_scene()
        shown = [node.GetBackgroundVolumeID() for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode")]
        nodes = [scene.GetNodeByID(nodeID) for nodeID in shown if nodeID]
        nodes += nodes_of_class(scene, "vtkMRMLScalarVolumeNode")
        scans = (n for n in nodes if n and n.GetClassName() == "vtkMRMLScalarVolumeNode" and not results.is_result(n))
        return next(scans, None)

    def show_table(self):
        """Switch to a layout with a table view, showing the latest result."""
        self.show_table_layout()
        results.show_table(create_scene(), self.analysis, self.scanNode)

    @staticmethod
    def show_table_layout():
        """Switch to a layout with a table view."""
        layout = create_scene().GetFirstNodeByClass("vtkMRMLLayoutNode")
        layout.SetViewArrangement(layout.SlicerLayoutFourUpTableView)

    def analyzer_for(self, bundle, device):
        """Return the analyzer of the last run if it is the same one: loading a network takes longer than using it."""
        from ..analysis.analyzer import Analyzer

        key = (str(bundle or default_bundle()), device)
        if key != self._analyzerKey:
            self._analyzer = Analyzer(bundle, device)
            self._analyzerKey = key
        return self._analyzer


def unused_folder(parent, name):
    """Path of a folder that is not there yet: `name`, or that with a number."""
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    return next(Path(parent) / name for name in names if not (Path(parent) / name).exists())


def ignore(fraction, message):
    """Progress that nobody watches."""
