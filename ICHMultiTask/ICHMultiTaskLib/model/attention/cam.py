"""CAM: channels weighted by the head's dense layer (Zhou et al. 2016, doi 10.1109/CVPR.2016.319)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by the dense layer's weight for their channel; tensors [N, C, d, h, w] of the last stage.

    The last stage is followed by a global average pool and a dense layer, so that the sum of a channel's gradient is
    its weight in that layer. For such heads, Grad-CAM is the same map divided by the number of positions.
    """
    return gradients.sum((2, 3, 4))[..., None, None, None] * features
