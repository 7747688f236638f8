"""3D ResNets; the one with 34 layers is the paper's encoder, shared by a volume head and a prognosis head.

Gong et al. 2023, sections 3.2 to 3.4 (doi 10.3389/fnins.2023.1118340). He et al. 2016 for the blocks (doi
10.1109/CVPR.2016.90), Hara et al. 2018 for their form in 3D (doi 10.1109/CVPR.2018.00685).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .base import MultiTaskNetwork, start_of_convolutions
from .geometry import triple
from .resnet_stages import BLOCKS, EXPANSION, resnet_stages


def projection(in_channels: int, out_channels: int, stride: int | tuple[int, int, int]) -> nn.Module | None:
    """A 1×1×1 convolution with batch norm if a block changes the shape; else None."""
    if in_channels == out_channels and triple(stride) == (1, 1, 1):
        return None
    return nn.Sequential(nn.Conv3d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm3d(out_channels))


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm, and a shortcut (None: the identity)."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, filters: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm3d(filters)
        self.conv2 = conv2
        self.bn2 = nn.BatchNorm3d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + identity)


class BasicBlock(ResidualBlock):
    """Two 3×3×3 convolutions with batch norm and a shortcut (1×1×1 convolution where the shape changes)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        filters: int,
        stride: int | tuple[int, int, int] = (1, 1, 1),
        dilations: Sequence[tuple[int, int, int]] = ((1, 1, 1), (1, 1, 1)),
    ):
        first, second = dilations
        super().__init__(
            nn.Conv3d(in_channels, filters, 3, stride, padding=first, dilation=first, bias=False),
            nn.Conv3d(filters, filters, 3, padding=second, dilation=second, bias=False),
            filters,
            projection(in_channels, filters, stride),
        )


class Bottleneck(nn.Module):
    """A 3×3×3 convolution between two 1×1×1 convolutions, the last with four times the filters, and a shortcut."""

    expansion = EXPANSION

    def __init__(
        self,
        in_channels: int,
        filters: int,
        stride: int | tuple[int, int, int] = (1, 1, 1),
        dilations: Sequence[tuple[int, int, int]] = ((1, 1, 1), (1, 1, 1)),
    ):
        super().__init__()
        out_channels, dilation = self.expansion * filters, dilations[0]
        self.conv1 = nn.Conv3d(in_channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(filters)
        self.conv2 = nn.Conv3d(filters, filters, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(filters)
        self.conv3 = nn.Conv3d(filters, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = projection(in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + identity)


class MultiTaskResNet(MultiTaskNetwork):
    """3D ResNet-34 with a regression and a classification head; any input size, any width.

    Parameters
    ----------
    width : int
        Filters of the stem and first stage (64 in the paper), doubled in each later stage.
    stem_stride : int or tuple of int
        Stride (depth, height, width) of the 7×7×7 stem.
    stage_strides : sequence of int or tuple of int
        Stride of the first block of each of the four stages. The paper's are (1, 2, 2, 2); smaller ones keep the
        last stage fine enough to locate a hematoma in 32 slices.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dense_from : str or None
        From this stage on, every stride is replaced by a dilation of the following layers (atrous convolution): the
        same weights compute the same features at the same positions, and also between them, so that attention has the
        resolution of the previous stage (Chen et al. 2018, doi 10.1109/TPAMI.2017.2699184).
    """

    block = BasicBlock
    blocks = BLOCKS["resnet34"]

    def __init__(
        self,
        width: int = 64,
        stem_stride: int | Sequence[int] = 2,
        stage_strides: Sequence[int | Sequence[int]] = (1, 2, 2, 2),
        final_relu: bool = True,
        dense_from: str | None = None,
    ):
        super().__init__()
        stem_stride, stage_strides = triple(stem_stride), [triple(s) for s in stage_strides]
        architecture = {
            "width": width,
            "stem_stride": list(stem_stride),
            "stage_strides": [list(s) for s in stage_strides],
            "final_relu": final_relu,
        } | ({"dense_from": dense_from} if dense_from else {})
        stages = resnet_stages(self.blocks, self.block.expansion, width, stem_stride, stage_strides, dense_from)
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, 7, stem_stride, padding=3, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, 2, padding=1),
        )
        for name, blocks, geometry in stages:
            layers = nn.Sequential(*(self.block(*block) for block in blocks))
            self.add_stage(name, layers, geometry, self.block.expansion * blocks[-1].filters)
        self.finish(architecture, final_relu)
        start_of_convolutions(self)


class ResNet18(MultiTaskResNet):
    """3D ResNet-18; parameters as in `MultiTaskResNet`."""

    blocks = BLOCKS["resnet18"]


class ResNet50(MultiTaskResNet):
    """3D ResNet-50, with bottleneck blocks; parameters as in `MultiTaskResNet`."""

    block = Bottleneck
    blocks = BLOCKS["resnet50"]
