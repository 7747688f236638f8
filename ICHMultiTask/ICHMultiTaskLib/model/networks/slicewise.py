"""A 2D ResNet that runs on each slice, for methods that mix neighboring slices before its convolutions.

Lin et al. 2019 and Shao et al. 2020 build TSM and TIN on it, each with its own module at the start of the residual
branch of every block. As 2D convolutions are 3D ones of 1×k×k, slices need no regrouping.
"""

from __future__ import annotations

import torch
from torch import nn

from .base import STAGES, MultiTaskNetwork, start_of_convolutions
from .geometry import Geometry
from .resnet import projection

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def _convolution(in_channels, out_channels, kernel, stride=1):
    half = kernel // 2
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, (1, kernel, kernel), (1, stride, stride), (0, half, half), bias=False),
        nn.BatchNorm3d(out_channels),
    )


class SlicewiseBlock(nn.Module):
    """A residual block whose branch begins with the module `meeting`, which mixes neighboring slices.

    Two 1×3×3 convolutions; with an `expansion` of 4, one 1×3×3 convolution between two 1×1×1 convolutions.
    """

    def __init__(
        self, in_channels: int, filters: int, stride: int | tuple[int, int, int], expansion: int, meeting: nn.Module
    ):
        super().__init__()
        self.meeting = meeting
        if expansion == 1:
            convolutions = [_convolution(in_channels, filters, 3, stride), _convolution(filters, filters, 3)]
        else:
            convolutions = [
                _convolution(in_channels, filters, 1),
                _convolution(filters, filters, 3, stride),
                _convolution(filters, expansion * filters, 1),
            ]
        self.convolutions = nn.ModuleList(convolutions)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = projection(in_channels, expansion * filters, (1, stride, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.meeting(x)
        for convolution in self.convolutions[:-1]:
            x = self.relu(convolution(x))
        return self.relu(self.convolutions[-1](x) + identity)


class SlicewiseResNet(MultiTaskNetwork):
    """ResNet with `layers` layers and in-plane strides; subclasses define in `meeting` how slices are mixed."""

    layers = 18

    def build(self, architecture: dict, width: int, final_relu: bool, dropout: float) -> None:
        """Create the layers and heads. Linear heads on pooled features equal the publications' mean of slice scores.

        Parameters
        ----------
        architecture : dict
        width : int
            Filters of the stem and first stage, doubled in each later stage.
        final_relu : bool
        dropout : float
        """
        geometry, expansion = Geometry(), 4 if self.layers >= 50 else 1
        self.stem = nn.Sequential(
            *_convolution(1, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        )
        geometry.add((1, 4, 4))
        channels = width
        for n, (name, blocks) in enumerate(zip(STAGES, BLOCKS[self.layers])):
            filters, stride, stage = width * 2**n, 2 if n else 1, []
            geometry.add((1, stride, stride))
            for _ in range(blocks):
                stage.append(SlicewiseBlock(channels, filters, stride, expansion, self.meeting(channels)))
                channels, stride = expansion * filters, 1
            self.add_stage(name, nn.Sequential(*stage), geometry, channels)
        neck = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Dropout(dropout))
        self.finish(architecture, final_relu, neck)
        start_of_convolutions(self)

    def meeting(self, channels: int) -> nn.Module:
        """The module before the first convolution of a block with this many input channels."""
        raise NotImplementedError
