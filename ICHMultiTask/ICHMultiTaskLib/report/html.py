"""The report of one analysis as an HTML page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..analysis.findings.finding import Findings, Source
from ..analysis.second_look import WITHOUT_PROGNOSIS
from ..common.numbers import date, position
from ..common.provenance import provenance_facts
from ..model.attention import map_words
from ..scan.head_ct import ScanFacts
from .comparison import comparison_view
from .pages import render


def report_html(
    report: dict, facts: ScanFacts, pictures: Sequence[str | os.PathLike] = (), scene: str | None = None
) -> str:
    """Make the HTML page.

    Parameters
    ----------
    report : dict
        From `ICHMultiTaskLib.report.result.report_dict`.
    facts : ScanFacts
        Patient, study and scanner, which are not in the report; any text is escaped.
    pictures : sequence of path-like
        PNG files; their names, such as "axial_1.png", become the captions.
    scene : str, optional
        File name of the scene saved next to the page.

    Returns
    -------
    str
    """
    shown = report["attention"]
    return render(
        "analysis.html",
        report=report,
        title=" · ".join(filter(None, [facts.patient_name or facts.patient_id or "Head CT", date(facts.study_date)])),
        scale=_scale(report["volume_ml"], report["volume_interval_ml"]),
        without_prognosis=WITHOUT_PROGNOSIS.get(report["hemorrhage"]),
        attention_map=shown and map_words(shown["stage"], shown["method"]),
        pictures=[(_caption(Path(picture)), Path(picture).read_bytes()) for picture in pictures],
        scan_facts=_scan_facts(report["scan"], facts),
        run_facts=_model_facts(report, scene),
        findings=_findings(report["findings"], (report.get("comparison") or {}).get("clinical")),
        **comparison_view(report.get("comparison")),
    )


def _scale(volume, interval):
    """Positions of the marks in the drawing of the interval, on a scale from 0 to a round number; None without one."""
    if volume is None or interval is None or None in interval:
        return None
    low, high = interval
    decade = 10.0 ** math.floor(math.log10(max(high, 1.0)))
    end = next(n * decade for n in (1, 2, 5, 10) if n * decade >= high)
    places = {name: f"{5 + 290 * ml / end:.1f}" for name, ml in (("value", volume), ("low", low), ("high", high))}
    return {"end_ml": end, **places}


def _caption(path):
    return path.stem.replace("-", " ").replace("_", " ").capitalize()


def _scan_facts(scan, facts):
    k, j, i = scan["shape_kji"]
    spacing = " × ".join(f"{mm:.2f}" if mm is not None else "?" for mm in reversed(scan["spacing_mm"]))
    steps = ", ".join(f"{step:.2f}" for step in facts.slice_steps_mm) if len(facts.slice_steps_mm) > 1 else ""
    return {
        "Patient": " ".join(filter(None, [facts.patient_name, f"({facts.patient_id})" if facts.patient_id else ""])),
        "Study date": date(facts.study_date),
        "Series": facts.series_description,
        "Scanner": facts.manufacturer,
        "Kernel": facts.kernel,
        "Source": "simulated scan, no patient" if facts.simulated else facts.format,
        "Matrix": f"{i} × {j} × {k} voxels of {spacing} mm",
        "Gantry tilt": f"{scan['gantry_tilt_deg']:.1f}°" if scan["gantry_tilt_deg"] else "none",
        "Slice steps": f"{steps} mm" if steps else "",
        "Series UID": scan["series_uid"],
        "Choice of the series": scan["series_choice"] or "",
        "Path": scan["path"],
    }


def _findings(kept, clinical):
    """Rows of the table: label, value, source, accuracy; an entered value replaces the measured one, which is noted."""
    found = Findings.from_dict(kept)
    sources, context = ((clinical or {}).get(key, {}) for key in ("sources", "context"))
    rows = []
    for item in found.items if found else ():
        entered = item.correctable and sources.get(item.name) == Source.ENTERED
        value = context[item.name] if entered else item.value
        note = f"entered; {item.source}: {item.text}" if entered else item.source
        rows.append((item.label, replace(item, value=value).text, note, item.accuracy))
    return rows


def _model_facts(report, scene):
    model, attention, timing = report["model"], report["attention"] or {}, report["timing_s"]
    seconds = {step: value for step, value in timing.items() if value is not None}
    return {
        "Model": f"{model['name']} {model['version']}",
        "Weights": f"SHA-256 {model['sha256'][:16]}…",
        "Attention peak": position(attention.get("peak_ras_mm")),
        "Attention map": attention.get("file", ""),
        "Scene": f"{scene} (opens in 3D Slicer)" if scene else "",
        "Time": ", ".join(f"{step.replace('_', ' ')} {value:.2f} s" for step, value in seconds.items()),
        **provenance_facts(report["provenance"]),
    }
