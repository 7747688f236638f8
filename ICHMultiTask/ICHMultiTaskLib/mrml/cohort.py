"""The comparison of a cohort as a table node. Needs no Qt."""

from ..report.cohort import METRICS
from .comparison import NOT_COMPUTED
from .results import fill_table, select_table
from .translation import tr as _


def show_cohort(scene, comparison, name):
    """Add the table of a cohort comparison and show it in the table views of the layout.

    Parameters
    ----------
    scene : vtkMRMLScene
    comparison : CohortComparison
    name : str
        Of the cohort, such as that of its file.

    Returns
    -------
    vtkMRMLTableNode
        A row a method, with 95 % bootstrap intervals in brackets; p values are of tests against `comparison.against`.
    """
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{name} comparison"))
    fill_table(table, titles(), rows(comparison))
    select_table(table)
    return table


def titles():
    """Of the table's columns."""
    tests = _("Wilcoxon p (Holm)"), _("McNemar p (Holm)")
    return _("Method"), _("Patients"), *(title for _key, title, *_rest in METRICS), *tests


def rows(comparison):
    """Cells of the table, as text, in the order of `titles`."""
    tests = {test["name"]: test for test in comparison.tests}
    return [
        (
            row["name"],
            str(row["patients"]),
            *(_with_interval(row, *metric) for metric in METRICS),
            *(_p_value(tests.get(row["name"], {}).get(f"{test}_p_holm")) for test in ("wilcoxon", "mcnemar")),
        )
        for row in comparison.rows
    ]


def _with_interval(row, key, _title, decimals, factor):
    values = (row[key], *(row["intervals_95"][key] or (None, None)))
    value, low, high = (NOT_COMPUTED if v is None else f"{factor * v:.{decimals}f}" for v in values)
    return value if low == NOT_COMPUTED else f"{value} ({low} to {high})"


def _p_value(p):
    if p is None:
        return NOT_COMPUTED
    return _("below 0.001") if p < 0.001 else f"{p:.3f}"
