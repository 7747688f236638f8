"""X3D-M: channel-wise 3D convolutions in inverted bottlenecks, with squeeze and excitation.

Feichtenhofer 2020 (doi 10.1109/CVPR42600.2020.00028), table 1; the author's code: facebookresearch/SlowFast.
"""

from __future__ import annotations

import torch
from torch import nn

from .base import STAGES, MultiTaskNetwork, start_of_convolutions
from .geometry import Geometry
from .resnet import projection

BLOCKS = (3, 5, 11, 7)
"""Blocks of X3D-S and X3D-M, which differ only in their input."""
EXPANSION = 2.25
"""Channels inside a block, as a multiple of those between blocks."""
SQUEEZE = 16
HIDDEN = 2048
"""Nodes of the dense layer after the pool, at the published width of 24."""


class SqueezeExcitation(nn.Module):
    """Channels weighted by their averages over the image (Hu et al. 2018, doi 10.1109/CVPR.2018.00745)."""

    def __init__(self, channels: int):
        super().__init__()
        # A sixteenth, in steps of eight.
        squeezed = max(8, int(channels / SQUEEZE + 4) // 8 * 8)
        squeezed += 8 * (squeezed < 0.9 * channels / SQUEEZE)
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv3d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weight the channels of features [N, C, d, h, w]."""
        return x * self.layers(x)


class InvertedBlock(nn.Module):
    """1×1×1, channel-wise 3×3×3, and 1×1×1 convolution; every second block has squeeze and excitation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int | tuple[int, int, int], excites: bool):
        super().__init__()
        inside = int(EXPANSION * out_channels)
        self.branch = nn.Sequential(
            nn.Conv3d(in_channels, inside, 1, bias=False),
            nn.BatchNorm3d(inside),
            nn.ReLU(inplace=True),
            nn.Conv3d(inside, inside, 3, stride, padding=1, groups=inside, bias=False),
            nn.BatchNorm3d(inside),
            SqueezeExcitation(inside) if excites else nn.Identity(),
            nn.SiLU(inplace=True),
            nn.Conv3d(inside, out_channels, 1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.shortcut = projection(in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        return self.relu(self.branch(x) + identity)


class X3D(MultiTaskNetwork):
    """X3D-M; any input size. Its strides are in-plane only: every stage has all slices.

    Parameters
    ----------
    width : int
        Channels of the stem and first stage (24 in the publication), doubled in each later stage.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Dropout before the heads, in training.
    """

    def __init__(self, width: int = 24, final_relu: bool = True, dropout: float = 0.5):
        super().__init__()
        geometry, in_plane = Geometry(), (1, 2, 2)
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, (1, 3, 3), in_plane, padding=(0, 1, 1), bias=False),
            nn.Conv3d(width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        geometry.add(in_plane)
        channels = width
        for n, (name, blocks) in enumerate(zip(STAGES, BLOCKS)):
            out_channels = width * 2**n
            layers = [InvertedBlock(channels, out_channels, in_plane, True)]
            layers += [InvertedBlock(out_channels, out_channels, 1, m % 2 == 0) for m in range(1, blocks)]
            geometry.add(in_plane)
            channels = out_channels
            if name == STAGES[-1]:
                inside = int(EXPANSION * channels)
                layers += [nn.Conv3d(channels, inside, 1, bias=False), nn.BatchNorm3d(inside), nn.ReLU(inplace=True)]
                channels = inside
            self.add_stage(name, nn.Sequential(*layers), geometry, channels)
        hidden = round(HIDDEN * width / 24)
        neck = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        architecture = {"width": width, "final_relu": final_relu, "dropout": dropout}
        self.finish(architecture, final_relu, neck, hidden)
        start_of_convolutions(self)
        for module in self.modules():
            if isinstance(module, InvertedBlock):  # before training, a block equals its shortcut
                nn.init.zeros_(module.branch[-1].weight)
