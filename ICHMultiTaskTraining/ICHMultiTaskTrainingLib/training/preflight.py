"""Check whether a network can be trained with the settings of a run, before anything is written."""

from __future__ import annotations

import json
from functools import lru_cache

import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks import DEFAULT_NETWORK, build_network
from ICHMultiTaskLib.model.networks.cost import cost_of
from ICHMultiTaskLib.model.runtime import Runtime, free_memory

from ..data.cache import CELL
from .config import TrainingConfig
from .learner import Learner, choose_runtime
from .losses import MaskLoss

OPTIMIZER_STATES = {"sgd": 1, "adamw": 2}
"""Numbers that an optimizer stores for each weight."""


def check_network(config: TrainingConfig, device: str, architecture: dict | None = None) -> None:
    """Check that the network can be built and trained on its grid, and that a step fits into the memory.

    Shapes are computed on PyTorch's meta device, in about a second and without memory.

    Parameters
    ----------
    config : TrainingConfig
    device : str
    architecture : dict, optional
        Architecture of the network in training; None: that of the settings in training.

    Raises
    ------
    InputError
    """
    architecture = architecture or config.training_architecture()
    name = architecture.get("network", DEFAULT_NETWORK)
    try:
        with torch.device("meta"):
            network = build_network(architecture)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"The network {name} cannot be built with these settings: {_first_line(error)}") from error
    if config.mask_weight > 0 and not config.frozen_encoder:
        _check_mask_loss(name, network, config)
    need = _bytes_of_a_step(architecture, config, device)
    free = free_memory(device)
    if free is not None and need(config.batch_size) > free:
        raise InputError(_too_large(name, config, device, need, free))


def _check_mask_loss(name, network, config):
    for stage in MaskLoss.STAGES:
        for stride in network.feature_strides[stage][1:]:
            if stride % CELL:
                raise InputError(
                    f"The mask loss does not apply to the network {name} with these strides: expected rows and columns "
                    f"of {stage} in steps of a multiple of {CELL} voxels, found {stride}; mask_weight=0 leaves it out."
                )


def _bytes_of_a_step(architecture, config, device):
    """Minimum memory of a step, as a function of the batch size."""
    bytes_a_number = choose_runtime(config.precision, device).dtype.itemsize
    # The coarsest grid first, which may be too small.
    reductions = sorted(set(config.reductions()), reverse=True)
    options = config.tasks, config.frozen_encoder, config.mask_weight > 0, config.frozen_norm
    weights, trained, kept = _numbers_of_a_step(
        json.dumps([architecture, list(config.preprocessing["shape_kji"]), reductions]), options
    )
    fixed = 4 * (weights + trained * (1 + OPTIMIZER_STATES[config.optimizer]))
    return lambda batch: fixed + kept * batch // 2 * bytes_a_number // 4


@lru_cache(maxsize=64)
def _numbers_of_a_step(described, options):
    """Weights, trained weights, and bytes kept by a step of two scans; cached, since all folds share them."""
    architecture, (depth, rows, columns), reductions = json.loads(described)
    name = architecture.get("network", DEFAULT_NETWORK)
    with torch.device("meta"):
        learner = Learner(build_network(architecture), Runtime("cpu"), *options)
        kept = []
        # Two scans, since batch norm needs more than one value.
        for reduction in reductions:
            shape = (depth, rows // reduction, columns // reduction)
            image = torch.empty(2, 1, *shape)
            occupancy = torch.empty(2, 1, depth, rows // CELL, columns // CELL)
            has_mask = torch.ones(2, dtype=torch.bool, device="cpu")
            try:
                kept.append(cost_of(learner, image, occupancy, has_mask, reduction).kept_bytes)
            except (ValueError, RuntimeError) as error:
                grid = "×".join(map(str, shape))
                raise InputError(
                    f"The network {name} cannot be trained on {grid} voxels, its grid in "
                    f"{'coarse epochs' if reduction > 1 else 'training'}: {_first_line(error)}"
                ) from error
    weights = sum(parameter.numel() for parameter in learner.parameters())
    trained = sum(parameter.numel() for parameter in learner.parameters() if parameter.requires_grad)
    return weights, trained, max(kept)


def _too_large(name, config, device, need, free):
    needed, there = (f"{number / 1e9:.1f} GB" for number in (need(config.batch_size), free))
    grid = "×".join(map(str, config.preprocessing["shape_kji"]))
    text = (
        f"The network {name} is too large for the memory: a step of {config.batch_size} scans of {grid} voxels needs "
        f"at least {needed}, and {there} are free on the device {device}. "
    )
    whole = config.batch_size * config.accumulate
    fitting = [batch for batch in range(1, config.batch_size) if need(batch) <= free and whole % batch == 0]
    if fitting:
        parts = f"batch_size={fitting[-1]} with accumulate={whole // fitting[-1]}"
        return f"{text}This would fit: {parts}, or a smaller architecture.width."
    return f"{text}Not even one scan would fit: expected a smaller architecture.width or preprocessing.shape_kji."


def _first_line(error):
    text = str(error).strip().partition("\n")[0]
    return text if text.endswith(".") else f"{text}."
