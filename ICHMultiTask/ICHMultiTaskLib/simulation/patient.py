"""One simulated patient: head, bleed, scan and outcome from one seed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..common.choices import Cohort
from ..common.errors import InputError
from ..scan.geometry import distinct_steps
from ..scan.head_ct import HeadCT, ScanFacts
from .acquisition import KERNELS, draw_acquisition
from .anatomy import Head
from .composition import COMPOSITIONS
from .hematoma import LOCATIONS, SHAPES, Hematoma
from .lesions import draw_lesions
from .mimics import draw_mimics
from .outcome import Findings, draw_age_and_sex, draw_outcome, draw_presentation
from .raters import read_volumes
from .scanner import on_regular_grid, scan
from .surgery import SHARES, draw_surgery

if TYPE_CHECKING:
    from ..common.progress import Progress

MATRICES, MOST_SLICES = (32, 2048), 2000


@dataclass(frozen=True)
class SimulationSettings:
    """Fixed parameters; None: drawn by the seed.

    Head and bleed have their own random streams: they, and the volume, stay the same if only settings of the scanner
    differ.
    """

    slices: int | None = 32
    """Number of slices, which cover the scanned range if `thickness_mm` is None. None: it follows from a thickness that
    is drawn as in practice, sometimes with thin slices below thick ones."""
    matrix: int = 512
    pixel_mm: float | None = None
    thickness_mm: float | None = None
    """Slice thickness (perpendicular to the slice), and table increment between slices."""
    tilt_deg: float | None = None
    rotation_deg: tuple | None = None
    """Pitch, roll and yaw."""
    centered: bool = False
    kernel: str | None = None
    """One of `KERNELS`."""
    noise_hu: float | None = None
    offset_hu: float | None = None
    composition: str = Cohort.TRAINING.value
    """Composition of the cohort, one of `Cohort`."""
    artifacts: bool = True
    """Beam hardening, streaks and motion of the patient."""
    table: bool = True
    bleed: bool | None = None
    location: str | None = None
    shape: str | None = None
    """One of "ellipsoid", "regular", "irregular", "multilobular", "satellite"; "ellipsoid" ignores the skull."""
    volume_ml: float | None = None
    center_mm: tuple | None = None
    """Center of the bleed in the rigid head, RAS mm."""
    age: int | None = None
    surgery: str | None = None
    """Opening of the skull: one of "none", "burr hole", "craniotomy", "craniectomy"."""

    def __post_init__(self):
        Cohort.check(self.composition, "composition of the cohort")
        if self.location is not None and self.location not in LOCATIONS:
            raise InputError(f"Unknown bleed location '{self.location}'; expected one of {', '.join(LOCATIONS)}.")
        if self.shape is not None and self.shape not in SHAPES:
            raise InputError(f"Unknown bleed shape '{self.shape}'; expected one of {', '.join(SHAPES)}.")
        if self.kernel not in (None, *KERNELS):
            raise InputError(f"Unknown kernel '{self.kernel}'; expected one of {', '.join(KERNELS)}.")
        if self.surgery not in (None, "none", *SHARES):
            raise InputError(f"Unknown surgery '{self.surgery}'; expected one of none, {', '.join(SHARES)}.")
        if not MATRICES[0] <= self.matrix <= MATRICES[1]:
            raise InputError(
                f"The matrix of a simulated scan is out of range: expected {MATRICES[0]} to {MATRICES[1]} rows and "
                f"columns, found {self.matrix}."
            )
        if self.slices is not None and not 2 <= self.slices <= MOST_SLICES:
            raise InputError(
                f"The number of slices of a simulated scan is out of range: expected 2 to {MOST_SLICES}, found "
                f"{self.slices}."
            )


DEMONSTRATION_SEED = 13
"""Seed of the patient shown if no scan is given: soft kernel, no tilt, putaminal bleed of 10 mL."""


@dataclass(frozen=True)
class SourceSlices:
    """Slices as scanned: HU int16 [slice, j, i], table position and thickness of each slice, mm."""

    hu: np.ndarray
    offsets_mm: np.ndarray
    thickness_mm: np.ndarray


@dataclass(frozen=True)
class SimulatedPatient:
    """A simulated scan with its ground truth.

    Attributes
    ----------
    patient_id : str
    seed : int
    head_ct : HeadCT
        As read from the series: slices of two thicknesses are interpolated to a regular grid.
    source_slices : SourceSlices or None
        The slices as scanned, if they differ.
    mask : ndarray of bool, shape (K, J, I)
        Voxels at least half filled by the parenchymal hematoma; blood in the ventricles is not part of it.
    volume_ml : float
        Exact volume of the parenchymal hematoma, independent of the voxel grid.
    location : str
        "" without a bleed.
    side : str
        "left", "right" or "midline"; "" without a bleed.
    ivh : int
    ivh_ml : float
        Blood in the ventricles, measured on the scan; where the hematoma reaches into them, the hematoma counts.
    midline_shift_mm : float
    edema_ml : float
        Darkened brain around the hematoma, measured on the scan.
    hydrocephalus : int
    atrophy : float or None
        0 to about 1.6; None for a real head.
    age, sex, gcs, ich_score, died : int, str, int, int, int
    death_probability, death_probability_image : float
        See `Outcome`.
    nihss, anticoagulation, onset_hours : int, int, float
        See `Presentation`.
    rater_ml : tuple of 8 floats
        Bedside measurements (ABC/2), see `raters`.
    facts : dict
        Acquisition, shape and location, for inspection; `atlas` maps RAS points to the atlas, without the smooth warp
        of up to 3 mm and the mass effect.
    """

    patient_id: str
    seed: int
    head_ct: HeadCT
    source_slices: SourceSlices | None
    mask: np.ndarray
    volume_ml: float
    location: str
    side: str
    ivh: int
    ivh_ml: float
    midline_shift_mm: float
    edema_ml: float
    hydrocephalus: int
    atrophy: float | None
    age: int
    sex: str
    gcs: int
    ich_score: int
    died: int
    death_probability: float
    death_probability_image: float
    nihss: int
    anticoagulation: int
    onset_hours: float
    rater_ml: tuple
    facts: dict = field(default_factory=dict)


def simulate_patient(
    seed: int,
    settings: SimulationSettings | None = None,
    patient_id: str | None = None,
    progress: Progress | None = None,
    visit: int = 0,
) -> SimulatedPatient:
    """Simulate one patient; the same seed and settings give identical results.

    Parameters
    ----------
    seed : int
    settings : SimulationSettings, optional
    patient_id : str, optional
    progress : callable(float, str), optional
    visit : int
        Number of the patient's scan, from 0; each has its own pose, scanner, noise and bedside measurements.

    Returns
    -------
    SimulatedPatient
    """
    # The matrices are small: more BLAS threads would be slower, and rounding would depend on the machine.
    with one_blas_thread():
        return _simulate(int(seed), settings or SimulationSettings(), patient_id, progress, visit)


def _simulate(seed, settings, patient_id, progress, visit):
    # New streams must be appended, so that the patient of a seed stays the same.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(11)]
    clinical, anatomy, bleed, scanner, noise, fate, arrival, reading, old, fluid, surgery = streams
    if visit:
        scanner, noise, reading = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, visit]).spawn(3))
    age, sex = draw_age_and_sex(clinical)
    age = age if settings.age is None else settings.age
    head = Head(anatomy, age)
    composition = COMPOSITIONS[settings.composition]
    has_bleed = bleed.uniform() >= composition.no_bleed
    has_bleed = has_bleed if settings.bleed is None else settings.bleed
    rate = composition.lesions if has_bleed else composition.lesions_without_bleed
    head.lesions = draw_lesions(old, age, head.csf_hu, rate)
    head.mimics = draw_mimics(old, head, has_bleed, composition.mimics)
    head.openings = draw_surgery(surgery, head, has_bleed, composition.surgery, settings.surgery)
    hematoma, findings = None, Findings(0.0, "", atrophy=head.atrophy)
    if has_bleed:
        hematoma = Hematoma(
            bleed, head, settings.location, settings.shape, settings.volume_ml, settings.center_mm, composition
        )
        hydrocephalus, wider = hematoma.hydrocephalus(fluid.uniform(size=2))
        if hydrocephalus:
            head.dilate_ventricles(wider)
        hematoma.draw_ventricular_blood(fluid.uniform(size=4))
        findings = Findings(
            hematoma.volume_ml, hematoma.location, int(hematoma.ruptured), midline_shift(hematoma), int(hydrocephalus),
            hematoma.edema_excess, head.atrophy,
        )  # fmt: skip
    outcome = draw_outcome(fate, age, sex, findings, composition.lost_gcs)
    acquisition = draw_acquisition(scanner, settings, head, hematoma.bounds() if hematoma else None)
    slices, coverage, fluids = scan(noise, head, hematoma, acquisition, progress)
    hu, mask = on_regular_grid(slices, acquisition), on_regular_grid(coverage, acquisition) >= 128
    source = None
    if hu is not slices:
        source = SourceSlices(slices, acquisition.offsets_mm, acquisition.thickness_mm)
    presentation = draw_presentation(arrival, age, outcome.gcs, findings.volume_ml, findings.location)
    ijk_to_ras = acquisition.ijk_to_ras()
    patient_id = patient_id or f"SIM{seed:08d}"
    facts = ScanFacts(
        format="array",
        patient_id=patient_id,
        patient_age=float(age),
        patient_name=f"SimulatedPatient^{patient_id}",
        series_description="Simulated head CT",
        manufacturer="ICHMultiTask simulation",
        kernel=acquisition.kernel,
        gantry_tilt_deg=acquisition.tilt_deg,
        slice_steps_mm=tuple(round(step, 4) for step, _ in distinct_steps(acquisition.offsets_mm)),
        simulated=True,
    )
    details = {
        "thickness_mm": float(acquisition.thickness_mm[-1]),
        "moved": bool(acquisition.jerks),
        "noise_hu": float(acquisition.noise_hu),
        "offset_hu": float(acquisition.offset_hu),
        "lesions": tuple(lesion.kind for lesion in head.lesions),
        "mimics": tuple(type(mimic).__name__.lower() for mimic in head.mimics),
        "surgery": tuple(opening.kind for opening in head.openings),
        "shape": hematoma.shape if hematoma else "",
        "signs": hematoma.signs() if hematoma else {},
        "center_ras_mm": tuple(acquisition.rotation @ hematoma.center + acquisition.translation) if hematoma else (),
        "radii_mm": tuple(hematoma.size * hematoma.lobes[0][1]) if hematoma else (),
        "atlas": _to_atlas(acquisition, head),
    }
    side, shift = (hematoma.side, findings.midline_shift_mm) if hematoma else ("", 0.0)
    return SimulatedPatient(
        patient_id, seed, HeadCT(hu, ijk_to_ras, facts), source, mask, findings.volume_ml, findings.location, side,
        findings.ivh, fluids["ivh_ml"], shift, fluids["edema_ml"], findings.hydrocephalus, head.atrophy, age, sex,
        outcome.gcs, outcome.ich_score, outcome.died, outcome.death_probability, outcome.death_probability_image,
        presentation.nihss, presentation.anticoagulation, presentation.onset_hours,
        read_volumes(reading, mask, ijk_to_ras), details,
    )  # fmt: skip


def _to_atlas(acquisition, head):
    """RAS millimeters of the scan to the atlas, as an affine."""
    from_atlas = np.eye(4)
    from_atlas[:3, :3] = acquisition.rotation * head.scale
    from_atlas[:3, 3] = acquisition.translation
    return np.linalg.inv(from_atlas)


def midline_shift(hematoma: Hematoma | None) -> float:
    """Largest sideways displacement of the midline at the level of the septum pellucidum, mm; 0 without a bleed.

    Parts of the midline that are inside the bleed are not counted.
    """
    if hematoma is None:
        return 0.0
    head = hematoma.head
    y, z = np.meshgrid(np.linspace(-5.0, 22.0, 12), np.linspace(4.0, 20.0, 8))
    x = np.zeros_like(y)
    rigid = np.array([head.from_atlas((0.0, 0.0, 10.0))[0] + x, y * head.scale[1], z * head.scale[2]], np.float32)
    cavity = head.cavity(*head.to_atlas(*rigid, mass_effect=False))
    shift = np.abs(head.mass_effect.displacement(*rigid, cavity)[0])
    return float(np.where(hematoma.field(*rigid, cavity) < -2.0, shift, 0.0).max())


def one_blas_thread() -> AbstractContextManager:
    """Limit BLAS to one thread, four times as fast on a busy machine; 3D Slicer does not ship the package for it."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1)
