"""Who trains and who validates: by patient, alike on both sides, as the table says where it says so."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib.data.manifest import Row
from ICHMultiTaskTrainingLib.data.splits import draw_folds, draw_split, split_rows


def cohort(count=41, split="", **extra):
    """Patients of whom a fifth died; the volume says nothing of the order."""
    volumes = np.random.default_rng(0).permutation(count)
    return [Row(f"p{n:02d}", None, float(volumes[n]), int(n % 5 == 0), None, split, dict(extra)) for n in range(count)]


def sorted_names(rows):
    return [row.patient_id for row in sorted(rows, key=lambda row: (row.died, row.volume_ml))]


def names(rows):
    return {row.patient_id for row in rows}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_five_alike_are_in_five_folds(seed):
    """In the order of outcome and volume, each five neighbors are spread over all folds: that is stratified."""
    rows = cohort()
    fold_of = draw_folds(rows, 5, seed)
    order = [fold_of[name] for name in sorted_names(rows)]
    for start in range(0, 40, 5):
        assert sorted(order[start : start + 5]) == [0, 1, 2, 3, 4]
    assert fold_of.keys() == names(rows)  # the last as well, alone in its stretch
    assert all(type(fold) is int for fold in fold_of.values())
    assert draw_folds(rows, 5, seed) == fold_of != draw_folds(rows, 5, seed + 1)


def test_folds_need_a_patient_each():
    assert sorted(draw_folds(cohort(5), 5, 0).values()) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="Too few patients for the folds: expected at least 5, found 4"):
        draw_folds(cohort(4), 5, 0)


@pytest.mark.parametrize(("fraction", "count"), [(0.25, 10), (0.2, 8), (0.06, 2)])
def test_validation_patients_are_one_of_each_stretch(fraction, count):
    rows = cohort(40)
    split = draw_split([*rows, *rows[:7]], fraction, 3)
    validation = names(split["validation"])
    assert len(validation) == count and names(split["train"]) == names(rows) - validation
    order = [name in validation for name in sorted_names(rows)]
    assert all(sum(block) == 1 for block in np.array_split(order, count))
    # All scans of a patient are on one side.
    assert len(split["train"]) + len(split["validation"]) == 47
    again = names(draw_split(rows, fraction, 3)["validation"])
    assert again == validation != names(draw_split(rows, fraction, 4)["validation"])


def test_one_patient_at_least_validates():
    rows = cohort(20)
    assert len(names(draw_split([*rows, *rows], 0.001, 0)["validation"])) == 1
    with pytest.raises(InputError, match="Too few scans for validation: expected at least 2, found 1"):
        draw_split(rows, 0.001, 0)


@pytest.mark.parametrize("sides", [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_patient_on_two_sides_is_named(sides):
    rows = [*cohort(4, "train"), *(Row(f"q{n}", None, 1.0, 0, None, "validation", {}) for n in range(3))]
    twice = [Row("twice", None, 1.0, 0, None, side, {}) for side in sides]
    first, second = (side.replace("train", "training") for side in sides)
    with pytest.raises(InputError, match=f"both {first} and {second}: expected each in one, found twice"):
        draw_split([*rows, *twice], 0.2, 0)


def test_one_fold_validates_and_the_others_train():
    rows = cohort(20)
    fold_of = draw_folds(rows, 4, 7)
    for fold in range(4):
        split = draw_split(rows, 0.15, 7, fold, 4)
        assert names(split["validation"]) == {name for name, n in fold_of.items() if n == fold}
        assert names(split["train"]) == {name for name, n in fold_of.items() if n != fold}
    of_five = draw_folds(rows, 5, 7)  # folds that are not counted are five
    assert names(draw_split(rows, 0.15, 7, 4)["validation"]) == {name for name, n in of_five.items() if n == 4}


def test_test_patients_are_left_out():
    rows, apart = cohort(20), [row for row in cohort(26, "test") if row.patient_id > "p19"]
    for split in (draw_split([*rows, *apart], 0.2, 0), draw_split([*rows, *apart], 0.2, 0, 1, 4)):
        assert names(split["train"]) | names(split["validation"]) == names(rows)


def test_the_column_is_followed():
    rows = [Row(f"p{n}", None, 1.0, 0, None, "validation" if n < 2 else "train", {}) for n in range(6)]
    split = draw_split(rows, 0.5, 0)
    assert names(split["validation"]) == {"p0", "p1"} and names(split["train"]) == {"p2", "p3", "p4", "p5"}
    # Named for training alone: who validates is drawn among them.
    drawn = draw_split(cohort(20, "train"), 0.2, 0)
    assert len(drawn["validation"]) == 4


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "", "validation", "validation"], "incomplete: .* found none for p1"),
        (["validation", "train", "train", "train"], "Too few scans for validation: expected at least 2, found 1"),
        (["train", "validation", "validation", "validation"], "Too few scans for train: expected at least 2, found 1"),
    ],
)
def test_a_column_that_cannot_be_followed_is_an_error(splits, message):
    rows = [Row(f"p{n}", None, 1.0, 0, None, split, {}) for n, split in enumerate(splits)]
    with pytest.raises(InputError, match=message):
        draw_split(rows, 0.5, 0)


@pytest.mark.parametrize("text", ["", "one", "-1", "1.5", "3"])
def test_fold_column_must_hold_folds(text):
    rows = [Row(f"p{n}", None, 1.0, 0, None, "", {"fold": str(n % 3)}) for n in range(9)]
    assert names(draw_split(rows, 0.2, 0, 2, 3)["validation"]) == {"p2", "p5", "p8"}
    rows[4] = Row("p4", None, 1.0, 0, None, "", {"fold": text})
    with pytest.raises(InputError, match=f"number from 0 to 2 in every row, found '{text}' for p4"):
        draw_split(rows, 0.2, 0, 2, 3)


def test_split_is_kept_for_good(tmp_path):
    rows, path = cohort(20), tmp_path / "splits.json"
    assert split_rows(rows, 0.2, 0, tmp_path / "fold.json", 4) == draw_split(rows, 0.2, 0, 4, 5)
    first = split_rows(rows, 0.2, 0, path)
    assert path.exists() and split_rows(rows, 0.4, 5, path) == first == split_rows(rows, 0.2, 0, path, 1, 4)
