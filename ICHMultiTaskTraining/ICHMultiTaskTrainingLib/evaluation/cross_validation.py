"""The report of a run on its validation patients, and the combined folds of a cross-validation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.tables import read_csv
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.model.calibration import fit_calibration
from ICHMultiTaskLib.model.volume_correction import correct_volume
from ICHMultiTaskLib.scan.reading import read_head_ct

from ..data.labels import read_mask
from ..data.splits import draw_folds
from ..training.config import TrainingConfig
from ..training.lineage import uncalibrated
from ..training.run_folder import RunFolder, identity
from .evaluation import COLUMNS, known_record, summarize, write_evaluation
from .figures import attention_example, example_rows, write_figures
from .findings import COLUMNS as FINDINGS
from .report import CURVES, write_report
from .subgroups import COLUMNS as SUBGROUPS

if TYPE_CHECKING:
    from ..training.selection import Selection
    from ..training.trainer import Trainer

FOLDER = "report"
"""Folder of a run's final report."""
OWN_COLUMNS = (*COLUMNS, "fold", "best_probability", "network_volume_ml", "log_odds", "outcome")
TEXTS = ("patient_id", "split", "hemorrhage", "prognosis", "warnings", "problem", "simulated", *FINDINGS, *SUBGROUPS)
"""Columns that are not numbers."""
PARTS = 5
"""Groups in which validation patients are cross-calibrated."""


def report_run(
    trainer: Trainer, bundle: ModelBundle, output: str | os.PathLike, command: str, choice: Selection | None = None
) -> dict:
    """Write the final report of a finished run: metrics of the validation patients, figures, curves and settings.

    Parameters
    ----------
    trainer : Trainer
    bundle : ModelBundle
        Exported from this run.
    output : path
        Folder of the report; an earlier one is replaced.
    command : str
    choice : Selection, optional
        Selected weights of the run; None: as selected by `Trainer.choose`.

    Returns
    -------
    dict
        Like that of `evaluate`.
    """
    rows, config, choice = trainer.validation_rows, trainer.config, choice or trainer.choose()
    records = _validation_records(trainer, choice)
    parts = draw_folds(rows, min(PARTS, len({row.patient_id for row in rows})), config.seed)
    start = uncalibrated(config, trainer.death)
    cross_calibrate(records, [parts[row.patient_id] for row in rows], config.tasks, start)
    simulated = any(record["simulated"] == "1" for record in records)
    metrics = summarize(records) | {
        "data": f"{len(records)} validation scans of {trainer.manifest_name}",
        "simulated": simulated,
        "model": {name: getattr(bundle, name) for name in ("name", "version", "sha256", "training_data")},
        "provenance": provenance(trainer.device, trainer.runtime.name),
    }
    analyzer, examples = Analyzer(bundle, trainer.device), []
    for row in (rows[n] for n in example_rows(rows) if config.tasks != "prognosis"):
        try:
            scan = read_head_ct(row.image)
            mask = read_mask(row.mask, scan) if row.mask else None
            examples.append(attention_example(row, analyzer.analyze(scan, clinical=row.extra), mask))
        except ICHMultiTaskError:
            continue  # the scan was removed or changed after preparation; only its picture is missing
    curves = trainer.folder / CURVES
    with new_folder(output, "training report", overwrite=True) as folder:
        metrics["figures"] = write_figures(records, folder, examples, metrics["subgroups"])
        write_evaluation(records, metrics, folder, OWN_COLUMNS)
        figures = [folder / name for name in metrics["figures"]] + [curves] * curves.exists()
        remarks = [
            f"These {len(rows)} scans were not used for training or model selection, but they are part of the training "
            "curves. For results to publish, evaluate the model on a separate test set.",
            "Volume, interval and probability of each patient were calibrated on the other patients; the bundle itself "
            "was calibrated on all of them.",
            *([choice.note] if choice.note else []),
        ]
        title = f"Training of {bundle.name} {bundle.version}"
        settings = {"command": command} | config.as_dict()
        write_report(folder / "report.html", title, metrics, figures, remarks, settings)
    return metrics


