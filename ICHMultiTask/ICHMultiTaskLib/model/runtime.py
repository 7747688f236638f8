"""Device, number format and memory layout of the network."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..common.errors import InputError

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
        return module_or_tensor.to(memory_format=layout)


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
        raise InputError(f"The device {name!r} is not available: expected auto or one of {', '.join(devices)}.")
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
