"""The chosen scan, the running work and the messages. Needs no Qt: widgets show the state of these classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from ..common.errors import Canceled, ICHMultiTaskError
from ..common.translation import translated
from ..common.work_queue import Job, WorkQueue
from ..mrml import focus, results
from ..mrml.comparison import rename_formulas
from ..mrml.kept_results import current_result
from ..mrml.scene import create_scene
from ..mrml.translation import tr as _
from .logic import Logic
from .result_view import headline_of

if TYPE_CHECKING:
    import slicer


class Message(NamedTuple):
    """A sentence about the last action, as rich text."""

    text: str = ""
    failed: bool = False


class PanelState:
    """State shared by all sections.

    A message belongs to a scan and a section; it is removed with the scan and by the next action.

    Attributes
    ----------
    logic : Logic
    queue : WorkQueue
        Queue of all work on the scene; the owner of a timer drains it.
    parameters : ICHMultiTaskParameterNode or None
        Or any object with its attributes; None while the scene is closed.
    listeners : list of callable ()
        Called when the display may need an update.
    """

    def __init__(self, logic: Logic | None = None, queue: WorkQueue | None = None):
        self.logic = logic or Logic()
        self.queue = queue or WorkQueue()
        self.parameters = None
        self.listeners = []
        self._messages = {}
        self._focused = None
        self.queue.listeners.append(self.changed)

    @property
    def scan(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The chosen scan, or None."""
        scan = self.parameters.inputVolume if self.parameters is not None else None
        return scan if scan is not None and scan.GetScene() is not None else None

    def changed(self) -> None:
        """Call the listeners."""
        for listener in tuple(self.listeners):
            listener()

    def choose(self, scan: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Choose a scan; None: none."""
        if self.parameters is not None:
            self.parameters.inputVolume = scan
        self.follow()

    def follow(self) -> None:
        """Bring the chosen scan into the views if another was chosen before; no-op else."""
        scan = self.scan
        if scan is not None and scan is not self._focused and scan.GetImageData() is not None:
            self._focused = scan
            self.logic.comparison.leave_side_by_side()
            focus.show_scan(create_scene(), scan)
        elif scan is None:
            self._focused = None
        self.changed()

    def scans(self) -> list[tuple[slicer.vtkMRMLScalarVolumeNode, str]]:
        """Scans to choose from, as (node, text): the name, with the result where it was analyzed as it is."""
        found = focus.scans(create_scene())
        return [(scan, self._scan_text(scan, name)) for scan, name in zip(found, focus.distinct_names(found))]

    def _scan_text(self, scan, name):
        facts = current_result(scan)
        if facts is None:
            return name
        return _("{scan}: {result}").format(scan=name, result=headline_of(facts))

    def say(
        self, section: str, text: str, failed: bool = False, scan: slicer.vtkMRMLScalarVolumeNode | None = None
    ) -> None:
        """Set a section's message about a scan, by default the chosen one; `text` is rich text."""
        scan = scan or self.scan
        self._messages[section, scan and scan.GetID()] = Message(text, failed)
        self.changed()

    def attempt(self, section: str, action: Callable[[], object]) -> None:
        """Do what a click asks for; if it cannot be done, the reason becomes the section's message."""
        try:
            action()
        except ICHMultiTaskError as error:
            self.say(section, as_rich_text(outcome_text(error)), failed=True)

    def message(self, section: str) -> Message:
        """A section's message about the chosen scan.

        Returns
        -------
        Message
        """
        return self._messages.get((section, self.scan and self.scan.GetID()), Message())

    def submit(self, section: str, work: Callable, when_done: Callable, scans: tuple = (), kind: str = "") -> Job:
        """Queue work about scans; an error becomes the section's message.

        Parameters
        ----------
        section : str
        work, when_done : callable
            As in `WorkQueue.submit`.
        scans : tuple
            Messages belong to the last one.
        kind : str
            The section's name by default.

        Returns
        -------
        Job
        """
        scan = scans[-1] if scans else None
        self._messages.pop((section, scan and scan.GetID()), None)

        def ended(error):
            if error is not None:
                self.say(section, as_rich_text(outcome_text(error)), not isinstance(error, Canceled), scan)

        return self.queue.submit(kind or section, work, when_done, ended, scans)

    def scan_removed(
        self, scan_id: str, scan: slicer.vtkMRMLScalarVolumeNode, remains: Sequence[slicer.vtkMRMLNode]
    ) -> None:
        """Remove a scan's results, messages and work after the scan was removed from the scene.

        Parameters
        ----------
        scan_id : str
            Of the node that is gone.
        scan : vtkMRMLScalarVolumeNode
        remains : list of vtkMRMLNode
            What belonged to it, as `results.results_of` and its like said before.
        """
        self.queue.drop(scan)
        self._messages = {key: value for key, value in self._messages.items() if key[1] != scan_id}
        scene = create_scene()
        for node in remains:
            if node.GetScene() is scene:
                results.remove_with_display(scene, node)
        if self._focused is scan or self.scan is None:
            self._focused = None
            left = focus.scans(scene)
            if self.parameters is not None and left:
                self.parameters.inputVolume = left[0]
        self.follow()

    def scene_changed(self) -> None:
        """Update after a scene was opened or something was undone."""
        rename_formulas(create_scene())
        if self.parameters is not None and self.scan is None:
            self.parameters.inputVolume = self.logic.analysis.suggested_scan()
        self.follow()

    def scene_closing(self) -> None:
        """Stop everything and forget the scene."""
        self.queue.drop()
        self.logic.comparison.leave_side_by_side()
        self.logic.forget()
        self._messages.clear()
        self._focused = self.parameters = None
        self.changed()


def outcome_text(error: BaseException) -> str:
    """The message for the user about an error or a cancellation.

    Parameters
    ----------
    error : Exception
    """
    if isinstance(error, Canceled):
        return _("Canceled.")
    if isinstance(error, ICHMultiTaskError):
        return translated(error)
    return _("Failed: {error} (details in the error log)").format(error=translated(error))


def as_rich_text(text: str) -> str:
    """A text for a label of rich text: names of scans and files may contain "<" and "&"."""
    return escape(text, quote=False).replace("\n", "<br>")


def belongings(scan: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLNode]:
    """Nodes that belong to a scan: its results, its lines, its correction."""
    return [*results.results_of(scan), *focus.others_of(scan)]
