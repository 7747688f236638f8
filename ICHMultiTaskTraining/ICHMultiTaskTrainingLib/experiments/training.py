"""Train one fold of one row, and store the results that the page needs."""

from __future__ import annotations

import shutil

import numpy as np
import torch

from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.model.attention.maps import attention_map

from ..bundles.export import export_bundle
from ..data.manifest import Manifest
from ..evaluation.network_costs import measured_cost
from ..training.config import TrainingConfig, make_config
from ..training.progress_file import followed, is_running
from ..training.trainer import Trainer
from .figures import five_slices
from .interpretation import on_input_grid
from .rows import Row
from .store import Store

RUNS, MODELS, CACHE = "runs", "models", "cache"


def row_config(row: Row, changes: dict, fold: int, folds: int, seed: int, width_share: float = 1.0) -> TrainingConfig:
    """Settings for the training of a row."""
    return make_config("paper", **row.settings(changes, width_share), fold=fold, folds=folds, seed=seed)


def train_fold(
    store: Store,
    row: Row,
    fold: int,
    manifest: Manifest,
    config: TrainingConfig,
    settings: dict,
    device: str,
    processes: int,
    progress: ShellProgress,
    command: str,
) -> None:
    """Train, predict the held-out patients and write the fold; its run folder is removed afterwards.

    Parameters
    ----------
    store : Store
    row : Row
    fold : int
    manifest : Manifest
    config : TrainingConfig
    settings : dict
        Stored with the fold, to recognize results of another reproduction.
    device : str
    processes : int
    progress : ShellProgress
    command : str
    """
    run = _run_folder(store, row.name, fold)
    with followed(run, progress) as follow:
        trainer = Trainer(manifest, config, run, device, processes, follow, follow.line, cache=store.folder / CACHE)
        trainer.run()
        choice = trainer.choose()
        network = trainer.bundle_network(choice.state)
        records = _records(trainer, network)
        facts = {
            "row": row.name, "fold": fold, "settings": settings,
            "provenance": provenance(trainer.device, trainer.runtime.name), "device": _device(trainer.device),
        }  # fmt: skip
        draw = None
        if not fold:
            facts["cost"] = measured_cost(config.bundle_architecture(), config.preprocessing["shape_kji"])
            draw = _map_drawing(trainer, network, row)
            export_bundle(trainer, store.folder / MODELS / row.name, row.name, None, None, command, choice)
        store.write(row.name, fold, records, trainer.history, facts, draw)
    remove_run(store, row.name, fold)


def _run_folder(store, row, fold):
    return store.folder / RUNS / f"{row}-{fold}"


def remove_run(store: Store, row: str, fold: int) -> None:
    """Remove the run folder of a finished fold, unless in use: the checkpoints of all rows would fill the disk."""
    run = _run_folder(store, row, fold)
    if run.is_dir() and not is_running(run):
        shutil.rmtree(run)


def _device(device):
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def _records(trainer, network):
    """Predictions of the network for the held-out patients, without calibration."""
    volumes, log_odds = trainer.predict(trainer.validation, network=network)
    tasks = trainer.config.tasks
    return [
        {
            "patient_id": row.patient_id, "fold": trainer.config.fold, "volume_ml": row.volume_ml, "died": row.died,
            "predicted_volume_ml": None if tasks == "prognosis" else float(volume),
            "log_odds": None if tasks == "volume" else float(odds),
        }
        for row, volume, odds in zip(trainer.validation_rows, volumes, log_odds)
    ]  # fmt: skip


def _map_drawing(trainer, network, row):
    """Callable that draws the paper's Figure 5 for the held-out patient with the median volume."""
    scans = trainer.validation
    number = int(np.argsort(scans.volume_ml)[len(scans.volume_ml) // 2])
    image = torch.from_numpy(scans.images[number][None, None].astype(np.float32) / 255).to(trainer.device)
    with torch.no_grad():
        features = dict(network.features(image))["stage4"]
    head = "prognosis" if row.tasks == "prognosis" else "volume"
    grid = attention_map(network, features, "stage4", head)[0].cpu().numpy()
    placed = network.feature_strides["stage4"], network.feature_offsets["stage4"]
    shown = on_input_grid(grid, image.shape[2:], *placed)
    mask = np.kron(scans.occupancy[number], np.ones((1, 4, 4))) > 127 if scans.has_mask[number] else None
    picture = image[0, 0].cpu().numpy()
    return lambda path: five_slices(path, picture, {"Grad-CAM": shown}, mask)
