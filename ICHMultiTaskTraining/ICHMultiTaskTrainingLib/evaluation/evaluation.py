"""Evaluate a model on a table of scans: predictions, metrics and figures."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.attention import Attention
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.numbers import counted
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.tables import parsed_number, write_csv
from ICHMultiTaskLib.common.writing import new_folder, write_json
from ICHMultiTaskLib.comparison.statistics import count_patients, volume_metrics
from ICHMultiTaskLib.measures.agreement import compare_attention
from ICHMultiTaskLib.measures.segment import Segment
from ICHMultiTaskLib.model.bundle import ModelBundle

from ..data.analyzing import analyze_each
from ..data.labels import check_labels, read_mask
from ..data.manifest import Row, read_manifest
from ..data.seen_images import check_unseen, seen_rows
from .features import FILE as FEATURES
from .features import pooled_features, write_features
from .figures import attention_example, example_rows, write_figures
from .findings import COLUMNS as FINDINGS
from .findings import findings_metrics, found_findings, true_findings
from .hemorrhage import STRATA_ML, hemorrhage_metrics
from .metrics import prognosis_metrics
from .report import write_report
from .subgroups import COLUMNS as SUBGROUPS
from .subgroups import seen, stated, subgroup_metrics

BEST_PROBABILITY = ("death_probability_image", "death_probability")
"""Columns of simulated cohorts: the probability that the outcome was drawn from; the first uses only the image."""
MADE_WITH = ("training", "calibration")
"""Parts of a bundle's metadata that state images, see `seen_images.images_of`."""
COLUMNS = (
    "patient_id", "split", "volume_ml", "hemorrhage", "predicted_volume_ml", "interval_low_ml", "interval_high_ml",
    "network_ml", "outlined_ml", "died", "mortality_probability", "prognosis", "peak_inside", "peak_distance_mm",
    "attention_share_inside",
    *FINDINGS, *SUBGROUPS, "seconds", "warnings", "problem", "simulated",
)  # fmt: skip


def evaluate(
    manifest_path: str | os.PathLike,
    output: str | os.PathLike,
    bundle: ModelBundle | str | os.PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    features: bool = False,
    processes: int = 1,
    unseen: bool = False,
) -> dict:
    """Analyze every scan of a manifest and compare the results with its volumes and outcomes.

    If the manifest's `split` column has test rows, only these are used, so that no training scan is counted.

    Parameters
    ----------
    manifest_path : path
    output : path
        New or empty folder, or that of an earlier evaluation. Written atomically, with `metrics.json`,
        `predictions.csv` (one row per scan; `problem` states why one could not be read), figures as PNG and
        `report.html`.
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
    progress : callable (fraction, message), optional
        May raise Canceled.
    features : bool
        Whether to write `features.npz` as well, see `write_features`.
    processes : int
        Number of processes that analyze scans.
    unseen : bool
        Refuse scans that the model was trained, selected or calibrated on, instead of saying so beside the metrics.

    Returns
    -------
    dict
        The content of `metrics.json`: `volume` (see `volume_metrics`), `prognosis` (see `prognosis_metrics`),
        `hemorrhage` (see `hemorrhage_metrics`), `findings` (see `findings_metrics`), `attention` (see
        `attention_metrics`), `subgroups` (see `subgroup_metrics`), `intervals_95` of the first two, `data` (a
        sentence), `simulated`, `model`, `skipped`, `figures` and `seen` (number of
        scans that the model was trained, selected or calibrated on).

    Raises
    ------
    InputError
        If the manifest is unusable or none of its scans can be analyzed.
    OutputError
        If the folder contains something else or cannot be written.
    """
    progress = progress or NO_PROGRESS
    manifest = read_manifest(manifest_path)
    rows = [row for row in manifest.rows if row.split == "test"] or manifest.rows
    check_labels(rows, with_prognosis=False)
    with new_folder(output, "evaluation", overwrite=True, inputs=[manifest_path]) as folder:
        analyzer = Analyzer(bundle, device)
        model = analyzer.bundle
        if unseen:
            check_unseen(model, rows, "evaluated for its model card on", *MADE_WITH)
        # Only the manifest states that a cohort is simulated, not the image files.
        simulated = any(row.extra.get("simulated") == "1" for row in rows)
        pictured = {rows[n].image for n in example_rows(rows)}
        each = analyze_each(partial(_evaluate_row, pictured), rows, analyzer, processes, progress)
        records, pooled, examples = map(list, zip(*each, strict=True))
        metrics = summarize(records)
        used = [row for row, record in zip(rows, records) if _is_done(record)]
        seen = len(seen_rows(model, used, *MADE_WITH))
        metrics |= {
            "data": _data_sentence(records, rows, manifest, simulated) + (f"; {_seen(seen)}" if seen else ""),
            "seen": seen,
            "simulated": simulated,
            "model": {name: getattr(model, name) for name in ("name", "version", "sha256", "training_data")},
            "provenance": provenance(analyzer.runner.device, analyzer.runner.number_format),
        }
        metrics["figures"] = write_figures(_done(records), folder, examples, metrics["subgroups"])
        write_evaluation(records, metrics, folder)
        if features:
            write_features(folder / FEATURES, [record["patient_id"] for record in records], pooled)
        title = f"Evaluation of {model.name} {model.version}"
        write_report(folder / "report.html", title, metrics, [folder / name for name in metrics["figures"]])
        progress(1.0, "Done")
    return metrics


