"""Choosing the series to analyze among those of a folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError
from ..common.names import first_few
from ..common.translation import tr as _
from .series_class import Rank, Verdict, judge, judge_foreign, study_date
from .series_words import names_head
from .stacks import MIN_VOLUME, Stack, reason_unusable, split_stacks

if TYPE_CHECKING:
    from .dicom_files import Slice

WHOLE_HEAD_MM = 150.0
"""A volume that covers this much counts as complete even if another one covers more."""
TIME_POINTS = 5
"""So many series of one kind at the same places, one after another, are a dynamic scan; nobody is scanned so often."""
LIKE_A_SERIES = ("PatientID", "StudyDate", "SeriesNumber", "SeriesDescription", "ConvolutionKernel")
"""Attributes that images of one series have in common."""
ENOUGH = 0.8
"""A volume that covers less than this share of another one of its study is incomplete."""


@dataclass(frozen=True)
class SeriesSummary:
    """A series in a folder, and why it was or was not chosen for analysis."""

    uid: str
    description: str
    kernel: str
    slices: int
    thickness: float | None
    """Slice thickness in mm."""
    chosen: bool
    why: str


@dataclass(frozen=True)
class Candidate:
    """A series and its most suitable volume.

    Attributes
    ----------
    uid : str
    slices : list of Slice
        All images of the series.
    stack : Stack or None
        The volume; None if no image can be a slice of one.
    verdict : Verdict
    others : list of Stack
        Further volumes of the series.
    odd : list of (Slice, str)
        Images that are not slices, and why.
    continued_by : list of str
        Labels of other series that continue where the volume ends.
    """

    uid: str
    slices: list
    stack: Stack | None
    verdict: Verdict
    others: list = field(default_factory=list)
    odd: list = field(default_factory=list)
    continued_by: list = field(default_factory=list)

    @property
    def uids(self) -> set[str]:
        """UIDs that its images state."""
        return {item.text("SeriesInstanceUID") for item in self.slices}

    @property
    def first(self) -> Slice:
        """An image that represents the series."""
        return self.stack.slices[0] if self.stack else self.slices[0]

    @property
    def count(self) -> int:
        """Number of slices of the volume, or of images if there is none."""
        return len(self.stack.slices) if self.stack else len(self.slices)

    @property
    def label(self) -> str:
        """Description and number of images, in words."""
        total = len(self.slices)
        return f"{self.first.text('SeriesDescription') or 'no description'}, {total} image{'s' if total > 1 else ''}"


def choose_series(
    slices: Sequence[Slice], series_uid: str | None = None
) -> tuple[Candidate, list[SeriesSummary], bool]:
    """Choose the axial soft-tissue series of the head.

    The order of preference is: original axial slices of 2.5 to 6 mm with a soft-tissue kernel, thin slices, thick
    slices, axial reformats, sharp kernels. Localizers, projections, reformats in another plane, material images and
    series with contrast are never chosen automatically. Of several studies the newest with a soft-tissue series is
    used.

    Parameters
    ----------
    slices : list of Slice
    series_uid : str, optional
        Use this series, even if it would not be chosen automatically.

    Returns
    -------
    chosen : Candidate
    summaries : list of SeriesSummary
        All series, the chosen one first, then by preference.
    is_clear : bool
        Whether it was requested; or is a soft-tissue series, no other one has the same rank, and there is one study.

    Raises
    ------
    InputError
        If the requested series is missing, no series is suitable, or CT series of several patients are present.
    """
    candidates = rank_series(slices)
    if series_uid is not None:
        chosen = next((candidate for candidate in candidates if series_uid in candidate.uids), None)
        if chosen is None:
            listing = "; ".join(f"{candidate.uid} ({candidate.label})" for candidate in candidates)
            raise InputError(
                _("Series {uid} is not among the files; expected one of: {listing}.").format(
                    uid=series_uid, listing=listing
                )
            )
        _refuse_several_patients(chosen.slices)
    else:
        chosen = candidates[0]
        _refuse_several_patients(slices)
        if chosen.verdict.rank is Rank.NEVER:
            kinds = Counter(f"{candidate.verdict.reasons[0]} ({candidate.label})" for candidate in candidates)
            found = "; ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())
            hint = ""
            if any(candidate.stack for candidate in candidates):
                hint = _(": such a series is analyzed only if requested by its UID (--list-series)")
            raise InputError(
                _(
                    "There is no axial CT series to analyze; expected a non-contrast head CT, found {found}{hint}."
                ).format(found=found, hint=hint)
            )
    others = [candidate for candidate in candidates if candidate is not chosen]
    if chosen.stack:
        further = [item for item in others if item.stack and chosen.stack.continues_in(item.stack)]
        chosen = replace(chosen, continued_by=[item.label for item in further])
    has_rival = any(_same_level(candidate, chosen) for candidate in others)
    is_good = chosen.verdict.rank <= Rank.REFORMAT and not has_rival and _is_one_study([chosen, *others])
    is_requested = series_uid is not None
    return chosen, summarize([chosen, *others], chosen, is_requested), is_requested or is_good


def rank_series(slices: Sequence[Slice]) -> list[Candidate]:
    """Rank every series.

    Parameters
    ----------
    slices : list of Slice

    Returns
    -------
    list of Candidate
        In order of preference.
    """
    return sorted(_candidates(slices), key=_preference)


def summarize(
    candidates: Sequence[Candidate], chosen: Candidate | None = None, is_requested: bool = False
) -> list[SeriesSummary]:
    """Summaries of series in the order given.

    Parameters
    ----------
    candidates : list of Candidate
    chosen : Candidate, optional
        By default the first, if it may be chosen automatically.
    is_requested : bool
        Whether the chosen series was requested by its UID.

    Returns
    -------
    list of SeriesSummary
    """
    if chosen is None and candidates[0].verdict.rank is not Rank.NEVER:
        chosen = candidates[0]
    study = (chosen or candidates[0]).first.text("StudyInstanceUID")
    return [_summary(candidate, candidate is chosen, study, is_requested) for candidate in candidates]


def _candidates(slices):
    series = {}
    for item in slices:
        series.setdefault(item.text("SeriesInstanceUID"), []).append(item)
    # Some anonymizers give every image a series of its own.
    alone = {}
    for uid, items in series.items():
        if len(items) == 1 and not reason_unusable(items[0]):
            alone.setdefault(tuple(map(items[0].text, LIKE_A_SERIES)), []).append(uid)
    for uids in alone.values():
        if len(uids) >= MIN_VOLUME:
            series[uids[0]] = [series.pop(uid)[0] for uid in uids]
    return _without_parts(_without_time_points([_candidate(uid, items) for uid, items in series.items()]))


def _candidate(uid, slices):
    """The best volume of a series."""
    odd = [(item, kind) for item in slices if (kind := reason_unusable(item))]
    if len(odd) == len(slices):
        return Candidate(uid, slices, None, judge_foreign(slices, odd[0][1]), odd=odd)
    usable = [item for item in slices if not reason_unusable(item)]
    stacks = split_stacks(usable)
    judged = [(stack, judge(stack, sum(stack.repeats_of(other) for other in stacks))) for stack in stacks]
    stack, verdict = min(judged, key=lambda pair: (pair[1].rank, -_coverage_step(pair[0]), *_newest_first(pair[0])))
    return Candidate(uid, slices, stack, verdict, [other for other in stacks if other is not stack], odd)


def _newest_first(stack):
    """Sort key: the newest study, and in it the stack acquired first."""
    return -study_date(stack.slices[0]), stack.start


def _coverage_step(stack):
    """Coverage in steps of 20 mm, up to a whole head, so that one slice more or less makes no difference."""
    return round(min(stack.coverage_mm, WHOLE_HEAD_MM) / 20)


def _without_time_points(candidates):
    """Rank the volumes of a dynamic scan, of which each is stored as a series, as such."""
    alike = {}
    for candidate in candidates:
        if candidate.verdict.rank is not Rank.NEVER:
            alike.setdefault(_kind_and_places(candidate), []).append(candidate)
    dynamic = set()
    for group in alike.values():
        # Several reconstructions of one acquisition have its number and time.
        moments = {(candidate.first.acquisition, candidate.first.time) for candidate in group}
        if len(moments) == len(group) >= TIME_POINTS:
            dynamic |= {candidate.uid for candidate in group}
    reason = _("a time point of a dynamic scan")
    return [
        replace(candidate, verdict=Verdict(Rank.NEVER, (reason, *candidate.verdict.reasons)))
        if candidate.uid in dynamic
        else candidate
        for candidate in candidates
    ]


def _kind_and_places(candidate):
    """What the volumes of a dynamic scan have in common; numbers in their descriptions may be seconds."""
    first, stack = candidate.first, candidate.stack
    texts = map(first.text, ("StudyInstanceUID", "ConvolutionKernel", "Rows", "Columns"))
    description = re.sub(r"[\d.,]+", "", first.text("SeriesDescription"))
    return *texts, description, stack.thickness_mm, candidate.count, *np.round(first.position, 1)


def _without_parts(candidates):
    """Rank volumes that cover much less than a soft-tissue one of their study as incomplete."""
    whole = {}
    for candidate in candidates:
        if candidate.verdict.rank <= Rank.REFORMAT:
            study = candidate.first.text("StudyInstanceUID")
            whole[study] = max(whole.get(study, 0.0), min(candidate.stack.coverage_mm, WHOLE_HEAD_MM))
    return [
        _as_part(candidate)
        if _is_part(candidate, whole.get(candidate.first.text("StudyInstanceUID"), 0.0))
        else candidate
        for candidate in candidates
    ]


def _is_part(candidate, whole_mm):
    return candidate.verdict.rank < Rank.INCOMPLETE and candidate.stack.coverage_mm < ENOUGH * whole_mm


def _as_part(candidate):
    words = _("covers {coverage:.0f} mm with {count} slices")
    reason = words.format(coverage=candidate.stack.coverage_mm, count=candidate.count)
    return replace(candidate, verdict=Verdict(Rank.INCOMPLETE, (reason, *candidate.verdict.reasons)))


def _preference(candidate):
    first, rank = candidate.first, candidate.verdict.rank
    named = names_head(f"{first.text('SeriesDescription')} {first.text('BodyPartExamined')}")
    thickness = candidate.stack.thickness_mm if candidate.stack else None
    return (
        rank is Rank.NEVER,
        rank > Rank.REFORMAT,
        -study_date(first),
        rank,
        not named,
        abs((thickness or 5.0) - 5.0),
        first.number("SeriesNumber", 1e9),
        candidate.uid,
    )


def _same_level(candidate, chosen):
    return candidate.verdict.rank == chosen.verdict.rank and study_date(candidate.first) == study_date(chosen.first)


def _is_one_study(candidates):
    usable = [candidate for candidate in candidates if candidate.verdict.rank < Rank.NEVER]
    return len({candidate.first.text("StudyInstanceUID") for candidate in usable}) < 2


def _summary(candidate, is_chosen, study, is_requested):
    first, why = candidate.first, candidate.verdict.words
    if first.text("StudyInstanceUID") != study:
        date = first.text("StudyDate") or _("unknown date")
        why = _("{reason}, study of {date}").format(reason=why, date=date)
    if is_chosen and is_requested:
        why = _("requested ({reason})").format(reason=why)
    thickness = candidate.stack.thickness_mm if candidate.stack else first.number("SliceThickness", None)
    return SeriesSummary(
        candidate.uid,
        first.text("SeriesDescription"),
        first.text("ConvolutionKernel"),
        candidate.count,
        thickness,
        is_chosen,
        why,
    )


def _refuse_several_patients(slices):
    with_id = {item.text("PatientName").casefold() for item in slices if item.text("PatientID")}
    found = {}
    for item in slices:
        name = item.text("PatientName")
        # An image without an ID is of the patient of its name, who may have an ID on other images.
        patient = item.text("PatientID") or ("" if name.casefold() in with_id else name)
        found.setdefault(patient.casefold(), patient)
    found.pop("", None)
    if len(found) > 1:
        raise InputError(
            _(
                "The files belong to {count} patients; expected the scan of one: give a folder of one "
                "patient, or choose a series; found {names}."
            ).format(count=len(found), names=first_few(sorted(found.values()), 6))
        )
