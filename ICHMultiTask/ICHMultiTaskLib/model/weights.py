"""The weights file of a model bundle: its number formats, its checks, writing and reading.

A safetensors file with the names of the network's ``state_dict``. Norms, biases and statistics are float32: they are
small and span many orders of magnitude. Tensors of two and more axes, nearly the whole file, are in one of two formats:

``half``
    float16.
``int8``
    int8 for the convolution and dense weights of stages 3 and 4, which hold most of a network; float16 for the others,
    since rounding in the first layers and the heads would change the results more. Tokens and embeddings also stay in
    float16. Each int8 tensor ``NAME`` has a tensor ``NAME.scale``, float32 of shape [output channels]: a weight is
    integer × scale of its channel. The integers are rounded to the nearest and lie between −127 and 127; the largest
    of a channel is 127, and 0 is exactly 0.

Weights that are read and stored again in the same format stay the same, bit by bit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.choices import Stage, Weights
from ..common.errors import BundleError, DependencyError
from ..common.translation import tr as _

if TYPE_CHECKING:
    import torch

WEIGHTS = "models/model.safetensors"
"""Path in the bundle's folder."""

STAGES_IN_INT8 = (Stage.STAGE3, Stage.STAGE4)
LARGEST_INTEGER = 127


def weights_format(metadata: Mapping, folder: str | os.PathLike) -> Weights:
    """Format of the weights of the bundle in `folder`, from its metadata; "half" if missing there.

    Raises
    ------
    BundleError
        If the format is unknown.
    """
    found = metadata.get("weights", Weights.HALF)
    if found not in Weights.values():
        raise BundleError(
            _(
                "The weights of the model bundle {folder} are in a format that this version cannot read: "
                "expected {values}, found {found!r}."
            ).format(folder=folder, values=" or ".join(Weights.values()), found=found)
        )
    return Weights(found)


def pack(state: Mapping[str, torch.Tensor], weights: str) -> bytes:
    """Pack weights into the content of a weights file.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        A network's ``state_dict``.
    weights : str
        One of `Weights`.

    Raises
    ------
    BundleError
        If a weight is not finite in its format.
    """
    import safetensors.torch

    return safetensors.torch.save(_stored(state, weights))


def unpack(data: bytes, expected: Mapping[str, Sequence[int]], folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the weights of a network from the content of a weights file. Needs no PyTorch.

    Parameters
    ----------
    data : bytes
    expected : dict of str to sequence of int
        Names and shapes of the weights of the network to load them into.
    folder : path-like
        The bundle's folder, for error messages.

    Returns
    -------
    dict of str to ndarray
        float16 if stored as such, else float32; counters are integers.

    Raises
    ------
    BundleError
        If the data are not a safetensors file, belong to another network, or lack a scale.
    DependencyError
    """
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise DependencyError(_("safetensors is needed to run a model, and it is not installed.")) from error
    try:
        stored = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise BundleError(
            _("{path} is not a safetensors file: {error}.").format(path=Path(folder) / WEIGHTS, error=error)
        ) from error
    _check_scales(stored, folder)
    state = _restored(stored)
    _check_names_and_shapes(state, expected, folder)
    return state


def as_stored(state: Mapping[str, torch.Tensor], weights: str) -> dict[str, torch.Tensor]:
    """State of a network after storing it in a format (one of `Weights`) and reading it back."""
    return _restored(_stored(state, weights))


def read_verified(folder: Path, sha256: str) -> bytes:
    """Content of the weights file of the bundle in `folder`.

    Raises
    ------
    BundleError
        If it cannot be read or its checksum is not `sha256`.
    """
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise BundleError(
            _("The model bundle {folder} is incomplete: expected {weights}, found no readable file.").format(
                folder=folder, weights=WEIGHTS
            )
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(
            _(
                "The weights of the model bundle {folder} were altered or cut off: expected SHA-256 "
                "{sha256}…, found {found}…."
            ).format(folder=folder, sha256=sha256[:12], found=found[:12])
        )
    return data


def _stored(state, weights):
    import torch

    stored = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            in_int8 = weights == Weights.INT8 and _may_be_int8(name, tensor)
            tensor = tensor.to(torch.float16 if tensor.ndim >= 2 and not in_int8 else torch.float32)
            if not torch.isfinite(tensor).all():
                raise BundleError(
                    _("The weight {name!r} is not finite: expected a network whose training converged.").format(
                        name=name
                    )
                )
            if in_int8:
                tensor, stored[_scale_of(name)] = _quantized(tensor)
        stored[name] = tensor.contiguous()
    return stored


def _may_be_int8(name, tensor):
    *modules, kind = name.split(".")  # an ensemble's names begin with those of its members
    return tensor.ndim >= 2 and kind == "weight" and any(stage in modules for stage in STAGES_IN_INT8)


def _scale_of(name):
    return f"{name}.scale"


def _quantized(tensor):
    """Integers of the tensor's shape, and the scale of each output channel."""
    import torch

    channels = tensor.flatten(1)
    # With the 8 significant bits of bfloat16, integer × scale is exact in float32, and storing it again is lossless.
    scale = (channels.abs().amax(1) / LARGEST_INTEGER).bfloat16().float()
    scale[scale < torch.finfo(torch.float32).tiny] = 0.0  # a channel of zeros
    integers = torch.where(scale[:, None] > 0, channels / scale[:, None], 0.0).round().to(torch.int8)
    return integers.view(tensor.shape), scale


def _restored(stored):
    """What was stored, as tensors or as arrays, without its integers."""
    state = dict(stored)
    for name, tensor in stored.items():
        if _is_int8(tensor):
            scale = state.pop(_scale_of(name))
            state[name] = tensor * scale.reshape(-1, *[1] * (tensor.ndim - 1))
    return state


def _is_int8(tensor):
    return str(tensor.dtype).removeprefix("torch.") == "int8"


def _check_scales(stored, folder):
    for name, tensor in stored.items():
        if not _is_int8(tensor):
            continue
        words = _(
            "The weight {name!r} of the model bundle {folder} has no usable scale: expected {scale!r}, float32 of "
            "shape {shape}, finite and not negative, found {found}."
        )
        facts = {"name": name, "folder": folder, "scale": _scale_of(name), "shape": list(tensor.shape[:1])}
        scale = stored.get(_scale_of(name))
        if scale is None:
            raise BundleError(words.format(**facts, found=_("none")))
        if scale.dtype != np.float32 or scale.shape != tensor.shape[:1]:
            found = _("{dtype} of shape {shape}").format(dtype=scale.dtype, shape=list(scale.shape))
            raise BundleError(words.format(**facts, found=found))
        unusable = scale[~(np.isfinite(scale) & (scale >= 0))]
        if len(unusable):
            raise BundleError(words.format(**facts, found=float(unusable[0])))


def _check_names_and_shapes(state, expected, folder):
    """Raise an error of one line; PyTorch's own message has many."""
    missing, foreign = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    other = [name for name in expected.keys() & state.keys() if tuple(expected[name]) != state[name].shape]
    if missing or foreign or other:
        raise BundleError(
            _(
                "The weights of the model bundle {folder} belong to another network: {count} weights are "
                "missing, {unknown} unknown and {other} of another shape, first {first!r}."
            ).format(
                folder=folder,
                count=len(missing),
                unknown=len(foreign),
                other=len(other),
                first=(missing + foreign + other)[0],
            )
        )
