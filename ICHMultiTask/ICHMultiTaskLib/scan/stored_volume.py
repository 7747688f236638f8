"""What a volume file holds before anything is said of Hounsfield units: the same for scans, masks and maps."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.errors import InputError


@dataclass(frozen=True)
class StoredVolume:
    """Values and believed geometry of a file.

    Attributes
    ----------
    values : ndarray of shape (K, J, I), or (K, J, I, C) in a segmentation of several layers
        As the header scales them.
    ijk_to_ras : ndarray of shape (4, 4)
        Millimeters.
    header : dict of str to str
        Further fields, by name.
    warnings : tuple of str
        What was found of the geometry.
    """

    values: np.ndarray
    ijk_to_ras: np.ndarray
    header: dict = field(default_factory=dict)
    warnings: tuple = ()


def three_sizes(path: Path, sizes) -> list[int]:
    """Drop trailing axes of length one.

    Raises
    ------
    InputError
        If there are not three axes left.
    """
    sizes = [int(size) for size in sizes]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 1:
        found = ", ".join(map(str, sizes))
        several = f", which are {sizes[3]} volumes" if len(sizes) == 4 and min(sizes) > 0 else ""
        raise InputError(f"{path.name} has {len(sizes)} dimensions ({found}){several}; expected one 3-D volume.")
    return sizes
