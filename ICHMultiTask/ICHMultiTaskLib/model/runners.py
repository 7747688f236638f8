"""The library that runs the network: PyTorch, or ONNX Runtime, which is some 20 MB and does less.

A runner is a network ready to run. Each has `library`, `device` and `number_format`, and these methods, on images of
shape [N, 1, D, H, W] and encoded clinical variables of shape [1, inputs] or None:

- ``check_map(stage, method)`` raises InputError if it cannot compute that attention map;
- ``run(image, clinical, progress)`` returns features by stage, the regression output and the log odds of death;
- ``log_odds(images, clinical)`` returns those of each image;
- ``attention_grid(image, features, head, stage, method, clinical, progress)`` returns a map that is not negative, the
  strides of its grid and the offset of its first node.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..common.choices import Device, RuntimeLibrary
from ..common.errors import DependencyError
from ..common.translation import tr as _
from .attention import needs_pytorch
from .bundle import ModelBundle
from .networks import DEFAULT_NETWORK
from .networks.resnet_stages import BLOCKS
from .onnx_runner import OnnxRunner, import_silently

if TYPE_CHECKING:
    from .torch_runner import TorchRunner

PACKAGES = {RuntimeLibrary.TORCH: "torch", RuntimeLibrary.ONNX: "onnxruntime"}
"""Package of each library; the first that is installed is taken."""
_NAMES = {RuntimeLibrary.TORCH: "PyTorch", RuntimeLibrary.ONNX: "ONNX Runtime"}


def is_installed(runtime: str) -> bool:
    """Whether a library is installed, or any of them for "auto". Imports none.

    Parameters
    ----------
    runtime : str
        One of `RuntimeLibrary`.
    """
    names = PACKAGES.values() if runtime == RuntimeLibrary.AUTO else [PACKAGES[RuntimeLibrary(runtime)]]
    return any(importlib.util.find_spec(name) is not None for name in names)


def choose_library(name: str = "auto") -> RuntimeLibrary:
    """Check the name of a library; choose the first one that is installed for "auto". Imports none.

    Raises
    ------
    InputError
        If it is unknown.
    DependencyError
        If it is not installed.
    """
    RuntimeLibrary.check(name, "runtime")
    asked = PACKAGES if name == RuntimeLibrary.AUTO else [RuntimeLibrary(name)]
    for library in asked:
        if is_installed(library):
            return library
    names = " or ".join(_NAMES[library] for library in asked)
    raise DependencyError(_("{names} is needed to run a model, and it is not installed.").format(names=names))


def library_for(architecture: Mapping) -> RuntimeLibrary:
    """The library that a network needs: PyTorch, or "auto" where any will do."""
    runs = architecture.get("network", DEFAULT_NETWORK) in BLOCKS
    return RuntimeLibrary.AUTO if runs else RuntimeLibrary.TORCH


def soonest_ready(bundle: ModelBundle, device: str, stage: str, method: str) -> RuntimeLibrary:
    """The library with which a process that analyzes one scan is done soonest; "auto" where there is no choice.

    Importing PyTorch takes longer than all that ONNX Runtime does for one scan, even where there is a GPU.

    Parameters
    ----------
    bundle : ModelBundle
    device, stage, method : str
        As they were asked for.
    """
    suffices = library_for(bundle.metadata["architecture"]) == RuntimeLibrary.AUTO and not needs_pytorch(stage, method)
    if not suffices or device not in (Device.AUTO, Device.CPU):
        return RuntimeLibrary.AUTO
    try:
        import_silently()
    except ImportError:  # not installed, or a system library is missing
        return RuntimeLibrary.AUTO
    return RuntimeLibrary.ONNX


def load_runner(bundle: ModelBundle, device: str = "auto", runtime: str = "auto") -> TorchRunner | OnnxRunner:
    """Load the network of a bundle.

    Parameters
    ----------
    bundle : ModelBundle
    device, runtime : str
        As in `ICHMultiTaskLib.analysis.analyzer.Analyzer`.
    """
    if choose_library(runtime) == RuntimeLibrary.ONNX:
        return OnnxRunner.load(bundle, device)
    from .torch_runner import TorchRunner

    return TorchRunner.load(bundle, device)
