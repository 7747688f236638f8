"""What every network has: an encoder of four stages and the paper's two heads.

Gong et al. 2023, sections 3.2 to 3.4 (doi 10.3389/fnins.2023.1118340).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...common.choices import Stage

STAGES = Stage.values()


def triple(value) -> tuple[int, int, int]:
    """A number for all three axes, or one for each (depth, height, width)."""
    return (value,) * 3 if isinstance(value, int) else tuple(int(v) for v in value)


class VolumeHead(nn.Module):
    """Global average pool and a dense layer, as a 1×1×1 convolution. Section 3.3."""

    def __init__(self, channels: int):
        super().__init__()
        self.dense = nn.Conv3d(channels, 1, 1)

    def forward(self, features):
        """Map features [N, C, d, h, w] to the regression output [N]."""
        return self.dense(features.mean((2, 3, 4), keepdim=True)).flatten()


class PrognosisHead(nn.Module):
    """Global average pool and a dense layer to two scores, survival and death. Section 3.4.

    The paper puts a ReLU before the softmax; `final_relu` keeps it. It zeroes the gradient of negative
    scores, so it can be left out.
    """

    def __init__(self, channels: int, final_relu: bool):
        super().__init__()
        self.dense = nn.Conv3d(channels, 2, 1)
        self.final_relu = final_relu

    def forward(self, features):
        """Map features [N, C, d, h, w] to scores [N, 2] (survival, death), to be soft-maxed."""
        scores = self.dense(features.mean((2, 3, 4), keepdim=True)).flatten(1)
        return scores.relu() if self.final_relu else scores


class MultiTaskNetwork(nn.Module):
    """An encoder whose stages can be run one by one, and two heads on the last of them.

    A network's constructor sets `stem`, a module by the name of each stage, and calls `finish`. Losses, attention and
    the trainer ask the network for its strides and channels and know nothing else of it.

    Attributes
    ----------
    architecture : dict
        Keyword arguments that build the network again, plain values for JSON.
    feature_strides : dict of str to (int, int, int)
        By stage: input voxels (depth, height, width) from one node of its features to the next. Node f lies at input
        index stride × f, since every layer is centered (odd kernel, half padding).
    stage_channels : dict of str to int
        By stage: channels of its features.
    """

    def finish(self, architecture: dict, strides: dict, channels: dict, final_relu: bool) -> None:
        """Say what the network is and add the heads; the last lines of a constructor."""
        self.architecture = architecture
        self.feature_strides = {name: tuple(int(s) for s in strides[name]) for name in STAGES}
        self.stage_channels = {name: int(channels[name]) for name in STAGES}
        self.volume_head = VolumeHead(self.stage_channels[STAGES[-1]])
        self.prognosis_head = PrognosisHead(self.stage_channels[STAGES[-1]], final_relu)

    def features(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (stage name, output [N, C, d, h, w]) stage by stage, so that a caller can stop between them.

        Parameters
        ----------
        x : tensor [N, 1, D, H, W]
        """
        x = self.stem(x)
        for name in STAGES:
            x = getattr(self, name)(x)
            yield name, x

    def heads(self, features: torch.Tensor, stage: str = STAGES[-1]) -> tuple[torch.Tensor, torch.Tensor]:
        """Regression output [N] and scores [N, 2] from the output of `stage`."""
        for name in STAGES[STAGES.index(stage) + 1 :]:
            features = getattr(self, name)(features)
        return self.volume_head(features), self.prognosis_head(features)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map images [N, 1, D, H, W] to (regression output [N], scores [N, 2])."""
        return self.heads(dict(self.features(x))[STAGES[-1]])
