"""Mark the bleed: simulated patients with exact masks, geometries, and scans with nothing to mark."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from ICHMultiTaskLib.analysis import outline
from ICHMultiTaskLib.analysis.attention import Attention
from ICHMultiTaskLib.analysis.denoising import denoise
from ICHMultiTaskLib.analysis.marking import mark
from ICHMultiTaskLib.analysis.result import Analysis
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.model.attention import LOCATOR
from ICHMultiTaskLib.model.testing import HEMATOMA_ML, phantom
from ICHMultiTaskLib.scan.geometry import apply_affine, voxel_volume_mm3
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

PATIENTS = {
    "putamen": (11, {"volume_ml": 12.0}),
    "lobar": (4, {"volume_ml": 45.0, "tilt_deg": -18.0}),
    "thalamus": (207, {"volume_ml": 4.0, "slices": 36}),
}
TILT = np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def analysis_of(head_ct, truth, volume_ml, blur_mm=12.0):
    """An analysis that is right: attention is the blurred truth, as coarse as a network's."""
    array = ndimage.gaussian_filter(truth.astype(np.float32), blur_mm / head_ct.spacing_kji)
    array /= max(float(array.max()), 1e-12)
    peak = apply_affine(head_ct.ijk_to_ras, np.unravel_index(int(array.argmax()), array.shape)[::-1])
    peak = tuple(float(v) for v in peak) if truth.any() else None
    return Analysis(
        head_ct=head_ct, volume_ml=volume_ml, volume_interval_ml=None, interval_coverage=None,
        mortality_probability=0.1, prognosis="survival", model={}, warnings=(), timing_s={}, prediction=None,
        attention=Attention(array, *LOCATOR, peak),
    )  # fmt: skip


def ball(head_ct, center_ras=(35.0, -5.0, 10.0), radius_mm=20.0):
    """The phantom's hematoma."""
    k, j, i = np.indices(head_ct.hu.shape, dtype=np.float32)
    ras = apply_affine(head_ct.ijk_to_ras, np.stack([i, j, k], axis=-1))
    return ((ras - center_ras) ** 2).sum(-1) < radius_mm**2


@pytest.fixture(scope="module")
def head_ct():
    return phantom()


@pytest.fixture(scope="module")
def analysis(head_ct):
    return analysis_of(head_ct, ball(head_ct), HEMATOMA_ML)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("name", PATIENTS)
def test_simulated_patients(name):
    seed, changes = PATIENTS[name]
    settings = SimulationSettings(bleed=True, location=name, **{"matrix": 144, "slices": 28} | changes)
    patient = simulate_patient(seed, settings)
    found = mark(analysis_of(patient.head_ct, patient.mask, patient.volume_ml))
    assert dice(found.mask, patient.mask) > 0.8
    assert found.volume_ml == pytest.approx(patient.volume_ml, rel=0.11)
    assert found.volume_ml == pytest.approx(np.count_nonzero(found.mask) * patient.head_ct.voxel_volume_mm3 / 1000)
    assert sum(found.components_ml) == pytest.approx(found.volume_ml)


def test_phantom(analysis, head_ct):
    truth = ball(head_ct)
    found = mark(analysis)
    assert dice(found.mask, truth) > 0.95
    assert found.volume_ml == pytest.approx(HEMATOMA_ML, rel=0.01)
    assert found.agrees and not found.notes and len(found.components_ml) == 1
    # Smooth: its outline in the slices is hardly longer than that of the ball.
    outlines = [sum(np.count_nonzero(np.diff(m.astype(np.int8), axis=a)) for a in (1, 2)) for m in (found.mask, truth)]
    assert outlines[0] < 1.05 * outlines[1]


def test_map_of_the_volume_head_marks_whatever_map_is_shown(analysis, head_ct):
    """The prognosis head may look elsewhere: here at the other side of the head."""

    class Shown(Analysis):
        def attention_for(self, *choice):
            assert choice == LOCATOR
            return analysis.attention

    elsewhere = analysis_of(head_ct, ball(head_ct, (-35.0, -5.0, 10.0)), HEMATOMA_ML).attention
    facts = {field.name: getattr(analysis, field.name) for field in fields(analysis)}
    shown = Shown(**facts | {"attention": replace(elsewhere, head="prognosis")})
    assert np.array_equal(mark(shown).mask, mark(analysis).mask)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_order_and_direction_of_the_axes_do_not_matter(analysis, head_ct, order, flips):
    """The same scan stored otherwise gets the same mask at the same place."""
    change = tuple(slice(None, None, f) for f in flips)
    hu = np.ascontiguousarray(head_ct.hu[change].transpose(order))
    affine = np.eye(4)
    steps = head_ct.ijk_to_ras[:3, 2::-1].T
    first = [0 if f > 0 else n - 1 for f, n in zip(flips, head_ct.hu.shape, strict=True)]
    affine[:3, 3] = apply_affine(head_ct.ijk_to_ras, first[::-1])
    affine[:3, :3] = (steps * np.array(flips)[:, None])[list(order)][::-1].T
    other = HeadCT(hu, affine)
    found = mark(analysis_of(other, ball(other), HEMATOMA_ML))
    assert dice(found.mask, mark(analysis).mask[change].transpose(order)) > 0.99


