"""Device, number format and memory layout of the network."""

from __future__ import annotations

import contextlib
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from ..common.errors import InputError
from ..common.translation import tr as _

LARGE_WEIGHT = 1_000_000
"""Numbers of a weight that stays in the plain layout on a CPU: PyTorch copies its gradient between both layouts, which
takes longer than the layout saves. A step of the paper's network of 63 million weights took 1.15 s in place of 1.56 s
(8 scans of 16×64×64, one core, PyTorch 2.13); one of the preset default, all of whose weights are smaller, takes 0.67 s
in place of 0.76 s because its weights are channels last."""
Arranged = TypeVar("Arranged", torch.nn.Module, torch.Tensor)


@dataclass(frozen=True)
class Runtime:
    """Device, number format and memory layout to run a network with."""

    device: str
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    @property
    def name(self) -> str:
        """Number format and layout, such as "float32, channels last"."""
        return str(self.dtype).removeprefix("torch.") + (", channels last" if self.channels_last else "")

    def context(self) -> AbstractContextManager:
        """Autocast to the number format; nothing for float32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.dtype)

    def arrange(self, module_or_tensor: Arranged) -> Arranged:
        """Convert a module or an image to this memory layout."""
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        if isinstance(module_or_tensor, torch.Tensor):
            return module_or_tensor.contiguous(memory_format=layout)
        # Module.to would refuse this layout for weights of four axes, such as TimeSformer's position embeddings.
        for weights in (*module_or_tensor.parameters(), *module_or_tensor.buffers()):
            if weights.ndim == 5 and not (self.device == "cpu" and weights.numel() > LARGE_WEIGHT):
                weights.data = weights.data.contiguous(memory_format=layout)
        return module_or_tensor


def available_devices() -> list[str]:
    """Names of the available devices, best first; "cpu" is always the last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name: str = "auto") -> str:
    """Check the name of a device; choose the best one for "auto".

    Raises
    ------
    InputError
        If it is not available.
    """
    devices = available_devices()
    if name == "auto":
        # MPS lacks some 3-D operations in older PyTorch versions, so it is used only if requested.
        return "cuda" if "cuda" in devices else "cpu"
    if name not in devices:
        raise InputError(
            _("The device {name!r} is not available: expected auto or one of {devices}.").format(
                name=name, devices=", ".join(devices)
            )
        )
    return name


def inference_runtime(device: str) -> Runtime:
    """Runtime for results: always the same one, so that results are reproducible.

    Half precision is faster on some processors, but changes the volume, which would then depend on the processor.
    """
    return Runtime(device)


def repeatable(device: str) -> AbstractContextManager:
    """Context in which a GPU uses deterministic algorithms and multiplies in float32, not in TF32."""
    if device != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def free_memory(device: str) -> int | None:
    """Bytes that a process can still allocate on a device; None if the system does not report it."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    if device == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    known = [_available_on_linux(), _left_in_container()]
    known = [bytes_ for bytes_ in known if bytes_ is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS reports only the total memory
    except (AttributeError, ValueError, OSError):
        return None


def _available_on_linux() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left below the limit of a control group (version 2), such as a container; cached files do not count."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        files = re.search(r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used + (int(files[1]) if files else 0)
