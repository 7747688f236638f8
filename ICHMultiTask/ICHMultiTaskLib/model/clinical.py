"""Clinical variables as inputs of a network: as numbers, with a mask of the known ones.

    inputs = ClinicalInputs.fit(["age", "gcs"], patients)    standardized by the training set
    inputs.encode({"age": 71, "gcs": None})                  values, then for each variable whether it is known

A value that is not known is 0, the mean of the training set, and says so. Kept in a bundle's metadata under `clinical`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.clinical_variables import VARIABLES, location_group
from ..common.errors import InputError

LOCATION_GROUPS = ("lobar", "infratentorial")
"""A location is two numbers, so that no order is read into it; deep is neither."""
HIDDEN_UNITS = 16
"""Of the hidden layer between what is encoded and the prognosis."""
MIN_SPREAD = 1e-6
"""Of a variable that is the same in every patient, which then tells nothing."""


@dataclass(frozen=True)
class ClinicalInputs:
    """Which variables a network reads, and what standardizes them.

    Attributes
    ----------
    names : tuple of str
        Of `ICHMultiTaskLib.common.clinical_variables.VARIABLES`.
    means, spreads : tuple of tuple of float
        Of the training set, for each number of each variable.
    """

    names: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    spreads: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, names: Sequence[str], patients: Mapping[str, Mapping[str, object]]) -> ClinicalInputs:
        """Standardize by the patients of a training set.

        Parameters
        ----------
        names : sequence of str
        patients : mapping of str to mapping
            By what tells a patient: values, or texts as in a manifest, by name; "" or None where not known.

        Raises
        ------
        InputError
            If a variable is unknown, no patient has it, or values are not possible.
        """
        check_names(names)
        means, spreads, problems = [], [], []
        for name in names:
            if not any(name in values for values in patients.values()):
                raise InputError(f"The table has no column {name}: expected it, since it is asked for as clinical.")
            known = []
            for label, values in patients.items():
                try:
                    known.append(_numbers(name, values.get(name)))
                except InputError as error:
                    problems.append(f"{label}: {error}")
            known = [numbers for numbers in known if numbers is not None]
            if problems:
                continue
            if not known:
                raise InputError(
                    f"The column {name} is empty: expected the {VARIABLES[name].words} of at least one training "
                    f"patient, found none in {len(patients)}."
                )
            means.append(tuple(float(v) for v in np.mean(known, axis=0)))
            spreads.append(tuple(float(v) for v in np.std(known, axis=0)))
        _refuse(problems)
        return cls(tuple(names), tuple(means), tuple(spreads))

    @classmethod
    def from_metadata(cls, entries: Sequence[Mapping]) -> ClinicalInputs:
        """Read what `metadata` wrote; KeyError, TypeError, ValueError or InputError where it is something else."""
        names = tuple(str(entry["name"]) for entry in entries)
        check_names(names)
        numbers = [[tuple(map(float, entry[key])) for entry in entries] for key in ("mean", "spread")]
        for name, mean, spread in zip(names, *numbers):
            if len(mean) != len(spread) or len(mean) != _count(name) or not np.isfinite([*mean, *spread]).all():
                raise ValueError(f"the mean or spread of {name} is malformed")
        return cls(names, *(tuple(found) for found in numbers))

    def metadata(self) -> list[dict]:
        """Plain values for a bundle's metadata."""
        return [
            {"name": name, "mean": list(mean), "spread": list(spread)}
            for name, mean, spread in zip(self.names, self.means, self.spreads)
        ]

    @property
    def owners(self) -> np.ndarray:
        """Which variable each of the encoded numbers belongs to, int of shape (width,)."""
        own = np.arange(len(self.names))
        return np.concatenate([np.repeat(own, [len(mean) for mean in self.means]), own])

    @property
    def width(self) -> int:
        """Length of an encoded patient."""
        return len(self.owners)

    def encode(self, values: Mapping[str, object]) -> np.ndarray:
        """One patient as the network reads it.

        Returns
        -------
        ndarray of shape (width,), float32

        Raises
        ------
        InputError
            If a value is not possible.
        """
        numbers, known = [], []
        for name, mean, spread in zip(self.names, self.means, self.spreads):
            found = _numbers(name, values.get(name))
            known.append(found is not None)
            for n, (center, scale) in enumerate(zip(mean, spread)):
                numbers.append(0.0 if found is None or scale < MIN_SPREAD else (found[n] - center) / scale)
        return np.array([*numbers, *known], np.float32)

    def encode_all(self, records: Iterable[Mapping[str, object]], labels: Sequence[str]) -> np.ndarray:
        """Patients as an array of shape (N, width); `labels` name them where a value is not possible.

        Raises
        ------
        InputError
            With every value that is not possible, all at once.
        """
        rows, problems = [], []
        for label, record in zip(labels, records):
            try:
                rows.append(self.encode(record))
            except InputError as error:
                problems.append(f"{label}: {error}")
        _refuse(problems)
        return np.array(rows, np.float32).reshape(len(rows), self.width)

    def read(self, values: Mapping[str, object]) -> dict[str, object]:
        """What of the values is read, by name; None where it is not known."""
        return {name: values.get(name) if _numbers(name, values.get(name)) is not None else None for name in self.names}


def check_names(names: Sequence[str]) -> None:
    """Refuse variables that no network reads.

    Raises
    ------
    InputError
    """
    unknown = [name for name in names if name not in VARIABLES]
    if unknown:
        raise InputError(
            f"Clinical variables are unknown: expected some of {', '.join(VARIABLES)}, found "
            f"{', '.join(map(str, unknown))}."
        )
    if len(set(names)) < len(names):
        raise InputError(f"A clinical variable stands twice: expected each once, found {', '.join(names)}.")


def _refuse(problems):
    if problems:
        raise InputError(f"{len(problems)} clinical values cannot be used: " + " ".join(problems))


def _count(name):
    return len(LOCATION_GROUPS) if name == "location" else 1


def _numbers(name, value):
    """The numbers that stand for a value; None where it is not known."""
    if name == "location":
        group = location_group(value)
        return None if group is None else tuple(float(group == known) for known in LOCATION_GROUPS)
    found = VARIABLES[name].number(value)
    return None if found is None else (found,)
