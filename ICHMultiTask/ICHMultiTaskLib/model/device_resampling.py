"""The resamplings of an analysis on a GPU: from the scan to the network's grid, and from a map to the scan.

Each takes the weights of `preprocessing`, one matrix for each axis, so that a GPU computes what the processor does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def resized(cropped: np.ndarray, window: tuple[float, float], weights: Sequence[np.ndarray], device: str) -> np.ndarray:
    """Window and resize a volume.

    Parameters
    ----------
    cropped : ndarray of shape (d, h, w), int16 or float32
    window : tuple of float
        Values mapped to 0 and 1.
    weights : sequence of ndarray
        [target, source] of each axis.
    device : str

    Returns
    -------
    ndarray, float32 in [0, 1]
    """
    low, high = window
    # Copied as it is stored, since int16 is half as much as float32.
    volume = torch.tensor(np.ascontiguousarray(cropped), device=device).float().clamp_(low, high)
    depth, height, width = _on(device, weights)
    slices = (depth @ volume.flatten(1)).unflatten(1, volume.shape[1:])
    return (height @ (slices @ width.T)).sub_(low).div_(high - low).clamp_(0.0, 1.0).cpu().numpy()


def spread(
    grid: np.ndarray,
    weights: Sequence[np.ndarray],
    axes: Sequence[int],
    crop: Sequence[tuple[int, int]],
    region: np.ndarray,
    device: str,
) -> torch.Tensor:
    """Resample a grid to a part of the scan, within a region of it; 0 elsewhere.

    Parameters
    ----------
    grid : ndarray of shape (d, h, w), float32
    weights : sequence of ndarray
        [voxels of the part, nodes] of each axis of the grid.
    axes, crop
        As in `preprocessing.NetworkInput`.
    region : ndarray of shape (K, J, I), bool
    device : str

    Returns
    -------
    tensor [K, J, I] on the device
    """
    values, *weights = _on(device, [grid, *weights])
    depth, height, width = weights
    values = height @ (depth @ values.flatten(1)).unflatten(1, values.shape[1:]) @ width.T
    out = torch.zeros(region.shape, device=device)
    out.permute(tuple(axes))[tuple(slice(*ends) for ends in crop)] = values
    return out.mul_(torch.tensor(region, device=device))


def _on(device, arrays):
    return [torch.tensor(np.ascontiguousarray(array, dtype=np.float32), device=device) for array in arrays]
