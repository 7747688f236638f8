"""An evaluation or a training run as one HTML page: metrics with their intervals, figures, settings."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ICHMultiTaskLib.common.provenance import provenance_facts
from ICHMultiTaskLib.common.writing import write_text
from ICHMultiTaskLib.model.calibration import MIN_PER_OUTCOME
from ICHMultiTaskLib.report.pages import render

from ..training.curves import has_enough_outcomes
from .figures import CAPTIONS
from .subgroups import subgroup_rows

CURVES = "curves.png"
MIN_PATIENTS = 10
"""With fewer patients, the page says that its metrics are unreliable."""
WIDE = ("attention.png", "histogram.png", "subgroups.png", CURVES)
TEMPLATES = Path(__file__).parent / "templates"
TABLES = {
    "volume": (
        "Hematoma volume",
        (
            ("mae_ml", "Mean absolute error", "mL", 2, 1),
            ("mse_ml2", "Mean squared error", "mL²", 1, 1),
            ("mape_percent", "Mean absolute percentage error, bleeds", "%", 1, 1),
            ("mape_percent_from_5_ml", "… of 5 mL or more", "%", 1, 1),
            ("mean_error_below_5_ml", "Mean absolute error below 5 mL", "mL", 2, 1),
            ("bias_ml", "Bias (predicted − true)", "mL", 2, 1),
            ("limit_low_ml", "Lower 95 % limit of agreement", "mL", 1, 1),
            ("limit_high_ml", "Upper 95 % limit of agreement", "mL", 1, 1),
            ("icc", "ICC(2,1)", "", 3, 1),
            ("r", "Pearson's r", "", 3, 1),
            ("within_5_ml", "Within 5 mL", "%", 0, 100),
            ("within_20_percent", "Bleeds within 20 %", "%", 0, 100),
            ("misclassified_30_ml", "Wrong side of 30 mL", "%", 0, 100),
            ("no_bleed_below_1_ml", "Scans without a bleed with a predicted volume below 1 mL", "%", 0, 100),
            ("interval_coverage", "Interval contains the true volume", "%", 0, 100),
            ("interval_coverage_up_to_1_ml", "… of predictions up to 1 mL", "%", 0, 100),
            ("interval_coverage_1_to_10_ml", "… of predictions of 1 to 10 mL", "%", 0, 100),
            ("interval_coverage_10_to_30_ml", "… of predictions of 10 to 30 mL", "%", 0, 100),
            ("interval_coverage_above_30_ml", "… of predictions above 30 mL", "%", 0, 100),
        ),
    ),
    "prognosis": (
        "Prognosis",
        (
            ("auc", "AUC", "", 3, 1),
            ("auc_best_reachable", "Best possible AUC (simulated outcomes)", "", 3, 1),
            ("auprc", "Area under the precision-recall curve", "", 3, 1),
            ("accuracy", "Accuracy at a threshold of 50 %", "%", 0, 100),
            ("sensitivity", "Sensitivity", "%", 0, 100),
            ("specificity", "Specificity", "%", 0, 100),
            ("brier", "Brier score", "", 3, 1),
            ("calibration_slope", "Calibration slope", "", 2, 1),
            ("calibration_slope_known", "… on the simulated probabilities", "", 2, 1),
            ("calibration_intercept", "Calibration-in-the-large", "", 2, 1),
        ),
    ),
    "hemorrhage": (
        "Second look: is there a hemorrhage?",
        (
            ("sensitivity", "Bleeds found", "%", 1, 100),
            ("sensitivity_below_1_ml", "… below 1 mL", "%", 0, 100),
            ("sensitivity_1_to_5_ml", "… 1 to 5 mL", "%", 0, 100),
            ("sensitivity_5_to_30_ml", "… 5 to 30 mL", "%", 0, 100),
            ("sensitivity_from_30_ml", "… 30 mL or more", "%", 0, 100),
            ("bleeds_uncertain", "Bleeds with an uncertain verdict", "%", 1, 100),
            ("bleeds_missed", "Bleeds missed", "%", 1, 100),
            ("specificity", "Scans without a bleed: correctly none found", "%", 1, 100),
            ("no_bleed_uncertain", "… uncertain verdict", "%", 1, 100),
            ("no_bleed_found", "… bleed found", "%", 1, 100),
            ("prognosis_withheld", "Prognosis withheld", "scans", 0, 1),
            ("deaths_withheld", "… of patients who died", "scans", 0, 1),
            ("auc_bleeds", "AUC of the prognosis among bleeds", "", 3, 1),
        ),
    ),
    "findings": (
        "Findings other than the volume, in bleeds that were found",
        (
            ("told", "Location proposed", "scans", 0, 1),
            ("location", "Location correct (lobar, deep, cerebellum, brainstem)", "%", 1, 100),
            ("side", "Side correct", "%", 1, 100),
            ("infratentorial", "Infratentorial or supratentorial correct", "%", 1, 100),
            ("ivh_sensitivity", "Intraventricular blood detected", "%", 1, 100),
            ("ivh_specificity", "Intraventricular blood correctly excluded", "%", 1, 100),
        ),
    ),
    "attention": (
        "Attention of the volume head",
        (
            ("peak_inside_fraction", "Maximum inside the hematoma", "%", 0, 100),
            ("peak_inside_fraction_below_1_ml", "… below 1 mL", "%", 0, 100),
            ("peak_inside_fraction_1_to_5_ml", "… 1 to 5 mL", "%", 0, 100),
            ("peak_inside_fraction_5_to_30_ml", "… 5 to 30 mL", "%", 0, 100),
            ("peak_inside_fraction_from_30_ml", "… 30 mL or more", "%", 0, 100),
            ("peak_distance_median_mm", "Median distance of the maximum", "mm", 1, 1),
            ("attention_share_inside", "Share of the map inside the hematoma", "%", 0, 100),
        ),
    ),
}
"""Title of each table and its rows: key, label, unit, decimals, factor."""


def write_report(
    path: str | os.PathLike,
    title: str,
    metrics: dict,
    figures: Sequence[Path],
    remarks: Sequence[str] = (),
    settings: dict | None = None,
) -> None:
    """Write the page.

    Parameters
    ----------
    path : path
    title : str
    metrics : dict
        From `evaluate`; a part may be None or missing.
    figures : sequence of path
        PNG files, embedded in the page; their names select the captions.
    remarks : sequence of str
        Sentences needed to interpret the metrics.
    settings : dict, optional
        Shown at the end.
    """
    captions = CAPTIONS | {CURVES: "Losses, errors and AUC by epoch, in training and on the validation patients."}
    page = render(
        "evaluation.html",
        TEMPLATES,
        title=title,
        metrics=metrics,
        training_data=(metrics.get("model") or {}).get("training_data"),
        tables=[table for part in TABLES if (table := _table(metrics, part))],
        subgroups=subgroup_rows(metrics.get("subgroups") or ()),
        remarks=[*remarks, *_too_few(metrics)],
        left_out=[f"{row['patient_id']}: {row['reason']}" for row in metrics.get("skipped", ())],
        figures=[(captions[figure.name], figure.read_bytes(), figure.name in WIDE) for figure in figures],
        made=provenance_facts(metrics.get("provenance")),
        settings={name: _plain(value) for name, value in (settings or {}).items()},
    )
    write_text(path, page)


def _too_few(metrics):
    """Remarks on metrics from too few patients."""
    volume, prognosis = metrics.get("volume") or {}, metrics.get("prognosis") or {}
    if 0 < volume.get("patients", 0) < MIN_PATIENTS:
        yield f"{volume['patients']} patients are too few to judge a model: other patients may give different results."
    if prognosis.get("patients") and not _has_enough(prognosis):
        yield (
            f"The prognosis is not evaluated: expected at least {MIN_PER_OUTCOME} patients who died and as many "
            f"who survived, found {prognosis['deaths']:.3g} and {prognosis['patients'] - prognosis['deaths']:.3g}."
        )


def _has_enough(prognosis):
    return has_enough_outcomes(prognosis["patients"], prognosis["deaths"])


def _table(metrics, part):
    """Heading, values and rows of a part, or None if it was not evaluated."""
    values = metrics.get(part)
    if not values or not values["patients"] or (part == "prognosis" and not _has_enough(values)):
        return None
    heading, rows = TABLES[part]
    intervals = metrics["intervals_95"].get(part) or {}
    rows = [(label, values[key], intervals.get(key), *form) for key, label, *form in rows if key in values]
    return heading, values, rows


def _plain(value):
    return value if isinstance(value, str) else json.dumps(value)
