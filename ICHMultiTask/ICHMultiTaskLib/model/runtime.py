"""On which device, in which number format and memory layout the network runs fastest; chosen by measurement."""

import contextlib
import time
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


def candidates(device):
    """Runtimes worth measuring on a device; bf16 only where the processor has it, or it runs 25 times slower."""
    runtimes = [Runtime(device), Runtime(device, channels_last=True)]
    if device == "cpu" and _cpu_has_bf16():
        runtimes.append(Runtime(device, torch.bfloat16, channels_last=True))
    return runtimes if device == "cpu" else runtimes[:1]


def _cpu_has_bf16():
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


def seconds(network, image, runtime, repeats=3):
    """Best of several timed forward passes, after one to warm up."""
    runtime.arrange(network)
    image = runtime.arrange(image.to(runtime.device))
    best = float("inf")
    with torch.inference_mode(), runtime.context():
        for n in range(repeats + 1):
            start = time.perf_counter()
            network(image)[0].sum().item()
            if n:
                best = min(best, time.perf_counter() - start)
    return best


def fastest_runtime(network, device, shape=(16, 96, 96)):
    """Measure the candidates on a small image and leave the network in the fastest one's layout.

    A tenth of the usual image is enough to rank them and takes a fraction of one analysis.
    """
    runtimes = candidates(device)
    if len(runtimes) > 1:
        image = torch.zeros(1, 1, *shape)
        runtimes.sort(key=lambda runtime: seconds(network, image, runtime))
    runtimes[0].arrange(network)
    return runtimes[0]
