"""Run a network by PyTorch: on a GPU too, and with every attention map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from .attention import INPUT, check_network, stage_words
from .attention.maps import attention_map, image_map
from .bundle import ModelBundle
from .networks.base import MultiTaskNetwork
from .runtime import Runtime, choose_device, inference_runtime, repeatable


@dataclass(frozen=True)
class TorchRunner:
    """A network ready to run; see `ICHMultiTaskLib.model.runners` for what every runner offers."""

    network: MultiTaskNetwork
    runtime: Runtime
    library = "torch"

    @classmethod
    def load(cls, bundle: ModelBundle, device: str = "auto") -> TorchRunner:
        """Load the network of a bundle onto a device."""
        runtime = inference_runtime(choose_device(device))
        with torch.random.fork_rng(devices=[]):  # weights are drawn, then replaced: the caller's draws stay the same
            network = bundle.network(runtime.device).requires_grad_(False)
        return cls(runtime.arrange(network), runtime)

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self.runtime.device

    @property
    def number_format(self) -> str:
        """Number format and memory layout of the network's computations."""
        return self.runtime.name

    def check_map(self, stage: str, method: str) -> None:
        """Raise InputError unless the map can be computed."""
        check_network(self.network, method)

    def run(
        self, image: np.ndarray, clinical: np.ndarray | None = None, progress: Progress = NO_PROGRESS
    ) -> tuple[dict[str, torch.Tensor], float, float]:
        """Features by stage, regression output and log odds of death of an image."""
        features = {}
        with torch.no_grad(), repeatable(self.device), self.runtime.context():
            for name, output in self.network.features(self.runtime.arrange(self._tensor(image))):
                features[name] = output
                progress(len(features) / 4, _("Network: {stage}").format(stage=stage_words(name)))
            volume, scores = self.network.heads(features[name], clinical=self._tensor(clinical))
        return features, float(volume[0]), float(scores[0, 1] - scores[0, 0])

    def log_odds(self, images: np.ndarray, clinical: np.ndarray | None = None) -> list[float]:
        """Log odds of death of each image."""
        known = self._tensor(clinical)
        with torch.inference_mode(), self.runtime.context():
            known = None if known is None else known.expand(len(images), -1)
            scores = self.network(self.runtime.arrange(self._tensor(images)), known)[1].float().cpu()
        return (scores[:, 1] - scores[:, 0]).tolist()

    def attention_grid(
        self,
        image: np.ndarray,
        features: dict[str, torch.Tensor],
        head: str,
        stage: str,
        method: str,
        clinical: np.ndarray | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> tuple[np.ndarray, tuple, tuple]:
        """Attention map on the grid of a stage, or of the image."""
        known = self._tensor(clinical)
        if stage == INPUT:
            found = image_map(self.network, self._tensor(image), head, method, progress, known)
            return found[0].cpu().numpy(), (1, 1, 1), (0.0, 0.0, 0.0)
        found = attention_map(self.network, features[stage], stage, head, method, known)
        return found[0].cpu().numpy(), self.network.feature_strides[stage], self.network.feature_offsets[stage]

    def _tensor(self, values):
        return None if values is None else torch.from_numpy(values).to(self.device)