def test_outline_is_the_same_in_every_file_format():
    """NIfTI files store rows in the other direction; blocks of voxels that were averaged differed by half a block."""
    head_ct = phantom((29, 420, 421), (5.1, 0.5, 0.5))
    attention = ndimage.gaussian_filter(ball(head_ct).astype(np.float32), 5)
    mask = outline.outline(head_ct, attention, HEMATOMA_ML).mask
    assert mask.any()
    for order, flips in (((0, 1, 2), (1, -1, 1)), ((0, 1, 2), (-1, -1, -1)), ((2, 0, 1), (1, 1, -1))):
        change = tuple(slice(None, None, f) for f in flips)
        steps = head_ct.ijk_to_ras[:3, 2::-1] * flips
        affine = np.eye(4)
        first = [0 if f > 0 else n - 1 for f, n in zip(flips, head_ct.hu.shape, strict=True)]
        affine[:3, 3] = apply_affine(head_ct.ijk_to_ras, first[::-1])
        affine[:3, :3] = steps[:, list(order)][:, ::-1]
        other = HeadCT(np.ascontiguousarray(head_ct.hu[change].transpose(order)), affine)
        found = outline.outline(other, np.ascontiguousarray(attention[change].transpose(order)), HEMATOMA_ML).mask
        assert np.array_equal(found, mask[change].transpose(order))


@pytest.mark.parametrize(
    "shape, spacing",
    [((28, 64, 128), (6.0, 3.6, 1.8)), ((84, 96, 96), (2.0, 2.4, 2.4)), ((17, 256, 256), (10.0, 0.9, 0.9))],
    ids=["anisotropic in plane", "thin slices", "thick slices"],
)
def test_any_spacing(shape, spacing):
    head_ct = phantom(shape, spacing)
    truth = ball(head_ct)
    scan = analysis_of(head_ct, truth, HEMATOMA_ML)
    found, requested = mark(scan), mark(scan, HEMATOMA_ML)
    assert dice(found.mask, truth) > 0.92 and dice(requested.mask, truth) > 0.92
    # The reading of its own depends on the slices: with 10 mm it is smaller.
    assert found.volume_ml == pytest.approx(HEMATOMA_ML, rel=0.08)
    assert requested.volume_ml == pytest.approx(HEMATOMA_ML, rel=0.02)


def test_tilted_gantry(head_ct):
    """Sheared slices: the voxel's volume is not the product of its spacings."""
    affine = TILT @ head_ct.ijk_to_ras
    tilted = HeadCT(head_ct.hu, affine)
    found = mark(analysis_of(tilted, ball(head_ct), HEMATOMA_ML))
    assert voxel_volume_mm3(affine) < 0.95 * np.prod(tilted.spacing_kji)
    assert found.volume_ml == pytest.approx(HEMATOMA_ML, rel=0.02)
    assert dice(found.mask, ball(head_ct)) > 0.95


def test_the_target_volume_moves_the_border(analysis):
    small, large = (mark(analysis, HEMATOMA_ML * f) for f in (0.97, 1.03))
    assert small.volume_ml == pytest.approx(0.97 * HEMATOMA_ML, rel=0.01)
    assert large.volume_ml == pytest.approx(1.03 * HEMATOMA_ML, rel=0.01)
    assert np.count_nonzero(small.mask & ~large.mask) == 0
    assert small.agrees and large.agrees


@pytest.mark.parametrize("factor, word", [(0.3, "more"), (2.5, "less")])
def test_plain_borders_are_kept_and_the_disagreement_is_said(analysis, factor, word):
    found = mark(analysis, factor * HEMATOMA_ML)
    assert found.volume_ml == pytest.approx(HEMATOMA_ML, rel=0.15)
    assert not found.agrees
    assert found.expected_ml == factor * HEMATOMA_ML
    assert f"mL {word} than" in found.notes[0] and f"{found.volume_ml:.1f} mL" in found.notes[0]


def test_two_parts_are_counted(head_ct):
    second = ball(head_ct, (-30.0, -5.0, 10.0), 15.0)
    hu = np.where(second, np.int16(66), head_ct.hu)
    found = mark(analysis_of(HeadCT(hu, head_ct.ijk_to_ras), ball(head_ct) | second, HEMATOMA_ML + 14.1))
    assert len(found.components_ml) == 2
    assert found.components_ml == pytest.approx((HEMATOMA_ML, 14.1), rel=0.1)


