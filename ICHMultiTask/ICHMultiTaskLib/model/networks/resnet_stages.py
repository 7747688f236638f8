"""The blocks of 3D ResNets, whichever library runs them. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...common.choices import Stage
from .geometry import Geometry, triple

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
"""Blocks of each stage, by the network's name in the registry."""
EXPANSION = 4
"""Output channels of a bottleneck block, as a multiple of its filters; the blocks of other ResNets have 1."""


class Block(NamedTuple):
    """Arguments of a residual block: its stride, and the dilations of its first and its later convolutions."""

    in_channels: int
    filters: int
    stride: tuple[int, int, int]
    dilations: tuple[tuple[int, int, int], tuple[int, int, int]]


def resnet_stages(
    blocks: Sequence[int],
    expansion: int,
    width: int,
    stem_stride: int | Sequence[int],
    stage_strides: Sequence[int | Sequence[int]],
    dense_from: str | None,
) -> Iterator[tuple[str, list[Block], Geometry]]:
    """Yield (name, blocks, geometry of the features) of each stage.

    Parameters
    ----------
    blocks : sequence of int
        How many each stage has.
    expansion : int
        See `EXPANSION`.
    width, stem_stride, stage_strides, dense_from
        As in `ICHMultiTaskLib.model.networks.resnet.MultiTaskResNet`.

    Raises
    ------
    ValueError
        If the stages of the arguments are not those of the network.
    """
    names = Stage.values()
    if len(stage_strides) != len(names):
        raise ValueError(f"stage_strides has {len(stage_strides)} entries; expected {len(names)}.")
    if dense_from is not None and dense_from not in names:
        raise ValueError(f"dense_from is {dense_from!r}; expected one of {', '.join(names)}.")
    channels, dilation, is_dense, geometry = width, (1, 1, 1), False, Geometry()
    geometry.add(triple(stem_stride))
    geometry.add(2)  # the pooling of the stem
    for n, (name, count) in enumerate(zip(names, blocks)):
        filters, stride, before = width * 2**n, triple(stage_strides[n]), dilation
        is_dense |= name == dense_from
        if is_dense:
            dilation = tuple(d * s for d, s in zip(dilation, stride))
            stride = (1, 1, 1)
        first = Block(channels, filters, stride, (before, dilation))
        channels = expansion * filters
        further = Block(channels, filters, (1, 1, 1), (dilation, dilation))
        geometry.add(stride)
        yield name, [first, *[further] * (count - 1)], geometry
