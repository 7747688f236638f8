"""Clinical variables as inputs of a network: standardized values, with an indicator for each known variable.

    inputs = ClinicalInputs.fit(["age", "gcs"], patients)    standardized on the training set
    inputs.encode({"age": 71, "gcs": None})                  values, then an indicator (1: known) for each variable

An unknown value is encoded as 0, the mean of the training set. A bundle's metadata stores the inputs under `clinical`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.clinical_variables import VARIABLES, location_group
from ..common.errors import InputError
from ..common.translation import joined
from ..common.translation import tr as _

LOCATION_GROUPS = ("lobar", "infratentorial")
"""A location is encoded as two indicators, so that it has no order; both are 0 for a deep location."""
HIDDEN_UNITS = 16
"""Of the hidden layer between what is encoded and the prognosis."""
MIN_SPREAD = 1e-6
"""A variable with a smaller spread is constant in the training set and is always encoded as 0."""


@dataclass(frozen=True)
class ClinicalInputs:
    """The clinical variables that a network reads, and their standardization.

    Attributes
    ----------
    names : tuple of str
        Names in `ICHMultiTaskLib.common.clinical_variables.VARIABLES`.
    means, spreads : tuple of tuple of float
        Mean and standard deviation in the training set, for each number that encodes a variable.
    """

    names: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    spreads: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, names: Sequence[str], patients: Mapping[str, Mapping[str, object]]) -> ClinicalInputs:
        """Fit the standardization to the patients of a training set.

        Parameters
        ----------
        names : sequence of str
        patients : mapping of str to mapping
            By patient: values by variable, as numbers or as text as in a manifest; "" or None if unknown.

        Raises
        ------
        InputError
            If there is no such variable, no patient has it, or values are impossible.
        """
        check_names(names)
        means, spreads, problems = [], [], []
        for name in names:
            if not any(name in values for values in patients.values()):
                raise InputError(
                    _("The table has no column {name}: expected it, since it is a clinical input.").format(name=name)
                )
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
                    _(
                        "The column {name} is empty: expected the {variable} of at least one training "
                        "patient, found none in {count}."
                    ).format(name=name, variable=VARIABLES[name].words, count=len(patients))
                )
            means.append(tuple(float(v) for v in np.mean(known, axis=0)))
            spreads.append(tuple(float(v) for v in np.std(known, axis=0)))
        _refuse(problems)
        return cls(tuple(names), tuple(means), tuple(spreads))

    @classmethod
    def from_metadata(cls, entries: Sequence[Mapping]) -> ClinicalInputs:
        """Inverse of `metadata`; raises KeyError, TypeError, ValueError or InputError if an entry is malformed."""
        names = tuple(str(entry["name"]) for entry in entries)
        check_names(names)
        numbers = [[tuple(map(float, entry[key])) for entry in entries] for key in ("mean", "spread")]
        for name, mean, spread in zip(names, *numbers):
            if len(mean) != len(spread) or len(mean) != _count(name) or not np.isfinite([*mean, *spread]).all():
                raise ValueError(f"the mean or spread of {name} is malformed")
        return cls(names, *(tuple(found) for found in numbers))

    def metadata(self) -> list[dict]:
        """Plain values to store in a bundle's metadata."""
        return [
            {"name": name, "mean": list(mean), "spread": list(spread)}
            for name, mean, spread in zip(self.names, self.means, self.spreads)
        ]

    @property
    def owners(self) -> np.ndarray:
        """Index of the variable that each encoded number belongs to, int of shape (width,)."""
        own = np.arange(len(self.names))
        return np.concatenate([np.repeat(own, [len(mean) for mean in self.means]), own])

    @property
    def width(self) -> int:
        """Numbers that encode one patient."""
        return len(self.owners)

    def encode(self, values: Mapping[str, object]) -> np.ndarray:
        """Encode one patient.

        Returns
        -------
        ndarray of shape (width,), float32

        Raises
        ------
        InputError
            If a value is impossible.
        """
        numbers, known = [], []
        for name, mean, spread in zip(self.names, self.means, self.spreads):
            found = _numbers(name, values.get(name))
            known.append(found is not None)
            for n, (center, scale) in enumerate(zip(mean, spread)):
                numbers.append(0.0 if found is None or scale < MIN_SPREAD else (found[n] - center) / scale)
        return np.array([*numbers, *known], np.float32)

    def encode_all(self, records: Iterable[Mapping[str, object]], labels: Sequence[str]) -> np.ndarray:
        """Encode patients as an array of shape (N, width); `labels` identify them in error messages.

        Raises
        ------
        InputError
            Lists all impossible values.
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
        """The values that the network uses, by name; None if unknown."""
        return {name: values.get(name) if _numbers(name, values.get(name)) is not None else None for name in self.names}


def check_names(names: Sequence[str]) -> None:
    """Check that variables exist and are listed once.

    Raises
    ------
    InputError
    """
    unknown = [name for name in names if name not in VARIABLES]
    if unknown:
        raise InputError(
            _("Clinical variables are unknown: expected some of {variables}, found {unknown}.").format(
                variables=", ".join(VARIABLES), unknown=", ".join(map(str, unknown))
            )
        )
    if len(set(names)) < len(names):
        raise InputError(
            _("A clinical variable appears twice: expected each once, found {names}.").format(names=", ".join(names))
        )


def _refuse(problems):
    if problems:
        raise InputError(
            _("{count} clinical values cannot be used: {problems}").format(
                count=len(problems), problems=joined(" ", problems)
            )
        )


def _count(name):
    return len(LOCATION_GROUPS) if name == "location" else 1


def _numbers(name, value):
    """The numbers that encode a value; None if it is unknown."""
    if name == "location":
        group = location_group(value)
        return None if group is None else tuple(float(group == known) for known in LOCATION_GROUPS)
    found = VARIABLES[name].number(value)
    return None if found is None else (found,)
