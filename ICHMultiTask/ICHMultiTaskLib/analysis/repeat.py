"""Comparison of a scan with an earlier one of the same patient.

compare_with_previous(analysis, previous, progress=None) -> RepeatScan
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from .alignment import Alignment, align
from .growth import Growth, growth
from .result import Analysis
from .second_look import Hemorrhage

if TYPE_CHECKING:
    from ..scan.head_ct import ScanFacts


@dataclass(frozen=True)
class RepeatScan:
    """Comparison of a scan with an earlier one.

    Attributes
    ----------
    previous : Analysis
        Of the earlier scan.
    growth : Growth
        From the earlier to the later scan.
    alignment : Alignment
        Its `moving_to_fixed` maps RAS mm of the earlier scan to the later one.
    notes : tuple of str
        Remarks to show with the numbers.
    """

    previous: Analysis
    growth: Growth
    alignment: Alignment
    notes: tuple = ()


def compare_with_previous(analysis: Analysis, previous: Analysis, progress: Progress | None = None) -> RepeatScan:
    """Compare the analysis of a scan with that of an earlier one.

    Parameters
    ----------
    analysis, previous : Analysis
        By the same model; otherwise a note warns that the growth may be a difference between the models.
    progress : callable (fraction, message), optional
        May raise Canceled.

    Returns
    -------
    RepeatScan

    Raises
    ------
    InputError
        If the scans cannot be aligned at all (no bone).
    """
    progress = progress or NO_PROGRESS
    progress(0.0, _("Aligning the scans"))
    change = growth(
        previous.volume_ml,
        previous.volume_interval_ml,
        analysis.volume_ml,
        analysis.volume_interval_ml,
        analysis.interval_coverage if analysis.interval_coverage == previous.interval_coverage else None,
        any(scan.hemorrhage != Hemorrhage.NONE for scan in (analysis, previous)),
    )
    alignment = align(analysis.head_ct, previous.head_ct)
    notes = (*_doubts(analysis, previous), *_decisions(previous, analysis), *change.notes, *alignment.notes)
    return RepeatScan(previous, change, alignment, notes)


def _decisions(earlier, later):
    """A note for each scan without a sure hemorrhage; none if neither scan shows any, which the verdict says."""
    answers = earlier.hemorrhage, later.hemorrhage
    if answers == (Hemorrhage.NONE, Hemorrhage.NONE):
        return
    sentences = {
        Hemorrhage.UNCERTAIN: (
            _("It is uncertain whether the earlier scan shows a hemorrhage."),
            _("It is uncertain whether the later scan shows a hemorrhage."),
        ),
        Hemorrhage.NONE: (
            _("No hemorrhage was found on the earlier scan."),
            _("No hemorrhage was found on the later scan."),
        ),
    }
    for which, answer in enumerate(answers):
        if answer in sentences:
            yield sentences[answer][which]


def _doubts(analysis, previous):
    """Reasons to doubt that the two are an earlier and a later scan of one patient."""
    later, earlier = analysis.head_ct.facts, previous.head_ct.facts
    if _of_different_patients(later, earlier):
        yield _("The two scans are filed under different patients.")
    if later.series_uid and later.series_uid == earlier.series_uid:
        yield _("The two scans are the same series.")
    elif np.array_equal(analysis.head_ct.hu, previous.head_ct.hu):
        yield _("The two scans hold the same images.")
    if _is_after(earlier, later):
        yield _("The earlier scan is dated after the later one.")
    if analysis.model["sha256"] != previous.model["sha256"]:
        yield _("The two scans were analyzed by different models.")


def _of_different_patients(one: ScanFacts, other: ScanFacts):
    """By their IDs; by their names, however they are written, where an ID is missing."""
    if one.patient_id and other.patient_id:
        return one.patient_id != other.patient_id
    names = [frozenset(re.findall(r"\w+", facts.patient_name.casefold())) for facts in (one, other)]
    return all(names) and names[0].isdisjoint(names[1])


def _is_after(one: ScanFacts, other: ScanFacts):
    """By the dates of the studies; by their times on one day, as many repeat scans follow within hours."""
    dates = [re.sub(r"\D", "", facts.study_date) for facts in (one, other)]
    times = [re.sub(r"\D", "", facts.study_time.split(".")[0]).ljust(6, "0") for facts in (one, other)]
    if not all(dates) or dates[0] != dates[1]:
        return all(dates) and dates[0] > dates[1]
    return bool(one.study_time and other.study_time) and times[0] > times[1]
