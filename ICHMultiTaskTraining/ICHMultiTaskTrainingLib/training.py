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
        self.death, self.validation_death = (outcomes(split[name], config.outcome) for name in ("train", "validation"))
        # Rare deaths weigh as much as common survivals; the bias it brings is taken out by the calibration.
        mean = float(np.clip(self.death.mean(), 0.05, 0.95))
        self.death_weight = (1.0 - mean) / mean if config.outcome == "died" else 1.0
        self.reductions = config.reductions()
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
        steps = len(c.reductions()) * self._steps_per_epoch()
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
        while self.epoch < len(self.reductions):
            losses = self._train_epoch()
            self.epoch += 1
            self.history.append({"epoch": self.epoch, **losses, **self._validate()})
            self._save()

    def _batch(self, scans, chosen, reduction):
        images = torch.from_numpy(scans.images[chosen]).to(self.device).float().div_(255)[:, None]
        occupancy = torch.from_numpy(scans.occupancy[chosen]).to(self.device).float().div_(255)[:, None]
        return (F.avg_pool3d(images, (1, reduction, reduction)) if reduction > 1 else images), occupancy

    def _train_epoch(self):
        c, scans = self.config, self.scans
        # Draws depend on seed and epoch alone, so a resumed run repeats an uninterrupted one.
        generator = torch.Generator().manual_seed(c.seed * 100_003 + self.epoch)
        order = torch.randperm(len(scans.died), generator=generator).numpy()
        reduction = self.reductions[self.epoch]
        targets = volume_to_output(scans.volume_ml, c.target, scans.crop_volume_mm3).astype(np.float32)
        self.network.train()
        steps, sums = self._steps_per_epoch(), np.zeros(3)
        for step in range(steps):
            chosen = order[step * c.batch_size : (step + 1) * c.batch_size]
            images, occupancy = self._batch(scans, chosen, reduction)
            growth = 1.0
            if c.augment:
                images, occupancy, growth = augment(images, occupancy, generator, reduction)
            target = grown(torch.from_numpy(targets[chosen]).to(self.device), growth, c.target)
            images = images.contiguous(memory_format=torch.channels_last_3d)
            features = dict(self.network.features(images))
            output, scores = self.network.heads(features["stage4"])
            losses = torch.stack(
                [
                    volume_loss(output, target, c.target),
                    prognosis_loss(scores, torch.from_numpy(self.death[chosen]).to(self.device), self.death_weight),
                    self.mask_loss(features, occupancy, self._has_mask(chosen), reduction)
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
            done = (self.epoch + (step + 1) / steps) / len(self.reductions)
            mae = f", validation MAE {self.history[-1]['validation_mae_ml']:.1f} mL" if self.history else ""
            self.progress(done, f"Epoch {self.epoch + 1} of {len(self.reductions)}, loss {loss.item():.3f}{mae}")
        return dict(zip(("volume_loss", "prognosis_loss", "mask_loss"), (sums / steps).tolist()))

    def _has_mask(self, chosen):
        return torch.from_numpy(self.scans.has_mask[chosen]).to(self.device)

    def predict(self, scans, reduction=1):
        """Volumes in mL and log odds of death for prepared scans.

        Returns
        -------
        tuple of ndarray of shape (N,)
        """
        self.network.eval()
        outputs, log_odds = [], []
        with torch.no_grad():
            for start in range(0, len(scans.died), self.config.batch_size):
                images, _ = self._batch(scans, slice(start, start + self.config.batch_size), reduction)
                output, scores = self.network(images.contiguous(memory_format=torch.channels_last_3d))
                outputs.append(output.cpu().numpy())
                log_odds.append((scores[:, 1] - scores[:, 0]).cpu().numpy())
        volumes = output_to_volume(np.concatenate(outputs), self.config.target, scans.crop_volume_mm3)
        return volumes, np.concatenate(log_odds)

    def _validate(self):
        from sklearn.metrics import roc_auc_score

        volumes, log_odds = self.predict(self.validation, self.reductions[self.epoch - 1])
        died = self.validation.died
        both = 0 < died.sum() < len(died)
        return {
            "validation_mae_ml": float(np.abs(volumes - self.validation.volume_ml).mean()),
            "validation_auc": float(roc_auc_score(died, log_odds)) if both else None,
        }

    def calibration(self):
        """Interval and probability calibrated on the validation patients, which trained and chose nothing."""
        volumes, log_odds = self.predict(self.validation)
        interval = fit_volume_interval(volumes, self.validation.volume_ml)
        return {"volume_interval": interval, **fit_prognosis(log_odds, self.validation_death)}


def outcomes(rows, column):
    """What the prognosis head learns of each row: 0, 1 or a probability of death.

    Returns
    -------
    ndarray of shape (N,), float32

    Raises
    ------
    InputError
        If the column is missing or holds something else.
    """
    if column == "died":
        return np.array([row.died for row in rows], np.float32)
    values = []
    for row in rows:
        text = row.extra.get(column, "")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise InputError(
                f"The column {column} cannot be the outcome: expected a probability in every row, found {text!r} for "
                f"{row.patient_id}."
            )
        values.append(value)
    return np.array(values, np.float32)


def grown(output, growth, target):
    """The regression target after the share of blood in the image has grown by a factor."""
    return output * growth if target == "fraction_percent" else output * growth ** (1 / 3)
