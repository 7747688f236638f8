"""Attention rollout: how much each token contributes to the output (Abnar and Zuidema 2020, arXiv:2005.00928).

Only for transformers. The map is the same for both heads, which read the same tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..networks.base import MultiTaskNetwork


def explain(network: MultiTaskNetwork, features: torch.Tensor, stage: str) -> torch.Tensor:
    """Share of each token of a stage in the input of the heads.

    In each layer, attention and residual connection have a weight of one half each. The shares are traced from the
    class token down to the stage; with the class token's own share, they add up to 1.

    Parameters
    ----------
    network : MultiTaskNetwork
        With `attention_weights`.
    features : tensor [N, C, …]
        Output of `stage`.
    stage : str

    Returns
    -------
    tensor [N, d, h, w]
    """
    with torch.no_grad():
        layers = list(network.attention_weights(features, stage))
        shape = network.on_grid(features).shape
        share = features.new_zeros(shape[0], shape[2], shape[3] * shape[4])  # of the tokens in slices
        token = features.new_ones(shape[0])  # of the class token
        for across, within in reversed(layers):
            attended = torch.einsum("nki,nkij->nkj", share, within[:, :, 1:])
            attended = attended + token[:, None, None] * within[:, :, 0] / within.shape[1]
            token = (token + attended[:, :, 0].sum(1)) / 2
            share = (share + attended[:, :, 1:]) / 2
            share = (share + torch.einsum("nkj,njkm->nmj", share, across)) / 2
    return share.unflatten(2, shape[3:])
