"""Section of the training panel with the curves of a run."""

from __future__ import annotations

from types import SimpleNamespace

import slicer

from ..mrml.plots import forget_history, show_history

HEIGHT = 230
"""Pixels of the drawing."""


class CurvesSection:
    """One chart at a time, chosen from those for which the history has values.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel.
    """

    def __init__(self, ui: SimpleNamespace):
        self.ui = ui
        self._charts, self._history = {}, None
        node = slicer.vtkMRMLPlotViewNode()
        node.SetLayoutName("ICHMultiTaskTraining")
        node.SetSingletonTag("ICHMultiTaskTraining")
        self._view = slicer.mrmlScene.AddNode(node)
        self.plot = slicer.qMRMLPlotView()
        self.plot.setMRMLScene(slicer.mrmlScene)
        self.plot.setMRMLPlotViewNode(self._view)
        self.plot.setFixedHeight(HEIGHT)
        ui.curvesButton.layout().addWidget(self.plot)
        ui.curveSelector.connect("currentIndexChanged(int)", self._showChosen)
        ui.curveLayoutButton.connect("clicked(bool)", self.onLayoutButton)
        self.show([])

    def cleanup(self) -> None:
        """Remove the nodes."""
        forget_history(slicer.mrmlScene)
        self.plot.setMRMLPlotViewNode(None)
        slicer.mrmlScene.RemoveNode(self._view)

    def show(self, history: list[dict]) -> None:
        """Draw a history, unless it is shown already."""
        gone = any(slicer.mrmlScene.GetNodeByID(chart.GetID()) is not chart for chart in self._charts.values())
        if history is self._history and not gone:
            return
        self._history = history
        self._charts = show_history(slicer.mrmlScene, history)
        ui, selector = self.ui, self.ui.curveSelector
        titles = list(self._charts)
        if [selector.itemText(n) for n in range(selector.count)] != titles:
            chosen, blocked = selector.currentText, selector.blockSignals(True)
            selector.clear()
            selector.addItems(titles)
            selector.currentIndex = max(0, selector.findText(chosen))
            selector.blockSignals(blocked)
        some = bool(titles)
        ui.curveSelector.visible = ui.curveLayoutButton.visible = self.plot.visible = some
        ui.noCurvesLabel.visible = not some
        self._showChosen()

    def onLayoutButton(self, checked: bool = False) -> None:
        """Show the chart in place of the slice views."""
        slicer.modules.plots.logic().ShowChartInLayout(self._charts[self.ui.curveSelector.currentText])

    def _showChosen(self, index=0):
        chart = self._charts.get(self.ui.curveSelector.currentText)
        self._view.SetPlotChartNodeID(chart.GetID() if chart else None)
        self.plot.fitToContent()
