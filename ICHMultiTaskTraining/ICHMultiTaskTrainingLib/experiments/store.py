"""What finished rows leave behind: small folders that can be copied together from several machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.tables import read_csv, write_csv
from ICHMultiTaskLib.common.writing import new_folder, write_json

from ..training.config import TrainingConfig, present_names

SETTINGS = "experiment.json"
ROWS = "rows"
PREDICTIONS = "predictions.csv"
COLUMNS = ("patient_id", "fold", "volume_ml", "predicted_volume_ml", "died", "log_odds")
MAPS = "attention.png"
KIND = "row of a reproduction"
INTERPRETATION = "interpretation"


@dataclass(frozen=True)
class Fold:
    """A fold of a row, trained and predicted.

    Attributes
    ----------
    records : list of dict
        `COLUMNS` of each scan that was held out, in the order of the manifest; None where the row predicts nothing.
    history : list of dict
        As the trainer keeps it.
    facts : dict
        `row`, `fold`, `settings` of its training, `device`, `cost` (of the first fold), `provenance`.
    maps : Path or None
        The picture of its attention, of the first fold.
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
        """Note what the folder is of, or see that it is the same.

        Parameters
        ----------
        settings : dict
            Plain values.

        Raises
        ------
        InputError
            If a reproduction of other settings is there; the sentence names what differs.
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
        differences = [
            f"{name} {json.dumps(there.get(name))} there and {json.dumps(settings.get(name))} here"
            for name in {**there, **settings}
            if there.get(name) != settings.get(name)
        ]
        if differences:
            raise InputError(
                f"The folder {self.folder} belongs to another reproduction: expected the same settings to continue it, "
                f"or a new folder; found {', '.join(differences)}."
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
        """Leave a finished fold behind, whole or not at all.

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

    def read(self, row: str, fold: int, settings: dict | None = None) -> Fold | None:
        """A finished fold, or None.

        Parameters
        ----------
        row, fold
        settings : dict, optional
            Of the row's training here.

        Raises
        ------
        InputError
            If it is damaged, or was copied from a reproduction of other settings.
        """
        folder = self.place(row, fold)
        if not self.has(row, fold):
            return None
        try:
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            records = [_numbers(record) for _, record in read_csv(folder / PREDICTIONS).records()]
            there = present_names(facts["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} is damaged: expected what a finished row leaves ({error!r}).") from error
        if (
            settings is not None
        ):  # a row of an earlier version lacks the settings that came later; it had their defaults
            there = {n: v for n, v in TrainingConfig().as_dict().items() if n in settings} | there
        if settings is not None and there != json.loads(json.dumps(settings)):
            different = sorted(n for n in {**there, **settings} if there.get(n) != settings.get(n))
            raise InputError(
                f"{folder} belongs to another reproduction: expected the settings of this one, found other "
                f"{', '.join(different)}. Move it elsewhere."
            )
        maps = folder / MAPS
        return Fold(records, history, facts, maps if maps.is_file() else None)

    def has_interpretation(self) -> bool:
        """Whether the methods are compared."""
        return (self.folder / ROWS / INTERPRETATION / "measured.json").is_file()

    def write_interpretation(self, measured: dict, draw: Callable) -> None:
        """Leave the comparison of interpretation methods behind.

        Parameters
        ----------
        measured : dict
            As `compare_methods` returns it.
        draw : callable (path)
            Draws Figure 5 of every method.
        """
        with new_folder(self.folder / ROWS / INTERPRETATION, KIND, overwrite=True) as folder:
            write_json(folder / "measured.json", measured)
            draw(folder / MAPS)

    def read_interpretation(self) -> dict | None:
        """`measured` and `picture`, the PNG of Figure 5; None where it was not run."""
        if not self.has_interpretation():
            return None
        folder = self.folder / ROWS / INTERPRETATION
        try:
            measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
            return {"measured": measured, "picture": (folder / MAPS).read_bytes()}
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} is damaged: expected what a finished row leaves ({error!r}).") from error


def _numbers(record):
    values = {name: float(record[name]) if record[name] else None for name in COLUMNS if name != "patient_id"}
    return {"patient_id": record["patient_id"], **values}