def summarize(records: list[dict]) -> dict:
    """Metrics of evaluated rows.

    Parameters
    ----------
    records : list of dict
        Rows of `predictions.csv`; those with a `problem` and no prediction are only listed.

    Returns
    -------
    dict
        `volume`, `prognosis` (None if it was not predicted), `hemorrhage`, `attention`, `subgroups`, `intervals_95`,
        `skipped`.
    """
    done = _done(records)
    if not done:
        raise InputError(f"No scan of the manifest could be analyzed: {records[0]['problem']}")
    predicted, true, low, high, probability, died, best = (
        np.array([np.nan if record.get(name) is None else record[name] for record in done], dtype=float)
        for name in (
            "predicted_volume_ml", "volume_ml", "interval_low_ml", "interval_high_ml", "mortality_probability",
            "died", "best_probability",
        )
    )  # fmt: skip
    bounds = (low, high) if np.isfinite(low).all() else ()
    patients = np.array([record["patient_id"] for record in done])
    volume, volume_intervals = volume_metrics(predicted, true, *bounds, patients=patients)
    prognosis = prognosis_intervals = None
    if (given := np.isfinite(probability)).any():  # none without a hemorrhage
        best = best[given] if np.isfinite(best[given]).all() else None
        prognosis, prognosis_intervals = prognosis_metrics(
            probability[given], died[given], best, patients=patients[given]
        )
    return {
        "volume": volume,
        "prognosis": prognosis,
        "hemorrhage": hemorrhage_metrics(done),
        "findings": findings_metrics(done),
        "attention": attention_metrics(done),
        "subgroups": subgroup_metrics(done),
        "intervals_95": {"volume": volume_intervals, "prognosis": prognosis_intervals},
        "skipped": [
            {"patient_id": record["patient_id"], "reason": record["problem"]} for record in records if record["problem"]
        ],
    }


def attention_metrics(records: list[dict]) -> dict:
    """How well the volume head's attention finds the hematoma, over scans with a non-empty mask.

    Returns
    -------
    dict
        `patients` and, if some have several, `scans`; `peak_inside_fraction`: scans whose voxel of highest attention is
        inside the mask (never for a blank map), also by true volume (`STRATA_ML`); `peak_distance_median_mm`: from that
        voxel to the mask, 0 inside; `attention_share_inside`: mean fraction of the map's sum inside the mask. None
        without masks.
    """
    known = [record for record in records if record["peak_inside"] is not None]
    distances = [record["peak_distance_mm"] for record in known if record["peak_distance_mm"] is not None]

    def inside(low=0.0, high=np.inf):
        found = [record["peak_inside"] for record in known if low <= (record["volume_ml"] or 0.0) < high]
        return float(np.mean(found)) if found else None

    return {
        **count_patients(np.ones(len(known), bool), [record["patient_id"] for record in known]),
        "peak_inside_fraction": inside(),
        **{f"peak_inside_fraction_{name}": inside(low, high) for name, low, high in STRATA_ML},
        "peak_distance_median_mm": float(np.median(distances)) if distances else None,
        "attention_share_inside": float(np.mean([r["attention_share_inside"] for r in known])) if known else None,
    }


