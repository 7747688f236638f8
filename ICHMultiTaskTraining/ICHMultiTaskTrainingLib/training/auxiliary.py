"""Auxiliary outputs: dense layers on the pooled features that shape the encoder in training; not part of the bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ICHMultiTaskLib.model.networks.base import STAGES, MultiTaskNetwork

from ..data.auxiliary import AuxiliaryTarget
from .curves import has_enough_outcomes


class AuxiliaryHeads(nn.Module):
    """A global average pool, and a dense layer for each target.

    Parameters
    ----------
    network : MultiTaskNetwork
    targets : sequence of AuxiliaryTarget
    """

    def __init__(self, network: MultiTaskNetwork, targets: Sequence[AuxiliaryTarget]):
        super().__init__()
        self.targets = tuple(targets)
        channels = network.stage_channels[STAGES[-1]]
        self.dense = nn.ModuleDict({target.name: nn.Linear(channels, target.outputs) for target in targets})

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Map features [N, C, d, h, w] of the last stage to the outputs of each target [N, outputs]."""
        pooled = features.mean((2, 3, 4))
        return [dense(pooled.to(dense.weight.dtype)) for dense in self.dense.values()]

    def losses(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of findings and classes, squared error of numbers: means over the rows with a label.

        Parameters
        ----------
        features : tensor [N, C, d, h, w]
        labels : tensor [N, number of targets]
            NaN where unknown.

        Returns
        -------
        tensor [number of targets]
            0 for a target that no row has a label of.
        """
        known = labels.isfinite()
        # Every output takes part, so that no process of several waits for a gradient.
        labels, found = labels.nan_to_num(), []
        for n, (target, output) in enumerate(zip(self.targets, self(features))):
            found.append(_losses_of_rows(target, output, labels[:, n].to(output.dtype)))
        found = torch.stack(found, dim=1)
        return (found * known).sum(0) / known.sum(0).clamp(min=1)


def _losses_of_rows(target, output, labels):
    if target.classes > 2:
        return F.cross_entropy(output, labels.long(), reduction="none")
    if target.classes:
        return F.binary_cross_entropy_with_logits(output[:, 0], labels, reduction="none")
    return (output[:, 0] - labels) ** 2


def measures(targets: Sequence[AuxiliaryTarget], outputs: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """How well the outputs agree with the labels of the validation scans.

    Parameters
    ----------
    targets : sequence of AuxiliaryTarget
    outputs : ndarray of shape (N, sum of all outputs)
        In the order of the targets.
    labels : ndarray of shape (N, number of targets)

    Returns
    -------
    dict of str to float or None
        By `measure_name`: the AUC of a finding, the accuracy of a class, or the mean absolute error of a number in its
        unit; None where too few scans have a label.
    """
    from sklearn.metrics import roc_auc_score

    found, first = {}, 0
    for target, truth in zip(targets, labels.T):
        known = np.isfinite(truth)
        output, truth = outputs[known, first : first + target.outputs], truth[known]
        first += target.outputs
        if not len(truth) or (target.classes == 2 and not has_enough_outcomes(len(truth), int(truth.sum()))):
            value = None
        elif target.classes == 2:
            value = float(roc_auc_score(truth, output[:, 0]))
        elif target.classes:
            value = float((output.argmax(1) == truth).mean())
        else:
            value = float(np.abs(output[:, 0] - truth).mean() * target.scale)
        found[measure_name(target)] = value
    return found


def measure_name(target: AuxiliaryTarget) -> str:
    """Name of a target's measure in `history.json`, such as `validation_midline_shift_mae_mm`."""
    kind = {0: "mae", 2: "auc"}.get(target.classes, "accuracy")
    return "_".join(filter(None, ("validation", target.name, kind, target.unit)))


def measures_text(targets: Sequence[AuxiliaryTarget], entry: dict) -> str:
    """The measures of an epoch in words, such as "infratentorial AUC 0.912, midline shift MAE 1.3 mm"."""
    words = []
    for target in targets:
        value = entry.get(measure_name(target))
        if value is None:
            continue
        kind = {0: "MAE", 2: "AUC"}.get(target.classes, "accuracy")
        number = f"{value:.3f}" if target.classes == 2 else f"{value:.2f}"
        words.append(f"{target.name.replace('_', ' ')} {kind} {number} {target.unit}".rstrip())
    return ", ".join(words)
