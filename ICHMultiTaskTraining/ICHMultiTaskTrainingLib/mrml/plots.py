"""The curves of a run as Slicer plot charts: one chart per panel of `curves.PANELS`."""

from __future__ import annotations

import math

import slicer
import vtk

from ..training.curves import PANELS

COLORS = ((0.00, 0.45, 0.70), (0.84, 0.37, 0.00), (0.00, 0.62, 0.45))
"""Blue, vermilion and green that color-blind readers can distinguish (Okabe and Ito)."""
TAG = "ICHMultiTaskTraining.Curves"
MARKED_POINTS = 40
"""Up to this many points are drawn with markers; a single point would be invisible as a line."""


def show_history(scene: slicer.vtkMRMLScene, history: list[dict]) -> dict[str, slicer.vtkMRMLPlotChartNode]:
    """Plot a history; nodes of an earlier one are reused.

    Parameters
    ----------
    scene : vtkMRMLScene
    history : list of dict
        As in `history.json`; values may be missing or None.

    Returns
    -------
    dict of str to vtkMRMLPlotChartNode
        Charts by title, for panels with values in the history.
    """
    charts = {}
    for title, curves in PANELS.items():
        # A loss of weight 0 is always 0.
        drawn = {name: label for name, label in curves.items() if any(entry.get(name) for entry in history)}
        if drawn:
            charts[title] = _show_chart(scene, title, drawn, history)
    return charts


def forget_history(scene: slicer.vtkMRMLScene) -> None:
    """Remove the charts with their series and tables."""
    for node in _tagged(scene, ""):
        scene.RemoveNode(node)


def _show_chart(scene, title, curves, history):
    chart = _node(scene, "vtkMRMLPlotChartNode", title)
    wanted = [_show_series(scene, n, name, label, history) for n, (name, label) in enumerate(curves.items())]
    with slicer.util.NodeModify(chart):
        chart.SetTitle("")
        chart.SetXAxisTitle("Epoch")
        chart.SetYAxisTitle(title)
        chart.SetAxisTitleFontSize(12)
        chart.SetAxisLabelFontSize(11)
        chart.SetLegendFontSize(11)
        chart.SetLegendVisibility(len(wanted) > 1)
        if [chart.GetNthPlotSeriesNodeID(n) for n in range(chart.GetNumberOfPlotSeriesNodes())] != [
            series.GetID() for series in wanted
        ]:
            chart.RemoveAllPlotSeriesNodeIDs()
            for series in wanted:
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _show_series(scene, number, name, label, history):
    points = [(entry["epoch"], entry[name]) for entry in history if _is_number(entry.get(name))]
    drawn = points * 2 if len(points) == 1 else points  # of one alone VTK complains that it is no line
    table = _node(scene, "vtkMRMLTableNode", name)
    columns = vtk.vtkTable()
    for title, values in zip(("Epoch", label), zip(*drawn)):
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        columns.AddColumn(column)
    table.SetAndObserveTable(columns)
    series = _node(scene, "vtkMRMLPlotSeriesNode", name)
    with slicer.util.NodeModify(series):
        series.SetName(label)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("Epoch")
        series.SetYColumnName(label)
        series.SetPlotType(series.PlotTypeScatter)
        marked = len(points) <= MARKED_POINTS
        series.SetMarkerStyle(series.MarkerStyleCircle if marked else series.MarkerStyleNone)
        series.SetLineStyle(series.LineStyleSolid if len(points) > 1 else series.LineStyleNone)
        series.SetColor(COLORS[number])
    return series


def _is_number(value):
    return value is not None and math.isfinite(value)


def _node(scene, className, name):
    """The node of that name, created if missing; hidden and not saved, because its data are in the run's folder."""
    for node in _tagged(scene, name):
        if node.IsA(className):
            return node
    node = scene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(TAG, name)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    return scene.AddNode(node)


def _tagged(scene, name):
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.GetAttribute(TAG) and name in ("", node.GetAttribute(TAG))]
