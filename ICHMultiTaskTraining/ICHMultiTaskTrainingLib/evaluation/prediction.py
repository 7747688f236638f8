"""Predictions of a model for a folder of unlabeled scans."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.background import one_ahead
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.progress import Progress
from ICHMultiTaskLib.common.tables import write_csv
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.simulation.scans import find_scans

FILE = "predictions.csv"
COLUMNS = (
    "scan", "patient_id", "series_uid", "predicted_volume_ml", "interval_low_ml", "interval_high_ml",
    "mortality_probability", "prognosis", "warnings", "problem", "seconds", "model", "trained_on",
)  # fmt: skip


def predict(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    bundle: ModelBundle | str | os.PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
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

    Returns
    -------
    list of dict
        The rows.

    Raises
    ------
    InputError
        If the folder contains no scans, or none of them can be analyzed.
    """
    scans = find_scans(folder)
    with new_folder(output, "predictions", overwrite=True, inputs=[folder]) as partial:
        analyzer, records = Analyzer(bundle, device), []
        for n, (path, reading) in enumerate(one_ahead(read_head_ct, scans)):
            if progress is not None:
                progress(n / len(scans), f"Scan {n + 1} of {len(scans)}")
            records.append(_record(path, reading, analyzer))
        if all(record["problem"] for record in records):
            raise InputError(f"None of the {len(scans)} scans can be analyzed; the first one: {records[0]['problem']}")
        write_csv(partial / FILE, records, COLUMNS)
        if progress is not None:
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
    facts = analysis.head_ct.facts
    return record | {
        "patient_id": facts.patient_id,
        "series_uid": facts.series_uid,
        "predicted_volume_ml": analysis.volume_ml,
        "interval_low_ml": low,
        "interval_high_ml": high,
        "mortality_probability": analysis.mortality_probability,
        "prognosis": analysis.prognosis,
        "warnings": " ".join(analysis.warnings),
        "seconds": time.perf_counter() - start,
    }
