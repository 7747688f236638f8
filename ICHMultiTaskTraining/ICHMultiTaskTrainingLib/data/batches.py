"""Training batches, in an order that depends only on seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.calibration import volume_to_output
from ICHMultiTaskLib.model.volume_correction import before_correction

from .augmentation import augment

if TYPE_CHECKING:
    from ..training.config import TrainingConfig
    from ..training.distributed import Workers
    from .cache import CachedScans

HIDDEN_SHARE = 0.15
"""Fraction of the clinical values that are hidden in training, so that the network learns to handle missing values,
also in columns that are complete in the training set."""


@dataclass(frozen=True)
class Batch:
    """One process's part of a batch.

    Attributes
    ----------
    images : tensor [N, 1, D, H, W]
    occupancy : tensor [N, 1, D, h, w]
    target, death : tensor [N]
    has_mask : tensor of bool [N]
        On the CPU, so that code that depends on it need not wait for the device.
    crop_volume_mm3 : ndarray of shape (N,)
    shares : ndarray of shape (3 + number of auxiliary targets,)
        This batch's fraction of the optimizer step (all its batches and processes): by rows, by weights in the
        prognosis loss, by masks, by labels of each target.
    completes_step : bool
    clinical : tensor [N, width] or None
        Clinical variables, some of them hidden; None for a network without clinical inputs.
    labels : tensor [N, number of auxiliary targets] or None
        NaN where unknown.
    """

    images: torch.Tensor
    occupancy: torch.Tensor
    target: torch.Tensor
    death: torch.Tensor
    has_mask: torch.Tensor
    crop_volume_mm3: np.ndarray
    shares: np.ndarray
    completes_step: bool
    clinical: torch.Tensor | None = None
    labels: torch.Tensor | None = None


class TrainingBatches:
    """The training scans in random order, epoch after epoch.

    Parameters
    ----------
    scans : CachedScans
    death : ndarray of shape (N,)
    death_weight : float
        Weight of a death relative to a survival.
    config : TrainingConfig
    workers : Workers
    device : str
    correction : dict, optional
        The `volume_correction` applied to the network's volumes; it learns volumes that are right after correction.
    """

    def __init__(
        self,
        scans: CachedScans,
        death: np.ndarray,
        death_weight: float,
        config: TrainingConfig,
        workers: Workers,
        device: str,
        correction: dict | None = None,
    ):
        self._scans, self._death, self._config, self._workers, self._device = scans, death, config, workers, device
        volumes = before_correction(scans.volume_ml, correction)
        self._targets = volume_to_output(volumes, config.target, scans.crop_volume_mm3).astype(np.float32)
        weights = 1.0 + (death_weight - 1.0) * death.astype(float)
        self._weights = np.stack([np.ones(len(death)), weights, scans.has_mask, *np.isfinite(scans.labels).T])
        self._step_size = config.batch_size * config.accumulate * workers.count
        fewest = fewest_scans(config, workers.count)
        if len(death) < fewest:
            raise InputError(
                f"Too few scans for training: expected at least {fewest}, one for each batch of a step, found "
                f"{len(death)}."
            )
        self.steps = max(1, len(death) // self._step_size + (len(death) % self._step_size >= fewest))

    def epoch(self, number: int, reduction: int, first_step: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of an epoch.

        Parameters
        ----------
        number, reduction : int
        first_step : int
            Steps before it are skipped; what is drawn for a step depends only on its number.

        Yields
        ------
        Batch
        """
        c = self._config
        order = torch.randperm(len(self._death), generator=_generator(c.seed, number)).numpy()
        for step in range(first_step, self.steps):
            rows = order[step * self._step_size : (step + 1) * self._step_size]
            for n, part in enumerate(np.array_split(rows, c.accumulate)):
                yield self._batch(part, rows, _generator(c.seed, number, step, n), reduction, n == c.accumulate - 1)

    def _batch(self, part, rows, generator, reduction, completes_step):
        c, scans, device = self._config, self._scans, self._device
        own = self._workers.shard(np.arange(len(part)))
        chosen = part[own]
        images, occupancy = load(scans, chosen, reduction, device)
        target, death, labels = (
            torch.from_numpy(v[chosen]).to(device, non_blocking=True)
            for v in (self._targets, self._death, scans.labels)
        )
        if c.augment:
            own = slice(int(own[0]), int(own[-1]) + 1)
            size = torch.from_numpy(scans.size_mm[chosen])
            images, occupancy, growth = augment(
                images, occupancy, generator, c.rotation_deg, size, reduction, len(part), own
            )
            target = scale_target(target, growth, c.target)
        clinical = load_clinical(scans, chosen, device)
        if clinical is not None:
            owners = scans.inputs.owners
            known = torch.rand(len(part), len(scans.inputs.names), generator=generator) >= HIDDEN_SHARE
            clinical *= known[own][:, owners].to(clinical, non_blocking=True)
        whole = self._weights[:, rows].sum(1)
        shares = np.divide(self._weights[:, chosen].sum(1), whole, out=np.zeros(len(whole)), where=whole > 0)
        return Batch(
            images,
            occupancy,
            target,
            death,
            torch.from_numpy(scans.has_mask[chosen]),
            scans.crop_volume_mm3[chosen],
            shares,
            completes_step,
            clinical,
            labels,
        )


def fewest_scans(config: TrainingConfig, processes: int) -> int:
    """Smallest number of scans for a step: one for each of its batches, and two for batch norm."""
    return max(2, config.accumulate * processes)


def load(scans: CachedScans, chosen: np.ndarray, reduction: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, reduced in-plane, and occupancies of the chosen scans as tensors [N, 1, …] from 0 to 1."""
    images, occupancy = (values.float().div_(255)[:, None] for values in scans.take(chosen, device))
    return (F.avg_pool3d(images, (1, reduction, reduction)) if reduction > 1 else images), occupancy


def load_clinical(scans: CachedScans, chosen: np.ndarray, device: str) -> torch.Tensor | None:
    """Clinical variables of chosen scans as a tensor [N, width]; None for a network without clinical inputs."""
    return None if scans.clinical is None else torch.from_numpy(scans.clinical[chosen]).to(device, non_blocking=True)


def scale_target(output: torch.Tensor, growth: torch.Tensor, target: str) -> torch.Tensor:
    """The regression target after the fraction of blood in the image has grown by a factor."""
    return output * growth if target == "fraction_percent" else output * growth ** (1 / 3)


def _generator(*numbers):
    """An independent random generator for each seed, epoch, step and part of a step."""
    state = np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
