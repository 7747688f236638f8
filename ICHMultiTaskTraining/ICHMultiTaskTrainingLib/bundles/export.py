"""From a finished run to a model bundle with its model card."""

from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.model.bundle import remove_bundle, save_bundle

from ..training.config import starting_bundle
from ..training.lineage import DEFAULT_NAME, DEFAULT_VERSION, derived
from ..training.selection import best_choice
from .model_card import model_card

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
        "calibration": trainer.calibration(choice),
        "metrics": {"validation": validation, "validation_scans": len(trainer.validation.died)},
        "training": {"config": config.as_dict(), "command": command, "scans": scans, "note": choice.note},
        "provenance": provenance(trainer.device, trainer.runtime.name),
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
        remove_bundle(folder)  # of the same run before it went on
        return None
    name = f"{name or DEFAULT_NAME}-best"
    return export_bundle(trainer, folder, name, version, training_data, command, best)
