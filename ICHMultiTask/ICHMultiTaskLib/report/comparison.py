"""Comparisons in report.json, report.html and the shell.

comparison_dict(analysis, compared=None, context=None, repeat=None) -> dict, the key `comparison` of report.json
comparison_view(comparison) -> dict, for the template of the page, made from that dict alone
comparison_lines(comparison) -> list of (str, str), for the shell
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from ..analysis.findings.assessment import assess
from ..analysis.findings.finding import Source
from ..analysis.growth import EXPANSION_ML, EXPANSION_PERCENT, Growth
from ..analysis.repeat import RepeatScan
from ..analysis.result import Analysis
from ..common.clinical_variables import described
from ..common.numbers import NOT_COMPUTED, interval, number, percent, yes_no
from ..common.translation import tr as _
from ..comparison.side_by_side import Comparison
from ..measures.clinical_scores import ClinicalContext
from ..measures.formulas import DEFINITIONS_VERSION

_SEGMENTS_A_TABLE = 4
_MEASURES = (
    ("volume_ml", "Planimetry (mL)", 2),
    ("a_mm", "A (mm)", 1),
    ("b_mm", "B (mm)", 1),
    ("c_mm", "C (mm)", 1),
    ("c_kothari_mm", "C by Kothari (mm)", 1),
    ("slices", "Slices", 0),
    ("thickness_mm", "Distance of slices (mm)", 2),
    ("largest_area_cm2", "Largest slice area (cm²)", 2),
    ("max_diameter_mm", "Greatest diameter (mm)", 1),
    ("surface_cm2", "Surface (cm²)", 1),
    ("irregularity_index", "Irregularity index (sphere 100)", 0),
    ("hu_mean", "Mean HU", 1),
    ("hu_sd", "Standard deviation of HU", 1),
    ("hu_min", "Lowest HU", 0),
    ("hu_max", "Highest HU", 0),
)
_ATTENTION = (
    ("peak_distance_mm", "Hottest point to segment (mm)", 1, 1),
    ("attention_inside_fraction", "Attention inside (%)", 0, 100),
    ("best_dice", "Best overlap (Dice)", 2, 1),
    ("best_threshold", "at threshold", 2, 1),
    ("shown_dice", "Overlap as shown (Dice)", 2, 1),
    ("shown_threshold", "at threshold", 2, 1),
)


def comparison_dict(
    analysis: Analysis,
    compared: Comparison | None = None,
    context: ClinicalContext | None = None,
    repeat: RepeatScan | None = None,
) -> dict:
    """Collect the comparisons with an analysis for report.json.

    Parameters
    ----------
    analysis : Analysis
    compared : Comparison, optional
        Of segments, from `side_by_side.compare`.
    context : ClinicalContext, optional
    repeat : RepeatScan, optional

    Returns
    -------
    dict
        `segments` (each with `formula_definitions`, the version of the definitions of its volumes' names) and `readers`
        (lists); `clinical`: from `context` and, for the rest, from the scan, None if neither knows a value;
        `repeat_scan`: None if not requested.
    """
    return {
        "segments": [_segment_dict(segment) for segment in compared.segments] if compared else [],
        "readers": [asdict(pair) for pair in compared.readers] if compared else [],
        "clinical": _clinical_dict(analysis, context or ClinicalContext()),
        "repeat_scan": _repeat_dict(analysis, repeat) if repeat else None,
    }


def _segment_dict(segment):
    measures = asdict(segment.measures)
    del measures["formulas_ml"]  # among the volumes
    return {
        "label": segment.label,
        **measures,
        "draft": segment.draft,
        "formula_definitions": DEFINITIONS_VERSION,
        "volumes": [asdict(row) for row in segment.volumes],
        "attention": asdict(segment.attention) if segment.attention else None,
        "notes": list(segment.notes),
    }


def _clinical_dict(analysis, entered):
    """Scores from entered values and, for the rest, from the scan; None if there are no values."""
    found = assess(analysis, analysis.head_ct.facts, entered)
    if found.context.is_empty:
        return None
    proposed = [name for name, source in found.sources.items() if source != Source.ENTERED]
    lists = {"scores": [asdict(score) for score in found.scores], "alerts": list(found.alerts)}
    return asdict(found) | {"proposed": proposed} | lists


def _repeat_dict(analysis, repeat):
    facts, alignment = repeat.previous.head_ct.facts, repeat.alignment
    return {
        "previous": {
            "path": facts.path,
            "series_uid": facts.series_uid,
            "study_date": facts.study_date,
            "hemorrhage": repeat.previous.hemorrhage,
            "volume_ml": repeat.previous.volume_ml,
            "volume_interval_ml": repeat.previous.volume_interval_ml,
            "mortality_probability": repeat.previous.mortality_probability,
            "warnings": list(repeat.previous.warnings),
        },
        "volume_ml": analysis.volume_ml,
        "volume_interval_ml": analysis.volume_interval_ml,
        "growth": asdict(repeat.growth),
        "alignment": {
            "previous_to_scan_ras": alignment.moving_to_fixed if alignment.succeeded else None,
            "succeeded": alignment.succeeded,
            "correlation": alignment.correlation,
            "rotation_deg": alignment.rotation_deg if alignment.succeeded else None,
            "translation_mm": alignment.translation_mm if alignment.succeeded else None,
        },
        "notes": list(repeat.notes),
    }


_GROWTH_VERDICTS = {
    (True, "likely", False): _("Expansion."),
    (True, "likely", True): _("Expansion is likely, although the intervals of the two volumes overlap."),
    (True, "undecided", False): _("Expansion by the two volumes; their intervals do not confirm it."),
    (True, "undecided", True): _("Expansion is neither shown nor excluded: the change is within measurement error."),
    (True, None, None): _("Expansion by the two volumes; the uncertainty is unknown without intervals."),
    (False, "undecided", False): _("No expansion by the two volumes; their intervals do not exclude it."),
    (False, "undecided", True): _("No expansion by the two volumes; the change is within measurement error."),
    (False, "unlikely", False): _("No expansion."),
    (False, "unlikely", True): _("No expansion; the change is within measurement error."),
    (False, None, None): _("No expansion by the two volumes; the uncertainty is unknown without intervals."),
}
"""By `is_expansion`, `verdict` and `within_error` of a Growth."""


def growth_verdict(growth: Growth | Mapping) -> str:
    """Whether a hematoma has expanded, and with which certainty, in one sentence.

    Parameters
    ----------
    growth : Growth, or its dict in report.json
        In earlier versions it does not state whether the change is within measurement error.

    Returns
    -------
    str
    """
    found = growth if isinstance(growth, Mapping) else asdict(growth)
    if found["is_expansion"] is None:
        return _("No hemorrhage was measured on either scan.")
    expansion, verdict = found["is_expansion"], found["verdict"]
    key = expansion, verdict, None if verdict is None else bool(found.get("within_error"))
    return _GROWTH_VERDICTS.get(key, _GROWTH_VERDICTS[expansion, None, None])


def comparison_view(comparison: dict | None) -> dict:
    """Format the comparisons as texts for the template of the page.

    Parameters
    ----------
    comparison : dict or None
        From `comparison_dict`, as in JSON.

    Returns
    -------
    dict
        `compared`, `repeat` and `clinical`; None if there is nothing to show.
    """
    if comparison is None:
        return {"compared": None, "repeat": None, "clinical": None}
    return {
        "compared": _compared_view(comparison["segments"], comparison["readers"]),
        "repeat": _repeat_view(comparison["repeat_scan"]) if comparison["repeat_scan"] else None,
        "clinical": _clinical_view(comparison["clinical"]) if comparison["clinical"] else None,
    }


def _compared_view(segments, readers):
    volumes = [
        (
            segment["label"], row["method"], number(row["volume_ml"]), number(row["difference_ml"], sign=True),
            number(row["difference_percent"], 0, sign=True), yes_no(row["inside_interval"]),
            yes_no(row["within_5_ml"]), yes_no(row["within_20_percent"]),
        )
        for segment in segments
        for row in segment["volumes"]
    ]  # fmt: skip
    measures = [
        (title, *(number(segment[key], digits) for segment in segments)) for key, title, digits in _MEASURES
    ] + [("Components", *(number(len(segment["components_ml"]), 0) for segment in segments))]
    agreements = [segment["attention"] or {} for segment in segments]
    attention = [("Hottest point inside", *(yes_no(found.get("peak_inside")) for found in agreements))]
    attention += [
        (title, *(number(found.get(key), digits, factor) for found in agreements))
        for key, title, digits, factor in _ATTENTION
        if any(found.get(key) is not None for found in agreements)
    ]
    return {
        "segments": bool(segments),
        "volumes": volumes,
        "formula_definitions": DEFINITIONS_VERSION,
        "measures": _tables(segments, measures),
        "attention": _tables(segments, attention) if any(agreements) else [],
        "segment_notes": _once(f"{segment['label']}: {note}" for segment in segments for note in segment["notes"]),
        "readers": [
            (
                pair["first"], pair["second"], number(pair["dice"], 2), number(pair["hausdorff_95_mm"]),
                number(pair["volume_difference_ml"], sign=True),
                number(pair["volume_difference_percent"], 0, sign=True),
            )
            for pair in readers
        ],
        "reader_notes": _once(note for pair in readers for note in pair["notes"]),
    }  # fmt: skip


def _tables(segments, rows):
    """Head and rows of tables that are no wider than a printed page."""
    head = ["", *(segment["label"] for segment in segments)]
    parts = [slice(first, first + _SEGMENTS_A_TABLE) for first in range(1, len(head), _SEGMENTS_A_TABLE)]
    return [([head[0], *head[part]], [(row[0], *row[part]) for row in rows]) for part in parts]


def _repeat_view(repeat):
    found, previous = repeat["growth"], repeat["previous"]
    span = interval(found["absolute_interval_ml"], sign=True)
    relative = interval(found["relative_interval_percent"], sign=True)
    rows = [
        ("Earlier scan (mL)", number(found["first_ml"]), interval(previous["volume_interval_ml"])),
        ("This scan (mL)", number(found["second_ml"]), interval(repeat["volume_interval_ml"])),
        ("Growth (mL)", number(found["absolute_ml"], sign=True), span),
        ("Growth (%)", number(found["relative_percent"], sign=True), relative),
    ]
    return {
        "verdict": growth_verdict(found),
        "definition": f"Expansion: growth of at least {EXPANSION_ML:g} mL or {EXPANSION_PERCENT:g} %.",
        "path": previous["path"],
        "alignment": repeat["alignment"],
        "head": ("", "", "Interval" if found["coverage"] is None else f"{percent(found['coverage'])} interval"),
        "rows": rows,
        "notes": _once([*repeat["notes"], *(f"Earlier scan: {warning}" for warning in previous["warnings"])]),
    }


def _clinical_view(clinical):
    given = (
        f"{described(key, v)} ({_source(clinical, key)})" for key, v in clinical["context"].items() if v is not None
    )
    scores = clinical["scores"]
    return {
        "given": ", ".join(given),
        "mortality_probability": clinical["mortality_probability"],
        "without_prognosis": clinical.get("without_prognosis"),
        "rows": [
            (
                score["name"],
                NOT_COMPUTED if score["points"] is None else f"{score['points']} of {score['maximum']}",
                score["outcome"] or f"needs {', '.join(score['missing'])}",
                score["source"],
            )
            for score in scores
        ],
        "notes": _once([*clinical["alerts"], *(f"{s['name']}: {note}" for s in scores for note in s["notes"])]),
    }


def comparison_lines(comparison: dict) -> list[tuple[str, str]]:
    """Summarize the comparisons in a few lines.

    Parameters
    ----------
    comparison : dict

    Returns
    -------
    list of (str, str)
        Heading and text.
    """
    lines = []
    for segment in comparison["segments"]:
        planimetry = segment["volumes"][0]
        text = f"{segment['label']}: {number(planimetry['volume_ml'])} mL"
        if planimetry["difference_ml"] is not None:
            text += f"  ({number(planimetry['difference_ml'], sign=True)} mL against the model)"
        lines.append(("Segment", text))
        lines += [("", note) for note in segment["notes"]]
    if (repeat := comparison["repeat_scan"]) is not None:
        found = repeat["growth"]
        text = f"{number(found['absolute_ml'], sign=True)} mL"
        if found["relative_percent"] is not None:
            text += f" ({number(found['relative_percent'], sign=True)} %)"
        text += f" since the earlier scan of {number(found['first_ml'])} mL"
        lines += [("Growth", text), ("", growth_verdict(found))]
        lines += [("", note) for note in repeat["notes"]]
    if (clinical := comparison["clinical"]) is not None:
        for score in clinical["scores"]:
            text = f"needs {', '.join(score['missing'])}"
            if score["points"] is not None:
                text = f"{score['points']} of {score['maximum']}: {score['outcome']}"
            lines.append((score["name"], text))
            lines += [("", note) for note in score["notes"]]
        lines += [("Guideline", alert) for alert in clinical["alerts"]]
    return lines


def _source(clinical, field):
    """Source of a field; older reports have no sources, and only proposed the location."""
    earlier = Source.BLEED if field in clinical.get("proposed", ()) else Source.ENTERED
    return clinical.get("sources", {}).get(field, earlier.value)


def _once(sentences):
    """Each sentence once, in order."""
    return list(dict.fromkeys(sentences))
