"""Cost of a network: parameters, and multiply-adds, memory and seconds per scan."""

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
"""Timed runs, after an untimed one for warming up; their median is reported."""


def cost(architecture: Mapping, shape_kji: Sequence[int], devices: Sequence[str] | None = None) -> dict:
    """Measure a network with random weights on one scan; trained weights would cost the same.

    Parameters
    ----------
    architecture : dict
        Arguments of `build_network`.
    shape_kji : sequence of int
        Shape of the input, (D, H, W).
    devices : sequence of str, optional
        Devices to time; None: all that are available.

    Returns
    -------
    dict
        `parameters`; `multiply_adds` per scan; `memory_mb`: activations that a training step stores per scan, in
        float32; `seconds`: by device, None if it is not available; `measured_on`: name of the hardware by device.
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
    """Median seconds of the forward pass of one scan."""
    network = network.to(device)
    image = torch.zeros(1, 1, *shape_kji, device=device)
    taken = []
    with torch.inference_mode(), repeatable(device):
        for _ in range(1 + RUNS):
            start = time.perf_counter()
            output, _scores = network(image)
            output.cpu()  # waits for the device
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
