"""3D DenseNet-121: the input of each layer of a block is the concatenated output of all layers before it.

Huang et al. 2017 (doi 10.1109/CVPR.2017.243); in 3D as in Hara et al. 2018 (doi 10.1109/CVPR.2018.00685).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .base import STAGES, MultiTaskNetwork, start_of_convolutions
from .geometry import Geometry

BLOCKS = (6, 12, 24, 16)
BOTTLENECK = 4
"""Filters of a layer's 1×1×1 convolution, as a multiple of those of its 3×3×3 convolution."""


def _norm_relu(channels):
    return [nn.BatchNorm3d(channels), nn.ReLU(inplace=True)]


class DenseLayer(nn.Module):
    """Adds `growth` channels, computed from all previous ones."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        middle = BOTTLENECK * growth
        self.layers = nn.Sequential(
            *_norm_relu(channels),
            nn.Conv3d(channels, middle, 1, bias=False),
            *_norm_relu(middle),
            nn.Conv3d(middle, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to [N, C + growth, d, h, w]."""
        return torch.cat([x, self.layers(x)], dim=1)


class Halving(nn.Module):
    """Average pool of two nodes along every axis; an axis of one node stays, as at the end for 16 slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to [N, C, ⌊d / 2⌋, ⌊h / 2⌋, ⌊w / 2⌋], none below 1."""
        return F.avg_pool3d(x, [min(2, nodes) for nodes in x.shape[2:]])


class DenseNet121(MultiTaskNetwork):
    """3D DenseNet-121; any input size.

    Between two blocks the channels and every axis are halved.

    Parameters
    ----------
    width : int
        Filters of the stem (64 in the publication); a layer adds half as many.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    """

    def __init__(self, width: int = 64, final_relu: bool = True):
        super().__init__()
        if width % 2:
            raise ValueError(f"width is {width}; expected an even number, since each layer adds half as many channels.")
        growth, channels, geometry = width // 2, width, Geometry()
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, 7, 2, padding=3, bias=False), *_norm_relu(width), nn.MaxPool3d(3, 2, padding=1)
        )
        geometry.add(4)
        for name, layers in zip(STAGES, BLOCKS):
            stage = []
            if name != STAGES[0]:
                stage = [*_norm_relu(channels), nn.Conv3d(channels, channels // 2, 1, bias=False), Halving()]
                channels //= 2
                geometry.add(2, 0.5)
            for _ in range(layers):
                stage.append(DenseLayer(channels, growth))
                channels += growth
            if name == STAGES[-1]:
                stage += _norm_relu(channels)
            self.add_stage(name, nn.Sequential(*stage), geometry, channels)
        self.finish({"width": width, "final_relu": final_relu}, final_relu)
        start_of_convolutions(self)
