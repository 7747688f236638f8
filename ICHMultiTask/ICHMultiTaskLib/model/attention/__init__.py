"""Attention methods, one file each: where the network looked, on the grid of one of its stages."""

from ...common.choices import Head, Stage
from ...common.registry import Registry

METHODS = Registry(
    "attention method",
    __package__,
    {
        "gradcam": ("Grad-CAM", ".gradcam:weigh"),
        "gradcam++": ("Grad-CAM++", ".gradcam_plus_plus:weigh"),
        "layercam": ("LayerCAM", ".layercam:weigh"),
    },
)
"""Each takes features and gradients, both [N, C, d, h, w], and returns the weighted features of the same shape."""

SHOWN_FROM = 0.4
"""Attention below it is not shown."""


def check_choice(head: str, stage: str, method: str) -> None:
    """Raise InputError if there is no such head, stage or method."""
    Head.check(head, "attention head")
    Stage.check(stage, "attention stage")
    METHODS.check(method)
