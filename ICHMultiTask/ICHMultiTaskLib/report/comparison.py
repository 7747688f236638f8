"""The comparison in report.json, report.html and the shell.

comparison_dict(analysis, compared=None, context=None, repeat=None) -> dict, the key `comparison` of report.json
comparison_html(comparison) -> str, from that dict alone, so that the page shows no number that it does not hold
comparison_lines(comparison) -> list of (str, str), for the shell
"""

from dataclasses import asdict
from html import escape

from ..measures.clinical_scores import alerts, clinical_scores
from ..measures.formulas import DEFINITIONS_VERSION

NOT_COMPUTED = "–"
STYLE = """
.table { overflow-x: auto; margin: .4rem 0 1rem; }
table { border-collapse: collapse; background: var(--card); font-size: .9rem; }
th, td { padding: .3rem .6rem; border: 1px solid var(--line); text-align: right; vertical-align: top;
  font-variant-numeric: tabular-nums; }
th.text, td.text { text-align: left; }
td:first-child { white-space: nowrap; }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
"""
_FORMULAS = (
    '<p class="soft">ABC/2: A × B × the full height ÷ 2 (Tada). ABC/2 (Kothari): slices weighted by their area. '
    f"Definitions: version {DEFINITIONS_VERSION}.</p>"
)
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


def comparison_dict(analysis, compared=None, context=None, repeat=None):
    """What is compared with an analysis, for report.json.

    Parameters
    ----------
    analysis : Analysis
    compared : Comparison, optional
        Of segments, as `side_by_side.compare` makes it.
    context : ClinicalContext, optional
    repeat : RepeatScan, optional

    Returns
    -------
    dict
        `segments` (each with `formula_definitions`, the version of what the names of its volumes mean) and `readers`
        (lists), `clinical` and `repeat_scan` (None where not asked for).
    """
    return {
        "segments": [_segment_dict(segment) for segment in compared.segments] if compared else [],
        "readers": [asdict(pair) for pair in compared.readers] if compared else [],
        "clinical": _clinical_dict(analysis, context) if context else None,
        "repeat_scan": _repeat_dict(analysis, repeat) if repeat else None,
    }


def _segment_dict(segment):
    measures = asdict(segment.measures)
    del measures["formulas_ml"]  # among the volumes
    return {
        "label": segment.label,
        **measures,
        "formula_definitions": DEFINITIONS_VERSION,
        "volumes": [asdict(row) for row in segment.volumes],
        "attention": asdict(segment.attention) if segment.attention else None,
        "notes": list(segment.notes),
    }


def _clinical_dict(analysis, context):
    volume, interval = analysis.volume_ml, analysis.volume_interval_ml
    return {
        "context": asdict(context),
        "scores": [asdict(score) for score in clinical_scores(context, volume, interval)],
        "alerts": list(alerts(context, volume, interval)),
        "mortality_probability": analysis.mortality_probability,
    }


