"""How much the prognosis changes if the same head is mirrored, rotated or slightly shifted in HU.

This shows how stable the model's prediction for this scan is, not how accurate it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..common.translation import tr as _
from ..model.preprocessing import NetworkInput

OFFSET_HU, TURN_DEG = 3.0, 3.0
PERCENTILES = (5.0, 95.0)
MEANING = _(
    "5th to 95th percentile of ten predictions for this scan: original and mirrored, each unchanged, "
    "shifted by ±{offset:g} HU, and rotated by ±{angle:g}°; not a confidence interval"
).format(offset=OFFSET_HU, angle=TURN_DEG)


def varied_images(network_input: NetworkInput, spacing_kji: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
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
    ndarray of shape (9, 1, D, H, W), float32 in [0, 1]
    """
    image = network_input.array
    step = OFFSET_HU / (window_hu[1] - window_hu[0])
    # 0 and 1 are outside the window, like air and bone; they stay unchanged.
    inside = ((image > 0) & (image < 1)).astype(np.float32)
    images = [np.clip(image + np.float32(sign * step) * inside, 0.0, 1.0) for sign in (-1, 1)]
    height, width = (
        (network_input.crop[n][1] - network_input.crop[n][0]) * spacing_kji[network_input.axes[n]] for n in (1, 2)
    )
    images += [_turned(image[0], float(height / width), sign * TURN_DEG)[None] for sign in (-1, 1)]
    images = np.stack([image, *images])
    return np.concatenate([images, images[..., ::-1]])[1:]


def _turned(image, aspect, degrees):
    """Rotate an image [D, H, W], whose height is `aspect` × its width, in plane; bicubic, 0 beyond the edge."""
    depth, height, width = image.shape
    angle = math.radians(degrees)
    y, x = ((2 * np.arange(size) + 1) / size - 1 for size in (height, width))  # -1 to 1 from edge to edge
    rows = (x * (math.sin(angle) / aspect) + y[:, None] * math.cos(angle) + 1) * height / 2 - 0.5
    columns = (x * math.cos(angle) - y[:, None] * (math.sin(angle) * aspect) + 1) * width / 2 - 0.5
    # A border of one zero stands for all beyond the edge. Slices come last: each tap then reads them in one piece.
    padded = np.pad(image.transpose(1, 2, 0), ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((height, width, depth), np.float32)
    for row, of_row in _taps(rows, height):
        for column, of_column in _taps(columns, width):
            out += padded[row, column] * (of_row * of_column)[..., None].astype(np.float32)
    return np.clip(out.transpose(2, 0, 1), 0.0, 1.0)


def _taps(positions, size):
    """Index, in a border of one, and weight of the four nodes around each position, by cubic convolution.

    Keys 1981, doi 10.1109/TASSP.1981.1163711, with a slope of -0.75 at the first zero.
    """
    first = np.floor(positions).astype(int) - 1
    for node in (first + n for n in range(4)):
        t = np.abs(positions - node)
        near, far = (1.25 * t - 2.25) * t * t + 1, -0.75 * (((t - 5) * t + 8) * t - 4)
        yield np.clip(node, -1, size) + 1, np.where(t < 1, near, far)


def percentile_range(probabilities: Sequence[float]) -> tuple[float, float]:
    """5th and 95th percentile of calibrated probabilities, including the one on display.

    Returns
    -------
    (float, float)
    """
    low, high = np.percentile(np.asarray(probabilities, dtype=float), PERCENTILES)
    return float(low), float(high)
