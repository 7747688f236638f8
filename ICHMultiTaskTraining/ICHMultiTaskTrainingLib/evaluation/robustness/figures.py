"""Figures of a robustness run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHMultiTaskLib.report.plots import can_plot, new_figure

from .metrics import changes_percent
from .scans import AS_IT_IS, ERASED, INSERTED, OFFSETS, REAL_SHAPE
from .variations import REFERENCE, VARIATIONS, words


def write_figures(readings: list[dict], results: dict, folder: Path) -> list[str]:
    """Draw the change for each variation, the volumes with and without the hematoma, and the inserted hematomas.

    Parameters
    ----------
    readings : list of dict
        Rows of `readings.csv`.
    results : dict
        See `robustness`.
    folder : Path

    Returns
    -------
    list of str
        File names; empty if matplotlib is not installed, which no result depends on.
    """
    if not can_plot():
        return []
    done = [reading for reading in readings if not reading["problem"]]
    drawings = {}
    if results["scanner"]["patients"]:
        drawings["scanner.png"] = ((7, 6), _scanner)
    if results["erased"]["patients"] or results["erased_of_manifest"]:
        drawings["erased.png"] = ((5, 4.5), _erased)
    if any(reading["part"] == "anatomy" for reading in done):
        drawings["real_anatomy.png"] = ((5, 4.5), _anatomy)
    for name, (size, draw) in drawings.items():
        figure = new_figure(size)
        axes = figure.add_subplot()
        draw(axes, done)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / name, dpi=150)
    return list(drawings)


def _scanner(axes, readings):
    """Each change as a point, the median as a line, and a band of ±10 %."""
    of_patients = [r for r in readings if r["part"] == "simulated"]
    reference = {r["case"]: r["predicted_volume_ml"] for r in of_patients if r["scan"] == REFERENCE}
    axes.axvspan(-10, 10, color="0.93", zorder=0)
    axes.axvline(0, color="0.6", linewidth=1)
    for row, name in enumerate(VARIATIONS):
        change = changes_percent([r for r in of_patients if r["scan"] == name], reference)
        axes.plot(change, np.full(len(change), row), ".", color="C0", alpha=0.5)
        if len(change):
            axes.plot([np.median(change)] * 2, [row - 0.35, row + 0.35], color="C1", linewidth=2)
    axes.set_yticks(range(len(VARIATIONS)), [words(name) for name in VARIATIONS])
    axes.invert_yaxis()
    axes.set(xlabel="Change of the volume from the reference scan (%)")
    axes.set_xscale("symlog", linthresh=20)
    axes.set_xticks([-100, -50, -20, -10, 0, 10, 20, 50, 100], ["−100", "−50", "−20", "−10", 0, 10, 20, 50, 100])


def _erased(axes, readings):
    """Predicted volume with and without the hematoma versus the true volume."""
    # The variations of the simulated patients have other names, so only these two predictions of each remain.
    groups = {"with the hematoma": (REFERENCE, AS_IT_IS), "hematoma erased": (ERASED,)}
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    for label, names in groups.items():
        chosen = [r for r in readings if r["scan"] in names and r["part"] != "anatomy"]
        axes.plot([r["volume_ml"] for r in chosen], [r["predicted_volume_ml"] for r in chosen], ".", label=label)
    axes.legend(frameon=False)
    axes.set(xlabel="True volume (mL)", ylabel="Predicted volume (mL)", xlim=(0, None), ylim=(0, None))


def _anatomy(axes, readings):
    """Predicted versus inserted volume; crosses: the attention peaks elsewhere."""
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    chosen = [r for r in readings if r["part"] == "anatomy"]
    groups = {
        "no hemorrhage": ("s", [r for r in chosen if r["scan"] in OFFSETS]),
        "inserted": ("o", [r for r in chosen if r["scan"] == INSERTED and r["peak_inside"]]),
        "inserted, attention elsewhere": ("x", [r for r in chosen if r["scan"] == INSERTED and not r["peak_inside"]]),
        "shape of a real one": ("^", [r for r in chosen if r["scan"] == REAL_SHAPE]),
    }
    for label, (marker, group) in groups.items():
        if group:
            volumes = ([r[name] for r in group] for name in ("volume_ml", "predicted_volume_ml"))
            axes.plot(*volumes, marker, markersize=4, label=label)
    axes.legend(frameon=False)
    axes.set(xlabel="Inserted volume (mL)", ylabel="Predicted volume (mL)", xlim=(-1, None), ylim=(-1, None))
