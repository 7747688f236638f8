"""TIN: a 2D ResNet that shifts some channels across the slices, by learned distances, before each block.

Shao et al. 2020 (doi 10.1609/aaai.v34i07.6872), section 3; the authors' code: deepcs233/TIN.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from .slicewise import SlicewiseResNet

DIVISOR = 4
"""One channel in four is shifted."""
LEARNED = 2
"""Groups of channels with separate distances; as many other groups are shifted by the same distances backward."""
FARTHEST = 2
"""Largest distance, in slices."""


class Interlacing(nn.Module):
    """Shifts groups of channels and weights their slices; distances and weights are computed from the features.

    Parameters
    ----------
    channels : int
        Channels of the input; a quarter of them is shifted, in four groups.
    slices : int
    """

    def __init__(self, channels: int, slices: int):
        super().__init__()
        self.moving = channels // DIVISOR
        self.distance = nn.ModuleDict(
            {
                "squeeze": nn.Conv1d(self.moving, 1, 3, padding=1),
                "hidden": nn.Linear(slices, slices),
                "out": nn.Linear(slices, LEARNED),
            }
        )
        self.weight = nn.Conv1d(self.moving, LEARNED, 3, padding=1)
        nn.init.constant_(self.distance["out"].bias, 0.5108)  # half a slice
        nn.init.zeros_(self.weight.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Interlace features [N, C, d, h, w]; the shape stays the same."""
        moving, resting = x[:, : self.moving], x[:, self.moving :]
        signal = moving.mean((3, 4))
        hidden = self.distance["hidden"](self.distance["squeeze"](signal)[:, 0]).relu()
        distance = 2 * FARTHEST * (self.distance["out"](hidden).sigmoid() - 0.5)
        distance = torch.cat([distance, -distance], dim=1)[:, :, None, None, None, None]  # [N, group, 1, 1, 1, 1]
        weight = 2 * self.weight(signal).sigmoid()
        weight = torch.cat([weight, weight], dim=1)[:, :, None, :, None, None]  # [N, group, 1, d, 1, 1]
        groups = moving.unflatten(1, (2 * LEARNED, -1))
        depth = groups.shape[3]
        padded = F.pad(groups, (0, 0, 0, 0, FARTHEST, FARTHEST))
        # Linear interpolation between whole slices: at most two of these terms are not zero.
        moved = sum(
            (1 - (distance - step).abs()).relu() * padded[:, :, :, FARTHEST - step : FARTHEST - step + depth]
            for step in range(-FARTHEST, FARTHEST + 1)
        )
        return torch.cat([(moved * weight).flatten(1, 2), resting], dim=1)


class TIN18(SlicewiseResNet):
    """TIN on ResNet-18; inputs of any in-plane size, with the number of slices that it was built for.

    Parameters
    ----------
    width : int
        Filters of the stem and first stage (64 in the publication); a multiple of 16, since a quarter of the channels
        is shifted in four groups.
    slices : int
        Slices of the input.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Dropout before the heads, in training.
    """

    layers = 18

    def __init__(self, width: int = 64, slices: int = 32, final_relu: bool = True, dropout: float = 0.5):
        super().__init__()
        groups = DIVISOR * 2 * LEARNED
        if width % groups:
            raise ValueError(f"width is {width}; expected a multiple of {groups}: a quarter is shifted in four groups.")
        self.slices = slices
        architecture = {"width": width, "slices": slices, "final_relu": final_relu, "dropout": dropout}
        self.build(architecture, width, final_relu, dropout)

    def meeting(self, channels: int) -> nn.Module:
        """A separate interlacing before each block."""
        return Interlacing(channels, self.slices)

    def features(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (stage name, output [N, C, d, h, w]) stage by stage."""
        if x.shape[2] != self.slices:
            raise ValueError(f"The network was built for {self.slices} slices (setting slices), found {x.shape[2]}.")
        return super().features(x)


class TIN34(TIN18):
    """TIN on ResNet-34; parameters as in `TIN18`."""

    layers = 34


class TIN50(TIN18):
    """TIN on ResNet-50; parameters as in `TIN18`."""

    layers = 50
