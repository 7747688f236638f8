"""Where a marked bleed lies: on simulated heads, turned and tilted ones among them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ICHMultiTaskLib.analysis.findings.clinical import filled_context, shown_findings
from ICHMultiTaskLib.analysis.findings.find import find
from ICHMultiTaskLib.analysis.findings.finding import Finding, Findings, findings_text
from ICHMultiTaskLib.analysis.findings.frame import head_frame
from ICHMultiTaskLib.analysis.findings.head_grid import LOW_MM, SHARES_TO_ATLAS, SIZE, STEP_MM, ventricle_distance
from ICHMultiTaskLib.analysis.findings.place import Place, place
from ICHMultiTaskLib.measures.clinical_scores import LOCATIONS, ClinicalContext
from ICHMultiTaskLib.measures.shape import sphere_radius_mm
from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

BROAD = {"putamen": "deep", "thalamus": "deep", "caudate": "deep"}


@pytest.mark.parametrize(
    "seed, location, changes",
    [
        (21, "putamen", {"rotation_deg": (6.0, -5.0, 8.0)}),
        (22, "lobar", {"tilt_deg": 18.0}),
        (23, "cerebellum", {}),
        (24, "brainstem", {"tilt_deg": -15.0}),
    ],
)
def test_simulated_bleeds(seed, location, changes):
    settings = SimulationSettings(bleed=True, location=location, matrix=128, slices=32, **changes)
    patient = simulate_patient(seed, settings)
    found = _placed(patient.head_ct, patient.mask)
    assert found.location == BROAD.get(location, location)
    assert found.infratentorial == (location in ("cerebellum", "brainstem"))
    center = apply_affine(patient.head_ct.ijk_to_ras, np.argwhere(patient.mask).mean(0)[::-1])
    aside = apply_affine(patient.facts["atlas"], center)[0]
    if abs(aside) > 8:
        assert found.side == ("right" if aside > 0 else "left")


def _placed(scan, mask):
    found = find(scan, mask, mask.astype(np.float32), 10.0)[0]
    return Place(found.side, found.location, found.infratentorial)


def test_the_side_is_the_patients_whatever_the_order_of_the_array():
    settings = SimulationSettings(bleed=True, location="putamen", matrix=128, slices=32, volume_ml=10.0)
    patient = simulate_patient(25, settings)
    scan, mask = patient.head_ct, patient.mask
    expected = _placed(scan, mask)
    affine = scan.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 0] * (scan.hu.shape[2] - 1)
    affine[:3, 0] *= -1
    same = replace(scan, hu=scan.hu[:, :, ::-1], ijk_to_ras=affine)
    assert _placed(same, mask[:, :, ::-1]) == expected
    swapped = replace(scan, hu=scan.hu.transpose(2, 0, 1), ijk_to_ras=scan.ijk_to_ras[:, [1, 2, 0, 3]])
    assert _placed(swapped, mask.transpose(2, 0, 1)) == expected
    mirrored = replace(scan, ijk_to_ras=np.diag([-1.0, 1, 1, 1]) @ scan.ijk_to_ras)
    assert _placed(mirrored, mask).side == {"left": "right", "right": "left"}[expected.side]


@pytest.mark.parametrize(
    "point, expected",
    [
        ((27, 1, 4), ("right", "deep", False)),
        ((-13, -18, 8), ("left", "deep", False)),
        ((-2, -26, -30), ("midline", "brainstem", True)),
        ((-22, -62, -38), ("left", "cerebellum", True)),
        ((40, -15, -22), ("right", "lobar", False)),
        ((-30, -75, 5), ("left", "lobar", False)),
        ((15, 50, 10), ("right", "lobar", False)),
        ((20, 10, 45), ("right", "lobar", False)),
    ],
)
def test_places(point, expected):
    """Putamen, thalamus, pons, cerebellum; temporal, occipital and frontal lobe, centrum semiovale."""
    assert place(*point) == Place(*expected)
    assert place(*point).location in LOCATIONS


def test_no_findings_without_a_mark_or_a_skull():
    head = phantom()
    nothing = np.zeros(head.hu.shape, bool)
    assert find(head, nothing, nothing.astype(np.float32), 1.0)[0] is None
    bare = replace(head, hu=np.where(head.hu > 300, np.int16(30), head.hu))
    assert head_frame(bare) is None
    assert find(bare, head.hu > 60, np.ones(head.hu.shape, np.float32), 1.0)[0] is None


@pytest.mark.parametrize("seed", [9105, 9108])
def test_a_skull_from_which_a_bone_flap_was_taken(seed):
    closed, opened = (
        simulate_patient(seed, SimulationSettings(bleed=True, matrix=128, slices=28, surgery=kind))
        for kind in ("none", "craniectomy")
    )
    assert head_frame(opened.head_ct).volume_ml == pytest.approx(head_frame(closed.head_ct).volume_ml, rel=0.1)
    assert _placed(opened.head_ct, opened.mask) == _placed(closed.head_ct, closed.mask)


@pytest.mark.parametrize("degrees", [-40, -20, 0, 20, 40])
def test_a_head_broader_than_long(degrees):
    """Its long axis lies across the plane of symmetry; many real heads are as broad as long, and turned."""
    step = 2.0
    k, j, i = np.meshgrid(*(np.arange(-n, n + 1, step) for n in (80.0, 96.0, 96.0)), indexing="ij")
    turn = np.radians(degrees)
    right, front = i * np.cos(turn) + j * np.sin(turn), j * np.cos(turn) - i * np.sin(turn)
    narrowing = 1 - 0.2 * np.clip(front / 70, -1, 1)  # the forehead is narrower than the back

    def within(margin):
        return (right / (70 * narrowing + margin)) ** 2 + (front / (70 + margin)) ** 2 + (k / (66 + margin)) ** 2 < 1

    hu = np.where(within(0), 35, np.where(within(7), 1000, -1000)).astype(np.int16)
    frame = head_frame(HeadCT(hu, np.diag([step, step, step, 1.0])))
    to_right = frame.ras_to_shares[0, :2]
    assert np.degrees(np.arctan2(to_right[1], to_right[0])) == pytest.approx(degrees, abs=6)


def test_a_headrest_as_dense_as_bone():
    """Slices through the base enclose little, and are bridged by what surrounds them; that must be the skull."""
    settings = SimulationSettings(bleed=True, location="putamen", matrix=128, slices=32, volume_ml=10.0)
    patient = simulate_patient(25, settings)
    around = ((0, 0), (20, 20), (20, 20))
    hu, mask = np.pad(patient.head_ct.hu, around, constant_values=-1000), np.pad(patient.mask, around)
    rest = np.zeros(hu.shape[1:], bool)
    rest[8:-8, [8, -8]] = rest[-8, 8:-8] = True
    hu[:, rest] = 1000
    scan = replace(patient.head_ct, hu=hu)
    assert head_frame(scan).volume_ml == pytest.approx(head_frame(patient.head_ct).volume_ml, rel=0.02)
    assert _placed(scan, mask) == _placed(patient.head_ct, patient.mask)


def blood(patient):
    """All that is as dense as blood and hangs together with the bleed: what density alone would mark."""
    hu = ndimage.gaussian_filter(patient.head_ct.hu.astype(float), 0.7)
    labels, _ = ndimage.label((hu > 42) & (hu < 95))
    near = ndimage.distance_transform_edt(~patient.mask, sampling=patient.head_ct.spacing_kji) < 25
    return np.isin(labels, np.setdiff1d(labels[patient.mask], [0])) & near


@pytest.mark.parametrize(
    "seed, location, volume_ml, ruptured",
    [
        (40, "thalamus", 12.0, True),
        (35, "caudate", 8.0, True),
        (33, "putamen", 25.0, False),
        (34, "lobar", 25.0, False),
    ],
)
def test_blood_in_the_ventricles_is_reported_and_not_marked(seed, location, volume_ml, ruptured):
    settings = SimulationSettings(bleed=True, location=location, volume_ml=volume_ml, matrix=128, slices=32)
    patient = simulate_patient(seed, settings)
    assert patient.ivh == ruptured
    mask, ml = blood(patient), patient.head_ct.voxel_volume_mm3 / 1000.0
    attention = ndimage.gaussian_filter(patient.mask.astype(np.float32), 8.0 / patient.head_ct.spacing_kji)
    found, rest = find(patient.head_ct, mask, attention / attention.max(), volume_ml)
    assert {item.name: item.value for item in found.items}["ivh"] is ruptured
    assert not (rest & ~mask).any()
    if ruptured:
        marked, left = mask.sum() * ml, rest.sum() * ml
        assert marked > volume_ml + 3.5, "the ventricles' blood hangs together with the bleed"
        assert abs(left - volume_ml) < 0.6 * abs(marked - volume_ml)
        assert (rest & patient.mask).sum() > 0.8 * (mask & patient.mask).sum()
    else:
        assert (rest == mask).all()


@pytest.mark.parametrize("center, volume_ml", [((17, -18, 8), 10.0), ((-13, 12, 9), 6.0)])
def test_a_clot_that_widens_the_ventricles_is_told_from_the_bleed_beside_it(center, volume_ml):
    """Density cannot tell them apart, and the ventricles' usual size does not show how far the clot reaches."""
    scan = simulate_patient(60, SimulationSettings(bleed=False, matrix=128, slices=32, surgery="none")).head_ct
    frame = SHARES_TO_ATLAS @ head_frame(scan).ras_to_shares
    points = apply_affine(frame @ scan.ijk_to_ras, np.moveaxis(np.indices(scan.hu.shape), 0, -1)[..., ::-1])
    wall = ndimage.map_coordinates(
        ventricle_distance(), np.moveaxis((points - LOW_MM) / STEP_MM, -1, 0)[::-1], order=1, cval=-60.0
    )
    apart = np.linalg.norm(points - center, axis=-1)
    bleed = apart < sphere_radius_mm(volume_ml)
    clot = (wall > -4.0) & (points[..., 0] * np.sign(center[0]) > -3.0) & ~bleed
    scan = replace(scan, hu=np.where(bleed | clot, np.int16(65), scan.hu))
    marked = (bleed | clot) & (apart < 40.0)
    assert np.count_nonzero(marked & clot) > 3 * np.count_nonzero(bleed)
    rest = find(scan, marked, np.exp(-apart / 12.0), volume_ml)[1]
    dice = 2 * np.count_nonzero(rest & bleed) / (np.count_nonzero(rest) + np.count_nonzero(bleed))
    assert dice > 0.82, "0.55 to 0.75 without attention"


