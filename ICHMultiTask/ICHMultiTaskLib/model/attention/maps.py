"""Attention map of one stage and one head.

Gradients are computed from a head back to the stored features of the stage; the encoder is not run again.
"""

from __future__ import annotations

import torch

from ...common.choices import Head
from ..networks.base import MultiTaskNetwork
from . import METHODS, check_choice


def attention_map(
    network: MultiTaskNetwork, features: torch.Tensor, stage: str, head: str = "volume", method: str = "gradcam"
) -> torch.Tensor:
    """Compute attention on the grid of a stage.

    Parameters
    ----------
    network : MultiTaskNetwork
        In evaluation mode.
    features : tensor [N, C, d, h, w]
        Output of `stage`.
    stage : str
        "stage1" … "stage4".
    head : str
        "volume": regions that raise the regression output; "prognosis": regions that raise the score of death.
    method : str
        A name in `METHODS`.

    Returns
    -------
    tensor [N, d, h, w]
        Not negative, not normalized; all zero if nothing in the image raises the score.
    """
    check_choice(head, stage, method)
    features = features.detach().float().requires_grad_()
    with torch.enable_grad():
        volume, scores = network.heads(features, stage)
        score = volume if head == Head.VOLUME else scores[:, 1]
        (gradients,) = torch.autograd.grad(score.sum(), features)
    features, gradients = (network.on_grid(values) for values in (features.detach(), gradients))
    return METHODS[method](features, gradients).sum(1).relu()
