"""How far the prognosis moves when the same head is mirrored, turned or measured a little denser.

It says how steady the model's reading of this scan is, and nothing of how right it is.
"""

import math

import numpy as np

OFFSET_HU, TURN_DEG = 3.0, 3.0
PERCENTILES = (5.0, 95.0)
MEANING = (
    f"5th to 95th percentile of the readings of this scan, mirrored or not, each as it is, {OFFSET_HU:g} HU lighter "
    f"and darker, and turned by {TURN_DEG:g}° either way; not a confidence interval"
)


def varied_images(network_input, spacing_kji, window_hu):
    """The images of the other nine readings, made on the network's grid.

    Parameters
    ----------
    network_input : NetworkInput
    spacing_kji : ndarray of shape (3,)
        Of the scan, mm.
    window_hu : (float, float)
        HU that the input's 0 and 1 stand for.

    Returns
    -------
    torch.Tensor of shape (9, 1, D, H, W), float32 in [0, 1]
    """
    import torch

    image = torch.from_numpy(network_input.array)
    step = OFFSET_HU / (window_hu[1] - window_hu[0])
    # What is 0 or 1 lies beyond the window, as air and bone do; it stays there.
    inside = ((image > 0) & (image < 1)).float()
    images = [(image + sign * step * inside).clamp(0.0, 1.0) for sign in (-1, 1)]
    height, width = (
        (network_input.crop[n][1] - network_input.crop[n][0]) * spacing_kji[network_input.axes[n]] for n in (1, 2)
    )
    images += [_turned(image, float(height / width), sign * TURN_DEG) for sign in (-1, 1)]
    images = torch.stack([image, *images])
    return torch.cat([images, images.flip(-1)])[1:]


def _turned(image, aspect, degrees):
    """The image [1, D, H, W], whose height is `aspect` of its width, turned about the axis through its slices."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    theta = torch.tensor([[[cosine, -sine * aspect, 0.0], [sine / aspect, cosine, 0.0]]])
    grid = affine_grid(theta, list(image.shape), align_corners=False)
    return grid_sample(image, grid, "bicubic", "zeros", align_corners=False).clamp(0.0, 1.0)


def percentile_range(probabilities):
    """The range of calibrated readings, the shown one among them.

    Returns
    -------
    (float, float)
    """
    low, high = np.percentile(np.asarray(probabilities, dtype=float), PERCENTILES)
    return float(low), float(high)
