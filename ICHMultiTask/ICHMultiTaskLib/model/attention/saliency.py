"""Saliency: how strongly the score depends on each voxel of the input (Simonyan et al. 2013, arXiv:1312.6034)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...common.progress import NO_PROGRESS, Progress


def gradient(score: Callable, image: torch.Tensor) -> torch.Tensor:
    """Gradient of the score with respect to the image, in the image's shape."""
    image = image.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(score(image).sum(), image)[0]


def explain(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Magnitude of the gradient, [N, D, H, W], for images [N, 1, D, H, W]."""
    return gradient(score, image).abs().sum(1)
