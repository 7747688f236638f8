"""Facade of the module's logic. Needs no Qt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import Progress
from ..mrml import clinical
from ..report.comparison import comparison_dict
from .analysis_logic import AnalysisLogic
from .cohort_logic import CohortLogic
from .comparison_logic import ComparisonLogic
from .growth_logic import GrowthLogic

if TYPE_CHECKING:
    import slicer

    from ..mrml.results import ResultNodes


class Logic:
    """All operations of the panel, also for scripts.

    Attributes
    ----------
    analysis : AnalysisLogic
    comparison : ComparisonLogic
    growth : GrowthLogic
    cohort : CohortLogic
    """

    def __init__(self):
        self.analysis = AnalysisLogic()
        self.comparison = ComparisonLogic(self.analysis)
        self.growth = GrowthLogic(self.analysis)
        self.cohort = CohortLogic()

    def process(
        self, scan: slicer.vtkMRMLScalarVolumeNode, progress: Progress | None = None, **choices: object
    ) -> ResultNodes:
        """As `AnalysisLogic.process`."""
        return self.analysis.process(scan, progress, **choices)

    def report_work(
        self, scan: slicer.vtkMRMLScalarVolumeNode, parent: str | os.PathLike, progress: Progress | None = None
    ) -> Callable[[Progress], Path]:
        """As `AnalysisLogic.report_work`, with all that was compared with the scan."""
        return self.analysis.report_work(scan, parent, self.compared_for_report(scan), progress)

    def compared_for_report(self, scan: slicer.vtkMRMLScalarVolumeNode) -> dict | None:
        """Return what was compared with a scan, as the key `comparison` of report.json; None: nothing."""
        context, repeat = clinical.context_of(scan), self.growth.latest_of(scan)
        compared = self.comparison.compared_with(scan)
        analysis = self.analysis.check_analyzed(scan)
        if not compared and context.is_empty and not repeat and analysis.findings is None:
            return None
        return comparison_dict(
            analysis,
            compared.comparison if compared else None,
            None if context.is_empty else context,
            repeat.repeat if repeat else None,
        )

    def forget(self) -> None:
        """Release the results in memory, for instance when the scene is closed; the network is kept."""
        for part in (self.analysis, self.comparison, self.growth):
            part.forget()
