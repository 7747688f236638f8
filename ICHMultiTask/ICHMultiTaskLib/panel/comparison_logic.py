"""Comparison of a scan's analysis with segments, its draft segmentation, and its clinical scores. Needs no Qt.

As in `analysis_logic`, the result of a method's work is passed to the `show_…` method of the same name, on the main
thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..analysis.findings.assessment import assess
from ..analysis.findings.finding import Findings
from ..analysis.marking import mark
from ..common.errors import InputError
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..model.attention import SHOWN_FROM
from ..mrml import clinical, layout, results
from ..mrml.comparison import comparison_work, remove_tables, write_tables
from ..mrml.dashed import remove_dashed
from ..mrml.diameters import remove_diameters, show_diameters
from ..mrml.kept_results import current_result
from ..mrml.marking import show_marking
from ..mrml.scene import create_scene, nodes_of_class
from ..mrml.segments import SegmentChoice, belongs_to, list_segments, read_segment, segments_of, show_as_outline
from ..mrml.three_d import show_in_3d, skull_surface
from ..mrml.volumes import head_ct_from_node, scan_facts
from .analysis_logic import show_table_layout

if TYPE_CHECKING:
    import slicer
    import vtk

    from ..analysis.findings.assessment import ClinicalAssessment
    from ..analysis.marking import Marking
    from ..analysis.result import Analysis
    from ..measures.clinical_scores import ClinicalContext
    from ..mrml.comparison import SceneComparison
    from .analysis_logic import AnalysisLogic


class ComparisonLogic:
    """Compares scans that were analyzed.

    Parameters
    ----------
    analysis : AnalysisLogic
    """

    def __init__(self, analysis: AnalysisLogic):
        self.analysis = analysis
        self._compared = {}  # by the ID of the scan's node

    def forget(self) -> None:
        """Release all comparisons, for instance when the scene is closed."""
        self._compared.clear()

    def compared_with(self, scan: slicer.vtkMRMLScalarVolumeNode | None) -> SceneComparison | None:
        """The latest comparison of a scan; None if there is none, or the scan was changed or analyzed again since."""
        found = self._compared.get(scan.GetID()) if scan is not None and scan.GetScene() is not None else None
        facts = found and current_result(scan)
        return found if facts and found.run == facts["analyzed"] else None

    def was_compared(self, scan: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Whether there is a comparison of a scan, outdated or not."""
        return scan.GetID() in self._compared

    @staticmethod
    def segments(scan: slicer.vtkMRMLScalarVolumeNode | None = None) -> list[SegmentChoice]:
        """Segments and labels in the scene that can be compared, as a list of SegmentChoice.

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode, optional
            Leave out segments that are known to belong to another scan or study.
        """
        scene = create_scene()
        found = list_segments(scene)
        if scan is None:
            return found
        return [choice for choice in found if belongs_to(scene.GetNodeByID(choice.node_id), scan) is not False]

    def compare(
        self,
        scan: slicer.vtkMRMLScalarVolumeNode,
        segments: slicer.vtkMRMLNode | Sequence[slicer.vtkMRMLNode | SegmentChoice] | None = None,
        threshold: float = SHOWN_FROM,
        progress: Progress | None = None,
    ) -> SceneComparison:
        """Compare a scan's analysis with segments and write the tables; returns when it is done.

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode
        segments : segmentation or labelmap volume node, or sequence of these or of SegmentChoice, optional
            A node stands for all its segments. None: all segments in the scene that may belong to the scan.
        threshold : float
            Lowest attention that counts as shown.
        progress : callable (fraction, message), optional

        Returns
        -------
        SceneComparison

        Raises
        ------
        InputError
            If the scan was not analyzed, or was removed.
        """
        choices = self.segments(scan) if segments is None else _choices(segments)
        return self.show_comparison(self.compare_work(scan, choices, threshold)(progress or NO_PROGRESS))

    def compare_work(
        self, scan: slicer.vtkMRMLScalarVolumeNode, choices: Sequence[SegmentChoice], threshold: float = SHOWN_FROM
    ) -> Callable[[Progress], SceneComparison]:
        """Read segments and return their comparison as a callable (progress) -> SceneComparison."""
        analysis = self.analysis.check_analyzed(scan)
        run = self.analysis.facts_of(scan)["analyzed"]
        return comparison_work(analysis, scan, choices, threshold, run)

    def show_comparison(self, compared: SceneComparison) -> SceneComparison:
        """Write a comparison into the scan's tables.

        Returns
        -------
        SceneComparison
        """
        scene = create_scene()
        write_tables(scene, compared)
        for node in filter(None, (scene.GetNodeByID(choice.node_id) for choice in compared.choices)):
            show_as_outline(node)
        self._compared[compared.scan_node.GetID()] = compared
        return compared

    def forget_comparison(self, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Release a scan's comparison and remove its tables, which would show segments that are no longer chosen."""
        compared = self._compared.pop(scan.GetID(), None)
        if compared is not None:
            remove_tables(create_scene(), scan)

    @staticmethod
    def show_tables(scan: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Switch to a layout with a table view, showing the volumes of a scan's comparison."""
        if not layout.is_side_by_side(create_scene()):
            show_table_layout()
        _select_comparison_table(scan)

    def show_diameters(
        self, scan: slicer.vtkMRMLScalarVolumeNode, index: int = 0, jump: bool = True
    ) -> list[slicer.vtkMRMLMarkupsLineNode]:
        """Draw A, B and C of a compared segment, replacing earlier ones; `jump`: go to the slice of A and B.

        Returns
        -------
        list of vtkMRMLMarkupsLineNode
        """
        self.hide_diameters()
        compared, scene, segment = self.compared_with(scan), create_scene(), None
        choice = compared.choices[index]
        with contextlib.suppress(InputError):  # it was removed since; labels then keep clear of the lines only
            segment = read_segment(scene.GetNodeByID(choice.node_id), choice.segment_id)
        return show_diameters(scene, compared.comparison.segments[index].measures, scan, segment, jump)

    @staticmethod
    def hide_diameters() -> None:
        """Remove the lines of `show_diameters`."""
        remove_diameters(create_scene())

    def show_side_by_side(self, scan: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show scan and attention on the left, scan and segments on the right, linked, above the table of volumes."""
        analysis = self.analysis.check_analyzed(scan)
        peak = analysis.attention.peak_ras_mm if analysis.attention else None
        layout.show_side_by_side(create_scene(), (scan, results.result_node(scan, "attention")), (scan, None), peak)
        self.keep_segments_right()
        _select_comparison_table(scan)

    @staticmethod
    def keep_segments_right() -> None:
        """Hide the segments in the left view, which shows the attention."""
        scene = create_scene()
        for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
            layout.keep_out_of_view(scene, node, layout.LEFT)

    @staticmethod
    def shows_side_by_side(scan: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
        """Whether a scan is displayed side by side with its segments."""
        scene = create_scene()
        both = layout.volume_on(scene, layout.LEFT), layout.volume_on(scene, layout.RIGHT)
        return scan is not None and both == (scan, scan)

    @staticmethod
    def leave_side_by_side() -> None:
        """Go back to the user's own layout."""
        remove_dashed(create_scene())
        layout.leave_side_by_side(create_scene())

    def mark(
        self, scan: slicer.vtkMRMLScalarVolumeNode, volume_ml: float | None = None, progress: Progress | None = None
    ) -> tuple[slicer.vtkMRMLSegmentationNode | None, Marking]:
        """Propose a segmentation of the bleed and add it to the scene; returns when it is done.

        Takes the parameters of `mark_work`, and raises the errors of `mark_work` and `show_marking`.

        Returns
        -------
        (vtkMRMLSegmentationNode or None, Marking)
        """
        return self.show_marking(self.mark_work(scan, volume_ml)(progress or NO_PROGRESS))

    def mark_work(
        self, scan: slicer.vtkMRMLScalarVolumeNode, volume_ml: float | None = None
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, Analysis, Marking]]:
        """Return the proposal of a segmentation as a callable (progress) -> (scan node, Analysis, Marking).

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode
        volume_ml : float, optional
            Target volume; by default the model's.

        Raises
        ------
        InputError
            If the scan was not analyzed, or was removed.
        """
        analysis = self.analysis.check_analyzed(scan)
        complete = self.analysis.with_features(analysis)

        def work(progress):
            found = complete(progress)
            return scan, found, mark(found, volume_ml, progress)

        return work

    @staticmethod
    def show_marking(
        node_analysis_and_marking: tuple[slicer.vtkMRMLScalarVolumeNode, Analysis, Marking],
    ) -> tuple[slicer.vtkMRMLSegmentationNode | None, Marking]:
        """Add a proposed segmentation to the scene, beside its scan, if anything was marked.

        Returns
        -------
        (vtkMRMLSegmentationNode or None, Marking)

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        scan, analysis, marking = node_analysis_and_marking
        if not marking.mask.any():
            return None, marking
        return show_marking(create_scene(), marking, analysis.head_ct, scan), marking

    @staticmethod
    def three_d_work(
        scan: slicer.vtkMRMLScalarVolumeNode,
    ) -> Callable[[Progress], tuple[slicer.vtkMRMLScalarVolumeNode, vtk.vtkPolyData]]:
        """Read a scan and return the making of its skull as a callable (progress) -> (node, surface)."""
        head_ct, step = head_ct_from_node(scan), _("Skull")

        def work(progress):
            progress(0.0, step)
            return scan, skull_surface(head_ct)

        return work

    @staticmethod
    def show_three_d(
        node_and_surface: tuple[slicer.vtkMRMLScalarVolumeNode, vtk.vtkPolyData],
    ) -> slicer.vtkMRMLModelNode:
        """Show the skull as glass around the segments of its scan, in the 3-D views.

        Returns
        -------
        vtkMRMLModelNode

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        scan, surface = node_and_surface
        return show_in_3d(create_scene(), scan, surface)

    @staticmethod
    def toggle_segments(scan: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Hide the segmentations of a scan, or show them if all are hidden."""
        nodes = nodes_of_class(create_scene(), "vtkMRMLSegmentationNode")
        displays = [node.GetDisplayNode() for node in nodes if belongs_to(node, scan) is not False]
        displays = [display for display in displays if display is not None]
        shown = any(display.GetVisibility() for display in displays)
        for display in displays:
            display.SetVisibility(not shown)

    @staticmethod
    def clinical_context(scan: slicer.vtkMRMLScalarVolumeNode) -> ClinicalContext:
        """Entered clinical values of a scan's patient."""
        return clinical.context_of(scan)

    def keep_clinical_context(self, scan: slicer.vtkMRMLScalarVolumeNode, context: ClinicalContext) -> None:
        """Store clinical values with the scan, and write the scores if it was analyzed."""
        clinical.keep_context(scan, context)
        assessment = self.assess(scan)
        if assessment is not None:
            clinical.write_table(create_scene(), scan, assessment)

    def assess(self, scan: slicer.vtkMRMLScalarVolumeNode | None) -> ClinicalAssessment | None:
        """Scores and alerts for the patient of a scan as a ClinicalAssessment; None if it was not analyzed as it is."""
        facts = current_result(scan)
        if facts is None:
            return None
        read = {"findings": Findings.from_dict(facts["findings"]), "clinical": facts["clinical_inputs"]}
        result = SimpleNamespace(**facts | read)
        return assess(result, scan_facts(scan), clinical.context_of(scan))


def _select_comparison_table(scan):
    table = results.result_node(scan, "volume comparison")
    if table:
        results.select_table(table)


def _choices(segments):
    if not isinstance(segments, (list, tuple)):
        segments = [segments]
    nested = ([given] if isinstance(given, SegmentChoice) else segments_of(given) for given in segments)
    found = [choice for choices in nested for choice in choices]
    if not found:
        raise InputError(_("There is nothing to compare with: the given nodes contain no segment."))
    return found
