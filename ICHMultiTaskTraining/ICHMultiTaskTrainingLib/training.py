"""Train the multi-task network on a table of scans and write a model bundle."""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ICHMultiTaskLib.calibration import fit_prognosis, fit_volume_interval, output_to_volume, volume_to_output
from ICHMultiTaskLib.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.network import MultiTaskResNet
from ICHMultiTaskLib.runtime import choose_device

from .augmentation import augment
from .cache import CachedScans, prepare_all
from .losses import MaskLoss, prognosis_loss, volume_loss
from .splits import split_rows


class TrainingError(ICHMultiTaskError):
    """Training cannot go on; the last good checkpoint is kept."""


class Trainer:
    """One run: its network, optimizer and data; resumes from its folder.

    Parameters
    ----------
    manifest : Manifest
    config : TrainingConfig
    folder : path
        Of the run; an interrupted run of the same settings there is continued.
    device : str
    processes : int
        For preparing scans.
    progress : callable (fraction, message)
        May raise Canceled; the run can be resumed afterwards.
    """

    def __init__(self, manifest, config, folder, device="auto", processes=1, progress=lambda fraction, message: None):
        self.config, self.folder, self.progress = config, Path(folder), progress
        self.device = choose_device(device)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifest_name = manifest.path.name
        self._claim(manifest)
        split = split_rows(manifest.rows, config.validation_fraction, config.seed, self.folder / "splits.json")
        files = prepare_all(
            [*split["train"], *split["validation"]], config.preprocessing, self.folder / "cache", processes, progress
        )
        self.scans = CachedScans(split["train"], files[: len(split["train"])])
        self.validation = CachedScans(split["validation"], files[len(split["train"]) :])
        torch.manual_seed(config.seed)
        self.network = MultiTaskResNet(**config.architecture).to(self.device, memory_format=torch.channels_last_3d)
        self.mask_loss = MaskLoss(self.network).to(self.device)
        self.parameters = [*self.network.parameters(), *self.mask_loss.parameters()]
        self.optimizer, self.scheduler = self._optimizer()
        died = self.scans.died
        # Rare deaths weigh as much as common survivals; the bias it brings is taken out by the calibration.
        self.death_weight = float(np.clip((died == 0).sum() / max(1, (died == 1).sum()), 0.1, 10.0))
        self.history, self.epoch = [], 0
        self._resume()

    def _claim(self, manifest):
        """Write the settings, or see that those already there are the same."""
        path = self.folder / "config.json"
        settings = {"config": self.config.as_dict(), "manifest": str(manifest.path.resolve())}
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
                raise InputError(
                    f"The run folder {self.folder} belongs to a run of other settings: expected the same manifest and "
                    "settings to continue it, or a new folder."
                )
        else:
            path.write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def _optimizer(self):
        c = self.config
        if c.optimizer == "sgd":
            optimizer = torch.optim.SGD(self.parameters, c.learning_rate, c.momentum, weight_decay=c.weight_decay)
        elif c.optimizer == "adamw":
            optimizer = torch.optim.AdamW(self.parameters, c.learning_rate, weight_decay=c.weight_decay)
        else:
            raise InputError(f"The optimizer is unknown: expected sgd or adamw, found {c.optimizer!r}.")
        steps = c.epochs * self._steps_per_epoch()
        if c.schedule == "linear":
            warm_up = max(1, steps // 10)

            def factor(step):
                return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))

            return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        if c.schedule != "constant":
            raise InputError(f"The schedule is unknown: expected constant or linear, found {c.schedule!r}.")
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

    def _steps_per_epoch(self):
        # A last batch of one sample would leave batch norm without a variance; it is left out.
        count, size = len(self.scans.died), self.config.batch_size
        return max(1, count // size + (count % size > 1))

    def _resume(self):
        path = self.folder / "latest.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.mask_loss.load_state_dict(state["mask_loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.history = state["epoch"], state["history"]

    def _save(self):
        state = {
            "network": self.network.state_dict(),
            "mask_loss": self.mask_loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
        }
        partial = self.folder / "latest.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "latest.pt")
        text = json.dumps(self.history, indent=1)
        (self.folder / "history.json").write_text(text, encoding="utf-8")

    def run(self):
        """Train to the last epoch; a checkpoint is kept after each."""
        while self.epoch < self.config.epochs:
            losses = self._train_epoch()
            self.epoch += 1
            self.history.append({"epoch": self.epoch, **losses, **self._validate()})
            self._save()

    def _batch(self, scans, chosen):
        images = torch.from_numpy(scans.images[chosen]).to(self.device).float().div_(255)[:, None]
        occupancy = torch.from_numpy(scans.occupancy[chosen]).to(self.device).float().div_(255)[:, None]
        return images, occupancy

    def _train_epoch(self):
        c, scans = self.config, self.scans
        # Draws depend on seed and epoch alone, so a resumed run repeats an uninterrupted one.
        generator = torch.Generator().manual_seed(c.seed * 100_003 + self.epoch)
        order = torch.randperm(len(scans.died), generator=generator).numpy()
        coarse = self.epoch < c.coarse_epochs
        targets = volume_to_output(scans.volume_ml, c.target, scans.crop_volume_mm3).astype(np.float32)
        self.network.train()
        steps, sums = self._steps_per_epoch(), np.zeros(3)
        for step in range(steps):
            chosen = order[step * c.batch_size : (step + 1) * c.batch_size]
            images, occupancy = self._batch(scans, chosen)
            if c.augment:
                images, occupancy = augment(images, occupancy, generator)
            if coarse:
                images = F.avg_pool3d(images, (1, 2, 2))
            images = images.contiguous(memory_format=torch.channels_last_3d)
            features = dict(self.network.features(images))
            output, scores = self.network.heads(features["stage4"])
            losses = torch.stack(
                [
                    volume_loss(output, torch.from_numpy(targets[chosen]).to(self.device), c.target),
                    prognosis_loss(scores, torch.from_numpy(scans.died[chosen]).to(self.device), self.death_weight),
                    self.mask_loss(features, occupancy, self._has_mask(chosen), 2 if coarse else 1)
                    if c.mask_weight
                    else images.new_zeros(()),
                ]
            )
            loss = losses @ losses.new_tensor([c.volume_weight, c.prognosis_weight, c.mask_weight])
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"The loss is not finite in epoch {self.epoch + 1}: expected a number, found {loss.item()}; "
                    f"the last good checkpoint is {self.folder / 'latest.pt'}."
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
            self.optimizer.step()
            self.scheduler.step()
            sums += losses.detach().cpu().numpy()
            done = (self.epoch + (step + 1) / steps) / c.epochs
            mae = f", validation MAE {self.history[-1]['validation_mae_ml']:.1f} mL" if self.history else ""
            self.progress(done, f"Epoch {self.epoch + 1} of {c.epochs}, loss {loss.item():.3f}{mae}")
        return dict(zip(("volume_loss", "prognosis_loss", "mask_loss"), (sums / steps).tolist()))

    def _has_mask(self, chosen):
        return torch.from_numpy(self.scans.has_mask[chosen]).to(self.device)

    def predict(self, scans, coarse=False):
        """Volumes in mL and log odds of death for prepared scans.

        Returns
        -------
        tuple of ndarray of shape (N,)
        """
        self.network.eval()
        outputs, log_odds = [], []
        with torch.no_grad():
            for start in range(0, len(scans.died), self.config.batch_size):
                images, _ = self._batch(scans, slice(start, start + self.config.batch_size))
                if coarse:
                    images = F.avg_pool3d(images, (1, 2, 2))
                output, scores = self.network(images.contiguous(memory_format=torch.channels_last_3d))
                outputs.append(output.cpu().numpy())
                log_odds.append((scores[:, 1] - scores[:, 0]).cpu().numpy())
        volumes = output_to_volume(np.concatenate(outputs), self.config.target, scans.crop_volume_mm3)
        return volumes, np.concatenate(log_odds)

    def _validate(self):
        from sklearn.metrics import roc_auc_score

        volumes, log_odds = self.predict(self.validation, coarse=self.epoch <= self.config.coarse_epochs)
        died = self.validation.died
        both = 0 < died.sum() < len(died)
        return {
            "validation_mae_ml": float(np.abs(volumes - self.validation.volume_ml).mean()),
            "validation_auc": float(roc_auc_score(died, log_odds)) if both else None,
        }

    def calibration(self):
        """Interval and probability calibrated on the validation patients, which trained and chose nothing."""
        volumes, log_odds = self.predict(self.validation)
        died = self.validation.died
        prognosis = fit_prognosis(log_odds, died) if 0 < died.sum() < len(died) else {"temperature": 1.0, "bias": 0.0}
        return {"volume_interval": fit_volume_interval(volumes, self.validation.volume_ml), **prognosis}
