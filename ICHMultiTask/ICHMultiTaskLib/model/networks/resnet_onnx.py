"""3D ResNets as ONNX graphs, made from the weights of a bundle. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...common.choices import Stage
from ...common.errors import InputError
from ...common.translation import tr as _
from ..clinical import HIDDEN_UNITS
from ..onnx_format import OnnxGraph
from . import DEFAULT_NETWORK
from .geometry import triple
from .resnet_stages import BLOCKS, EXPANSION, Block, resnet_stages

LAST = Stage.STAGE4.value
NORM_EPSILON = 1e-5
"""PyTorch's default, which the networks keep."""
_NORM = ("weight", "bias", "running_mean", "running_var")


class _Convolution(NamedTuple):
    """A convolution with batch norm; `name` and `norm` are those of their weights."""

    name: str
    norm: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)


class ResNetOnnx:
    """The encoder of a 3D ResNet as an ONNX graph.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Names and shapes of the network's weights, as in its ``state_dict``.
    channels : int
        Of the last stage's features.
    geometry : Geometry
        Of the last stage's features.

    Parameters
    ----------
    architecture : dict
        Of a bundle.

    Raises
    ------
    InputError
        If it is not that of a 3D ResNet.
    """

    def __init__(self, architecture: Mapping):
        arguments = {"width": 64, "stem_stride": 2, "stage_strides": (1, 2, 2, 2), "dense_from": None, **architecture}
        network, clinical = arguments.get("network", DEFAULT_NETWORK), arguments.get("clinical", 0)
        if network not in BLOCKS:
            raise InputError(
                _("The model needs PyTorch: ONNX Runtime runs the networks {blocks} only, found {network!r}.").format(
                    blocks=", ".join(BLOCKS), network=network
                )
            )
        width, expansion = arguments["width"], EXPANSION if network == "resnet50" else 1
        self._stem = _Convolution("stem.0", "stem.1", 1, width, 7, triple(arguments["stem_stride"]))
        kept = {key: arguments[key] for key in ("width", "stem_stride", "stage_strides", "dense_from")}
        stages = list(resnet_stages(BLOCKS[network], expansion, **kept))
        self._blocks = [
            _layers(f"{name}.{n}", b, expansion) for name, blocks, _ in stages for n, b in enumerate(blocks)
        ]
        blocks, self.geometry = stages[-1][1:]
        self.channels = expansion * blocks[-1].filters
        self.shapes = self._shapes(clinical)

    def _shapes(self, clinical):
        shapes = {}
        further = [layer for main, shortcut in self._blocks for layer in (*main, shortcut) if layer is not None]
        for layer in (self._stem, *further):
            shapes[f"{layer.name}.weight"] = (layer.out_channels, layer.in_channels, *triple(layer.kernel))
            shapes |= {f"{layer.norm}.{part}": (layer.out_channels,) for part in _NORM}
            shapes[f"{layer.norm}.num_batches_tracked"] = ()
        for head, outputs in (("volume_head", 1), ("prognosis_head", 2)):
            shapes |= {f"{head}.dense.weight": (outputs, self.channels, 1, 1, 1), f"{head}.dense.bias": (outputs,)}
        if clinical:
            shapes |= {"clinical.hidden.weight": (HIDDEN_UNITS, clinical), "clinical.hidden.bias": (HIDDEN_UNITS,)}
            shapes["clinical.dense.weight"] = (2, HIDDEN_UNITS)
        return shapes

    def model(self, weights: Mapping[str, np.ndarray], shape: Sequence[int]) -> bytes:
        """The graph from "image" [1, 1, D, H, W] to the features of the last stage, [1, C, d, h, w].

        Parameters
        ----------
        weights : dict of str to ndarray
            With the names and shapes of `shapes`.
        shape : sequence of int
            D, H and W.
        """
        graph = OnnxGraph()
        x = graph.node("Relu", _add(graph, self._stem, "image", weights))
        x = graph.node("MaxPool", x, kernel_shape=(3, 3, 3), strides=(2, 2, 2), pads=(1,) * 6)
        for n, (main, shortcut) in enumerate(self._blocks):
            identity = x if shortcut is None else _add(graph, shortcut, x, weights)
            for layer in main[:-1]:
                x = graph.node("Relu", _add(graph, layer, x, weights))
            x = graph.node("Add", _add(graph, main[-1], x, weights), identity)
            x = graph.node("Relu", x, name=LAST if n == len(self._blocks) - 1 else "")
        return graph.model({"image": (1, 1, *shape)}, {LAST: (1, self.channels, "depth", "height", "width")})


def _layers(name: str, block: Block, expansion: int):
    """Convolutions of a residual block one after the other, and that of its shortcut, None where the shape stays."""
    out, (first, later) = expansion * block.filters, block.dilations
    if expansion == 1:
        kinds = [(3, block.stride, first), (3, (1, 1, 1), later)]
    else:
        kinds = [(1, (1, 1, 1), (1, 1, 1)), (3, block.stride, first), (1, (1, 1, 1), (1, 1, 1))]
    main, channels = [], block.in_channels
    for n, (kernel, stride, dilation) in enumerate(kinds, start=1):
        filters = out if n == len(kinds) else block.filters
        main.append(_Convolution(f"{name}.conv{n}", f"{name}.bn{n}", channels, filters, kernel, stride, dilation))
        channels = filters
    if block.in_channels == out and block.stride == (1, 1, 1):
        return main, None
    return main, _Convolution(f"{name}.shortcut.0", f"{name}.shortcut.1", block.in_channels, out, 1, block.stride)


def _add(graph, layer, x, weights):
    """Add a convolution to a graph, with its batch norm folded in."""
    gain, bias, mean, variance = (weights[f"{layer.norm}.{part}"].astype(np.float64) for part in _NORM)
    scale = gain / np.sqrt(variance + NORM_EPSILON)
    kernel = weights[f"{layer.name}.weight"].astype(np.float32) * scale[:, None, None, None, None].astype(np.float32)
    padding = tuple(step * (layer.kernel // 2) for step in layer.dilation)
    return graph.node(
        "Conv",
        x,
        graph.constant(kernel),
        graph.constant(bias - mean * scale),
        kernel_shape=triple(layer.kernel),
        strides=layer.stride,
        dilations=layer.dilation,
        pads=padding * 2,
    )
