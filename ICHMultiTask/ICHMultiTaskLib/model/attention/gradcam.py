"""Grad-CAM: channels weighted by their mean gradient (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by the mean gradient of their channel; tensors [N, C, d, h, w]."""
    return gradients.mean((2, 3, 4))[..., None, None, None] * features
