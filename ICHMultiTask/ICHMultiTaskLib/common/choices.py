"""Choices of the user, each defined once: help texts, panels and checks are made from them."""

from __future__ import annotations

from enum import Enum

from .errors import InputError
from .translation import tr as _


class Choice(str, Enum):
    """A choice that is typed, compared and saved as its value."""

    __str__ = str.__str__
    __format__ = str.__format__

    @classmethod
    def values(cls) -> tuple[str, ...]:
        """Valid values, in the order in which they are shown."""
        return tuple(member.value for member in cls)

    @classmethod
    def check(cls, value: object, what: str) -> None:
        """Raise InputError unless `value` is one of the choices; `what` names the choice in the message."""
        if value not in cls.values():
            raise InputError(
                _("The {what} is unknown: expected one of {values}, found {value!r}.").format(
                    what=what, values=", ".join(cls.values()), value=value
                )
            )


class Device(Choice):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class RuntimeLibrary(Choice):
    """Library that runs the network; "auto" in Python: PyTorch where it is installed, else ONNX Runtime."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


class Head(Choice):
    """Output of the network that an attention map explains."""

    VOLUME = "volume"
    PROGNOSIS = "prognosis"


class Stage(Choice):
    """Stage of the network's encoder; every network has four, the last before its heads."""

    STAGE1 = "stage1"
    STAGE2 = "stage2"
    STAGE3 = "stage3"
    STAGE4 = "stage4"


class SliceSampling(Choice):
    """How the slices of the network's grid are made from those of the scan."""

    LINEAR = "linear"
    SPLINE = "spline"
    EVEN = "even"


class Precision(Choice):
    """Number format of the encoder in training."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Cohort(Choice):
    """Kind of simulated cohort."""

    TRAINING = "training"
    PAPER = "paper"


class Weights(Choice):
    """Number format of a bundle's large weights."""

    HALF = "half"
    INT8 = "int8"
