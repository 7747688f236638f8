"""Navigation to the bleed and through its slices. Needs no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError
from ..model.attention import SHOWN_FROM
from ..mrml import bleed
from ..mrml.kept_results import is_outdated
from ..mrml.scene import create_scene
from ..mrml.segments import read_segment

if TYPE_CHECKING:
    from .compare_state import CompareState
    from .state import PanelState


class BleedState:
    """Centers the views on the chosen scan's bleed: the ticked segments, else the marked bleed, else the attention.

    Parameters
    ----------
    panel : PanelState
    compare : CompareState
    """

    def __init__(self, panel: PanelState, compare: CompareState):
        self.panel, self.compare = panel, compare
        self._at = self._visited = None  # the scan's run, with the slice and the place that were shown last

    def show(self) -> None:
        """Center all views on the middle of the bleed; no-op if its position is not known."""
        points, middle = bleed.slices_of(*self._bleed())
        if len(points):
            self._at, self._visited = (self._run(), middle), None
            bleed.center_views(create_scene(), points[middle])

    def step(self, slices: int) -> None:
        """Move up by this number of slices (down if negative), within the bleed."""
        points, middle = bleed.slices_of(*self._bleed())
        if len(points):
            before = self._at[1] if self._at is not None and self._at[0] == self._run() else middle
            index = int(np.clip(before + slices, 0, len(points) - 1))
            self._at = self._run(), index
            bleed.step_views(create_scene(), points[index])

    def show_next(self) -> None:
        """Center all views on the next point of interest: each part of the bleed, then the peak of attention."""
        places = list(bleed.places_of(*self._bleed()))
        analysis = self._analysis()
        if analysis is not None and analysis.attention is not None and analysis.attention.peak_ras_mm is not None:
            places.append(analysis.attention.peak_ras_mm)
        if places:
            run = self._run()
            known = self._visited is not None and self._visited[0] == run
            index = (self._visited[1] + 1) % len(places) if known else 0
            self._visited = run, index
            bleed.center_views(create_scene(), places[index])

    def _run(self):
        facts = self.panel.logic.analysis.facts_of(self.panel.scan)
        return facts and (self.panel.scan.GetID(), facts["analyzed"])

    def _analysis(self):
        """The analysis of the chosen scan; None if there is none, or the scan was changed since."""
        scan = self.panel.scan
        return None if is_outdated(scan) else self.panel.logic.analysis.analysis_of(scan)

    def _bleed(self):
        """Mask of shape (K, J, I) and its IJK to RAS matrix."""
        for choice in self.compare.ticked():
            try:
                segment = read_segment(create_scene().GetNodeByID(choice.node_id), choice.segment_id)
            except InputError:
                continue
            if segment.mask.any():
                return segment.mask, segment.ijk_to_ras
        analysis = self._analysis()
        if analysis is not None and analysis.marking is not None and analysis.marking.mask.any():
            return analysis.marking.mask, analysis.head_ct.ijk_to_ras
        if analysis is not None and analysis.attention is not None:
            return analysis.attention.array >= SHOWN_FROM, analysis.head_ct.ijk_to_ras
        return np.zeros((1, 1, 1), bool), np.eye(4)
