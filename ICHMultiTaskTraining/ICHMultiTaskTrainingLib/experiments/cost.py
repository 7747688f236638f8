"""What a network costs: parameters, multiply-adds, memory and seconds a scan."""

from __future__ import annotations

import os
import platform
import statistics
import time
import weakref
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.runtime import available_devices, repeatable

RUNS = 3
"""Timed, after one that is not; the median counts."""


def cost(architecture: Mapping, shape_kji: Sequence[int], devices: Sequence[str] | None = None) -> dict:
    """Measure a network of random weights on one scan; nothing here depends on what it has learned.

    Parameters
    ----------
    architecture : dict
        As `build_network` takes it.
    shape_kji : sequence of int
        Of the input, (D, H, W).
    devices : sequence of str, optional
        To take the time on; None: all at hand.

    Returns
    -------
    dict
        `parameters`; `multiply_adds` of a scan; `memory_mb`: weights and the largest sum of tensors at once, in
        inference, float32; `seconds`: by device, None where it is not at hand; `measured_on`: by device, in words.
    """
    with torch.device("meta"):  # nothing is computed: sizes tell all
        network = build_network(architecture).eval()
        parameters, macs, memory = counted(network, torch.empty(1, 1, *shape_kji))
    devices = available_devices() if devices is None else devices
    network = build_network(architecture).eval()
    return {
        "parameters": parameters,
        "multiply_adds": macs,
        "memory_mb": memory / 1e6,
        "seconds": {d: seconds(network, shape_kji, d) if d in devices else None for d in ("cpu", "cuda")},
        "measured_on": {d: _named(d) for d in ("cpu", "cuda") if d in devices},
    }


def counted(network: nn.Module, image: torch.Tensor) -> tuple[int, int, int]:
    """Parameters, multiply-adds and bytes of a forward pass.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    image : tensor [1, 1, D, H, W]

    Returns
    -------
    (int, int, int)
        Multiply-adds are those of convolutions and matrix products, as publications count them.
    """
    parameters = sum(p.numel() for p in network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as operations:
        network(image)
    with torch.no_grad(), _Peak([*network.parameters(), *network.buffers(), image]) as memory:
        network(image)
    return parameters, operations.get_total_flops() // 2, memory.peak


def seconds(network: nn.Module, shape_kji: Sequence[int], device: str) -> float:
    """Median seconds of a scan through the network alone."""
    network = network.to(device)
    image = torch.zeros(1, 1, *shape_kji, device=device)
    taken = []
    with torch.inference_mode(), repeatable(device):
        for _ in range(1 + RUNS):
            start = time.perf_counter()
            output, _scores = network(image)
            output.cpu()  # which waits for the device
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


class _Peak(TorchDispatchMode):
    """Bytes of the tensors that live at once, at most.

    Parameters
    ----------
    tensors : sequence of tensor
        That are there before, such as weights.
    """

    def __init__(self, tensors):
        super().__init__()
        self.peak = self.now = 0
        self.owners = {}
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._add(storage._cdata, storage.nbytes())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._add(storage._cdata, storage.nbytes())
                weakref.finalize(tensor, self._remove, storage._cdata, storage.nbytes())
        return found

    def _add(self, key, size):
        if not self.owners.get(key):  # a view takes nothing
            self.now += size
            self.peak = max(self.peak, self.now)
        self.owners[key] = self.owners.get(key, 0) + 1

    def _remove(self, key, size):
        self.owners[key] -= 1
        if not self.owners[key]:
            self.now -= size


def _named(device):
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
