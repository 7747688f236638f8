"""The table of scans for training and evaluation."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import spelled_twice
from ICHMultiTaskLib.common.tables import parsed_number, read_csv

REQUIRED = ("patient_id", "image", "volume_ml", "died")
SPOILED_ID = re.compile(r"\d([.,]\d+)?E[+-]\d+|#[^\W\d_]+[A-Z0/!?]*")
"""What a spreadsheet makes of a long number (1.23457E+11), which is then the same for many patients, and of a formula
that fails (#N/A)."""


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
        "train", "validation", "test", or "" if the manifest has none.
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
    """Rows of a manifest, the file they were read from and its SHA-256."""

    path: Path
    rows: tuple
    sha256: str = ""


def read_manifest(path: str | os.PathLike) -> Manifest:
    """Read and check a manifest (a table for `read_csv`); its paths are relative to its folder.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        With every unusable row and its reason, all at once.
    """
    path = Path(path)
    table = read_csv(path)
    table.require(REQUIRED)
    rows, problems = [], []
    for number, record in table.records():
        try:
            rows.append(_row(record, path.parent, table.decimal_comma))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise InputError(f"The manifest {path} has {len(problems)} unusable rows: " + "; ".join(problems))
    _refuse_spellings(path, rows)
    return Manifest(path, tuple(rows), hashlib.sha256(path.read_bytes()).hexdigest())


def _refuse_spellings(path, rows):
    """Refuse two spellings of one patient (P1 and p1, 007 and 7.0), who could be on both sides of a split."""
    found = [" and ".join(sorted(names)) for names in spelled_twice(row.patient_id for row in rows)]
    if found:
        raise InputError(
            f"The manifest {path} seems to spell patients in several ways: expected one patient_id for each, found "
            f"{', '.join(found)}."
        )


def _file(record, name, folder):
    """The file or folder in a column; a path written on Windows is read on other systems as well."""
    path = folder / record[name]
    if not path.exists() and os.sep != "\\":
        path = folder / record[name].replace("\\", "/")
    if not path.exists():
        raise ValueError(f"{name} {record[name]} does not exist")
    return path


def _row(record, folder, decimal_comma):
    if not record["patient_id"]:
        raise ValueError("patient_id is empty")
    if SPOILED_ID.fullmatch(record["patient_id"]):
        raise ValueError(
            f"patient_id must be as in the hospital's system, found a spreadsheet's {record['patient_id']}"
        )
    if not record["image"]:
        raise ValueError("image is empty")
    image = _file(record, "image", folder)
    mask = _file(record, "mask", folder) if record.get("mask") else None
    volume = parsed_number(record["volume_ml"], decimal_comma)
    if volume is None or volume < 0:
        raise ValueError(f"volume_ml must be a number of at least 0, found {record['volume_ml']!r}")
    split = record.get("split", "").strip().lower()
    if split not in ("train", "validation", "test", ""):
        raise ValueError(f"split must be train, validation, test or empty, found {record['split']!r}")
    if record["died"] not in ("0", "1"):
        raise ValueError(f"died must be 0 or 1, found {record['died']!r}")
    known = {*REQUIRED, "mask", "split"}
    extra = {key: value for key, value in record.items() if key not in known}
    return Row(record["patient_id"], image, volume, int(record["died"]), mask, split, extra)


def outcomes(rows: Sequence[Row], column: str) -> np.ndarray:
    """Training target of the prognosis head for each row: 0, 1 or a probability of death.

    Returns
    -------
    ndarray of shape (N,), float32

    Raises
    ------
    InputError
        If the column is missing or contains other values.
    """
    if column == "died":
        return np.array([row.died for row in rows], np.float32)
    values = []
    for row in rows:
        text = row.extra.get(column, "")
        value = parsed_number(text, decimal_comma=True)
        if value is None or not 0.0 <= value <= 1.0:
            raise InputError(
                f"The column {column} cannot be the outcome: expected a probability in every row, found {text!r} for "
                f"{row.patient_id}."
            )
        values.append(value)
    return np.array(values, np.float32)
