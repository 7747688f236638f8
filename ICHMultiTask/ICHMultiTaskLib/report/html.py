"""The report as one HTML page: no external resources, readable on screen and on paper."""

import base64
import math
from html import escape
from pathlib import Path

from .comparison import STYLE as COMPARISON_STYLE
from .comparison import comparison_html

RESEARCH_USE = (
    "Research use only. Not a medical device, not validated on patients. A probability of this kind must not be the "
    "sole basis for prognosis or for limiting care."
)
"""Shown wherever the numbers are; the last sentence follows the AHA/ASA guideline of 2022 on ICH."""

STYLE = """
:root { color-scheme: light dark; --ink: #16202a; --soft: #5b6875; --page: #f3f5f7; --card: #fff; --line: #dce1e6;
  --accent: #b3401f; --bar: #e9a48f; --note: #fff4d6; --note-ink: #5c4400; --note-line: #e5b93c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --soft: #9aa7b4; --page: #10161c; --card: #1a222b;
  --line: #2d3843; --accent: #ff8f6b; --bar: #7d4433; --note: #37300f; --note-ink: #f4dc93; --note-line: #a5862a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; margin-bottom: 1rem; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: 1.1rem 1.3rem; }
.card h2 { margin: 0; font-size: .95rem; font-weight: 600; color: var(--soft); }
.big { font-size: 3.6rem; line-height: 1.15; font-weight: 700; letter-spacing: -.02em; }
.big small { font-size: 1.5rem; font-weight: 600; letter-spacing: 0; }
.card p { margin: .2rem 0 0; }
.card svg { display: block; width: 100%; height: auto; margin-top: .8rem; }
.statement { margin: 1rem 0 0; padding: .7rem 1.1rem; background: var(--card); border-left: .3rem solid var(--accent); }
.warnings { margin: 1rem 0 0; padding: .7rem 1.1rem; background: var(--note); color: var(--note-ink);
  border-left: .3rem solid var(--note-line); }
.warnings ul { margin: .2rem 0 0; padding-left: 1.2rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .6rem; }
.pictures figure { margin: 0; background: #000; border-radius: .5rem; overflow: hidden; break-inside: avoid; }
.pictures img { display: block; width: 100%; height: auto; }
.pictures figcaption { color: #cfd6dd; font-size: .85rem; padding: .25rem .6rem .35rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(21rem, 1fr)); gap: 1rem; align-items: start; }
.facts h2 { margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; font-size: .93rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
a { color: inherit; }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #999; --note: #fff;
  --note-ink: #000; } body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .pictures { grid-template-columns: repeat(3, 1fr); } .card, .facts > div, .statement { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def report_html(report, facts, pictures=(), scene=None):
    """Make the page.

    Parameters
    ----------
    report : dict
        As `ICHMultiTaskLib.report.result.report_dict` makes it.
    facts : ScanFacts
        For what the page shows of the patient and the series beyond the report; may hold anything, and is escaped.
    pictures : sequence of path-like
        PNG files; their names, as in "axial-12.png", become the captions.
    scene : str, optional
        File name of the saved scene beside the page.

    Returns
    -------
    str
    """
    title = " · ".join(filter(None, [facts.patient_name or facts.patient_id or "Head CT", _date(facts.study_date)]))
    comparison = comparison_html(report["comparison"]) if report.get("comparison") else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ICHMultiTask report: {escape(title)}</title>
<style>{STYLE}{COMPARISON_STYLE if comparison else ""}</style>
</head>
<body><main>
<header><h1>Intracerebral hemorrhage report</h1><span class="soft">{escape(title)}</span></header>
<div class="cards">{_volume_card(report)}{_prognosis_card(report)}</div>
<p class="statement"><strong>Model trained on:</strong> {escape(report["model"]["training_data"])}<br>{RESEARCH_USE}</p>
{_warnings(report["scan"]["warnings"])}
{_pictures(report, pictures)}
{comparison}
<h2>Details</h2>
<div class="facts">
<div class="card"><h2>Scan</h2>{_facts(_scan_facts(report["scan"], facts))}</div>
<div class="card"><h2>Model and run</h2>{_facts(_model_facts(report, scene))}</div>
</div>
</main></body>
</html>
"""


def _volume_card(report):
    volume, interval = report["volume_ml"], report["volume_interval_ml"]
    if volume is None:
        return '<section class="card"><h2>Hematoma volume</h2><div class="big">not available</div></section>'
    if interval is None or None in interval:
        text, drawing = "No calibrated interval.", ""
    else:
        text = f"{_percent(report['interval_coverage'])} interval {interval[0]:.1f} to {interval[1]:.1f} mL"
        drawing = _interval_drawing(volume, *interval)
    return f"""
<section class="card"><h2>Hematoma volume</h2>
<div class="big">{volume:.1f} <small>mL</small></div><p>{text}</p>{drawing}</section>"""


