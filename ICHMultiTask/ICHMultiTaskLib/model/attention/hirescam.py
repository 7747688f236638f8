"""HiResCAM: each location of a channel weighted by its own gradient (Draelos and Carin 2020, arXiv:2011.08891)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by their own gradients, positive or negative; tensors [N, C, d, h, w]."""
    return gradients * features
