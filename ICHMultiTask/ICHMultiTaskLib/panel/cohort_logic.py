"""Comparison of a cohort's volumes with reference volumes. Needs no Qt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import Progress
from ..comparison.cohort import CohortComparison, compare_cohort
from ..mrml.cohort import show_cohort
from ..mrml.scene import create_scene
from ..report.cohort import report_cohort
from .analysis_logic import show_table_layout, unused_folder

if TYPE_CHECKING:
    import slicer


class CohortLogic:
    """Compares the volumes in a table."""

    @staticmethod
    def work(tables: str | os.PathLike) -> Callable[[Progress], CohortComparison]:
        """Return the comparison of a cohort's tables as a callable (progress) -> CohortComparison."""
        return lambda progress: compare_cohort(tables)

    @staticmethod
    def show(comparison: CohortComparison, name: str) -> slicer.vtkMRMLTableNode:
        """Show a cohort comparison in a new table node below the views, and return the node."""
        show_table_layout()
        return show_cohort(create_scene(), comparison, name)

    @staticmethod
    def report_work(tables: str | os.PathLike, parent: str | os.PathLike) -> Callable[[Progress], Path]:
        """Return a callable (progress) -> path of report.html that writes a cohort's report into a new folder."""
        destination = unused_folder(parent, f"{Path(tables).stem}-comparison")

        def write(progress):
            report_cohort(tables, destination)
            return destination / "report.html"

        return write
