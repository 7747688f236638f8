"""The simulated patient: exact volumes, plausible Hounsfield units, one seed one result."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.scan.geometry import apply_affine, tilt_deg
from ICHMultiTaskLib.simulation import SimulationSettings, mimics, scanner, simulate_patient
from ICHMultiTaskLib.simulation.acquisition import KERNELS
from ICHMultiTaskLib.simulation.anatomy import Head
from ICHMultiTaskLib.simulation.cohort import patient_seed
from ICHMultiTaskLib.simulation.composition import COMPOSITIONS
from ICHMultiTaskLib.simulation.hematoma import LARGEST_ML, LOCATIONS, Hematoma
from ICHMultiTaskLib.simulation.lesions import INFARCT_SHARES, INFARCTS, draw_lesions
from ICHMultiTaskLib.simulation.outcome import (
    Findings,
    draw_age_and_sex,
    draw_atrophy,
    draw_outcome,
    draw_presentation,
    probability_of_80_or_older,
)

SMALL = {"matrix": 96, "slices": 24}
STILL = {"tilt_deg": 0.0, "rotation_deg": (0.0, 0.0, 0.0), "centered": True}
CLEAN = {"noise_hu": 0.0, "offset_hu": 0.0, "artifacts": False}


def mask_ml(patient):
    return patient.mask.sum() * patient.head_ct.voxel_volume_mm3 / 1000.0


def test_same_seed_same_bytes():
    """A promise on one machine, so held within one run: another processor may round the last digits otherwise."""
    first, second = (simulate_patient(5, SimulationSettings(**SMALL)) for _ in range(2))
    other = simulate_patient(6, SimulationSettings(**SMALL))
    assert first.head_ct.hu.tobytes() == second.head_ct.hu.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert (first.volume_ml, first.died, first.gcs) == (second.volume_ml, second.died, second.gcs)
    assert first.head_ct.hu.tobytes() != other.head_ct.hu.tobytes()


def test_coarse_painting_equals_fine_painting(monkeypatch):
    """Samples and layers are as coarse as the scan's pixels allow; painted finely, the scan is the same."""
    settings = SimulationSettings(matrix=224, slices=20, volume_ml=25.0, bleed=True, table=False, age=70, **CLEAN)
    coarse = simulate_patient(7, settings)
    monkeypatch.setattr(scanner, "COARSEST_MM", 0.8)
    monkeypatch.setattr(scanner, "THIN_MM", 2.0)
    fine = simulate_patient(7, settings)
    assert coarse.volume_ml == fine.volume_ml
    assert mask_ml(coarse) == pytest.approx(mask_ml(fine), rel=0.05)
    assert coarse.ivh_ml == pytest.approx(fine.ivh_ml, rel=0.03, abs=0.05)
    soft = [p.head_ct.hu[(p.head_ct.hu > 0) & (p.head_ct.hu < 80)] for p in (coarse, fine)]
    assert soft[0].size == pytest.approx(soft[1].size, rel=0.03)
    assert soft[0].mean() == pytest.approx(soft[1].mean(), abs=0.5)
    np.testing.assert_allclose(*(np.percentile(hu, [25, 50, 75, 90]) for hu in soft), atol=1.0)
    assert coarse.head_ct.hu[coarse.mask].mean() == pytest.approx(fine.head_ct.hu[fine.mask].mean(), abs=1.0)


def test_slices_that_just_reach_the_muscles():
    """The surfaces are interpolated, so that a slice can be a little lower than the nodes that it is made from."""
    patient = simulate_patient(patient_seed(92, 86), SimulationSettings(slices=None, matrix=128))
    assert np.isfinite(patient.head_ct.hu).all() and patient.head_ct.hu.max() > 1000


def test_scan_says_that_it_is_simulated():
    facts = simulate_patient(5, SimulationSettings(**SMALL)).head_ct.facts
    assert facts.simulated and facts.format == "array"
    assert facts.patient_name.startswith("SimulatedPatient^")


