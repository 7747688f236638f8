"""Insert a simulated hematoma of exactly known volume into a real head CT, with its anatomy, noise and scanner."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..common.errors import InputError
from ..measures.grids import box_around
from ..scan.geometry import apply_affine
from ..scan.head_ct import HeadCT
from .cavity import fit_head
from .composition import COMPOSITIONS
from .fields import smoothstep
from .hematoma import Hematoma
from .outcome import Findings, draw_age_and_sex, draw_outcome, draw_presentation
from .patient import SimulatedPatient, SimulationSettings, midline_shift, one_blas_thread
from .raters import read_volumes

BRAIN_HU = 32.0
"""Typical median of the brain. The HU of the blood are shifted as far as the scan's median differs from it, up to
`LARGEST_OFFSET_HU`."""
LARGEST_OFFSET_HU = 8.0
ATTEMPTS, RETRIES = 30, 10
"""Draws of a bleed in all, and draws of its center and shape before its location and volume are redrawn."""
VOLUME_TOLERANCE = 0.003
TEXTURE_MM = 2.2
"""Radius of the median filter whose residual is taken as noise: wider than the grain of a kernel."""
SOFT_HU = 70.0
"""Blood replaces soft tissue up to this value; bone and calcification in a voxel remain."""
EDEMA_BLUR_MM = 1.2
LAYER_MM = 1.2
"""Thick slices are painted in layers of at most this thickness."""


class Anatomy:
    """A head CT prepared for insertion: the expensive part, shared by all hematomas inserted into it.

    Parameters
    ----------
    head_ct : HeadCT
        Any grid with nearly axial slices. It is not checked for an existing hemorrhage.

    Raises
    ------
    InputError
        If no cranial cavity is found.
    """

    def __init__(self, head_ct: HeadCT):
        with one_blas_thread():
            self.head = fit_head(head_ct)
        self.head_ct = head_ct
        deep = self.head.found.hu[self.head.found.distance > 6.0]
        parenchyma = deep[(deep > 15.0) & (deep < 50.0)]
        offset = np.median(parenchyma) - BRAIN_HU if len(parenchyma) else 0.0
        self.offset_hu = float(np.clip(offset, -LARGEST_OFFSET_HU, LARGEST_OFFSET_HU))
        self.to_rigid = self.head.ras_to_rigid @ head_ct.ijk_to_ras
        self.psf_mm = _edge_mm(head_ct)
        column, row = head_ct.ijk_to_ras[:3, 1], head_ct.ijk_to_ras[:3, 0]
        self.pixel_mm = float(np.sqrt(np.linalg.norm(np.cross(row, column))))
        self.step_mm = head_ct.voxel_volume_mm3 / self.pixel_mm**2
        self.thickness_mm = float(head_ct.facts.slice_thickness_mm or self.step_mm)

    def rigid_points(
        self, slices: slice, rows: slice, columns: slice, offset: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Voxel centers in the rigid head as x, y, z of shape (K, J, I), shifted by `offset` mm across the slices."""
        k, j, i = np.ogrid[slices, rows, columns]
        k = k + offset / self.step_mm
        return tuple((r[0] * i + r[1] * j + r[2] * k + r[3]).astype(np.float32) for r in self.to_rigid[:3])

    def box(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
        """Box of the scan's voxels (k, j, i) that may lie between two corners in the rigid head."""
        corners = np.stack(np.meshgrid(*zip(low, high), indexing="ij"), -1).reshape(-1, 3)
        index = apply_affine(np.linalg.inv(self.to_rigid), corners)[:, ::-1]
        return box_around(index, 1, self.head_ct.hu.shape)


def insert_hematoma(
    head_ct: HeadCT | Anatomy, seed: int, settings: SimulationSettings | None = None, patient_id: str | None = None
) -> SimulatedPatient:
    """Insert a hematoma into a head CT without one.

    Location, shape, size and density are drawn as in `simulate_patient`, in an atlas fitted to the scan's cranial
    cavity. Tissue is displaced, edema is added around the bleed, and the blood gets the partial volume, sharpness and
    noise of the scan. Intraventricular extension is not simulated.

    Parameters
    ----------
    head_ct : HeadCT or Anatomy
        An `Anatomy` saves time if several hematomas are inserted into one scan.
    seed : int
    settings : SimulationSettings, optional
        Only `composition`, `bleed`, `location`, `shape`, `volume_ml`, `center_mm` (RAS mm of the scan) and `age` are
        used.
    patient_id : str, optional

    Returns
    -------
    SimulatedPatient

    Raises
    ------
    InputError
        If no cranial cavity is found, or no bleed with these settings fits into its scanned part.
    """
    anatomy = head_ct if isinstance(head_ct, Anatomy) else Anatomy(head_ct)
    head_ct = anatomy.head_ct
    settings = settings or SimulationSettings()
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(int(seed)).spawn(5)]
    clinical, bleed, fate, arrival, reading = streams
    age, sex = draw_age_and_sex(clinical)
    age = age if settings.age is None else settings.age
    composition = COMPOSITIONS[settings.composition]
    has_bleed = bleed.uniform() >= composition.no_bleed
    hematoma, hu, mask, edema_ml = None, head_ct.hu, np.zeros(head_ct.hu.shape, bool), 0.0
    if has_bleed if settings.bleed is None else settings.bleed:
        with one_blas_thread():
            hematoma = _draw_hematoma(bleed, anatomy, settings)
            hu, mask, edema_ml = _paint(anatomy, hematoma)
    volume, location = (hematoma.volume_ml, hematoma.location) if hematoma else (0.0, "")
    findings = Findings(volume, location)
    if hematoma is not None:
        shift, excess = midline_shift(hematoma), hematoma.edema_excess
        findings = Findings(volume, location, midline_shift_mm=shift, edema_excess=excess)
    outcome = draw_outcome(fate, age, sex, findings, composition.lost_gcs)
    presentation = draw_presentation(arrival, age, outcome.gcs, volume, location)
    patient_id = patient_id or f"INS{int(seed):08d}"
    facts = replace(
        head_ct.facts,
        patient_id=patient_id,
        patient_name=f"SimulatedPatient^{patient_id}",
        series_description="Head CT with inserted hematoma" if hematoma else "Head CT",
        simulated=True,
    )
    details = {}
    if hematoma is not None:
        center = apply_affine(np.linalg.inv(anatomy.head.ras_to_rigid), hematoma.center)
        details = {"shape": hematoma.shape, "center_ras_mm": tuple(center)}
    side = hematoma.side if hematoma else ""
    return SimulatedPatient(
        patient_id, int(seed), HeadCT(hu, head_ct.ijk_to_ras, facts), None, mask, volume, location, side, 0, 0.0,
        midline_shift(hematoma), edema_ml, 0, None, age, sex, outcome.gcs, outcome.ich_score, outcome.died,
        outcome.death_probability, outcome.death_probability_image, presentation.nihss, presentation.anticoagulation,
        presentation.onset_hours, read_volumes(reading, mask, head_ct.ijk_to_ras), details,
    )  # fmt: skip


