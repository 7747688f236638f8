"""Contents of a volume file before conversion to Hounsfield units: the same for scans, masks and maps."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _

ONE_VALUE = _("expected a CT with one value per voxel")
"""For messages about color images and time series."""


@dataclass(frozen=True)
class StoredVolume:
    """Values and checked geometry of a file.

    Attributes
    ----------
    values : ndarray of shape (K, J, I), or (K, J, I, C) in a segmentation with several layers
        Scaled as the header states.
    ijk_to_ras : ndarray of shape (4, 4)
        Millimeters.
    header : dict of str to str
        Other fields, by name.
    warnings : tuple of str
        About the geometry.
    """

    values: np.ndarray
    ijk_to_ras: np.ndarray
    header: dict = field(default_factory=dict)
    warnings: tuple = ()


def three_sizes(path: Path, sizes: Iterable[float]) -> list[int]:
    """Drop trailing axes of length one.

    Raises
    ------
    InputError
        Unless exactly three axes are left.
    """
    sizes = [int(size) for size in sizes]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 1:
        found = ", ".join(map(str, sizes))
        several = ""
        if len(sizes) == 4 and min(sizes) > 0:
            several = _(", which are {count} volumes").format(count=sizes[3])
        raise InputError(
            _("{name} has {count} dimensions ({found}){several}; expected one 3-D volume.").format(
                name=path.name, count=len(sizes), found=found, several=several
            )
        )
    return sizes