def test_ellipsoid_has_the_volume_of_the_formula():
    settings = SimulationSettings(**SMALL, shape="ellipsoid", location="putamen", volume_ml=24.0, bleed=True)
    patient = simulate_patient(11, settings)
    exact = 4.0 / 3.0 * np.pi * np.prod(patient.facts["radii_mm"]) / 1000.0
    assert patient.volume_ml == pytest.approx(exact, rel=0.01)
    assert patient.volume_ml == pytest.approx(24.0, rel=0.01)


@pytest.mark.parametrize("location", LOCATIONS)
def test_mask_agrees_with_the_volume(location):
    volume = min(20.0, 0.8 * LARGEST_ML[location])
    settings = SimulationSettings(matrix=128, slices=32, location=location, volume_ml=volume, bleed=True)
    patient = simulate_patient(21, settings)
    assert patient.location == location
    assert patient.volume_ml == pytest.approx(volume, rel=0.02)
    assert mask_ml(patient) == pytest.approx(patient.volume_ml, rel=0.1)


@pytest.mark.parametrize(
    "scanner",
    [
        {"tilt_deg": 20.0},
        {"rotation_deg": (8.0, -6.0, 9.0)},
        {"slices": None, "thickness_mm": 3.0},
        {"matrix": 128},
        {"pixel_mm": 2.1},
    ],
    ids=str,
)
def test_head_and_bleed_stay_when_only_the_scanner_changes(scanner):
    base = {"matrix": 96, "slices": 24, "location": "lobar", "volume_ml": 30.0, "bleed": True, **STILL}
    first = simulate_patient(8, SimulationSettings(**base))
    second = simulate_patient(8, SimulationSettings(**{**base, **scanner}))
    assert second.volume_ml == first.volume_ml
    assert (second.age, second.gcs, second.died) == (first.age, first.gcs, first.died)
    assert mask_ml(second) == pytest.approx(first.volume_ml, rel=0.1)


def test_mask_lies_where_the_bleed_was_placed_on_a_tilted_scan():
    settings = SimulationSettings(
        matrix=128, slices=40, tilt_deg=-18.0, shape="ellipsoid", location="putamen", volume_ml=20.0, bleed=True
    )
    patient = simulate_patient(4, settings)
    assert tilt_deg(patient.head_ct.ijk_to_ras) == pytest.approx(-18.0, abs=0.01)
    center = apply_affine(patient.head_ct.ijk_to_ras, np.argwhere(patient.mask)[:, ::-1].mean(axis=0))
    assert np.linalg.norm(center - patient.facts["center_ras_mm"]) < 1.0


def test_tissues_have_their_hounsfield_units():
    settings = SimulationSettings(
        matrix=224, slices=24, location="putamen", shape="regular", volume_ml=40.0, bleed=True, table=False, age=70,
        **STILL, **CLEAN,
    )  # fmt: skip
    patient = simulate_patient(35, settings)
    hu = patient.head_ct.hu
    assert np.median(hu[:, :20, :20]) == -1000
    assert 50 < np.median(hu[patient.mask]) < 80
    # The brain by its own units, away from bone: the peak of the histogram is between white and gray matter.
    middle = hu[11:18, 70:150, 80:145]
    brain = middle[(middle > 15) & (middle < 45)]
    assert 24 < np.median(brain) < 40
    assert (hu > 900).mean() > 0.003
    assert np.percentile(hu[hu > 300], 99) < 3072
    assert ((hu > -130) & (hu < -70)).mean() > 0.003
    assert ((middle > 0) & (middle < 14)).sum() > 50, "no CSF in the ventricles"


