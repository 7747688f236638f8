"""Base of all networks: an encoder of four stages and the paper's two heads.

Gong et al. 2023, sections 3.2 to 3.4 (doi 10.3389/fnins.2023.1118340).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...common.choices import Stage
from ..clinical import HIDDEN_UNITS
from .geometry import Geometry

STAGES = Stage.values()


def start_of_convolutions(network: nn.Module) -> None:
    """Initialize convolutions without bias for ReLU (He et al. 2015); others keep PyTorch's initialization."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class VolumeHead(nn.Module):
    """Global average pool and a dense layer, as a 1×1×1 convolution. Section 3.3."""

    def __init__(self, channels: int):
        super().__init__()
        self.dense = nn.Conv3d(channels, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
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

    def forward(self, features: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """Map features [N, C, d, h, w] to scores [N, 2] (survival, death), to be soft-maxed.

        `clinical` [N, 2] is the part of the scores that comes from clinical variables.
        """
        scores = self.dense(features.mean((2, 3, 4), keepdim=True)).flatten(1)
        scores = scores if clinical is None else scores + clinical
        return scores.relu() if self.final_relu else scores


class ClinicalBranch(nn.Module):
    """Contribution of clinical variables to the prognosis head's scores: a hidden layer, then a dense layer.

    Equivalent to concatenating the hidden layer with the pooled features before the head's dense layer. Its initial
    scores are 0, so that adding it does not change the outputs of a network until it is trained.

    Parameters
    ----------
    inputs : int
        Numbers that encode a patient, see `ICHMultiTaskLib.model.clinical.ClinicalInputs`.
    """

    def __init__(self, inputs: int):
        super().__init__()
        self.inputs = inputs
        self.hidden = nn.Linear(inputs, HIDDEN_UNITS)
        self.dense = nn.Linear(HIDDEN_UNITS, 2, bias=False)
        nn.init.zeros_(self.dense.weight)

    def forward(self, clinical: torch.Tensor) -> torch.Tensor:
        """Map encoded patients [N, inputs] to their contribution to the scores [N, 2]."""
        return self.dense(self.hidden(clinical).relu())


class MultiTaskNetwork(nn.Module):
    """An encoder whose stages can be run one by one, and two heads on the last of them.

    A network's constructor sets `stem`, calls `add_stage` for each stage, then `finish`. Losses, attention and the
    trainer depend only on the network's strides, offsets and channels. The `neck` contains a publication's layers
    between the last feature map and the outputs, such as pooling with hidden dense layers, and dropout.

    Attributes
    ----------
    architecture : dict
        Keyword arguments that build the network again, as plain values for JSON.
    feature_strides : dict of str to (int, int, int)
        By stage: input voxels (depth, height, width) from one node of its features to the next.
    feature_offsets : dict of str to (float, float, float)
        By stage: input index of the first node; node f lies at offset + stride × f. Zero if every layer is centered
        (odd kernel, half padding); half a stride minus half a voxel for adjacent patches.
    stage_channels : dict of str to int
        By stage: channels of its features.
    clinical : ClinicalBranch or None
        Set if the prognosis head also uses clinical variables; see `take_clinical`.
    """

    def __init__(self):
        super().__init__()
        self.feature_strides, self.feature_offsets, self.stage_channels = {}, {}, {}

    def add_stage(self, name: str, stage: nn.Module, geometry: Geometry, channels: int) -> None:
        """Add a stage, and record the positions of its features' nodes.

        Parameters
        ----------
        name : str
            One of `STAGES`.
        stage : Module
        geometry : Geometry
            Geometry after its last layer.
        channels : int
            Channels of its features.
        """
        setattr(self, name, stage)
        self.feature_strides[name], self.feature_offsets[name] = geometry.stride, geometry.offset
        self.stage_channels[name] = channels

    def finish(
        self, architecture: dict, final_relu: bool, neck: nn.Module | None = None, neck_channels: int | None = None
    ) -> None:
        """Record how the network is built and add the heads; called after the last stage.

        Parameters
        ----------
        architecture : dict
        final_relu : bool
            As in `PrognosisHead`.
        neck : Module, optional
            Layers between the last stage and the features [N, `neck_channels`, d, h, w] that the heads pool; none by
            default.
        neck_channels : int, optional
        """
        self.architecture = architecture
        self.neck = neck or nn.Identity()
        pooled = neck_channels or self.stage_channels[STAGES[-1]]
        self.volume_head = VolumeHead(pooled)
        self.prognosis_head = PrognosisHead(pooled, final_relu)
        self.clinical = None

    def take_clinical(self, inputs: int) -> None:
        """Give the prognosis head this many clinical inputs."""
        self.clinical = ClinicalBranch(inputs)
        self.architecture = self.architecture | {"clinical": inputs}

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

    def heads(
        self, features: torch.Tensor, stage: str = STAGES[-1], clinical: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Regression output [N] and scores [N, 2] from the output of `stage`.

        Parameters
        ----------
        features : tensor [N, C, d, h, w]
        stage : str
        clinical : tensor [N, inputs], optional
            Encoded patients, for a network with clinical inputs; None: all variables are unknown.
        """
        for name in STAGES[STAGES.index(stage) + 1 :]:
            features = getattr(self, name)(features)
        pooled = self.neck(features)
        return self.volume_head(pooled), self.prognosis_head(pooled, self.clinical_scores(pooled, clinical))

    def on_grid(self, features: torch.Tensor) -> torch.Tensor:
        """The part [N, C, d, h, w] of a stage's features that lies in the image: all of it except class tokens."""
        return features

    def clinical_scores(self, features: torch.Tensor, clinical: torch.Tensor | None) -> torch.Tensor | None:
        """Contribution [N, 2] of encoded patients to the scores; None for a network without clinical inputs."""
        if self.clinical is None:
            return None
        if clinical is None:
            clinical = features.new_zeros(len(features), self.clinical.inputs)
        return self.clinical(clinical.to(features))

    def forward(self, x: torch.Tensor, clinical: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Map images [N, 1, D, H, W], and encoded patients, to (regression output [N], scores [N, 2])."""
        return self.heads(dict(self.features(x))[STAGES[-1]], clinical=clinical)
