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

BEFORE_LAST, LAST = Stage.STAGE3.value, Stage.STAGE4.value
GRADIENT = "gradient"
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


class _Block(NamedTuple):
    """A residual block: `name` is that of its output; convolutions one after the other, and that of its shortcut."""

    name: str
    main: list[_Convolution]
    shortcut: _Convolution | None
    """None where the shape stays."""


class ResNetOnnx:
    """The encoder of a 3D ResNet as ONNX graphs: forward, and backward through its last stage.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Names and shapes of the network's weights, as in its ``state_dict``.
    channels, strides, offsets : dict
        By stage, of its features: as `stage_channels`, `feature_strides` and `feature_offsets` of `MultiTaskNetwork`.
    outputs : tuple of str
        What the forward graph gives: the features of the last two stages, and what the other ReLUs of the last one let
        through.

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
        self._blocks, self.channels, self.strides, self.offsets = [], {}, {}, {}
        for stage, blocks, geometry in resnet_stages(BLOCKS[network], expansion, **kept):
            self._last = [_block(f"{stage}.{n}", block, expansion) for n, block in enumerate(blocks)]
            self._last[-1] = self._last[-1]._replace(name=stage)
            self._blocks += self._last
            self.channels[stage] = expansion * blocks[-1].filters
            self.strides[stage], self.offsets[stage] = geometry.stride, geometry.offset
        self.shapes = self._shapes(clinical)
        inner = [name for block in self._last for name in (*(layer.name for layer in block.main[:-1]), block.name)]
        self.outputs = (BEFORE_LAST, *inner)

    def _shapes(self, clinical):
        shapes = {}
        further = [layer for block in self._blocks for layer in (*block.main, block.shortcut) if layer is not None]
        for layer in (self._stem, *further):
            shapes[f"{layer.name}.weight"] = (layer.out_channels, layer.in_channels, *triple(layer.kernel))
            shapes |= {f"{layer.norm}.{part}": (layer.out_channels,) for part in _NORM}
            shapes[f"{layer.norm}.num_batches_tracked"] = ()
        for head, outputs in (("volume_head", 1), ("prognosis_head", 2)):
            shapes |= {
                f"{head}.dense.weight": (outputs, self.channels[LAST], 1, 1, 1),
                f"{head}.dense.bias": (outputs,),
            }
        if clinical:
            shapes |= {"clinical.hidden.weight": (HIDDEN_UNITS, clinical), "clinical.hidden.bias": (HIDDEN_UNITS,)}
            shapes["clinical.dense.weight"] = (2, HIDDEN_UNITS)
        return shapes

    def forward(self, weights: Mapping[str, np.ndarray], shape: Sequence[int]) -> bytes:
        """The graph from "image" [1, 1, D, H, W] to `outputs`, each [1, C, d, h, w].

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
        for block in self._blocks:
            identity = x if block.shortcut is None else _add(graph, block.shortcut, x, weights)
            for layer in block.main[:-1]:
                x = graph.node("Relu", _add(graph, layer, x, weights), name=layer.name)
            x = graph.node("Add", _add(graph, block.main[-1], x, weights), identity)
            x = graph.node("Relu", x, name=block.name)
        return graph.model({"image": (1, 1, *shape)}, _shapes(*self.outputs))

    def backward(self, weights: Mapping[str, np.ndarray], shape: Sequence[int]) -> bytes:
        """The graph from the gradient of a score at the end of the last stage to that at its start, "gradient".

        Its inputs are that gradient, "pooled" [1, C, 1, 1, 1], since the score sees the mean of each channel, and
        `outputs` of the last stage. Parameters as in `forward`.
        """
        graph, gradient = OnnxGraph(), "pooled"
        sizes = [(n - 1) // stride + 1 for n, stride in zip(shape, self.strides[BEFORE_LAST])]
        for n, block in enumerate(reversed(self._last), start=1):
            gradient = shortcut = _through_relu(graph, gradient, block.name)
            for layer, before in zip(block.main[:0:-1], block.main[-2::-1]):
                gradient = _through_relu(graph, _transposed(graph, layer, gradient, weights, sizes), before.name)
            gradient = _transposed(graph, block.main[0], gradient, weights, sizes)
            if block.shortcut is not None:
                shortcut = _transposed(graph, block.shortcut, shortcut, weights, sizes)
            gradient = graph.node("Add", gradient, shortcut, name=GRADIENT if n == len(self._last) else "")
        inputs = {"pooled": (1, self.channels[LAST], 1, 1, 1)} | _shapes(*self.outputs[1:])
        return graph.model(inputs, _shapes(GRADIENT))


def _shapes(*names):
    """Shapes [1, C, d, h, w] of features, with a name for each size."""
    return {name: (1, *(f"{axis} of {name}" for axis in ("channels", "depth", "height", "width"))) for name in names}


def _block(name: str, block: Block, expansion: int):
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
        return _Block(name, main, None)
    shortcut = _Convolution(f"{name}.shortcut.0", f"{name}.shortcut.1", block.in_channels, out, 1, block.stride)
    return _Block(name, main, shortcut)


def _folded(layer, weights):
    """Kernel and bias of a convolution with its batch norm folded in, and the attributes of its node."""
    gain, bias, mean, variance = (weights[f"{layer.norm}.{part}"].astype(np.float64) for part in _NORM)
    scale = gain / np.sqrt(variance + NORM_EPSILON)
    kernel = weights[f"{layer.name}.weight"].astype(np.float32) * scale[:, None, None, None, None].astype(np.float32)
    padding = tuple(step * (layer.kernel // 2) for step in layer.dilation)
    attributes = {
        "kernel_shape": triple(layer.kernel),
        "strides": layer.stride,
        "dilations": layer.dilation,
        "pads": padding * 2,
    }
    return kernel, bias - mean * scale, attributes


def _add(graph, layer, x, weights):
    """Add a convolution to a graph."""
    kernel, bias, attributes = _folded(layer, weights)
    return graph.node("Conv", x, graph.constant(kernel), graph.constant(bias), **attributes)


def _transposed(graph, layer, gradient, weights, sizes):
    """Add the gradient of a convolution; `sizes` are those of the stage's input, as strides have only its first layers.

    Inputs of several sizes give an output of one size where there is a stride.
    """
    kernel, _bias, attributes = _folded(layer, weights)
    if max(layer.stride) == 1:  # then it is a convolution with the mirrored kernel, which runs faster
        return graph.node("Conv", gradient, graph.constant(kernel.swapaxes(0, 1)[..., ::-1, ::-1, ::-1]), **attributes)
    missing = [(n - 1) % stride for n, stride in zip(sizes, layer.stride)]
    return graph.node("ConvTranspose", gradient, graph.constant(kernel), output_padding=missing, **attributes)


def _through_relu(graph, gradient, output):
    """Add the gradient of a ReLU: it passes where the ReLU let something through, which is nowhere negative."""
    return graph.node("Mul", gradient, graph.node("Sign", output))
