"""On which device, in which number format and memory layout the network runs."""

import contextlib
from dataclasses import dataclass

import torch

from ..common.errors import InputError


@dataclass(frozen=True)
class Runtime:
    """A way to run the network: number format and memory layout."""

    device: str
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    @property
    def name(self):
        """Such as "float32, channels last"."""
        return str(self.dtype).removeprefix("torch.") + (", channels last" if self.channels_last else "")

    def context(self):
        """Autocast to the number format; nothing for float32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.dtype)

    def arrange(self, module_or_tensor):
        """The module or image in this layout."""
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        if isinstance(module_or_tensor, torch.Tensor):
            return module_or_tensor.contiguous(memory_format=layout)
        return module_or_tensor.to(memory_format=layout)


def available_devices():
    """Names of the devices at hand, best first; "cpu" is always the last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name="auto"):
    """The device of that name, or the best one for "auto".

    Raises
    ------
    InputError
        If it is not at hand.
    """
    devices = available_devices()
    if name == "auto":
        # MPS lacks some 3-D operations in older PyTorch; it is taken only when asked for.
        return "cuda" if "cuda" in devices else "cpu"
    if name not in devices:
        raise InputError(f"The device {name!r} is not available: expected auto or one of {', '.join(devices)}.")
    return name


def inference_runtime(device):
    """How the network runs on a device to give a result: always alike, so that a scan gives the same number twice.

    Half precision is quicker on some processors, but changes the volume, and which processor it was would decide.
    """
    return Runtime(device)


def repeatable(device):
    """A context in which a GPU takes the same algorithm every time and multiplies in float32, not in TF32."""
    if device != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
