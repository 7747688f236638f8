"""Plots that several figures share."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from ..common.numbers import with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(size: tuple[float, float] | None = None) -> Figure:
    """A figure of a size in inches, without pyplot: no window system, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bland_altman(axes: Axes, mean: np.ndarray, difference: np.ndarray, color: str = "C0") -> None:
    """Draw differences against means with bias (solid) and 95 % limits of agreement (dashed).

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    mean, difference : ndarray of shape (N,)
        Of the two volumes of each patient.
    color : str
        Color of the points.

    References
    ----------
    Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8.
    """
    axes.plot(mean, difference, ".", color=color, alpha=0.6)
    axes.axhline(0, color="0.8", linewidth=1, zorder=0)
    if len(difference) < 2:
        return
    bias, limit = difference.mean(), 1.96 * difference.std(ddof=1)
    for value, style in ((bias, "-"), (bias - limit, "--"), (bias + limit, "--")):
        axes.axhline(value, color="0.25", linestyle=style, linewidth=1)
    axes.text(
        0.98, 0.97, with_interval(bias, (bias - limit, bias + limit), sign=True),
        transform=axes.transAxes, ha="right", va="top", fontsize=8,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )  # fmt: skip
