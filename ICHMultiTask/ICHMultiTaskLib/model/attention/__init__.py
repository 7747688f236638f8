"""Attention methods, one file each: where the network looked, on the grid of one of its stages or of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...common.choices import Head, Stage
from ...common.errors import InputError
from ...common.registry import Registry

if TYPE_CHECKING:
    from ..networks.base import MultiTaskNetwork

METHODS = Registry(
    "attention method",
    __package__,
    {
        "gradcam": ("Grad-CAM", ".gradcam:weigh"),
        "gradcam++": ("Grad-CAM++", ".gradcam_plus_plus:weigh"),
        "layercam": ("LayerCAM", ".layercam:weigh"),
        "cam": ("CAM", ".cam:weigh"),
        "saliency": ("Saliency", ".saliency:explain"),
        "smoothgrad": ("SmoothGrad (seconds)", ".smoothgrad:explain"),
        "guided": ("Guided backpropagation", ".rectifiers:guided"),
        "deconvolution": ("Deconvolution", ".rectifiers:deconvolution"),
        "lrp": ("Layer-wise relevance propagation", ".relevance:explain"),
        "occlusion": ("Occlusion (minutes)", ".occlusion:explain"),
        "rollout": ("Attention rollout (transformers)", ".rollout:explain"),
    },
)
"""Of a stage: takes features and gradients, both [N, C, d, h, w], and returns weighted features of the same shape.

Of the image (`OF_THE_IMAGE`): takes `score`, a callable from images [N, 1, D, H, W] to the scores [N] of a head, the
image and a progress callable (fraction, message), and returns a map [N, D, H, W] that is not negative.

Of the tokens of a stage (`OF_TOKENS`): takes the network, features and stage, and returns a map [N, d, h, w]."""
OF_THE_IMAGE = frozenset({"saliency", "smoothgrad", "guided", "deconvolution", "lrp", "occlusion"})
"""Methods that explain the voxels of the network's input, whichever stage is chosen."""
INPUT = "input"
"""Where such a map has no stage."""
OF_TOKENS = frozenset({"rollout"})
"""Methods that need a network whose tokens attend to each other."""
LOCATOR = ("volume", "stage4", "gradcam")
"""Head, stage and method of the default map, the paper's. The second look and the marking search where it is high."""

WITHOUT_PYTORCH = ("gradcam", "cam")
"""Methods whose map of the last stage needs no gradient: it follows from the weights of the head."""

SHOWN_FROM = 0.4
"""Attention below it is not shown."""


def stage_of_map(stage: str, method: str) -> str:
    """Return the stage that a map is of where `stage` was chosen: CAM has the last stage only, others have none."""
    if method in OF_THE_IMAGE:
        return INPUT
    return Stage.STAGE4.value if method == "cam" else stage


def needs_pytorch(stage: str, method: str) -> bool:
    """Whether only PyTorch can compute a map, because it needs gradients."""
    return method not in WITHOUT_PYTORCH or stage_of_map(stage, method) != Stage.STAGE4


def check_choice(head: str, stage: str, method: str) -> None:
    """Raise InputError unless head, stage and method exist."""
    Head.check(head, "attention head")
    METHODS.check(method)
    if not (stage == INPUT and method in OF_THE_IMAGE):
        Stage.check(stage, "attention stage")


def suits(network: MultiTaskNetwork, method: str) -> bool:
    """Whether the method can explain this network."""
    return method not in OF_TOKENS or hasattr(network, "attention_weights")


def check_network(network: MultiTaskNetwork, method: str) -> None:
    """Raise InputError unless the method can explain this network."""
    if not suits(network, method):
        name = network.architecture.get("network", "another")
        raise InputError(f"{METHODS.label(method)} means nothing here: expected the network timesformer, found {name}.")
