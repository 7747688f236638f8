"""State of the sections Analyze and Attention: available actions, running work, result on display. Needs no Qt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.choices import RuntimeLibrary, Stage
from ..model.attention import INPUT, LOCATOR, METHODS, needs_pytorch, stage_of_map
from ..model.bundle import METADATA, default_bundle
from ..model.runners import is_installed
from ..mrml import clinical, results
from ..mrml.kept_results import current_result, is_outdated
from ..mrml.translation import tr as _
from ..mrml.volumes import scan_facts
from .result_view import result_view
from .state import as_rich_text

if TYPE_CHECKING:
    import slicer

    from ..common.progress import Progress
    from ..common.work_queue import Job
    from .result_view import ResultView
    from .state import PanelState

SECTION = "analysis"
REPORT, ATTENTION, RANGE = "report", "attention", "range"


class AnalyzeState:
    """Analyzes the chosen scan, saves its report, and shows the chosen attention map.

    Parameters
    ----------
    panel : PanelState
    """

    def __init__(self, panel: PanelState):
        self.panel = panel
        self.devices = None
        self._wanted = None  # the map being computed
        self._choosing = False
        self._identity = None, None
        self._followed = None  # scan and run whose map the selectors were set to
        panel.listeners.append(self.follow_map)

    @property
    def job(self) -> Job | None:
        """The running analysis, or None."""
        return self.panel.queue.job(SECTION)

    def named(self, step: str) -> str:
        """A step of the running analysis, with the scan's name if it is not the chosen one."""
        scan = self.job.about[-1]
        return step if scan is self.panel.scan else _("{scan}: {result}").format(scan=scan.GetName(), result=step)

    @property
    def can_analyze(self) -> bool:
        """Whether a scan is chosen and no analysis is running."""
        return self.panel.scan is not None and self.job is None

    @property
    def hint(self) -> str:
        """Tooltip of the button: what it does, or why it is disabled."""
        if self.panel.scan is None:
            return _("Choose a head CT first: load one, or take it from the Sample Data module")
        return _("Measure the hemorrhage")

    @property
    def runtime(self) -> str:
        """The library that the chosen model needs, "auto" where any will do."""
        return self.panel.logic.analysis.models.library_for(self.panel.parameters.bundleFolder or None)

    @property
    def reporting(self) -> bool:
        """Whether a report is being written."""
        return self.panel.queue.job(REPORT) is not None

    def analyze(self) -> None:
        """Check the chosen scan's geometry against its files, then analyze it."""
        scan, parameters = self.panel.scan, self.panel.parameters
        analysis = self.panel.logic.analysis
        head, stage, method = self.choice()
        if needs_pytorch(stage, method) and not is_installed(RuntimeLibrary.TORCH):  # chosen elsewhere, in this scene
            _, stage, method = LOCATOR
        choices = parameters.bundleFolder or None, parameters.device.value, head, stage, method

        def checked(found):
            analysis.show_geometry(found)
            self.panel.submit(SECTION, analysis.work(scan, *choices), self._analyzed, (scan,))

        self.panel.submit(SECTION, analysis.geometry_work(scan), checked, (scan,))

    def cancel(self) -> None:
        """Stop the running analysis."""
        self.panel.queue.cancel(SECTION)

    def result(self) -> ResultView | None:
        """The result of the chosen scan; None if it was not analyzed."""
        scan = self.panel.scan
        facts = self.panel.logic.analysis.facts_of(scan)
        if facts is None:
            return None
        known = {"age": scan_facts(scan).patient_age} | clinical.context_of(scan).known
        return result_view(facts, self._chosen_model(), known, is_outdated(scan))

    def save_report(self, parent: str | os.PathLike, progress: Progress | None = None) -> None:
        """Write the report of the chosen scan into a new folder in `parent`, and show a link to it."""
        scan = self.panel.scan
        work = self.panel.logic.report_work(scan, parent, progress)

        def saved(page):
            link = f'<a href="{page.as_uri()}">{as_rich_text(page.parent.name)}</a>'
            self.panel.say(SECTION, _("Report saved: {link}").format(link=link), scan=scan)

        self.panel.submit(SECTION, work, saved, (scan,), REPORT)

    def choice(self) -> tuple[str, str, str]:
        """Head, stage and method of the chosen map."""
        parameters = self.panel.parameters
        method = parameters.attentionMethod.value
        return parameters.attentionHead.value, stage_of_map(parameters.attentionStage.value, method), method

    @staticmethod
    def offered() -> tuple[list[str], list[str]]:
        """Stages and methods of the maps that can be computed: all of them where PyTorch is installed."""
        stages, methods = list(Stage.values()), list(METHODS)
        if is_installed(RuntimeLibrary.TORCH):
            return stages, methods
        return (
            [stage for stage in stages if not needs_pytorch(stage, LOCATOR.method)],
            [method for method in methods if not needs_pytorch(LOCATOR.stage, method)],
        )

    def follow_map(self) -> None:
        """Compute another map if the user chose one; select the displayed map if the scan has changed."""
        panel, scan = self.panel, self.panel.scan
        facts = current_result(scan)
        if facts is None or self.job is not None or self._choosing:
            self._followed = self._followed if self._choosing else None
            return
        shown = shown_map(scan)
        if self._followed != (scan.GetID(), facts["analyzed"]):
            self._followed = scan.GetID(), facts["analyzed"]
            if shown is not None:
                self._choose(shown)
            return
        wanted, running = self.choice(), panel.queue.job(ATTENTION) is not None
        if wanted == shown:
            self._wanted = None
            return
        if wanted == self._wanted:
            if not running and shown is not None:  # it failed, and the reason is already shown
                self._choose(shown)
            return
        self._wanted = wanted
        analysis = panel.logic.analysis
        panel.submit(SECTION, analysis.attention_work(scan, *wanted), self._mapped, (scan,), ATTENTION)

    def _chosen_model(self):
        """`ModelBundle.identity` of the chosen model; read again only if the model or its folder has changed."""
        bundle = self.panel.parameters.bundleFolder or None
        folder = Path(bundle) if bundle else default_bundle()
        try:
            key = folder, (folder / METADATA).stat().st_mtime_ns
        except OSError:
            return None
        if self._identity[0] != key:
            self._identity = key, self.panel.logic.analysis.models.identity_of(folder)
        return self._identity[1]

    def set_overlay(self) -> None:
        """Apply the chosen opacity and threshold to the map."""
        scan, parameters = self.panel.scan, self.panel.parameters
        if scan is not None:
            results.set_overlay(scan, parameters.overlayOpacity, parameters.overlayThreshold)

    def _analyzed(self, node_and_analysis):
        scan, logic = node_and_analysis[0], self.panel.logic.analysis
        logic.show(node_and_analysis, in_views=scan is self.panel.scan)  # another may have been loaded meanwhile
        self.set_overlay()
        work = logic.range_work(scan, self.panel.parameters.device.value)
        if work is not None:  # the result is displayed meanwhile
            self.panel.submit(RANGE, work, logic.show_range, (scan,))

    def _mapped(self, node_analysis_and_attention):
        self._wanted = None
        on_show = node_analysis_and_attention[0] is self.panel.scan
        self.panel.logic.analysis.show_attention(node_analysis_and_attention, on_show)
        self.set_overlay()

    def _choose(self, shown):
        parameters, self._choosing = self.panel.parameters, True
        try:
            for name, value in zip(("attentionHead", "attentionStage", "attentionMethod"), shown):
                if value == INPUT:  # keep the stage for the next method that has one
                    continue
                setattr(parameters, name, type(getattr(parameters, name))(value))
        finally:
            self._choosing = False


def shown_map(scan: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, str, str] | None:
    """Head, stage and method of a scan's map; None if it has none."""
    node = results.result_node(scan, "attention")
    if node is None:
        return None
    found = tuple(node.GetAttribute(f"ICHMultiTask.{key}") for key in ("head", "stage", "method"))
    return found if all(found) else None
