"""What a model inherits from the model it was made from: calibration and metadata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.model.calibration import AS_THE_NETWORK_SAYS
from ICHMultiTaskLib.model.clinical import ClinicalInputs

from ..data.manifest import Row
from .config import TrainingConfig, starting_bundle

ORIGIN = ("name", "version", "license", "training_data", "sha256")
"""Metadata kept for each original model, under `derived_from`."""
DEFAULT_NAME, DEFAULT_VERSION = "ich-multitask", "0.1.0"


def death_weight(config: TrainingConfig, death: np.ndarray) -> float:
    """Weight of a death in the loss relative to a survival: the ratio of survivals to deaths.

    Parameters
    ----------
    config : TrainingConfig
    death : ndarray of shape (N,)
        Outcomes of the training scans.

    Returns
    -------
    float
        1 if `death_weighting` is off or the outcomes are probabilities.
    """
    if not config.death_weighting or config.outcome != "died" or not len(death):
        return 1.0
    mean = float(np.clip(np.mean(death), 0.05, 0.95))
    return (1.0 - mean) / mean


def clinical_inputs(config: TrainingConfig, rows: Sequence[Row]) -> ClinicalInputs | None:
    """Clinical inputs of the prognosis head: those of the bundle that the run starts from, or of the settings.

    Parameters
    ----------
    config : TrainingConfig
    rows : sequence of Row
        Training scans, on which the values are standardized.

    Returns
    -------
    ClinicalInputs or None

    Raises
    ------
    InputError
        If a column is missing or empty, or contains invalid values.
    """
    start = starting_bundle(config.start_from).clinical if config.start_from is not None else None
    if start is not None or not config.clinical:
        return start
    return ClinicalInputs.fit(config.clinical, {row.patient_id: row.extra for row in rows})


def uncalibrated(config: TrainingConfig, death: np.ndarray) -> dict:
    """The calibration of a run with too few scans of its own.

    Parameters
    ----------
    config : TrainingConfig
    death : ndarray of shape (N,)
        Outcomes of the training scans.

    Returns
    -------
    dict
        That of the bundle that the run starts from, for its trained heads. The weight of deaths in the loss is
        corrected: a weight of w makes the odds w times too high.
    """
    found = start_calibration(config)
    return found | {"bias": found["bias"] - float(np.log(death_weight(config, death)))}


def start_calibration(config: TrainingConfig) -> dict:
    """The calibration applied to a run's outputs during training: that of its start, if there is one.

    Returns
    -------
    dict
        `temperature`, `bias` and, if there are any, `volume_correction` and `outline`.
    """
    if config.start_from is None:
        return dict(AS_THE_NETWORK_SAYS)
    bundle = starting_bundle(config.start_from)
    calibration = bundle.metadata["calibration"]
    found = dict(AS_THE_NETWORK_SAYS)
    if "prognosis" in bundle.tasks:
        found |= {name: calibration[name] for name in found if name in calibration}
    if "volume" in bundle.tasks:
        found |= {name: calibration.get(name) for name in ("volume_correction", "outline")}
    return found


def derived(
    metadata: dict,
    bundles: Sequence[ModelBundle],
    how: str,
    name: str | None = None,
    version: str | None = None,
    data: str | None = None,
) -> dict:
    """Metadata of a model made from others: its own name and version, and theirs.

    Parameters
    ----------
    metadata : dict
        Of the new bundle; a changed copy is returned.
    bundles : sequence of ModelBundle
        The original models.
    how : str
        Such as "fine-tuned"; appended to the name of the last bundle if no `name` is given.
    name, version : str, optional
    data : str, optional
        Added to the description of the training data.

    Returns
    -------
    dict
    """
    last = bundles[-1]
    licenses = list(dict.fromkeys(bundle.metadata["license"] for bundle in bundles))
    base = last.training_data.split("; calibrated on ")[0]
    return metadata | {
        "name": name or f"{last.name.removesuffix('-' + how)}-{how}",
        "version": version or DEFAULT_VERSION,
        "license": " AND ".join(licenses),
        "training_data": f"{base}; {how} {data}" if data else base,
        "derived_from": [{"how": how} | {key: bundle.metadata[key] for key in ORIGIN} for bundle in bundles],
    }
