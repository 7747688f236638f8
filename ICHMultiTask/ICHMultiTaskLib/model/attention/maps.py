"""Attention map of one head, for one stage or for the network's input.

For a stage, gradients are computed from the head back to the stage's stored features; the encoder is not run again. For
the input, the network is run on the image, once or many times.
"""

from __future__ import annotations

import torch

from ...common.choices import Head, Stage
from ...common.errors import InputError
from ...common.progress import NO_PROGRESS, Progress
from ...common.translation import tr as _
from ..networks.base import MultiTaskNetwork
from . import INPUT, INPUT_METHODS, METHODS, TOKEN_METHODS, check_choice, check_network


def attention_map(
    network: MultiTaskNetwork,
    features: torch.Tensor,
    stage: str,
    head: str = "volume",
    method: str = "gradcam",
    clinical: torch.Tensor | None = None,
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
        A name in `METHODS`, except `INPUT_METHODS`.
    clinical : tensor [N, inputs], optional
        As in `MultiTaskNetwork.heads`.

    Returns
    -------
    tensor [N, d, h, w]
        Not negative, not normalized; all zero if nothing in the image raises the score.

    Raises
    ------
    InputError
        If a choice is unknown, or the method is not available for this stage or network.
    """
    check_choice(head, stage, method)
    check_network(network, method)
    if stage == INPUT or method in INPUT_METHODS or (method == "cam" and stage != Stage.STAGE4):
        expected = INPUT if method in INPUT_METHODS else Stage.STAGE4.value
        raise InputError(
            _("{label} is not available for every stage: expected {expected}, found {stage}.").format(
                label=METHODS.label(method), expected=expected, stage=stage
            )
        )
    features = features.detach().float()
    if method in TOKEN_METHODS:
        return METHODS[method](network, features, stage)
    features.requires_grad_()
    with torch.enable_grad():
        volume, scores = network.heads(features, stage, clinical)
        score = volume if head == Head.VOLUME else scores[:, 1]
        (gradients,) = torch.autograd.grad(score.sum(), features)
    features, gradients = (network.on_grid(values) for values in (features.detach(), gradients))
    return METHODS[method](features, gradients).sum(1).relu()


def image_map(
    network: MultiTaskNetwork,
    image: torch.Tensor,
    head: str = "volume",
    method: str = "saliency",
    progress: Progress = NO_PROGRESS,
    clinical: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute attention on the grid of the network's input.

    Parameters
    ----------
    network : MultiTaskNetwork
        In evaluation mode.
    image : tensor [N, 1, D, H, W]
    head : str
        As in `attention_map`.
    method : str
        A name in `INPUT_METHODS`.
    progress : callable (fraction, message)
        May raise Canceled.
    clinical : tensor [1, inputs], optional
        As in `attention_map`, for one image.

    Returns
    -------
    tensor [N, D, H, W]
        Not negative, not normalized.
    """
    check_choice(head, INPUT, method)

    def score(images):
        inputs = () if clinical is None else (clinical.expand(len(images), -1),)
        volume, scores = network(images, *inputs)
        return volume if head == Head.VOLUME else scores[:, 1]

    return METHODS[method](score, image, progress)
