"""Robustness tests: heads scanned differently, heads with the hematoma erased, real heads with inserted hematomas."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.processes import in_processes
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.tables import write_csv
from ICHMultiTaskLib.common.writing import new_folder, write_json
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.simulation import find_scans

from ...data.analyzing import copier
from ..evaluation import locate_attention
from .figures import write_figures
from .metrics import summarize
from .scans import anatomy_scans, manifest_scans, read_masks, rows_with_mask, simulated_scans

SEED = 303
COLUMNS = (
    "part", "case", "patient_id", "location", "scan", "volume_ml", "hemorrhage", "predicted_volume_ml",
    "mortality_probability", "peak_inside", "in_interval", "problem",
)  # fmt: skip


def robustness(
    output: str | os.PathLike,
    bundle: ModelBundle | str | os.PathLike | None = None,
    device: str = "auto",
    patients: int = 20,
    seed: int = SEED,
    manifest: str | os.PathLike | None = None,
    anatomy: str | os.PathLike | None = None,
    insertions: int = 8,
    matrix: int = 256,
    progress: Progress | None = None,
    masks: str | os.PathLike | None = None,
    processes: int = 1,
) -> dict:
    """Measure how robust a model is, and whether it really measures the blood.

    Parameters
    ----------
    output : path
        New or empty folder, or that of an earlier run. Written atomically, with `robustness.json`, `readings.csv` (one
        row per prediction; `problem` states why a scan could not be read) and figures as PNG.
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
    patients : int
        Simulated patients with a bleed of at least 5 mL, each scanned in the reference way, in all `VARIATIONS`, and
        with the hematoma erased.
    seed : int
        Must not be the seed of a training cohort.
    manifest : path, optional
        Also erase the hematomas of these scans, if they have a mask and at least 5 mL.
    anatomy : path, optional
        Folder of head CTs without hemorrhage: files, or folders of DICOM files.
    insertions : int
        Hematomas of 5 to 80 mL inserted into each of these.
    matrix : int
        Rows and columns of the simulated reference scan.
    progress : callable (fraction, message), optional
        May raise Canceled.
    masks : path, optional
        Folder of segmentations of real hematomas of other patients; `insertions` of them are inserted into each head
        of `anatomy`. Do not train on them.
    processes : int
        Number of processes; each simulates or reads a head and analyzes all its scans.

    Returns
    -------
    dict
        The content of `robustness.json`: `scanner` (see `scanner_metrics`), `erased` and `erased_of_manifest` (see
        `erasure_metrics`; None without a manifest), `real_anatomy` (see `anatomy_metrics`; None without a folder),
        `data`, `skipped`, `model`, `provenance` and `figures`.

    Raises
    ------
    InputError
        If the manifest has no usable mask, the folder no scan, or no scan can be analyzed.
    OutputError
        If the folder contains something else or cannot be written.
    """
    progress = progress or NO_PROGRESS
    rows = () if manifest is None else rows_with_mask(manifest)
    heads = () if anatomy is None else find_scans(anatomy)
    if masks is not None and not heads:
        raise InputError("Masks need head CTs to be inserted into: expected a folder of them as anatomy, found none.")
    shapes = () if masks is None else read_masks(masks)
    each = [
        *(partial(simulated_scans, n, seed, matrix) for n in range(patients)),
        *(partial(manifest_scans, n, row) for n, row in enumerate(rows)),
        *(
            partial(anatomy_scans, n, path, insertions, seed, shapes[n :: len(heads)])  # other shapes for each head
            for n, path in enumerate(heads)
        ),
    ]
    inputs = [path for path in (manifest, anatomy, masks) if path is not None]
    with new_folder(output, "robustness", overwrite=True, inputs=inputs) as folder:
        progress(0.0, "Loading the model")
        analyzer = Analyzer(bundle, device)
        if "volume" not in analyzer.bundle.tasks:
            raise InputError(
                "Robustness is measured on the volume: expected a model that reads it, found prognosis alone."
            )
        of_heads = [None] * len(each)
        with closing(in_processes(_read_head, each, processes, setup=copier(analyzer))) as found:
            for done, (number, of_head) in enumerate(found, start=1):
                of_heads[number] = of_head
                progress(done / len(each), f"{done} of {len(each)} heads")
        readings = [reading for of_head in of_heads for reading in of_head]
        results = {
            "data": f"{patients} simulated patients of seed {seed}",
            **summarize(readings),
            "model": {name: getattr(analyzer.bundle, name) for name in ("name", "version", "sha256", "training_data")},
            "provenance": provenance(analyzer.runner.device, analyzer.runner.number_format),
        }
        results["figures"] = write_figures(readings, results, folder)
        write_csv(folder / "readings.csv", readings, COLUMNS)
        write_json(folder / "robustness.json", results)
        progress(1.0, "Done")
    return results


def _read_head(scans, analyzer):
    """The rows of `readings.csv` for the scans of one head."""
    return [_read(record, load, analyzer) for record, load in scans()]


def _read(record, load, analyzer):
    """The row of `readings.csv` for one scan."""
    record = dict.fromkeys(COLUMNS) | {"problem": ""} | record
    if load is None:
        return record
    try:
        scan, mask = load(record)
        analysis = analyzer.analyze(scan, attention=mask is not None)
    except (Canceled, BundleError, DependencyError):
        raise
    except ICHMultiTaskError as error:
        return record | {"problem": str(error)}
    record["predicted_volume_ml"], record["mortality_probability"] = analysis.volume_ml, analysis.mortality_probability
    record["hemorrhage"] = analysis.hemorrhage and analysis.hemorrhage.value
    if analysis.volume_interval_ml is not None:
        low, high = analysis.volume_interval_ml
        record["in_interval"] = int(low <= record["volume_ml"] <= high)
    if mask is not None:
        record["peak_inside"] = locate_attention(analysis.attention, mask, scan.ijk_to_ras)["peak_inside"]
    return record