def test_tissues_lie_within_published_ranges():
    """By their place, as on the page of pictures: two patients without a lacune there, scanned without an offset."""
    path = Path(__file__).parents[2] / "figures" / "simulation.py"
    pictures = module_from_spec(spec := spec_from_file_location("simulation_pictures", path))
    spec.loader.exec_module(pictures)
    for seed in (5, 17):
        bleed = {"location": "putamen", "shape": "regular", "volume_ml": 15.0, "bleed": True}
        settings = SimulationSettings(matrix=192, slices=40, offset_hu=0.0, **bleed)
        found = pictures.tissue_hu(simulate_patient(seed, settings))
        for name, (low, high) in pictures.PUBLISHED_HU.items():
            assert len(found[name]) >= 5
            assert low <= np.median(found[name]) <= high, (seed, name)
        assert np.median(found["white matter"]) < np.median(found["gray matter"]) < np.median(found["blood"])


def test_no_bleed_has_no_mask_and_bleeds_are_denser_than_brain():
    patient = simulate_patient(3, SimulationSettings(bleed=False, **SMALL))
    assert patient.volume_ml == 0.0 and not patient.mask.any()
    assert (patient.location, patient.ivh, patient.midline_shift_mm, patient.died) == ("", 0, 0.0, 0)


def test_midline_moves_away_from_the_bleed():
    shifts = []
    for side in (-1.0, 1.0):
        head = Head(np.random.default_rng(1), 60)
        x = np.zeros((1, 1), np.float32)
        before = float(head.to_atlas(x, x, x + 15.0)[0][0, 0])
        Hematoma(np.random.default_rng(2), head, "lobar", "regular", 60.0, (side * 40.0, 0.0, 15.0))
        # What lies at the midline now came from nearer the bleed.
        shifts.append(float(head.to_atlas(x, x, x + 15.0)[0][0, 0]) - before)
    assert shifts[0] < -0.8 and shifts[1] > 0.8


def test_larger_bleeds_shift_more():
    small, large = (
        simulate_patient(12, SimulationSettings(location="putamen", volume_ml=v, bleed=True, **SMALL)) for v in (3, 80)
    )
    assert large.midline_shift_mm > small.midline_shift_mm + 1.5


def test_scan_covers_the_bleed_and_never_the_skull_with_it():
    for seed in range(40, 42):
        settings = SimulationSettings(location="lobar", volume_ml=60.0, bleed=True, shape="irregular", **SMALL, **CLEAN)
        patient = simulate_patient(seed, settings)
        assert not patient.mask[0].any() and not patient.mask[-1].any()
        assert np.percentile(patient.head_ct.hu[patient.mask], 90) < 130


@pytest.mark.parametrize(("volume_ml", "ivh"), [(40.0, 1), (15.0, 0)], ids=["about the cut at 4", "at 12"])
def test_image_only_probability_is_the_mean_over_age_and_gcs(volume_ml, ivh):
    """Of patients with the same image: each cut of the GCS and the age of 80 weigh as often as they occur."""
    findings = Findings(volume_ml, "putamen", ivh)
    generator = np.random.default_rng(0)
    drawn = [draw_outcome(generator, draw_age_and_sex(generator)[0], "M", findings) for _ in range(4000)]
    risks = np.array([outcome.death_probability for outcome in drawn])
    error = risks.std() / np.sqrt(len(risks))
    assert drawn[0].death_probability_image == pytest.approx(risks.mean(), abs=4 * error)


def drawn_findings(rng, patients):
    """Findings and outcomes of bleeds, with the age that atrophy goes with."""
    rows = []
    for volume in np.exp(rng.normal(np.log(10.0), 1.2, patients)):
        age, sex = draw_age_and_sex(rng)
        ivh, hydrocephalus = rng.uniform(size=2) < (0.4, 0.2)
        shift, excess = 0.05 * volume, rng.normal(0.0, 0.9)
        findings = Findings(volume, "putamen", int(ivh), shift, int(hydrocephalus), excess, draw_atrophy(rng, age))
        rows.append((findings, draw_outcome(rng, age, sex, findings)))
    return rows


