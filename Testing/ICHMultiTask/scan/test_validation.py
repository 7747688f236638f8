"""What is accepted as a head CT, with which warnings, and how fast."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskLib.scan.coarse_head import coarse_head
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.head_shape import measure_head
from ICHMultiTaskLib.scan.validation import check_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient


@pytest.fixture
def head_ct(dicom_files):
    affine = dicom_files.affine()
    return HeadCT(dicom_files.head(affine), affine)


@pytest.fixture(scope="module")
def simulated_head():
    return simulate_patient(6, SimulationSettings(matrix=160, slices=40)).head_ct


def changed(head_ct, place, value):
    hu = head_ct.hu.copy()
    hu[place] = value
    return HeadCT(hu, head_ct.ijk_to_ras)


def warnings_of(head_ct):
    return check_head_ct(head_ct).facts.warnings


def test_plain_head_is_accepted(head_ct):
    # The synthetic head has 4 mm pixels, which is said; nothing else is.
    assert warnings_of(head_ct) == ("The pixel size of 4.00 × 4.00 mm is unusual for a head CT (0.3 to 0.6 mm).",)
    assert check_head_ct(head_ct).hu is head_ct.hu


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_storage_order_is_judged_alike(head_ct, axes):
    """The same head stored along other axes, and its lower half in each."""
    for flips in product((1, -1), repeat=3):
        columns = head_ct.ijk_to_ras[:, [2, 1, 0, 3]]  # of k, j, i
        hu, affine = np.transpose(head_ct.hu, axes), columns[:, [*axes, 3]].copy()
        for axis, flip in enumerate(flips):
            if flip < 0:
                affine[:, 3] += affine[:, axis] * (hu.shape[axis] - 1)
                affine[:, axis] *= -1
                hu = np.flip(hu, axis)
        stored = HeadCT(hu, affine[:, [2, 1, 0, 3]])
        assert len(warnings_of(stored)) == 1
        upward = axes.index(0)
        if flips[upward] > 0:
            lower = HeadCT(np.take(hu, range(16), upward), stored.ijk_to_ras)
            with pytest.raises(InputError, match="cut off at the vertex"):
                check_head_ct(lower)


def test_tilted_head_is_accepted(dicom_files):
    affine = dicom_files.affine(tilt_deg=20.0)
    assert len(warnings_of(HeadCT(dicom_files.head(affine), affine))) == 1


def test_craniectomy_is_accepted(head_ct):
    """A quarter of the skull vault is open on half of the slices."""
    _pixels, warning = warnings_of(changed(head_ct, (slice(11, 21), slice(None), slice(0, 20)), 20))
    assert warning.startswith("Bone covers 84 % of the brain; expected more than 90 %. After a wide craniectomy")


def test_a_half_of_a_head_is_not_analyzed_without_a_word(simulated_head):
    """No spacing and no orientation can be told from it, so a number alone would look like that of a head."""
    hu = np.where(np.arange(simulated_head.hu.shape[2]) < 80, simulated_head.hu, -1024).astype(np.int16)
    assert warnings_of(HeadCT(hu, simulated_head.ijk_to_ras))[-1].startswith("Bone covers ")


@pytest.mark.parametrize("brain", [60, 48, 10])
def test_shifted_hounsfield_units(head_ct, brain):
    warning = warnings_of(changed(head_ct, head_ct.hu == 32, brain))[-1]
    assert warning.startswith(f"The brain measures {brain} HU") and "check the rescale intercept" in warning


@pytest.mark.parametrize("brain", [150, 70, 0, -60])
def test_implausible_brain_hu_are_refused(head_ct, brain):
    with pytest.raises(InputError, match=f"The brain measures {brain} HU; expected 15 to 45 HU: check the rescale"):
        check_head_ct(changed(head_ct, head_ct.hu == 32, brain))


def test_phantom_is_refused(head_ct):
    with pytest.raises(InputError, match="The inside of the skull is not brain .a phantom.*of 20 to 50 HU, found -990"):
        check_head_ct(changed(head_ct, head_ct.hu == 32, -990))


def test_metal_at_the_brain_but_not_in_the_teeth(head_ct):
    assert "metal at the level of the brain" in warnings_of(changed(head_ct, np.s_[16:18, 24:27, 24:27], 3071))[-1]
    assert len(warnings_of(changed(head_ct, np.s_[2:4, 24:27, 24:27], 3071))) == 1
    clip = warnings_of(changed(head_ct, np.s_[16, 25:27, 24:26], 3071))[-1]
    assert clip.startswith("The scan shows about 0.3 mL of metal at the level of the brain")


def test_thick_slices(head_ct):
    thick = HeadCT(head_ct.hu[::3], head_ct.ijk_to_ras @ np.diag([1, 1, 3, 1]))
    assert "Slices are 15.0 mm apart; above 10 mm small hemorrhages are missed." in warnings_of(thick)


def test_slightly_cut_head_gets_a_warning(head_ct):
    upper = HeadCT(head_ct.hu[:26], head_ct.ijk_to_ras)
    assert warnings_of(upper)[-1].startswith("The scan seems to end before the vertex")
    lower = HeadCT(head_ct.hu[8:], head_ct.ijk_to_ras)
    assert warnings_of(lower)[-1].startswith("The scan seems to end before the skull base")


def test_skull_cut_by_the_field_of_view_gets_a_warning(head_ct):
    bone = np.flatnonzero((head_ct.hu > 300).any(axis=(0, 2)))
    cut = HeadCT(head_ct.hu[:, : bone[-1] - 3], head_ct.ijk_to_ras)
    assert any("The field of view cuts off part of the skull" in sentence for sentence in warnings_of(cut))
    assert not any("field of view" in sentence for sentence in warnings_of(head_ct))


def test_a_nose_cut_by_the_field_of_view_gets_none(head_ct):
    """A slice of the face in which bone around a little tissue reaches the edge."""
    hu = np.pad(head_ct.hu, ((0, 0), (3, 3), (3, 3)), constant_values=-1000)
    middle = hu.shape[2] // 2
    hu[3, :6, middle - 4 : middle + 5] = 900
    hu[3, :4, middle - 1 : middle + 2] = 50
    assert warnings_of(HeadCT(hu, head_ct.ijk_to_ras)) == warnings_of(head_ct)


def test_interpolated_slices_are_no_contrast_medium():
    """Thick slices resampled to thin ones, as in many data sets: the vertex fades from bone to brain."""
    thick = phantom((17, 128, 128), (10.0, 1.8, 1.8))
    thin = ndimage.zoom(thick.hu, (2, 1, 1), order=1, mode="nearest", grid_mode=True)
    scan = HeadCT(thin, thick.ijk_to_ras @ np.diag([1, 1, 0.5, 1]))
    assert not any("contrast" in sentence for sentence in warnings_of(scan))


def test_a_noisy_scan_of_any_size_is_checked(head_ct):
    """Noise is averaged in whole blocks of pixels; of 167 columns, 2 are left over."""
    fine = np.diag([1 / 3, 1 / 3, 1.0, 1.0])
    hu = np.repeat(np.repeat(head_ct.hu, 3, axis=1), 3, axis=2)[:, :, :-1]
    noisy = hu + np.random.default_rng(0).normal(0.0, 60.0, hu.shape).astype(np.int16)
    assert not any("denser than blood" in words for words in warnings_of(HeadCT(noisy, head_ct.ijk_to_ras @ fine)))


def test_head_with_neck_and_whole_body(head_ct):
    neck = np.concatenate([np.repeat(head_ct.hu[:1], 40, axis=0), head_ct.hu])
    assert "expected a head without neck or chest" in " ".join(warnings_of(HeadCT(neck, head_ct.ijk_to_ras)))
    body = np.concatenate([np.repeat(head_ct.hu[:1], 80, axis=0), head_ct.hu])
    with pytest.raises(InputError, match="The scan is 560 mm long; expected a scan of the head alone"):
        check_head_ct(HeadCT(body, head_ct.ijk_to_ras))


def test_a_head_with_shoulders_is_measured_by_its_brain(head_ct):
    """The shoulders are the largest piece of soft tissue."""
    shoulders = np.full((24, *head_ct.hu.shape[1:]), -1000, np.int16)
    shoulders[:, 8:-8, 2:-2] = 50
    whole = HeadCT(np.concatenate([shoulders, head_ct.hu]), head_ct.ijk_to_ras)
    measured, alone = (measure_head(coarse_head(scan)) for scan in (whole, head_ct))
    assert measured.intracranial_ml == alone.intracranial_ml
    assert measured.covered == alone.covered > 0.9


def test_a_wide_field_of_view_is_no_neck(head_ct):
    columns = round(560 / head_ct.spacing_kji[2]) - head_ct.hu.shape[2]
    wide = np.pad(head_ct.hu, ((0, 0), (0, 0), (0, columns)), constant_values=-1000)
    assert warnings_of(HeadCT(wide, head_ct.ijk_to_ras)) == warnings_of(head_ct)


def test_without_skull(head_ct):
    with pytest.raises(InputError, match="does not look like a head CT; .* found 0 mL inside closed bone"):
        check_head_ct(changed(head_ct, head_ct.hu == 900, -1000))


def test_float_scan_with_nan(head_ct):
    hu = head_ct.hu.astype(np.float32)
    assert len(warnings_of(HeadCT(hu, head_ct.ijk_to_ras))) == 1
    hu[3, 1, 2] = -np.inf
    with pytest.raises(InputError, match="The scan contains 1 voxels of NaN or infinity"):
        check_head_ct(HeadCT(hu, head_ct.ijk_to_ras))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_usual_scan_is_checked_on_few_of_its_voxels(dicom_files, dtype):
    """One in 64, which is what makes it a matter of milliseconds on any machine."""
    affine = dicom_files.affine(pixel_mm=0.45, size=512)
    small = dicom_files.affine(pixel_mm=0.45 * 8, size=64)
    hu = np.repeat(np.repeat(dicom_files.head(small, size=64), 8, axis=1), 8, axis=2).astype(dtype)
    scan = HeadCT(hu, affine)
    assert warnings_of(scan) == ()
    assert coarse_head(scan).hu.size == hu.size // 64


def test_simulated_patient_is_accepted():
    simulation = pytest.importorskip("ICHMultiTaskLib.simulation")
    patient = simulation.simulate_patient(1, simulation.SimulationSettings(matrix=96))
    assert not [text for text in warnings_of(patient.head_ct) if "pixel size" not in text]
