"""The measures of interpretation methods: maps that are right, wrong or nothing, on a network that sees the blood."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.attention import METHODS
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskTrainingLib.cli import main
from ICHMultiTaskTrainingLib.data.manifest import Row, read_manifest
from ICHMultiTaskTrainingLib.experiments import interpretation
from ICHMultiTaskTrainingLib.experiments.interpretation import chosen_rows, compare_methods, on_input_grid

SIGHT = "cam", "saliency", "lrp"
"""Of each way of working one, and quick."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["preprocessing"] = {
        "window_hu": [0, 100],
        "shape_kji": [16, 32, 32],
        "average": True,
        "max_height_mm": None,
    }
    path.write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def case(bundle, training_manifest, monkeypatch):
    """A scan, read by a network that counts the voxels that are as bright as blood."""
    row = max(read_manifest(training_manifest).rows, key=lambda row: row.volume_ml)
    found = interpretation._Case(row, Analyzer(bundle, "cpu"), "stage4")
    monkeypatch.setattr(interpretation._Case, "_volumes", lambda self, images: (images > 0.5).sum((1, 2, 3)) * 1.0)
    found.volume_ml = found._volumes(found.image[None])[0]
    return found


def test_a_map_that_is_the_hematoma_is_best_and_its_opposite_worst(case):
    blood = np.where(case.mask > 0.5, case.image, 0)
    right, wrong = case.measures(blood, blood), case.measures(case.head - blood / 2, blood)
    assert right["peak_inside"] == 1 and wrong["peak_inside"] == 0
    assert right["share_inside"] > 0.9 and wrong["share_inside"] < 0.3, "voxels of its rim are blood in part"
    assert right["deletion"] < wrong["deletion"] and right["insertion"] > wrong["insertion"]
    for curve, (start, end) in (("deletion_curve", (1, 0)), ("insertion_curve", (0, 1))):
        assert right[curve][0] == pytest.approx(start, abs=0.02) and right[curve][-1] == pytest.approx(end, abs=0.02)
    assert right["sanity"] == pytest.approx(1) and wrong["sanity"] < 0


def test_a_blank_map_points_nowhere(case):
    found = case.measures(np.zeros_like(case.image), case.image)
    assert found["peak_inside"] == 0 and found["share_inside"] == 0 and found["sanity"] == 0


def test_a_map_of_a_stage_is_spread_as_over_a_scan():
    grid = np.zeros((4, 8, 8), np.float32)
    grid[2, 5, 3] = 1
    found = on_input_grid(grid, (8, 32, 32), (2, 4, 4))
    assert found.shape == (8, 32, 32)
    assert np.unravel_index(found.argmax(), found.shape) == (4, 20, 12)


def test_every_measure_of_a_real_network(bundle, training_manifest):
    rows = read_manifest(training_manifest).rows
    measured, example = compare_methods(Analyzer(bundle, "cpu"), rows, SIGHT, patients=3)
    assert measured["patients"] == 3 and list(measured["methods"]) == list(SIGHT)
    assert 0.01 < measured["share_of_hematoma"] < 0.3
    for row in measured["methods"].values():
        assert 0 <= row["share_inside"] <= 1 and -1 <= row["sanity"] <= 1 and row["seconds"] > 0
    assert example["maps"]["lrp"].shape == example["mask"].shape == example["image"].shape == (16, 32, 32)
    again, _ = compare_methods(Analyzer(bundle, "cpu"), rows, SIGHT, patients=3)
    assert [row | {"seconds": 0} for row in again["methods"].values()] == [
        row | {"seconds": 0} for row in measured["methods"].values()
    ]


def test_scans_are_taken_evenly_and_the_middle_one_first(tmp_path):
    rows = [Row(str(n), tmp_path, float(n), 0, tmp_path, "", {}) for n in range(40)]
    found = [row.volume_ml for row in chosen_rows(rows, 5)]
    assert len(found) == 5 and min(found) >= 5 and 20 <= found[0] <= 24
    assert len(chosen_rows(rows[:6], 5)) == 1
    without = [Row(str(n), tmp_path, 30.0, 0, None, "", {}) for n in range(3)]
    with pytest.raises(InputError, match="expected rows with a mask and a volume_ml of at least 5, found none of 3"):
        chosen_rows(without, 5)


def test_a_model_of_the_prognosis_alone_is_refused(bundle, training_manifest):
    analyzer = Analyzer(bundle, "cpu")
    analyzer.bundle.metadata["training"] = {"config": {"tasks": "prognosis"}}
    with pytest.raises(InputError, match="expected a model that reads it, found prognosis alone"):
        compare_methods(analyzer, read_manifest(training_manifest).rows, SIGHT)


def test_the_command_leaves_a_report(bundle, training_manifest, tmp_path, capsys):
    arguments = ["interpret", training_manifest, "--output", tmp_path / "out", "--model", bundle, "--patients", "1"]
    arguments += ["--stage", "stage3"]
    arguments += [word for method in (*SIGHT, "hirescam") for word in ("--method", method)]
    assert main([str(argument) for argument in arguments]) == 0
    assert "Layer-wise relevance propagation" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(METHODS.label(method) in page for method in SIGHT)
    assert page.count("data:image/png") == 2 and "Deletion and insertion" in page
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert measured["model"]["name"] == "tiny" and not measured["simulated"]
    assert measured["methods"]["hirescam"]["stage"] == "stage3" and measured["methods"]["cam"]["stage"] == "stage4"
    size = sitk.ReadImage(str(tmp_path / "out" / "attention.png")).GetSize()
    assert size[0] > 300 and size[1] > 300
