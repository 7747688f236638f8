"""Combine several models into one: the mean of their weights, or of their outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle, save_bundle

from ..data.seen_images import as_text, images_of
from ..training.config import tasks_of
from ..training.lineage import derived
from .model_card import model_card

SHARED = ("architecture", "preprocessing", "target", "clinical")
"""Metadata that models must share to be combined."""


def average_bundles(
    bundles: Sequence[ModelBundle | str | os.PathLike],
    output: str | os.PathLike,
    version: str | None = None,
    name: str | None = None,
) -> ModelBundle:
    """Average the weights of models with the same origin, and write a bundle that must be recalibrated.

    The mean of a model and its fine-tuned version is often better than both, and more robust on scans unlike the
    training scans (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Models that did not start from the
    same weights have no useful mean: check the result with `calibrate` and `evaluate`.

    Parameters
    ----------
    bundles : sequence of ModelBundle or path
        At least two. Training data and settings are taken from the last one.
    output : path
        Folder of the new bundle; may be that of one of `bundles`, which is then replaced.
    version, name : str, optional
        None: 0.1.0, and the name of the last with "-averaged".

    Returns
    -------
    ModelBundle
        Uncalibrated: no interval, and the network's own probability.

    Raises
    ------
    InputError
        If there are fewer than two models, they differ in architecture, preprocessing or target, or no head was
        trained in all of them.
    """
    bundles = _of_one_kind(bundles)
    states = [bundle.network().state_dict() for bundle in bundles]
    mean = {name: _mean([state[name] for state in states]) for name in states[-1]}
    metadata = _uncalibrated(bundles, "The weights are the mean of")
    metadata = derived(metadata, bundles, "averaged", name, version)
    return save_bundle(output, mean, metadata, model_card(metadata), overwrite=True)


def ensemble_bundles(
    bundles: Sequence[ModelBundle | str | os.PathLike],
    output: str | os.PathLike,
    version: str | None = None,
    name: str | None = None,
) -> ModelBundle:
    """Combine several models in one bundle, whose outputs are the mean of theirs and must be recalibrated.

    Unlike in `average_bundles`, they need not have the same origin: they may be the folds of a cross-validation.

    Parameters
    ----------
    bundles, output, version
        As in `average_bundles`.
    name : str, optional
        None: the name of the last with "-ensemble".

    Returns
    -------
    ModelBundle
        Uncalibrated; as large and as slow as all of them together.

    Raises
    ------
    InputError
        As in `average_bundles`.
    """
    bundles = _of_one_kind(bundles)
    state = {
        f"members.{n}.{key}": value
        for n, bundle in enumerate(bundles)
        for key, value in bundle.network().state_dict().items()
    }
    metadata = _uncalibrated(bundles, "The outputs are the mean of")
    metadata["architecture"] = {
        "network": "ensemble", "members": len(bundles), "member": bundles[-1].metadata["architecture"],
    }  # fmt: skip
    metadata = derived(metadata, bundles, "ensemble", name, version)
    return save_bundle(output, state, metadata, model_card(metadata), overwrite=True)


def _of_one_kind(bundles):
    bundles = [b if isinstance(b, ModelBundle) else ModelBundle.load(b) for b in bundles]
    if len(bundles) < 2:
        raise InputError(f"Too few models to average: expected at least 2, found {len(bundles)}.")
    last = bundles[-1]
    for bundle in bundles[:-1]:
        for key in SHARED:
            if bundle.metadata.get(key) != last.metadata.get(key):
                raise InputError(
                    f"The models cannot be averaged: expected the same {key}, found {bundle.metadata.get(key)} in "
                    f"{bundle.folder} and {last.metadata.get(key)} in {last.folder}."
                )
    if not _shared_tasks(bundles):
        found = ", ".join(f"{' and '.join(bundle.tasks)} in {bundle.folder}" for bundle in bundles)
        raise InputError(f"The models cannot be averaged: expected a head that was trained in all, found {found}.")
    return bundles


def _shared_tasks(bundles):
    """The setting `tasks` for the heads that were trained in all models; None if there are none."""
    return tasks_of(set.intersection(*(set(bundle.tasks) for bundle in bundles)))


def _uncalibrated(bundles, what):
    """Metadata of the last, without what does not apply to all of them together."""
    last = bundles[-1]
    metadata = {key: value for key, value in last.metadata.items() if key != "sha256"}
    metadata["calibration"] = NO_CALIBRATION
    kept = ("validation", "validation_scans")
    metadata["metrics"] = {key: value for key, value in metadata["metrics"].items() if key in kept}
    names = ", ".join(f"{bundle.name} {bundle.version}" for bundle in bundles)
    training = metadata.get("training", {})
    metadata["training"] = training | {
        "config": training.get("config", {}) | {"tasks": _shared_tasks(bundles)},
        "note": f"{what} {len(bundles)} models' ({names}); command, settings and validation are from the last.",
        "images": as_text(frozenset().union(*(images_of(bundle, "training") for bundle in bundles))),
    }
    return metadata


def _mean(tensors):
    if not tensors[0].is_floating_point():
        return tensors[-1]  # batch norm's count of batches
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
