"""CAM: each channel counts by its weight in the head (Zhou et al. 2016, doi 10.1109/CVPR.2016.319)."""

from __future__ import annotations

import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Features weighted by the head's weight of their channel; tensors [N, C, d, h, w] of the last stage.

    Behind the last stage are a global average and a dense layer, so that the sum of a channel's gradient is its weight
    there: with such heads, Grad-CAM is the same map divided by the number of places.
    """
    return gradients.sum((2, 3, 4), keepdim=True) * features
