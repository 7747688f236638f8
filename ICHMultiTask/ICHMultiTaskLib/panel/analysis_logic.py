"""Analyze scans in the scene, compute other attention maps, save reports. Needs no Qt.

A `…work` method reads nodes immediately and returns a callable that accesses none, so that it may run in a thread. The
result of the callable goes to the `show…` method of the same name, on the main thread.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.result import Analysis
from ..analysis.second_look import WITHOUT_PROGNOSIS
from ..common.errors import InputError
from ..common.names import safe_name
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..common.writing import new_folder
from ..model.attention import LOCATOR
from ..model.runners import choose_library
from ..mrml import acquisition, clinical, results
from ..mrml.focus import scans
from ..mrml.kept_results import attention_on_show, is_outdated, keep_result, kept_result, restored_analysis
from ..mrml.pictures import slice_pictures
from ..mrml.placement import moved
from ..mrml.result_folder import PICTURES_FOLDER
from ..mrml.scan_state import points_of, state_of
from ..mrml.scene import create_scene, nodes_of_class
from ..mrml.volumes import head_ct_from_node
from ..report.result import write_report
from .models import Models

if TYPE_CHECKING:
    import slicer

    from ..analysis.attention import Attention
    from ..model.bundle import ModelBundle
    from ..mrml.acquisition import Correction
    from ..mrml.results import ResultNodes
    from ..scan.head_ct import HeadCT


class AnalysisLogic:
    """Results of any number of scans; each is stored in the scene with its scan, and restored with it."""

    def __init__(self):
        self.models = Models()
        self._analyses = {}  # ID of the scan's node: (run, Analysis, where the scan was)
        self._read = {}  # ID of the scan's node: its state when it was last read for an analysis

    def process(
        self, scan: slicer.vtkMRMLScalarVolumeNode, progress: Progress | None = None, **choices: object
    ) -> ResultNodes:
        """Analyze a volume node and show the result; returns when it is done.

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode
        progress : callable (fraction, message), optional
        **choices
            `bundle` and `device` of `Analyzer`, `head`, `stage` and `method` of its `analyze`.

        Returns
        -------
        ResultNodes
        """
        progress = progress or NO_PROGRESS
        self.show_geometry(self.geometry_work(scan)(progress))
        return self.show(self.work(scan, **choices)(progress))

    @staticmethod
    def geometry_work(
        scan: slicer.vtkMRMLScalarVolumeNode,
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, Correction | None]]:
        """Return the check of a scan against its files as a callable (progress) -> (node, Correction or None)."""
        files = acquisition.source_files(scan)
        grid, step = acquisition.own_grid(scan) if files else None, _("Comparing with the scan's files")

        def check(progress):
            if not files:
                return scan, None
            progress(0.0, step)
            return scan, acquisition.correction(files, grid)

        return check

    @staticmethod
    def show_geometry(node_and_correction: tuple[slicer.vtkMRMLScalarVolumeNode, Correction | None]) -> None:
        """Correct a scan's position to that in its files; no-op if it is right."""
        scan, found = node_and_correction
        if found is not None and scan.GetScene() is not None:
            acquisition.correct(scan, found)
            results.fit_views(create_scene(), scan)

    def work(
        self,
        scan: slicer.vtkMRMLScalarVolumeNode,
        bundle: ModelBundle | str | os.PathLike | None = None,
        device: str = "auto",
        head: str = LOCATOR.head,
        stage: str = LOCATOR.stage,
        method: str = LOCATOR.method,
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, Analysis]]:
        """Read the node and return the analysis of it as a callable (progress) -> (node, Analysis).

        A model with clinical inputs gets the clinical data stored with the scan.
        """
        head_ct, step, known = self.read(scan), _("Loading the model"), clinical.context_of(scan).known
        self.models.remember(bundle)

        def analyze(progress):
            progress(0.0, step)
            analyzer = self.models.analyzer(bundle, device)
            return scan, analyzer.analyze(head_ct, head, stage, method, progress=progress, clinical=known)

        return analyze

    def read(self, scan: slicer.vtkMRMLScalarVolumeNode) -> HeadCT:
        """Read a scan for an analysis, and remember its state, so that later changes are noticed.

        Returns
        -------
        HeadCT

        Raises
        ------
        InputError
            If it cannot be read.
        """
        head_ct = head_ct_from_node(scan)
        self._read[scan.GetID()] = state_of(scan)
        return head_ct

    def show(
        self, node_and_analysis: tuple[slicer.vtkMRMLScalarVolumeNode, Analysis], in_views: bool = True
    ) -> ResultNodes:
        """Show an analysis with its scan, and store it in the scene.

        Parameters
        ----------
        node_and_analysis : tuple
            From `work`.
        in_views : bool
            As of `results.show_analysis`.

        Returns
        -------
        ResultNodes

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        scan, analysis = node_and_analysis
        shown = results.show_analysis(create_scene(), analysis, scan, in_views)
        self.keep(scan, analysis)
        return shown

    def keep(self, scan: slicer.vtkMRMLScalarVolumeNode, analysis: Analysis) -> None:
        """Store an analysis in the scene without showing it; only the latest keeps the network's features."""
        facts = keep_result(create_scene(), analysis, scan, read=self._read.pop(scan.GetID(), None))
        for node_id, (run, other, points) in self._analyses.items():
            self._analyses[node_id] = run, replace(other, prediction=None), points
        self._analyses[scan.GetID()] = facts["analyzed"], replace(analysis, attention=None), _points_in(facts)

    def range_work(
        self, scan: slicer.vtkMRMLScalarVolumeNode, device: str = "auto"
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, str, tuple[float, float]]] | None:
        """Return the computation of a scan's mortality range as a callable (progress) -> (node, run, range).

        None if there is nothing to compute: no mortality applies, its range is known, or the features are gone.
        """
        run, analysis, _points = self._analyses.get(scan.GetID(), _NOTHING)
        if analysis is None or analysis.prediction is None or analysis.mortality_range is not None:
            return None
        if analysis.mortality_probability is None or analysis.hemorrhage in WITHOUT_PROGNOSIS:
            return None
        step, bundle = _("Range of the prognosis"), self.models.of(analysis)

        def compute(progress):
            progress(0.0, step)
            analyzer = self.models.analyzer(bundle, device)
            return scan, run, analyzer.mortality_range(analysis.head_ct, analysis.prediction)

        return bundle and compute

    def show_range(self, node_run_and_range: tuple[slicer.vtkMRMLScalarVolumeNode, str, tuple[float, float]]) -> None:
        """Store the range with its run; no-op if a later run has replaced it."""
        scan, run, found = node_run_and_range
        latest, analysis, points = self._analyses.get(scan.GetID(), _NOTHING)
        if latest == run and scan.GetScene() is not None:
            analysis = replace(analysis, mortality_range=found)
            self._analyses[scan.GetID()] = run, analysis, points
            shown = replace(analysis, attention=attention_on_show(scan))
            keep_result(create_scene(), shown, scan, run, kept_result(scan)["read"])
            results.write_analysis(create_scene(), shown, scan)

    @staticmethod
    def facts_of(scan: slicer.vtkMRMLScalarVolumeNode | None) -> dict | None:
        """Stored result of a scan, with the fields of report.json; None if it was not analyzed."""
        return kept_result(scan)

    def analysis_of(self, scan: slicer.vtkMRMLScalarVolumeNode | None) -> Analysis | None:
        """The analysis of a scan with the displayed map, from memory or the scene; None if it was not analyzed.

        It is where the scan is now, also if that was moved since.
        """
        facts = kept_result(scan)
        if facts is None:
            return None
        run, analysis, points = self._analyses.get(scan.GetID(), _NOTHING)
        now = points_of(scan)
        if analysis is None or run != facts["analyzed"]:
            analysis = replace(restored_analysis(scan, facts), attention=None)
        elif points is not None:
            analysis = replace(analysis, head_ct=moved(analysis.head_ct, points, now))
        self._analyses[scan.GetID()] = facts["analyzed"], analysis, now
        return replace(analysis, attention=attention_on_show(scan))

    def check_analyzed(self, scan: slicer.vtkMRMLScalarVolumeNode | None) -> Analysis:
        """Return the analysis of a scan, or raise InputError if there is none or the scan was changed since."""
        if self.facts_of(scan) is None:
            raise InputError(_("There is no analysis yet, or its scan was removed; press Analyze first."))
        if is_outdated(scan):
            raise InputError(_("The scan was changed since it was analyzed; press Analyze first."))
        return self.analysis_of(scan)

    def forget(self) -> None:
        """Release the results in memory, for instance when the scene is closed; the network is kept."""
        self._analyses.clear()
        self._read.clear()

    def with_features(self, analysis: Analysis, device: str = "auto") -> Callable[[Progress], Analysis]:
        """Return a callable (progress) -> Analysis with the network's features, which are recomputed if necessary.

        Raises
        ------
        InputError
            By the callable, if the model that made the analysis is not available.
        """
        step = _("Loading the model")

        def compute(progress):
            made = analysis.prediction
            if made is not None and made.runner.library == choose_library():  # else PyTorch was installed meanwhile
                return analysis
            bundle = self.models.of(analysis)
            if bundle is None:
                model = f"{analysis.model['name']} {analysis.model['version']}".strip() or _("that made this result")
                raise InputError(
                    _("The model {model} is no longer available; press Analyze to use the chosen one.").format(
                        model=model
                    )
                )
            progress(0.0, step)
            fresh = self.models.analyzer(bundle, device).analyze(
                analysis.head_ct, attention=False, progress=progress, clinical=analysis.clinical
            )
            return replace(analysis, prediction=fresh.prediction)

        return compute

    def attention_work(
        self,
        scan: slicer.vtkMRMLScalarVolumeNode,
        head: str = LOCATOR.head,
        stage: str = LOCATOR.stage,
        method: str = LOCATOR.method,
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, Analysis, Attention]]:
        """Return another map of a scan's analysis as a callable (progress) -> (node, Analysis, Attention)."""
        analysis = self.check_analyzed(scan)
        complete = self.with_features(analysis)

        def compute(progress):
            found = complete(progress or NO_PROGRESS)
            return scan, found, found.attention_for(head, stage, method, progress or NO_PROGRESS)

        return compute

    def show_attention(
        self,
        node_analysis_and_attention: tuple[slicer.vtkMRMLScalarVolumeNode, Analysis, Attention],
        in_views: bool = True,
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Replace the map of a scan; the views keep their position.

        Parameters
        ----------
        node_analysis_and_attention : tuple
            From `attention_work`.
        in_views : bool
            As of `results.show_analysis`.

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        scan, analysis, attention = node_analysis_and_attention
        shown = results.show_attention(create_scene(), analysis, attention, scan, jump=False, in_views=in_views)
        if scan.GetID() in self._analyses:
            run, known, points = self._analyses[scan.GetID()]
            self._analyses[scan.GetID()] = run, replace(known, prediction=analysis.prediction), points
        return shown

    def report_work(
        self,
        scan: slicer.vtkMRMLScalarVolumeNode,
        parent: str | os.PathLike,
        comparison: dict | None = None,
        progress: Progress | None = None,
    ) -> Callable[[Progress], Path]:
        """Draw the slices, and return a callable (progress) -> path of report.html that writes the report.

        It is the report of the command `analyze` without the scene, which can contain other patients.

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode
        parent : path-like
            A new folder is made in here and named after the scan.
        comparison : dict, optional
            Comparison with segments of the scan, as `report.comparison.comparison_dict` returns it.
        progress : callable (fraction, message), optional
            Called before each slice is drawn.

        Raises
        ------
        InputError
            If the scan was not analyzed or was removed.
        OutputError
            Now or by the callable, if a file cannot be written.
        """
        progress = progress or NO_PROGRESS
        analysis = self.check_analyzed(scan)
        name = safe_name(scan.GetName(), "scan")
        destination = unused_folder(parent, f"{name}-report")
        step = _("Writing the report")
        drawn = tempfile.TemporaryDirectory(prefix="ICHMultiTask-")
        attention = results.result_node(scan, "attention")
        slice_pictures(create_scene(), scan, attention, drawn.name, progress=progress)

        def write(progress):
            progress(0.0, step)
            with drawn, new_folder(destination, "analysis") as folder:
                shutil.copytree(drawn.name, folder / PICTURES_FOLDER)
                write_report(analysis, folder, sorted((folder / PICTURES_FOLDER).iterdir()), comparison=comparison)
            return destination / "report.html"

        return write

    @staticmethod
    def suggested_scan() -> slicer.vtkMRMLScalarVolumeNode | None:
        """Return the volume in the slice views, else the first in the scene that is not a result, else None."""
        scene = create_scene()
        found = scans(scene)
        shown = [node.GetBackgroundVolumeID() for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode")]
        on_show = (node for node in (scene.GetNodeByID(node_id) for node_id in shown if node_id) if node in found)
        return next(on_show, next(iter(found), None))

    def show_table(self, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Switch to a layout with a table view, showing the result of a scan."""
        self.check_analyzed(scan)
        show_table_layout()
        results.select_table(results.result_node(scan, "table"))


_NOTHING = None, None, None


def _points_in(facts):
    """Where the scan was when it was read, as stored with its result; None if it had no voxels any more."""
    return np.array(facts["read"]["points_mm"]) if facts["read"] else None


def show_table_layout() -> None:
    """Switch to a layout with a table view."""
    layout = create_scene().GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpTableView)


def unused_folder(parent: str | os.PathLike, name: str) -> Path:
    """Path of a folder that does not exist yet: `name`, or `name` with a number."""
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    return next(Path(parent) / name for name in names if not (Path(parent) / name).exists())
