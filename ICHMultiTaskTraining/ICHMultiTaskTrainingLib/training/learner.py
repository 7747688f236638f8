"""The network in training: its heads and auxiliary layers, for a number format and the trained tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ICHMultiTaskLib.common.choices import Precision
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks.base import MultiTaskNetwork
from ICHMultiTaskLib.model.runtime import Runtime

from ..data.auxiliary import AuxiliaryTarget
from .auxiliary import AuxiliaryHeads
from .losses import MaskLoss


def choose_runtime(precision: str, device: str) -> Runtime:
    """Choose the number format for training on a device.

    Half precision is only for GPUs: on a CPU it is not faster, and gradients were NaN at random (PyTorch 2.13 on a
    processor with AVX-512 BF16; up to 129 of 300 repetitions of one 3×3×3 convolution).

    Parameters
    ----------
    precision : str
        As in `TrainingConfig`.
    device : str

    Returns
    -------
    Runtime

    Raises
    ------
    InputError
        For half precision on a CPU.
    """
    if device == "cpu" and precision not in (Precision.AUTO, Precision.FP32):
        raise InputError(f"Half precision needs a GPU for training: expected auto or fp32 on a CPU, found {precision}.")
    if precision == Precision.AUTO:
        precision = "fp32"
        if device == "cuda":
            precision = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Runtime(device, dtypes[precision], channels_last=True)


class Learner(nn.Module):
    """One forward pass of training with the auxiliary losses, in one module as `DistributedDataParallel` requires.

    Parameters
    ----------
    network : MultiTaskNetwork
    runtime : Runtime
    tasks : str
        As in `TrainingConfig`.
    frozen_encoder : bool
    with_masks : bool
        Whether the mask loss is used.
    frozen_norm : bool
        Whether batch norms keep their statistics.
    targets : sequence of AuxiliaryTarget
        Auxiliary outputs; none by default.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        runtime: Runtime,
        tasks: str = "both",
        frozen_encoder: bool = False,
        with_masks: bool = True,
        frozen_norm: bool = False,
        targets: Sequence[AuxiliaryTarget] = (),
    ):
        super().__init__()
        self.network, self.mask_loss = network, MaskLoss(network)
        self.runtime, self.frozen_encoder, self.frozen_norm = runtime, frozen_encoder, frozen_norm
        self.with_masks = with_masks and not frozen_encoder
        heads = {"volume": network.volume_head, "prognosis": network.prognosis_head}
        if frozen_encoder:
            network.requires_grad_(False)
        for task, head in heads.items():
            head.requires_grad_(tasks in ("both", task))
        if network.clinical is not None:
            network.clinical.requires_grad_(tasks != "volume")
        self.mask_loss.requires_grad_(self.with_masks)
        # Last, so that it changes neither the initial weights nor the order of the others in the optimizer's state.
        self.auxiliary = AuxiliaryHeads(network, targets) if targets else None

    def train(self, mode: bool = True) -> Learner:
        """Set the mode; with frozen batch norms the network stays in evaluation mode, which keeps their statistics."""
        super().train(mode)
        if self.frozen_encoder or self.frozen_norm:
            self.network.eval()
        return self

    def forward(
        self,
        images: torch.Tensor,
        occupancy: torch.Tensor,
        has_mask: torch.Tensor,
        reduction: int,
        clinical: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs and auxiliary losses of a batch.

        Parameters
        ----------
        images : tensor [N, 1, D, H, W]
        occupancy : tensor [N, 1, D, h, w]
        has_mask : tensor of bool [N]
        reduction : int
        clinical : tensor [N, width], optional
        labels : tensor [N, number of targets], optional
            Labels of the auxiliary outputs, NaN where unknown.

        Returns
        -------
        output : tensor [N]
        scores : tensor [N, 2]
        mask_loss : tensor []
        auxiliary_losses : tensor [number of targets]
        """
        with self.runtime.context():
            features = dict(self.network.features(self.runtime.arrange(images)))
        # Outside the context, in the weights' own format: half precision has too few digits for volumes and losses.
        dtype = self.network.volume_head.dense.weight.dtype
        output, scores = self.network.heads(features["stage4"].to(dtype), clinical=clinical)
        mask_loss, auxiliary_losses = output.new_zeros(()), output.new_zeros(0)
        if self.with_masks:
            on_grid = {name: self.network.on_grid(features[name]) for name in MaskLoss.STAGES}
            mask_loss = self.mask_loss(on_grid, occupancy, has_mask, reduction)
        if self.auxiliary is not None:
            auxiliary_losses = self.auxiliary.losses(self.network.on_grid(features["stage4"]), labels)
        return output, scores, mask_loss, auxiliary_losses
