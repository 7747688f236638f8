"""Robustness metrics from the rows of `readings.csv`, and their summary as text."""

from __future__ import annotations

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import number, percent
from ICHMultiTaskLib.comparison.statistics import plain, volume_metrics

from .scans import AS_IT_IS, ERASED, INSERTED, OFFSETS, PARTS, REAL_SHAPE
from .variations import REFERENCE, VARIATIONS, words

COLUMN_WIDTHS = (8, 10, 8, 12, 10, 8, 11)
"""Of the table in `summary`, in characters, after the names of the variations."""


def summarize(readings: list[dict]) -> dict:
    """Metrics of readings.

    Parameters
    ----------
    readings : list of dict
        Rows of `readings.csv`; those with a `problem` are only listed.

    Returns
    -------
    dict
        `scanner`, `erased`, `erased_of_manifest`, `real_anatomy`, `skipped`.
    """
    done = [reading for reading in readings if not reading["problem"]]
    if not done:
        raise InputError(f"No scan could be analyzed: {readings[0]['problem']}")
    simulated, of_manifest, anatomy = ([r for r in done if r["part"] == part] for part in PARTS)
    return {
        "scanner": scanner_metrics(simulated),
        "erased": erasure_metrics(simulated),
        "erased_of_manifest": erasure_metrics(of_manifest) if of_manifest else None,
        "real_anatomy": anatomy_metrics(anatomy) if anatomy else None,
        "skipped": [
            {"patient_id": r["patient_id"], "scan": r["scan"], "reason": r["problem"]} for r in readings if r["problem"]
        ],
    }


def scanner_metrics(readings: list[dict]) -> dict:
    """How much the predicted volume and probability of death of a head depend on the way it is scanned.

    Returns
    -------
    dict
        `patients`; `reference_mae_ml`: error of the reference scans; `variations`: for each of `VARIATIONS` and for
        `all` of them `scans`; `change_median_percent`: of the volume, signed, relative to the reference scan;
        `absolute_change_median_percent`, `absolute_change_p90_percent`; `below_10_percent_fraction`; `mae_ml`;
        `found_fraction`: scans in which a hemorrhage is found; `probability_change_median_points`,
        `probability_change_p95_points`: of the probability of death, absolute, where both scans have one;
        `within_10_points_fraction`.
        A patient with a predicted reference volume of 0 has an error but no change.
    """
    reference = {r["case"]: r for r in readings if r["scan"] == REFERENCE}
    varied = [r for r in readings if r["scan"] in VARIATIONS]
    return {
        "patients": len(reference),
        "reference_mae_ml": _mean_error(list(reference.values())),
        "variations": {"all": _change(varied, reference)}
        | {name: _change([r for r in varied if r["scan"] == name], reference) for name in VARIATIONS},
    }


def changes_percent(readings: list[dict], reference: dict[int, float]) -> np.ndarray:
    """Signed changes in percent from the reference scan of the same case, if its predicted volume is above 0."""
    return np.array(
        [
            100.0 * (r["predicted_volume_ml"] / reference[r["case"]] - 1.0)
            for r in readings
            if reference.get(r["case"], 0.0) > 0.0
        ]
    )


def _change(readings, reference):
    change = changes_percent(readings, {case: r["predicted_volume_ml"] for case, r in reference.items()})
    size = np.abs(change)
    known = len(change) > 0
    pairs = [
        (r["mortality_probability"], reference[r["case"]]["mortality_probability"])
        for r in readings
        if r["case"] in reference
    ]
    points = np.array([100.0 * abs(own - other) for own, other in pairs if None not in (own, other)])
    return {
        "scans": len(change),
        "change_median_percent": float(np.median(change)) if known else None,
        "absolute_change_median_percent": float(np.median(size)) if known else None,
        "absolute_change_p90_percent": float(np.percentile(size, 90)) if known else None,
        "below_10_percent_fraction": float((size < 10.0).mean()) if known else None,
        "mae_ml": _mean_error(readings),
        "found_fraction": float(np.mean([r["hemorrhage"] == "found" for r in readings])) if readings else None,
        "probability_change_median_points": float(np.median(points)) if len(points) else None,
        "probability_change_p95_points": float(np.percentile(points, 95)) if len(points) else None,
        "within_10_points_fraction": float((points <= 10.0).mean()) if len(points) else None,
    }


def _mean_error(readings):
    errors = [abs(r["predicted_volume_ml"] - r["volume_ml"]) for r in readings]
    return float(np.mean(errors)) if errors else None


def erasure_metrics(readings: list[dict]) -> dict:
    """How much of the true volume a prediction loses when the hematoma is erased.

    Returns
    -------
    dict
        `patients`; `fall_of_truth_median`, `fall_of_truth_quartiles` [25 %, 75 %]: (predicted volume − predicted volume
        without the hematoma) ÷ true volume; `at_least_70_percent_fraction`; `reading_left_median_ml`: predicted volume
        without the hematoma.
    """
    falls, left = erased_falls(readings)
    known = len(falls) > 0
    return {
        "patients": len(falls),
        "fall_of_truth_median": float(np.median(falls)) if known else None,
        "fall_of_truth_quartiles": [float(q) for q in np.percentile(falls, [25, 75])] if known else None,
        "at_least_70_percent_fraction": float((falls >= 0.7).mean()) if known else None,
        "reading_left_median_ml": float(np.median(left)) if known else None,
    }


