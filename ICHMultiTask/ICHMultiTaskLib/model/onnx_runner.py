"""Run a network by ONNX Runtime: a small package, for the processor, the paper's heads and their Grad-CAM.

ONNX Runtime has no gradients. The heads are a global average and a dense layer, so that a channel's gradient at the end
of the last stage is its weight in the dense layer over the number of places; from there a second graph leads it back
through the last stage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType

import numpy as np

from ..common.choices import Device, Head
from ..common.errors import DependencyError, InputError
from ..common.processes import usable_cores
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from .attention import METHODS, WITHOUT_PYTORCH, map_words, needs_pytorch, stage_words
from .bundle import ModelBundle
from .networks.resnet_onnx import LAST, ResNetOnnx
from .preprocessing import PreprocessingSettings


class OnnxRunner:
    """A network ready to run; see `ICHMultiTaskLib.model.runners` for what every runner offers."""

    library, device, number_format = "onnx", Device.CPU.value, "float32"

    def __init__(self, encoder: ResNetOnnx, weights: Mapping[str, np.ndarray], shape: tuple, final_relu: bool):
        self._forward, self._backward = (
            _session(encoder.forward(weights, shape)),
            _session(encoder.backward(weights, shape)),
        )
        self._encoder, self._final_relu = encoder, final_relu
        heads = ("volume_head.", "prognosis_head.", "clinical.")
        self._weights = {name: w.astype(np.float32) for name, w in weights.items() if name.startswith(heads)}

    @classmethod
    def load(cls, bundle: ModelBundle, device: str = "auto") -> OnnxRunner:
        """Load the network of a bundle.

        Raises
        ------
        InputError
            If its network, or the device, needs PyTorch.
        """
        if device not in (Device.AUTO, Device.CPU):
            raise InputError(
                _("ONNX Runtime runs on the processor here: expected the device auto or cpu, found {device}.").format(
                    device=device
                )
            )
        architecture = bundle.metadata["architecture"]
        shape = PreprocessingSettings(**bundle.metadata["preprocessing"]).shape_kji
        try:
            encoder = ResNetOnnx(architecture)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise bundle.cannot_be_built(error) from error
        return cls(encoder, bundle.weights(encoder.shapes), shape, architecture.get("final_relu", True))

    def check_map(self, stage: str, method: str) -> None:
        """Raise InputError unless the map can be computed."""
        if needs_pytorch(stage, method):
            raise InputError(
                _("This attention map needs PyTorch: expected one of the features of {stages}, found {found}.").format(
                    stages=" or ".join(map(stage_words, WITHOUT_PYTORCH)), found=map_words(stage, method)
                )
            )

    def run(
        self, image: np.ndarray, clinical: np.ndarray | None = None, progress: Progress = NO_PROGRESS
    ) -> tuple[dict[str, np.ndarray], float, float]:
        """Features of the last two stages and of the layers of the last one, regression output, log odds of death."""
        names = self._encoder.outputs
        features = dict(zip(names, self._forward.run(names, {"image": image})))
        progress(1.0, _("Network: {stage}").format(stage=stage_words(LAST)))
        volume, scores = self._heads(features[LAST], clinical)
        survival, death = np.maximum(scores, 0.0) if self._final_relu else scores
        return features, float(volume[0]), float(death - survival)

    def log_odds(self, images: np.ndarray, clinical: np.ndarray | None = None) -> list[float]:
        """Log odds of death of each image."""
        return [self.run(image[None], clinical)[2] for image in images]

    def attention_grid(
        self,
        image: np.ndarray,
        features: dict[str, np.ndarray],
        head: str,
        stage: str,
        method: str,
        clinical: np.ndarray | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> tuple[np.ndarray, tuple, tuple]:
        """Attention map on the grid of one of the last two stages."""
        self.check_map(stage, method)
        name, row = ("prognosis_head", 1) if head == Head.PROGNOSIS else ("volume_head", 0)
        last = features[LAST]
        gradients = self._weights[f"{name}.dense.weight"][row][None] / np.prod(last.shape[2:], dtype=np.float32)
        if head == Head.PROGNOSIS and self._final_relu and self._heads(last, clinical)[1][1] <= 0:
            gradients = gradients * np.float32(0.0)  # none passes the ReLU
        if stage == LAST:
            gradients = np.broadcast_to(gradients, last.shape)
        else:
            layers = {name: features[name] for name in self._encoder.outputs[1:]}
            (gradients,) = self._backward.run(None, {"pooled": gradients} | layers)
        grid = METHODS[method](features[stage], gradients).sum(1)[0].clip(0)
        return grid, self._encoder.strides[stage], self._encoder.offsets[stage]

    def _heads(self, features, clinical):
        """Regression output [1] and scores [2], before the prognosis head's ReLU."""
        pooled = features.mean((0, 2, 3, 4))
        volume, scores = (self._dense(f"{name}.dense", pooled) for name in ("volume_head", "prognosis_head"))
        if "clinical.hidden.weight" in self._weights:
            known = np.zeros(self._weights["clinical.hidden.weight"].shape[1]) if clinical is None else clinical[0]
            hidden = np.maximum(self._dense("clinical.hidden", known), 0.0)
            scores = scores + self._weights["clinical.dense.weight"] @ hidden
        return volume, scores

    def _dense(self, name, values):
        weights = self._weights[f"{name}.weight"]
        return weights.reshape(len(weights), -1) @ values + self._weights[f"{name}.bias"]


def import_silently() -> ModuleType:
    """Import ONNX Runtime so that it reports nothing to Microsoft, as its builds otherwise do.

    Builds for Linux and macOS write an identifier of the computer and a first event while they are imported, which no
    later call takes back; only the environment variable `ORT_DISABLE_TELEMETRY` prevents it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed, or a system library is missing.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # stays, for the processes that this one starts
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # of the builds for Windows, and if somebody else has imported it before
    return onnxruntime


def _session(model):
    try:
        onnxruntime = import_silently()
    except ImportError as error:
        raise DependencyError(_("ONNX Runtime is needed to run this model, and it is not installed.")) from error
    options = onnxruntime.SessionOptions()
    # A number that is given keeps threads from being bound to processors, which containers refuse.
    options.intra_op_num_threads = thread_count(os.environ)
    # Threads that wait for work by spinning take the processor from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def thread_count(environment: Mapping[str, str]) -> int:
    """Threads of the network: those that OMP_NUM_THREADS allows, as with PyTorch, else one for each processor."""
    asked = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return usable_cores()