def gather_folds(runs: Sequence[str | os.PathLike], output: str | os.PathLike) -> dict:
    """Combine the folds of a cross-validation: each patient is predicted by the run that was not trained on them.

    Parameters
    ----------
    runs : sequence of path
        Folders of finished runs, one per fold.
    output : path
        New or empty folder, or that of an earlier result; gets the same files as an evaluation.

    Returns
    -------
    dict
        Like that of `evaluate`, and `folds`: `mae_ml` and `auc` of each.

    Raises
    ------
    InputError
        If a run is not finished, a fold is missing or duplicated, settings differ, or a patient is in two folds.
    """
    runs = [Path(run) for run in runs]
    unfinished = [str(run) for run in runs if not (RunFolder(run).begun and RunFolder(run).finished)]
    if unfinished:
        raise InputError(
            "Runs are not finished: expected all epochs and their report in each, found none in "
            f"{', '.join(unfinished)}."
        )
    config, manifest = _common_settings(runs)
    records, owner = [], {}
    for run in runs:
        for record in _read_records(run / FOLDER / "predictions.csv"):
            if owner.setdefault(record["patient_id"], run) != run:
                raise InputError(
                    f"A patient is in two folds: expected {record['patient_id']} in one fold, found it in "
                    f"{owner[record['patient_id']]} and {run}."
                )
            records.append(record)
    folds = [record["fold"] for record in records]
    outcome = [record["outcome"] for record in records if record["outcome"] is not None]
    cross_calibrate(records, folds, config.tasks, uncalibrated(config, np.array(outcome)))
    metrics = summarize(records)
    by_fold = [summarize([record for record in records if record["fold"] == n]) for n in sorted(set(folds))]
    metrics |= {
        "data": f"{len(records)} scans of {Path(manifest).name}, cross-validated in {len(runs)} folds",
        "simulated": any(record["simulated"] == "1" for record in records),
        "model": None,
        "provenance": provenance(),
        "folds": [
            {"mae_ml": fold["volume"]["mae_ml"], "auc": fold["prognosis"] and fold["prognosis"]["auc"]}
            for fold in by_fold
        ],
    }
    with new_folder(output, "cross-validation", overwrite=True, inputs=runs) as folder:
        metrics["figures"] = write_figures(records, folder, subgroups=metrics["subgroups"])
        write_evaluation(records, metrics, folder, OWN_COLUMNS)
        spread = [
            f"{name} of the folds: " + ", ".join(f"{fold[key]:.3g}" for fold in metrics["folds"])
            for name, key in (("MAE in mL", "mae_ml"), ("AUC", "auc"))
            if all(fold[key] is not None for fold in metrics["folds"])
        ]
        remarks = [
            "Each patient was predicted by the run that was not trained on them; interval and probability were "
            "calibrated on the other folds.",
            *spread,
        ]
        figures = [folder / name for name in metrics["figures"]]
        write_report(folder / "report.html", "Cross-validation", metrics, figures, remarks, config.as_dict())
    return metrics


def cross_calibrate(records: list[dict], groups: Sequence[int], tasks: str = "both", start: dict | None = None) -> None:
    """Give each record a volume, an interval and a probability calibrated on the other groups.

    Parameters
    ----------
    records : list of dict
        With `patient_id`, `network_volume_ml`, `volume_ml`, `log_odds` and `outcome`; changed in place.
    groups : sequence of int
        Group of each record; at least two different ones.
    tasks : str
        As in `TrainingConfig`; an untrained head gets no values.
    start : dict, optional
        Calibration if the other groups are too small, as in `fit_calibration`.
    """
    groups = np.array(groups)
    predicted, true, log_odds, outcome = (
        np.array([np.nan if record[name] is None else record[name] for record in records], dtype=float)
        for name in ("network_volume_ml", "volume_ml", "log_odds", "outcome")
    )
    patients = np.array([record["patient_id"] for record in records])
    for group in np.unique(groups):
        others = groups != group
        calibration = fit_calibration(
            predicted[others] if tasks != "prognosis" else None,
            true[others],
            log_odds[others] if tasks != "volume" else None,
            outcome[others],
            patients[others],
            start,
        )
        bundle = ModelBundle(Path(), {"calibration": calibration})
        for n in np.flatnonzero(~others):
            record = records[n]
            if tasks != "prognosis":
                record["predicted_volume_ml"] = float(correct_volume(predicted[n], calibration["volume_correction"]))
                interval = bundle.volume_interval_ml(record["predicted_volume_ml"])
                record["interval_low_ml"], record["interval_high_ml"] = interval or (None, None)
            if tasks != "volume":
                record["mortality_probability"] = bundle.probability(log_odds[n])
                record["prognosis"] = "death" if record["mortality_probability"] > 0.5 else "survival"


def _validation_records(trainer, choice):
    config = trainer.config
    predicted = trainer.predict(trainer.validation, network=trainer.bundle_network(choice.state))
    records = []
    for row, outcome, volume, log_odds in zip(trainer.validation_rows, trainer.validation_death, *predicted):
        record = known_record(row, trainer.clinical is not None) | {
            "fold": config.fold,
            "outcome": float(outcome),
            "network_volume_ml": None,
            "log_odds": None,
        }
        if config.tasks != "prognosis":
            record["network_volume_ml"] = float(volume)
        if config.tasks != "volume":
            record["log_odds"] = float(log_odds)
        records.append(record)
    return records


def _common_settings(runs):
    """The settings and the manifest shared by all runs."""
    found = [RunFolder(run).stored for run in runs]
    config, ours = TrainingConfig(**found[0]["config"]), identity(found[0])
    for stored in found:
        theirs = identity(stored)
        different = {name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)} - {"fold", "processes"}
        if different:
            raise InputError(
                f"The runs do not match: expected them to differ only in fold, found {', '.join(sorted(different))}."
            )
    folds = sorted(-1 if stored["config"]["fold"] is None else stored["config"]["fold"] for stored in found)
    if folds != list(range(config.folds)):
        raise InputError(
            f"The folds are not complete: expected one run of each from 0 to {config.folds - 1}, found {folds}."
        )
    return config, found[0]["manifest"]


def _read_records(path):
    records = [
        {key: (value or None) if key in TEXTS else float(value) if value else None for key, value in record.items()}
        for _, record in read_csv(path).records()
    ]
    for record in records:  # runs of earlier versions have no correction
        record.setdefault("network_volume_ml", record["predicted_volume_ml"])
    return records
