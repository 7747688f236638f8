"""Occlusion: decrease of the score if a block of the image is covered (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...common.progress import NO_PROGRESS, Progress
from ...common.translation import tr as _

BLOCKS = 8
"""Number of blocks along each axis of the image."""
BATCH = 4


def cover(image: torch.Tensor) -> torch.Tensor:
    """Value that covers the blocks, [N, 1, 1, 1, 1]: the median of voxels that are neither black nor white (brain)."""
    values = [x[(x > 0) & (x < 1)] for x in image]
    return torch.stack([v.median() if len(v) else image.new_zeros(()) for v in values]).view(-1, 1, 1, 1, 1)


def explain(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Decrease of the score by block, [N, D, H, W], for images [N, 1, D, H, W]; 0 where the score rises."""
    with torch.no_grad():
        return torch.cat([_explain(score, one[None], progress) for one in image])


def _explain(score, image, progress):
    whole, covered = score(image)[0], cover(image)[0]
    found = torch.zeros_like(image[0])
    sizes = [-(-n // BLOCKS) for n in image.shape[2:]]
    places = torch.cartesian_prod(*(torch.arange(0, n, size) for n, size in zip(image.shape[2:], sizes))).tolist()
    blocks = [tuple(slice(start, start + size) for start, size in zip(place, sizes)) for place in places]
    # Blocks of air alone are not covered.
    blocks = [block for block in blocks if image[0, 0][block].any()]
    for start in range(0, len(blocks), BATCH):
        progress(start / len(blocks), _("Occlusion"))
        chosen = blocks[start : start + BATCH]
        copies = image.repeat(len(chosen), 1, 1, 1, 1)
        for copy, block in zip(copies, chosen):
            copy[0][block] = covered
        for block, value in zip(chosen, score(copies)):
            found[0][block] = (whole - value).clamp(min=0)
    return found