def _repeat_dict(analysis, repeat):
    facts, alignment = repeat.previous.head_ct.facts, repeat.alignment
    return {
        "previous": {
            "path": facts.path,
            "series_uid": facts.series_uid,
            "study_date": facts.study_date,
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


def comparison_html(comparison):
    """Sections of the HTML page.

    Parameters
    ----------
    comparison : dict
        As `comparison_dict` makes it, after JSON.

    Returns
    -------
    str
    """
    parts = [
        _segments_html(comparison["segments"]),
        _readers_html(comparison["readers"]),
        _repeat_html(comparison["repeat_scan"]),
        _clinical_html(comparison["clinical"]),
    ]
    return "<h2>Compare</h2>" + "".join(parts) if any(parts) else ""


def _segments_html(segments):
    if not segments:
        return ""
    volumes = [
        (
            segment["label"], row["method"], number(row["volume_ml"]), number(row["difference_ml"], sign=True),
            number(row["difference_percent"], 0, sign=True), verdict(row["inside_interval"]),
            verdict(row["within_5_ml"]), verdict(row["within_20_percent"]),
        )
        for segment in segments
        for row in segment["volumes"]
    ]  # fmt: skip
    head = (
        "Segment", "Method", "mL", "Difference to the model (mL)", "of the model (%)", "In the interval",
        "Within 5 mL", "Within 20 %",
    )  # fmt: skip
    labels = [segment["label"] for segment in segments]
    measures = [
        (title, *(number(segment[key], digits) for segment in segments)) for key, title, digits in _MEASURES
    ] + [("Components", *(number(len(segment["components_ml"]), 0) for segment in segments))]
    html = f"<h3>Volumes</h3>{_table(head, volumes, text=2)}{_FORMULAS}<h3>Measures</h3>{_table(('', *labels), measures)}"
    if any(segment["attention"] for segment in segments):
        agreements = [segment["attention"] or {} for segment in segments]
        rows = [("Hottest point inside", *(verdict(found.get("peak_inside")) for found in agreements))]
        rows += [
            (title, *(number(found.get(key), digits, factor) for found in agreements))
            for key, title, digits, factor in _ATTENTION
            if any(found.get(key) is not None for found in agreements)
        ]
        html += f"<h3>Attention</h3>{_table(('', *labels), rows)}"
    return html + _notes(f"{segment['label']}: {note}" for segment in segments for note in segment["notes"])


def _readers_html(readers):
    if not readers:
        return ""
    rows = [
        (
            pair["first"], pair["second"], number(pair["dice"], 2), number(pair["hausdorff_95_mm"]),
            number(pair["volume_difference_ml"], sign=True), number(pair["volume_difference_percent"], 0, sign=True),
        )
        for pair in readers
    ]  # fmt: skip
    head = ("First", "Second", "Dice", "Hausdorff, 95 % (mm)", "Second − first (mL)", "of the first (%)")
    notes = _notes(note for pair in readers for note in pair["notes"])
    return f"<h3>Segment against segment</h3>{_table(head, rows, text=2)}{notes}"


def _repeat_html(repeat):
    if repeat is None:
        return ""
    found, previous = repeat["growth"], repeat["previous"]
    span = _span(found["absolute_interval_ml"], sign=True)
    percent = _span(found["relative_interval_percent"], 0, sign=True)
    rows = [
        ("Earlier scan (mL)", number(found["first_ml"]), _span(previous["volume_interval_ml"])),
        ("This scan (mL)", number(found["second_ml"]), _span(repeat["volume_interval_ml"])),
        ("Growth (mL)", number(found["absolute_ml"], sign=True), span),
        ("Growth (%)", number(found["relative_percent"], 0, sign=True), percent),
        ("Expansion (≥ 6 mL or ≥ 33 %)", verdict(found["is_expansion"]), found["verdict"] or NOT_COMPUTED),
    ]
    alignment = repeat["alignment"]
    sentence = ""
    if alignment["succeeded"]:
        sentence = (
            f"The scans were aligned rigidly (correlation of the bone {alignment['correlation']:.2f}; the head had "
            f"turned by {alignment['rotation_deg']:.0f}° and moved by {alignment['translation_mm']:.0f} mm)."
        )
    warnings = [f"Earlier scan: {warning}" for warning in previous["warnings"]]
    head = ("", "", _interval_title(found["coverage"]))
    return (
        f'<h3>Repeat scan</h3><p class="soft">Earlier scan: {escape(previous["path"])}. {sentence}</p>'
        f"{_table(head, rows)}{_notes([*repeat['notes'], *warnings])}"
    )


def _interval_title(coverage):
    return "Interval" if coverage is None else f"{100 * coverage:.0f} % interval"


def _clinical_html(clinical):
    if clinical is None:
        return ""
    given = ", ".join(
        f"{key.replace('_', ' ')} {_word(value)}" for key, value in clinical["context"].items() if value is not None
    )
    rows = [
        (
            score["name"],
            NOT_COMPUTED if score["points"] is None else f"{score['points']} of {score['maximum']}",
            score["outcome"] or f"needs {', '.join(score['missing'])}",
            score["source"],
        )
        for score in clinical["scores"]
    ]
    head = ("Score", "Points", "Published outcome", "Source")
    probability = clinical["mortality_probability"]
    beside = ""
    if probability is not None:
        from .html import format_probability

        beside = (
            f" Beside them: the model's 30-day mortality of {format_probability(probability)}, from the image alone."
        )
    notes = [*clinical["alerts"], *(f"{s['name']}: {note}" for s in clinical["scores"] for note in s["notes"])]
    return (
        f'<h3>Clinical scores</h3><p class="soft">Given: {escape(given)}. The volume is that of the model.{beside} '
        "A severity score must not be the sole basis for prognosis or for limiting care.</p>"
        f"{_table(head, rows, text=4)}{_notes(notes)}"
    )


def comparison_lines(comparison):
    """The comparison in a few lines.

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
            text += f" ({number(found['relative_percent'], 0, sign=True)} %)"
        text += f" since the earlier scan of {number(found['first_ml'])} mL"
        if found["is_expansion"] is not None:
            text += f"; expansion: {verdict(found['is_expansion'])}"
        if found["verdict"] is not None:
            text += f", {found['verdict']} by the intervals" if found["is_expansion"] is not None else ""
        lines.append(("Growth", text))
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


def number(value, digits=1, factor=1, sign=False):
    """A number as text; a dash where none was computed."""
    if value is None:
        return NOT_COMPUTED
    return f"{value * factor:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def verdict(value):
    """Yes, no, or a dash where it could not be told."""
    return NOT_COMPUTED if value is None else "yes" if value else "no"


def _word(value):
    return verdict(value) if isinstance(value, bool) else str(value)


def _span(interval, digits=1, sign=False):
    if interval is None or interval[0] is None:
        return NOT_COMPUTED
    high = "no upper bound" if interval[1] is None else number(interval[1], digits, sign=sign)
    return f"{number(interval[0], digits, sign=sign)} to {high}"


def _notes(sentences):
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in dict.fromkeys(sentences))
    return f'<section class="warnings"><ul>{items}</ul></section>' if items else ""


def _table(head, rows, text=1):
    """A table whose first `text` columns hold words."""

    def line(tag, cells):
        kinds = (' class="text"' if n < text else "" for n in range(len(cells)))
        return f"<tr>{''.join(f'<{tag}{kind}>{escape(cell)}</{tag}>' for kind, cell in zip(kinds, cells))}</tr>"

    return f'<div class="table"><table>{line("th", head)}{"".join(line("td", row) for row in rows)}</table></div>'
