"""Read access to the folder of a training run: its settings, progress and results."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.common.numbers import counted
from ICHMultiTaskLib.common.writing import write_json

from ..data.auxiliary import TARGETS, auxiliary_targets, labels_of
from ..data.labels import check_labels
from ..data.manifest import Manifest, Row, outcomes
from ..data.splits import draw_split
from .config import TrainingConfig, present_names, starting_bundle
from .lineage import clinical_inputs
from .progress_file import RunProgress, is_running, read_progress
from .settings_text import differences

LEAST_ML = 1.0
"""Where no scan that trains has so much, the volumes are of another unit, or not filled in."""
LOG = "log.txt"
"""Log of a run that was started from 3D Slicer."""

FILES = ("latest.pt", "splits.json", "history.json", "curves.png", "cache", "bundle", "report")
"""Files of a run, besides its settings."""


class RunFolder:
    """A run, given by its folder; read-only.

    Parameters
    ----------
    path : path
        Need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._history, self._stamp = [], None

    @property
    def stored(self) -> dict | None:
        """The stored settings of the run: `config`, `manifest` and others; None if there is no run.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        path = self.path / "config.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            # A run of an earlier version lacks newer settings, and used their defaults.
            return stored | {"config": TrainingConfig(**present_names(stored["config"])).as_dict()}
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise InputError(f"The run needs a folder: expected one, found the file {self.path}.") from error
        except OSError as error:
            raise InputError(
                f"The run's settings cannot be read: expected a readable file, found {path} ({error.strerror})."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The run's settings cannot be read: expected a file of this software, found {path} with other or "
                "damaged content; choose another folder."
            ) from error

    @property
    def history(self) -> list[dict]:
        """Entries of `history.json`, one per epoch; those of the last reading if it cannot be read now."""
        path = self.path / "history.json"
        try:
            stamp = path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._history, self._stamp = json.loads(path.read_text(encoding="utf-8")), stamp
        except FileNotFoundError:
            self._history, self._stamp = [], None
        except (OSError, ValueError):
            pass
        return self._history

    @property
    def running(self) -> bool:
        """Whether another process is training in it."""
        return is_running(self.path)

    @property
    def progress(self) -> RunProgress | None:
        """The last progress of the run, or None."""
        return read_progress(self.path)

    @property
    def begun(self) -> bool:
        """Whether there is something to continue: without it, a folder takes other settings."""
        made = ("latest.pt", "history.json", "bundle")
        return (self.path / "config.json").is_file() and any((self.path / name).exists() for name in made)

    @property
    def trained(self) -> bool:
        """Whether all epochs are done."""
        if not self.history:
            return False
        total = len(TrainingConfig(**self.stored["config"]).reductions())
        return self.epochs_done >= total or bool(self.history[-1].get("stopped_early"))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, and model and report belong to the last one."""
        if not self.trained or self.bundle is None or self.report is None:
            return False
        metadata, metrics = (
            _read_json(path) for path in (self.bundle / "configs" / "metadata.json", self.metrics_file)
        )
        try:
            of_this = present_names(metadata["training"]["config"])["epochs"] == self.stored["config"]["epochs"]
            return of_this and metrics["model"]["sha256"] == metadata["sha256"]
        except (KeyError, TypeError):
            return True  # written by an earlier version, without these facts

    @property
    def metrics_file(self) -> Path:
        """File of the report's metrics."""
        return self.path / "report" / "metrics.json"

    @property
    def metrics(self) -> dict | None:
        """Metrics of the report, like those of `evaluate`; None if there are none."""
        return _read_json(self.metrics_file)

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs, without epoch 0 (the unchanged start)."""
        return self.history[-1]["epoch"] if self.history else 0

    def validation_outcomes(self, manifest: Manifest | None) -> list[int] | None:
        """Outcomes of the validation patients (1 if they died); None if unknown.

        Parameters
        ----------
        manifest : Manifest or None

        Returns
        -------
        list of int or None
        """
        split = _read_json(self.path / "splits.json")
        if manifest is None or split is None:
            return None
        return [row.died for row in manifest.rows if row.patient_id in split["validation"]]

    @property
    def bundle(self) -> Path | None:
        """Folder of the model bundle, or None."""
        path = self.path / "bundle"
        return path if (path / "configs" / "metadata.json").is_file() else None

    @property
    def report(self) -> Path | None:
        """The report of the run, or None."""
        path = self.path / "report" / "report.html"
        return path if path.is_file() else None

    def stop(self) -> None:
        """End the training process; the run can be continued.

        Raises
        ------
        InputError
            If it runs on another computer.
        """
        progress = self.progress
        if progress is None or not self.running:
            return
        if progress.computer != socket.gethostname():
            raise InputError(
                f"The run cannot be stopped from here: expected it on this computer, found it on {progress.computer}."
            )
        os.kill(progress.process, signal.SIGTERM)


def _read_json(path):
    """Content of a JSON file, or None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def check_start(manifest: Manifest, config: TrainingConfig, processes: int = 1) -> None:
    """Check that a new run can start, before anything is written to its folder.

    Parameters
    ----------
    manifest : Manifest
    config : TrainingConfig
    processes : int
        Number of processes that train together.

    Raises
    ------
    InputError
    """
    used = [row for row in manifest.rows if row.split != "test"]
    outcomes(used, config.outcome)
    check_labels(used, config.learns_deaths())
    split = draw_split(manifest.rows, config.validation_fraction, config.seed, config.fold, config.folds)
    check_split(split, config, processes)
    if config.auxiliary_weight:
        labels_of(used, TARGETS)
    auxiliary_targets(config, split["train"])
    inputs = clinical_inputs(config, split["train"])
    if inputs is not None:
        inputs.encode_all([row.extra for row in used], [row.patient_id for row in used])


