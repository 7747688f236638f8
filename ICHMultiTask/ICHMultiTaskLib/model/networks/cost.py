"""Cost of a network: parameters, multiply-adds and memory, computed without weights and without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from . import build_network


@dataclass(frozen=True)
class Cost:
    """Cost of one network for one input.

    Attributes
    ----------
    parameters : int
    multiply_adds : int
        Multiply-adds of convolutions, dense layers and attention for the whole batch; those of other layers are few.
    kept_bytes : int
        Size of the features that a training step keeps for its backward pass, in float32.
    """

    parameters: int
    multiply_adds: int
    kept_bytes: int


def network_cost(architecture: Mapping, shape: tuple[int, int, int], batch: int = 1) -> Cost:
    """Cost of a network for a batch of images.

    The network is built and run on PyTorch's meta device, which computes only shapes.

    Parameters
    ----------
    architecture : dict
        As in `build_network`.
    shape : (int, int, int)
        Slices, rows and columns of the input.
    batch : int

    Returns
    -------
    Cost

    Raises
    ------
    InputError
        If there is no network of that name.
    ValueError, RuntimeError
        If the network cannot be built with these arguments or run on this input.
    """
    with torch.device("meta"):
        return cost_of(build_network(architecture), torch.empty(batch, 1, *shape))


def cost_of(network: nn.Module, *inputs) -> Cost:
    """Cost of a training step for inputs such as images [N, 1, D, H, W]; on the meta device nothing is computed."""
    network.train()
    counted = [0]

    def count(module, inputs, output):
        counted[0] += _multiply_adds(module, inputs[0], output)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(*inputs)  # keeps the tensors alive, as the backward pass does
    finally:
        for hook in hooks:
            hook.remove()
    del outputs
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counted[0], sum(storage.nbytes() for storage in kept.values()))


def _multiply_adds(module, x, output) -> int:
    """Multiply-adds of a layer itself, without its sublayers."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    own = getattr(module, "multiply_adds", None)
    return own(x) if own is not None else 0