def _draw_hematoma(rng, anatomy, settings):
    """Draw a bleed that has the requested volume and lies within the scan."""
    center = settings.center_mm
    if center is not None:
        center = apply_affine(anatomy.head.ras_to_rigid, center)
    for attempt in range(ATTEMPTS):
        if attempt % RETRIES == 0:
            location, wanted = settings.location, settings.volume_ml
        hematoma = Hematoma(
            rng, copy(anatomy.head), location, settings.shape, wanted, center, COMPOSITIONS[settings.composition]
        )
        location, wanted = hematoma.location, wanted or hematoma.volume_ml
        if _is_scanned(anatomy, hematoma) and _fit_volume(hematoma, wanted) and _is_scanned(anatomy, hematoma):
            return hematoma
    raise InputError(
        f"The requested bleed (location {settings.location or 'any'}, {settings.volume_ml or 'any'} mL) does not fit "
        f"into this head: expected room for it in the {anatomy.head.found.volume_ml:.0f} mL of the cranial cavity that "
        f"were scanned, found none in {ATTEMPTS} attempts."
    )


def _fit_volume(hematoma, wanted):
    """Scale a bleed, limited by the skull, to the requested volume; returns whether that succeeded."""
    before = hematoma.volume_ml
    for _ in range(6):
        if abs(hematoma.volume_ml / wanted - 1.0) < VOLUME_TOLERANCE:
            hematoma.head.mass_effect.cubed *= np.float32(hematoma.volume_ml / before)
            return True
        if hematoma.volume_ml <= 0.0:
            return False
        hematoma.size *= float(np.clip(np.cbrt(wanted / hematoma.volume_ml), 0.7, 1.3))
        hematoma.volume_ml = hematoma.measure()
    return False


