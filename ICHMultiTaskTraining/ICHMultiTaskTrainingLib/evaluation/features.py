"""What a frozen network sees in each scan: its last features, averaged over the head, as its own heads read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from ICHMultiTaskLib.common.choices import Stage
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.writing import whole_file

if TYPE_CHECKING:
    from ICHMultiTaskLib.analysis.attention import Prediction

FILE = "features.npz"


def pooled_features(prediction: Prediction) -> np.ndarray:
    """Mean of the last stage's features over its grid.

    Returns
    -------
    ndarray of shape (C,), float32
    """
    mean = prediction.features[Stage.STAGE4.value][0].mean((1, 2, 3))
    return np.asarray(mean if isinstance(mean, np.ndarray) else mean.float().cpu(), np.float32)


def write_features(path: str | os.PathLike, patients: Sequence[str], features: Sequence[np.ndarray | None]) -> None:
    """Write the features of scans.

    Parameters
    ----------
    path : path
    patients : sequence of str
        Patient of each scan.
    features : sequence of ndarray of shape (C,), or None
        NaN is written for None, a scan that could not be analyzed.
    """
    channels = next(len(values) for values in features if values is not None)
    table = np.stack([np.full(channels, np.nan, np.float32) if values is None else values for values in features])
    with whole_file(Path(path)) as file:
        np.savez_compressed(file, patient_id=np.array(patients, str), features=table)


def read_features(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read what `write_features` wrote.

    Returns
    -------
    patients : list of str
        Of each scan.
    features : ndarray of shape (N, C), float32
        NaN for a scan that could not be analyzed.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["patient_id"].tolist(), stored["features"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path} cannot be read: expected features of evaluate --features ({error}).") from error