def erased_falls(readings: list[dict]) -> np.ndarray:
    """Decrease of each predicted volume after erasing, as a fraction of the true volume, and the remaining mL."""
    before = {r["case"]: r["predicted_volume_ml"] for r in readings if r["scan"] in (REFERENCE, AS_IT_IS)}
    pairs = [
        ((before[r["case"]] - r["predicted_volume_ml"]) / r["volume_ml"], r["predicted_volume_ml"])
        for r in readings
        if r["scan"] == ERASED and r["case"] in before
    ]
    return np.array(pairs).reshape(-1, 2).T


def anatomy_metrics(readings: list[dict]) -> dict:
    """Predictions for real heads, without a hemorrhage and with inserted ones.

    Returns
    -------
    dict
        `heads`; `without_hemorrhage`: for the heads as they are and with shifted HU `median_ml`, `highest_ml`,
        `below_2_ml_fraction`; `inserted`: some of `volume_metrics` and the fraction within the interval;
        `peak_inside_fraction`: inserted hematomas that contain the attention's peak; `real_shapes`: like `inserted`,
        for masks of real hematomas.
    """
    inserted = [r for r in readings if r["scan"] == INSERTED]
    return {
        "heads": len({r["case"] for r in readings}),
        "without_hemorrhage": {
            name: _without([r["predicted_volume_ml"] for r in readings if r["scan"] == name]) for name in OFFSETS
        },
        "inserted": _inserted(inserted),
        "peak_inside_fraction": plain(np.mean([r["peak_inside"] for r in inserted])) if inserted else None,
        "real_shapes": _inserted([r for r in readings if r["scan"] == REAL_SHAPE]),
    }


def _inserted(readings):
    read, true = (np.array([r[name] for r in readings]) for name in ("predicted_volume_ml", "volume_ml"))
    metrics = volume_metrics(read, true)[0] if readings else {"patients": 0}
    names = ("patients", "mae_ml", "bias_ml", "r", "mape_percent_from_5_ml", "within_5_ml", "within_20_percent")
    inside = [r["in_interval"] for r in readings if r.get("in_interval") is not None]
    return {name: metrics.get(name) for name in names} | {
        "in_interval_fraction": plain(np.mean(inside)) if inside else None
    }


def _without(volumes):
    return {
        "median_ml": float(np.median(volumes)) if volumes else None,
        "highest_ml": max(volumes, default=None),
        "below_2_ml_fraction": float(np.mean(np.array(volumes) < 2.0)) if volumes else None,
    }


def _row(width, name, *values):
    return f"{name:{width}}" + "".join(f"{value:>{n}}" for value, n in zip(values, COLUMN_WIDTHS, strict=True))


def summary(results: dict) -> str:
    """The results in a few lines of plain text."""
    scanner, erased, real = results["scanner"], results["erased"], results["real_anatomy"]
    width = max(map(len, VARIATIONS)) + 2
    lines = [
        f"The same head scanned differently: {scanner['patients']} patients, change of the predicted volume in %, and "
        "of the probability of death in points",
        _row(width, "", "median", "|median|", "|90th|", "below 10 %", "|median|", "|95th|", "within 10"),
    ]
    for name, metrics in scanner["variations"].items():
        values = (
            number(metrics["change_median_percent"], sign=True),
            number(metrics["absolute_change_median_percent"]),
            number(metrics["absolute_change_p90_percent"]),
            percent(metrics["below_10_percent_fraction"]),
            # Missing in earlier versions.
            number(metrics.get("probability_change_median_points")),
            number(metrics.get("probability_change_p95_points")),
            percent(metrics.get("within_10_points_fraction")),
        )
        lines.append(_row(width, words(name), *values))
    for kind, metrics in (("simulated", erased), ("manifest's", results["erased_of_manifest"])):
        if metrics is not None:
            lines.append(
                f"Hematoma erased in {metrics['patients']} {kind} scans: the predicted volume decreases by "
                f"{percent(metrics['fall_of_truth_median'])} of the true volume (median)."
            )
    if real is not None:
        inserted = real["inserted"]
        for name, metrics in real["without_hemorrhage"].items():
            lines.append(
                f"{real['heads']} real heads without a hemorrhage, {words(name)}: median "
                f"{number(metrics['median_ml'])} mL, highest {number(metrics['highest_ml'])} mL."
            )
        lines.append(
            f"{number(inserted['patients'], 0)} inserted hematomas: MAE {number(inserted['mae_ml'])} mL, bias "
            f"{number(inserted['bias_ml'], sign=True)} mL, r {number(inserted['r'], 3)}, attention peak inside "
            f"{percent(real['peak_inside_fraction'])}."
        )
        shapes = real.get("real_shapes", {"patients": 0})  # missing in earlier versions
        if shapes["patients"]:
            lines.append(
                f"{number(shapes['patients'], 0)} inserted shapes of real hematomas: MAE {number(shapes['mae_ml'])} "
                f"mL, bias {number(shapes['bias_ml'], sign=True)} mL, {percent(shapes['in_interval_fraction'])} within "
                "the interval."
            )
    lines += [f"Not analyzed: {one['patient_id']}, {one['scan']}: {one['reason']}" for one in results["skipped"]]
    return "\n".join(lines)
