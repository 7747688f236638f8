"""Models on the same scans, compared patient by patient."""

import json
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.tables import read_csv
from ICHMultiTaskLib.comparison.statistics import compare_errors, count_patients, with_intervals

from .metrics import auc

NUMBERS = ("volume_ml", "died", "predicted_volume_ml", "mortality_probability")


def compare_models(first, *others, seed=0):
    """Compare the predictions of a model with those of others, such as a multi-task with single-task ones.

    Parameters
    ----------
    first, *others : path
        `predictions.csv` of `evaluate` on the same manifest.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `first`: its path and measures; `others`: a list of the same with, beside it, `volume`: see `compare_errors`,
        and `prognosis`: `patients`, `deaths`, `auc_difference` and its 95 % bootstrap interval over patients
        `auc_difference_interval`. Differences are first − other: of errors below 0, of the AUC above 0 where the first
        is better. The measures are `predictions`, `patients`, `mae_ml`, `bias_ml` and `auc`; None where a model
        predicts none.

    Raises
    ------
    InputError
        If a file is no such table, or the tables are not of the same scans.
    """
    first = Path(first)
    one = _read(first)
    found = {"first": {"predictions": str(first), **_measures(one)}, "others": []}
    for path in map(Path, others):
        other = _read(path)
        _check_same_scans(first, one, path, other)
        volumes = [table["predicted_volume_ml"] for table in (one, other)]
        found["others"].append(
            {
                "predictions": str(path),
                **_measures(other),
                "volume": compare_errors(*volumes, one["volume_ml"], seed, patients=one["patient_id"]),
                "prognosis": _compare_prognosis(one, other, seed),
            }
        )
    return found


def is_comparison(path):
    """Whether a file holds what `compare_models` returns."""
    try:
        return {"first", "others"} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        return False


def comparison_table(comparison):
    """The comparison as a table in Markdown, models by the names of their folders.

    Parameters
    ----------
    comparison : dict
        As `compare_models` returns.

    Returns
    -------
    str
    """
    first = comparison["first"]
    rows = [
        (_name(first), _shown(first["mae_ml"]), "", _shown(first["bias_ml"], "+"), _shown(first["auc"], digits=3), "")
    ]
    for other in comparison["others"]:
        volume, prognosis = other["volume"], other["prognosis"]
        errors = _difference(volume["mae_difference_ml"], volume["mae_difference_ml_interval"])
        areas = _difference(prognosis["auc_difference"], prognosis["auc_difference_interval"], digits=3)
        numbers = _shown(other["mae_ml"]), errors, _shown(other["bias_ml"], "+"), _shown(other["auc"], digits=3), areas
        rows.append((_name(other), *numbers))
    head = ("model", "MAE (mL)", "MAE − the first's", "bias (mL)", "AUC", "AUC − the first's")
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def _name(model):
    if "name" in model:
        return model["name"]
    path = Path(model["predictions"])
    return path.resolve().parent.name if path.name == "predictions.csv" else path.stem


def _shown(value, sign="", digits=2):
    return "–" if value is None else f"{value:{sign}.{digits}f}"


def _difference(value, interval, digits=2):
    """A difference turned around, other − first, with its interval."""
    if value is None or interval is None:
        return "–"
    low, high = (_shown(-bound, "+", digits) for bound in reversed(interval))
    return f"{_shown(-value, '+', digits)} ({low} to {high})"


def _check_same_scans(first, one, second, other):
    for name in ("patient_id", "volume_ml", "died"):
        # Rows of one manifest: the same patients in the same order, whatever could be read.
        if not np.array_equal(one[name], other[name]):
            raise InputError(
                f"The predictions are not of the same scans: expected equal columns {name} in both files, found others "
                f"in {first} ({len(one[name])} rows) and {second} ({len(other[name])} rows)."
            )


def _measures(table):
    errors = table["predicted_volume_ml"] - table["volume_ml"]
    errors = errors[np.isfinite(errors)]
    known = np.isfinite(table["mortality_probability"])
    area = auc(table["mortality_probability"][known], table["died"][known]) if known.any() else None
    return {
        "patients": len(table["volume_ml"]),
        "mae_ml": float(np.abs(errors).mean()) if len(errors) else None,
        "bias_ml": float(errors.mean()) if len(errors) else None,
        "auc": None if area is None or not np.isfinite(area) else float(area),
    }


def _compare_prognosis(one, other, seed):
    known = np.isfinite(one["mortality_probability"]) & np.isfinite(other["mortality_probability"])
    died = one["died"][known]
    patients = one["patient_id"][known]
    counts = count_patients(known, one["patient_id"]) | {"deaths": int(died.sum())}
    if not known.any():
        return counts | {"auc_difference": None, "auc_difference_interval": None}
    scores = [table["mortality_probability"][known] for table in (one, other)]
    prognosis, intervals = with_intervals(_discrimination, [*scores, died], counts, seed, patients=patients)
    return prognosis | {"auc_difference_interval": intervals["auc_difference"]}


def _discrimination(first, second, died):
    return {"auc_difference": auc(first, died) - auc(second, died)}


def _read(path):
    table = read_csv(path)
    table.require(("patient_id", *NUMBERS))
    records = [record for _, record in table.records()]
    try:
        numbers = {name: np.array([float(record[name] or "nan") for record in records]) for name in NUMBERS}
    except ValueError as error:
        raise InputError(f"{path} cannot be read: expected a CSV of predictions, found: {error}.") from error
    return numbers | {"patient_id": np.array([record["patient_id"] for record in records])}
