"""How much the prognosis changes if the same head is mirrored, rotated or slightly shifted in HU.

This shows how stable the model's prediction for this scan is, not how accurate it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..model.preprocessing import NetworkInput

if TYPE_CHECKING:
    import torch

OFFSET_HU, TURN_DEG = 3.0, 3.0
PERCENTILES = (5.0, 95.0)
MEANING = (
    f"5th to 95th percentile of ten predictions for this scan: original and mirrored, each unchanged, shifted by "
    f"±{OFFSET_HU:g} HU, and rotated by ±{TURN_DEG:g}°; not a confidence interval"
)


def varied_images(network_input: NetworkInput, spacing_kji: np.ndarray, window_hu: tuple[float, float]) -> torch.Tensor:
    """Make the nine variations of an image, on the network's grid.

    Parameters
    ----------
    network_input : NetworkInput
    spacing_kji : ndarray of shape (3,)
        Of the scan, mm.
    window_hu : (float, float)
        HU that map to 0 and 1.

    Returns
    -------
    torch.Tensor of shape (9, 1, D, H, W), float32 in [0, 1]
    """
    import torch

    image = torch.from_numpy(network_input.array)
    step = OFFSET_HU / (window_hu[1] - window_hu[0])
    # 0 and 1 are outside the window, like air and bone; they stay unchanged.
    inside = ((image > 0) & (image < 1)).float()
    images = [(image + sign * step * inside).clamp(0.0, 1.0) for sign in (-1, 1)]
    height, width = (
        (network_input.crop[n][1] - network_input.crop[n][0]) * spacing_kji[network_input.axes[n]] for n in (1, 2)
    )
    images += [_turned(image, float(height / width), sign * TURN_DEG) for sign in (-1, 1)]
    images = torch.stack([image, *images])
    return torch.cat([images, images.flip(-1)])[1:]


def _turned(image, aspect, degrees):
    """Rotate an image [1, D, H, W], whose height is `aspect` × its width, in plane."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    theta = torch.tensor([[[cosine, -sine * aspect, 0.0], [sine / aspect, cosine, 0.0]]])
    grid = affine_grid(theta, list(image.shape), align_corners=False)
    return grid_sample(image, grid, "bicubic", "zeros", align_corners=False).clamp(0.0, 1.0)


def percentile_range(probabilities: Sequence[float]) -> tuple[float, float]:
    """5th and 95th percentile of calibrated probabilities, including the one on display.

    Returns
    -------
    (float, float)
    """
    low, high = np.percentile(np.asarray(probabilities, dtype=float), PERCENTILES)
    return float(low), float(high)
