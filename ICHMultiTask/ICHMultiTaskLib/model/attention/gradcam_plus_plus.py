"""Grad-CAM++: positive gradients, weighted by location (Chattopadhay et al. 2018, doi 10.1109/WACV.2018.00097)."""

import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by the sum of weighted positive gradients of their channel; tensors [N, C, d, h, w]."""
    squared, cubed = gradients**2, gradients**3
    denominator = 2 * squared + features.sum((2, 3, 4), keepdim=True) * cubed
    alpha = squared / torch.where(denominator == 0, torch.ones_like(denominator), denominator)
    return (alpha * gradients.relu()).sum((2, 3, 4), keepdim=True) * features
