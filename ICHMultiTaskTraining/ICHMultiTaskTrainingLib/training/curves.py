"""Curves of a run: a picture (the paper's Figure 3) and a TensorBoard log."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ICHMultiTaskLib.common.writing import whole_file
from ICHMultiTaskLib.model.calibration import MIN_PER_OUTCOME
from ICHMultiTaskLib.report.plots import can_plot, new_figure

PANELS = {
    "Loss": {"volume_loss": "volume", "prognosis_loss": "prognosis", "mask_loss": "mask"},
    "Mean absolute error (mL)": {"train_mae_ml": "training", "validation_mae_ml": "validation"},
    "Mean squared error (mL²)": {"train_mse_ml2": "training", "validation_mse_ml2": "validation"},
    "AUC of the prognosis": {"validation_auc": "validation"},
}
"""Title of each panel, its entries in the history, and their names in the legend."""
TENSORBOARD = "tensorboard"
"""Subfolder of the run for the log."""


def has_enough_outcomes(patients: int, deaths: int) -> bool:
    """Whether there are enough deaths and survivals to show a metric of the prognosis."""
    return min(deaths, patients - deaths) >= MIN_PER_OUTCOME


def without_auc_of_few(history: list[dict], died: Sequence[int]) -> list[dict]:
    """The history for display: without the AUC if too few validation patients died or survived.

    Parameters
    ----------
    history : list of dict
    died : sequence of int
        Outcomes of the validation patients.

    Returns
    -------
    list of dict
    """
    if has_enough_outcomes(len(died), sum(died)):
        return history
    return [entry | {"validation_auc": None} for entry in history]


def draw_curves(history: list[dict], path: str | os.PathLike) -> None:
    """Draw losses, MAE, MSE and AUC by epoch; does nothing if matplotlib is not installed.

    Parameters
    ----------
    history : list of dict
        One entry per epoch, as in `history.json`; entries may be missing or None.
    path : path
        PNG file, replaced atomically.
    """
    if not can_plot():
        return
    from matplotlib.ticker import MaxNLocator

    figure = new_figure((10, 7))
    changes = [b["epoch"] for a, b in zip(history, history[1:]) if a.get("reduction", 1) != b.get("reduction", 1)]
    for panel, (axes, (title, curves)) in enumerate(zip(figure.subplots(2, 2).flat, PANELS.items())):
        for name, label in curves.items():
            points = [(entry["epoch"], entry[name]) for entry in history if entry.get(name) is not None]
            if any(value for _, value in points):  # a loss of weight 0 is always 0
                axes.plot(*zip(*points), marker="." if len(points) < 40 else None, label=label)
        for n, epoch in enumerate(changes):
            label = "finer images" if n == panel == 0 else None
            axes.axvline(epoch - 0.5, color="0.7", linestyle=":", linewidth=1, label=label)
        axes.set(xlabel="Epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.set_ylim(*((None, 1.02) if title.startswith("AUC") else (0, None)))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")


class EventLog:
    """The history as a TensorBoard log; does nothing if the package tensorboard is not installed.

    Parameters
    ----------
    folder : path
        Folder of the log. Events of an earlier start are superseded by those of this one.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._writer, self._logged = folder, None, 0

    def show(self, history: list[dict]) -> None:
        """Write the epochs that are not in the log yet.

        Parameters
        ----------
        history : list of dict
            As in `draw_curves`; `ended` is the time of each entry in seconds since 1970.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=1)
        for entry in history[self._logged :]:
            for name, value in entry.items():
                if name not in ("epoch", "ended") and value is not None:
                    tag = name.replace("_", "/", 1) if name.startswith(("train_", "validation_")) else name
                    self._writer.add_scalar(tag, value, entry["epoch"], entry.get("ended"))
        self._logged = len(history)
        self._writer.flush()

    def close(self) -> None:
        """Close the file; a later `show` opens a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer, self._logged = None, 0
