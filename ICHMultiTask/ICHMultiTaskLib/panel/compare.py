"""The section "Compare": the analysis beside segments of the scene."""

from html import escape

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..common.errors import ICHMultiTaskError
from ..mrml.comparison import NOT_COMPUTED, attention_sentence, cells, measures_sentence, reader_rows
from ..mrml.scene import nodes_of_class
from ..mrml.segments import segments_of
from .work import WARNING_STYLE, Work

WAIT_MSEC = 500
"""After an edit the comparison waits this long for the next one."""
_DISAGREES = "#c0392b"
_COLUMNS = (
    ("Method", ""),
    ("mL", "Volume by this method"),
    ("± mL", "Difference to the model's volume"),
    ("± %", "Difference in percent of the model's volume"),
    ("Interval", "Whether the volume lies in the model's interval"),
    ("5 mL", "Whether it is within 5 mL of the model's volume"),
    ("20 %", "Whether it is within 20 % of the model's volume"),
)
_SEGMENTATION_EVENTS = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved", "SegmentModified")


class CompareSection(VTKObservationMixin):
    """Follows the segments of the scene, whichever module is on show.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskCompare.ui.
    logic : ComparisonSession
    whenViewsChanged : callable ()
        Called after the two views were filled anew.
    """

    def __init__(self, widget, logic, whenViewsChanged):
        VTKObservationMixin.__init__(self)
        self.widget, self.logic, self._whenViewsChanged = widget, logic, whenViewsChanged
        self.ui = slicer.util.childWidgetVariables(widget)
        self.work = Work(lambda task: None, self._ended)
        self.marking = Work(lambda task: None, self._markingEnded)
        self._parameters = None
        self._analysis = None
        self._choices = []
        self._changed = True
        self._filling = False
        self._draft = None  # what was marked last: the analysis, the Marking, and the key of its segment or None
        self._marked = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MSEC)
        self._timer.connect("timeout()", self.update)
        self.ui.segmentList.connect("currentRowChanged(int)", self._onCurrentRowChanged)
        self.ui.segmentList.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)
        self.ui.diametersBox.connect("toggled(bool)", lambda checked: self._showDiameters(jump=True))
        self.ui.sideBySideButton.connect("clicked(bool)", self.onSideBySideButton)
        self.ui.tablesButton.connect("clicked(bool)", lambda checked: self.logic.show_comparison_tables())
        self.ui.markButton.connect("clicked(bool)", self.onMarkButton)
        self.ui.segmentEditorButton.connect("clicked(bool)", self.onSegmentEditorButton)
        self._fitColumns()
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onSceneChanged)

    def cleanup(self):
        """Stop and observe nothing."""
        self._timer.stop()
        self.stop()
        self.removeObservers()

    def stop(self):
        """Forget what runs: it is about what is no longer on show."""
        self.work.stop()
        self.marking.stop()

    def setParameters(self, parameters):
        """Take the parameter node that keeps which segments are chosen; None while the scene is closed."""
        self._parameters = parameters
        if parameters is None:
            self.stop()
        self.schedule()

    def schedule(self, changed=True):
        """Update after a short while; `changed`: what is compared may have changed, not only how it looks."""
        self._changed = self._changed or changed
        self._timer.start()

    def update(self):
        """List the segments; compare the chosen ones again if anything changed."""
        self._timer.stop()
        self._fillList()
        chosen = self.chosen()
        analysis = self.logic.analysis_of(self._parameters.inputVolume) if self._parameters else None
        if analysis is None or not chosen:
            self.work.stop()
            self.logic.forget_comparison()
            self._changed = True
            self._showDiameters()
            self._show()
        elif self._changed:
            self._changed = False
            try:
                work = self.logic.compare_work(chosen, self._parameters.overlayThreshold)
            except ICHMultiTaskError as error:
                self._ended(str(error), True)
            else:
                self.work.start(work, self._onCompared)
        self.updateButtons()

    def chosen(self):
        """Ticked segments, as a list of SegmentChoice."""
        keys = set(self._parameters.comparedSegments) if self._parameters else ()
        return [choice for choice in self._choices if _key(choice) in keys]

    def _current(self):
        """The highlighted segment, else the first ticked one, else None."""
        row = self.ui.segmentList.currentRow
        return self._choices[row] if 0 <= row < len(self._choices) else next(iter(self.chosen()), None)

    def choose(self, choices):
        """Tick segments, and those alone."""
        self._parameters.comparedSegments = [_key(choice) for choice in choices]
        self.schedule()

    def onSideBySideButton(self, checked):
        """Show the two linked views, or go back to the user's own layout."""
        if checked:
            self.logic.show_side_by_side()
            self._showDiameters(jump=True)
        else:
            self.logic.leave_side_by_side()
        self._whenViewsChanged()

    def onMarkButton(self, checked=False):
        """Propose a segmentation of the bleed and compare with it."""
        try:
            self.marking.start(self.logic.mark_work(), self._onMarked)
        except ICHMultiTaskError as error:
            self._markingEnded(str(error), True)
        self.updateButtons()

    def _onMarked(self, nodeAnalysisAndMarking):
        node, marking = self.logic.show_marking(nodeAnalysisAndMarking)
        key = None
        if node is not None and self._parameters:
            (draft,) = segments_of(node)
            self._parameters.comparedSegments = [*self._parameters.comparedSegments, _key(draft)]
            key = self._marked = draft.key
            self.ui.segmentList.setCurrentRow(-1)
        self._draft = nodeAnalysisAndMarking[1], marking, key
        self.schedule()

    def _markingNotes(self, compared):
        """What was said of the draft, until another scan is chosen or a person has corrected the segment."""
        analysis, marking, key = self._draft or (None, None, None)
        if marking is None or self.logic.analysis_of(self._parameters and self._parameters.inputVolume) is not analysis:
            return ()
        found = zip(compared.choices, compared.comparison.segments) if compared else ()
        volumes = {choice.key: segment.measures.volume_ml for choice, segment in found}
        return marking.notes if key is None or abs(volumes.get(key, -1) - marking.volume_ml) < 0.01 else ()

    def _markingEnded(self, text, failed):
        if failed:
            self._warn([text])
        self.updateButtons()

    def onSegmentEditorButton(self, checked=False):
        """Open the Segment Editor on the first ticked segment."""
        choice = self._current()
        node = slicer.mrmlScene.GetNodeByID(choice.node_id)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(self._parameters.inputVolume)
        editor.setCurrentSegmentID(choice.segment_id)

    def _onCompared(self, compared):
        self.logic.show_comparison(compared)
        self._showDiameters()
        self._show()
        if self.logic.shows_side_by_side():
            self.logic.keep_segments_right()

    def _ended(self, text, failed):
        if failed:
            self.logic.forget_comparison()
            self._show()
            self._warn([text])
        self.updateButtons()

    def _onItemChanged(self, item):
        if self._filling or self._parameters is None:
            return
        items = [self.ui.segmentList.item(row) for row in range(self.ui.segmentList.count)]
        self._parameters.comparedSegments = [
            item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked
        ]
        self.schedule()

    def _onCurrentRowChanged(self, row):
        if not self._filling:
            self._showDiameters(jump=True)
            self.updateButtons()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onSceneChanged(self, scene, event, node):
        if node is not None and (node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLLabelMapVolumeNode")):
            self.schedule()

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
        self.schedule()

    def _onDisplayChanged(self, caller=None, event=None):
        self.schedule(changed=False)

    def _fillList(self):
        scene = slicer.mrmlScene
        for className in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
            for node in nodes_of_class(scene, className):
                self._observe(node)
        before, self._choices = self._choices, self.logic.segments()
        parameters = self._parameters
        known = {choice.key for choice in before}
        if parameters and len(self._choices) == 1 and self._choices[0].key not in known:
            parameters.comparedSegments = [_key(self._choices[0])]  # there is nothing else to choose
        keys = set(parameters.comparedSegments) if parameters else ()
        segmentList = self.ui.segmentList
        row = segmentList.currentRow
        current = before[row].key if 0 <= row < len(before) else self._marked
        self._filling, self._marked = True, None
        segmentList.clear()
        for choice in self._choices:
            hidden = _(", hidden") if choice.hidden else ""
            text = f"{choice.name} ({choice.reader}{hidden})"
            item = qt.QListWidgetItem(text)
            item.setToolTip(text)
            pixmap = qt.QPixmap(12, 12)
            pixmap.fill(qt.QColor.fromRgbF(*choice.color))
            item.setIcon(qt.QIcon(pixmap))
            item.setData(qt.Qt.UserRole, _key(choice))
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if _key(choice) in keys else qt.Qt.Unchecked)
            segmentList.addItem(item)
            if choice.key == current:
                segmentList.setCurrentItem(item)
        self._filling = False
        rows = min(max(len(self._choices), 1), 5)
        segmentList.setFixedHeight(rows * max(segmentList.sizeHintForRow(0), 20) + 8)
        segmentList.visible = bool(self._choices)

    def _show(self):
        """Show the latest comparison, or say why there is none."""
        ui, compared = self.ui, self.logic.compared
        reason = ""
        if not self._choices:
            reason = _("There is no segment in the scene to compare with: load or draw a segmentation.")
        elif not self.chosen():
            reason = _("Tick the segments to compare with.")
        elif compared is None:
            reason = _("This scan has not been analyzed yet; press Analyze, and the comparison follows.")
        ui.noComparisonLabel.text = reason
        ui.noComparisonLabel.visible = bool(reason)
        ui.comparisonWidget.visible = compared is not None
        self._warn((*self._markingNotes(compared), *(compared.remarks if compared else ()), *_disagreements(compared)))
        if compared is None:
            return
        comparison = compared.comparison
        self._fillTable(compared)
        sentences = []
        for segment in comparison.segments:
            lines = [attention_sentence(segment, comparison.attention_head), measures_sentence(segment.measures)]
            lines = [escape(line) for line in (*lines, *segment.notes) if line]
            sentences.append("<br>".join([f"<b>{escape(segment.label)}</b>", *lines]))
        for row in reader_rows(comparison):
            first, second, dice, distance, difference, percent = map(escape, row)
            sentences.append(
                _("<b>{first}</b> against <b>{second}</b><br>Dice {dice}, Hausdorff 95 % {distance} mm, volume "
                  "{difference} mL ({percent} %).").format(
                    first=first, second=second, dice=dice, distance=distance, difference=difference, percent=percent
                )
            )  # fmt: skip
        ui.sentencesLabel.text = "<p>" + "</p><p>".join(sentences) + "</p>"

    def _fillTable(self, compared):
        table, comparison = self.ui.comparisonTable, compared.comparison
        table.clearSpans()
        table.setRowCount(0)
        interval = comparison.interval_ml
        model = f"{comparison.model_ml:.1f} mL" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else "")
        self._addHeading(_("Model: {volume}").format(volume=model), None)
        for choice, segment in zip(compared.choices, comparison.segments):
            self._addHeading(segment.label, choice.color)
            for row in segment.volumes:
                index = table.rowCount
                table.insertRow(index)
                for column, text in enumerate((row.method, *cells(row))):
                    item = qt.QTableWidgetItem(text)
                    item.setTextAlignment((qt.Qt.AlignLeft if column == 0 else qt.Qt.AlignRight) | qt.Qt.AlignVCenter)
                    item.setToolTip(" ".join(row.notes) if text == NOT_COMPUTED else _(_COLUMNS[column][1]))
                    if text == "no":
                        item.setForeground(qt.QBrush(qt.QColor(_DISAGREES)))
                    table.setItem(index, column, item)
        rows = sum(table.rowHeight(row) for row in range(table.rowCount))
        table.setFixedHeight(min(rows, 420) + table.horizontalHeader().height + 4)

    def _addHeading(self, text, color):
        table = self.ui.comparisonTable
        row = table.rowCount
        table.insertRow(row)
        item = qt.QTableWidgetItem(text)
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        if color is not None:
            pixmap = qt.QPixmap(12, 12)
            pixmap.fill(qt.QColor.fromRgbF(*color))
            item.setIcon(qt.QIcon(pixmap))
        table.setItem(row, 0, item)
        table.setSpan(row, 0, 1, len(_COLUMNS))

    def _fitColumns(self):
        table = self.ui.comparisonTable
        table.setColumnCount(len(_COLUMNS))
        for column, (title, hint) in enumerate(_COLUMNS):
            item = qt.QTableWidgetItem(_(title))
            item.setToolTip(_(hint))
            table.setHorizontalHeaderItem(column, item)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setMinimumSectionSize(30)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(22)

    def _showDiameters(self, jump=False):
        compared, current = self.logic.compared, self._current()
        if self.ui.diametersBox.checked and compared is not None and current in compared.choices:
            self.logic.show_diameters(compared.choices.index(current), jump)
        else:
            self.logic.hide_diameters()

    def _warn(self, sentences):
        self.ui.remarksLabel.text = "<br>".join(f"⚠ {escape(sentence)}" for sentence in sentences)
        self.ui.remarksLabel.styleSheet = WARNING_STYLE
        self.ui.remarksLabel.visible = bool(sentences)

    def updateButtons(self):
        """Offer what can be done now."""
        analyzed = self._parameters is not None and self.logic.analysis_of(self._parameters.inputVolume) is not None
        marking = self.marking.task is not None
        self.ui.markButton.text = _("Marking…") if marking else _("Mark the bleed")
        self.ui.markButton.enabled = analyzed and not marking
        self.ui.sideBySideButton.checked = self.logic.shows_side_by_side()
        self.ui.sideBySideButton.enabled = analyzed or self.ui.sideBySideButton.checked
        self.ui.tablesButton.enabled = self.ui.diametersBox.enabled = self.logic.compared is not None
        self.ui.segmentEditorButton.enabled = self._isSegmentation(self._current())

    @staticmethod
    def _isSegmentation(choice):
        node = slicer.mrmlScene.GetNodeByID(choice.node_id) if choice else None
        return node is not None and node.IsA("vtkMRMLSegmentationNode")


def _key(choice):
    return " ".join(choice.key)


def _disagreements(compared):
    """Sentences on segments whose volume is plainly not the model's."""
    if compared is None:
        return []
    comparison, sentences = compared.comparison, []
    for segment in comparison.segments:
        row = segment.volumes[0]
        if row.inside_interval is False or (row.inside_interval is None and row.within_20_percent is False):
            sentences.append(
                _("The volume of {segment} and the model's disagree: {volume:.1f} against {model:.1f} mL.").format(
                    segment=segment.label, volume=row.volume_ml, model=comparison.model_ml
                )
            )
    return sentences