def test_ventricles_lie_alike_on_both_sides():
    distance = ventricle_distance()
    assert distance.shape == SIZE[::-1]
    assert (distance == distance[:, :, ::-1]).all()
    assert 20 < (distance > 0).sum() * 0.008 < 60, "mL, as in adults"


SEEN = Findings(
    "left",
    "deep",
    False,
    (
        Finding("location", "Location", "deep", accuracy="right in 9 of 10", correctable=True),
        Finding("infratentorial", "Infratentorial", False, accuracy="right in 9 of 10"),
        Finding("ivh", "Blood in the ventricles", True, accuracy="right in 9 of 10", correctable=True),
    ),
)


def test_entered_values_replace_findings():
    facts = ScanFacts(patient_age=71.0)
    assert [item.name for item in shown_findings(SEEN, facts)] == ["location", "infratentorial", "ivh", "age"]
    context = ClinicalContext(age=60, location="cerebellum", ivh=False)
    shown = {item.name: item for item in shown_findings(SEEN, facts, context)}
    assert {name: (item.value, str(item.source)) for name, item in shown.items()} == {
        "location": ("cerebellum", "entered"),
        "infratentorial": (True, "entered"),
        "ivh": (False, "entered"),
        "age": (60, "entered"),
    }
    assert not any(item.accuracy for item in shown.values())
    assert filled_context(SEEN, facts, context)[0] == context


def test_the_scores_fields_are_filled_from_scan_and_header():
    context, sources = filled_context(SEEN, ScanFacts(patient_age=71.0), ClinicalContext(gcs=9))
    assert context == ClinicalContext(age=71.0, gcs=9, location="deep", ivh=True)
    assert sources == {
        "gcs": "entered",
        "location": "measured on the marked bleed",
        "ivh": "measured on the marked bleed",
        "age": "DICOM header",
    }
    assert filled_context(None, ScanFacts(patient_age=71.0))[0].is_empty, "nothing is filled in without a hemorrhage"


def test_findings_are_read_back():
    kept = json.loads(json.dumps(SEEN.as_dict()))
    assert Findings.from_dict(kept) == SEEN
    assert Findings.from_dict({"side": "left", "location": "deep", "infratentorial": False}).items == ()
    for unreadable in (None, [], {"side": "left"}, {**kept, "items": [{"unknown": 1}]}):
        assert Findings.from_dict(unreadable) is None
    assert findings_text(SEEN) == "location deep, infratentorial no, blood in the ventricles yes"
