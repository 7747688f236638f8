"""TSM: a 2D ResNet that shifts some channels to the next or previous slice before each block.

Lin et al. 2019 (doi 10.1109/ICCV.2019.00718), section 3; the authors' code: mit-han-lab/temporal-shift-module.
"""

from __future__ import annotations

import torch
from torch import nn

from .slicewise import SlicewiseResNet

DIVISOR = 8


class SliceShift(nn.Module):
    """Takes an eighth of the channels from the next slice, another eighth from the previous; zeros beyond the ends."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shift features [N, C, d, h, w]; the shape stays the same."""
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
        Filters of the stem and first stage (64 in the publication); at least 8, since an eighth is shifted.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Dropout before the heads, in training.
    """

    layers = 18

    def __init__(self, width: int = 64, final_relu: bool = True, dropout: float = 0.5):
        super().__init__()
        if width < DIVISOR:
            raise ValueError(f"width is {width}; expected at least {DIVISOR}: an eighth is shifted between slices.")
        architecture = {"width": width, "final_relu": final_relu, "dropout": dropout}
        self.build(architecture, width, final_relu, dropout)

    def meeting(self, channels: int) -> nn.Module:
        """A shift, which has no weights."""
        return SliceShift()


class TSM34(TSM18):
    """TSM on ResNet-34; parameters as in `TSM18`."""

    layers = 34


class TSM50(TSM18):
    """TSM on ResNet-50; parameters as in `TSM18`."""

    layers = 50
