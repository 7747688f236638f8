"""What a network costs: parameters, multiply-adds, memory and seconds a scan."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.cost import network_cost
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
        `parameters`; `multiply_adds` of a scan; `memory_mb`: what a training step keeps of a scan, in float32;
        `seconds`: by device, None where it is not at hand; `measured_on`: by device, in words.
    """
    of_two = network_cost(architecture, tuple(shape_kji), batch=2)  # batch norm needs more than one value
    devices = available_devices() if devices is None else devices
    network = build_network(architecture).eval()
    return {
        "parameters": of_two.parameters,
        "multiply_adds": of_two.multiply_adds // 2,
        "memory_mb": of_two.kept_bytes / 2e6,
        "seconds": {d: seconds(network, shape_kji, d) if d in devices else None for d in ("cpu", "cuda")},
        "measured_on": {d: _named(d) for d in ("cpu", "cuda") if d in devices},
    }


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
