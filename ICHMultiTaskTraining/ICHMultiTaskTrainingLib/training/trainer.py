"""Train the multi-task network on a table of scans."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ICHMultiTaskLib.common.errors import ICHMultiTaskError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress, part
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.writing import remove_partial, write_json
from ICHMultiTaskLib.model.calibration import fit_calibration, output_to_volume
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.base import MultiTaskNetwork
from ICHMultiTaskLib.model.runtime import choose_device
from ICHMultiTaskLib.model.volume_correction import correct_volume

from ..data.auxiliary import auxiliary_targets
from ..data.batches import TrainingBatches
from ..data.cache import CachedScans, prepare_all
from ..data.manifest import Manifest, outcomes
from ..data.seen_images import checksums
from ..data.splits import check_scans, split_rows
from .checkpoint import load_checkpoint, save_checkpoint
from .config import TrainingConfig, starting_bundle
from .curves import TENSORBOARD, EventLog, draw_curves, without_auc_of_few
from .distributed import ALONE, Workers
from .learner import Learner, choose_runtime
from .lineage import clinical_inputs, death_weight, start_calibration, uncalibrated
from .losses import prognosis_loss, volume_loss
from .optimization import Optimization
from .preflight import check_network
from .progress_file import PREPARED, TRAINED
from .run_folder import check_split, claim_run
from .selection import Selection, choose
from .validation import best_entry, epoch_line, measured, outputs_of

CHECKPOINT_SECONDS = 600.0
"""A checkpoint is written after every epoch, and at this interval within long epochs."""
READ_EVERY = 20
"""Steps between readings of the losses from a GPU, which make the CPU wait for it."""
DRAW_SECONDS = 30.0
"""Minimum interval between drawings of the curves, which take half a second."""
LOSSES = ("volume_loss", "prognosis_loss", "mask_loss")


class TrainingError(ICHMultiTaskError):
    """Training cannot continue; the last good checkpoint is kept."""


class Trainer:
    """One run: its network, optimizer and data; resumes from its folder.

    Parameters
    ----------
    manifest : Manifest
    config : TrainingConfig
    folder : path
        Folder of the run; an interrupted run with the same settings is continued.
    device : str
    processes : int
        Number of processes that prepare scans.
    progress : callable (fraction, message)
        Progress of the whole run: the scans are prepared at `PREPARED`, the epochs done at `TRAINED`. May raise
        Canceled; the run can be resumed afterwards.
    log : callable (line)
        Called with a line after every epoch.
    workers : Workers
        Processes that train together.
    skip_unusable : bool
        Leave out unusable scans and log which, instead of raising an error.
    cache : path, optional
        Folder of the prepared scans, which runs may share; None: in the run's own folder.

    Attributes
    ----------
    network : MultiTaskNetwork
    clinical : ClinicalInputs or None
        Clinical inputs of the prognosis head.
    targets : tuple of AuxiliaryTarget
        Auxiliary outputs.
    scans, validation : CachedScans
    images : frozenset of bytes
        Checksums of the images of both.
    start_state : dict of str to tensor
        Weights before the first step, if the run starts from a model.
    history : list of dict
        One entry per epoch, as in `history.json`: the mean losses; `train_mae_ml` and `train_mse_ml2` of the augmented
        training images; the result of `measured` at the epoch's resolution; `reduction`; `seconds`; `ended` (seconds
        since 1970). A run that starts from a model begins with epoch 0, the unchanged model.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: TrainingConfig,
        folder: str | os.PathLike,
        device: str = "auto",
        processes: int = 1,
        progress: Progress = NO_PROGRESS,
        log: Callable[[str], object] = lambda line: None,
        workers: Workers = ALONE,
        skip_unusable: bool = False,
        cache: str | os.PathLike | None = None,
    ):
        self.config, self.folder, self.progress, self.log, self.workers = config, Path(folder), progress, log, workers
        self.device = choose_device(device)
        self.read_every = 1 if self.device == "cpu" else READ_EVERY
        self.architecture = config.training_architecture()
        check_network(config, self.device, self.architecture)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifest_name = manifest.path.name
        self.simulated = all(row.extra.get("simulated") == "1" for row in manifest.rows)
        cache = Path(cache) if cache else self.folder / "cache"
        split, files, self.images = workers.run_on_first(
            lambda: self._prepare(manifest, processes, skip_unusable, cache)
        )
        self.validation_rows = split["validation"]
        self.clinical = clinical_inputs(config, split["train"])
        taken = {"clinical": self.clinical.width} if self.clinical else {}
        self.architecture, self.bundle_architecture = (
            a | taken for a in (self.architecture, config.bundle_architecture())
        )
        self.targets, count = auxiliary_targets(config, split["train"]), len(split["train"])
        self.scans = CachedScans(split["train"], files[:count], self.clinical, self.targets)
        self.validation = CachedScans(split["validation"], files[count:], self.clinical, self.targets)
        self._keep_on_device()
        self.death, self.validation_death = (outcomes(split[name], config.outcome) for name in ("train", "validation"))
        self.death_weight = death_weight(config, self.death)
        self.start = start_calibration(config)
        self.batches = TrainingBatches(
            self.scans, self.death, self.death_weight, config, workers, self.device, self.start.get("volume_correction")
        )
        self.reductions = config.reductions()
        self.weights = np.array(
            [
                config.volume_weight * (config.tasks != "prognosis"),
                config.prognosis_weight * (config.tasks != "volume"),
                config.mask_weight,
                *[config.auxiliary_weight / max(1, len(self.targets))] * len(self.targets),
            ]
        )
        self.losses = (*LOSSES, *(f"{target.name}_loss" for target in self.targets))
        self._build()
        self.history, self.epoch, self.drawn = [], 0, time.monotonic()
        self.events = EventLog(self.folder / TENSORBOARD)
        self._begin_epoch()
        self._resume()

    def _prepare(self, manifest, processes, skip_unusable, cache):
        """Claim the folder, split the patients and prepare their scans; called in one process only."""
        for name in ("", "bundle", "bundle-best", "report"):
            remove_partial(self.folder / name, 0)  # the folder is locked
        c = self.config
        claim_run(self.folder, manifest, c, self.workers.count)
        split = split_rows(manifest.rows, c.validation_fraction, c.seed, self.folder / "splits.json", c.fold, c.folds)
        rows = [*split["train"], *split["validation"]]
        unusable = self.log if skip_unusable else None
        files = prepare_all(rows, c.preprocessing, cache, processes, part(self.progress, 0.0, PREPARED), unusable)
        check_scans(self.folder / "splits.json", rows, files)
        usable = {id(row) for row, file in zip(rows, files) if file is not None}
        split = {name: [row for row in chosen if id(row) in usable] for name, chosen in split.items()}
        check_split(split, c, self.workers.count)
        return split, [f for f in files if f is not None], checksums(row.image for name in split for row in split[name])

    def _keep_on_device(self):
        """Keep the scans on the GPU if they need less than half of its free memory."""
        both = self.scans, self.validation
        size = sum(scans.images.nbytes + scans.occupancy.nbytes for scans in both)
        if self.device == "cuda" and size < torch.cuda.mem_get_info()[0] / 2:
            for scans in both:
                scans.keep_on(self.device)

    def _build(self):
        c = self.config
        torch.manual_seed(c.seed)
        self.network = build_network(self.architecture)
        self.runtime = choose_runtime(c.precision, self.device)
        self.learner = Learner(
            self.network, self.runtime, c.tasks, c.frozen_encoder, c.mask_weight > 0, c.frozen_norm, self.targets
        )
        if c.start_from is not None:
            # Layers that the start lacks keep their initial weights, with which they have no effect.
            self.network.load_state_dict(starting_bundle(c.start_from).network().state_dict(), strict=False)
            self.start_state = {name: value.clone() for name, value in self.network.state_dict().items()}
        if self.workers.count > 1 and self.device == "cuda":
            # On a CPU each process normalizes its own part of a batch; threads are the better choice there.
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.runtime.arrange(self.learner.to(self.device))
        self.mask_loss, self.auxiliary = self.learner.mask_loss, self.learner.auxiliary
        self.parallel = self.workers.wrap(self.learner, self.device, not self.scans.has_mask.all())
        steps = len(self.reductions) * self.batches.steps
        scales = self.runtime.dtype == torch.float16
        self.optimization = Optimization(self.learner, self.network, c, self.device, scales, steps)

    def _begin_epoch(self):
        # Sums of the losses, of the absolute and squared errors in mL, and of the scans they are of.
        self.step, self.seconds, self.unread, self.norms = 0, 0.0, [], []
        self.sums = np.zeros(len(self.losses) + 3)

    def _resume(self):
        path = self.folder / "latest.pt"
        if not path.exists():
            return
        state = load_checkpoint(path, self.device)
        self.network.load_state_dict(state["network"])
        self.mask_loss.load_state_dict(state["mask_loss"])
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(state["auxiliary"])
        self.optimization.load_state_dict(state)
        self.epoch, self.history = state["epoch"], state["history"]
        if state.get("step"):
            self.step, self.seconds = state["step"], state["seconds"]
            self.sums = np.array(state["sums"])

    def _save(self):
        self.saved = time.monotonic()
        if self.workers.rank:
            return
        state = {
            "network": self.network.state_dict(),
            "mask_loss": self.mask_loss.state_dict(),
            "auxiliary": self.auxiliary.state_dict() if self.auxiliary is not None else {},
            **self.optimization.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
            "step": self.step,
            "sums": self.sums.tolist(),
            "seconds": self.seconds,
            "provenance": provenance(self.device, self.runtime.name),
        }
        save_checkpoint(state, self.folder / "latest.pt")

    def _show_history(self):
        if self.workers.rank or not self.history:
            return
        write_json(self.folder / "history.json", self.history)
        self.events.show(self.history)
        if time.monotonic() - self.drawn >= DRAW_SECONDS or self._over():
            draw_curves(without_auc_of_few(self.history, self.validation.died), self.folder / "curves.png")
            self.drawn = time.monotonic()

    def run(self, until: int | None = None) -> None:
        """Train to the last epoch, or to epoch `until`; checkpoints of the last and the best epoch are kept."""
        if self.config.start_from is not None and not self.history:
            self.history.append({"epoch": 0, **self.measured(), "reduction": 1, "ended": time.time()})
            self._keep_best()
            self._save()
            self.log(epoch_line(self))
        self._show_history()  # which a kill may have left behind the checkpoint
        while not self._over() and (until is None or self.epoch < until):
            self._train_epoch()
            means = self.sums / np.array([self.batches.steps] * len(self.losses) + [self.sums[-1]] * 3)
            entry = dict(zip((*self.losses, "train_mae_ml", "train_mse_ml2"), means.tolist()))
            if self.config.tasks == "prognosis":
                entry |= dict.fromkeys(("volume_loss", "train_mae_ml", "train_mse_ml2"))
            elif self.config.tasks == "volume":
                entry["prognosis_loss"] = None
            reduction = self.reductions[self.epoch]
            entry |= self.measured(reduction=reduction) | {"reduction": reduction, "seconds": self.seconds}
            self.epoch += 1
            self.history.append({"epoch": self.epoch, **entry, "ended": time.time()})
            self._begin_epoch()
            if self._impatient():
                self.history[-1]["stopped_early"] = True
            self._keep_best()
            self._save()
            self._show_history()
            self.log(epoch_line(self))
        if self._over():
            self.events.close()

    def _over(self):
        return self.epoch >= len(self.reductions) or bool(self.history and self.history[-1].get("stopped_early"))

    def _impatient(self):
        """Whether the best epoch is `patience` or more epochs ago."""
        best, patience = best_entry(self.history), self.config.patience
        return bool(best and patience and self.epoch - best["epoch"] >= patience)

    def _keep_best(self):
        if best_entry(self.history) is self.history[-1] and not self.workers.rank:
            save_checkpoint({"network": self.network.state_dict(), "epoch": self.epoch}, self.folder / "best.pt")

    def choose(self) -> Selection:
        """Select the weights that become the model."""
        return choose(self)

    def _train_epoch(self):
        total_cost = sum(1 / r**2 for r in self.reductions)
        done, cost = (sum(1 / r**2 for r in self.reductions[: self.epoch + n]) / total_cost for n in (0, 1))
        cost -= done
        began = time.monotonic() - self.seconds
        self.saved = time.monotonic()
        self.learner.train()
        self.optimization.clear()
        reduction, progress = self.reductions[self.epoch], part(self.progress, PREPARED, TRAINED)
        loss = math.nan  # of the steps that were read last
        for batch in self.batches.epoch(self.epoch, reduction, self.step):
            self._learn(batch, reduction)
            if not batch.completes_step:
                continue
            self.norms.append(self.optimization.clip())
            steps = self.step + 1
            reads = steps % self.read_every == 0 or steps == self.batches.steps
            if reads:
                loss = self._read()
            self.optimization.step()
            self.step = steps
            self.seconds = time.monotonic() - began
            if reads and time.monotonic() - self.saved >= CHECKPOINT_SECONDS and self.step < self.batches.steps:
                self._save()
            mae = self.history[-1]["validation_mae_ml"] if self.history else None
            progress(
                done + cost * self.step / self.batches.steps,
                f"Epoch {self.epoch + 1} of {len(self.reductions)}"
                + (f", loss {loss:.3f}" if math.isfinite(loss) else "")
                + (f", validation MAE {mae:.1f} mL" if mae is not None else ""),
            )

    def _learn(self, batch, reduction):
        """Add a batch's gradients; losses and outputs stay on the device until they are read."""
        waits = batch.completes_step or self.workers.count == 1
        with contextlib.nullcontext() if waits else self.parallel.no_sync():
            output, scores, mask_loss, auxiliary_losses = self.parallel(
                batch.images, batch.occupancy, batch.has_mask, reduction, batch.clinical, batch.labels
            )
            losses = torch.stack(
                [
                    volume_loss(output, batch.target, self.config.target),
                    prognosis_loss(self._calibrated(scores), batch.death, self.death_weight),
                    mask_loss,
                    *auxiliary_losses,
                ]
            )
            # Each is a mean over this batch's rows, and must become a mean over all rows of the step.
            shares = torch.from_numpy(batch.shares).to(losses.dtype)
            weights = shares * torch.from_numpy(self.weights) * self.workers.count  # processes' mean is taken
            factors = torch.stack([shares, weights.to(shares)]).to(self.device, non_blocking=True)
            self.optimization.backward(losses @ factors[1])
        self.unread.append((losses.detach() * factors[0], output.detach(), batch.target, batch.crop_volume_mm3))

    def _read(self):
        """Wait for the device and add the losses and errors since the last call; return the mean loss."""
        losses, outputs, targets, crops = zip(*self.unread)
        crops = np.concatenate(crops)
        errors = self._volumes(torch.cat(outputs), crops) - self._volumes(torch.cat(targets), crops)
        found = torch.stack(losses).double().sum(0).cpu().numpy()
        sums = self.workers.total(np.r_[found, np.abs(errors).sum(), (errors**2).sum(), len(errors)])
        steps, norm = len(self.norms), float(torch.stack(self.norms).sum())
        self.sums, self.unread, self.norms = self.sums + sums, [], []
        value = float(sums[: len(self.losses)] @ self.weights) / steps
        self._check_finite("loss", value)
        if not self.optimization.skips_overflow:
            self._check_finite("gradient", norm)
        return value

    def _calibrated(self, scores):
        """Scores with the start's calibration applied, so that this calibration remains valid."""
        if self.start["temperature"] == 1.0 and self.start["bias"] == 0.0:
            return scores
        log_odds = (scores[:, 1] - scores[:, 0]) / self.start["temperature"] + self.start["bias"]
        return torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)

    def _volumes(self, output, crop_volume_mm3):
        volumes = output_to_volume(output.float().cpu().numpy(), self.config.target, crop_volume_mm3)
        return correct_volume(volumes, self.start.get("volume_correction"))

    def _check_finite(self, name, value):
        if not np.isfinite(value):
            path = self.folder / "latest.pt"
            kept = f"the last good checkpoint is {path}" if path.exists() else "there is no checkpoint to continue"
            raise TrainingError(
                f"The {name} is not finite in epoch {self.epoch + 1}: expected a number, found {value}; {kept}. "
                "A smaller learning_rate, or precision fp32, may help."
            )

    def network_of(self, state: dict[str, torch.Tensor], architecture: dict | None = None) -> MultiTaskNetwork:
        """A network of these weights on the run's device, in evaluation mode."""
        network = build_network(architecture or self.architecture)
        network.load_state_dict(state)
        return self.runtime.arrange(network.to(self.device)).eval()

    def bundle_network(self, state: dict[str, torch.Tensor] | None = None) -> MultiTaskNetwork:
        """The network as in the bundle, in evaluation mode, with the current or other weights."""
        return self.network_of(state or self.network.state_dict(), self.bundle_architecture)

    def predict(
        self,
        scans: CachedScans,
        reduction: int = 1,
        rows: np.ndarray | None = None,
        network: MultiTaskNetwork | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Volumes in mL and log odds of death for prepared scans.

        Parameters
        ----------
        scans : CachedScans
        reduction : int
        rows : ndarray of int, optional
            Indices of the scans; all by default.
        network : MultiTaskNetwork, optional
            Used instead of the network in training.

        Returns
        -------
        tuple of ndarray of shape (N,)
        """
        volumes, log_odds, _ = outputs_of(self, scans, reduction, rows, network)
        return volumes, log_odds

    def measured(self, network: MultiTaskNetwork | None = None, reduction: int = 1) -> dict:
        """Validation metrics of the current weights, or of another network; see `validation.measured`."""
        return measured(self, network, reduction)

    def calibration(self, choice: Selection, outlined_ml: np.ndarray | None = None) -> dict:
        """Calibrate volume, interval and probability on the validation patients; the start keeps its calibration.

        For heads that were not trained, or with too few patients, and for `outlined_ml` of the validation scans, see
        `fit_calibration`.
        """
        if choice.is_start:
            return starting_bundle(self.config.start_from).metadata["calibration"]
        volumes, log_odds = self.predict(self.validation, network=self.bundle_network(choice.state))
        tasks = self.config.tasks
        return fit_calibration(
            volumes if tasks != "prognosis" else None,
            self.validation.volume_ml,
            log_odds if tasks != "volume" else None,
            self.validation_death,
            [row.patient_id for row in self.validation_rows],
            uncalibrated(self.config, self.death),
            outlined_ml,
        )
