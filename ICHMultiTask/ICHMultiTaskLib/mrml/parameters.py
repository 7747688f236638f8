"""The panel's parameters. The one adapter that needs the application: slicer-core has no parameter node wrapper.

The application saves a choice by the name of its member; a member that an earlier version had is kept as an alias.
"""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..common import choices
from ..common.translation import translated
from ..model.attention import LOCATOR, METHODS, SHOWN_FROM
from .results import FOREGROUND_OPACITY


class Device(Enum):
    """Where the network runs."""

    AUTOMATIC = choices.Device.AUTO.value
    CUDA = choices.Device.CUDA.value
    MPS = choices.Device.MPS.value
    CPU = choices.Device.CPU.value

    def label(self) -> str:
        """Text in the panel."""
        gpus = {"auto": _("Automatic"), "cuda": _("NVIDIA GPU (CUDA)"), "mps": _("Apple GPU (MPS)")}
        return gpus.get(self.value) or _("Processor (CPU)")


class AttentionHead(Enum):
    """Which of the network's two outputs the map explains."""

    VOLUME = choices.Head.VOLUME.value
    PROGNOSIS = choices.Head.PROGNOSIS.value

    def label(self) -> str:
        """Text in the panel."""
        return _("Hematoma volume") if self is AttentionHead.VOLUME else _("Prognosis")


class AttentionStage(Enum):
    """Which stage of the network the map is taken from."""

    STAGE1 = choices.Stage.STAGE1.value
    STAGE2 = choices.Stage.STAGE2.value
    STAGE3 = choices.Stage.STAGE3.value
    STAGE4 = choices.Stage.STAGE4.value
    MODEL = LOCATOR.stage

    def label(self) -> str:
        """Text in the panel."""
        return _("Stage {n} of 4").format(n=self.value[-1])


def _method_members():
    names = {key: key.upper().replace("++", "_PLUS_PLUS") for key in METHODS}
    return {**{name: key for key, name in names.items()}, "MODEL": LOCATOR.method}


AttentionMethod = Enum("AttentionMethod", _method_members(), module=__name__)
"""How the map is computed from the features of the stage."""
AttentionMethod.label = lambda method: translated(METHODS.label(method.value))


@parameterNodeWrapper
class ICHMultiTaskParameterNode:
    """What the user has chosen; saved with the scene.

    inputVolume - head CT to analyze
    bundleFolder - folder of the model bundle; empty for the shipped one
    device - where the network runs
    attentionHead, attentionStage, attentionMethod - which attention map is shown
    overlayOpacity - of the map over the scan
    overlayThreshold - attention below it is not shown
    comparedSegments - segments that are ticked, each as the IDs of its node and of itself; one that is not
    known to be of a scan is followed by the ID of the scan that it was ticked for
    earlierVolume - earlier head CT of the same patient
    """

    inputVolume: vtkMRMLScalarVolumeNode
    bundleFolder: str = ""
    device: Device = Device.AUTOMATIC
    attentionHead: AttentionHead = AttentionHead.VOLUME
    attentionStage: AttentionStage = AttentionStage(LOCATOR.stage)
    attentionMethod: AttentionMethod = AttentionMethod(LOCATOR.method)
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = FOREGROUND_OPACITY
    overlayThreshold: Annotated[float, WithinRange(0, 1)] = SHOWN_FROM
    comparedSegments: list[str] = []
    earlierVolume: vtkMRMLScalarVolumeNode
