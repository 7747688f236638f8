"""Figures of a cohort comparison."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..comparison.cohort import CohortComparison
from .plots import bland_altman, can_plot, new_figure

COLORS = {"model": "#D55E00", "method": "#0072B2", "rater": "#009E73"}
"""From the color-blind safe palette of Okabe and Ito."""
COLUMNS = 4


def write_cohort_figures(comparison: CohortComparison, folder: Path, percent: bool = False) -> dict[str, str]:
    """Draw mean absolute errors, scatter and Bland–Altman plots, and the agreement of raters.

    Parameters
    ----------
    comparison : CohortComparison
    folder : Path
    percent : bool
        Also draw Bland–Altman plots in percent.

    Returns
    -------
    dict of str to str
        Caption by file name; empty if matplotlib is not installed, since no number depends on it.
    """
    if not can_plot():
        return {}
    cohort = comparison.cohort
    methods = [method for method in cohort.methods if np.isfinite(method.volumes_ml).any()]
    drawings = {
        "errors.png": ("Mean absolute error with 95 % interval", lambda figure: _errors(figure, comparison)),
        "scatter.png": (
            "Volumes against the reference, with the line of identity",
            lambda figure: _scatter(figure, methods, cohort.reference_ml),
        ),
        "bland_altman.png": (
            "Bland–Altman: bias (solid) and 95 % limits of agreement (dashed)",
            lambda figure: _bland_altman(figure, methods, cohort.reference_ml, False),
        ),
    }
    if percent:
        drawings["bland_altman_percent.png"] = (
            "Bland–Altman in percent of the mean of both volumes, if above 0",
            lambda figure: _bland_altman(figure, methods, cohort.reference_ml, True),
        )
    if comparison.raters is not None:
        drawings["raters.png"] = ("Rater against rater", lambda figure: _raters(figure, comparison.raters))
    for name, (_, draw) in drawings.items():
        figure = new_figure()
        draw(figure)
        figure.savefig(folder / name, dpi=120)
    return {name: caption for name, (caption, _) in drawings.items()}


def _errors(figure, comparison):
    rows = [row for row in comparison.rows if row["mae_ml"] is not None]
    figure.set_size_inches(7, 1.1 + 0.32 * len(rows))
    axes = _plain(figure.add_subplot())
    for y, row in enumerate(rows):
        color, interval = COLORS[row["kind"]], row["intervals_95"]["mae_ml"]
        if interval is not None:
            axes.hlines(y, *interval, color=color, linewidth=2)
        axes.plot(row["mae_ml"], y, "o", color=color)
    axes.set(xlabel="Mean absolute error (mL)", xlim=(0, None), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [f"{row['name']}, n = {row['patients']}" for row in rows])
    axes.grid(axis="x", color="0.9")


def _scatter(figure, methods, reference):
    end = 1.05 * max(np.nanmax(method.volumes_ml) for method in methods)
    end = max(end, 1.05 * reference.max())
    for axes, method in _panels(figure, methods, 2.9):
        axes.locator_params(nbins=5)
        known = np.isfinite(method.volumes_ml)
        axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
        axes.plot(reference[known], method.volumes_ml[known], ".", color=COLORS[method.kind], alpha=0.6)
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal", title=f"{method.name}, n = {known.sum()}")
    figure.supxlabel("Reference volume (mL)")
    figure.supylabel("Measured volume (mL)")


def _bland_altman(figure, methods, reference, percent):
    points = {}
    for method in methods:
        known = np.isfinite(method.volumes_ml)
        mean, difference = (method.volumes_ml + reference)[known] / 2, (method.volumes_ml - reference)[known]
        if percent:
            mean, difference = mean[mean > 0], 100 * difference[mean > 0] / mean[mean > 0]
        points[method.name] = mean, difference
    reach = 1.1 * max((np.abs(difference).max() for _, difference in points.values() if len(difference)), default=1.0)
    end = 1.05 * max((mean.max() for mean, _ in points.values() if len(mean)), default=1.0)
    for axes, method in _panels(figure, methods, 2.5):
        mean, difference = points[method.name]
        bland_altman(axes, mean, difference, COLORS[method.kind])
        axes.set(xlim=(0, end or 1), ylim=(-(reach or 1), reach or 1), title=f"{method.name}, n = {len(difference)}")
    figure.supxlabel("Mean of measured and reference volume (mL)")
    figure.supylabel("Measured − reference (% of the mean)" if percent else "Measured − reference (mL)")


def _raters(figure, raters):
    names, count = raters["names"], len(raters["names"])
    figure.set_size_inches(min(3 + 1.1 * count, 14), 1.4 + 0.42 * count)
    for axes, key, title, digits, colors in (
        (figure.add_subplot(1, 2, 1), "icc", "ICC(2,1)", 3, "viridis"),
        (figure.add_subplot(1, 2, 2), "mae_ml", "Mean absolute difference (mL)", 1, "viridis_r"),
    ):
        values = np.array([[np.nan if value is None else value for value in row] for row in raters[key]])
        image = axes.imshow(values, cmap=colors, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                bright = image.norm(value) > 0.6 if colors == "viridis" else image.norm(value) < 0.4
                axes.text(
                    column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=8,
                    color="black" if bright else "white",
                )  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(count), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(count), names, fontsize=8)
        axes.spines[:].set_visible(False)


def _panels(figure, methods, height):
    """Axes for each method, of the same size and limits."""
    rows = math.ceil(len(methods) / COLUMNS)
    columns = math.ceil(len(methods) / rows)
    figure.set_size_inches(max(2.9 * columns + 0.6, 5), height * rows + 0.6)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(methods) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(methods) - columns) : len(methods)]:
        axes.xaxis.set_tick_params(labelbottom=True)  # also above an empty cell
    for axes, method in zip(grid.flat, methods):
        _plain(axes)
        yield axes, method
        axes.title.set_fontsize(10)


def _plain(axes):
    axes.spines[["top", "right"]].set_visible(False)
    return axes
