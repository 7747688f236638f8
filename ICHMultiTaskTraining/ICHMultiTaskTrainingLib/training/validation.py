"""Validation: outputs for prepared scans, their losses and metrics, and the line of an epoch in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ICHMultiTaskLib.common.progress import duration
from ICHMultiTaskLib.model.calibration import output_to_volume
from ICHMultiTaskLib.model.networks.base import MultiTaskNetwork
from ICHMultiTaskLib.model.volume_correction import CUBE_ROOT_OFFSET_ML, correct_volume

from ..data.batches import load, load_clinical
from ..data.cache import CachedScans
from .auxiliary import measures, measures_text
from .curves import without_auc_of_few
from .lineage import uncalibrated
from .plan import seconds_of

if TYPE_CHECKING:
    from .trainer import Trainer

MEASURED = (
    "validation_mae_ml", "validation_mse_ml2", "validation_volume_loss", "validation_auc", "validation_prognosis_loss"
)  # fmt: skip


def outputs_of(
    trainer: Trainer,
    scans: CachedScans,
    reduction: int = 1,
    rows: np.ndarray | None = None,
    network: MultiTaskNetwork | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs for prepared scans.

    Parameters
    ----------
    trainer : Trainer
    scans, reduction, rows, network
        As in `Trainer.predict`.

    Returns
    -------
    volumes, log_odds : ndarray of shape (N,)
        Volumes in mL and log odds of death.
    auxiliary : ndarray of shape (N, outputs)
        Auxiliary outputs of all targets.
    """
    network = network or trainer.network
    rows = np.arange(len(scans.died)) if rows is None else rows
    network.eval()
    outputs, log_odds = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    auxiliary = [np.empty((0, sum(target.outputs for target in trainer.targets)), np.float32)]
    with torch.no_grad():
        for start in range(0, len(rows), trainer.config.batch_size):
            chosen = rows[start : start + trainer.config.batch_size]
            images, _ = load(scans, chosen, reduction, trainer.device)
            features = dict(network.features(trainer.runtime.arrange(images)))["stage4"]
            output, scores = network.heads(features, clinical=load_clinical(scans, chosen, trainer.device))
            if trainer.auxiliary is not None:
                auxiliary.append(torch.cat(trainer.auxiliary(network.on_grid(features)), dim=1).cpu().numpy())
            outputs.append(output.cpu().numpy())
            log_odds.append((scores[:, 1] - scores[:, 0]).cpu().numpy())
    volumes = output_to_volume(np.concatenate(outputs), trainer.config.target, scans.crop_volume_mm3[rows])
    return volumes, np.concatenate(log_odds), np.concatenate(auxiliary)


