"""What goes through the network at once: drawn in an order that depends on seed and epoch alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.calibration import before_correction, volume_to_output

from .augmentation import augment


@dataclass(frozen=True)
class Batch:
    """One process's part of a batch.

    Attributes
    ----------
    images : tensor [N, 1, D, H, W]
    occupancy : tensor [N, 1, D, h, w]
    target, death : tensor [N]
    has_mask : tensor of bool [N]
        On the CPU, so that what depends on it needs no waiting for the device.
    crop_volume_mm3 : ndarray of shape (N,)
    shares : ndarray of shape (3,)
        How much of the optimizer's step, of all batches and processes that take part in it, lies in this batch: by
        rows, by their weights in the loss of the prognosis, by masks.
    completes_step : bool
    """

    images: torch.Tensor
    occupancy: torch.Tensor
    target: torch.Tensor
    death: torch.Tensor
    has_mask: torch.Tensor
    crop_volume_mm3: np.ndarray
    shares: np.ndarray
    completes_step: bool


class TrainingBatches:
    """The training scans in random order, epoch after epoch.

    Parameters
    ----------
    scans : CachedScans
    death : ndarray of shape (N,)
    death_weight : float
        Of a death against a survival.
    config : TrainingConfig
    workers : Workers
    device : str
    correction : dict, optional
        The `volume_correction` by which the network's volumes are read: it learns what that takes to the truth.
    """

    def __init__(self, scans, death, death_weight, config, workers, device, correction=None):
        self._scans, self._death, self._config, self._workers, self._device = scans, death, config, workers, device
        volumes = before_correction(scans.volume_ml, correction)
        self._targets = volume_to_output(volumes, config.target, scans.crop_volume_mm3).astype(np.float32)
        weights = 1.0 + (death_weight - 1.0) * death.astype(float)
        self._weights = np.stack([np.ones(len(death)), weights, scans.has_mask])
        self._step_size = config.batch_size * config.accumulate * workers.count
        fewest = fewest_scans(config, workers.count)
        if len(death) < fewest:
            raise InputError(
                f"Too few scans for training: expected at least {fewest}, one for each batch of a step, found "
                f"{len(death)}."
            )
        self.steps = max(1, len(death) // self._step_size + (len(death) % self._step_size >= fewest))

    def epoch(self, number, reduction, first_step=0):
        """Iterate over the batches of an epoch.

        Parameters
        ----------
        number, reduction : int
        first_step : int
            Of those that are still to be made; what is drawn for a step depends on its number, not on those before.

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
        target, death = (
            torch.from_numpy(v[chosen]).to(device, non_blocking=True) for v in (self._targets, self._death)
        )
        if c.augment:
            own = slice(int(own[0]), int(own[-1]) + 1)
            size = torch.from_numpy(scans.size_mm[chosen])
            images, occupancy, growth = augment(
                images, occupancy, generator, c.rotation_deg, size, reduction, len(part), own
            )
            target = scale_target(target, growth, c.target)
        whole = self._weights[:, rows].sum(1)
        shares = np.divide(self._weights[:, chosen].sum(1), whole, out=np.zeros(3), where=whole > 0)
        return Batch(
            images,
            occupancy,
            target,
            death,
            torch.from_numpy(scans.has_mask[chosen]),
            scans.crop_volume_mm3[chosen],
            shares,
            completes_step,
        )


def fewest_scans(config, processes):
    """Scans that a step needs: one for each of its batches, and two for the variance of batch norm."""
    return max(2, config.accumulate * processes)


def load(scans, chosen, reduction, device):
    """Images, reduced in the plane, and occupancies of chosen scans as tensors [N, 1, …] from 0 to 1."""
    images, occupancy = (values.float().div_(255)[:, None] for values in scans.take(chosen, device))
    return (F.avg_pool3d(images, (1, reduction, reduction)) if reduction > 1 else images), occupancy


def scale_target(output, growth, target):
    """The regression target after the share of blood in the image has grown by a factor."""
    return output * growth if target == "fraction_percent" else output * growth ** (1 / 3)


def _generator(*numbers):
    """Random numbers of their own for each seed, epoch, step and part of a step."""
    state = np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