def test_calcifications_and_bone_are_left_out(head_ct, analysis):
    """A calcification beside the bleed, and a skull that touches it: neither becomes blood."""
    calcified = ball(head_ct, (12.0, -5.0, 10.0), 5.0)
    skull = ball(head_ct, (35.0, -5.0, 10.0), 26.0) & ~ball(head_ct, (31.0, -5.0, 10.0), 23.0)
    hu = np.where(calcified, np.int16(250), np.where(skull, np.int16(900), head_ct.hu))
    found = mark(analysis_of(HeadCT(hu, head_ct.ijk_to_ras), ball(head_ct), HEMATOMA_ML))
    assert not (found.mask & (calcified | skull)).any()


def test_muscle_under_the_base_of_the_skull_is_no_blood():
    """Thin bone that lies nearly flat passes between slices of 5 mm: under brain, muscle as dense as blood follows."""
    affine = np.diag([-1.5, -1.5, 5.0, 1.0])
    affine[:3, 3] = [100.0, 100.0, -90.0]
    scan = HeadCT(np.full((34, 134, 134), -1000, np.int16), affine)
    k, j, i = np.indices(scan.hu.shape, dtype=np.float32)
    x, y, z = np.moveaxis(apply_affine(affine, np.stack([i, j, k], axis=-1)), -1, 0)
    above_base = z + 40 + 0.2 * (y + 24)  # mm
    neck = (x / 66) ** 2 + (y / 80) ** 2 < 1
    skull, inside = ((x / (70 - s)) ** 2 + (y / (88 - s)) ** 2 + (z / (72 - s)) ** 2 < 1 for s in (0, 4))
    brain = inside & (above_base > 0)
    truth = brain & ball(scan, (22.0, -24.0, -34.0), 14.0)
    for where, hu in ((neck & (z < 0), 58), (skull & (above_base > -2.5), 900), (brain, 32), (truth, 62)):
        scan.hu[where] = hu
    found = mark(analysis_of(scan, truth, np.count_nonzero(truth) * scan.voxel_volume_mm3 / 1000))
    assert dice(found.mask, truth) > 0.9
    assert found.evidence.contrast_hu > 20


def test_dural_sinus_that_touches_the_bleed_is_no_blood():
    """A band of the density of blood along the skull, 4.5 mm thick and 60 mm long, beside a bleed of 7 mL."""
    head_ct = phantom((34, 256, 256), (5.0, 0.9, 0.9))
    truth = ball(head_ct, (55.0, -5.0, 10.0), 12.0)
    hu = np.where(ball(head_ct, radius_mm=21.0) & ~truth, np.int16(34), head_ct.hu)
    k, j, i = np.indices(hu.shape, dtype=np.float32)
    x, y, z = np.moveaxis(apply_affine(head_ct.ijk_to_ras, np.stack([i, j, k], axis=-1)), -1, 0)
    from_bone = ndimage.distance_transform_edt(hu < 160, sampling=head_ct.spacing_kji)
    band = (from_bone < 6) & (hu > 0) & (hu < 160) & (np.abs(y + 5) < 30) & (np.abs(z - 10) < 7) & (x > 0)
    scan = HeadCT(np.where(truth | band, np.int16(65), hu), head_ct.ijk_to_ras)
    assert np.count_nonzero(band & ~truth) * scan.voxel_volume_mm3 > 3000
    assert (ndimage.binary_dilation(truth) & band).any()
    found = mark(analysis_of(scan, truth, np.count_nonzero(truth) * scan.voxel_volume_mm3 / 1000))
    assert dice(found.mask, truth) > 0.95


@pytest.mark.parametrize("seed", [4, 5])
def test_brain_made_brighter_by_the_base_of_the_skull_is_no_blood(seed):
    """Beam hardening: the lower the slice, the brighter the brain; it doubled or tripled these volumes."""
    settings = SimulationSettings(bleed=True, location="cerebellum", volume_ml=8.0, matrix=144)
    patient = simulate_patient(seed, settings)
    head_ct, truth = patient.head_ct, patient.mask
    above_mm = (np.arange(len(head_ct.hu)) - np.median(np.nonzero(truth)[0])) * head_ct.spacing_kji[0]
    by_height = np.interp(above_mm, (-15.0, 5.0), (10.0, 0.0))[:, None, None]
    hardened = replace(head_ct, hu=(head_ct.hu + np.where(np.abs(head_ct.hu) < 100, by_height, 0)).astype(np.int16))
    found = mark(analysis_of(hardened, truth, patient.volume_ml))
    assert dice(found.mask, truth) > 0.8
    assert found.volume_ml == pytest.approx(patient.volume_ml, rel=0.2)