def locate_attention(attention: Attention, mask: np.ndarray, ijk_to_ras: np.ndarray) -> dict:
    """Compare an attention map with the hematoma's mask on the same grid, as a row of `predictions.csv`.

    Parameters
    ----------
    attention : Attention
    mask : ndarray of bool, shape (K, J, I)
    ijk_to_ras : ndarray of shape (4, 4)

    Returns
    -------
    dict
        `peak_inside`, `peak_distance_mm`, `attention_share_inside`; all None for an empty mask. A blank map's peak is
        not inside.
    """
    if mask.any() and attention.peak_ras_mm is None:
        return {"peak_inside": 0, "peak_distance_mm": None, "attention_share_inside": 0.0}
    found = compare_attention(attention.array, ijk_to_ras, Segment("mask", mask, ijk_to_ras))
    return {
        "peak_inside": None if found.peak_inside is None else int(found.peak_inside),
        "peak_distance_mm": found.peak_distance_mm,
        "attention_share_inside": found.attention_inside_fraction,
    }


def known_record(row: Row, has_clinical: bool = False) -> dict:
    """The part of a scan's row of `predictions.csv` that comes from the manifest.

    `has_clinical`: the model has clinical inputs, which raise the best possible AUC.
    """
    record = dict.fromkeys(COLUMNS) | {"patient_id": row.patient_id, "split": row.split, "problem": ""}
    record |= {"volume_ml": row.volume_ml, "died": row.died, "best_probability": _best_probability(row, has_clinical)}
    record |= true_findings(row) | stated(row) | {"simulated": row.extra.get("simulated")}
    return record


def _evaluate_row(pictured, row, reading, analyzer):
    """The row of `predictions.csv`, the pooled features, and the picture if its image is in `pictured`; else None."""
    record, mask = known_record(row, analyzer.bundle.clinical is not None), None
    start = time.perf_counter()
    try:
        scan = reading()
        analysis = analyzer.analyze(scan, clinical=row.extra)
    except (Canceled, BundleError, DependencyError):
        raise
    except ICHMultiTaskError as error:
        record["problem"] = str(error)
        return record, None, None
    record |= {"seconds": time.perf_counter() - start, "hemorrhage": analysis.hemorrhage and analysis.hemorrhage.value}
    record["warnings"] = " ".join(filter(None, [analysis.hemorrhage_reason, *analysis.warnings]))
    # None for an untrained head.
    record["predicted_volume_ml"] = analysis.volume_ml
    record["network_ml"], record["outlined_ml"] = analysis.network_volume_ml, analysis.outlined_volume_ml
    if analysis.volume_interval_ml is not None:
        record["interval_low_ml"], record["interval_high_ml"] = analysis.volume_interval_ml
    record |= {"mortality_probability": analysis.mortality_probability, "prognosis": analysis.prognosis}
    record |= found_findings(analysis.findings) | seen(record, analysis)
    if row.mask is not None:
        try:
            mask = read_mask(row.mask, scan)
            record |= locate_attention(analysis.attention, mask, scan.ijk_to_ras)
        except ICHMultiTaskError as error:
            record["problem"] = f"{error} The attention was not compared with this mask."
    example = attention_example(row, analysis, mask) if row.image in pictured else None
    return record, pooled_features(analysis.prediction), example


def _best_probability(row, has_clinical):
    for column in BEST_PROBABILITY[int(has_clinical) :]:
        value = parsed_number(row.extra.get(column) or "", decimal_comma=True)
        if value is not None and 0 <= value <= 1:
            return value
    return None


def _done(records):
    return [record for record in records if _is_done(record)]


def _is_done(record):
    return any(record[name] is not None for name in ("predicted_volume_ml", "mortality_probability"))


def _data_sentence(records, rows, manifest, simulated):
    chosen = "the test split of " if len(rows) < len(manifest.rows) else ""
    kind = "simulated scans" if simulated else "scans"
    return f"{len(_done(records))} {kind} of {chosen}{Path(manifest.path).name}"


def _seen(count):
    return f"{counted(count, 'scan')} of these were part of the model's own training, validation or calibration"


def write_evaluation(records: list[dict], metrics: dict, folder: Path, columns: Sequence[str] = COLUMNS) -> None:
    """Write `predictions.csv` and `metrics.json`."""
    write_json(folder / "metrics.json", metrics)
    write_csv(folder / "predictions.csv", records, columns)
