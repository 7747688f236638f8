"""Ensemble of networks of one architecture, such as the folds of a cross-validation: the mean of their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from . import build_network
from .base import STAGES, MultiTaskNetwork


class Ensemble(MultiTaskNetwork):
    """The mean of the outputs of networks of one architecture.

    The features of a stage are the concatenated features of all members, so that an attention map explains the mean.

    Parameters
    ----------
    members : int
    member : dict
        Architecture of each member.
    """

    def __init__(self, members: int, member: Mapping):
        super().__init__()
        if members < 1:
            raise ValueError(f"members is {members}; expected at least 1.")
        self.members = nn.ModuleList(build_network(member) for _ in range(members))
        first = self.members[0]
        self.architecture = {"members": members, "member": dict(first.architecture)}
        self.feature_strides, self.feature_offsets = first.feature_strides, first.feature_offsets
        self.stage_channels = {name: members * first.stage_channels[name] for name in STAGES}

    def features(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (stage name, output [N, members × C, d, h, w]) stage by stage."""
        for outputs in zip(*(member.features(x) for member in self.members)):
            yield outputs[0][0], torch.cat([output for _, output in outputs], dim=1)

    def heads(
        self, features: torch.Tensor, stage: str = STAGES[-1], clinical: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean regression output [N] and mean scores [N, 2] from the output of `stage`."""
        parts = features.chunk(len(self.members), dim=1)
        pairs = (member.heads(part, stage, clinical) for member, part in zip(self.members, parts))
        volumes, scores = zip(*pairs)
        return torch.stack(volumes).mean(0), torch.stack(scores).mean(0)

    def on_grid(self, features: torch.Tensor) -> torch.Tensor:
        """The part of a stage's features that lies in the image."""
        return self.members[0].on_grid(features)
