"""Addition of a scan and its segment to a table of scans. Needs no Qt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.translation import translated
from ..comparison.scan_table import add_scan, check_addition
from ..mrml.hierarchy import identity_of
from ..mrml.scene import create_scene
from ..mrml.segments import concerns, read_segment
from ..mrml.translation import tr as _
from ..mrml.volumes import head_ct_from_node
from .state import as_rich_text

if TYPE_CHECKING:
    from ..mrml.segments import SegmentChoice
    from .compare_state import CompareState

SECTION = "table"


class ScanTableState:
    """Adds the chosen scan and one of its segments to a table of scans.

    Parameters
    ----------
    compare : CompareState
    """

    def __init__(self, compare: CompareState):
        self.compare, self.panel = compare, compare.panel

    def can_add(self, choice: SegmentChoice | None) -> bool:
        """Whether there are a scan and a segment that is not known to belong to another scan.

        Parameters
        ----------
        choice : SegmentChoice or None
        """
        busy = self.panel.queue.job(SECTION) is not None
        return self.panel.scan is not None and choice is not None and not self.compare.is_foreign(choice) and not busy

    def proposed_patient(self) -> str:
        """Patient ID stated by the scan, else the scan's name."""
        scan = self.panel.scan
        return identity_of(scan).get("patient_id") or scan.GetName()

    def add(self, table: str | os.PathLike, choice: SegmentChoice, patient_id: str, died: int | None) -> None:
        """Measure, check and add; the outcome is shown in the section Compare.

        Parameters
        ----------
        table : path
        choice : SegmentChoice
        patient_id : str
        died : int or None
            1 if the patient died within 30 days; None: not known.

        Raises
        ------
        InputError
            If the segment or the scan cannot be read.
        """
        scan = self.panel.scan
        node = create_scene().GetNodeByID(choice.node_id)
        head_ct, segment = head_ct_from_node(scan), read_segment(node, choice.segment_id)
        doubts, measuring = concerns(node, scan), _("Measuring")

        def work(progress):
            progress(0.0, measuring)
            return add_scan(table, check_addition(table, patient_id, died, head_ct, segment), progress)

        def done(added):
            words = _("Added to {table}: {volume:.1f} mL of {patient}. It holds {n} scans now.")
            volume = float(added.row["volume_ml"])
            text = words.format(table=Path(table).name, volume=volume, patient=added.row["patient_id"], n=added.scans)
            self.panel.say(SECTION, as_rich_text(" ".join([text, *map(translated, doubts)])), scan=scan)

        self.panel.submit(SECTION, work, done, (scan,))
