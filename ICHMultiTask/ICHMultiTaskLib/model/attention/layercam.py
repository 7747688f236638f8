"""LayerCAM: each location weighted by its positive gradient (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weigh(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weight features by their own positive gradients; tensors [N, C, d, h, w]."""
    return gradients.clip(0) * features