def _is_scanned(anatomy, hematoma):
    """Whether the bleed's center lies in the cavity, and all of the bleed at least half a voxel inside the scan."""
    atlas = [np.float32(p) for p in hematoma.center / anatomy.head.scale]
    if float(anatomy.head.cavity(*atlas)) < 2.0:
        return False
    index = apply_affine(np.linalg.inv(anatomy.to_rigid), _points(hematoma))[:, ::-1]
    return bool((index > 0.5).all() and (index < np.array(anatomy.head_ct.hu.shape) - 1.5).all())


def _points(hematoma):
    """Points throughout the bleed in the rigid head, shape (N, 3)."""
    axes = [np.linspace(a, b, 40, dtype=np.float32) for a, b in zip(*hematoma.bounds())]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return points[:, hematoma.field(*points) > -1.0].T


def _paint(anatomy, hematoma):
    """Scan with mass effect, edema and blood; mask of voxels at least half filled with blood; edema in mL."""
    scan = anatomy.head_ct.hu
    hu = scan.astype(np.float32)
    mask = np.zeros(scan.shape, bool)
    _displace(anatomy, hematoma, hu)
    points = _points(hematoma)
    low, high = points.min(axis=0), points.max(axis=0)
    box = anatomy.box(low - 1.4 * hematoma.edema_mm - 3.0, high + 1.4 * hematoma.edema_mm + 3.0)
    change, edema_ml = _edema(anatomy, hematoma, box, hu[box])
    hu[box] += change
    box = anatomy.box(low - 4.0 * anatomy.psf_mm, high + 4.0 * anatomy.psf_mm)
    coverage, blood = _blood(anatomy, hematoma, box)
    mask[box] = coverage >= 0.5
    sigma = anatomy.psf_mm / anatomy.head_ct.spacing_kji
    weight = ndimage.gaussian_filter(coverage, sigma, mode="nearest")
    blood = ndimage.gaussian_filter(blood, sigma, mode="nearest") + weight * anatomy.offset_hu
    hu[box] += blood - weight * np.minimum(hu[box], SOFT_HU) + weight * scan_noise(scan[box], anatomy.pixel_mm)
    if scan.dtype.kind == "i":
        hu = np.rint(hu)
    return hu.astype(scan.dtype), mask, edema_ml


def _displace(anatomy, hematoma, hu):
    """Resample the contents of the cavity with the bleed's mass effect, in place.

    Cubic interpolation keeps most of the noise where tissue moves by a fraction of a voxel; linear would not.
    """
    head = hematoma.head
    found = np.argwhere(head.found.distance > 0)[:, ::-1]
    corners = apply_affine(head.ras_to_rigid @ head.found.ijk_to_ras, np.stack([found.min(axis=0), found.max(axis=0)]))
    margin = 0.2 * np.abs(corners[1] - corners[0])
    box = anatomy.box(corners.min(axis=0) - margin, corners.max(axis=0) + margin)
    # Clipping prevents ringing at bone and air; inside the cavity it only affects calcifications.
    soft = np.clip(hu[box], -100.0, 250.0)
    spline = ndimage.spline_filter(soft, 3, output=np.float32)
    to_index = np.linalg.inv(anatomy.to_rigid)[:3, :3].astype(np.float32)
    for n, k in enumerate(range(box[0].start, box[0].stop)):
        x, y, z = (p[0] for p in anatomy.rigid_points(slice(k, k + 1), box[1], box[2]))
        cavity = head.cavity(*(p / s for p, s in zip((x, y, z), head.scale)))
        moved = np.stack(head.mass_effect.displacement(x, y, z, cavity))
        rows, columns = np.nonzero((cavity > 0.0) & ((moved**2).sum(axis=0) > 0.05**2))
        if not len(rows):
            continue
        i, j, k_shift = to_index @ moved[:, rows, columns]
        index = np.stack([n - k_shift, rows - j, columns - i])
        values = ndimage.map_coordinates(spline, index, order=3, mode="nearest", prefilter=False)
        hu[k, box[1], box[2]][rows, columns] += values - soft[n, rows, columns]


