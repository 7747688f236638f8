"""The section "Compare": the analysis compared with segments of the scene."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..mrml.kept_results import current_result
from ..mrml.scene import let_views_settle, nodes_of_class
from ..mrml.translation import local
from .colors import disagrees, set_warning
from .compare_state import NO, SECTION
from .fitting import fitting_font
from .scan_table import ScanTableDialog
from .scan_table_state import SECTION as TABLE
from .scan_table_state import ScanTableState

if TYPE_CHECKING:
    from ..mrml.segments import SegmentChoice
    from .compare_state import CompareState

_CELL_FRAME = 10
"""Pixels of a cell beside its text."""
WAIT_MSEC = 500
"""After an edit the comparison waits this long for the next one."""
_SEGMENTATION_EVENTS = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved", "SegmentModified")


def _columns():
    return (
        (_("Method"), ""),
        (_("mL"), _("Volume by this method")),
        (_("± mL"), _("Difference to the model's volume")),
        (_("± %"), _("Difference in percent of the model's volume")),
        (_("Int."), _("Whether the volume lies in the model's interval")),
        (_("5 mL"), _("Whether it is within 5 mL of the model's volume")),
        (_("20 %"), _("Whether it is within 20 % of the model's volume")),
    )


class CompareSection(VTKObservationMixin):
    """Widgets of a CompareState, which follows the scene's segments even while another module is open.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskCompare.ui.
    state : CompareState
    """

    def __init__(self, widget: qt.QWidget, state: CompareState):
        VTKObservationMixin.__init__(self)
        self.widget, self.state, self.panel = widget, state, state.panel
        self.ui = slicer.util.childWidgetVariables(widget)
        self.whenEdited = lambda: None
        """Called before the Segment Editor is opened."""
        self._filling = False
        self._shown = self._drawn = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MSEC)
        self._timer.connect("timeout()", self.refresh)
        state.when_stale = self._timer.start
        self.ui.remarksLabel.textFormat = self.ui.tableLabel.textFormat = qt.Qt.RichText
        set_warning(self.ui.remarksLabel, True)
        self.ui.segmentList.connect("currentRowChanged(int)", self._onCurrentRowChanged)
        self.ui.segmentList.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)
        self.ui.diametersBox.connect("toggled(bool)", lambda checked: self._showDiameters(jump=True))
        self.ui.sideBySideButton.connect("clicked(bool)", self.onSideBySideButton)
        self.ui.threeDButton.connect("clicked(bool)", lambda checked: self.panel.attempt(SECTION, state.show_three_d))
        self.ui.tablesButton.connect("clicked(bool)", self.onTablesButton)
        self.ui.markButton.connect("clicked(bool)", self.onMarkButton)
        self.ui.segmentEditorButton.connect("clicked(bool)", self.onSegmentEditorButton)
        self.scanTable = ScanTableState(state)
        self.ui.addToTableButton.connect("clicked(bool)", self.onAddToTableButton)
        self._fitColumns()
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onSceneChanged)

    def cleanup(self) -> None:
        """Stop the timer and remove all observers."""
        self._timer.stop()
        self.removeObservers()

    def refresh(self) -> None:
        """List the segments; repeat the comparison if anything changed."""
        self._timer.stop()
        for className in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
            for node in nodes_of_class(slicer.mrmlScene, className):
                self._observe(node)
        self.panel.attempt(SECTION, self.state.refresh)
        self._fillList()
        self.update()

    def current(self) -> SegmentChoice | None:
        """The highlighted segment, else the first ticked one, else None."""
        row, choices = self.ui.segmentList.currentRow, self.state.choices
        return choices[row] if 0 <= row < len(choices) else next(iter(self.state.ticked()), None)

    def onSideBySideButton(self, checked: bool) -> None:
        """Show the two linked views, or go back to the user's own layout."""
        if checked:
            self._drawn = None
            self.panel.logic.comparison.hide_diameters()  # which each change of the views would draw again
            let_views_settle()
            self.panel.logic.comparison.show_side_by_side(self.panel.scan)
            let_views_settle()
            self._showDiameters(jump=True)
        else:
            self.panel.logic.comparison.leave_side_by_side()
        self.panel.changed()

    def onTablesButton(self, checked: bool = False) -> None:
        """Show the comparison as a table below the views."""
        self.panel.logic.comparison.show_tables(self.panel.scan)

    def onMarkButton(self, checked: bool = False) -> None:
        """Propose a segmentation of the bleed and compare with it."""
        self.panel.attempt(SECTION, self.state.mark)

    def onSegmentEditorButton(self, checked: bool = False) -> None:
        """Open the Segment Editor on the highlighted segment, and hide the map, which would cover the bleed."""
        choice = self.current()
        node = slicer.mrmlScene.GetNodeByID(choice.node_id)
        self.whenEdited()
        let_views_settle()
        widget = slicer.modules.segmenteditor.widgetRepresentation()  # made when it is first asked for
        let_views_settle()
        slicer.util.selectModule("SegmentEditor")
        let_views_settle()
        editor = widget.self().editor
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(self.panel.scan)
        editor.setCurrentSegmentID(choice.segment_id)

    def onAddToTableButton(self, checked: bool = False) -> None:
        """Add the scan and the highlighted segment to a table that the user chooses."""
        choice = self.current()
        answer = ScanTableDialog(self.scanTable.proposed_patient(), choice.short_name).ask()
        if answer is not None:
            self.addToTable(choice, *answer)

    def addToTable(self, choice: SegmentChoice, table: str, patientID: str, died: int | None) -> None:
        """Add the scan and a segment to a table."""
        self.panel.attempt(TABLE, lambda: self.scanTable.add(table, choice, patientID, died))

    def update(self) -> None:
        """Show the latest comparison, or the reason why there is none, and update the buttons."""
        ui, state, compared = self.ui, self.state, self.state.compared
        ui.markButton.text = _("Marking…") if state.marking else _("Mark the bleed")
        ui.markButton.enabled = state.can_mark
        logic, scan = self.panel.logic.comparison, self.panel.scan
        ui.sideBySideButton.checked = logic.shows_side_by_side(scan)
        ui.sideBySideButton.enabled = current_result(scan) is not None or ui.sideBySideButton.checked
        ui.threeDButton.enabled = scan is not None
        ui.tablesButton.enabled = ui.diametersBox.enabled = compared is not None
        ui.segmentEditorButton.enabled = self._isSegmentation(self.current())
        ui.addToTableButton.enabled = self.scanTable.can_add(self.current())
        said = self.panel.message(TABLE)
        ui.tableLabel.text, ui.tableLabel.visible = said.text, bool(said.text)
        set_warning(ui.tableLabel, said.failed)
        reason, message = state.reason(), self.panel.message(SECTION)
        ui.noComparisonLabel.text, ui.noComparisonLabel.visible = reason, bool(reason)
        ui.comparisonWidget.visible = compared is not None
        sentences = [*([message.text] if message.failed else ()), *map(escape, state.remarks())]
        ui.remarksLabel.text = local("<br>".join(f"⚠ {sentence}" for sentence in sentences))
        ui.remarksLabel.visible = bool(sentences)
        if compared is self._shown:
            return
        self._shown = compared
        self._showDiameters()
        if compared is not None:
            self._fillTable()
            parts = ["<br>".join([f"<b>{escape(name)}</b>", *map(escape, lines)]) for name, lines in state.sentences()]
            ui.sentencesLabel.text = local("<p>" + "</p><p>".join(parts) + "</p>")
            if logic.shows_side_by_side(scan):
                logic.keep_segments_right()

    def _onItemChanged(self, item):
        if self._filling or self.panel.parameters is None:
            return
        choice = self.state.choices[self.ui.segmentList.row(item)]
        self.state.tick([choice], item.checkState() == qt.Qt.Checked)

    def _onCurrentRowChanged(self, row):
        if not self._filling:
            self._showDiameters(jump=True)
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onSceneChanged(self, scene, event, node):
        if node is not None and (node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLLabelMapVolumeNode")):
            self._timer.start()

    def _observe(self, node):
        events = [vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent]
        if node.IsA("vtkMRMLSegmentationNode"):
            events += [getattr(slicer.vtkSegmentation, name) for name in _SEGMENTATION_EVENTS]
        else:
            events.append(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
        for event in events:
            if not self.hasObserver(node, event, self._onSegmentsChanged):
                self.addObserver(node, event, self._onSegmentsChanged)
        displayed = slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent
        if not self.hasObserver(node, displayed, self._onDisplayChanged):
            self.addObserver(node, displayed, self._onDisplayChanged)

    def _onSegmentsChanged(self, caller=None, event=None):
        self.state.edited()

    def _onDisplayChanged(self, caller=None, event=None):
        self._timer.start()

    def _fillList(self):
        segmentList, state = self.ui.segmentList, self.state
        row = segmentList.currentRow
        current = segmentList.item(row).data(qt.Qt.UserRole) if row >= 0 else None
        self._filling = True
        segmentList.clear()
        for choice in state.choices:
            hidden = _(", hidden") if choice.hidden else ""
            foreign = _(", of another scan") if state.is_foreign(choice) else ""
            item = qt.QListWidgetItem(f"{choice.short_name}{hidden}{foreign}")
            item.setToolTip(f"{choice.name} ({choice.reader})")
            pixmap = qt.QPixmap(12, 12)
            pixmap.fill(qt.QColor.fromRgbF(*choice.color))
            item.setIcon(qt.QIcon(pixmap))
            item.setData(qt.Qt.UserRole, " ".join(choice.key))
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if state.is_ticked(choice) else qt.Qt.Unchecked)
            font = item.font()
            font.setItalic(choice.draft or bool(foreign))
            item.setFont(font)
            segmentList.addItem(item)
            if " ".join(choice.key) == current:
                segmentList.setCurrentItem(item)
        self._filling = False
        rows = min(max(len(state.choices), 1), 5)
        segmentList.setFixedHeight(rows * max(segmentList.sizeHintForRow(0), 20) + 8)
        segmentList.visible = bool(state.choices)

    def _fillTable(self):
        table, columns = self.ui.comparisonTable, _columns()
        table.clearSpans()
        table.setRowCount(0)
        for row in self.state.rows():
            index = table.rowCount
            table.insertRow(index)
            for column, text in enumerate(row.cells):
                item = qt.QTableWidgetItem(local(text))
                left = column == 0
                item.setTextAlignment((qt.Qt.AlignLeft if left else qt.Qt.AlignHCenter) | qt.Qt.AlignVCenter)
                item.setToolTip(" ".join(row.notes) or columns[column][1])
                if text == NO:
                    item.setForeground(qt.QBrush(qt.QColor(disagrees())))
                font = qt.QFont(table.font)
                font.setBold(row.heading)
                font.setItalic(row.draft)
                item.setFont(font)
                if row.color is not None:
                    pixmap = qt.QPixmap(12, 12)
                    pixmap.fill(qt.QColor.fromRgbF(*row.color))
                    item.setIcon(qt.QIcon(pixmap))
                table.setItem(index, column, item)
            if row.heading:
                table.setSpan(index, 0, 1, len(columns))
        height = sum(table.rowHeight(row) for row in range(table.rowCount))
        table.setFixedHeight(
            height + table.horizontalHeader().height + 4
        )  # full height: avoids a scrolling table in a scrolling panel

    def fitTable(self) -> bool:
        """Give the table the largest font in which no name of a method is cut; return whether the font has changed."""
        table = self.ui.comparisonTable
        if not table.visible:
            return False
        shown = [row.cells for row in self.state.rows() if not row.heading]
        texts = [[title, *cells] for (title, _hint), *cells in zip(_columns(), *shown)]

        def width(metrics):
            return sum(max(map(metrics.horizontalAdvance, column)) + _CELL_FRAME for column in texts)

        font = fitting_font(table.font, table.viewport().width, width)
        changed = font.pointSize() != table.font.pointSize()
        if changed:
            table.setFont(font)
            table.horizontalHeader().setFont(font)
            table.verticalHeader().setDefaultSectionSize(max(22, qt.QFontMetrics(font).height() + 6))
            self._fillTable()
        return changed

    def _fitColumns(self):
        table, columns = self.ui.comparisonTable, _columns()
        table.setColumnCount(len(columns))
        for column, (title, hint) in enumerate(columns):
            item = qt.QTableWidgetItem(title)
            item.setToolTip(hint)
            table.setHorizontalHeaderItem(column, item)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setMinimumSectionSize(30)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(22)

    def _showDiameters(self, jump=False):
        logic = self.panel.logic.comparison
        compared, current = self.state.compared, self.current()
        drawn, index = None, None
        if self.ui.diametersBox.checked and compared is not None and current in compared.choices:
            index = compared.choices.index(current)
            measures = compared.comparison.segments[index].measures
            lines = (getattr(measures, f"{letter}_line_ras_mm") for letter in "abc")
            drawn = self.panel.scan.GetID(), current.key, *(line.tobytes() for line in lines if line is not None)
        if drawn == self._drawn and not jump:  # drawing is the slowest step here
            return
        if self._drawn is not None:  # to remove lines and to draw others at once would make the window stand still
            self._drawn = None
            logic.hide_diameters()
            qt.QTimer.singleShot(0, lambda: self._showDiameters(jump))
        elif index is not None:
            self._drawn = drawn
            logic.show_diameters(self.panel.scan, index, jump)

    @staticmethod
    def _isSegmentation(choice):
        node = slicer.mrmlScene.GetNodeByID(choice.node_id) if choice else None
        return node is not None and node.IsA("vtkMRMLSegmentationNode")
