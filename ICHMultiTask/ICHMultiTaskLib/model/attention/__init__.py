"""Attention methods, one file each: where the network looked, on the grid of one of its stages or of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...common.choices import Head, Stage
from ...common.errors import InputError
from ...common.registry import Registry
from ...common.translation import tr as _

if TYPE_CHECKING:
    from ..networks.base import MultiTaskNetwork

METHODS = Registry(
    "attention method",
    __package__,
    {
        "gradcam": ("Grad-CAM", ".gradcam:weigh"),
        "hirescam": ("HiResCAM", ".hirescam:weigh"),
        "gradcam++": ("Grad-CAM++", ".gradcam_plus_plus:weigh"),
        "layercam": ("LayerCAM", ".layercam:weigh"),
        "cam": ("CAM", ".cam:weigh"),
        "saliency": (_("Saliency"), ".saliency:explain"),
        "smoothgrad": (_("SmoothGrad (seconds)"), ".smoothgrad:explain"),
        "guided": (_("Guided backpropagation"), ".rectifiers:guided"),
        "deconvolution": (_("Deconvolution"), ".rectifiers:deconvolution"),
        "lrp": (_("Layer-wise relevance propagation"), ".relevance:explain"),
        "occlusion": (_("Occlusion (minutes)"), ".occlusion:explain"),
        "rollout": (_("Attention rollout (transformers)"), ".rollout:explain"),
    },
)
"""Methods for one stage take features and gradients, both [N, C, d, h, w], and return weighted features of that shape;
they are written so that PyTorch's tensors and NumPy's arrays will do.

Methods for the input image (`INPUT_METHODS`) take `score`, a callable from images [N, 1, D, H, W] to the scores [N] of
a head, the image, and a progress callable (fraction, message); they return a non-negative map [N, D, H, W].

Methods for the tokens of a stage (`TOKEN_METHODS`) take the network, features and stage, and return a map [N, d, h, w].
"""
INPUT_METHODS = frozenset({"saliency", "smoothgrad", "guided", "deconvolution", "lrp", "occlusion"})
"""Methods whose map is of the network's input, whichever stage is chosen."""
INPUT = "input"
"""Stands for the stage of such a map."""
TOKEN_METHODS = frozenset({"rollout"})
"""Methods for transformers only."""


class MapChoice(NamedTuple):
    """Choice of an attention map."""

    head: str
    stage: str
    method: str


LOCATOR = MapChoice("volume", "stage3", "hirescam")
"""The default map: second look and marking search where it is high. The paper's, Grad-CAM of the last stage, is hottest
at the border of large bleeds; measured in `Docs/experiments.md`.
"""

WITHOUT_PYTORCH = (Stage.STAGE3.value, Stage.STAGE4.value)
"""Stages whose maps ONNX Runtime gives too."""

SHOWN_FROM = 0.4
"""Attention below it is not shown."""


def stage_of_map(stage: str, method: str) -> str:
    """Return the stage of a method's map if `stage` is chosen: CAM uses the last one, `INPUT_METHODS` use the input."""
    if method in INPUT_METHODS:
        return INPUT
    return Stage.STAGE4.value if method == "cam" else stage


def plain_label(method: str) -> str:
    """Name of a method without the hint at its time or network, such as "Occlusion"."""
    return METHODS.label(method).partition(" (")[0]


def stage_words(stage: str) -> str:
    """What a map is of, such as "stage 3" or "the input"."""
    return _("the input") if stage == INPUT else _("stage {number}").format(number=stage[-1])


def map_words(stage: str, method: str) -> str:
    """What a map is, such as "HiResCAM of stage 3" or "Saliency of the input"."""
    return _("{method} of {stage}").format(method=plain_label(method), stage=stage_words(stage_of_map(stage, method)))


def needs_pytorch(stage: str, method: str) -> bool:
    """Whether only PyTorch can compute a map: of the input, of the tokens, or of an early stage."""
    return method in TOKEN_METHODS or stage_of_map(stage, method) not in WITHOUT_PYTORCH


def check_choice(head: str, stage: str, method: str) -> None:
    """Raise InputError unless head, stage and method exist."""
    Head.check(head, "attention head")
    METHODS.check(method)
    if not (stage == INPUT and method in INPUT_METHODS):
        Stage.check(stage, "attention stage")


def supports(network: MultiTaskNetwork, method: str) -> bool:
    """Whether the network supports the method."""
    return method not in TOKEN_METHODS or hasattr(network, "attention_weights")


def check_network(network: MultiTaskNetwork, method: str) -> None:
    """Raise InputError unless the network supports the method."""
    if not supports(network, method):
        name = network.architecture.get("network", "another")
        label = METHODS.label(method)
        raise InputError(
            _("{label} needs a transformer: expected the network timesformer, found {name}.").format(
                label=label, name=name
            )
        )
