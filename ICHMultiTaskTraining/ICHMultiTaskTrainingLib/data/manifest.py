"""The table of scans that a model is trained and evaluated on."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError

REQUIRED = ("patient_id", "image", "volume_ml", "died")


@dataclass(frozen=True)
class Row:
    """One scan.

    Attributes
    ----------
    patient_id : str
    image : Path
    volume_ml : float
    died : int
        1 if dead within 30 days.
    mask : Path or None
    split : str
        "train", "validation", "test" or "" where the manifest has none.
    extra : dict of str to str
        All other columns, as written.
    """

    patient_id: str
    image: Path
    volume_ml: float
    died: int
    mask: Path | None
    split: str
    extra: dict


@dataclass(frozen=True)
class Manifest:
    """Rows of a manifest and the file they came from."""

    path: Path
    rows: tuple


def read_manifest(path):
    """Read and check a manifest (CSV, UTF-8); paths in it are relative to its folder.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        With every unusable row and its reason, all at once.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, records = reader.fieldnames or [], list(reader)
    except FileNotFoundError:
        raise InputError(f"The manifest does not exist: expected a CSV file, found nothing at {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The manifest cannot be read: expected CSV in UTF-8, found {path} ({error}).") from error
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise InputError(
            f"The manifest lacks columns: expected {', '.join(REQUIRED)}, found no {', '.join(missing)} in {path}."
        )
    if not records:
        raise InputError(f"The manifest is empty: expected one row per scan, found only the header in {path}.")
    rows, problems = [], []
    for line, record in enumerate(records, start=2):
        try:
            rows.append(_row(record, path.parent))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise InputError(f"The manifest {path} has {len(problems)} unusable rows: " + "; ".join(problems))
    return Manifest(path, tuple(rows))


def _row(record, folder):
    record = {key: (value or "").strip() for key, value in record.items() if key is not None}
    if not record["patient_id"]:
        raise ValueError("patient_id is empty")
    if not record["image"]:
        raise ValueError("image is empty")
    image = folder / record["image"]
    if not image.exists():
        raise ValueError(f"image {record['image']} does not exist")
    mask = folder / record["mask"] if record.get("mask") else None
    if mask is not None and not mask.exists():
        raise ValueError(f"mask {record['mask']} does not exist")
    try:
        volume = float(record["volume_ml"])
    except ValueError:
        volume = math.nan
    if not math.isfinite(volume) or volume < 0:
        raise ValueError(f"volume_ml must be a number of at least 0, found {record['volume_ml']!r}")
    if record["died"] not in ("0", "1"):
        raise ValueError(f"died must be 0 or 1, found {record['died']!r}")
    known = {*REQUIRED, "mask", "split"}
    extra = {key: value for key, value in record.items() if key not in known}
    return Row(record["patient_id"], image, volume, int(record["died"]), mask, record.get("split", ""), extra)


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
