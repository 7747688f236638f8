"""Results of finished rows, as small folders that can be merged from several machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.tables import read_csv, write_csv
from ICHMultiTaskLib.common.writing import changed_files, new_folder, write_json

from ..training.config import TrainingConfig, present_names
from ..training.settings_text import differences

SETTINGS = "experiment.json"
ROWS = "rows"
PREDICTIONS = "predictions.csv"
COLUMNS = ("patient_id", "fold", "volume_ml", "predicted_volume_ml", "died", "log_odds")
MAPS = "attention.png"
KIND = "row of a reproduction"
INTERPRETATION = "interpretation"


@dataclass(frozen=True)
class Fold:
    """Results of one fold of a row.

    Attributes
    ----------
    records : list of dict
        `COLUMNS` for each held-out scan, in the order of the manifest; None for a value that the row does not predict.
    history : list of dict
        One entry per epoch, as recorded by the trainer.
    facts : dict
        `row`, `fold`, `settings` of the training, `device`, `provenance`, and for the first fold `cost`.
    maps : Path or None
        Picture of the attention; only for the first fold.
    """

    records: list
    history: list
    facts: dict
    maps: Path | None


class Store:
    """The folder of a reproduction.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def claim(self, settings: dict) -> None:
        """Store the settings of a reproduction in its folder, or check that they match those stored there.

        Parameters
        ----------
        settings : dict
            Plain values.

        Raises
        ------
        InputError
            If the folder holds a reproduction with other settings; the message names the differences.
        """
        path = self.folder / SETTINGS
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, settings)
            return
        try:
            there = dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{path} cannot be read: expected settings that this software wrote ({error}).") from error
        if found := differences(there, settings):
            raise InputError(
                f"The folder {self.folder} belongs to another reproduction: expected the same settings to continue it, "
                f"or a new folder; found {', '.join(found)}."
            )

    def place(self, row: str, fold: int) -> Path:
        """Folder of a fold of a row."""
        return self.folder / ROWS / row / f"fold-{fold}"

    def has(self, row: str, fold: int) -> bool:
        """Whether a fold of a row is finished."""
        return (self.place(row, fold) / "facts.json").is_file()

    def write(
        self, row: str, fold: int, records: list[dict], history: list[dict], facts: dict, draw: Callable | None = None
    ) -> None:
        """Write a finished fold, completely or not at all.

        Parameters
        ----------
        row, fold
        records, history, facts
            As in `Fold`.
        draw : callable (path), optional
            Draws the picture of the attention.
        """
        with new_folder(self.place(row, fold), KIND, overwrite=True) as folder:
            write_csv(folder / PREDICTIONS, records, COLUMNS)
            write_json(folder / "history.json", history)
            write_json(folder / "facts.json", facts)
            if draw is not None:
                draw(folder / MAPS)

    def read(
        self, row: str, fold: int, settings: dict | None = None, held_out: Sequence[str] | None = None
    ) -> Fold | None:
        """Read a fold; None if it is not finished.

        Parameters
        ----------
        row, fold
        settings : dict, optional
            Settings of the row's training in this reproduction.
        held_out : sequence of str, optional
            Patient of each scan that the fold holds out, in the order of the manifest.

        Raises
        ------
        InputError
            If it is damaged or copied in part, is another row or fold, or comes from a reproduction with other
            settings.
        """
        folder = self.place(row, fold)
        if not self.has(row, fold):
            return None
        try:
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            records = [_numbers(record) for _, record in read_csv(folder / PREDICTIONS).records()]
            there = present_names(facts["settings"])
            found = facts["row"], facts["fold"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} is damaged: expected what a finished row leaves ({error}).") from error
        if settings is not None:
            _check_settings(folder, there, settings)
        if found != (row, fold):
            raise InputError(
                f"{folder} is another part of the reproduction: expected fold {fold} of the row {row}, found fold "
                f"{found[1]} of {found[0]}. Copy it to its own place."
            )
        _check_whole(folder)
        _check_records(folder, records, facts["settings"]["tasks"], held_out)
        maps = folder / MAPS
        return Fold(records, history, facts, maps if maps.is_file() else None)

    def has_interpretation(self) -> bool:
        """Whether the comparison of interpretation methods is finished."""
        return (self.folder / ROWS / INTERPRETATION / "measured.json").is_file()

    def write_interpretation(self, measured: dict, settings: dict, draw: Callable) -> None:
        """Write the comparison of interpretation methods, completely or not at all.

        Parameters
        ----------
        measured : dict
            Result of `compare_methods`.
        settings : dict
            Settings of the training of the network that was interpreted.
        draw : callable (path)
            Draws Figure 5 for all methods.
        """
        with new_folder(self.folder / ROWS / INTERPRETATION, KIND, overwrite=True) as folder:
            write_json(folder / "measured.json", measured)
            write_json(folder / "facts.json", {"settings": settings})
            draw(folder / MAPS)

    def read_interpretation(self, settings: dict) -> dict | None:
        """Read `measured` and `picture` (PNG of Figure 5); None if the comparison is not finished.

        InputError if it is damaged, or of a network with other `settings`, which earlier versions do not state.
        """
        if not self.has_interpretation():
            return None
        folder = self.folder / ROWS / INTERPRETATION
        try:
            measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
            facts = folder / "facts.json"
            there = json.loads(facts.read_text(encoding="utf-8"))["settings"] if facts.is_file() else settings
            found = {"measured": measured, "picture": (folder / MAPS).read_bytes()}
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder} is damaged: expected what a finished row leaves ({error}).") from error
        _check_settings(folder, there, settings)
        _check_whole(folder)
        return found


def _check_settings(folder, there, settings):
    # A row of an earlier version lacks newer settings, and used their defaults.
    there = {n: v for n, v in TrainingConfig().as_dict().items() if n in settings} | there
    settings = json.loads(json.dumps(settings))
    if there != settings:
        different = sorted(n for n in {**there, **settings} if there.get(n) != settings.get(n))
        raise InputError(
            f"{folder} belongs to another reproduction: expected the settings of this one, found other "
            f"{', '.join(different)}. Move it elsewhere."
        )


def _check_whole(folder):
    """Refuse files that are not as they were written, such as by a copy that broke off; one without a list passes."""
    for name in changed_files(folder, KIND):
        found = "another" if (folder / name).is_file() else "none"
        raise InputError(
            f"{folder} is damaged: expected {name} as it was written, found {found}. Copy it again, or remove it "
            "to train it again."
        )


def _check_records(folder, records, tasks, held_out):
    predicted = {"volume": ("predicted_volume_ml",), "prognosis": ("log_odds",)}
    names = [name for task, columns in predicted.items() if tasks in ("both", task) for name in columns]
    lacking = [record["patient_id"] for record in records if None in (record[name] for name in names)]
    patients = [record["patient_id"] for record in records]
    if lacking or (held_out is not None and patients != list(held_out)):
        raise InputError(
            f"{folder} is damaged: expected predictions of {len(patients if held_out is None else held_out)} held-out "
            f"scans, found {len(patients)} of them, {len(lacking)} without a prediction, or other patients. Copy it "
            "again, or remove it to train it again."
        )


def _numbers(record):
    values = {name: float(record[name]) if record[name] else None for name in COLUMNS if name != "patient_id"}
    return {"patient_id": record["patient_id"], **values}
