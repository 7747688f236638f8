"""First-start tour of four steps; a step is done as soon as its result exists. Needs no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..analysis.second_look import Hemorrhage
from ..mrml.focus import scans
from ..mrml.scene import create_scene
from ..mrml.translation import tr as _

if TYPE_CHECKING:
    from .compare_state import CompareState
    from .state import PanelState


class Step(NamedTuple):
    """One step of the tour: instruction, text of its button, and whether it is done."""

    text: str
    button: str
    done: bool


class TourState:
    """Follows the progress of a new user.

    Parameters
    ----------
    panel : PanelState
    compare : CompareState
    """

    def __init__(self, panel: PanelState, compare: CompareState):
        self.panel, self.compare = panel, compare

    def steps(self) -> list[Step]:
        """The steps in their order.

        Returns
        -------
        list of Step
        """
        facts = self.panel.logic.analysis.facts_of(self.panel.scan)
        analyzed = facts is not None
        marked = analyzed and any(choice.draft for choice in self.compare.choices) or self.compare.compared is not None
        nothing_found = analyzed and facts["hemorrhage"] == Hemorrhage.NONE
        compare = _("Compare: segments of readers and bedside formulas beside the model.")
        if nothing_found and not marked:
            nothing = _("No hemorrhage was found: there is nothing to mark, and that step is left out.")
            compare = f"{nothing} {compare}"
        return [
            Step(_("Load a scan: your own, or a simulated one."), _("Load sample"), bool(scans(create_scene()))),
            Step(_("Analyze it: volume, mortality and where the network looked."), _("Analyze"), analyzed),
            Step(
                _("Mark the bleed: a draft in the scan, to be corrected in the Segment Editor."),
                _("Mark the bleed"),
                marked or nothing_found,
            ),
            Step(
                compare,
                _("Side by side"),
                self.panel.logic.comparison.shows_side_by_side(self.panel.scan),
            ),
        ]

    def next_step(self) -> tuple[int, Step] | None:
        """Number and Step of the first step that is not done; None after the last."""
        return next(((n, step) for n, step in enumerate(self.steps()) if not step.done), None)
