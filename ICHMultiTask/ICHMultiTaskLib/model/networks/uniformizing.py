"""The 3D CNN of 17 layers for CT scans that were brought to a uniform number of slices.

Zunair et al. 2020 (doi 10.1007/978-3-030-59354-4_15), sections 2.2 and 2.3; the authors' code:
hasibzunair/uniformizing-3D. Here is their network alone: their two ways to a uniform number of slices, by spline and
by even selection, are not built. Scans come on the grid of the settings, as for every network.
"""

from __future__ import annotations

from torch import nn

from .base import STAGES, MultiTaskNetwork
from .geometry import Geometry

FILTERS = (1, 1, 2, 4)
"""Of each stage, in widths."""
GRID = (2, 6, 6)
"""What the published layers leave of the published 64×128×128."""
HIDDEN = 8


class Uniformizing3D(MultiTaskNetwork):
    """Four times convolution, ReLU, max pool and batch norm; then one dense layer. Any input from 16 voxels an axis.

    Published without padding, for 64×128×128. So 32 slices would not reach the last pool: with a `padding` of 1 they
    do, with the same weights. The map is brought to 2×6×6 before the dense layer, so that any input size runs; of the
    published input and padding it has that size.

    Parameters
    ----------
    width : int
        Filters of the first two stages (64 in the publication).
    padding : int
        Of the convolutions: 0 as published, or 1.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    dropout : float
        Before the heads, in training.
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
            nn.Conv3d(channels, hidden, GRID),  # flattens and connects all, as a dense layer
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        architecture = {"width": width, "padding": padding, "final_relu": final_relu, "dropout": dropout}
        self.finish(architecture, final_relu, neck, hidden)
