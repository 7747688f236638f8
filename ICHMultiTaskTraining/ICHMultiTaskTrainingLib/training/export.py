"""From a finished run to a model bundle with its model card."""

import json
import shutil

import numpy as np

from ICHMultiTaskLib.model.bundle import save_bundle

from .config import starting_bundle
from .lineage import DEFAULT_NAME, DEFAULT_VERSION, derived
from .selection import best_choice

INTENDED_USE = (
    "Research on spontaneous intracerebral hemorrhage in non-contrast head CT. Not a medical device; not for diagnosis "
    "or treatment decisions."
)


def export_bundle(trainer, folder, name, version, training_data, command, choice=None):
    """Write the bundle of a finished run.

    Parameters
    ----------
    trainer : Trainer
        After `run`.
    folder : path
    name, version : str or None
        None: "ich-multitask", or the name of the model that the run started from with "-fine-tuned", and 0.1.0.
    training_data : str or None
        One sentence, shown beside every number; None: made from the manifest. That of the model which the run started
        from stands before it.
    command : str
        The command that trained it, for the model card.
    choice : Selection, optional
        Which weights of the run; None: those that `Trainer.choose` takes.

    Returns
    -------
    ModelBundle
    """
    config, choice = trainer.config, choice or trainer.choose()
    scans = len(trainer.scans.died)
    kind = "simulated scans" if trainer.simulated else "scans"
    own_data = training_data or f"{scans} {kind} of {trainer.manifest_name}"
    training_data = own_data
    if config.tasks != "both":
        untrained = {"volume": "prognosis", "prognosis": "volume"}[config.tasks]
        training_data += f"; for the {config.tasks} alone: its {untrained} means nothing"
    # What an epoch cost says nothing of the model.
    validation = {key: value for key, value in choice.entry.items() if key not in ("seconds", "ended")}
    metadata = {
        "name": name or DEFAULT_NAME,
        "version": version or DEFAULT_VERSION,
        "license": "Apache-2.0",
        "description": "Hematoma volume, 30-day mortality and attention from a non-contrast head CT.",
        "intended_use": INTENDED_USE,
        "training_data": training_data,
        "architecture": config.bundle_architecture(),
        "preprocessing": config.preprocessing,
        "target": config.target,
        "attention": {"head": "volume", "stage": "stage4", "method": "gradcam"},
        "calibration": trainer.calibration(choice),
        "metrics": {"validation": validation, "validation_scans": len(trainer.validation.died)},
        "training": {"config": config.as_dict(), "command": command, "scans": scans, "note": choice.note},
    }
    if config.start_from is not None:
        start = starting_bundle(config.start_from)
        metadata = derived(metadata, [start], "fine-tuned", name, version, f"on {own_data}")
    return save_bundle(folder, choice.state, metadata, model_card(metadata), overwrite=True)


def export_best(trainer, folder, name, version, training_data, command, choice):
    """Write the best epoch of a run beside the chosen weights, under a name of its own.

    Returns
    -------
    ModelBundle or None
        None where the chosen weights are the best, or come of the start.
    """
    best = best_choice(trainer)
    if best is None or choice.is_start or choice.entry["epoch"] == best.entry["epoch"]:
        shutil.rmtree(folder, ignore_errors=True)  # of the same run before it went on
        return None
    name = f"{name or DEFAULT_NAME}-best"
    return export_bundle(trainer, folder, name, version, training_data, command, best)


def record_metrics(bundle, metrics, name="held_out"):
    """Write metrics into a bundle's metadata and model card.

    Parameters
    ----------
    bundle : ModelBundle
    metrics : dict
        As `evaluate` or, under the names "robustness" and "comparison", `robustness` and `compare-models` write them.
    name : str
    """
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    metadata["metrics"] = metadata["metrics"] | {name: metrics}
    state = bundle.network().state_dict()
    return save_bundle(bundle.folder, state, metadata, model_card(metadata), overwrite=True)


def model_card(metadata):
    """The model card in Markdown, made from the metadata alone."""
    # A bundle made elsewhere need not tell how it was trained.
    training = {"command": "not recorded", "config": {}} | metadata.get("training", {})
    metrics, calibration = metadata["metrics"], metadata["calibration"]
    lines = [
        f"# {metadata['name']} {metadata['version']}",
        "",
        metadata["description"],
        "",
        f"**Intended use.** {metadata['intended_use']}",
        "",
        f"**Trained on.** {metadata['training_data']}. Volumes, outcomes and, where the manifest has them, masks.",
        "",
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
        f"Validation: {_validation(metrics.get('validation', {}))}.",
        "",
    ]
    held_out = metrics.get("held_out")
    if held_out:
        lines += [f"Held-out: {held_out.get('data', 'scans never used for training or calibration')}.", ""]
        for part in ("volume", "prognosis", "attention"):
            if held_out.get(part) is None:
                lines += [f"Nothing was measured of the {part}.", ""]
                continue
            lines += [f"| {part} | value |", "|---|---|"]
            lines += [f"| {key} | {_shown(value)} |" for key, value in held_out[part].items()]
            lines.append("")
    if "robustness" in metrics:
        from ..evaluation.robustness.metrics import summary

        lines += ["## Robustness", "", "```", metrics["robustness"]["data"], summary(metrics["robustness"]), "```", ""]
    if "comparison" in metrics:
        from ..evaluation.model_comparison import comparison_table

        comparison = metrics["comparison"]
        lines += ["## Comparison", "", *([comparison["note"], ""] if comparison["note"] else [])]
        lines += [comparison_table(comparison), "Differences with 95 % intervals, patient by patient (bootstrap).", ""]
    lines += [
        "## Limits",
        "",
        "Not validated on patients. Attention is scaled for each map by itself: not comparable between patients.",
        "",
    ]
    return "\n".join(lines)


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
        return f"{text}; probability as the network says it."
    data = calibration.get("data", "validation patients that trained and chose nothing")
    if calibration.get("notes"):
        return f"{text}, from {scans} {data}. What these were too few for:"
    return f"{text} and Platt-scaled probability, both from {scans} {data}."


def _correction(calibration):
    line = calibration.get("volume_correction")
    if not line:
        return []
    sentence = (
        f"The volume V of the network is corrected to (({line['slope']:.3f} × ∛(V + {line['softening_ml']:g} mL) "
        f"{line['offset_cm']:+.3f} cm)³ − {line['softening_ml']:g} mL), fitted to the same scans."
    )
    return [sentence, ""]


def _validation(entry):
    parts = []
    if entry.get("validation_mae_ml") is not None:
        parts.append(f"volume MAE {entry['validation_mae_ml']:.2f} mL")
    if entry.get("validation_auc") is not None:
        parts.append(f"AUC of the prognosis {entry['validation_auc']:.3f}")
    return ", ".join(parts) or "not measured"


def _shown(value):
    if isinstance(value, float):
        return f"{value:.3g}" if np.isfinite(value) else "not computed"
    return "not computed" if value is None else f"`{json.dumps(value)}`" if isinstance(value, (dict, list)) else value
