"""Compare models on the same scans, patient by patient."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import number, with_interval
from ICHMultiTaskLib.common.tables import read_csv
from ICHMultiTaskLib.comparison.statistics import compare_errors, count_deaths, count_patients, with_intervals

from .metrics import auc

NUMBERS = ("volume_ml", "died", "predicted_volume_ml", "mortality_probability")


def compare_models(first: str | os.PathLike, *others: str | os.PathLike, seed: int = 0) -> dict:
    """Compare the predictions of a model with those of others, such as a multi-task model with single-task models.

    Parameters
    ----------
    first, *others : path
        `predictions.csv` of `evaluate` on the same manifest.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    dict
        `first`: `predictions` (path), `patients` with a prediction and, if some have several, `scans`; `mae_ml`,
        `bias_ml` and `auc`, None if not predicted; `others`: a
        list of the same with `volume` (see `compare_errors`) and `prognosis` of those with a probability by both:
        `patients`, `deaths`, `auc_first`, `auc_other`, `auc_difference`
        and its 95 % bootstrap interval over patients `auc_difference_interval`. Differences are first − other: if the
        first model is better, differences of errors are negative and those of the AUC are positive.

    Raises
    ------
    InputError
        If a file is not such a table, or the tables list different scans.
    """
    first = Path(first)
    one = read_predictions(first)
    found = {"first": {"predictions": str(first), **_measures(one)}, "others": []}
    for path in map(Path, others):
        other = read_predictions(path)
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


def is_comparison(path: Path) -> bool:
    """Whether a file contains a result of `compare_models`."""
    try:
        return {"first", "others"} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        return False


def comparison_table(comparison: dict) -> str:
    """The comparison as a Markdown table; models are named by their folders.

    Parameters
    ----------
    comparison : dict
        From `compare_models`.

    Returns
    -------
    str
    """
    first = comparison["first"]
    rows = [_row(first, "", "")]
    for other in comparison["others"]:
        volume, prognosis = other["volume"], other["prognosis"]
        errors = _difference(volume["mae_difference_ml"], volume["mae_difference_ml_interval"], 2)
        areas = _difference(prognosis["auc_difference"], prognosis["auc_difference_interval"], 3)
        rows.append(_row(other, errors, areas))
    head = ("model", "MAE (mL)", "MAE − the first's", "bias (mL)", "AUC", "AUC − the first's")
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def _name(model):
    if "name" in model:
        return model["name"]
    path = Path(model["predictions"])
    return path.resolve().parent.name if path.name == "predictions.csv" else path.stem


def _row(model, errors, areas):
    mae, bias, area = number(model["mae_ml"], 2), number(model["bias_ml"], 2, sign=True), number(model["auc"], 3)
    return _name(model), mae, errors, bias, area, areas


def _difference(value, interval, digits):
    """The difference as other − first, with its interval."""
    bounds = None if interval is None else interval[::-1]
    return with_interval(value, bounds, digits, factor=-1, sign=True)


def _check_same_scans(first, one, second, other):
    for name in ("patient_id", "volume_ml", "died"):
        # Both have the rows of one manifest in the same order, including scans that could not be read.
        if not np.array_equal(one[name], other[name]):
            raise InputError(
                f"The predictions are not of the same scans: expected the same {name} in both files, found different "
                f"ones in {first} ({len(one[name])} rows) and {second} ({len(other[name])} rows)."
            )


def _measures(table):
    errors = table["predicted_volume_ml"] - table["volume_ml"]
    errors = errors[np.isfinite(errors)]
    known = np.isfinite(table["mortality_probability"])
    area = auc(table["mortality_probability"][known], table["died"][known]) if known.any() else None
    return {
        **count_patients(known | np.isfinite(table["predicted_volume_ml"]), table["patient_id"]),
        "mae_ml": float(np.abs(errors).mean()) if len(errors) else None,
        "bias_ml": float(errors.mean()) if len(errors) else None,
        "auc": None if area is None or not np.isfinite(area) else float(area),
    }


def _compare_prognosis(one, other, seed):
    known = np.isfinite(one["mortality_probability"]) & np.isfinite(other["mortality_probability"])
    died = one["died"][known]
    patients = one["patient_id"][known]
    counts = count_patients(known, one["patient_id"]) | {"deaths": count_deaths(died, patients)}
    if not known.any():
        return counts | dict.fromkeys(("auc_first", "auc_other", "auc_difference", "auc_difference_interval"))
    scores = [table["mortality_probability"][known] for table in (one, other)]
    prognosis, intervals = with_intervals(_discrimination, [*scores, died], counts, seed, patients=patients)
    return prognosis | {"auc_difference_interval": intervals["auc_difference"]}


def _discrimination(first, second, died):
    areas = auc(first, died), auc(second, died)
    return {"auc_first": areas[0], "auc_other": areas[1], "auc_difference": areas[0] - areas[1]}


def read_predictions(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read predictions.

    Parameters
    ----------
    path : path
        `predictions.csv` of `evaluate`.

    Returns
    -------
    dict of str to ndarray of shape (N,)
        `patient_id`, and each of `NUMBERS`, NaN where there is none.

    Raises
    ------
    InputError
        If it is not such a table.
    """
    table = read_csv(path)
    table.require(("patient_id", *NUMBERS))
    records = [record for _, record in table.records()]
    try:
        numbers = {name: np.array([float(record[name] or "nan") for record in records]) for name in NUMBERS}
    except ValueError as error:
        raise InputError(f"{path} cannot be read: expected a CSV of predictions, found: {error}.") from error
    return numbers | {"patient_id": np.array([record["patient_id"] for record in records])}
