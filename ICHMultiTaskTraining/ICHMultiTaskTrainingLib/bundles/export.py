"""Write a finished run as a model bundle with its model card."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.model.bundle import ModelBundle, remove_bundle, save_bundle

from ..data.seen_images import as_text, images_of
from ..training.config import starting_bundle, tasks_of
from ..training.lineage import DEFAULT_NAME, DEFAULT_VERSION, derived
from ..training.selection import best_choice
from .model_card import model_card
from .recalibration import outlined_volumes

if TYPE_CHECKING:
    from ..training.selection import Selection
    from ..training.trainer import Trainer

INTENDED_USE = (
    "Research on spontaneous intracerebral hemorrhage in non-contrast head CT. Not a medical device; not for diagnosis "
    "or treatment decisions."
)


def export_bundle(
    trainer: Trainer,
    folder: str | os.PathLike,
    name: str | None,
    version: str | None,
    training_data: str | None,
    command: str,
    choice: Selection | None = None,
) -> ModelBundle:
    """Write the bundle of a finished run.

    Parameters
    ----------
    trainer : Trainer
        After `run`.
    folder : path
    name, version : str or None
        None: "ich-multitask" (for a fine-tuned model the name of its start with "-fine-tuned"), and 0.1.0.
    training_data : str or None
        One sentence, shown next to every result; None: derived from the manifest. For a fine-tuned model it follows
        the training data of the start.
    command : str
        The training command, for the model card.
    choice : Selection, optional
        Selected weights of the run; None: as selected by `Trainer.choose`.

    Returns
    -------
    ModelBundle
    """
    config, choice = trainer.config, choice or trainer.choose()
    scans = len(trainer.scans.died)
    kind = "simulated scans" if trainer.simulated else "scans"
    own_data = training_data or f"{scans} {kind} of {trainer.manifest_name}"
    # Timing is not a property of the model.
    validation = {key: value for key, value in choice.entry.items() if key not in ("seconds", "ended")}
    images, settings = trainer.images, config.as_dict()
    if choice.is_start:  # a head that was trained in this run is not among these weights
        settings["tasks"] = tasks_of(starting_bundle(config.start_from).tasks)
    if config.start_from is not None:
        of_start = images_of(starting_bundle(config.start_from), "training", "calibration")
        images = of_start if choice.is_start else images | of_start
    metadata = {
        "name": name or DEFAULT_NAME,
        "version": version or DEFAULT_VERSION,
        "license": "Apache-2.0",
        "description": "Hematoma volume, 30-day mortality and attention from a non-contrast head CT.",
        "intended_use": INTENDED_USE,
        "training_data": own_data,
        "architecture": trainer.bundle_architecture,
        "preprocessing": config.preprocessing,
        "target": config.target,
        "calibration": trainer.calibration(choice),
        "metrics": {"validation": validation, "validation_scans": len(trainer.validation.died)},
        "training": {
            "config": settings, "command": command, "scans": scans, "note": choice.note,
            "images": as_text(images),
        },
        "provenance": provenance(trainer.device, trainer.runtime.name),
    }  # fmt: skip
    if trainer.clinical is not None:
        metadata["clinical"] = trainer.clinical.metadata()
    if config.start_from is not None:
        start = starting_bundle(config.start_from)
        metadata = derived(metadata, [start], "fine-tuned", name, version, f"on {own_data}")
        if choice.is_start and "weights" in start.metadata:
            metadata["weights"] = start.metadata["weights"]  # in another format the weights would change
    metadata["training_data"] = _with_heads(metadata["training_data"], settings["tasks"])
    bundle = save_bundle(folder, choice.state, metadata, model_card(metadata), overwrite=True)
    if choice.is_start or not trainer.start.get("outline") or config.tasks == "prognosis":
        return bundle
    # As its start does, the model reports a volume from two readings.
    outlined = outlined_volumes(Analyzer(bundle, str(trainer.device)), trainer.validation_rows)
    metadata["calibration"] = trainer.calibration(choice, outlined)
    return save_bundle(folder, choice.state, metadata, model_card(metadata), overwrite=True)


def _with_heads(training_data, tasks):
    """The sentence on the training data with which head alone was trained, as the model is now."""
    for head, other in (("volume", "prognosis"), ("prognosis", "volume")):
        words = f"; only for the {head}: its {other} is meaningless"
        training_data = training_data.replace(words, "") + words * (tasks == head)
    return training_data


def export_best(
    trainer: Trainer,
    folder: str | os.PathLike,
    name: str | None,
    version: str | None,
    training_data: str | None,
    command: str,
    choice: Selection,
) -> ModelBundle | None:
    """Write the best epoch of a run next to the chosen weights, under its own name.

    Returns
    -------
    ModelBundle or None
        None if the chosen weights are the best, or those of the start.
    """
    best = best_choice(trainer)
    if best is None or choice.is_start or choice.entry["epoch"] == best.entry["epoch"]:
        remove_bundle(folder)  # from an earlier stage of the same run
        return None
    name = f"{name or DEFAULT_NAME}-best"
    return export_bundle(trainer, folder, name, version, training_data, command, best)
