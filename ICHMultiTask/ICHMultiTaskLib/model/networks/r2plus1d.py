"""R(2+1)D: each 3D convolution split into one within the slices and one across them.

Tran et al. 2018 (doi 10.1109/CVPR.2018.00675), sections 3.4 and 3.5; the authors' code: facebookresearch/VMZ.
"""

from __future__ import annotations

from torch import nn

from .base import STAGES, MultiTaskNetwork, start_of_convolutions
from .geometry import Geometry
from .resnet import ResidualBlock, projection


def middle_channels(in_channels: int, out_channels: int) -> int:
    """Filters of the convolution within the slices, so that the pair has as many weights as a 3×3×3 convolution."""
    return 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)


def split_convolution(
    in_channels: int,
    out_channels: int,
    stride: int | tuple[int, int, int] = 1,
    kernel: int = 3,
    middle: int | None = None,
) -> nn.Sequential:
    """1×k×k convolution, batch norm, ReLU and 3×1×1 convolution; the stride is for all axes, or a triple."""
    depth, height, width = (stride,) * 3 if isinstance(stride, int) else stride
    middle = middle or middle_channels(in_channels, out_channels)
    half = kernel // 2
    return nn.Sequential(
        nn.Conv3d(in_channels, middle, (1, kernel, kernel), (1, height, width), (0, half, half), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, out_channels, (3, 1, 1), (depth, 1, 1), (1, 0, 0), bias=False),
    )


class SplitBlock(ResidualBlock):
    """A residual block of two split convolutions."""

    def __init__(self, in_channels: int, filters: int, stride: int | tuple[int, int, int]):
        super().__init__(
            split_convolution(in_channels, filters, stride),
            split_convolution(filters, filters),
            filters,
            projection(in_channels, filters, stride),
        )


class R2Plus1D18(MultiTaskNetwork):
    """R(2+1)D with 18 layers; any input size.

    Parameters
    ----------
    width : int
        Filters of the first stage (64 in the publication), doubled in each later stage.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    """

    blocks = (2, 2, 2, 2)

    def __init__(self, width: int = 64, final_relu: bool = True):
        super().__init__()
        geometry = Geometry()
        self.stem = nn.Sequential(
            *split_convolution(1, width, (1, 2, 2), kernel=7, middle=max(1, round(width * 45 / 64))),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        geometry.add((1, 2, 2))
        channels = width
        for n, (name, blocks) in enumerate(zip(STAGES, self.blocks)):
            filters, stride = width * 2**n, 2 if n else 1
            layers = [SplitBlock(channels, filters, stride)]
            layers += [SplitBlock(filters, filters, 1) for _ in range(blocks - 1)]
            geometry.add(stride)
            channels = filters
            self.add_stage(name, nn.Sequential(*layers), geometry, channels)
        self.finish({"width": width, "final_relu": final_relu}, final_relu)
        start_of_convolutions(self)


class R2Plus1D34(R2Plus1D18):
    """R(2+1)D with 34 layers; parameters as in `R2Plus1D18`."""

    blocks = (3, 4, 6, 3)
