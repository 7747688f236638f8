"""Class activation maps: where the network looked, on the grid of one of its stages.

Gradients are taken from a head down to the stage's stored features; the encoder is not run again.
"""

import torch

from ...common.errors import InputError
from ..networks.resnet import STAGES

HEADS = ("volume", "prognosis")
METHODS = ("gradcam", "gradcam++", "layercam")


def check_choice(head, stage, method):
    """Raise InputError if there is no such head, stage or method."""
    for name, value, known in (("head", head, HEADS), ("stage", stage, STAGES), ("method", method, METHODS)):
        if value not in known:
            raise InputError(f"The attention {name} is unknown: expected one of {', '.join(known)}, found {value!r}.")


def attention_map(network, features, stage, head="volume", method="gradcam"):
    """Attention on the grid of a stage.

    Parameters
    ----------
    network : MultiTaskResNet
        In evaluation mode.
    features : tensor [N, C, d, h, w]
        Output of `stage`.
    stage : str
        "stage1" … "stage4".
    head : str
        "volume": what raises the regression output; "prognosis": what raises the score of death.
    method : str
        "gradcam" (Selvaraju et al. 2017), "gradcam++" (Chattopadhay et al. 2018) or "layercam" (Jiang et al. 2021).

    Returns
    -------
    tensor [N, d, h, w]
        Not negative, not normalized; all zero where nothing in the image raises the score.
    """
    check_choice(head, stage, method)
    features = features.detach().float().requires_grad_()
    with torch.enable_grad():
        volume, scores = network.heads(features, stage)
        score = volume if head == "volume" else scores[:, 1]
        (gradients,) = torch.autograd.grad(score.sum(), features)
    features = features.detach()
    if method == "layercam":
        weighted = gradients.relu() * features
    elif method == "gradcam":
        weighted = gradients.mean((2, 3, 4), keepdim=True) * features
    else:
        squared, cubed = gradients**2, gradients**3
        denominator = 2 * squared + (features.sum((2, 3, 4), keepdim=True) * cubed)
        alpha = squared / torch.where(denominator == 0, torch.ones_like(denominator), denominator)
        weighted = (alpha * gradients.relu()).sum((2, 3, 4), keepdim=True) * features
    return weighted.sum(1).relu()