def test_outcomes_follow_their_probabilities():
    outcomes = [outcome for _, outcome in drawn_findings(np.random.default_rng(0), 4000)]
    died = np.array([o.died for o in outcomes])
    for name in ("death_probability", "death_probability_image"):
        expected = np.array([getattr(o, name) for o in outcomes])
        assert died.mean() == pytest.approx(expected.mean(), abs=0.025)
        assert died[expected > 0.5].mean() > died[expected < 0.5].mean() + 0.3
        # In each third of the probabilities as well.
        for part in np.array_split(np.argsort(expected), 3):
            assert died[part].mean() == pytest.approx(expected[part].mean(), abs=0.05)
    assert 0.15 < died.mean() < 0.45


def test_shift_hydrocephalus_and_edema_raise_mortality():
    def probability(**findings):
        whole = {"midline_shift_mm": 1.0, "hydrocephalus": 0, "edema_excess": 0.0, "atrophy": 0.6} | findings
        rng = np.random.default_rng(1)
        return draw_outcome(rng, 70, "F", Findings(20.0, "putamen", 0, **whole)).death_probability_image

    usual = probability()
    worse = probability(midline_shift_mm=8.0), probability(hydrocephalus=1), probability(edema_excess=1.5)
    assert min(worse) > 1.2 * usual
    assert probability(midline_shift_mm=0.0) < usual
    assert probability(atrophy=1.3) > usual > probability(atrophy=0.1)


def test_atrophy_determines_the_probability_of_80_or_older():
    rng = np.random.default_rng(2)
    ages = np.array([draw_age_and_sex(rng)[0] for _ in range(20000)])
    atrophy = np.array([draw_atrophy(rng, age) for age in ages])
    assert probability_of_80_or_older(None) == pytest.approx((ages >= 80).mean(), abs=0.01)
    for low, high in ((0.3, 0.4), (0.9, 1.0), (1.2, 1.3)):
        seen = (atrophy > low) & (atrophy < high)
        assert probability_of_80_or_older((low + high) / 2) == pytest.approx((ages[seen] >= 80).mean(), abs=0.04)
    assert probability_of_80_or_older(1.6) == pytest.approx((ages[atrophy >= 1.6] >= 80).mean(), abs=0.15)


def test_heads_without_a_bleed_have_many_lesions():
    """Every part of the brain can hold one, and none is as dense as blood."""
    rng = np.random.default_rng(3)
    composition = COMPOSITIONS["training"]
    heads = [draw_lesions(rng, 67, 5.0, composition.lesions_without_bleed) for _ in range(400)]
    lesions = [lesion for head in heads for lesion in head]
    assert {lesion.kind for lesion in lesions} >= {*INFARCTS, "cyst", "frontal pole", "lacune"}
    assert np.mean([any(lesion.kind != "lacune" for lesion in head) for head in heads]) > 0.5
    assert all(lesion.value < 25.0 for lesion in lesions)
    low = [min(center[2] for center, _ in lesion.parts) for lesion in lesions]
    assert np.mean(np.array(low) < -25.0) > 0.15


def test_noise_is_as_strong_as_stated_and_shared_by_neighbors():
    """In air, where nothing else varies; the noise is weaker at the edge of the field of view."""
    settings = SimulationSettings(bleed=False, noise_hu=6.0, offset_hu=0.0, artifacts=False, table=False, **SMALL)
    correlations = []
    for seed in (1, 2, 4):
        air = simulate_patient(seed, settings).head_ct.hu[:, :14, :14].reshape(SMALL["slices"], -1).astype(float)
        assert 2.0 < air.std() < 6.0
        near = [np.corrcoef(a, b)[0, 1] for a, b in zip(air, air[1:])]
        far = [np.corrcoef(a, b)[0, 1] for a, b in zip(air, air[6:])]
        correlations.append((np.mean(near), np.mean(far)))
    near, far = np.mean(correlations, axis=0)
    assert near > far + 0.1 and abs(far) < 0.15