def _interval_drawing(volume, low, high):
    """The interval on a scale from 0 to a round number."""
    decade = 10.0 ** math.floor(math.log10(max(high, 1.0)))
    end = next(n * decade for n in (1, 2, 5, 10) if n * decade >= high)

    def x(ml):
        return 5 + 290 * ml / end

    marks = "".join(
        f'<text x="{x(ml):.1f}" y="33" font-size="10" text-anchor="{anchor}" fill="currentColor">{ml:g}</text>'
        for ml, anchor in ((0, "start"), (end / 2, "middle"), (end, "end"))
    )
    return f"""<svg viewBox="0 0 300 36" role="img"
aria-label="Interval from {low:.1f} to {high:.1f} mL on a scale from 0 to {end:g} mL">
<line x1="5" x2="295" y1="12" y2="12" stroke="var(--line)" stroke-width="4"/>
<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="12" y2="12" stroke="var(--bar)" stroke-width="10"/>
<line x1="{x(volume):.1f}" x2="{x(volume):.1f}" y1="3" y2="21" stroke="var(--accent)" stroke-width="3"/>{marks}</svg>"""


def _prognosis_card(report):
    probability = report["mortality_probability"]
    if probability is None:
        return '<section class="card"><h2>30-day mortality</h2><div class="big">not available</div></section>'
    return f"""
<section class="card"><h2>30-day mortality</h2>
<div class="big">{format_probability(probability)}</div><p>Prognosis: {escape(report["prognosis"])}</p>
<svg viewBox="0 0 300 36" role="img"
aria-label="Probability {format_probability(probability)} on a scale from 0 to 100 %">
<line x1="5" x2="295" y1="12" y2="12" stroke="var(--line)" stroke-width="10"/>
<line x1="5" x2="{5 + 290 * probability:.1f}" y1="12" y2="12" stroke="var(--accent)" stroke-width="10"/>
<line x1="150" x2="150" y1="3" y2="21" stroke="var(--soft)" stroke-width="1.5"/>
<text x="5" y="33" font-size="10" fill="currentColor">0 %</text>
<text x="150" y="33" font-size="10" text-anchor="middle" fill="currentColor">50 %</text>
<text x="295" y="33" font-size="10" text-anchor="end" fill="currentColor">100 %</text></svg></section>"""


def _warnings(sentences):
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<section class="warnings"><strong>Warnings</strong><ul>{items}</ul></section>'


def _pictures(report, pictures):
    attention = report["attention"]
    if not pictures:
        return ""
    overlay = ""
    if attention:
        overlay = (
            f"Left the scan, right where the network looked for the {escape(attention['head'])} "
            f"({escape(attention['method'])}, {escape(attention['stage'])}). "
            "Scaled for each scan by itself; not an outline of the hematoma."
        )
    figures = "".join(_figure(Path(picture)) for picture in pictures)
    return f'<h2>Pictures</h2><p class="soft">{overlay}</p><div class="pictures">{figures}</div>'


def _figure(path):
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    caption = escape(path.stem.replace("-", " ").replace("_", " ").capitalize())
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}, CT with attention overlay">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _scan_facts(scan, facts):
    k, j, i = scan["shape_kji"]
    spacing = " × ".join(f"{mm:.2f}" if mm is not None else "?" for mm in reversed(scan["spacing_mm"]))
    steps = ", ".join(f"{step:.2f}" for step in facts.slice_steps_mm) if len(facts.slice_steps_mm) > 1 else ""
    return {
        "Patient": " ".join(filter(None, [facts.patient_name, f"({facts.patient_id})" if facts.patient_id else ""])),
        "Study date": _date(facts.study_date),
        "Series": facts.series_description,
        "Scanner": facts.manufacturer,
        "Kernel": facts.kernel,
        "Source": "simulated scan, no patient" if facts.simulated else facts.format,
        "Matrix": f"{i} × {j} × {k} voxels of {spacing} mm",
        "Gantry tilt": f"{scan['gantry_tilt_deg']:.1f}°" if scan["gantry_tilt_deg"] else "none",
        "Slice steps": f"{steps} mm" if steps else "",
        "Series UID": scan["series_uid"],
        "Path": scan["path"],
    }


def _model_facts(report, scene):
    model, attention, timing = report["model"], report["attention"] or {}, report["timing_s"]
    seconds = {step: value for step, value in timing.items() if value is not None}
    return {
        "Model": f"{model['name']} {model['version']}",
        "Weights": f"SHA-256 {model['sha256'][:16]}…",
        "Attention peak": format_position(attention.get("peak_ras_mm")),
        "Attention map": attention.get("file", ""),
        "Scene": f"{scene} (opens in 3D Slicer)" if scene else "",
        "Time": ", ".join(f"{step.replace('_', ' ')} {value:.2f} s" for step, value in seconds.items()),
    }


def _facts(facts):
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    return f"<dl>{rows}</dl>"


def format_position(ras_mm):
    """A RAS position as read on a scan, such as "L 12, A 30, S 5 mm"; empty if there is none."""
    if not ras_mm or None in ras_mm:
        return ""
    return ", ".join(f"{pair[v < 0]} {abs(v):.0f}" for v, pair in zip(ras_mm, ("RL", "AP", "SI"))) + " mm"


def _percent(fraction):
    return f"{100 * fraction:.0f} %" if fraction is not None else "?"


def format_probability(probability):
    """A probability in percent, which is never called certain."""
    if probability < 0.01:
        return "below 1 %"
    return "above 99 %" if probability > 0.99 else _percent(probability)


def _date(dicom_date):
    """A DICOM date as ISO; anything else as it is."""
    if len(dicom_date) == 8 and dicom_date.isdigit():
        return f"{dicom_date[:4]}-{dicom_date[4:6]}-{dicom_date[6:]}"
    return dicom_date