def test_black_holes_belong_to_the_bleed(head_ct):
    hole = ball(head_ct, (35.0, -5.0, 10.0), 5.0)
    hu = np.where(hole, np.int16(30), head_ct.hu)
    found = mark(analysis_of(HeadCT(hu, head_ct.ijk_to_ras), ball(head_ct), HEMATOMA_ML))
    assert found.mask[hole].mean() > 0.9


def test_without_a_hemorrhage_nothing_is_marked(analysis):
    none = replace(analysis, hemorrhage=Hemorrhage.NONE, hemorrhage_reason="No hemorrhage found: so it is.")
    found = mark(none)
    assert not found.mask.any() and found.volume_ml == 0.0 and found.components_ml == ()
    assert found.notes == ("Nothing is marked. No hemorrhage found: so it is.",)
    assert mark(none, HEMATOMA_ML).mask.any()  # asked for all the same
    assert mark(analysis, 0.0).notes == ("Nothing is marked: the volume is 0 mL.",)


def test_what_the_second_look_marked_is_taken(analysis):
    done = mark(analysis)
    assert mark(replace(analysis, marking=done)) is done
    assert mark(replace(analysis, marking=done), HEMATOMA_ML * 1.02) is not done


def test_evidence_of_blood(analysis, head_ct):
    found = mark(analysis).evidence
    assert found.contrast_hu == pytest.approx(68 - 33, abs=5)  # noise of 4 HU
    assert found.near_bone == 0 and found.dense == 0
    skull = ~ball(head_ct, (0.0, 0.0, 0.0), 45.0)
    hu = np.where(skull & (head_ct.hu < 50) & (head_ct.hu > -500), np.int16(900), head_ct.hu)
    along = mark(analysis_of(HeadCT(hu, head_ct.ijk_to_ras), ball(head_ct), HEMATOMA_ML)).evidence
    assert along.near_bone > 0.1  # a part of the border, by the head's shape 15 %


def test_noise_does_not_make_blood_resemble_its_surroundings(analysis, head_ct):
    """As a sharp kernel for bone: the densest fifth of the surroundings are its noise."""
    noise = np.random.default_rng(0).normal(0.0, 25.0, head_ct.hu.shape)
    noisy = replace(head_ct, hu=(head_ct.hu + noise).astype(np.int16))
    found = mark(analysis_of(noisy, ball(head_ct), HEMATOMA_ML)).evidence
    hidden = mark(analysis).evidence.contrast_hu - found.contrast_hu
    assert hidden > 10 and found.hidden_hu == pytest.approx(hidden, abs=12)
    assert mark(analysis).evidence.hidden_hu == 0


def test_blank_attention(head_ct):
    found = mark(analysis_of(head_ct, np.zeros(head_ct.hu.shape, bool), 20.0))
    assert not found.mask.any() and not found.agrees
    assert "blank" in found.notes[0]


def test_no_blood_near_the_attention(head_ct):
    elsewhere = ball(head_ct, (-35.0, -5.0, 10.0))
    found = mark(analysis_of(head_ct, elsewhere, 20.0))
    assert not found.mask.any() and not found.agrees
    assert "as dense as blood" in found.notes[0]


@pytest.mark.parametrize("volume", [-1.0, float("nan"), float("inf"), 501.0])
def test_unusable_volume(analysis, volume):
    with pytest.raises(InputError, match="expected 0 to 500 mL, found"):
        mark(analysis, volume)


def test_progress_is_reported_and_can_cancel(analysis):
    told = []
    mark(analysis, progress=lambda fraction, message: told.append(fraction))
    assert told[0] == 0.0 and told[-1] == 1.0 and told == sorted(told)

    def cancel(fraction, message):
        if fraction > 0.1:
            raise Canceled("Canceled.")

    with pytest.raises(Canceled):
        mark(analysis, progress=cancel)


def test_only_a_box_around_the_bleed_is_worked_on(monkeypatch):
    head_ct = phantom((32, 512, 512), (5.0, 0.45, 0.45))
    analysis, sizes = analysis_of(head_ct, ball(head_ct), HEMATOMA_ML), []

    def recorded(hu, *rest):
        sizes.append(hu.size)
        return denoise(hu, *rest)

    monkeypatch.setattr(outline, "denoise", recorded)
    mark(analysis)
    assert sizes and max(sizes) < head_ct.hu.size / 10


def test_denoising_of_a_step_is_exact():
    """In one dimension, the minimizer of ½‖u − f‖² + w·TV(u) for a step moves each side by w ÷ its length."""
    image = np.zeros((4, 5, 20), np.float32)
    image[..., 8:] = 10.0
    found = denoise(image, 6.0, (1.0, 1.0, 1.0), iterations=400)
    assert found[..., :8] == pytest.approx(6.0 / 8, abs=0.02)
    assert found[..., 8:] == pytest.approx(10.0 - 6.0 / 12, abs=0.02)