def validation_losses(
    trainer: Trainer, network: MultiTaskNetwork | None = None, reduction: int = 1, rows: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Losses of each validation scan, for the trained heads.

    The losses are the squared difference of the cube roots of the volumes, and the cross entropy. Volumes and
    probabilities are calibrated as before the run, as they would be shown to the user.

    Parameters
    ----------
    trainer : Trainer
    network : MultiTaskResNet, optional
    reduction : int
    rows : ndarray of int, optional

    Returns
    -------
    losses : dict of str to ndarray of shape (N,)
        `volume` and `prognosis`, if trained.
    volumes, log_odds : ndarray of shape (N,)
    auxiliary : ndarray of shape (N, outputs)
    """
    scans, tasks = trainer.validation, trainer.config.tasks
    rows = np.arange(len(scans.died)) if rows is None else rows
    volumes, log_odds, auxiliary = outputs_of(trainer, scans, reduction, rows, network)
    calibration = uncalibrated(trainer.config, trainer.death)
    volumes = correct_volume(volumes, calibration.get("volume_correction"))
    logit = log_odds / calibration["temperature"] + calibration["bias"]
    losses = {
        "volume": (np.cbrt(volumes + CUBE_ROOT_OFFSET_ML) - np.cbrt(scans.volume_ml[rows] + CUBE_ROOT_OFFSET_ML)) ** 2,
        "prognosis": np.logaddexp(0, logit) - trainer.validation_death[rows] * logit,
    }
    return {name: loss for name, loss in losses.items() if tasks in ("both", name)}, volumes, log_odds, auxiliary


def measured(trainer: Trainer, network: MultiTaskNetwork | None = None, reduction: int = 1) -> dict:
    """Validation metrics of the current weights, or of another network.

    Returns
    -------
    dict
        `validation_mae_ml`, `validation_mse_ml2`, `validation_volume_loss`, `validation_auc`,
        `validation_prognosis_loss`, and those of `auxiliary.measures`; None where not trained or not defined. See
        `validation_losses`. `silent_prognosis`, only if true: both scores are 0 for everyone, so that the ReLU behind
        them passes no gradient, and the head will hardly learn again.
    """
    from sklearn.metrics import roc_auc_score

    scans = trainer.validation
    own = trainer.workers.shard(np.arange(len(scans.died)))
    losses, *predicted = validation_losses(trainer, network, reduction, own)
    losses = {name: trainer.workers.gather(values) for name, values in losses.items()}
    volumes, log_odds, auxiliary = map(trainer.workers.gather, predicted)
    errors = volumes - scans.volume_ml
    both = 0 < scans.died.sum() < len(scans.died)
    found = dict.fromkeys(MEASURED)
    found |= {f"validation_{name}_loss": float(values.mean()) for name, values in losses.items()}
    if "volume" in losses:
        found |= {
            "validation_mae_ml": float(np.abs(errors).mean()),
            "validation_mse_ml2": float((errors**2).mean()),
        }
    if both and "prognosis" in losses:
        found["validation_auc"] = float(roc_auc_score(scans.died, log_odds))
    if "prognosis" in losses and is_silent(log_odds):
        found["silent_prognosis"] = True
    return found | measures(trainer.targets, auxiliary, scans.labels)


def is_silent(log_odds: np.ndarray) -> bool:
    """Whether the prognosis head gives everyone scores of 0, as its ReLU does with negative ones."""
    return len(log_odds) > 0 and not np.any(log_odds)


def score(entry: dict) -> float:
    """The mean logarithm of the validation losses, in which both heads have equal weight; lower is better."""
    losses = [entry.get(f"validation_{name}_loss") for name in ("volume", "prognosis")]
    return float(np.mean([np.log(max(loss, 1e-12)) for loss in losses if loss is not None]))


def best_entry(history: Sequence[dict]) -> dict | None:
    """The full-resolution entry with the smallest validation loss, or None."""
    # Entries of earlier versions lack the losses.
    full = [entry for entry in history if entry.get("reduction") == 1 and "validation_volume_loss" in entry]
    return min(full, key=score, default=None)


def epoch_line(trainer: Trainer) -> str:
    """The results of the last epoch as one line."""
    (entry,), total = without_auc_of_few(trainer.history[-1:], trainer.validation.died), len(trainer.reductions)
    parts = [f"{name.removesuffix('_loss')} {entry[name]:.4g}" for name in trainer.losses if entry.get(name)]
    line = f"Epoch {trainer.epoch} of {total}: " + ("loss " + ", ".join(parts) if parts else "the unchanged start")
    if entry["validation_mae_ml"] is not None:
        line += f"; validation MAE {entry['validation_mae_ml']:.2f} mL"
    if entry["validation_auc"] is not None:
        line += f"; AUC {entry['validation_auc']:.3f}"
    if entry.get("silent_prognosis"):
        line += "; prognosis the same for everyone, as both scores are below 0, where the ReLU passes no gradient"
        line += " (architecture.final_relu=false does without it)"
    if found := measures_text(trainer.targets, entry):
        line += f"; {found}"
    if not trainer.epoch:
        return line
    line += f"; {duration(entry['seconds'])}"
    if entry.get("stopped_early"):
        return f"{line}; stopped, since no epoch was better than epoch {best_entry(trainer.history)['epoch']}"
    return line + (f", {duration(_seconds_left(trainer))} left" if trainer.epoch < total else "")


def _seconds_left(trainer):
    return sum(seconds_of(trainer.history, reduction) for reduction in trainer.reductions[trainer.epoch :])
