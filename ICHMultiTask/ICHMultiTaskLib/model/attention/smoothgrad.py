"""SmoothGrad: the mean gradient over noisy copies of the image (Smilkov et al. 2017, arXiv:1706.03825)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from ...common.progress import NO_PROGRESS, Progress
from ...common.translation import tr as _
from .saliency import gradient

SAMPLES = 16
NOISE = 0.1
"""Standard deviation of the noise as a fraction of the image's range; the publication recommends 0.1 to 0.2."""


def noisy(image: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield `SAMPLES` copies of images [N, 1, D, H, W] with noise, the same each time."""
    generator = torch.Generator().manual_seed(0)  # on the CPU, so that the noise is the same for every device
    spread = NOISE * (image.amax((1, 2, 3, 4), keepdim=True) - image.amin((1, 2, 3, 4), keepdim=True))
    for _sample in range(SAMPLES):
        yield image + spread * torch.randn(image.shape, generator=generator).to(image)


def explain(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Magnitude of the mean gradient, [N, D, H, W], for images [N, 1, D, H, W]."""
    total = torch.zeros_like(image)
    for n, copy in enumerate(noisy(image)):
        progress(n / SAMPLES, _("SmoothGrad"))
        total += gradient(score, copy)
    return (total / SAMPLES).abs().sum(1)
