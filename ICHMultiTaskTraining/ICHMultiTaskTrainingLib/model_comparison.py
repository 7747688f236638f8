"""Two models on the same scans, compared patient by patient."""

import csv
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.comparison.statistics import compare_errors, with_intervals
from ICHMultiTaskLib.errors import InputError

from .metrics import auc

NUMBERS = ("volume_ml", "died", "predicted_volume_ml", "mortality_probability")


def compare_models(first, second, seed=0):
    """Compare the predictions of two models, such as a multi-task and a single-task one.

    Parameters
    ----------
    first, second : path
        `predictions.csv` of `evaluate` on the same manifest.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `volume`: see `compare_errors` (differences are first − second: below 0 where the first errs less);
        `prognosis`: `patients`, `deaths`, `auc_first`, `auc_second`, `auc_difference` (above 0 where the first is
        better) and its 95 % bootstrap interval over patients `auc_difference_interval`.

    Raises
    ------
    InputError
        If a file is no such table, or the two are not of the same scans.
    """
    first, second = Path(first), Path(second)
    one, other = _read(first), _read(second)
    for name in ("patient_id", "volume_ml", "died"):
        # Rows of one manifest: the same patients in the same order, whatever could be read.
        if not np.array_equal(one[name], other[name]):
            raise InputError(
                f"The predictions are not of the same scans: expected equal columns {name} in both files, found others "
                f"in {first} ({len(one[name])} rows) and {second} ({len(other[name])} rows)."
            )
    known = np.isfinite(one["mortality_probability"]) & np.isfinite(other["mortality_probability"])
    died = one["died"][known]
    scores = [table["mortality_probability"][known] for table in (one, other)]
    counts = {"patients": int(known.sum()), "deaths": int(died.sum())}
    prognosis, intervals = with_intervals(_discrimination, [*scores, died], counts, seed)
    return {
        "first": str(first),
        "second": str(second),
        "volume": compare_errors(
            one["predicted_volume_ml"], other["predicted_volume_ml"], one["volume_ml"], seed
        ),
        "prognosis": prognosis | {"auc_difference_interval": intervals["auc_difference"]},
    }  # fmt: skip


def _discrimination(first, second, died):
    areas = auc(first, died), auc(second, died)
    return {"auc_first": areas[0], "auc_second": areas[1], "auc_difference": areas[0] - areas[1]}


def _read(path):
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), list(reader)
        missing = [name for name in ("patient_id", *NUMBERS) if name not in columns]
        if missing or not rows:
            raise InputError(
                f"{path} is no table of predictions: expected the predictions.csv of an evaluation, found "
                + (f"no column {', '.join(missing)}." if missing else "no row.")
            )
        table = {name: np.array([float(row[name] or "nan") for row in rows]) for name in NUMBERS}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: expected a CSV of predictions, found: {error}.") from error
    return table | {"patient_id": np.array([row["patient_id"] for row in rows])}