def check_split(split: dict[str, list[Row]], config: TrainingConfig, processes: int = 1) -> None:
    """Check that there are enough scans, and different volumes and outcomes among those that train.

    Parameters
    ----------
    split : dict of str to list of Row
        "train" and "validation".
    config, processes
        As in `check_start`.

    Raises
    ------
    InputError
    """
    fewest = max(2, config.accumulate * processes)
    if len(split["train"]) < fewest:
        raise InputError(
            f"Too few scans for training: expected at least {fewest}, one for each batch of a step, found "
            f"{len(split['train'])}."
        )
    if len(split["validation"]) < 2:
        raise InputError(f"Too few scans for validation: expected at least 2, found {len(split['validation'])}.")
    volumes = sorted({row.volume_ml for row in split["train"]})
    if "volume" in config.learned_heads() and (len(volumes) < 2 or volumes[-1] < LEAST_ML):
        raise InputError(
            "No volume can be learned from the scans that train: expected different volumes in mL, some from "
            f"{LEAST_ML:g} mL, found {volumes[0]:g} to {volumes[-1]:g} mL (in liters? tasks=prognosis trains only the "
            "prognosis)."
        )
    died = {row.patient_id: row.died for row in split["train"]}
    deaths = sum(died.values())
    learned = outcomes(split["train"], config.outcome)
    if "prognosis" in config.learned_heads() and config.outcome != "died" and learned.min() == learned.max():
        raise InputError(
            f"No prognosis can be learned from the column {config.outcome}: expected several probabilities among the "
            f"patients that train, found {learned[0]:g} for all of them."
        )
    if config.learns_deaths() and not 0 < deaths < len(died):
        raise InputError(
            "No prognosis can be learned from the patients that train: expected both outcomes among them, found "
            f"{counted(deaths, 'death')} of {counted(len(died), 'patient')} (the others are held out, left out or of "
            "the split test; tasks=volume trains only the volume)."
        )


def claim_run(folder: str | os.PathLike, manifest: Manifest, config: TrainingConfig, processes: int = 1) -> None:
    """Write a run's settings into its folder, or check that those already there are the same.

    A finished run may be continued with more epochs; one that ended before its first checkpoint begins anew.

    Parameters
    ----------
    folder : path
    manifest, config, processes
        As in `check_start`.

    Raises
    ------
    InputError
    """
    folder = Path(folder)
    settings = run_settings(manifest, config, processes)
    run = RunFolder(folder)
    stored = run.stored
    if run.begun:
        if not _is_longer(folder, stored, settings):
            check_same_run(folder, stored, settings)
            # The same, but table and model to start from may lie elsewhere now.
            settings = stored | {name: settings[name] for name in ("config", "manifest")}
    else:
        taken = [name for name in FILES if stored is None and os.path.lexists(folder / name)]
        if taken:
            raise OutputError(
                f"The folder {folder} contains {', '.join(taken)}, but no run: expected a new folder, or that of a run."
            )
        check_start(manifest, config, processes)
        (folder / "splits.json").unlink(missing_ok=True)
    write_json(folder / "config.json", settings)


def run_settings(manifest: Manifest, config: TrainingConfig, processes: int = 1) -> dict:
    """The content of a run's `config.json`, which identifies the run.

    Returns
    -------
    dict
        `config`, `manifest`, `manifest_sha256` and, if relevant, `processes` and `start_from_sha256`.
    """
    settings = {
        "config": config.as_dict(),
        "manifest": str(manifest.path.resolve()),
        "manifest_sha256": manifest.sha256,
    }
    if processes > 1:
        settings["processes"] = processes
    if config.start_from is not None:
        settings["start_from_sha256"] = starting_bundle(config.start_from).sha256
    return settings


def _is_longer(folder, stored, settings):
    """Whether a finished run is continued for more epochs, with otherwise equal settings."""
    there, here = stored["config"]["epochs"], settings["config"]["epochs"]
    run = RunFolder(folder)
    if here <= there or not run.trained:
        return False
    check_same_run(folder, stored, settings | {"config": settings["config"] | {"epochs": there}})
    if run.history[-1].get("stopped_early"):
        raise InputError(
            f"The run in {folder} has stopped early, after epoch {run.epochs_done}: expected a new folder with more "
            f"patience, found more epochs ({here}), with which it would not go on."
        )
    return True


def identity(settings: dict) -> dict:
    """What must be the same in every part of a run, by name.

    Parameters
    ----------
    settings : dict
        Of `run_settings`, or stored by it.

    Returns
    -------
    dict
        All settings; the table and the model to start from by their checksums, wherever they are.
    """
    found = {name: value for name, value in (settings | settings["config"]).items() if name != "config"}
    for name in ("manifest", "start_from"):
        if checksum := found.pop(f"{name}_sha256", None):
            found[name] = f"SHA-256 {checksum[:16]}"
    return found


def check_same_run(folder: str | os.PathLike, stored: dict, settings: dict) -> None:
    """Refuse to continue a run with other settings; the message names them.

    Parameters
    ----------
    folder : path
    stored : dict
        `RunFolder.stored`.
    settings : dict
        Settings of the run to continue.

    Raises
    ------
    InputError
    """
    settings = json.loads(json.dumps(settings))
    if "manifest_sha256" not in stored:  # a run of an earlier version
        settings.pop("manifest_sha256", None)
    there, here = identity(stored), identity(settings)
    if found := differences(there, here):
        raise InputError(
            f"The run folder {folder} belongs to a run with other settings: expected the same ones to continue it, or "
            f"a new folder; found {', '.join(found)}."
        )
