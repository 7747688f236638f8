"""Growth between two scans of one patient in the scene. Needs no Qt."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..analysis.repeat import compare_with_previous
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import joined
from ..common.translation import tr as _
from ..mrml import clinical, layout, repeat_scan, results
from ..mrml.dashed import remove_dashed, show_dashed
from ..mrml.diameters import keep_diameters_out_of_view
from ..mrml.kept_results import is_outdated
from ..mrml.repeat_scan import SceneRepeat
from ..mrml.scene import create_scene, nodes_of_class
from ..mrml.segments import SegmentChoice, belongs_to, segments_of

if TYPE_CHECKING:
    import slicer

    from ..model.bundle import ModelBundle
    from .analysis_logic import AnalysisLogic


class GrowthLogic:
    """Compares a scan with an earlier one.

    Parameters
    ----------
    analysis : AnalysisLogic
    """

    def __init__(self, analysis: AnalysisLogic):
        self.analysis = analysis
        self._repeats = {}  # IDs of the earlier and the later node: (run of the later, SceneRepeat)

    def forget(self) -> None:
        """Release all comparisons, for instance when the scene is closed."""
        self._repeats.clear()

    def measure(
        self,
        earlier: slicer.vtkMRMLScalarVolumeNode,
        later: slicer.vtkMRMLScalarVolumeNode,
        bundle: ModelBundle | str | os.PathLike | None = None,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> SceneRepeat:
        """Analyze two scans of one patient and show the growth; returns when it is done.

        Parameters
        ----------
        earlier, later : vtkMRMLScalarVolumeNode
        bundle, device
            Of `ICHMultiTaskLib.analysis.analyzer.Analyzer`.
        progress : callable (fraction, message), optional

        Returns
        -------
        SceneRepeat

        Raises
        ------
        InputError
            If these are not two scans that can be read, or one was removed meanwhile.
        """
        progress = progress or NO_PROGRESS
        for scan in (earlier, later):
            self.analysis.show_geometry(self.analysis.geometry_work(scan)(progress))
        return self.show(self.work(earlier, later, bundle, device)(progress))

    def work(
        self,
        earlier: slicer.vtkMRMLScalarVolumeNode,
        later: slicer.vtkMRMLScalarVolumeNode,
        bundle: ModelBundle | str | os.PathLike | None = None,
        device: str = "auto",
    ) -> Callable[[Progress], SceneRepeat]:
        """Read two scans and return their comparison as a callable (progress) -> SceneRepeat.

        The later scan is not analyzed again if the same model has analyzed it. An earlier alignment of the first scan
        is removed at once.

        Raises
        ------
        InputError
            If the two are not two scans, or a node cannot be read.
        """
        repeat_scan.check_pair(earlier, later)
        repeat_scan.remove_alignment(create_scene(), earlier)
        first_scan, second_scan = self.analysis.read(earlier), self.analysis.read(later)
        first_patient, second_patient = (clinical.context_of(scan).known for scan in (earlier, later))
        known = None if is_outdated(later) else self.analysis.analysis_of(later)
        loading, later_scan, earlier_scan = _("Loading the model"), _("Later scan"), _("Earlier scan")

        def compare(progress):
            def part(start, end, what):
                return lambda f, message: progress(start + (end - start) * f, joined(": ", (what, message)))

            progress(0.0, loading)
            analyzer = self.analysis.models.analyzer(bundle, device)
            reused = known is not None and (known.model["version"], known.model["sha256"]) == analyzer.bundle.identity
            second = known
            if not reused:
                second = analyzer.analyze(second_scan, progress=part(0.0, 0.3, later_scan), clinical=second_patient)
            first = analyzer.analyze(
                first_scan, attention=False, progress=part(0.3, 0.6, earlier_scan), clinical=first_patient
            )
            repeat = compare_with_previous(second, first, lambda f, message: progress(0.6 + 0.4 * f, message))
            return SceneRepeat(earlier, later, second, repeat, reused)

        return compare

    def show(self, shown: SceneRepeat, in_views: bool = True) -> SceneRepeat:
        """Show the later scan's analysis, the growth as a table, and the earlier scan aligned with the later one.

        The displayed map stays if the later scan had been analyzed before.

        Parameters
        ----------
        shown : SceneRepeat
            From `work`.
        in_views : bool
            As of `results.show_analysis`, for the later scan.

        Returns
        -------
        SceneRepeat

        Raises
        ------
        InputError
            If a scan was removed meanwhile.
        """
        scene = create_scene()
        table = repeat_scan.show_repeat_scan(scene, shown)[0]
        results.write_analysis(scene, shown.repeat.previous, shown.earlier_node)
        self.analysis.keep(shown.earlier_node, shown.repeat.previous)
        if not shown.reused:
            self.analysis.show((shown.later_node, shown.later), in_views)
        if in_views:
            results.select_table(table)
        run = self.analysis.facts_of(shown.later_node)["analyzed"]
        self._repeats[shown.earlier_node.GetID(), shown.later_node.GetID()] = run, shown
        return shown

    def repeat_of(
        self, earlier: slicer.vtkMRMLScalarVolumeNode | None, later: slicer.vtkMRMLScalarVolumeNode | None
    ) -> SceneRepeat | None:
        """The SceneRepeat of two nodes, unless either was changed since, or the later was analyzed again; else None."""
        if earlier is None or later is None or earlier.GetScene() is None:
            return None
        if is_outdated(earlier) or is_outdated(later):
            return None
        run, repeat = self._repeats.get((earlier.GetID(), later.GetID()), (None, None))
        facts = repeat and self.analysis.facts_of(later)
        return repeat if facts and facts["analyzed"] == run else None

    def latest_of(self, later: slicer.vtkMRMLScalarVolumeNode) -> SceneRepeat | None:
        """The most recent SceneRepeat of a later scan, or None."""
        pairs = [(earlier, known) for earlier, known in reversed(self._repeats) if known == later.GetID()]
        nodes = (create_scene().GetNodeByID(earlier) for earlier, _ in pairs)
        return next(filter(None, (self.repeat_of(earlier, later) for earlier in nodes)), None)

    def show_views(
        self,
        earlier: slicer.vtkMRMLScalarVolumeNode,
        later: slicer.vtkMRMLScalarVolumeNode,
        later_outline: bool = False,
    ) -> None:
        """Show the earlier scan on the left and the later one on the right, linked, above the table of the growth.

        Each shows its own segmentations.

        Parameters
        ----------
        earlier, later : vtkMRMLScalarVolumeNode
        later_outline : bool
            Whether those of the later scan are shown over the earlier one as well, dashed.
        """
        scene, repeat = create_scene(), self.repeat_of(earlier, later)
        peak = repeat.later.attention.peak_ras_mm if repeat.later.attention else None
        layout.show_side_by_side(scene, (earlier, None), (later, None), peak)
        self.keep_segments_apart(earlier, later, later_outline)
        results.select_table(results.result_node(later, repeat_scan.TABLE))

    @staticmethod
    def keep_segments_apart(
        earlier: slicer.vtkMRMLScalarVolumeNode, later: slicer.vtkMRMLScalarVolumeNode, later_outline: bool = False
    ) -> None:
        """Show segments and lines over their own scan only; later segments, on request, dashed over the earlier one."""
        scene = create_scene()
        for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
            if belongs_to(node, earlier):
                node.CreateDefaultDisplayNodes()
                node.GetDisplayNode().SetVisibility(True)
                layout.keep_out_of_view(scene, node, layout.RIGHT)
            else:
                layout.keep_out_of_view(scene, node, layout.LEFT)
        left = layout.slice_node(scene, layout.LEFT)
        keep_diameters_out_of_view(scene, left)
        remove_dashed(scene)
        if later_outline:
            shown = [choice for choice in GrowthLogic.outlined(later) if not choice.hidden]
            show_dashed(scene, shown, left.GetID())

    @staticmethod
    def outlined(later: slicer.vtkMRMLScalarVolumeNode) -> list[SegmentChoice]:
        """Segments of a later scan that an earlier one can show as dashed outlines."""
        scene = create_scene()
        nodes = nodes_of_class(scene, "vtkMRMLSegmentationNode")
        return [choice for node in nodes if belongs_to(node, later) for choice in segments_of(node)]

    @staticmethod
    def shows_views(
        earlier: slicer.vtkMRMLScalarVolumeNode | None, later: slicer.vtkMRMLScalarVolumeNode | None
    ) -> bool:
        """Whether these two scans are displayed side by side."""
        scene = create_scene()
        both = layout.volume_on(scene, layout.LEFT), layout.volume_on(scene, layout.RIGHT)
        return None not in (earlier, later) and both == (earlier, later)
