"""From a finished run to a model bundle with its model card."""

import json

import numpy as np

from ICHMultiTaskLib.model.bundle import save_bundle

INTENDED_USE = (
    "Research on spontaneous intracerebral hemorrhage in non-contrast head CT. Not a medical device; not for diagnosis "
    "or treatment decisions."
)


def export_bundle(trainer, folder, name, version, training_data, command):
    """Write the bundle of a finished run.

    Parameters
    ----------
    trainer : Trainer
        After `run`.
    folder : path
    name, version : str
    training_data : str
        One sentence, shown beside every number; None: made from the manifest.
    command : str
        The command that trained it, for the model card.

    Returns
    -------
    ModelBundle
    """
    config = trainer.config
    scans = len(trainer.scans.died)
    kind = "simulated scans" if trainer.simulated else "scans"
    training_data = training_data or f"{scans} {kind} of {trainer.manifest_name}"
    if config.tasks != "both":
        untrained = {"volume": "prognosis", "prognosis": "volume"}[config.tasks]
        training_data += f"; for the {config.tasks} alone: its {untrained} means nothing"
    # What the last epoch cost says nothing of the model.
    validation = {key: value for key, value in trainer.history[-1].items() if key not in ("seconds", "ended")}
    metadata = {
        "name": name,
        "version": version,
        "license": "Apache-2.0",
        "description": "Hematoma volume, 30-day mortality and attention from a non-contrast head CT.",
        "intended_use": INTENDED_USE,
        "training_data": training_data,
        "architecture": config.bundle_architecture(),
        "preprocessing": config.preprocessing,
        "target": config.target,
        "attention": {"head": "volume", "stage": "stage4", "method": "gradcam"},
        "calibration": trainer.calibration(),
        "metrics": {"validation": validation, "validation_scans": len(trainer.validation.died)},
        "training": {"config": config.as_dict(), "command": command, "scans": scans},
    }
    return save_bundle(folder, trainer.network.state_dict(), metadata, model_card(metadata), overwrite=True)


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
    training, metrics = metadata["training"], metadata["metrics"]
    calibration = metadata["calibration"]
    interval = calibration["volume_interval"]
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
        *([training["note"], ""] if "note" in training else []),
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | `{json.dumps(value)}` |" for key, value in training["config"].items()),
        "",
        "## Calibration",
        "",
        f"{_interval(interval)} and Platt-scaled probability, both from "
        f"{calibration.get('scans', metrics['validation_scans'])} "
        f"{calibration.get('data', 'validation patients that trained and chose nothing')}.",
        "",
        *_correction(calibration),
        "## Accuracy",
        "",
        f"Validation, last epoch: {_validation(metrics['validation'])}.",
        "",
    ]
    held_out = metrics.get("held_out")
    if held_out:
        lines += [f"Held-out: {held_out.get('data', 'scans never used for training or calibration')}.", ""]
        for part in ("volume", "prognosis", "attention"):
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


def _interval(interval):
    return f"Split-conformal {interval['coverage']:.0%} interval" if interval else "No interval"


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
