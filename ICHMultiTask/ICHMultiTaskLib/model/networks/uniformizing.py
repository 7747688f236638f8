"""The 17-layer 3D CNN for CT scans that were resampled to a uniform number of slices.

Zunair et al. 2020 (doi 10.1007/978-3-030-59354-4_15), sections 2.2 and 2.3; the authors' code:
hasibzunair/uniformizing-3D. Their two ways to a uniform number of slices, spline interpolation and even selection, are
the `slice_sampling` of `ICHMultiTaskLib.model.preprocessing.PreprocessingSettings`, for any network.
"""

from __future__ import annotations

from torch import nn

from .base import STAGES, MultiTaskNetwork
from .geometry import Geometry

FILTERS = (1, 1, 2, 4)
"""Filters of each stage, as multiples of the width."""
GRID = (2, 6, 6)
"""Size to which the published layers reduce the published input of 64×128×128."""
HIDDEN = 8


class Uniformizing3D(MultiTaskNetwork):
    """Four times convolution, ReLU, max pool and batch norm; then a dense layer. At least 16 voxels along each axis.

    The published network has no padding and takes 64×128×128 voxels. With 32 slices, nothing would be left before the
    last pool; a `padding` of 1 avoids this with the same weights. Before the dense layer, the map is pooled to 2×6×6,
    its size for the published input and padding, so that other input sizes are possible.

    Parameters
    ----------
    width : int
        Filters of the first two stages (64 in the publication).
    padding : int
        Padding of the convolutions: 0 as published, or 1.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Dropout before the heads, in training.
    """

    def __init__(self, width: int = 64, padding: int = 1, final_relu: bool = True, dropout: float = 0.4):
        super().__init__()
        if padding not in (0, 1):
            raise ValueError(f"padding is {padding}; expected 0 or 1.")
        self.stem, geometry, channels = nn.Identity(), Geometry(), 1
        for name, factor in zip(STAGES, FILTERS):
            filters = width * factor
            stage = nn.Sequential(
                nn.Conv3d(channels, filters, 3, padding=padding),
                nn.ReLU(inplace=True),
                nn.MaxPool3d(2),
                nn.BatchNorm3d(filters),
            )
            geometry.add(1, 1 - padding)
            geometry.add(2, 0.5)
            self.add_stage(name, stage, geometry, filters)
            channels = filters
        hidden = HIDDEN * width
        neck = nn.Sequential(
            nn.AdaptiveAvgPool3d(GRID),
            nn.Conv3d(channels, hidden, GRID),  # covers the whole map, like a flattened dense layer
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        architecture = {"width": width, "padding": padding, "final_relu": final_relu, "dropout": dropout}
        self.finish(architecture, final_relu, neck, hidden)
