"""Labels that cannot be, and splits that a table half names: refused in words before a run touches its folder."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data.cache import prepare_all
from ICHMultiTaskTrainingLib.data.labels import check_labels, read_mask
from ICHMultiTaskTrainingLib.data.manifest import Manifest, Row, read_manifest
from ICHMultiTaskTrainingLib.data.splits import draw_folds, draw_split
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.run_folder import check_start


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Sixteen files of one size and other content."""
    folder = tmp_path_factory.mktemp("images")
    for n in range(16):
        (folder / f"{n}.nii").write_bytes(bytes([n]) * 3_000_000)
    return [folder / f"{n}.nii" for n in range(16)]


def rows(images, **changes):
    """One row per patient; `changes` holds a sequence for each changed field."""
    found = []
    for n, image in enumerate(images):
        row = Row(f"p{n}", image, 5.0 + n, int(n % 4 == 0), None, "", {})
        found.append(replace(row, **{name: values[n] for name, values in changes.items()}))
    return found


def test_labels_that_can_be_pass(images):
    check_labels(rows(images))
    patients = [f"p{n // 2}" for n in range(16)]
    check_labels(rows(images, patient_id=patients, died=[int(n < 8) for n in range(16)]))


def test_cubic_millimeters_are_recognized(images):
    with pytest.raises(InputError, match=r"volume_ml above 500 mL in 16 of 16 rows: p0 \(5000\).*are they in mm³\?"):
        check_labels(rows(images, volume_ml=[1000.0 * (5 + n) for n in range(16)]))
    one = [900.0 if n == 3 else 10.0 for n in range(16)]
    with pytest.raises(InputError, match=r"in 1 of 16 rows: p3 \(900\)\.$"):
        check_labels(rows(images, volume_ml=one))


def test_one_image_of_two_patients_is_named_whatever_its_name(images, tmp_path):
    copy = tmp_path / "copy.nii"
    copy.write_bytes(images[2].read_bytes())
    with pytest.raises(InputError, match="the same image is listed for p2, p5: 2.nii"):
        check_labels(rows([*images[:5], copy, *images[6:]]))
    patients = [f"p{2 if n == 5 else n}" for n in range(16)]
    with pytest.raises(InputError, match="one image of p2 has volumes of 7 and 10 mL"):
        check_labels(rows([*images[:5], images[2], *images[6:]], patient_id=patients, died=[n % 2 for n in range(5)]
                          + [0] + [n % 2 for n in range(6, 16)]))  # fmt: skip


def test_a_row_that_is_listed_twice_and_a_mask_of_two_patients(images):
    """A row counted twice, and a bleed that is in no image of the second patient."""
    found = rows(images)
    with pytest.raises(InputError, match="one image of p2 is listed 2 times: 2.nii"):
        check_labels([*found, found[2]])
    mask = [images[0] if n in (3, 5) else None for n in range(16)]
    with pytest.raises(InputError, match="the same mask is listed for p3, p5: 0.nii"):
        check_labels(rows(images, mask=mask))
    check_labels(rows(images, mask=mask, volume_ml=[0.0] * 16))  # an empty one


def test_outcomes_without_information_are_reported(images):
    with pytest.raises(InputError, match="no patient died of 16, .*tasks=volume"):
        check_labels(rows(images, died=[0] * 16))
    with pytest.raises(InputError, match="all patients died of 16"):
        check_labels(rows(images, died=[1] * 16))
    check_labels(rows(images, died=[0] * 16), with_prognosis=False)
    with pytest.raises(InputError, match="died is both 0 and 1 for q"):
        twice = ["q", "q", *(f"p{n}" for n in range(14))]
        check_labels(rows(images, patient_id=twice), with_prognosis=False)


def test_both_outcomes_are_needed_among_the_patients_that_train(images):
    """The only death may be held out, so that its fold would learn that nobody dies."""
    table = rows(images, died=[int(n == 3) for n in range(16)], volume_ml=[float(n + 1) for n in range(16)])
    manifest, outcomes = Manifest(images[0], tuple(table)), []
    for fold in range(5):
        try:
            check_start(manifest, make_config(fold=fold))
            outcomes.append("starts")
        except InputError as error:
            outcomes.append(str(error))
    assert sorted(outcomes)[1:] == ["starts"] * 4
    assert "expected both outcomes among them, found 0 deaths of 12 patients" in sorted(outcomes)[0]
    for fold in range(5):
        check_start(manifest, make_config(fold=fold, tasks="volume"))
    same = replace(manifest, rows=tuple(replace(row, extra={"risk": "0.2"}) for row in table))
    with pytest.raises(InputError, match="No prognosis can be learned from the column risk: .* found 0.2 for all"):
        check_start(same, make_config(outcome="risk"))


@pytest.mark.parametrize("volume", [lambda n: 10.0, lambda n: 0.0, lambda n: 0.005 * n])
def test_volumes_that_teach_nothing(images, volume):
    """Not filled in, or in liters: a model of it would read next to nothing in every scan."""
    manifest = Manifest(images[0], tuple(rows(images, volume_ml=[volume(n) for n in range(16)])))
    with pytest.raises(
        InputError, match="No volume can be learned .*: expected different volumes in mL, some from 1 mL"
    ):
        check_start(manifest, make_config())
    check_start(manifest, make_config(tasks="prognosis"))


