"""The section "Tour": first steps, one at a time, until the tour is finished or closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml.sample_data import load_with_dialog

if TYPE_CHECKING:
    from .tour_state import TourState

_DONE = "ICHMultiTask/TourDone"


class TourSection:
    """Widgets that show a TourState.

    Parameters
    ----------
    widget : QWidget
        Loaded from ICHMultiTaskTour.ui.
    state : TourState
    actions : sequence of callable ()
        Action of each step's button.
    """

    def __init__(self, widget: qt.QWidget, state: TourState, actions: Sequence[Callable[[], object]]):
        self.widget, self.state, self.actions = widget, state, actions
        self.ui = slicer.util.childWidgetVariables(widget)
        self.ui.tourButton.connect("clicked(bool)", self.onTourButton)
        self.ui.closeTourButton.connect("clicked(bool)", self.onCloseButton)

    def onTourButton(self, checked: bool = False) -> None:
        """Do the next step."""
        step = self.state.next_step()
        if step is not None:
            self.actions[step[0]]()

    def onCloseButton(self, checked: bool = False) -> None:
        """Close the tour for good."""
        qt.QSettings().setValue(_DONE, "1")
        self.widget.visible = False

    def update(self) -> None:
        """Show the next step; close the tour after the last."""
        if qt.QSettings().value(_DONE):
            self.widget.visible = False
            return
        step = self.state.next_step()
        if step is None:
            self.onCloseButton()
            return
        number, words = step
        self.widget.visible = True
        self.ui.tourLabel.text = _("<b>Tour, {number} of {count}.</b> {text}").format(
            number=number + 1, count=len(self.actions), text=words.text
        )
        self.ui.tourButton.text = words.button


def load_sample() -> None:
    """Load the simulated scan."""
    load_with_dialog()
