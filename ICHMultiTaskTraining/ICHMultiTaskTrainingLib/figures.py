"""Figures of an evaluation."""

import numpy as np


def write_figures(records, folder):
    """Draw agreement of volumes, Bland–Altman, ROC curve and calibration.

    Parameters
    ----------
    records : list of dict
        Analyzed rows of `predictions.csv`.
    folder : Path

    Returns
    -------
    list of str
        File names; none where matplotlib is not installed, which no number depends on.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return []

    predicted, true, low, high, probability, died = (
        np.array([np.nan if record[name] is None else record[name] for record in records], dtype=float)
        for name in (
            "predicted_volume_ml", "volume_ml", "interval_low_ml", "interval_high_ml", "mortality_probability", "died",
        )
    )  # fmt: skip
    drawings = {
        "volume.png": lambda axes: _agreement(axes, predicted, true, low, high),
        "bland_altman.png": lambda axes: _bland_altman(axes, predicted, true),
        "roc.png": lambda axes: _roc(axes, probability, died),
        "calibration.png": lambda axes: _calibration(axes, probability, died),
    }
    if len(set(died)) < 2:
        del drawings["roc.png"]
    for name, draw in drawings.items():
        figure = Figure(figsize=(5, 4.5), layout="constrained")  # without pyplot: no window system, no global state
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / name, dpi=150)
    return list(drawings)


def _agreement(axes, predicted, true, low, high):
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    if np.isfinite(low).all():
        axes.vlines(true, low, high, color="C0", alpha=0.25, linewidth=1, label="interval")
        axes.legend(frameon=False)
    axes.plot(true, predicted, ".", color="C0")
    axes.set(xlabel="True volume (mL)", ylabel="Predicted volume (mL)", xlim=(0, None), ylim=(0, None))


def _bland_altman(axes, predicted, true):
    difference = predicted - true
    bias = difference.mean()
    limit = 1.96 * difference.std(ddof=1) if len(difference) > 1 else 0.0
    for value, style in ((bias, "-"), (bias - limit, "--"), (bias + limit, "--")):
        axes.axhline(value, color="0.4", linestyle=style, linewidth=1)
        axes.annotate(
            f"{value:+.1f}", (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    axes.plot((predicted + true) / 2, difference, ".", color="C0")
    axes.set(xlabel="Mean of predicted and true volume (mL)", ylabel="Predicted − true (mL)")


def _roc(axes, probability, died):
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive, true_positive, _ = roc_curve(died, probability)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    axes.plot(false_positive, true_positive, color="C0", label=f"AUC {roc_auc_score(died, probability):.2f}")
    axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")


def _calibration(axes, probability, died):
    """Observed against predicted by groups of equal size, with 95 % Wilson intervals."""
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
