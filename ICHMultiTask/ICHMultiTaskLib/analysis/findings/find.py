"""All findings of one scan, from the marked bleed."""

from __future__ import annotations

import numpy as np

from ...scan.head_ct import HeadCT
from .finding import Finding, Findings
from .place import find_place

ACCURACY = {
    "side": "right in 33 of 33 simulated bleeds",
    "location": "right in 33 of 33 simulated bleeds",
    "infratentorial": "right in 33 of 33 simulated bleeds",
}
"""As measured, see `Docs/user-guide.md`, "Findings"."""


def find(head_ct: HeadCT, mask: np.ndarray) -> Findings | None:
    """Tell what a scan shows besides the volume.

    Parameters
    ----------
    head_ct : HeadCT
    mask : ndarray of shape (K, J, I), bool
        Of the marked bleed.

    Returns
    -------
    Findings or None
        None where nothing is marked, or no closed skull is found.
    """
    place = find_place(head_ct, mask)
    if place is None:
        return None
    items = (
        _finding("location", "Location", place.location, correctable=True),
        _finding("side", "Side", place.side),
        _finding("infratentorial", "Infratentorial", place.infratentorial),
    )
    return Findings(*place, items)


def _finding(name, label, value, unit="", correctable=False):
    return Finding(name, label, value, unit, accuracy=ACCURACY[name], correctable=correctable)
