"""State of the section Compare: offered and ticked segments, comparison and messages. Needs no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.numbers import NOT_COMPUTED, number, with_interval
from ..common.translation import translated
from ..mrml import focus
from ..mrml.comparison import attention_sentence, measures_sentence, method_name, reader_table
from ..mrml.kept_results import current_result, is_outdated
from ..mrml.scan_state import points_of
from ..mrml.scene import create_scene
from ..mrml.segments import belongs_to
from ..mrml.translation import tr as _
from .analyze_state import shown_map

if TYPE_CHECKING:
    from ..mrml.comparison import SceneComparison
    from ..mrml.segments import SegmentChoice
    from .state import PanelState

SECTION, MARK, THREE_D = "compare", "mark", "3d"
YES, NO = "✓", "✗"


@dataclass(frozen=True)
class Row:
    """One row of the table of volumes.

    Attributes
    ----------
    cells : tuple of str
        Method, mL, difference in mL and in percent, and check marks; for a heading only its text.
    heading : bool
    color : tuple of float or None
        Color of the segment that a heading names.
    draft : bool
        Whether it belongs to the model's own draft.
    notes : tuple of str
    """

    cells: tuple
    heading: bool = False
    color: tuple | None = None
    draft: bool = False
    notes: tuple = ()


class CompareState:
    """Follows the segments of the scene.

    Parameters
    ----------
    panel : PanelState
    """

    def __init__(self, panel: PanelState):
        self.panel = panel
        self.choices = []
        """Segments that can be compared, those of other scans last."""
        self._belongs = {}
        self._edits = self._told_edits = 0
        self._compared = None  # inputs of the latest comparison
        self._notes = {}  # of drafts, by segment key: why the volume differs from the model's
        self._nothing_marked = {}  # by scan and run: why nothing was marked
        self._seen = None
        self.when_stale = self.refresh
        """Called when the compared data have changed; a window may delay the refresh."""
        panel.listeners.append(self._look)

    def edited(self) -> None:
        """Note that a segment was edited."""
        self._edits += 1
        self.when_stale()

    def _look(self):
        scan, parameters = self.panel.scan, self.panel.parameters
        seen = None
        if scan is not None:
            facts = self.panel.logic.analysis.facts_of(scan)
            ticks = tuple(parameters.comparedSegments)
            run = facts and facts["analyzed"], is_outdated(scan), _place_of(scan)
            seen = scan.GetID(), run, shown_map(scan), parameters.overlayThreshold, ticks
        if seen != self._seen:
            self._seen = seen
            self.when_stale()

    def refresh(self) -> None:
        """List the segments, and repeat the comparison of the ticked ones if any of its inputs changed."""
        panel, scan, scene = self.panel, self.panel.scan, create_scene()
        if self._edits != self._told_edits:  # other sections show segments, too
            self._told_edits = self._edits
            panel.changed()
        before = {choice.key for choice in self.choices}
        found = panel.logic.comparison.segments()
        self._belongs = {c.key: scan and belongs_to(scene.GetNodeByID(c.node_id), scan) for c in found}
        self.choices = sorted(found, key=lambda choice: self.is_foreign(choice))
        own = [choice for choice in self.choices if not self.is_foreign(choice)]
        if scan is not None and len(own) == 1 and own[0].key not in before and not self.ticked():
            self._keep_ticks([*panel.parameters.comparedSegments, self._tick_of(own[0])])  # nothing else to choose
        facts, ticked = current_result(scan), self.ticked()
        if facts is None or not ticked:
            panel.queue.cancel(SECTION)
            self._compared = None
            if scan is not None and panel.logic.comparison.was_compared(scan):
                panel.logic.comparison.forget_comparison(scan)
                panel.changed()
            return
        asked = (scan.GetID(), facts["analyzed"], _place_of(scan), shown_map(scan), panel.parameters.overlayThreshold,
                 tuple(ticked), self._edits)  # fmt: skip
        if asked != self._compared:
            self._compared = asked
            work = panel.logic.comparison.compare_work(scan, ticked, panel.parameters.overlayThreshold)
            panel.submit(SECTION, work, panel.logic.comparison.show_comparison, (scan,))

    def is_foreign(self, choice: SegmentChoice) -> bool:
        """Whether a segment is known to belong to another scan or study."""
        return self._belongs.get(choice.key) is False

    def is_ticked(self, choice: SegmentChoice) -> bool:
        """Whether a segment is ticked for comparison with the chosen scan."""
        parameters = self.panel.parameters
        return parameters is not None and self._tick_of(choice) in parameters.comparedSegments

    def ticked(self) -> list[SegmentChoice]:
        """Segments ticked for comparison."""
        return [choice for choice in self.choices if self.is_ticked(choice)]

    def tick(self, choices: Iterable[SegmentChoice], on: bool = True) -> None:
        """Tick or untick segments; others stay unchanged."""
        changed = {self._tick_of(choice) for choice in choices}
        kept = [tick for tick in self.panel.parameters.comparedSegments if tick not in changed]
        self._keep_ticks([*kept, *sorted(changed)] if on else kept)
        self.panel.changed()

    def _keep_ticks(self, ticks):
        self.panel.parameters.comparedSegments = ticks

    def _tick_of(self, choice):
        scan, key = self.panel.scan, " ".join(choice.key)
        # What may be of another patient is ticked for one scan only: it would be compared with the next one, too.
        return key if scan is None or self._belongs.get(choice.key) else f"{key} {scan.GetID()}"

    @property
    def compared(self) -> SceneComparison | None:
        """The latest comparison of the chosen scan, as SceneComparison; None where there is none."""
        return self.panel.logic.comparison.compared_with(self.panel.scan)

    def reason(self) -> str:
        """Why there is no comparison; empty where there is one."""
        if not self.choices:
            return _("There is no segment in the scene to compare with: load or draw a segmentation.")
        if not self.ticked():
            return _("Tick the segments to compare with.")
        if self.panel.logic.analysis.facts_of(self.panel.scan) is None:
            return _("This scan has not been analyzed yet; press Analyze, and the comparison follows.")
        if is_outdated(self.panel.scan):
            return _("The scan was changed since it was analyzed; press Analyze, and the comparison follows.")
        return ""

    @property
    def marking(self) -> bool:
        """Whether the bleed is being marked."""
        return self.panel.queue.job(MARK) is not None

    @property
    def can_mark(self) -> bool:
        """Whether the chosen scan was analyzed as it is, and its bleed is not being marked."""
        return current_result(self.panel.scan) is not None and not self.marking

    def mark(self) -> None:
        """Propose a segmentation of the bleed, and compare with it."""
        scan = self.panel.scan
        work = self.panel.logic.comparison.mark_work(scan)
        self.panel.submit(SECTION, work, self._marked, (scan,), MARK)

    def _marked(self, node_analysis_and_marking):
        scan = node_analysis_and_marking[0]
        node, marking = self.panel.logic.comparison.show_marking(node_analysis_and_marking)
        run = self.panel.logic.analysis.facts_of(scan)["analyzed"]
        self._nothing_marked.pop((scan.GetID(), run), None)
        if self.panel.scan is not None:
            focus.show_own_segments(create_scene(), self.panel.scan)  # another scan may have been chosen meanwhile
        if node is None:
            self._nothing_marked[scan.GetID(), run] = marking.notes
        else:
            key = node.GetID(), node.GetSegmentation().GetNthSegmentID(0)
            self._notes[key] = marking.notes
            if scan is self.panel.scan:
                self._keep_ticks([*self.panel.parameters.comparedSegments, " ".join(key)])
        self.refresh()
        self.panel.changed()

    def show_three_d(self) -> None:
        """Show the skull as glass around the segments of the chosen scan, unless another is chosen meanwhile."""
        scan, logic = self.panel.scan, self.panel.logic.comparison

        def show(node_and_surface):
            if scan is self.panel.scan:
                logic.show_three_d(node_and_surface)

        self.panel.submit(SECTION, logic.three_d_work(scan), show, (scan,), THREE_D)

    def remarks(self) -> list[str]:
        """Remarks that are shown above the numbers."""
        scan, compared = self.panel.scan, self.compared
        facts = self.panel.logic.analysis.facts_of(scan)
        sentences = list(self._nothing_marked.get((scan.GetID(), facts["analyzed"]), ())) if facts else []
        if compared is None:
            return [translated(sentence) for sentence in sentences]
        for choice, name, segment in zip(compared.choices, compared.names, compared.comparison.segments):
            if choice.draft:
                sentences += self._notes.get(choice.key, ())
            sentences += _disagreement(name, segment.volumes[0], compared.comparison.model_ml)
        return [translated(sentence) for sentence in (*sentences, *compared.remarks)]

    def rows(self) -> list[Row]:
        """Rows of the table of volumes."""
        compared = self.compared
        if compared is None:
            return []
        volume = translated(with_interval(compared.comparison.model_ml, compared.comparison.interval_ml))
        rows = [Row((_("Model: {volume} mL").format(volume=volume),), heading=True)]
        for choice, name, segment in zip(compared.choices, compared.names, compared.comparison.segments):
            title = _("Draft from the model") if choice.draft and name == choice.short_name else name
            rows.append(Row((title,), True, choice.color, choice.draft))
            rows += [_row(row, choice.draft) for row in segment.volumes]
        return rows

    def sentences(self) -> list[tuple[str, list[str]]]:
        """Attention, measures and agreement between readers, as (heading, lines)."""
        compared = self.compared
        if compared is None:
            return []
        found = []
        for name, segment in zip(compared.names, compared.comparison.segments):
            lines = attention_sentence(segment, compared.comparison.attention_head), measures_sentence(segment.measures)
            found.append((name, [translated(line) for line in (*lines, *segment.notes) if line]))
        words = _("Dice {dice}, Hausdorff 95 % {distance} mm, volume {difference} mL ({percent} %).")
        for first, second, dice, distance, difference, percent in reader_table(compared)[1]:
            line = words.format(dice=dice, distance=distance, difference=difference, percent=percent)
            found.append((_("{first} against {second}").format(first=first, second=second), [line]))
        return found


def _place_of(scan):
    """Identifies where a scan is, since segments may stay where they are as it is moved."""
    return None if scan.GetImageData() is None else points_of(scan).round(2).tobytes()


def _row(row, draft):
    marks = [NOT_COMPUTED if v is None else YES if v else NO for v in (row.within_5_ml, row.within_20_percent)]
    differences = number(row.difference_ml, sign=True), number(row.difference_percent, 0, sign=True)
    inside = NOT_COMPUTED if row.inside_interval is None else YES if row.inside_interval else NO
    verdicts = ("", "", "", "", "") if draft else (*differences, inside, *marks)
    notes = tuple(map(translated, row.notes))
    return Row((method_name(row.method), number(row.volume_ml), *verdicts), draft=draft, notes=notes)


def _disagreement(name, row, model_ml):
    """A sentence if a segment's volume clearly disagrees with the model's."""
    if row.inside_interval is False or (row.inside_interval is None and row.within_20_percent is False):
        words = _("The volume of {segment} and the model's disagree: {volume:.1f} against {model:.1f} mL.")
        yield words.format(segment=name, volume=row.volume_ml, model=model_ml)
