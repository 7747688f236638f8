"""Select the weights that become the model: the last epoch, the best epoch, the start, or a mean with the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .checkpoint import load_checkpoint
from .config import starting_bundle
from .validation import score, validation_losses

if TYPE_CHECKING:
    from .trainer import Trainer

SURE = {1.0: 2.0, 0.75: 2.0, 0.5: 1.0, 0.25: 1.0}
"""Shares of the trained state that are tried in its mean with the start, and the standard errors by which that mean
must be better than the start on the held-out patients.

Half the way is taken sooner than the whole, since it harms less where the held-out patients mislead. With two standard
errors for every share, 7 of 10 fine-tunings of model 0.4.0 to thick slices with 6 HU more, which gained 1.5 mL, were
rejected; with one for every share, 1 of 20 of model 0.7.1 to scans like those of its training lost 0.12 mL."""


@dataclass(frozen=True)
class Selection:
    """Selected weights of a run, with a remark.

    Attributes
    ----------
    state : dict of str to tensor
        State of the network.
    entry : dict
        Entry of the history with their validation metrics.
    note : str
        A sentence for the log and the model card, or "".
    is_start : bool
        Whether these are the weights that the run started from.
    """

    state: dict
    entry: dict
    note: str = ""
    is_start: bool = False


def best_choice(trainer: Trainer) -> Selection | None:
    """The best epoch, which is saved next to the last one; None if it is missing."""
    path = trainer.folder / "best.pt"
    if not path.exists():
        return None
    state = load_checkpoint(path, trainer.device)
    entry = next(entry for entry in trainer.history if entry["epoch"] == state["epoch"])
    note = (
        f"Epoch {entry['epoch']} of {trainer.history[-1]['epoch']} was chosen as the best on the validation patients; "
        "evaluate it on other patients."
    )
    return Selection(state["network"], entry, note)


def choose(trainer: Trainer) -> Selection:
    """Select the weights that become the model.

    For a run from random weights this is the last epoch, or with `patience` the best. For a run that started from a
    model it is the start itself if no epoch is better on the held-out patients, unless the run trained a head that the
    start lacks.

    Parameters
    ----------
    trainer : Trainer
        After `run`.

    Returns
    -------
    Selection
    """
    config = trainer.config
    last = Selection(trainer.network.state_dict(), trainer.history[-1])
    choice = (best_choice(trainer) if config.patience is not None else None) or last
    if config.start_from is None or set(config.learned_heads()) - set(starting_bundle(config.start_from).tasks):
        return choice
    start = Selection(trainer.start_state, trainer.history[0], is_start=True)
    if config.mix_with_start:
        return _mixed(trainer, start, choice)
    if score(choice.entry) <= score(start.entry):
        return choice
    return _back_to(start, choice, "on the held-out patients")


def _mixed(trainer, start, end):
    """The mean with the start that has the largest share of the end that is surely better; the start if none is."""
    before, *_ = validation_losses(trainer, trainer.network_of(start.state))
    # Losses are relative to the start's for each head, so that both heads have equal weight.
    scale = {name: max(loss.mean(), 1e-12) for name, loss in before.items()}

    def change(share):
        after, *_ = validation_losses(trainer, trainer.network_of(mean_state(start.state, end.state, share)))
        return np.mean([(after[name] - before[name]) / scale[name] for name in before], axis=0)

    share, by = largest_sure(change) if end.entry["epoch"] else (0.0, 0.0)
    if not share:
        return _back_to(start, end, "by more than a standard error on the held-out patients")
    state = mean_state(start.state, end.state, share)
    entry = trainer.measured(trainer.network_of(state)) | {"epoch": end.entry["epoch"], "reduction": 1}
    note = f"The weights are a mean, {share:.0%} of epoch {end.entry['epoch']} and {1 - share:.0%} of the start: "
    return Selection(state, entry, note + f"on the held-out patients the losses changed by {by:+.0%}.")


def largest_sure(change: Callable[[float], np.ndarray]) -> tuple[float, float]:
    """Find the largest share of the trained state with which the losses surely fall.

    Parameters
    ----------
    change : callable (share)
        Returns the change of each held-out patient's loss, shape (N,), with this share of the trained state.

    Returns
    -------
    share : float
        One of `SURE`; 0 if with none of them the mean change stays below 0 when so many standard errors are added.
    by : float
        Mean change with it.
    """
    for share, errors in SURE.items():
        found = change(share)
        mean = float(found.mean())
        if len(found) > 1 and mean + errors * found.std(ddof=1) / np.sqrt(len(found)) < 0:
            return share, mean
    return 0.0, 0.0


def _back_to(start, end, what):
    mae = [c.entry.get("validation_mae_ml") for c in (start, end)]
    numbers = "" if None in mae else f" (validation MAE {mae[0]:.2f} mL before, {mae[1]:.2f} mL after)"
    note = f"Training did not improve the model {what}{numbers}: the start is kept unchanged."
    return Selection(start.state, start.entry, note, is_start=True)


def mean_state(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Weights between two states: `share` of the second, the rest of the first."""
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