def test_mimics_are_not_part_of_mask_and_volume(monkeypatch):
    """Each kind brightens the head that it is painted into, and neither volume nor mask."""
    settings = SimulationSettings(bleed=False, **SMALL, **CLEAN)
    plain = simulate_patient(3, SimulationSettings(composition="paper", bleed=False, **SMALL, **CLEAN))
    for kind, least in (("subdural", 40), ("subarachnoid", 5), ("clip", 1), ("shunt", 3), ("contrast", 20)):
        monkeypatch.setattr(mimics, "MIMICS", {name: (2.0 * (name == kind),) * 2 for name in mimics.MIMICS})
        patient = simulate_patient(3, settings)
        assert patient.volume_ml == 0.0 and not patient.mask.any()
        brighter = (patient.head_ct.hu > 42) & (plain.head_ct.hu < 38) & (plain.head_ct.hu > -20)
        assert brighter.sum() >= least, kind


def test_presentations_are_plausible():
    rng = np.random.default_rng(1)
    ages = np.array([draw_age_and_sex(rng)[0] for _ in range(4000)])
    gcs, volumes = rng.integers(3, 16, ages.size), np.exp(rng.normal(np.log(12.0), 1.0, ages.size))
    drawn = [draw_presentation(rng, *of, "putamen") for of in zip(ages, gcs, volumes)]
    nihss, anticoagulation, hours = (
        np.array([getattr(p, name) for p in drawn]) for name in ("nihss", "anticoagulation", "onset_hours")
    )
    assert nihss.min() >= 0 and nihss.max() <= 42
    assert np.median(nihss[gcs == 15]) < 14 and np.median(nihss[gcs == 3]) > 25
    assert np.corrcoef(nihss, np.log(volumes))[0, 1] > 0.2
    assert 0.12 < anticoagulation.mean() < 0.18
    assert anticoagulation[ages >= 80].mean() > 2 * anticoagulation[ages < 60].mean()
    assert np.median(volumes[anticoagulation == 1]) > np.median(volumes[anticoagulation == 0])
    assert 3.0 < np.median(hours) < 5.0 and hours.min() >= 0.5 and hours.max() <= 72.0
    assert np.median(hours[gcs <= 8]) < np.median(hours[gcs >= 13])


def test_shares_add_up():
    assert sum(LOCATIONS.values()) == pytest.approx(1.0)
    assert sum(INFARCT_SHARES) == pytest.approx(1.0) and len(INFARCT_SHARES) == len(INFARCTS)
    assert COMPOSITIONS["paper"].no_bleed == 0.0 < COMPOSITIONS["training"].no_bleed


def test_unknown_settings_are_refused():
    with pytest.raises(InputError, match="Unknown bleed location 'spleen'; expected one of putamen"):
        SimulationSettings(location="spleen")
    with pytest.raises(InputError, match="expected 32 to 2048 rows and columns, found 8"):
        SimulationSettings(matrix=8)
    with pytest.raises(InputError, match="Unknown kernel 'bone'; expected one of soft, sharp"):
        SimulationSettings(kernel="bone")


def test_the_kernel_changes_the_scan_and_nothing_of_the_patient():
    soft, sharp = (
        simulate_patient(5, SimulationSettings(bleed=True, noise_hu=0.0, kernel=kernel, **SMALL)) for kernel in KERNELS
    )
    assert (soft.head_ct.facts.kernel, sharp.head_ct.facts.kernel) == KERNELS
    assert soft.volume_ml == sharp.volume_ml and np.array_equal(soft.mask, sharp.mask)
    step_of_bone = [np.abs(np.diff(scan.head_ct.hu, axis=2)).max() for scan in (soft, sharp)]
    assert step_of_bone[1] > step_of_bone[0]


def test_cancel_propagates():
    def cancel(fraction, message):
        if fraction > 0.3:
            raise Canceled("Canceled.")

    with pytest.raises(Canceled):
        simulate_patient(1, SimulationSettings(**SMALL), progress=cancel)
