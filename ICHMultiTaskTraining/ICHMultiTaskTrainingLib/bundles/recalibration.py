"""Recalibrate a model's volume, interval and probability on scans that it was not trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.choices import Weights
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress, part
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.calibration import MIN_FOR_CORRECTION, fit_calibration, output_to_volume
from ICHMultiTaskLib.model.preprocessing import prepare
from ICHMultiTaskLib.model.weights import as_stored
from ICHMultiTaskLib.scan.validation import check_head_ct

from ..data.analyzing import analyze_each
from ..data.labels import check_labels
from ..data.manifest import Row, outcomes, read_manifest
from ..data.seen_images import as_text, check_unseen, checksums
from ..training.lineage import derived
from .model_card import model_card

MIN_PATIENTS = 20
"""With fewer patients, a 90 % interval would depend on one or two of them."""


def recalibrate(
    manifest_path: str | os.PathLike,
    bundle: ModelBundle | str | os.PathLike,
    output: str | os.PathLike,
    outcome: str = "died",
    device: str = "auto",
    progress: Progress | None = None,
    name: str | None = None,
    version: str | None = None,
    weights: str | None = None,
    processes: int = 1,
) -> ModelBundle:
    """Recalibrate volume, interval and probability on a manifest and write the new bundle; the weights are unchanged.

    A part with too few scans keeps its calibration, and the model card says so; see `fit_calibration`.

    Parameters
    ----------
    manifest_path : path
        Scans not used for training or model selection; with those, the interval would be too narrow.
    bundle : ModelBundle or path
    output : path
        Folder of the new bundle; may be that of `bundle`, which is then replaced.
    outcome : str
        As in `TrainingConfig`.
    device : str
    progress : callable (fraction, message), optional
        May raise Canceled; then nothing is written.
    name, version : str, optional
        Of the new bundle. None: those of `bundle` if it is replaced; otherwise its name with "-calibrated" and 0.1.0.
    weights : str, optional
        Number format of the new bundle's weights, one of `Weights`; the model is calibrated with the weights in this
        format. None: as in `bundle`, unchanged.
    processes : int
        Number of processes that analyze scans.

    Returns
    -------
    ModelBundle

    Raises
    ------
    InputError
        With every unusable scan and its reason, all at once; or if there are too few scans.
    """
    progress = progress or NO_PROGRESS
    if weights is not None:
        Weights.check(weights, "format of the weights")
    manifest = read_manifest(manifest_path)
    death = outcomes(manifest.rows, outcome)
    check_labels(manifest.rows, with_prognosis=False)
    patients = [row.patient_id for row in manifest.rows]
    if len(set(patients)) < MIN_PATIENTS:
        raise InputError(
            f"Too few patients to calibrate on: expected at least {MIN_PATIENTS}, found {len(set(patients))} in "
            f"{manifest.path}."
        )
    analyzer = Analyzer(bundle, device)
    start = analyzer.bundle
    check_unseen(start, manifest.rows, "calibrated on", "training")
    state = start.network().state_dict()
    if weights is not None:
        analyzer.runner.network.load_state_dict(as_stored(state, weights))
    metadata = {key: value for key, value in start.metadata.items() if key != "sha256"}

    read = analyze_each(
        _network_reading, manifest.rows, analyzer, processes, part(progress, 0.0, 0.4), ": the network's reading"
    )
    problems = [f"{row.patient_id}: {found}" for row, found in zip(manifest.rows, read) if isinstance(found, str)]
    if problems:
        raise InputError(f"{len(problems)} of {len(death)} scans cannot be used: " + "; ".join(problems))
    volumes, log_odds = np.array(read).T
    simulated = all(row.extra.get("simulated") == "1" for row in manifest.rows)
    kind = "simulated scans" if simulated else "scans"

    def calibration(outlined_ml=None):
        return fit_calibration(
            volumes if "volume" in start.tasks else None,
            np.array([row.volume_ml for row in manifest.rows]),
            log_odds if "prognosis" in start.tasks else None,
            death,
            patients,
            start.metadata["calibration"],
            outlined_ml,
        )

    outlined = None
    enough = len(set(patients)) >= MIN_FOR_CORRECTION or start.metadata["calibration"].get("outline")
    if "volume" in start.tasks and enough:
        # The blood is searched for as far as the network's volume reaches, which is only now calibrated.
        analyzer.bundle = replace(start, metadata={**start.metadata, "calibration": calibration()})
        outlined = outlined_volumes(analyzer, manifest.rows, processes, part(progress, 0.4, 1.0))
    metadata["calibration"] = {
        **calibration(outlined),
        "scans": len(death),
        "data": f"separate {kind}, used for nothing else",
        "images": as_text(checksums(row.image for row in manifest.rows)),
    }
    # Metrics measured with the old calibration no longer hold.
    kept = ("validation", "validation_scans", "comparison")
    metadata["metrics"] = {key: value for key, value in metadata["metrics"].items() if key in kept}
    in_place = Path(output).resolve() == start.folder.resolve()
    metadata = derived(
        metadata,
        [start],
        "calibrated",
        name or (start.name if in_place else None),
        version or (start.version if in_place else None),
        f"on {len(death)} {kind} of {manifest.path.name}",
    )
    if in_place:  # the previous bundle is gone; keep what it was derived from
        metadata["derived_from"] = start.metadata.get("derived_from", [])
    progress(1.0, "Done")
    return save_bundle(output, state, metadata, model_card(metadata), overwrite=True, weights=weights)


def _network_reading(row, reading, analyzer):
    """The network's volume in mL and log odds of death, or why the scan cannot be used."""
    try:
        network_input = prepare(check_head_ct(reading()), analyzer.settings)
    except ICHMultiTaskError as error:
        return str(error)
    prediction = analyzer.predict(network_input, clinical=row.extra)
    target = analyzer.bundle.metadata["target"]
    return output_to_volume(prediction.output, target, network_input.crop_volume_mm3), prediction.log_odds


def outlined_volumes(
    analyzer: Analyzer, rows: Sequence[Row], processes: int = 1, progress: Progress = NO_PROGRESS
) -> np.ndarray:
    """Volumes outlined in scans, as `two_readings.joint_volume` takes them.

    Parameters
    ----------
    analyzer : Analyzer
    rows : sequence of Row
        Of a manifest.
    processes : int
        Number of processes that analyze scans.
    progress : callable (fraction, message), optional
        May raise Canceled.

    Returns
    -------
    ndarray of shape (N,)
        In mL; NaN where no hemorrhage is found, or the scan cannot be read.
    """
    return np.array(analyze_each(_outlined, rows, analyzer, processes, progress, ": the outlined volume"), float)


def _outlined(row, reading, analyzer):
    try:
        return analyzer.analyze(reading(), attention=False).outlined_volume_ml
    except (Canceled, BundleError, DependencyError):
        raise
    except ICHMultiTaskError:
        return None
