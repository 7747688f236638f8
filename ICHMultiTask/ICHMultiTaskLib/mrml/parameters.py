"""The panel's parameters. The one adapter that needs the application: slicer-core has no parameter node wrapper."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .results import FOREGROUND_OPACITY, THRESHOLD


class Device(Enum):
    """Where the network runs."""

    AUTOMATIC = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"

    def label(self):
        """Text in the panel."""
        gpus = {"auto": _("Automatic"), "cuda": _("NVIDIA GPU (CUDA)"), "mps": _("Apple GPU (MPS)")}
        return gpus.get(self.value) or _("Processor (CPU)")


class AttentionHead(Enum):
    """Which of the network's two outputs the map explains."""

    VOLUME = "volume"
    PROGNOSIS = "prognosis"

    def label(self):
        """Text in the panel."""
        return _("Hematoma volume") if self is AttentionHead.VOLUME else _("Prognosis")


class AttentionStage(Enum):
    """Which stage of the network the map is taken from; None is the model's own choice."""

    MODEL = None
    STAGE1 = "stage1"
    STAGE2 = "stage2"
    STAGE3 = "stage3"
    STAGE4 = "stage4"

    def label(self):
        """Text in the panel."""
        return _("Stage {n} of 4").format(n=self.value[-1]) if self.value else _("Model's own")


class AttentionMethod(Enum):
    """How the map is made from the stage; None is the model's own choice."""

    MODEL = None
    GRADCAM = "gradcam"
    GRADCAM_PLUS_PLUS = "gradcam++"
    LAYERCAM = "layercam"

    def label(self):
        """Text in the panel."""
        names = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}
        return names.get(self.value) or _("Model's own")


@parameterNodeWrapper
class ICHMultiTaskParameterNode:
    """What the user has chosen; saved with the scene.

    inputVolume - head CT to analyze
    bundleFolder - folder of the model bundle; empty for the shipped one
    device - where the network runs
    attentionHead, attentionStage, attentionMethod - which attention map is shown
    overlayOpacity - of the map over the scan
    overlayThreshold - attention below it is not shown
    comparedSegments - segments that are ticked, each as the IDs of its node and of itself
    earlierVolume - earlier head CT of the same patient
    """

    inputVolume: vtkMRMLScalarVolumeNode
    bundleFolder: str = ""
    device: Device = Device.AUTOMATIC
    attentionHead: AttentionHead = AttentionHead.VOLUME
    attentionStage: AttentionStage = AttentionStage.MODEL
    attentionMethod: AttentionMethod = AttentionMethod.MODEL
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = FOREGROUND_OPACITY
    overlayThreshold: Annotated[float, WithinRange(0, 1)] = THRESHOLD
    comparedSegments: list[str] = []
    earlierVolume: vtkMRMLScalarVolumeNode
