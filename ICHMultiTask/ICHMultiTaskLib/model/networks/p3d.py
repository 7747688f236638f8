"""P3D ResNet-50: pseudo-3D blocks of a 1×3×3 and a 3×1×1 convolution, in three alternating kinds.

Qiu et al. 2017 (doi 10.1109/ICCV.2017.590), figure 3 and section 3.3; the authors' code:
ZhaofanQiu/pseudo-3d-residual-networks.
"""

from __future__ import annotations

import torch
from torch import nn

from .base import STAGES, MultiTaskNetwork, start_of_convolutions
from .geometry import Geometry
from .resnet import projection

BLOCKS = (3, 4, 6, 3)
KINDS = ("A", "B", "C")
"""A: within the slices, then across them. B: both in parallel. C: like A, with a shortcut around the second."""


def _convolution(in_channels, out_channels, kernel, stride=1):
    padding = tuple(k // 2 for k in kernel)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False), nn.BatchNorm3d(out_channels)
    )


class PseudoBlock(nn.Module):
    """A bottleneck block of kind A, B or C; without a kind, its only convolution is within the slices."""

    expansion = 4

    def __init__(self, in_channels: int, filters: int, stride: int | tuple[int, int, int], kind: str | None):
        super().__init__()
        self.kind = kind
        self.reduce = _convolution(in_channels, filters, (1, 1, 1), stride)
        self.within = _convolution(filters, filters, (1, 3, 3))
        self.across = _convolution(filters, filters, (3, 1, 1)) if kind else None
        self.expand = _convolution(filters, self.expansion * filters, (1, 1, 1))
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = projection(in_channels, self.expansion * filters, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.relu(self.reduce(x))
        within = self.relu(self.within(x))
        if self.kind == "A":
            x = self.relu(self.across(within))
        elif self.kind == "B":
            x = self.relu(within + self.across(x))
        elif self.kind == "C":
            x = self.relu(0.5 * (within + self.across(within)))
        else:
            x = within
        return self.relu(self.expand(x) + identity)


class P3D50(MultiTaskNetwork):
    """P3D ResNet-50; any input of at least 16 slices.

    The number of slices is halved by the first pool and before each of the later stages; the last stage has only
    convolutions within the slices.

    Parameters
    ----------
    width : int
        Filters of the stem (64 in the publication); later stages double those of the first.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Dropout before the heads, in training.
    """

    def __init__(self, width: int = 64, final_relu: bool = True, dropout: float = 0.5):
        super().__init__()
        geometry, in_plane = Geometry(), (1, 2, 2)
        self.stem = nn.Sequential(
            *_convolution(1, width, (1, 7, 7), in_plane),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((2, 3, 3), 2, padding=(0, 1, 1)),
        )
        geometry.add(in_plane)
        geometry.add(2, (0.5, 0, 0))
        channels, number = width, 0
        for n, (name, blocks) in enumerate(zip(STAGES, BLOCKS)):
            filters, layers, stride = width * 2**n, [], 1
            if n:
                layers, stride = [nn.MaxPool3d((2, 1, 1))], in_plane
                geometry.add((2, 1, 1), (0.5, 0, 0))
                geometry.add(in_plane)
            for _ in range(blocks):
                kind = KINDS[number % len(KINDS)] if name != STAGES[-1] else None
                layers.append(PseudoBlock(channels, filters, stride, kind))
                channels, stride, number = PseudoBlock.expansion * filters, 1, number + 1
            self.add_stage(name, nn.Sequential(*layers), geometry, channels)
        architecture = {"width": width, "final_relu": final_relu, "dropout": dropout}
        neck = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Dropout(dropout))
        self.finish(architecture, final_relu, neck)
        start_of_convolutions(self)
