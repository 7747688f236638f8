"""State of the section Repeat scan: the earlier scan, growth and the linked views. Needs no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.translation import translated
from ..mrml import focus
from ..mrml.repeat_scan import alignment_rows, growth_rows
from ..mrml.scene import create_scene
from ..mrml.segments import states
from ..mrml.translation import tr as _
from ..report.comparison import growth_verdict

if TYPE_CHECKING:
    import slicer

    from ..common.work_queue import Job
    from ..mrml.repeat_scan import SceneRepeat
    from .state import PanelState

SECTION = "growth"


class RepeatState:
    """Growth of the chosen scan since an earlier one.

    Parameters
    ----------
    panel : PanelState
    """

    def __init__(self, panel: PanelState):
        self.panel = panel
        self.later_outline = False
        self._outlined = None  # the later scan's segments as they were drawn over the earlier one
        panel.listeners.append(self._follow_edits)

    @property
    def earlier(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The chosen earlier scan, or None."""
        parameters = self.panel.parameters
        earlier = parameters.earlierVolume if parameters is not None else None
        return earlier if earlier is not None and earlier.GetScene() is not None else None

    def candidates(self) -> list[tuple[slicer.vtkMRMLScalarVolumeNode, str]]:
        """Candidates for the earlier scan, as (node, text)."""
        return [(node, text) for node, text in self.panel.scans() if node is not self.panel.scan]

    @property
    def job(self) -> Job | None:
        """The running comparison, or None."""
        return self.panel.queue.job(SECTION)

    @property
    def can_measure(self) -> bool:
        """Whether two different scans are chosen and no comparison is running."""
        scan, earlier = self.panel.scan, self.earlier
        return None not in (scan, earlier) and scan is not earlier and self.job is None

    @property
    def repeat(self) -> SceneRepeat | None:
        """The comparison of these two scans; None if there is none."""
        return self.panel.logic.growth.repeat_of(self.earlier, self.panel.scan)

    def measure(self) -> None:
        """Check both scans' geometry against their files, then analyze and compare them."""
        scans, parameters = (self.earlier, self.panel.scan), self.panel.parameters
        choices = parameters.bundleFolder or None, parameters.device.value
        analysis, growth = self.panel.logic.analysis, self.panel.logic.growth
        checks = [analysis.geometry_work(scan) for scan in scans]

        def shown(repeat):
            growth.show(repeat, in_views=repeat.later_node is self.panel.scan)

        def checked(found):
            for each in found:
                analysis.show_geometry(each)
            self.panel.submit(SECTION, growth.work(*scans, *choices), shown, scans)

        self.panel.submit(SECTION, lambda progress: [check(progress) for check in checks], checked, scans)

    def cancel(self) -> None:
        """Stop the comparison."""
        self.panel.queue.cancel(SECTION)

    def verdict(self) -> str:
        """Whether the hematoma has expanded, in one sentence; empty if nothing was measured."""
        return translated(growth_verdict(self.repeat.repeat.growth)) if self.repeat else ""

    def rows(self) -> list[tuple[str, str, str]]:
        """Numbers below the verdict: (measure, value, unit) each."""
        return [] if self.repeat is None else [tuple(map(translated, row)) for row in growth_rows(self.repeat)]

    def notes(self) -> list[str]:
        """Remarks below the numbers."""
        return [] if self.repeat is None else [translated(note) for note in self.repeat.repeat.notes]

    def small_rows(self) -> list[tuple[str, str, str]]:
        """Quality of the alignment: (measure, value, unit) each."""
        return [] if self.repeat is None else alignment_rows(self.repeat.repeat.alignment)

    @property
    def views_shown(self) -> bool:
        """Whether the two scans are displayed side by side."""
        return self.panel.logic.growth.shows_views(self.earlier, self.panel.scan)

    def show_views(self, on: bool = True) -> None:
        """Show the two scans side by side, or go back to the user's own layout."""
        if on:
            self.panel.logic.growth.show_views(self.earlier, self.panel.scan, self.later_outline)
        else:
            self.panel.logic.comparison.leave_side_by_side()
            if self.panel.scan is not None:
                focus.show_scan(create_scene(), self.panel.scan)
        self.panel.changed()

    def set_later_outline(self, on: bool) -> None:
        """Also show the later scan's segments over the earlier scan, dashed, or hide them there."""
        self.later_outline = on
        if self.views_shown:
            self.panel.logic.growth.keep_segments_apart(self.earlier, self.panel.scan, on)

    def _follow_edits(self):
        """Draw the dashed outlines again if a segment was edited."""
        if not (self.later_outline and self.views_shown):
            self._outlined = None
            return
        found = states(create_scene(), self.panel.logic.growth.outlined(self.panel.scan))
        if found != self._outlined:
            self._outlined = found
            self.set_later_outline(True)

    def hint(self) -> str:
        """What is still missing for a measurement; empty if nothing is."""
        if self.panel.scan is None:
            return _("Choose a head CT first.")
        return _("Choose an earlier scan of the same patient.") if self.earlier is None else ""
