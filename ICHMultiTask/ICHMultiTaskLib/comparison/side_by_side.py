"""Comparison of an analysis with segments: volumes by every method, attention, and agreement between readers.

compare(analysis, segments, attention=None, shown_threshold=None, progress=None) -> Comparison
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ..analysis.attention import Attention
from ..analysis.result import Analysis
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..measures.agreement import (
    AttentionAgreement,
    VolumeComparison,
    compare_attention,
    compare_segments,
    compare_volumes,
    volume_rows,
)
from ..measures.segment import Segment, SegmentMeasures, measure

DRAFT_NOTE = _("Draft of the model, not edited by a person, so no independent reading: not compared with it.")


@dataclass(frozen=True)
class SegmentComparison:
    """Comparison of one segment with the analysis.

    Attributes
    ----------
    label : str
    measures : SegmentMeasures
    volumes : tuple of VolumeComparison
        Planimetry first, then the formulas.
    attention : AttentionAgreement or None
        None if the analysis has no attention map.
    notes : tuple of str
        Remarks to show with the numbers.
    draft : bool
        Whether it is the model's own proposal, whose volumes are not compared with the model's.
    """

    label: str
    measures: SegmentMeasures
    volumes: tuple[VolumeComparison, ...]
    attention: AttentionAgreement | None
    notes: tuple = ()
    draft: bool = False


@dataclass(frozen=True)
class Comparison:
    """Comparison of segments with an analysis, and with each other.

    Attributes
    ----------
    model_ml : float
    interval_ml : (float, float) or None
    interval_coverage : float or None
    attention_head : str or None
        Output of the network that the attention map explains.
    segments : tuple of SegmentComparison
        In the order given.
    readers : tuple of SegmentAgreement
        For every pair of segments.
    """

    model_ml: float
    interval_ml: tuple | None
    interval_coverage: float | None
    attention_head: str | None
    segments: tuple
    readers: tuple


def compare(
    analysis: Analysis,
    segments: Sequence[Segment],
    attention: Attention | None = None,
    shown_threshold: float | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare an analysis with segments.

    Parameters
    ----------
    analysis : Analysis
    segments : sequence of Segment
        Of the same head, on any grid.
    attention : Attention, optional
        Another map of the same analysis; by default its own.
    shown_threshold : float, optional
        Threshold of the attention on display, for the overlap at that threshold.
    progress : callable (fraction, message), optional
        May raise Canceled.

    Returns
    -------
    Comparison
    """
    progress = progress or NO_PROGRESS
    attention = attention or analysis.attention
    pairs = list(combinations(segments, 2))
    steps = len(segments) + len(pairs)
    compared, readers = [], []
    for segment in segments:
        progress(len(compared) / steps, _("Measuring {label}").format(label=segment.label))
        compared.append(_compare_segment(analysis, segment, attention, shown_threshold))
    for first, second in pairs:
        progress(
            (len(compared) + len(readers)) / steps,
            _("{first} against {second}").format(first=first.label, second=second.label),
        )
        readers.append(compare_segments(first, second))
    return Comparison(
        model_ml=analysis.volume_ml,
        interval_ml=analysis.volume_interval_ml,
        interval_coverage=analysis.interval_coverage,
        attention_head=attention.head if attention else None,
        segments=tuple(compared),
        readers=tuple(readers),
    )


def _compare_segment(analysis, segment, attention, shown_threshold):
    measures = measure(segment, analysis.head_ct)
    rows = volume_rows(measures)
    if segment.draft:  # made from the model's volume, so agreement with it would be meaningless
        volumes = [VolumeComparison(method, ml) for method, ml in rows]
    else:
        volumes = compare_volumes(analysis.volume_ml, analysis.volume_interval_ml, rows)
    agreement = None
    if attention is not None:
        threshold = shown_threshold or None  # at 0 the whole scan is shown
        agreement = compare_attention(attention.array, analysis.head_ct.ijk_to_ras, segment, threshold)
    notes = ((DRAFT_NOTE,) if segment.draft else ()) + (*measures.notes, *(agreement.notes if agreement else ()))
    notes += tuple(note for row in volumes for note in row.notes)
    return SegmentComparison(
        segment.label, measures, tuple(volumes), agreement, tuple(dict.fromkeys(notes)), segment.draft
    )
