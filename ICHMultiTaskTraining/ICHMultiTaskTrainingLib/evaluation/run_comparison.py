"""Compare the model of a finished run with another one on the run's validation patients."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.tables import read_csv, write_csv
from ICHMultiTaskLib.common.writing import write_json
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle

from ..data.manifest import read_manifest
from ..training.run_folder import RunFolder
from .evaluation import evaluate
from .model_comparison import compare_models

COMPARISON = "comparison"
"""Subfolder of the run for the comparison."""
FILE = "comparison.json"
NOTE = (
    "The run's model was calibrated on these patients (each on the others) and may have been selected on them, which "
    "favors it."
)


def compare_run(
    folder: str | os.PathLike,
    bundle: str | os.PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict:
    """Evaluate another model on the validation patients of a run and compare both models patient by patient.

    Parameters
    ----------
    folder : path
        Of a finished run; gets `comparison/comparison.json` and, next to it, the other model's evaluation.
    bundle : path, optional
        The other model; None: the shipped one.
    device : str
    progress : callable (fraction, message), optional

    Returns
    -------
    dict
        Like that of `compare_models`, with `note` and the `name` of each model.

    Raises
    ------
    InputError
        If the run is not finished, or its table has changed since.
    """
    run = RunFolder(folder)
    if not run.begun or not run.finished:
        raise InputError(f"The run is not finished: expected its model and its report in {folder}, found none.")
    bundle = ModelBundle.load(bundle or default_bundle())
    predictions = run.path / "report" / "predictions.csv"
    output = run.path / COMPARISON
    with tempfile.TemporaryDirectory(prefix="ichmultitask-") as temporary:
        table = Path(temporary) / "validation.csv"
        _write_validation(run, predictions, table)
        evaluate(table, output, bundle, device, progress or NO_PROGRESS)
    comparison = {"note": NOTE, **compare_models(predictions, output / "predictions.csv")}
    for model, made in ((comparison["first"], ModelBundle.load(run.bundle)), (comparison["others"][0], bundle)):
        model["name"] = f"{made.name} {made.version}"
    write_json(output / FILE, comparison)
    return comparison


def read_comparison(folder: str | os.PathLike) -> dict:
    """Read the result of `compare_run`.

    Returns
    -------
    dict
    """
    return json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))


def _write_validation(run, predictions, table):
    """Write the rows of the run's table that its report is about, in the same order, with absolute paths."""
    manifest = read_manifest(run.stored["manifest"])
    found = [(record["patient_id"], float(record["volume_ml"])) for _, record in read_csv(predictions).records()]
    rows, left = [], list(manifest.rows)
    for patient_id, volume in found:
        at = next((n for n, row in enumerate(left) if row.patient_id == patient_id and row.volume_ml == volume), None)
        if at is None:
            raise InputError(
                f"The table {manifest.path} has changed since the run: expected {patient_id} with {volume:g} mL in it, "
                "found no such row."
            )
        row = left.pop(at)
        own = {"patient_id": row.patient_id, "image": row.image.resolve(), "volume_ml": row.volume_ml, "died": row.died}
        rows.append({**row.extra, **own, "mask": row.mask and row.mask.resolve()})
    write_csv(table, rows, list(dict.fromkeys(name for row in rows for name in row)))