def _blood(anatomy, hematoma, box):
    """Share of each voxel of the box that the bleed covers, and HU × share; float32 (K, J, I)."""
    shape = tuple(s.stop - s.start for s in box)
    coverage, blood = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    # An odd number, since exactly half-filled voxels would shift the border of the mask.
    layers = int(np.clip(np.ceil(anatomy.thickness_mm / LAYER_MM), 1, 10)) | 1
    for n in range(shape[0]):
        k = slice(box[0].start + n, box[0].start + n + 1)
        for layer in range(layers):
            offset = anatomy.thickness_mm * ((layer + 0.5) / layers - 0.5)
            x, y, z = (p[0] for p in anatomy.rigid_points(k, box[1], box[2], offset))
            field = hematoma.field(x, y, z)
            cover = np.clip(field / np.float32(anatomy.pixel_mm) + 0.5, 0.0, 1.0) / np.float32(layers)
            coverage[n] += cover
            blood[n] += cover * hematoma.density(field, x, y, z, y - np.float32(hematoma.center[1]))
    return coverage, blood


def _edema(anatomy, hematoma, box, hu):
    """HU change by perihematomal edema, and its mL: only brain gets darker, not CSF; the noise remains."""
    smooth = ndimage.gaussian_filter(hu, (0.0, *(EDEMA_BLUR_MM / anatomy.head_ct.spacing_kji[1:])))
    change, voxels = np.zeros(hu.shape, np.float32), 0.0
    for n in range(len(hu)):
        k = slice(box[0].start + n, box[0].start + n + 1)
        x, y, z = (p[0] for p in anatomy.rigid_points(k, box[1], box[2]))
        field = hematoma.field(x, y, z)
        reach = hematoma.edema_mm * (1.0 + 0.4 * hematoma.swirl(x, y, z))
        share = smoothstep((field + reach) / (2.5 + 0.35 * hematoma.edema_mm), -0.75, 0.75)
        cavity = hematoma.head.cavity(*(p / s for p, s in zip((x, y, z), hematoma.head.scale)))
        tissue = smoothstep(smooth[n] - anatomy.offset_hu, 12.0, 24.0) * smoothstep(cavity, 0.0, 3.0)
        change[n] = share * tissue * np.minimum(hematoma.edema_hu + anatomy.offset_hu - smooth[n], 0.0)
        voxels += float((share * tissue)[field < 0.0].sum(dtype=np.float64))
    change = ndimage.gaussian_filter(change, anatomy.psf_mm / anatomy.head_ct.spacing_kji)
    return change, voxels * anatomy.head_ct.voxel_volume_mm3 / 1000.0


def scan_noise(scan: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Noise of the scan: the residual of a median filter within the slices, clipped at 3.5 standard deviations."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.rint(scan).astype(np.int16))
    radius = max(1, round(TEXTURE_MM / pixel_mm))
    noise = scan - sitk.GetArrayFromImage(sitk.FastApproximateRank(image, 0.5, (radius, radius, 0))).astype(np.float32)
    spread = 1.4826 * np.median(np.abs(noise))
    return np.clip(noise, -3.5 * spread, 3.5 * spread)


def _edge_mm(head_ct):
    """Standard deviation in mm of the scan's blur, from the slope of the skin-air edge.

    An edge of height H blurred by a Gaussian of standard deviation s has the slope H / (s √(2π)) at its middle. Hair,
    cushions and slices oblique to the skin reduce the slope, so its 80th percentile is used.
    """
    levels = range(0, head_ct.hu.shape[0], max(1, head_ct.hu.shape[0] // 12))
    slopes = []
    for k in levels:
        plane = np.clip(head_ct.hu[k].astype(np.float32), -1000.0, 0.0)
        rows, columns = np.gradient(plane, *head_ct.spacing_kji[1:])
        slopes.append(np.hypot(rows, columns)[np.abs(plane + 500.0) < 150.0])
    slope = np.percentile(np.concatenate(slopes), 80) if sum(map(len, slopes)) else 1000.0
    return float(np.clip(1000.0 / (slope * np.sqrt(2.0 * np.pi)), 0.35, 3.0))
