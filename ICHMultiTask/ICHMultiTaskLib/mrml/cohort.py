"""The comparison of a cohort as a table node. Needs no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.numbers import p_value, with_interval
from ..comparison.cohort import CohortComparison
from ..report.cohort import METRICS
from .results import fill_table, select_table
from .translation import tr as _

if TYPE_CHECKING:
    import slicer


def show_cohort(scene: slicer.vtkMRMLScene, comparison: CohortComparison, name: str) -> slicer.vtkMRMLTableNode:
    """Add the table of a cohort comparison and show it in the table views of the layout.

    Parameters
    ----------
    scene : vtkMRMLScene
    comparison : CohortComparison
    name : str
        Of the cohort, such as the name of its file.

    Returns
    -------
    vtkMRMLTableNode
        One row per method, with 95 % bootstrap intervals in parentheses; p values are of tests against
        `comparison.against`.
    """
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{name} comparison"))
    fill_table(table, titles(), rows(comparison))
    select_table(table)
    return table


def titles() -> tuple[str, ...]:
    """Titles of the table's columns."""
    tests = _("Wilcoxon p (Holm)"), _("McNemar p (Holm)")
    return _("Method"), _("Patients"), *(title for _key, title, *_rest in METRICS), *tests


def rows(comparison: CohortComparison) -> list[tuple[str, ...]]:
    """Cells of the table, as text, in the order of `titles`."""
    tests = {test["name"]: test for test in comparison.tests}
    return [
        (
            row["name"],
            str(row["patients"]),
            *(with_interval(row[key], row["intervals_95"][key], digits, factor) for key, _t, digits, factor in METRICS),
            *(p_value(tests.get(row["name"], {}).get(f"{test}_p_holm")) for test in ("wilcoxon", "mcnemar")),
        )
        for row in comparison.rows
    ]
