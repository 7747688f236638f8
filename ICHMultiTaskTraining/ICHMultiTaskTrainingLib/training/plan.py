"""The phases of a run with their epochs, and their durations as soon as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ICHMultiTaskLib.common.numbers import counted
from ICHMultiTaskLib.common.progress import duration

from .config import TrainingConfig
from .progress_file import PREPARED, TRAINED, RunProgress

RESOLUTION = {1: "full resolution", 2: "half resolution", 4: "a quarter of the resolution"}
WAITING, NOW, DONE = "waiting", "now", "done"


@dataclass(frozen=True)
class Step:
    """One phase of a run.

    Attributes
    ----------
    text : str
    state : str
        `WAITING`, `NOW` or `DONE`.
    seconds : float or None
        Remaining time, or the duration if done; None if still unknown.
    """

    text: str
    state: str = WAITING
    seconds: float | None = None

    def __str__(self):
        """The phase as one line, such as "12 epochs at half resolution: about 3 min left"."""
        if self.seconds is None or self.seconds < 0.5:
            return self.text
        words = {DONE: "{}", NOW: "about {} left", WAITING: "about {}"}[self.state]
        return f"{self.text}: {words.format(duration(self.seconds))}"


def seconds_of(history: Sequence[dict], reduction: int) -> float | None:
    """Duration of an epoch at a resolution, from the epochs measured so far.

    Parameters
    ----------
    history : list of dict
        As in `history.json`.
    reduction : int
        Factor by which rows and columns are reduced; an epoch at 2 costs a quarter.

    Returns
    -------
    float or None
        None if no epoch was measured.
    """
    measured = [(entry["reduction"], entry["seconds"]) for entry in history if "seconds" in entry]
    if not measured:
        return None
    own = [seconds for at, seconds in measured if at == reduction]
    if own:
        return own[-1]
    last, seconds = measured[-1]
    return seconds * (last / reduction) ** 2


def plan_of(
    config: TrainingConfig,
    scans: int | None = None,
    history: Sequence[dict] = (),
    progress: RunProgress | None = None,
    finished: bool = False,
) -> list[Step]:
    """The phases of a run.

    Parameters
    ----------
    config : TrainingConfig
    scans : int, optional
        Number of scans, if known.
    history : list of dict
        As in `history.json`.
    progress : RunProgress, optional
        Last progress of a running training; None if it is not running.
    finished : bool
        Whether model and report are written.

    Returns
    -------
    list of Step
    """
    done = history[-1]["epoch"] if history else 0
    fraction = progress.fraction if progress else None
    preparing = fraction is not None and fraction < PREPARED
    prepared = finished or (fraction is not None and not preparing) or (done > 0 and not preparing)
    count = "the scans" if scans is None else counted(scans, "scan")
    steps = [
        Step(
            f"Prepare {count}",
            NOW if preparing else DONE if prepared else WAITING,
            progress.seconds_left if preparing else None,
        )
    ]
    training = fraction is not None and PREPARED <= fraction < TRAINED
    first = 0
    for reduction, group in groupby(config.reductions()):
        epochs = len(list(group))
        steps.append(_epochs(reduction, epochs, first, done, history, progress if training else None, config))
        first += epochs
    reporting = fraction is not None and fraction >= TRAINED
    steps.append(Step("Calibrate, write the model and the report", DONE if finished else NOW if reporting else WAITING))
    return steps


def _epochs(reduction, epochs, first, done, history, progress, config):
    """The phase of consecutive epochs at one resolution."""
    text = f"{counted(epochs, 'epoch')} at {RESOLUTION[reduction]}"
    own = min(max(done - first, 0), epochs)
    each = seconds_of(history, reduction) or _by_speed(progress, reduction, config)
    if own == epochs or (history and history[-1].get("stopped_early")):
        taken = [entry.get("seconds", 0.0) for entry in history if first < entry["epoch"] <= first + epochs]
        return Step(text, DONE, sum(taken))
    state = NOW if progress is not None and first <= done < first + epochs else WAITING
    if own:
        text += f", {own} done"
    left = None if each is None else each * (epochs - own)
    if state == NOW and left is not None:
        left -= each * _within(progress, done, config)
    return Step(text, state, left)


def _by_speed(progress, reduction, config):
    """Duration of an epoch from the speed of the first one, which is still running; None if unknown."""
    if progress is None or progress.fraction <= progress.first:
        return None
    whole = (progress.time - progress.began) * (TRAINED - PREPARED) / (progress.fraction - progress.first)
    return whole / reduction**2 / sum(1 / r**2 for r in config.reductions())


def _within(progress, done, config):
    """Completed fraction of the current epoch."""
    costs = [1 / r**2 for r in config.reductions()]
    at = (progress.fraction - PREPARED) / (TRAINED - PREPARED) * sum(costs) - sum(costs[:done])
    return min(max(at / costs[done], 0.0), 1.0)
