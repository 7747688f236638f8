"""Networks, one file each; this registry is what the settings of a training and a bundle's metadata name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...common.registry import Registry

if TYPE_CHECKING:
    from .base import MultiTaskNetwork

NETWORKS = Registry(
    "network",
    __package__,
    {
        "resnet34": ("3D ResNet-34", ".resnet:MultiTaskResNet"),
        "ensemble": ("Several networks as one", ".ensemble:Ensemble"),
    },
)

DEFAULT_NETWORK = "resnet34"
"""Of bundles made before they named their network."""


def build_network(architecture: Mapping) -> MultiTaskNetwork:
    """Build a network with random weights.

    Parameters
    ----------
    architecture : dict
        Keyword arguments of the network's class and, as `network`, its name in the registry.

    Returns
    -------
    MultiTaskNetwork
        Its `architecture` builds the same again.

    Raises
    ------
    InputError
        If there is no network of that name.
    TypeError, ValueError
        If the class does not take these arguments.
    """
    arguments = dict(architecture)
    name = arguments.pop("network", DEFAULT_NETWORK)
    network = NETWORKS[name](**arguments)
    network.architecture = {"network": name} | network.architecture
    return network
