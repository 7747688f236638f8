"""`ichmultitask-train reproduce`: from scans to the page, in pieces and on several machines."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.model.networks import NETWORKS, build_network
from ICHMultiTaskTrainingLib.cli import main
from ICHMultiTaskTrainingLib.data.manifest import Row, read_manifest
from ICHMultiTaskTrainingLib.experiments import cohort as cohort_module
from ICHMultiTaskTrainingLib.experiments import reproduce as reproduce_module
from ICHMultiTaskTrainingLib.experiments.cohort import check_deaths, formula_volumes
from ICHMultiTaskTrainingLib.experiments.page import departures
from ICHMultiTaskTrainingLib.experiments.presets import PRESETS
from ICHMultiTaskTrainingLib.experiments.rows import all_rows, chosen
from ICHMultiTaskTrainingLib.experiments.store import Store
from ICHMultiTaskTrainingLib.experiments.tables import PAPER, by_patient, prognosis_table
from ICHMultiTaskTrainingLib.experiments.training import row_config
from ICHMultiTaskTrainingLib.training.config import make_config

TINY = (
    "--folds", "2", "--device", "cpu", "--set", "epochs=1", "--set", "architecture.width=2",
    "--set", "preprocessing.shape_kji=[8,32,32]",
)  # fmt: skip
TRAINED = ("ours", "single-prognosis", "single-volume")


@pytest.fixture(scope="module")
def cohort(training_manifest, tmp_path_factory):
    """Twenty heads that say that they are simulated, and what two raters read."""
    folder = tmp_path_factory.mktemp("table")
    with training_manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for n, row in enumerate(rows):
        for name in ("image", "mask"):
            row[name] = str(training_manifest.parent / row[name])
        row |= {"simulated": 1, "rater_1": float(row["volume_ml"]) + 4, "rater_2": "" if n else 3}
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def run(cohort, output, *more):
    return main(["reproduce", "--manifest", str(cohort), "--output", str(output), *TINY, *more])


@pytest.fixture(scope="module")
def done(cohort, tmp_path_factory):
    """Our network with both heads and with one, and the interpretation methods, all finished."""
    output = tmp_path_factory.mktemp("reproduction") / "out"
    only = [word for name in (*TRAINED, "interpretation") for word in ("--only", name)]
    assert run(cohort, output, *only) == 0
    return output


def results_of(output):
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def predictions(output, row):
    records = []
    for fold in (0, 1):
        with (output / "rows" / row / f"fold-{fold}" / "predictions.csv").open(newline="") as file:
            records += list(csv.DictReader(file))
    return records


def test_the_page_says_what_it_is_of_and_what_is_missing(done):
    page = (done / "report.html").read_text(encoding="utf-8")
    assert page.index("All patients here are simulated") < page.index("Table 1")
    assert "20 simulated patients" in page and PRESETS["smoke"].about in page
    results = results_of(done)
    others = set(all_rows()) - set(TRAINED)
    assert len(results["missing"]) == len(others) and all("not run" in sentence for sentence in results["missing"])
    for words in ("Table 2", "Figure 2", "Figure 3", "Figure 4", "Figure 5", "Cost of each network", "not measured"):
        assert words in page, words
    sentences = re.sub(r"<[^>]+>", " ", page[page.index("<body") :])
    assert not re.search(r"[a-z]{2}\.[A-Z][a-z]", sentences), "each sentence begins after a space"
    assert "4.91" in page and "51.92" in page and "43.00" in page and "5.66 points" in page


def test_every_patient_is_predicted_once_and_the_table_is_of_them(done):
    records = predictions(done, "ours")
    assert len({record["patient_id"] for record in records}) == len(records) == 20
    errors = [float(r["predicted_volume_ml"]) - float(r["volume_ml"]) for r in records]
    table = {row["name"]: row for row in results_of(done)["table_1"]["rows"]}
    ours = table["Ours: 3D ResNet-34, multi-task"]
    assert ours["mae_ml"] == pytest.approx(np.abs(errors).mean()) and ours["patients"] == 20
    assert table["Simulated rater 1"]["mae_ml"] == pytest.approx(4) and table["Simulated rater 2"]["patients"] == 1
    assert {"ABC/2", "2/3 Sh", "3D ResNet-34, volume alone"} <= set(table)
    assert "3D ResNet-34, prognosis alone" not in table, "its volume head was never trained"
    volumes, fold = (np.array([float(r[name]) for r in records]) for name in ("volume_ml", "fold"))
    guesses = np.array([np.median(volumes[fold != own]) for own in fold])
    assert table["The median of the other folds for everyone"]["mae_ml"] == pytest.approx(
        np.abs(guesses - volumes).mean()
    )
    ball = table["2/3 Sh"]  # which is exact on a ball
    assert abs(ball["bias_ml"]) < table["ABC/3"]["mae_ml"]


def test_the_second_table_compares_both_on_the_same_patients(done):
    table = results_of(done)["table_2"]
    assert set(table["rows"]) == {"ours", "single-prognosis"}
    auc = {name: row["metrics"]["auc"] for name, row in table["rows"].items()}
    difference = table["difference"]
    assert difference["auc"] == pytest.approx(auc["ours"] - auc["single-prognosis"])
    assert difference["delong"]["auc_difference"] == pytest.approx(difference["auc"])
    low, high = difference["intervals_95"]["auc"]
    assert low <= difference["auc"] <= high


def test_a_finished_row_keeps_only_small_files(done):
    for row in TRAINED:
        for fold in (0, 1):
            folder = done / "rows" / row / f"fold-{fold}"
            assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    assert not list((done / "runs").iterdir())
    assert {path.name for path in (done / "models").iterdir()} == set(TRAINED)
    facts = json.loads((done / "rows" / "ours" / "fold-0" / "facts.json").read_text(encoding="utf-8"))
    assert facts["cost"]["parameters"] > 0 and facts["provenance"]["code_sha256"]


def test_a_finished_row_is_not_trained_again(done, cohort, monkeypatch):
    before, left = (done / "results.json").read_text(encoding="utf-8"), done / "runs" / "ours-0"
    left.mkdir(parents=True)  # by a kill after the fold was written
    monkeypatch.setattr(reproduce_module, "train_fold", None)
    monkeypatch.setattr(reproduce_module, "compare_methods", None)
    assert run(cohort, done, "--only", "ours", "--only", "interpretation") == 0
    assert (done / "results.json").read_text(encoding="utf-8") == before and not left.exists()


def test_rows_of_several_machines_are_copied_together(done, cohort, tmp_path):
    output = tmp_path / "other"
    assert run(cohort, output, "--page-only") == 0
    assert any("single-volume): not run" in line for line in results_of(output)["missing"])
    shutil.copytree(done / "rows" / "ours" / "fold-1", output / "rows" / "ours" / "fold-1")
    assert run(cohort, output, "--page-only") == 0
    results = results_of(output)
    assert any("(ours): 1 of 2 folds" in line for line in results["missing"])
    (ours,) = [row for row in results["table_1"]["rows"] if row["name"].startswith("Ours")]
    held_out = [record for record in predictions(done, "ours") if record["fold"] == "1"]
    assert ours["patients"] == len(held_out) < 20, "what there is of a row is on the page"
    shutil.copytree(done / "rows", output / "rows", dirs_exist_ok=True)
    assert run(cohort, output, "--page-only") == 0
    assert results_of(output) == results_of(done)


def test_a_row_whose_prognosis_learned_nothing_is_named(done, cohort, tmp_path):
    output = tmp_path / "other"
    assert results_of(done)["silent_prognosis"] == []
    assert run(cohort, output, "--page-only") == 0
    shutil.copytree(done / "rows", output / "rows", dirs_exist_ok=True)
    path = output / "rows" / "ours" / "fold-1" / "predictions.csv"
    with path.open(newline="") as file:
        records = [record | {"log_odds": 0.0} for record in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)
    path.with_name(LIST_FILE).unlink()
    assert run(cohort, output, "--page-only") == 0
    assert results_of(output)["silent_prognosis"] == ["Ours: 3D ResNet-34, multi-task: 1 of 2 folds"]
    assert "Folds whose prognosis learned nothing" in (output / "report.html").read_text(encoding="utf-8")


def test_a_fold_of_other_settings_is_refused(done, cohort, tmp_path, capsys):
    output = tmp_path / "other"
    assert run(cohort, output, "--page-only", "--set", "learning_rate=0.5") == 0
    shutil.copytree(done / "rows", output / "rows", dirs_exist_ok=True)
    assert run(cohort, output, "--page-only", "--set", "learning_rate=0.5") == 1
    assert "belongs to another reproduction: expected the settings of this one, found other learning_rate" in (
        capsys.readouterr().err
    )
    assert run(cohort, output, "--page-only", "--seed", "4") == 1
    error = capsys.readouterr().err
    assert "seed 0 there and 4 here" in error and "changes" in error


def cut(path):
    """What a copy leaves that breaks off."""
    path.write_bytes(path.read_bytes()[:-40])


def without_list(path):
    """The same, by a copy without hidden files."""
    cut(path)
    path.with_name(LIST_FILE).unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, "expected predictions.csv as it was written, found another"),
        (lambda path: path.unlink(), "The table does not exist"),
        (without_list, "is damaged: expected predictions of 10 held-out scans, found"),
    ],
)
def test_a_fold_that_was_copied_in_part_is_refused(done, cohort, tmp_path, capsys, change, words):
    assert run(cohort, tmp_path, "--page-only") == 0
    shutil.copytree(done / "rows", tmp_path / "rows", dirs_exist_ok=True)
    before = (tmp_path / "results.json").read_bytes()
    change(tmp_path / "rows" / "ours" / "fold-1" / "predictions.csv")
    assert run(cohort, tmp_path, "--page-only") == 1
    assert words in capsys.readouterr().err and (tmp_path / "results.json").read_bytes() == before


def test_a_fold_in_the_place_of_another_is_refused(done, cohort, tmp_path, capsys):
    """Its patients would be predicted twice, and others never."""
    assert run(cohort, tmp_path, "--page-only") == 0
    shutil.copytree(done / "rows" / "ours" / "fold-1", tmp_path / "rows" / "ours" / "fold-0")
    assert run(cohort, tmp_path, "--page-only") == 1
    assert "expected fold 0 of the row ours, found fold 1 of ours" in capsys.readouterr().err


def test_interpretation_of_another_reproduction_is_refused(done, cohort, tmp_path, capsys):
    assert run(cohort, tmp_path, "--page-only", "--seed", "3") == 0
    shutil.copytree(done / "rows" / "interpretation", tmp_path / "rows" / "interpretation")
    assert run(cohort, tmp_path, "--page-only", "--seed", "3") == 1
    assert "interpretation belongs to another reproduction: expected the settings of this one, found other seed" in (
        capsys.readouterr().err
    )


def test_formulas_are_measured_on_each_patients_own_mask(cohort, tmp_path):
    """A hospital's masks may all be called alike, each in its patient's folder, and may be drawn anew."""
    found = read_manifest(cohort).rows[:3]
    (tmp_path / "plain").mkdir()
    expected, alike = formula_volumes(found, tmp_path / "plain"), []
    for n, row in enumerate(found):
        (tmp_path / str(n)).mkdir()
        alike.append(replace(row, mask=Path(shutil.copy(row.mask, tmp_path / str(n) / "mask.nii.gz"))))
    for _ in range(2):  # measured, and read again
        volumes = formula_volumes(alike, tmp_path)
        assert len(set(volumes["ABC/2"])) == 3
        for name, values in expected.items():
            np.testing.assert_array_equal(volumes[name], values)
    shutil.copy(found[2].mask, alike[0].mask)
    assert formula_volumes(alike, tmp_path)["ABC/2"][0] == expected["ABC/2"][2]


def test_a_fold_of_an_earlier_version_had_the_defaults_of_later_settings(done, tmp_path):
    shutil.copytree(done / "rows", tmp_path / "rows")
    store = Store(tmp_path)
    facts = store.place("ours", 0) / "facts.json"
    facts.with_name(LIST_FILE).unlink()
    found = json.loads(facts.read_text(encoding="utf-8"))
    settings = dict(found["settings"])
    for name in ("mix_with_start", "rotation_deg"):
        del found["settings"][name]
    facts.write_text(json.dumps(found | {"settings": found["settings"] | {"turn_deg": settings["rotation_deg"]}}))
    assert store.read("ours", 0, settings) is not None
    with pytest.raises(InputError, match="found other mix_with_start"):
        store.read("ours", 0, settings | {"mix_with_start": True})


def test_a_row_that_cannot_be_trained_keeps_no_other_from_it(done, cohort, tmp_path, monkeypatch, capsys):
    output, tried = tmp_path / "other", []

    def train(store, row, fold, *others):
        tried.append((row.name, fold))
        if row.name == "ours":
            raise InputError("The network is too large for the memory.")
        shutil.copytree(done / "rows" / row.name / f"fold-{fold}", store.place(row.name, fold))

    monkeypatch.setattr(reproduce_module, "train_fold", train)
    assert run(cohort, output, "--only", "ours", "--only", "single-volume") == 1
    assert tried == [("ours", 0), ("single-volume", 0), ("single-volume", 1)]
    assert "Rows were not trained: ours (The network is too large for the memory.)" in capsys.readouterr().err
    names = [row["name"] for row in results_of(output)["table_1"]["rows"]]
    assert "3D ResNet-34, volume alone" in names and "Ours: 3D ResNet-34, multi-task" not in names


def test_patients_are_simulated_or_read(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path / "out", "--patients", "9") == 1
    assert "expected --patients or --manifest" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--folds", "1"), "too few folds: expected at least 2, found 1"),
        (("--fold", "2"), "fold is out of range: expected 0 to 1, found 2"),
        (("--set", "seed=4"), "The setting seed is not set for all rows: expected --seed"),
        (("--set", "architecture.network=x3d"), "expected --only with the name of the network"),
        (("--set", "epoch=4"), "Settings are unknown"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_before_anything_is_written(cohort, tmp_path, capsys, arguments, words):
    assert run(cohort, tmp_path / "out", *arguments) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_fold_column_that_cannot_be_followed_is_refused_before_any_training(cohort, tmp_path, capsys):
    lines = cohort.read_text(encoding="utf-8").splitlines()
    table = cohort.with_name("folds.csv")
    table.write_text("\n".join([f"{lines[0]},fold", *(f"{line},{n % 3}" for n, line in enumerate(lines[1:]))]) + "\n")
    assert run(table, tmp_path / "out") == 1
    assert "fold column is unusable: expected a number from 0 to 1 in every row, found '2'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_departures_from_the_paper_are_named_with_what_it_has():
    assert departures(make_config("paper")) == []
    changed = {"epochs": 2, "preprocessing.slice_sampling": "spline"}
    found = departures(make_config("paper", **changed))
    assert found == ["preprocessing.slice_sampling: spline in place of linear", "epochs: 2 in place of 300"]
    assert departures(make_config("paper", **{"preprocessing.slice_sampling": "linear"})) == []


def test_unknown_rows_list_the_known_ones(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path / "out", "--only", "resnet9000") == 1
    error = capsys.readouterr().err
    assert "expected some of ours, single-prognosis, single-volume" in error and "found resnet9000" in error
    assert not (tmp_path / "out").exists()


def test_every_network_of_the_registry_is_a_row_and_time_goes_to_ours_first():
    assert chosen(None)[:3] == list(TRAINED) and chosen(None)[-1] == "interpretation"
    assert {row.network for row in all_rows().values()} == set(NETWORKS) - {"ensemble"}
    assert chosen(["interpretation", "ours"]) == ["ours", "interpretation"]


def test_the_paper_preset_has_the_papers_settings():
    config = make_config("paper", **all_rows()["ours"].settings(PRESETS["paper"].changes))
    assert config == make_config("paper")
    assert PRESETS["paper"].patients == PRESETS["cpu"].patients == 258


@pytest.mark.parametrize("patients, deaths", [(258, 31), (24, 3), (516, 62)])
def test_the_simulated_cohort_has_the_papers_share_of_deaths(patients, deaths, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(cohort_module, "write_cohort", lambda *values, **options: asked.update(options))
    monkeypatch.setattr(cohort_module, "read_manifest", lambda path: None)
    cohort_module.the_manifest(tmp_path, replace(PRESETS["paper"], patients=patients), 0)
    assert asked["deaths"] == deaths


def test_networks_of_the_cpu_preset_have_a_quarter_of_their_width():
    rows, preset = all_rows(), PRESETS["cpu"]
    widths = {name: row.settings({}, preset.width_share)["architecture.width"] for name, row in rows.items()}
    assert widths | {"x3d": 6, "timesformer": 192} == widths and widths["ours"] == widths["tsm50"] == 16
    assert rows["x3d"].settings({"architecture.width": 12}, preset.width_share)["architecture.width"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_takes_the_grid_and_width_of_every_preset(preset):
    """Shapes alone: nothing is computed on the meta device."""
    for row in all_rows().values():
        config = row_config(row, PRESETS[preset].changes, 0, 2, 0, PRESETS[preset].width_share)
        with torch.device("meta"):
            volume, _ = build_network(config.bundle_architecture())(
                torch.empty(2, 1, *config.preprocessing["shape_kji"])
            )
        assert volume.shape == (2,), row.name


@pytest.mark.parametrize("died, words", [(3, "Too few deaths for 5 folds"), (38, "Too few survivors for 5 folds")])
def test_too_few_deaths_say_how_many_are_needed(tmp_path, died, words):
    rows = [Row(str(n), tmp_path, 10.0, int(n < died), None, "", {}) for n in range(40)]
    with pytest.raises(InputError, match=f"{words}: expected at least 5 patients.*found {min(died, 40 - died)}"):
        check_deaths(rows, 5)
    check_deaths(rows, 2)
    held_back = [replace(row, split="test") for row in rows]
    with pytest.raises(InputError, match="found 0 .40 rows of the split test are not used"):
        check_deaths(held_back, 2)


def test_rows_of_one_patient_keep_their_order(tmp_path):
    rows = [Row(name, tmp_path, 1.0, 0, None, "", {}) for name in ("a", "b", "a", "c")]

    class Found:
        records = [{"patient_id": name, "x": x} for name, x in (("a", 1.0), ("a", 2.0), ("b", None))]

    np.testing.assert_array_equal(by_patient(rows, [Found], "x"), [1.0, np.nan, 2.0, np.nan])


def test_the_differences_are_those_of_the_metrics(tmp_path):
    rng = np.random.default_rng(1)
    died = rng.integers(0, 2, 60)
    rows = [Row(str(n), tmp_path, 10.0, int(d), None, "", {}) for n, d in enumerate(died)]
    odds = {name: rng.normal(0, 1, 60) + died for name in ("ours", "single-prognosis")}
    table = prognosis_table(rows, odds)
    one, other = (table["rows"][name]["metrics"] for name in odds)
    for name in ("auc", "accuracy", "sensitivity", "specificity", "auprc", "brier"):
        assert table["difference"][name] == pytest.approx(one[name] - other[name])
    assert set(PAPER) >= {"auc", "accuracy"}
