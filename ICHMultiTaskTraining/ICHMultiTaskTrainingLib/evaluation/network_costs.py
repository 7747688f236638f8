"""Cost of the networks: counted, timed, and as published."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks import NETWORKS, TRAINABLE, build_network, built_for
from ICHMultiTaskLib.model.networks.cost import Cost, cost_of, network_cost
from ICHMultiTaskLib.model.runtime import available_devices, repeatable

TIMED_ON = ("cpu", "cuda")
MIN_RUNS, MAX_RUNS, TIMED_SECONDS = 3, 50, 1.0
"""A network is timed for so long, but at least and at most so often. The fastest run counts: other work on the machine
only ever adds to a run."""


@dataclass(frozen=True)
class Published:
    """Cost of a network according to its publication or its authors' code.

    Attributes
    ----------
    source : str
    shape : tuple of int
        Slices or frames, rows and columns of the input.
    channels, classes : int
        Numbers of input channels and output classes.
    parameters_m, multiply_adds_g : float or None
        In millions and in billions; None if not in the source.
    architecture : dict
        Arguments in the publication that differ from the defaults here.
    """

    source: str
    shape: tuple[int, int, int]
    channels: int = 3
    classes: int = 400
    parameters_m: float | None = None
    multiply_adds_g: float | None = None
    architecture: Mapping = field(default_factory=dict)


PUBLISHED = {
    "x3d": Published("SlowFast, MODEL_ZOO.md", (16, 224, 224), parameters_m=3.8, multiply_adds_g=4.73),
    # The published 199.0 billion are for crops of 128×128.
    "r2plus1d34": Published("VMZ, model_zoo.md", (32, 128, 128), parameters_m=63.6, multiply_adds_g=199.0),
    "p3d50": Published("P3D63 of qijiezhao/pseudo-3d-pytorch, counted", (16, 160, 160), parameters_m=25.745232),
    "tsm50": Published("Lin et al. 2019, table 2", (8, 224, 224), parameters_m=24.3, multiply_adds_g=33.0),
    "timesformer": Published(
        "Bertasius et al. 2021, table 2; a third of the 0.59 trillion of its three crops",
        (8, 224, 224),
        parameters_m=121.4,
        multiply_adds_g=196.7,
        architecture={"grid": (8, 224, 224)},
    ),
    "uniformizing3d": Published(
        "the authors' code, layer by layer",
        (64, 128, 128),
        channels=1,
        classes=2,
        parameters_m=10.658498,
        architecture={"padding": 0},
    ),
}


class _NoHead(nn.Module):
    """Replaces the second head, which the published networks do not have."""

    def forward(self, features, clinical=None):
        return features


def as_published(name: str, published: Published) -> Cost:
    """Cost of a network with the input and output of its publication, which differ from those here.

    Parameters
    ----------
    name : str
    published : Published

    Returns
    -------
    Cost
    """
    with torch.device("meta"):
        network = build_network({"network": name} | dict(published.architecture))
        first = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
        first.weight = nn.Parameter(first.weight.repeat(1, published.channels, 1, 1, 1))
        pooled = network.volume_head.dense.in_channels
        network.volume_head.dense = nn.Conv3d(pooled, published.classes, 1)
        network.prognosis_head = _NoHead()
        # A batch of two, since batch norm needs more than one value per channel.
        cost = cost_of(network, torch.empty(2, published.channels, *published.shape))
    return Cost(cost.parameters, cost.multiply_adds // 2, cost.kept_bytes // 2)


def measured_cost(architecture: Mapping, shape_kji: Sequence[int], devices: Sequence[str] | None = None) -> dict:
    """Measure a network with random weights on one scan; trained weights would cost the same.

    Parameters
    ----------
    architecture : dict
        Arguments of `build_network`.
    shape_kji : sequence of int
        Shape of the input, (D, H, W).
    devices : sequence of str, optional
        Devices to time; None: those of `TIMED_ON` that are available.

    Returns
    -------
    dict
        `parameters`; `multiply_adds` per scan; `memory_mb`: activations that a training step stores per scan, in
        float32; `seconds`: by device, None if it is not available; `measured_on`: name of the hardware by device.
    """
    of_two = network_cost(architecture, tuple(shape_kji), batch=2)  # batch norm needs more than one value
    devices = timed_devices() if devices is None else devices
    network = build_network(architecture).eval()
    return {
        "parameters": of_two.parameters,
        "multiply_adds": of_two.multiply_adds // 2,
        "memory_mb": of_two.kept_bytes / 2e6,
        "seconds": {d: seconds(network, shape_kji, d) if d in devices else None for d in TIMED_ON},
        "measured_on": {d: hardware(d) for d in devices},
    }


def timed_devices() -> list[str]:
    """The devices of `TIMED_ON` that there are."""
    return [device for device in TIMED_ON if device in available_devices()]


def seconds(network: nn.Module, shape_kji: Sequence[int], device: str) -> float:
    """Seconds of the forward pass of one scan, the fastest of several runs after an untimed one for warming up."""
    network = network.to(device)
    image = torch.zeros(1, 1, *shape_kji, device=device)
    taken = []
    with torch.inference_mode(), repeatable(device):
        while len(taken) <= MIN_RUNS or (sum(taken[1:]) < TIMED_SECONDS and len(taken) <= MAX_RUNS):
            start = time.perf_counter()
            output, _scores = network(image)
            output.cpu()  # waits for the device
            taken.append(time.perf_counter() - start)
    return min(taken[1:])


def hardware(device: str) -> str:
    """Name of the hardware behind a device, with the number of cores in use."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cost_rows(shapes: Sequence[tuple[int, int, int]], devices: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Make the table of all networks.

    Parameters
    ----------
    shapes : sequence of (int, int, int)
        Input shapes to list multiply-adds and memory for.
    devices : sequence of str
        Devices to time the networks on; none: they are only counted.

    Returns
    -------
    headings : list of str
    rows : list of list of str
        Parameters in millions; for each shape, of one scan, multiply-adds in billions, MiB that a training step keeps
        in float32, and seconds of a forward pass on each device.

    Raises
    ------
    InputError
        If a shape is too small for a network.
    """
    headings = ["network", "name", "parameters (M)"]
    for shape in shapes:
        grid = "×".join(map(str, shape))
        headings += [f"G multiply-adds, {grid}", f"MiB kept in training, {grid}"]
        headings += [f"seconds on {hardware(device)}, {grid}" for device in devices]
    headings += ["parameters as published (M)", "published", "multiply-adds as published (G)", "published", "source"]
    rows = []
    for name in TRAINABLE:
        costs = [_cost(name, shape) for shape in shapes]
        row = [NETWORKS.label(name), name, _text(costs[0].parameters / 1e6, 2)]
        for shape, cost in zip(shapes, costs):
            row += [_text(cost.multiply_adds / 2e9, 1), _text(cost.kept_bytes / 2**21, 0)]
            if devices:
                network = build_network(_architecture(name, shape)).eval()
                row += [_text(seconds(network, shape, device), 3) for device in devices]
        published = PUBLISHED.get(name)
        if published:
            same = as_published(name, published)
            row += [_text(same.parameters / 1e6, 2), _text(published.parameters_m, 2)]
            row += [_text(same.multiply_adds / 1e9, 1), _text(published.multiply_adds_g, 1)]
            row += [f"{published.source}; {'×'.join(map(str, published.shape))}"]
        else:
            row += ["–"] * 5
        rows.append(row)
    return headings, rows


def _architecture(name, shape):
    return {"network": name} | built_for(name, shape)


def _cost(name, shape):
    try:
        return network_cost(_architecture(name, shape), shape, batch=2)
    except (RuntimeError, ValueError) as error:
        grid, reason = "×".join(map(str, shape)), str(error).strip().partition("\n")[0]
        raise InputError(f"The network {name} cannot read {grid} voxels: {reason}") from error


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown."""
    lines = [headings, ["---"] * 2 + ["---:"] * (len(headings) - 3) + ["---"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
