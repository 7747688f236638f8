"""Auxiliary targets: findings in the table of scans that shape the encoder in training, beside volume and outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ICHMultiTaskLib.common.clinical_variables import VARIABLES, ClinicalVariable, location_group
from ICHMultiTaskLib.common.errors import InputError

from .manifest import Row

if TYPE_CHECKING:
    from ..training.config import TrainingConfig

PLACES = ("lobar", "putamen", "thalamus", "caudate", "cerebellum", "brainstem")
"""Classes of the location. "deep" and "infratentorial" do not say which of them."""


@dataclass(frozen=True)
class AuxiliaryTarget:
    """A finding that a dense layer on the pooled features must predict.

    Attributes
    ----------
    name : str
        Its name in `history.json`.
    column : str
        Column of the manifest that it is read from; an empty cell is an unknown value.
    value : callable (text)
        The value of a cell: 0 or 1, the index of a class, or a number; None if unknown. Raises InputError if the text
        is impossible.
    classes : int
        2: a binary finding; more: one of several classes; 0: a number.
    unit : str
        Of a number.
    center, scale : float
        The network learns (number − `center`) / `scale`, which is of the order of 1 in heads with a hemorrhage.
    """

    name: str
    column: str
    value: Callable[[str], float | None]
    classes: int = 0
    unit: str = ""
    center: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of outputs of its dense layer."""
        return self.classes if self.classes > 2 else 1

    def label(self, record: Mapping[str, str]) -> float:
        """The label of a scan, NaN if unknown; `record` has the columns of the manifest as text."""
        value = self.value(record.get(self.column, ""))
        return math.nan if value is None else (value - self.center) / self.scale


def _infratentorial(text):
    group = location_group(text)
    return None if group is None else float(group == "infratentorial")


def _place(text):
    location_group(text)  # refuses what is no location
    word = text.strip().lower()
    return float(PLACES.index(word)) if word in PLACES else None


TARGETS = (
    AuxiliaryTarget("infratentorial", "location", _infratentorial, classes=2),
    AuxiliaryTarget("ventricular_blood", "ivh", VARIABLES["ivh"].number, classes=2),
    AuxiliaryTarget("location", "location", _place, classes=len(PLACES)),
    AuxiliaryTarget(
        "midline_shift",
        "midline_shift_mm",
        ClinicalVariable("midline shift in mm", 0, 50, whole=False).number,
        unit="mm",
        scale=4.0,
    ),
    AuxiliaryTarget("atrophy", "atrophy", ClinicalVariable("atrophy", 0, 5, whole=False).number, center=0.6, scale=0.3),
    AuxiliaryTarget("age", "age", VARIABLES["age"].number, unit="years", center=67.0, scale=13.0),
)
"""All targets. A run uses those that its training scans know."""


def labels_of(rows: Sequence[Row], targets: Sequence[AuxiliaryTarget]) -> np.ndarray:
    """Labels of scans.

    Parameters
    ----------
    rows : sequence of Row
    targets : sequence of AuxiliaryTarget

    Returns
    -------
    ndarray of shape (N, number of targets), float32
        NaN where unknown.

    Raises
    ------
    InputError
        Lists all impossible values.
    """
    labels, problems = np.full((len(rows), len(targets)), np.nan, np.float32), []
    for n, row in enumerate(rows):
        for m, target in enumerate(targets):
            try:
                labels[n, m] = target.label(row.extra)
            except InputError as error:
                problems.append(f"{row.patient_id}: {error}")
    if problems:
        problems = list(dict.fromkeys(problems))  # two targets are read from one column
        raise InputError(f"{len(problems)} auxiliary labels cannot be used: {' '.join(problems)}")
    return labels


def auxiliary_targets(config: TrainingConfig, rows: Sequence[Row]) -> tuple[AuxiliaryTarget, ...]:
    """The targets that a run trains: those with at least two different labels among its training scans.

    Parameters
    ----------
    config : TrainingConfig
    rows : sequence of Row
        Training scans.

    Returns
    -------
    tuple of AuxiliaryTarget
        None with an `auxiliary_weight` of 0.

    Raises
    ------
    InputError
        If the setting asks for targets and the scans have none, or labels are impossible.
    """
    if not config.auxiliary_weight:
        return ()
    labels = labels_of(rows, TARGETS)
    found = tuple(t for t, column in zip(TARGETS, labels.T) if len(np.unique(column[np.isfinite(column)])) > 1)
    if not found:
        columns = ", ".join(dict.fromkeys(target.column for target in TARGETS))
        raise InputError(
            f"The setting auxiliary_weight needs findings to learn from: expected at least two different values in one "
            f"of the columns {columns}, found none among {len(rows)} training scans."
        )
    return found
