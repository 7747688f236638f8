"""The paper's figures, drawn from the results of the rows."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ICHMultiTaskLib.common.writing import whole_file
from ICHMultiTaskLib.report.plots import new_figure

STEP = 5
"""Interval of the slices of Figure 5: "five slices … at medium intervals (t = 5)"."""


def drawn(draw: Callable, width: float, height: float, dpi: int = 110) -> bytes:
    """Draw a figure and return it as PNG.

    Parameters
    ----------
    draw : callable (figure)
    width, height : float
        Inches.

    Returns
    -------
    bytes
    """
    figure = new_figure((width, height))
    draw(figure)
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, format="png")
    return file.getvalue()


def volume_histograms(volumes_ml: np.ndarray) -> bytes:
    """Figure 2: histograms of the volumes in mL and of their cube roots; PNG."""

    def draw(figure):
        for axes, values, label in zip(
            figure.subplots(1, 2), (volumes_ml, np.cbrt(volumes_ml)), ("Volume (mL)", "Cube root of the volume (cm)")
        ):
            axes.hist(values, 24, color="C0", alpha=0.8)
            axes.set(xlabel=label, ylabel="Patients")
            axes.spines[["top", "right"]].set_visible(False)

    return drawn(draw, 9, 3.4)


def error_curves(histories: Sequence[Sequence[dict]]) -> bytes:
    """Figure 3: MAE and MSE of training and validation by epoch; mean of the folds, and each fold in a lighter color.

    Parameters
    ----------
    histories : list of list of dict
        Histories of the folds of one row.

    Returns
    -------
    bytes
        PNG.
    """
    panels = {"Mean absolute error (mL)": "mae_ml", "Mean squared error (mL²)": "mse_ml2"}

    def draw(figure):
        from matplotlib.ticker import MaxNLocator

        for axes, (label, name) in zip(figure.subplots(1, 2), panels.items()):
            for side, color in (("train", "C0"), ("validation", "C1")):
                curves = [[entry[f"{side}_{name}"] for entry in history] for history in histories]
                for curve in curves:
                    axes.plot(range(1, 1 + len(curve)), curve, color=color, linewidth=0.7, alpha=0.35)
                shortest = min(map(len, curves))
                mean = np.mean([curve[:shortest] for curve in curves], axis=0)
                word = "training" if side == "train" else side
                marker = "." if shortest < 40 else None
                axes.plot(range(1, 1 + shortest), mean, color=color, marker=marker, label=word)
            axes.set(xlabel="Epoch", ylabel=label, ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)

    return drawn(draw, 9, 3.6)


def roc_curves(scores: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> bytes:
    """Figure 4: ROC curves in one plot.

    Parameters
    ----------
    scores : list of (str, ndarray, ndarray)
        Name, scores and outcomes for each curve.

    Returns
    -------
    bytes
        PNG.
    """

    def draw(figure):
        from sklearn.metrics import roc_auc_score, roc_curve

        axes = figure.add_subplot()
        axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
        for name, score, died in scores:
            false_positive, true_positive, _ = roc_curve(died, score)
            axes.plot(false_positive, true_positive, label=f"{name}: AUC {roc_auc_score(died, score):.3f}")
        axes.legend(frameon=False, loc="lower right", fontsize=8)
        axes.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")

    return drawn(draw, 5.4, 5.2)


def covering_curves(measured: dict, levels: Sequence[float]) -> bytes:
    """Deletion and insertion curves of interpretation methods: mean volume as voxels are covered or shown.

    Parameters
    ----------
    measured : dict
        `methods` and `curves` of `compare_methods`.
    levels : sequence of float
        Shares of the head's voxels at which the curves were measured, equally spaced in the figure.

    Returns
    -------
    bytes
        PNG.
    """

    def draw(figure):
        places = range(len(levels))
        for axes, (kind, word) in zip(
            figure.subplots(1, 2, sharey=True), {"deletion": "covered", "insertion": "shown"}.items()
        ):
            for n, (method, curves) in enumerate(measured["curves"].items()):
                label = measured["methods"][method]["label"]
                axes.plot(places, curves[kind], f"C{n % 10}", linestyle="-" if n < 10 else "--", label=label)
            axes.set(title=kind.capitalize(), xlabel=f"Voxels {word} (% of the head)", ylim=(0, None))
            axes.set_xticks(places, [f"{100 * level:g}" for level in levels], fontsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("Volume read ÷ that of the whole scan")
        figure.axes[1].legend(frameon=False, fontsize=7)

    return drawn(draw, 9, 3.6)


def five_slices(
    path: str | os.PathLike, image: np.ndarray, maps: Mapping[str, np.ndarray], mask: np.ndarray | None = None
) -> None:
    """Figure 5: five slices, 5 apart. The first row shows the scan alone, the others each map over it.

    Parameters
    ----------
    path : path
        PNG to write. Nothing is left behind if writing fails.
    image : ndarray of shape (D, H, W)
        The network's input, 0 to 1.
    maps : dict of str to ndarray of shape (D, H, W)
        Maps by name of the method; each is scaled to its own maximum.
    mask : ndarray of bool, shape (D, H, W), optional
        Its contour is drawn, and the slices are centered on it; without a mask, on the middle of the scan.
    """
    depth = len(image)
    step = STEP if depth >= 1 + 4 * STEP else max(1, (depth - 1) // 4)
    center = depth // 2 if mask is None or not mask.any() else round(np.argwhere(mask)[:, 0].mean())
    first = int(np.clip(center - 2 * step, 0, max(0, depth - 1 - 4 * step)))
    slices = [min(first + n * step, depth - 1) for n in range(5)]

    def draw(figure):
        names = ["scan", *maps]
        grid = figure.subplots(len(names), 5, squeeze=False)
        for n, (name, line) in enumerate(zip(names, grid)):
            shown = maps.get(name)
            peak = 1.0 if shown is None else max(float(shown.max()), 1e-12)
            for k, axes in zip(slices, line):
                axes.imshow(image[k], cmap="gray", vmin=0, vmax=1)
                if shown is not None:
                    heat = shown[k].clip(0) / peak
                    axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.7 * np.sqrt(heat))
                if mask is not None and mask[k].any():
                    axes.contour(mask[k], [0.5], colors="lime", linewidths=0.6)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if n == 0:
                    axes.set_title(f"slice {k + 1} of {depth}", fontsize=7)
            line[0].set_ylabel(textwrap.fill(name, 18), fontsize=6)

    height = 0.3 + 1.25 * (1 + len(maps)) * image.shape[1] / image.shape[2]
    with whole_file(path) as file:
        file.write(drawn(draw, 6.6, height, dpi=90))
