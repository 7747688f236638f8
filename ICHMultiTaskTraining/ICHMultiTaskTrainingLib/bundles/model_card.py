"""The model card: a bundle's metadata in Markdown."""

from __future__ import annotations

import json

import numpy as np

from ICHMultiTaskLib.common.clinical_variables import VARIABLES
from ICHMultiTaskLib.common.numbers import with_interval
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.two_readings import AGREEMENT
from ICHMultiTaskLib.model.volume_correction import correct_volume, knots

from ..evaluation.model_comparison import comparison_table
from ..evaluation.report import TABLES
from ..evaluation.robustness.metrics import summary
from ..evaluation.subgroups import subgroup_rows


def record_metrics(bundle: ModelBundle, metrics: dict, name: str = "held_out") -> ModelBundle:
    """Write metrics into a bundle's metadata and model card.

    Parameters
    ----------
    bundle : ModelBundle
    metrics : dict
        From `evaluate`, or with the names "robustness" and "comparison" from `robustness` and `compare-models`.
    name : str
    """
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    metadata["metrics"] = metadata["metrics"] | {name: metrics}
    state = bundle.network().state_dict()
    return save_bundle(bundle.folder, state, metadata, model_card(metadata), overwrite=True)


def model_card(metadata: dict) -> str:
    """The model card in Markdown, from the metadata alone."""
    # A bundle made elsewhere may not record its training.
    training = {"command": "not recorded", "config": {}} | metadata.get("training", {})
    metrics, calibration = metadata["metrics"], metadata["calibration"]
    lines = [
        f"# {metadata['name']} {metadata['version']}",
        "",
        metadata["description"],
        "",
        f"**Intended use.** {metadata['intended_use']}",
        "",
        f"**Trained on.** {metadata['training_data']}. {_learned_from(training['config'])}",
        "",
        *_clinical(metadata),
        "## Training",
        "",
        "```",
        training["command"],
        "```",
        "",
        *([training["note"], ""] if training.get("note") else []),
        *_origins(metadata),
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | `{json.dumps(value)}` |" for key, value in training["config"].items()),
        "",
        "## Calibration",
        "",
        _calibrated_on(calibration, metrics),
        "",
        *(line for note in calibration.get("notes", ()) for line in (note, "")),
        *_correction(calibration),
        "## Accuracy",
        "",
        _validation(metrics.get("validation", {}), metrics.get("validation_scans")),
        "",
    ]
    held_out = metrics.get("held_out")
    if held_out:
        data = held_out.get("data", "scans never used for training or calibration")
        lines += [f"Held out: {data}. In parentheses: 95 % bootstrap intervals over patients.", ""]
        lines += [line for part in TABLES for line in _accuracy(held_out, part)]
        lines += _subgroups(held_out.get("subgroups") or ())
    if "robustness" in metrics:
        lines += ["## Robustness", "", "```", metrics["robustness"]["data"], summary(metrics["robustness"]), "```", ""]
    if "comparison" in metrics:
        comparison = metrics["comparison"]
        lines += ["## Comparison", "", *([comparison["note"], ""] if comparison["note"] else [])]
        lines += [comparison_table(comparison), "Differences with 95 % intervals, patient by patient (bootstrap).", ""]
    lines += [
        "## Limits",
        "",
        "Not validated on patients. Each attention map is scaled separately: maps of different patients cannot be "
        "compared.",
        "",
    ]
    return "\n".join(lines)


def _clinical(metadata):
    if not metadata.get("clinical"):
        return []
    names = ", ".join(VARIABLES[entry["name"]].words for entry in metadata["clinical"])
    sentence = f"**Clinical inputs** of the prognosis: {names}; each may be missing. The volume uses only the image."
    return [sentence, ""]


def _origins(metadata):
    lines = [
        f"{origin['how'].capitalize()} from {origin['name']} {origin['version']} (license {origin['license']}, weights "
        f"{origin['sha256'][:12]}…), which was trained on: {origin['training_data']}."
        for origin in metadata.get("derived_from", ())
    ]
    return [text for line in lines for text in (line, "")]


def _calibrated_on(calibration, metrics):
    interval = calibration.get("volume_interval")
    text = f"Split-conformal {interval['coverage']:.0%} interval" if interval else "No interval"
    scans = calibration.get("scans", metrics.get("validation_scans"))
    if scans is None:
        return f"{text}; uncalibrated probability."
    data = calibration.get("data", "validation patients not used for training or model selection")
    if calibration.get("notes"):
        return f"{text}, from {scans} {data}. They were too few for:"
    return f"{text} and Platt-scaled probability, both from {scans} {data}."


def _correction(calibration):
    correction, outline = calibration.get("volume_correction"), calibration.get("outline")
    lines = []
    if correction:
        lines += [f"Correction of the network's volume, fitted to the same scans, {_pairs(correction)}.", ""]
    if outline:
        weight = outline["weight"]
        both = f"the mean of the network's reading and, with a weight of {weight:.0%}, the volume"
        lines += [
            f"Where a hemorrhage is found, the volume is {both if weight < 1 else 'that'} outlined in the scan, which "
            f"counts up to {AGREEMENT:g} times the network's reading, and down to {1 / AGREEMENT:.0%} of it; corrected "
            f"{_pairs(outline['correction'])}.",
            "",
        ]
    return lines


def _pairs(correction):
    places, _ = knots(correction)
    before = np.maximum(places**3 - correction["softening_ml"], 0.0)
    pairs = ", ".join(f"{v:.1f} → {correct_volume(v, correction):.1f}" for v in before)
    return f"in mL: {pairs}; linear in cube roots"


def _learned_from(config):
    if "mask_weight" not in config:
        return "What it learned from is not recorded."
    masks = ", outcomes and, where the table of scans had them, masks" if config["mask_weight"] else " and outcomes"
    return f"It learned from volumes{masks}."


def _validation(entry, scans):
    parts = []
    if entry.get("validation_mae_ml") is not None:
        parts.append(f"volume MAE {entry['validation_mae_ml']:.2f} mL")
    if entry.get("validation_auc") is not None:
        parts.append(f"AUC of the prognosis {entry['validation_auc']:.3f}")
    of = f" of the run that trained it, on {scans} scans, those without a hemorrhage included" if scans else ""
    return f"Validation{of}: {', '.join(parts) or 'not measured'}."


def _accuracy(held_out, part):
    """A part of the metrics as a table, in the words of the evaluation's page."""
    heading, rows = TABLES[part]
    values, bounds = held_out.get(part), (held_out.get("intervals_95") or {}).get(part) or {}
    if values is None:
        return [f"{heading}: not evaluated.", ""]
    counts = [f"{values[name]} {word}" for name, word in _COUNTS.items() if values.get(name) is not None]
    lines = [f"| {heading} | {', '.join(counts)} |", "|---|---|"]
    for key, label, unit, digits, factor in rows:
        if key in values:
            value = with_interval(values[key], bounds.get(key), digits, factor)
            lines.append(f"| {label} | {f'{value} {unit}'.strip()} |")
    return [*lines, ""]


def _subgroups(subgroups):
    if len(subgroups) < 2:
        return []
    lines = [
        "| subgroup | patients | MAE (mL) | bias (mL) | interval holds the true volume | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for by, group, *cells in subgroup_rows(subgroups):
        lines.append(f"| {': '.join(filter(None, (by, group)))} | {' | '.join(map(str, cells))} |")
    return [*lines, ""]


_COUNTS = {"patients": "patients", "scans": "scans", "bleeds": "with a bleed", "deaths": "died"}
