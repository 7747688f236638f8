"""Grad-CAM++: positive gradients, weighted by location (Chattopadhay et al. 2018, doi 10.1109/WACV.2018.00097)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by the sum of weighted positive gradients of their channel; tensors [N, C, d, h, w]."""
    squared, cubed = gradients**2, gradients**3
    denominator = 2 * squared + features.sum((2, 3, 4))[..., None, None, None] * cubed
    alpha = squared / (denominator + (denominator == 0))
    return (alpha * gradients.clip(0)).sum((2, 3, 4))[..., None, None, None] * features