def test_all_is_listed_at_once(images):
    with pytest.raises(InputError, match="2 labels are impossible: volume_ml above 500 .*; no patient died"):
        check_labels(rows(images, volume_ml=[9e3] * 16, died=[0] * 16))


def test_volume_far_from_its_mask_is_an_unusable_scan(training_manifest, small_settings, tmp_path):
    found = read_manifest(training_manifest).rows[:3]
    wrong = [found[0], replace(found[1], volume_ml=found[1].volume_ml * 11), replace(found[2], volume_ml=0.0)]
    settings = make_config(**small_settings).preprocessing
    for _ in range(2):  # prepared anew, and found in the cache
        with pytest.raises(InputError, match="2 of 3 scans cannot be used: p1: volume_ml and mask .*p2: "):
            prepare_all(wrong, settings, tmp_path)
        prepare_all(found, settings, tmp_path)


def test_map_of_probabilities_is_no_mask(tmp_path):
    """Whatever is above 0 would be the bleed."""
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    scan = HeadCT(np.zeros((8, 8, 8), np.int16), affine)
    image = SimpleITK.GetImageFromArray(np.full((8, 8, 8), 0.2, np.float32))
    image.SetSpacing([4.0] * 3)
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nrrd"))
    with pytest.raises(InputError, match="contains fractions"):
        read_mask(tmp_path / "mask.nrrd", scan)
    SimpleITK.WriteImage(SimpleITK.Cast(5 * image, SimpleITK.sitkUInt8), str(tmp_path / "mask.nrrd"))
    assert read_mask(tmp_path / "mask.nrrd", scan).all()


def test_command_refuses_before_the_folder_is_touched(training_manifest, tmp_path, capsys):
    table = training_manifest.with_name("survivors.csv")
    table.write_bytes(training_manifest.read_bytes().replace(b",1,", b",0,"))
    command = ["train", str(table), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main(command) == 1
    assert "no patient died of 20" in capsys.readouterr().err
    for setting in ("preprocessing.shape_kji=[8,32,32.5]", "preprocessing.shape_kji=[9000,9000,9000]"):
        assert cli.main([*command, "--set", setting]) == 1
        assert "shape_kji" in capsys.readouterr().err
    assert cli.main([*command, "--network", "tin18", "--set", "architecture.width=4"]) == 1
    assert "The network tin18 cannot be built with these settings: width is 4" in capsys.readouterr().err
    assert cli.main([*command, "--set", "tasks=volume", "--set", "accumulate=40"]) == 1
    assert "Too few scans for training: expected at least 40" in capsys.readouterr().err
    for setting in ("architecture.width=0", "preprocessing.shape_kji=[8,30,32]", "learning_rate=-1"):
        assert cli.main([*command, "--set", setting]) == 1
    assert not (tmp_path / "run").exists()


def split_of(images, marks):
    return draw_split(rows(images, split=marks), 0.25, 0)


def test_split_column_may_name_the_test_rows_alone(images):
    marks = ["test" if n >= 12 else "" for n in range(16)]
    split = split_of(images, marks)
    used = [row.patient_id for name in ("train", "validation") for row in split[name]]
    assert sorted(used) == sorted(f"p{n}" for n in range(12)) and len(split["validation"]) == 3
    split = split_of(images, ["test" if n >= 12 else "train" for n in range(16)])
    assert len(split["train"]) == 9 and len(split["validation"]) == 3


def test_split_column_that_names_some_rows_only_is_refused(images):
    marks = ["validation" if n < 4 else "train" for n in range(16)]
    marks[9] = ""
    with pytest.raises(InputError, match="split column is incomplete: .* found none for p9"):
        split_of(images, marks)
    manifest = type("Table", (), {"rows": rows(images, split=marks)})()
    with pytest.raises(InputError, match="split column is incomplete"):
        check_start(manifest, make_config())


def test_folds_are_stratified_by_outcome_and_volume():
    """Of 60 patients with 15 deaths each of 5 folds gets 3, and one of each fifth of the volumes."""
    generator = np.random.default_rng(2)
    volumes = generator.permutation(60).astype(float)
    table = [Row(f"p{n}", None, volumes[n], int(n % 4 == 0), None, "", {}) for n in range(60)]
    for seed in range(5):
        fold_of = draw_folds(table, 5, seed)
        for fold in range(5):
            chosen = [row for row in table if fold_of[row.patient_id] == fold]
            assert sum(row.died for row in chosen) == 3
            survivors = sorted(row.volume_ml for row in table if not row.died)
            ranks = sorted(survivors.index(row.volume_ml) // 5 for row in chosen if not row.died)
            assert ranks == list(range(9))  # one of every five neighbors in volume


def test_equal_settings_share_the_prepared_scans(training_manifest, small_settings, tmp_path):
    found = read_manifest(training_manifest).rows[:1]
    settings = make_config(**small_settings).preprocessing | {"window_hu": [0, 100], "max_height_mm": 170}
    (first,) = prepare_all(found, settings, tmp_path)
    (again,) = prepare_all(found, settings | {"window_hu": (0.0, 100.0), "max_height_mm": 170.0}, tmp_path)
    (other,) = prepare_all(found, settings | {"window_hu": [0, 101]}, tmp_path)
    assert first == again != other
