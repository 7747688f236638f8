"""Predictions of a model for a folder of unlabeled scans."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.second_look import WITHOUT_PROGNOSIS
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.tables import write_csv
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.simulation.scans import find_scans

from ..data.analyzing import analyze_each

FILE = "predictions.csv"
COLUMNS = (
    "scan", "patient_id", "series_uid", "hemorrhage", "predicted_volume_ml", "interval_low_ml", "interval_high_ml",
    "network_ml", "outlined_ml", "mortality_probability", "prognosis", "warnings", "problem", "seconds",
    "model", "trained_on",
)  # fmt: skip


def predict(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    bundle: ModelBundle | str | os.PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    processes: int = 1,
) -> list[dict]:
    """Analyze every scan of a folder and write one row of predictions per scan.

    Parameters
    ----------
    folder : path
        Its subfolders, .zip and volume files are the scans; a folder of DICOM files is itself one scan.
    output : path
        New or empty folder, or that of earlier predictions; gets `predictions.csv`, written atomically. `problem`
        states why a scan could not be read.
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
    progress : callable (fraction, message), optional
        May raise Canceled.
    processes : int
        Number of processes that analyze scans.

    Returns
    -------
    list of dict
        The rows.

    Raises
    ------
    InputError
        If the folder contains no scans, or none of them can be analyzed.
    """
    scans, progress = find_scans(folder), progress or NO_PROGRESS
    with new_folder(output, "predictions", overwrite=True, inputs=[folder]) as partial:
        records = analyze_each(_record, scans, Analyzer(bundle, device), processes, progress)
        if all(record["problem"] for record in records):
            raise InputError(f"None of the {len(scans)} scans can be analyzed; the first one: {records[0]['problem']}")
        write_csv(partial / FILE, records, COLUMNS)
        progress(1.0, "Done")
    return records


def _record(path: Path, reading, analyzer):
    """The row of the scan that `reading` returns."""
    model = analyzer.bundle
    record = dict.fromkeys(COLUMNS) | {
        "scan": path.name, "problem": "", "model": f"{model.name} {model.version}", "trained_on": model.training_data,
    }  # fmt: skip
    start = time.perf_counter()
    try:
        analysis = analyzer.analyze(reading(), attention=False)
    except (Canceled, BundleError, DependencyError):
        raise
    except ICHMultiTaskError as error:
        return record | {"problem": str(error)}
    low, high = analysis.volume_interval_ml or (None, None)
    facts, withheld = analysis.head_ct.facts, analysis.hemorrhage in WITHOUT_PROGNOSIS
    return record | {
        "patient_id": facts.patient_id,
        "series_uid": facts.series_uid,
        "hemorrhage": analysis.hemorrhage and analysis.hemorrhage.value,
        "predicted_volume_ml": analysis.volume_ml,
        "interval_low_ml": low,
        "interval_high_ml": high,
        "network_ml": analysis.network_volume_ml,
        "outlined_ml": analysis.outlined_volume_ml,
        "mortality_probability": None if withheld else analysis.mortality_probability,
        "prognosis": None if withheld else analysis.prognosis,
        "warnings": " ".join(filter(None, [analysis.hemorrhage_reason, *analysis.warnings])),
        "seconds": time.perf_counter() - start,
    }
