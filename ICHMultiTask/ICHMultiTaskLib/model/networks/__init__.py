"""Networks, one file each; training settings and bundle metadata name them as in this registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...common.registry import Registry

if TYPE_CHECKING:
    from .base import MultiTaskNetwork

NETWORKS = Registry(
    "network",
    __package__,
    {
        "resnet34": ("3D ResNet-34", ".resnet:MultiTaskResNet"),
        "resnet18": ("3D ResNet-18", ".resnet:ResNet18"),
        "resnet50": ("3D ResNet-50", ".resnet:ResNet50"),
        "densenet121": ("3D DenseNet-121", ".densenet:DenseNet121"),
        "x3d": ("X3D-M", ".x3d:X3D"),
        "r2plus1d18": ("R(2+1)D-18", ".r2plus1d:R2Plus1D18"),
        "r2plus1d34": ("R(2+1)D-34", ".r2plus1d:R2Plus1D34"),
        "p3d50": ("P3D ResNet-50", ".p3d:P3D50"),
        "tsm18": ("TSM, ResNet-18", ".tsm:TSM18"),
        "tsm34": ("TSM, ResNet-34", ".tsm:TSM34"),
        "tsm50": ("TSM, ResNet-50", ".tsm:TSM50"),
        "tin18": ("TIN, ResNet-18", ".tin:TIN18"),
        "tin34": ("TIN, ResNet-34", ".tin:TIN34"),
        "tin50": ("TIN, ResNet-50", ".tin:TIN50"),
        "timesformer": ("TimeSformer", ".timesformer:TimeSformer"),
        "uniformizing3d": ("Uniformizing-3D", ".uniformizing:Uniformizing3D"),
        "ensemble": ("Several networks as one", ".ensemble:Ensemble"),
    },
)

TRAINABLE = tuple(name for name in NETWORKS if name != "ensemble")
"""Networks that can be trained; an ensemble is made from bundles of them."""

_STRIDED = ("width", "stem_stride", "stage_strides", "final_relu", "dense_from")
_PLAIN = ("width", "final_relu")
_DROPOUT = (*_PLAIN, "dropout")
ARGUMENTS = {
    "resnet34": _STRIDED,
    "resnet18": _STRIDED,
    "resnet50": _STRIDED,
    "densenet121": _PLAIN,
    "x3d": _DROPOUT,
    "r2plus1d18": _PLAIN,
    "r2plus1d34": _PLAIN,
    "p3d50": _DROPOUT,
    "tsm18": _DROPOUT,
    "tsm34": _DROPOUT,
    "tsm50": _DROPOUT,
    "tin18": (*_DROPOUT, "slices"),
    "tin34": (*_DROPOUT, "slices"),
    "tin50": (*_DROPOUT, "slices"),
    "timesformer": (*_PLAIN, "grid", "drop_path"),
    "uniformizing3d": (*_DROPOUT, "padding"),
}
"""Keyword arguments of each network's class, available without PyTorch."""

PUBLISHED_WIDTHS = dict.fromkeys(TRAINABLE, 64) | {"x3d": 24, "timesformer": 768}
"""Channels of each network's first layer, as published; the default of the argument `width`."""

DEFAULT_NETWORK = "resnet34"
"""Network of bundles that were made before the metadata had its name."""


def built_for(network: str, shape_kji: Sequence[int]) -> dict:
    """Arguments of a network that is built for one size of input, such as its number of slices; empty for others."""
    sizes = {"slices": shape_kji[0], "grid": list(shape_kji)}
    return {name: value for name, value in sizes.items() if name in ARGUMENTS[network]}


def build_network(architecture: Mapping) -> MultiTaskNetwork:
    """Build a network with random weights.

    Parameters
    ----------
    architecture : dict
        Keyword arguments of the network's class, its name in the registry as `network`, and the number of clinical
        inputs of its prognosis head as `clinical` (none if missing).

    Returns
    -------
    MultiTaskNetwork
        Its `architecture` builds the same network again.

    Raises
    ------
    InputError
        If there is no network of that name.
    TypeError, ValueError
        If the class does not have these arguments.
    """
    arguments = dict(architecture)
    name, clinical = arguments.pop("network", DEFAULT_NETWORK), arguments.pop("clinical", 0)
    network = NETWORKS[name](**arguments)
    network.architecture = {"network": name} | network.architecture
    if clinical:
        network.take_clinical(clinical)
    return network
