"""TSM: a 2D ResNet, a part of whose channels move to the next or the last slice before each block.

Lin et al. 2019 (doi 10.1109/ICCV.2019.00718), section 3; the authors' code: mit-han-lab/temporal-shift-module.
"""

from __future__ import annotations

import torch
from torch import nn

from .slicewise import SlicewiseResNet

DIVISOR = 8


class SliceShift(nn.Module):
    """An eighth of the channels comes from the next slice, another eighth from the last; zeros beyond the ends."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, d, h, w] to the same, shifted."""
        part = x.shape[1] // DIVISOR
        shifted = torch.zeros_like(x)
        shifted[:, :part, :-1] = x[:, :part, 1:]
        shifted[:, part : 2 * part, 1:] = x[:, part : 2 * part, :-1]
        shifted[:, 2 * part :] = x[:, 2 * part :]
        return shifted


class TSM18(SlicewiseResNet):
    """TSM on ResNet-18; any input size.

    Parameters
    ----------
    width : int
        Filters of the stem and first stage (64 in the publication), from 8, of which an eighth can move.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Before the heads, in training.
    """

    layers = 18

    def __init__(self, width: int = 64, final_relu: bool = True, dropout: float = 0.5):
        super().__init__()
        if width < DIVISOR:
            raise ValueError(f"width is {width}; expected at least {DIVISOR}, of which an eighth moves between slices.")
        architecture = {"width": width, "final_relu": final_relu, "dropout": dropout}
        self.build(architecture, width, final_relu, dropout)

    def meeting(self, channels: int) -> nn.Module:
        """A shift, which has no weights."""
        return SliceShift()


class TSM34(TSM18):
    """TSM on ResNet-34; parameters as of `TSM18`."""

    layers = 34


class TSM50(TSM18):
    """TSM on ResNet-50; parameters as of `TSM18`."""

    layers = 50
