"""Figures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.analysis.result import Analysis
from ICHMultiTaskLib.report.plots import bland_altman, can_plot, new_figure

from ..data.manifest import Row
from .subgroups import draw_subgroups

EXAMPLES = 8
"""Patients whose attention is shown."""
CAPTIONS = {
    "volume.png": "Predicted versus true volume.",
    "bland_altman.png": "Difference versus mean of predicted and true volume; bias and 95 % limits of agreement.",
    "roc.png": "ROC curve of the probability of death.",
    "calibration.png": "Observed mortality by groups of predicted probability, with 95 % intervals.",
    "subgroups.png": "Mean absolute error and AUC of each subgroup with 95 % intervals, and its number of patients; "
    "dashed: all. No AUC where fewer than 10 patients died or survived.",
    "histogram.png": "Distribution of the volumes, in mL and as cube roots.",
    "attention.png": "Slices with the volume head's highest attention, without and with the map, which is scaled "
    "separately for each patient. Green: border of the hematoma, if there is a mask.",
}
"""Figures in the order of the report, with their captions."""


def write_figures(
    records: list[dict], folder: Path, examples: Sequence[dict | None] = (), subgroups: Sequence[dict] = ()
) -> list[str]:
    """Draw volume agreement, Bland–Altman, ROC curve, calibration, histograms, subgroups and attention, if available.

    Parameters
    ----------
    records : list of dict
        Rows of `predictions.csv`.
    folder : Path
    examples : sequence of dict or None
        From `attention_example`.
    subgroups : sequence of dict
        From `subgroup_metrics`.

    Returns
    -------
    list of str
        File names; empty if matplotlib is not installed, which no result depends on.
    """
    if not can_plot():
        return []
    predicted, true, low, high, probability, died = (
        np.array([np.nan if record[name] is None else record[name] for record in records], dtype=float)
        for name in (
            "predicted_volume_ml", "volume_ml", "interval_low_ml", "interval_high_ml", "mortality_probability", "died",
        )
    )  # fmt: skip
    examples = [example for example in examples if example is not None]
    drawings = {}
    if np.isfinite(predicted).all():
        drawings["volume.png"] = lambda figure: _agreement(figure.add_subplot(), predicted, true, low, high)
        drawings["bland_altman.png"] = lambda figure: _bland_altman(figure.add_subplot(), predicted, true)
    shown = np.isfinite(probability)
    if shown.any():
        probability, died = probability[shown], died[shown]
        if len(set(died)) == 2:
            drawings["roc.png"] = lambda figure: _roc(figure.add_subplot(), probability, died)
        drawings["calibration.png"] = lambda figure: _calibration(figure.add_subplot(), probability, died)
    if np.isfinite(predicted).all():
        drawings["histogram.png"] = lambda figure: _histograms(figure, predicted, true)
    if len(subgroups) > 1:
        drawings["subgroups.png"] = lambda figure: draw_subgroups(figure, subgroups)
    if examples:
        drawings["attention.png"] = lambda figure: _attention(figure, examples)
    sizes = {
        "histogram.png": (9, 3.5),
        "subgroups.png": (9, 1 + 0.3 * len(subgroups)),
        "attention.png": (12, 3.3 * -(-len(examples) // 4) * 2),
    }
    for name, draw in drawings.items():
        figure = new_figure(sizes.get(name, (5, 4.5)))
        draw(figure)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / name, dpi=100 if name == "attention.png" else 150)
    return list(drawings)


def example_rows(rows: Sequence[Row]) -> list[int]:
    """Indices of the rows whose attention is shown: evenly spaced over the volumes of the bleeds.

    Returns
    -------
    list of int
    """
    bleeds = sorted((n for n, row in enumerate(rows) if row.volume_ml > 0), key=lambda n: rows[n].volume_ml)
    places = np.linspace(0, len(bleeds) - 1, min(EXAMPLES, len(bleeds))).round().astype(int)
    return [bleeds[place] for place in places]


def attention_example(row: Row, analysis: Analysis, mask: np.ndarray | None = None) -> dict | None:
    """The slice through the attention's maximum, for drawing.

    Parameters
    ----------
    row : Row
    analysis : Analysis
    mask : ndarray of bool, shape (K, J, I), optional

    Returns
    -------
    dict or None
        `title`, `hu`, `attention`, `mask` (2-D, the patient's right on the left; `mask` may be None) and `aspect`, the
        height of a pixel divided by its width. None for a blank map.
    """
    attention = analysis.attention
    if attention is None or attention.peak_ras_mm is None:
        return None
    network_input = analysis.prediction.network_input
    axes, crop = network_input.axes, network_input.crop
    flips = tuple(slice(None, None, -1) if flip else slice(None) for flip in network_input.flips)

    def upright(array):
        return array.transpose(axes)[tuple(slice(*ends) for ends in crop)][flips]

    shown = upright(attention.array)
    k = np.unravel_index(int(shown.argmax()), shown.shape)[0]
    steps = [analysis.head_ct.spacing_kji[axis] for axis in axes]
    read = "" if analysis.volume_ml is None else f"{analysis.volume_ml:.1f} mL, "  # of a model of the prognosis alone
    volume = f"{read}true {row.volume_ml:.1f} mL"
    return {
        "title": f"{row.patient_id}: {volume}",
        "hu": upright(analysis.head_ct.hu)[k].copy(),
        "attention": shown[k].copy(),
        "mask": None if mask is None else upright(mask)[k].copy(),
        "aspect": steps[1] / steps[2],
    }


def _agreement(axes, predicted, true, low, high):
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    if np.isfinite(low).all():
        axes.vlines(true, low, high, color="C0", alpha=0.25, linewidth=1, label="interval")
        axes.legend(frameon=False)
    axes.plot(true, predicted, ".", color="C0")
    axes.set(xlabel="True volume (mL)", ylabel="Predicted volume (mL)", xlim=(0, None), ylim=(0, None))


def _bland_altman(axes, predicted, true):
    bland_altman(axes, (predicted + true) / 2, predicted - true)
    axes.set(xlabel="Mean of predicted and true volume (mL)", ylabel="Predicted − true (mL)")


def _roc(axes, probability, died):
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive, true_positive, _ = roc_curve(died, probability)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    axes.plot(false_positive, true_positive, color="C0", label=f"AUC {roc_auc_score(died, probability):.2f}")
    axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")


def _calibration(axes, probability, died):
    """Observed versus predicted mortality in groups of equal size, with 95 % Wilson intervals."""
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    order = np.argsort(probability)
    groups = np.array_split(order, min(10, max(1, len(order) // 10)))
    z = 1.96
    for group in groups:
        n, rate = len(group), died[group].mean()
        center = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        at = probability[group].mean()
        axes.vlines(at, center - half, center + half, color="C0", linewidth=1)
        axes.plot(at, rate, "o", color="C0")
    axes.set(xlabel="Predicted probability of death", ylabel="Observed", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _histograms(figure, predicted, true):
    """Volumes and their cube roots, as in the paper's Figure 2."""
    for axes, (label, root) in zip(
        figure.subplots(1, 2), (("Volume (mL)", lambda ml: ml), ("Cube root of the volume (cm)", np.cbrt))
    ):
        values = root(true), root(predicted)
        edges = np.linspace(0, max(max(v.max() for v in values), 1e-6), 21)
        for found, name, style in zip(values, ("true", "predicted"), ("stepfilled", "step")):
            axes.hist(found, edges, histtype=style, label=name, alpha=0.5 if style == "stepfilled" else 1.0)
        axes.set(xlabel=label, ylabel="Patients")
        axes.legend(frameon=False)


def _attention(figure, examples):
    """Four patients per row: scans above, attention maps below."""
    rows = -(-len(examples) // 4)
    grid = figure.subplots(2 * rows, min(4, len(examples)), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for n, example in enumerate(examples):
        scan, overlay = grid[2 * (n // 4), n % 4], grid[2 * (n // 4) + 1, n % 4]
        for axes in (scan, overlay):
            axes.imshow(example["hu"], cmap="gray", vmin=0, vmax=100, aspect=example["aspect"])
        scan.set_title(example["title"], fontsize=9)
        overlay.imshow(
            example["attention"], cmap="inferno", vmin=0, vmax=1, alpha=0.6 * example["attention"].clip(0, 1),
            aspect=example["aspect"],
        )  # fmt: skip
        if example["mask"] is not None and example["mask"].any():
            overlay.contour(example["mask"], [0.5], colors="lime", linewidths=0.8)
