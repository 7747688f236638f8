"""The section "Repeat scan": growth since an earlier scan of the same patient."""

from html import escape

import slicer
from slicer.i18n import tr as _

from ..common.errors import ICHMultiTaskError
from ..mrml import results
from ..mrml.repeat_scan import rows
from ..mrml.scene import nodes_of_class
from .dependencies import install_missing_packages
from .work import WARNING_STYLE, Work


class RepeatSection:
    """The earlier scan, both analyses, growth and the linked views.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskRepeat.ui.
    logic : ComparisonSession
    whenShown : callable ()
        Called after the later scan's analysis was shown.
    whenViewsChanged : callable ()
        Called after the two views were filled anew.
    """

    def __init__(self, widget, logic, whenShown, whenViewsChanged):
        self.widget, self.logic = widget, logic
        self._whenShown, self._whenViewsChanged = whenShown, whenViewsChanged
        self.ui = slicer.util.childWidgetVariables(widget)
        self.work = Work(self._follow, self._ended)
        self._parameters = None
        self._guiTag = None
        widget.findChild("qMRMLNodeComboBox", "earlierSelector").setMRMLScene(slicer.mrmlScene)
        self.ui.growthButton.connect("clicked(bool)", self.onGrowthButton)
        self.ui.repeatViewsButton.connect("clicked(bool)", self.onViewsButton)

    def setParameters(self, parameters):
        """Bind the selector to a parameter node, or to none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._guiTag)
        self._parameters = parameters
        if parameters is None:
            self.work.stop()
        else:
            self._guiTag = parameters.connectGui(self.ui)
        self.update()

    def update(self):
        """Show what can be done now, and the growth where these two scans were compared."""
        ui, parameters = self.ui, self._parameters
        running = self.work.task is not None
        later = parameters.inputVolume if parameters else None
        earlier = parameters.earlierVolume if parameters else None
        volumes = nodes_of_class(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")
        hidden = [node.GetID() for node in volumes if results.is_result(node) or node is later]
        ui.earlierSelector.sortFilterProxyModel().hiddenNodeIDs = hidden
        ui.earlierSelector.enabled = not running
        ui.growthButton.text = _("Cancel") if running else _("Measure growth")
        ui.growthButton.enabled = running or None not in (earlier, later)
        ui.growthProgress.visible = running
        repeat = self.logic.repeat_of(earlier, later)
        ui.growthLabel.visible = repeat is not None
        ui.repeatViewsButton.enabled = repeat is not None
        ui.repeatViewsButton.checked = repeat is not None and self.logic.shows_repeat()
        if repeat is not None:
            ui.growthLabel.text = _html(rows(repeat))

    def onGrowthButton(self, checked=False):
        """Analyze both scans and compare them, or cancel that."""
        if self.work.task is not None:
            self.work.task.cancel()
            return
        parameters = self._parameters
        try:
            install_missing_packages()
            work = self.logic.repeat_work(
                parameters.earlierVolume,
                parameters.inputVolume,
                parameters.bundleFolder or None,
                parameters.device.value,
            )
        except ICHMultiTaskError as error:
            self._ended(str(error), True)
            return
        self._say("")
        self.work.start(work, self._onDone)
        self.update()

    def onViewsButton(self, checked):
        """Show the two scans side by side, or go back to the user's own layout."""
        if checked:
            self.logic.show_repeat_views()
        else:
            self.logic.leave_side_by_side()
        self._whenViewsChanged()

    def _onDone(self, repeat):
        self.logic.show_repeat(repeat)
        self._whenShown()

    def _follow(self, task):
        self.ui.growthProgress.value = round(100 * task.fraction)
        self.ui.growthProgress.setFormat(_("Canceling…") if task.canceled else task.message)

    def _ended(self, text, failed):
        self._say(text, failed)
        self.update()

    def _say(self, text, failed=False):
        self.ui.growthStatusLabel.text = text
        self.ui.growthStatusLabel.styleSheet = WARNING_STYLE if failed else ""
        self.ui.growthStatusLabel.visible = bool(text)


def _html(cells):
    lines = []
    for measure, value, unit in ([escape(text) for text in row] for row in cells):
        if measure == "Note":
            lines.append(f"<tr><td colspan='2'>⚠ {value}</td></tr>")
        else:
            lines.append(f"<tr><td>{measure}</td><td style='padding-left: 10px'><b>{value}</b> {unit}</td></tr>")
    return f"<table>{''.join(lines)}</table>"
