"""Attention methods, one file each: maps of where the network looked, on the grid of one of its stages."""

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
"""Each takes features and gradients, both [N, C, d, h, w], and returns weighted features of the same shape."""
LOCATOR = ("volume", "stage4", "gradcam")
"""Head, stage and method of the default map, the paper's. The second look and the marking search where it is high."""

SHOWN_FROM = 0.4
"""Attention below it is not shown."""


def check_choice(head: str, stage: str, method: str) -> None:
    """Raise InputError unless head, stage and method exist."""
    Head.check(head, "attention head")
    Stage.check(stage, "attention stage")
    METHODS.check(method)
