"""Losses of the two heads and of the auxiliary hematoma mask."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ICHMultiTaskLib.model.networks.base import MultiTaskNetwork

from ..data.cache import CELL

SOFTENING_PERCENT = 0.02
"""About 1 mL in a head: below it the cube-root scale becomes linear, so that gradients stay finite without a bleed."""


def volume_loss(output: torch.Tensor, target_output: torch.Tensor, target: str) -> torch.Tensor:
    """Mean squared error of the regression head (section 3.3), on a cube-root scale for every target."""
    if target == "fraction_percent":
        output, target_output = _soft_cube_root(output), _soft_cube_root(target_output)
    return F.mse_loss(output, target_output)


def _soft_cube_root(percent):
    offset = SOFTENING_PERCENT ** (1 / 3)
    # Not sign() and abs(), whose gradient at 0 is 0.
    sign = torch.where(percent >= 0, 1.0, -1.0)
    return sign * ((sign * percent + SOFTENING_PERCENT) ** (1 / 3) - offset)


def prognosis_loss(scores: torch.Tensor, death: torch.Tensor, death_weight: float) -> torch.Tensor:
    """Cross entropy of the softmax, which for two classes is binary cross entropy (section 3.4).

    Parameters
    ----------
    scores : tensor [N, 2]
        Survival, death.
    death : tensor [N]
        0, 1 or a probability.
    death_weight : float
    """
    weight = 1.0 + (death_weight - 1.0) * death
    cross_entropy = F.cross_entropy(scores, torch.stack([1.0 - death, death], dim=1), reduction="none")
    return (weight * cross_entropy).sum() / weight.sum()


class MaskLoss(nn.Module):
    """Auxiliary voxel-wise loss: two stages must predict the fraction of blood around each of their nodes.

    Used only for scans with a mask; its layers are not part of the model bundle.
    """

    STAGES = ("stage2", "stage4")

    def __init__(self, network: MultiTaskNetwork):
        super().__init__()
        self.strides = {name: network.feature_strides[name] for name in self.STAGES}
        self.offsets = {name: network.feature_offsets[name] for name in self.STAGES}
        self.dense = nn.ModuleDict({name: nn.Conv3d(network.stage_channels[name], 1, 1) for name in self.STAGES})

    def forward(
        self, features: Mapping[str, torch.Tensor], occupancy: torch.Tensor, has_mask: torch.Tensor, coarseness: int
    ) -> torch.Tensor:
        """Binary cross entropy and soft Dice, averaged over the rows with a mask.

        Parameters
        ----------
        features : dict of tensor [N, C, d, h, w]
        occupancy : tensor [N, 1, D, H / 4, W / 4]
            Fraction of blood, 0 to 1.
        has_mask : tensor of bool [N]
            Preferably on the CPU, to avoid waiting for the device.
        coarseness : int
            Full-resolution voxels per network voxel, in-plane.
        """
        if not has_mask.any():
            return occupancy.new_zeros(())
        rows = has_mask.nonzero().flatten().to(occupancy.device, non_blocking=True)
        total = 0.0
        for name, dense in self.dense.items():
            logits = dense(features[name].to(dense.weight.dtype))[rows]
            truth = self._around_nodes(occupancy[rows], name, coarseness, logits.shape[2:])
            cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=logits.new_full((), 5.0))
            found = logits.sigmoid()
            overlap = 2 * (found * truth).sum((1, 2, 3, 4)) + 0.1
            dice = overlap / (found.sum((1, 2, 3, 4)) + truth.sum((1, 2, 3, 4)) + 0.1)
            total = total + cross_entropy + 0.5 * (1 - dice).mean()
        return total

    def _around_nodes(self, occupancy, name, coarseness, shape):
        # Node f is at voxel offset + stride × f, and its cell extends half a stride to both sides.
        kernel, padding = [], []
        scales = (1, coarseness / CELL, coarseness / CELL)
        for stride, offset, scale, nodes, cells in zip(
            self.strides[name], self.offsets[name], scales, shape, occupancy.shape[2:]
        ):
            size = int(stride * scale)
            before = size // 2 - round(offset * scale)
            kernel.append(size)
            padding = [before, nodes * size - before - cells, *padding]  # F.pad starts with the last axis
        return F.avg_pool3d(F.pad(occupancy, padding), kernel, kernel)
