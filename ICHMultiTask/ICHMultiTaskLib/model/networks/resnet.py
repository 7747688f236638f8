"""The paper's network: a 3D ResNet-34 shared by a volume head and a prognosis head.

Gong et al. 2023, sections 3.2 to 3.4 (doi 10.3389/fnins.2023.1118340). He et al. 2016 for the blocks.
"""

from torch import nn

from .base import STAGES, MultiTaskNetwork, triple

BLOCKS = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3×3×3 convolutions with batch norm and a shortcut (1×1×1 convolution where the shape changes)."""

    def __init__(self, in_channels, out_channels, stride=(1, 1, 1), dilations=((1, 1, 1), (1, 1, 1))):
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm3d(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if in_channels != out_channels or stride != (1, 1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm3d(out_channels)
            )

    def forward(self, x):
        """Map features [N, C, d, h, w] to those of the next block."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + identity)


class MultiTaskResNet(MultiTaskNetwork):
    """3D ResNet-34 with a regression and a classification head; any input size, any width.

    Parameters
    ----------
    width : int
        Filters of the stem and first stage (64 in the paper); later stages double it.
    stem_stride : int or tuple of int
        Stride (depth, height, width) of the 7×7×7 stem.
    stage_strides : sequence of int or tuple of int
        Stride of the first block of each of the four stages. The paper's are (1, 2, 2, 2); smaller ones keep the
        last stage fine enough to locate a hematoma in 32 slices.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dense_from : str or None
        From this stage on, every stride becomes a dilation of what follows (à trous): the same weights then compute the
        same features at the same places, and those between them, so that attention is located as finely as in the
        stage before (Chen et al. 2018, doi 10.1109/TPAMI.2017.2699184).
    """

    def __init__(self, width=64, stem_stride=2, stage_strides=(1, 2, 2, 2), final_relu=True, dense_from=None):
        super().__init__()
        stem_stride, stage_strides = triple(stem_stride), [triple(s) for s in stage_strides]
        if len(stage_strides) != len(BLOCKS):
            raise ValueError(f"stage_strides has {len(stage_strides)} entries; expected {len(BLOCKS)}.")
        architecture = {
            "width": width,
            "stem_stride": list(stem_stride),
            "stage_strides": [list(s) for s in stage_strides],
            "final_relu": final_relu,
        } | ({"dense_from": dense_from} if dense_from else {})
        if dense_from is not None and dense_from not in STAGES:
            raise ValueError(f"dense_from is {dense_from!r}; expected one of {', '.join(STAGES)}.")
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, 7, stem_stride, padding=3, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, 2, padding=1),
        )
        channels, dilation, is_dense = width, (1, 1, 1), False
        stride = tuple(2 * s for s in stem_stride)
        strides, stage_channels = {}, {}
        for n, (name, blocks) in enumerate(zip(STAGES, BLOCKS)):
            out_channels = width * 2**n
            is_dense |= name == dense_from
            stage_stride, before = stage_strides[n], dilation
            if is_dense:
                dilation = tuple(d * s for d, s in zip(dilation, stage_stride))
                stage_stride = (1, 1, 1)
            layers = [BasicBlock(channels, out_channels, stage_stride, (before, dilation))]
            layers += [BasicBlock(out_channels, out_channels, dilations=(dilation,) * 2) for _ in range(blocks - 1)]
            setattr(self, name, nn.Sequential(*layers))
            channels = stage_channels[name] = out_channels
            stride = strides[name] = tuple(a * b for a, b in zip(stride, stage_stride))
        self.finish(architecture, strides, stage_channels, final_relu)
        for module in self.modules():
            if isinstance(module, nn.Conv3d) and module.bias is None:  # the heads keep PyTorch's own start
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
