"""The head CT that everything downstream works on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from .geometry import spacing_kji, voxel_volume_mm3


@dataclass(frozen=True)
class ScanFacts:
    """What is known about a scan besides its voxels; empty strings and None if unknown."""

    path: str = ""
    format: str = ""
    """"DICOM", "NIfTI", "NRRD", "MRML node" or "array"."""
    patient_id: str = ""
    patient_name: str = ""
    patient_age: float | None = None
    """Years, as the DICOM header states it."""
    study_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    series_uid: str = ""
    series_description: str = ""
    series_choice: str = ""
    """Which series was analyzed, and why, as a sentence."""
    manufacturer: str = ""
    kernel: str = ""
    body_part: str = ""
    contrast_agent: str = ""
    slice_thickness_mm: float | None = None
    gantry_tilt_deg: float = 0.0
    """Degrees from the slice positions; the sign is the scanner's own if it states a tilt (manufacturers differ),
    else that of `geometry.tilt_deg`."""
    slice_steps_mm: tuple = ()
    """Distinct distances between neighboring source slices along the step from slice to slice, before resampling."""
    intracranial_ml: float | None = None
    """Measured by `validation.check_head_ct`, on a grid of about 4 mm."""
    simulated: bool = False
    warnings: tuple = ()
    """Sentences for the user."""


@dataclass(frozen=True)
class HeadCT:
    """A head CT in Hounsfield units on a regular, possibly sheared grid.

    Attributes
    ----------
    hu : ndarray of shape (K, J, I), int16 or float32
        Hounsfield units; padding outside the field of view is -1024.
    ijk_to_ras : ndarray of shape (4, 4), float64
        Maps (i, j, k, 1) to RAS millimeters. Gantry tilt is kept as shear of the k column.
    facts : ScanFacts
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    facts: ScanFacts = field(default_factory=ScanFacts)

    def __post_init__(self):
        if not isinstance(self.hu, np.ndarray) or self.hu.dtype.kind not in "biuf":
            raise InputError(
                _("The scan's values are unusable: expected an array of real numbers in HU, found {kind}.").format(
                    kind=getattr(self.hu, "dtype", type(self.hu).__name__)
                )
            )
        if self.hu.ndim != 3:
            raise InputError(
                _("The scan has {ndim} dimensions; expected a single 3-D volume (k, j, i).").format(ndim=self.hu.ndim)
            )
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or voxel_volume_mm3(matrix) == 0.0:
            raise InputError(_("The scan's geometry is unusable: expected a finite, invertible 4×4 IJK-to-RAS matrix."))
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def spacing_kji(self) -> np.ndarray:
        """Distance between voxel centers in mm, in the order k, j, i."""
        return spacing_kji(self.ijk_to_ras)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³ (pixel area × slice step × cos(tilt))."""
        return voxel_volume_mm3(self.ijk_to_ras)
