"""One user's work with an analysis beside other things: segments, a draft, an earlier scan. Needs no Qt."""

from pathlib import Path

from ..analysis.repeat import compare_with_previous
from ..comparison.cohort import compare_cohort
from ..report.cohort import report_cohort
from ..report.comparison import comparison_dict
from . import clinical, layout, repeat_scan, results
from .cohort import show_cohort
from .comparison import comparison_work, remove_tables, write_tables
from .diameters import remove_diameters, show_diameters
from .marking import show_marking
from .repeat_scan import SceneRepeat
from .scene import create_scene, nodes_of_class
from .segments import SegmentChoice, list_segments, segments_of
from .session import AnalysisSession, ignore, unused_folder
from .volumes import head_ct_from_node


class ComparisonSession(AnalysisSession):
    """Compares the latest analysis.

    As in `AnalysisSession`, methods that return work read nodes at once; the work may run in a thread, and what it
    returns goes to the `show_…` method of the same name on the main thread.

    Attributes
    ----------
    compared : SceneComparison or None
        The latest comparison with segments.
    """

    def __init__(self):
        super().__init__()
        self.compared = None
        self._repeat = None

    def forget(self):
        """Let go of the latest analysis and all comparisons with it."""
        super().forget()
        self.compared = self._repeat = None

    def show(self, nodeAndAnalysis):
        """As in `AnalysisSession`; a comparison with an earlier analysis is let go of."""
        shown = super().show(nodeAndAnalysis)
        self.compared = None
        return shown

    @staticmethod
    def segments():
        """Segments and labels in the scene that can be compared, as a list of SegmentChoice."""
        return list_segments(create_scene())

    def compare(self, segments=None, threshold=results.THRESHOLD, progress=None):
        """Compare the latest analysis with segments and write the tables; returns when it is done.

        Parameters
        ----------
        segments : segmentation or labelmap volume node, or sequence of these or of SegmentChoice, optional
            Of a node, all segments. None: every segment in the scene.
        threshold : float
            From which attention counts as shown.
        progress : callable (fraction, message), optional

        Returns
        -------
        SceneComparison

        Raises
        ------
        InputError
            If nothing was analyzed, or the scan was removed.
        """
        return self.show_comparison(self.compare_work(_choices(segments), threshold)(progress or ignore))

    def compare_work(self, choices, threshold=results.THRESHOLD):
        """Read segments and return their comparison as a callable (progress) -> SceneComparison."""
        self.check_analyzed()
        return comparison_work(self.analysis, self.attention, self.scanNode, choices, threshold)

    def show_comparison(self, compared):
        """Write a comparison into the scan's tables.

        Returns
        -------
        SceneComparison
        """
        write_tables(create_scene(), compared.scan_node, compared.comparison)
        self.compared = compared
        return compared

    def forget_comparison(self):
        """Let go of the latest comparison; its tables go too, since they would speak of what is no longer chosen."""
        if self.compared is not None:
            remove_tables(create_scene(), self.compared.scan_node)
        self.compared = None

    def show_comparison_tables(self):
        """Switch to a layout with a table view, showing the volumes of the latest comparison."""
        if not layout.is_side_by_side(create_scene()):
            self.show_table_layout()
        self._select_comparison_table()

    def show_diameters(self, index=0, jump=True):
        """Draw A, B and C of a compared segment in place of those drawn before; `jump`: go to the slice of A and B.

        Returns
        -------
        list of vtkMRMLMarkupsLineNode
        """
        self.hide_diameters()
        measures = self.compared.comparison.segments[index].measures
        return show_diameters(create_scene(), measures, self.compared.scan_node, jump)

    @staticmethod
    def hide_diameters():
        """Remove the lines of `show_diameters`."""
        remove_diameters(create_scene())

    def show_side_by_side(self):
        """Show scan and attention on the left, scan and segments on the right, linked, above the table of volumes."""
        self.check_analyzed()
        scene, scan = create_scene(), self.scanNode
        peak = self.attention.peak_ras_mm if self.attention else None
        layout.show_side_by_side(scene, (scan, results.result_node(scan, "attention")), (scan, None), peak)
        self.keep_segments_right()
        self._select_comparison_table()

    @staticmethod
    def keep_segments_right():
        """Leave the left one of the two views to the attention."""
        scene = create_scene()
        for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
            layout.keep_out_of_left_view(scene, node)

    def mark(self, volume_ml=None, progress=None):
        """Propose a segmentation of the bleed and add it to the scene; returns when it is done.

        Parameters and errors as `mark_work` and `show_marking`.

        Returns
        -------
        (vtkMRMLSegmentationNode or None, Marking)
        """
        return self.show_marking(self.mark_work(volume_ml)(progress or ignore))

    def mark_work(self, volume_ml=None):
        """Return the proposal of a segmentation as a callable (progress) -> (scan node, Analysis, Marking).

        Parameters
        ----------
        volume_ml : float, optional
            Volume that it shall have; the model's by default.

        Raises
        ------
        InputError
            If nothing was analyzed, or the scan was removed.
        """
        from ..analysis.marking import mark

        self.check_analyzed()
        node, analysis = self.scanNode, self.analysis
        return lambda progress: (node, analysis, mark(analysis, volume_ml, progress))

    @staticmethod
    def show_marking(nodeAnalysisAndMarking):
        """Add a proposed segmentation to the scene, beside its scan, where anything was marked.

        Returns
        -------
        (vtkMRMLSegmentationNode or None, Marking)

        Raises
        ------
        InputError
            If the scan was removed meanwhile.
        """
        node, analysis, marking = nodeAnalysisAndMarking
        if not marking.mask.any():
            return None, marking
        return show_marking(create_scene(), marking, analysis.head_ct, node), marking

    def compare_with_earlier(self, earlierNode, laterNode, bundle=None, device="auto", progress=None):
        """Analyze two scans of one patient and show the growth; returns when it is done.

        Parameters
        ----------
        earlierNode, laterNode : vtkMRMLScalarVolumeNode
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
        return self.show_repeat(self.repeat_work(earlierNode, laterNode, bundle, device)(progress or ignore))

    def repeat_work(self, earlierNode, laterNode, bundle=None, device="auto"):
        """Read two scans and return their comparison as a callable (progress) -> SceneRepeat.

        The later scan is not analyzed again where it just was, with the same model.
        """
        repeat_scan.check_pair(earlierNode, laterNode)
        repeat_scan.remove_alignment(create_scene(), earlierNode)
        earlier, later = head_ct_from_node(earlierNode), head_ct_from_node(laterNode)
        known = self.analysis_of(laterNode)

        def compare(progress):
            def part(start, end, what):
                return lambda f, message: progress(start + (end - start) * f, f"{what}: {message}")

            progress(0.0, "Loading the model")
            analyzer = self.analyzer_for(bundle, device)
            reused = known is not None and known.model["sha256"] == analyzer.bundle.sha256
            second = known if reused else analyzer.analyze(later, progress=part(0.0, 0.3, "Later scan"))
            first = analyzer.analyze(earlier, attention=False, progress=part(0.3, 0.6, "Earlier scan"))
            repeat = compare_with_previous(second, first, lambda f, message: progress(0.6 + 0.4 * f, message))
            return SceneRepeat(earlierNode, laterNode, second, repeat)

        return compare

    def show_repeat(self, shown):
        """Show the later scan's analysis, the growth as a table, and the earlier scan laid on the later one.

        Returns
        -------
        SceneRepeat

        Raises
        ------
        InputError
            If a scan was removed meanwhile.
        """
        scene = create_scene()
        table, _ = repeat_scan.show_repeat_scan(scene, shown)
        results.write_analysis(scene, shown.repeat.previous, shown.earlier_node)
        if self.analysis is not shown.later:
            self.show((shown.later_node, shown.later))
        results.select_table(table)
        self._repeat = shown
        return shown

    def repeat_of(self, earlierNode, laterNode):
        """Return the latest SceneRepeat if it is of these two nodes and both are still there, else None."""
        repeat = self._repeat
        if repeat is None or repeat.earlier_node is not earlierNode or self.analysis_of(laterNode) is not repeat.later:
            return None
        return repeat if earlierNode.GetScene() is not None else None

    def show_repeat_views(self):
        """Show the earlier scan on the left and the later one on the right, linked, above the table of the growth."""
        scene, repeat = create_scene(), self._repeat
        peak = repeat.later.attention.peak_ras_mm if repeat.later.attention else None
        layout.show_side_by_side(scene, (repeat.earlier_node, None), (repeat.later_node, None), peak)
        results.select_table(results.result_node(repeat.later_node, repeat_scan.TABLE))

    def shows_repeat(self):
        """Whether the two scans of the latest SceneRepeat are on show side by side."""
        return self._repeat is not None and layout.volume_on_left(create_scene()) is self._repeat.earlier_node

    def shows_side_by_side(self):
        """Whether the latest analysis is on show beside segments."""
        return self.scanNode is not None and layout.volume_on_left(create_scene()) is self.scanNode

    @staticmethod
    def clinical_context(scanNode):
        """What is known of the patient of a scan, as a ClinicalContext."""
        return clinical.context_of(scanNode)

    def keep_clinical_context(self, scanNode, context):
        """Keep what is known of the patient with the scan, and write the scores if it was analyzed."""
        clinical.keep_context(scanNode, context)
        assessment = self.assess(scanNode)
        if assessment is not None:
            clinical.write_table(create_scene(), scanNode, assessment)

    def assess(self, scanNode):
        """Scores and alerts for the patient of a scan, as a ClinicalAssessment; None if it was not analyzed last."""
        analysis = self.analysis_of(scanNode)
        return None if analysis is None else clinical.assess(scanNode, analysis)

    def comparison_for_report(self):
        """Return what was compared with the latest analysis, as the key `comparison` of report.json; None: nothing."""
        context = clinical.context_of(self.scanNode)
        repeat = self._repeat.repeat if self._repeat and self._repeat.later is self.analysis else None
        if not self.compared and context.is_empty and not repeat:
            return None
        return comparison_dict(
            self.analysis,
            self.compared.comparison if self.compared else None,
            None if context.is_empty else context,
            repeat,
        )

    @staticmethod
    def cohort_work(tables):
        """Return the comparison of a cohort's tables as a callable (progress) -> CohortComparison."""
        return lambda progress: compare_cohort(tables)

    @staticmethod
    def show_cohort(comparison, name):
        """Switch to a layout with a table view, showing a new table node of a cohort comparison, which is returned."""
        AnalysisSession.show_table_layout()
        return show_cohort(create_scene(), comparison, name)

    @staticmethod
    def cohort_report_work(tables, parent):
        """Return the writing of a cohort's report into a new folder as a callable (progress) -> path of report.html."""

        destination = unused_folder(parent, f"{Path(tables).stem}-comparison")

        def write(progress):
            report_cohort(tables, destination)
            return destination / "report.html"

        return write

    @staticmethod
    def leave_side_by_side():
        """Go back to the user's own layout."""
        layout.leave_side_by_side(create_scene())

    def _select_comparison_table(self):
        table = self.scanNode and results.result_node(self.scanNode, "volume comparison")
        if table:
            results.select_table(table)


def _choices(segments):
    if segments is None:
        return list_segments(create_scene())
    if not isinstance(segments, (list, tuple)):
        segments = [segments]
    nested = ([given] if isinstance(given, SegmentChoice) else segments_of(given) for given in segments)
    return [choice for choices in nested for choice in choices]
