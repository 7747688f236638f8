"""Attention maps of a prediction, in the geometry of its scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.progress import NO_PROGRESS, Progress
from ..model.attention import check_choice, stage_of_map
from ..model.preprocessing import NetworkInput
from ..scan.geometry import apply_affine
from ..scan.head_ct import HeadCT

if TYPE_CHECKING:
    import torch

    from ..model.onnx_runner import OnnxRunner
    from ..model.torch_runner import TorchRunner


@dataclass(frozen=True)
class Attention:
    """An attention map in the scan's geometry.

    Attributes
    ----------
    array : ndarray of shape (K, J, I), float32
        0 to 1; the maximum of each map is 1, so that maps are not comparable between patients.
    head, stage, method : str
        The stage is "input" for `INPUT_METHODS`.
    peak_ras_mm : tuple of float or None
        RAS position of the highest attention; None if the map is blank.
    """

    array: np.ndarray
    head: str
    stage: str
    method: str
    peak_ras_mm: tuple | None


@dataclass(frozen=True)
class Prediction:
    """Outputs and features of the network, kept so that other attention maps need no second run."""

    network_input: NetworkInput
    output: float
    log_odds: float
    features: dict[str, torch.Tensor] | dict[str, np.ndarray]
    runner: TorchRunner | OnnxRunner
    clinical: np.ndarray | None = None
    """Clinical variables as the network reads them, [1, inputs]; None if it reads none."""
    head_region: np.ndarray | None = None
    """From `scan.head_region`, once for all maps of the scan, [K, J, I]; None where no map is made."""


def map_of(
    prediction: Prediction, head_ct: HeadCT, head: str, stage: str, method: str, progress: Progress = NO_PROGRESS
) -> Attention:
    """Compute an attention map in the scan's geometry, restricted to the head.

    The network's response to the surface of the head and to the headrest extends into the air around it.

    Parameters
    ----------
    prediction : Prediction
    head_ct : HeadCT
        The scan of the prediction, which holds its `head_region`.
    head, stage, method : str
        See `ICHMultiTaskLib.model.attention`.
    progress : callable (fraction, message)
        May raise Canceled.

    Returns
    -------
    Attention
    """
    check_choice(head, stage, method)
    stage = stage_of_map(stage, method)
    grid, strides, offsets = attention_grid(prediction, head, stage, method, progress)
    device = prediction.runner.device
    array, peak = prediction.network_input.map_to_scan(grid, strides, offsets, prediction.head_region, device)
    return Attention(array, head, stage, method, None if peak is None else _position(peak, head_ct))


def attention_grid(
    prediction: Prediction, head: str, stage: str, method: str, progress: Progress = NO_PROGRESS
) -> tuple[np.ndarray, tuple, tuple]:
    """Compute an attention map on the grid of a stage, or of the network's input.

    Parameters
    ----------
    prediction : Prediction
    head, method : str
    stage : str
        "input" for a method of the image.
    progress : callable (fraction, message)
        May raise Canceled.

    Returns
    -------
    grid : ndarray of shape (d, h, w), float32
        Not negative, not normalized.
    strides, offsets : tuple of float
        Voxels of the input from node to node, and the index of the first.
    """
    image = prediction.network_input.array[None]
    return prediction.runner.attention_grid(
        image, prediction.features, head, stage, method, prediction.clinical, progress
    )


def _position(index_kji, head_ct):
    """RAS position of a voxel."""
    return tuple(float(v) for v in apply_affine(head_ct.ijk_to_ras, index_kji[::-1]))
