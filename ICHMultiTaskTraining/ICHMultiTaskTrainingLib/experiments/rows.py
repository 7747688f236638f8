"""The rows of a reproduction: the systems that are trained, and the comparison of interpretation methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.networks import ARGUMENTS, DEFAULT_NETWORK, NETWORKS, PUBLISHED_WIDTHS, TRAINABLE, built_for

OURS, SINGLE_PROGNOSIS, SINGLE_VOLUME = "ours", "single-prognosis", "single-volume"
INTERPRETATION = "interpretation"
"""Row that compares interpretation methods on the first fold of `OURS`, without any training."""
FIRST = ("r2plus1d", "x3d", "timesformer")
"""Networks whose names start with these come first, in case GPU time is short."""


@dataclass(frozen=True)
class Row:
    """A system that is trained.

    Attributes
    ----------
    name : str
    label : str
        Name shown on the page.
    network : str
        Name in the registry.
    tasks : str
        "both", or the only head that is trained: "volume" or "prognosis".
    """

    name: str
    label: str
    network: str
    tasks: str = "both"

    def settings(self, changes: dict, width_share: float = 1.0) -> dict:
        """Training settings that differ from the trainer's preset "paper".

        Parameters
        ----------
        changes : dict
            Changes for the whole reproduction. Arguments that this network does not take, such as strides, are dropped.
        width_share : float
            Width relative to the published one, unless `changes` have one.
        """
        own = {"tasks": self.tasks} if self.tasks != "both" else {}
        if width_share != 1.0 and "architecture.width" not in changes:
            own["architecture.width"] = round(width_share * PUBLISHED_WIDTHS[self.network])
        if self.network != DEFAULT_NETWORK:
            own["architecture.network"] = self.network
            if "preprocessing.shape_kji" in changes:
                sizes = built_for(self.network, changes["preprocessing.shape_kji"])
                own |= {f"architecture.{name}": size for name, size in sizes.items()}
            takes = {f"architecture.{name}" for name in ARGUMENTS[self.network]}
            changes = {n: value for n, value in changes.items() if not n.startswith("architecture.") or n in takes}
        return changes | own


def all_rows() -> dict[str, Row]:
    """All rows with a training, by name, the most important first."""
    label = NETWORKS.label(DEFAULT_NETWORK)
    rows = [
        Row(OURS, f"Ours: {label}, multi-task", DEFAULT_NETWORK),
        Row(SINGLE_PROGNOSIS, f"{label}, prognosis alone", DEFAULT_NETWORK, "prognosis"),
        Row(SINGLE_VOLUME, f"{label}, volume alone", DEFAULT_NETWORK, "volume"),
    ]
    others = [name for name in TRAINABLE if name != DEFAULT_NETWORK]
    rows += [Row(name, NETWORKS.label(name), name) for name in sorted(others, key=_rank)]
    return {row.name: row for row in rows}


def chosen(names: Iterable[str] | None) -> list[str]:
    """Names of the requested rows in their usual order; all rows if none are requested.

    Raises
    ------
    InputError
        If a name is unknown; the message lists the known names.
    """
    known = [*all_rows(), INTERPRETATION]
    names = list(names or known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"The row is unknown: expected some of {', '.join(known)}, found {', '.join(unknown)}.")
    return [name for name in known if name in names]


def _rank(name):
    return next((n for n, start in enumerate(FIRST) if name.startswith(start)), len(FIRST))
