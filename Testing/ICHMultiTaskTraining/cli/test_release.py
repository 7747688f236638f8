"""A release runs the steps of a recipe in turn and goes on where it was stopped."""

import re

import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.cli.steps import RECIPE, finished_steps, read_recipe, run_steps

FIRST = "train {run}/first-cohort/manifest.csv"
COHORT = "simulate --patients 2 --seed 5 --matrix 48 --slices 6 --output {run}/cohort"


@pytest.fixture
def recipe(tmp_path):
    def write(*lines):
        path = tmp_path / "recipe.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_recipe_of_the_next_model_is_one_of_valid_commands_that_share_no_seed():
    steps = read_recipe(RECIPE, cli.COMMANDS)
    assert [step.split()[0] for step in steps] == [
        *["simulate"] * 4, "train", "train", "calibrate", "evaluate", "robustness",
    ]  # fmt: skip
    seeds = [step.split("--seed ")[1].split()[0] for step in steps if "--seed" in step]
    assert len(set(seeds)) == len(seeds) == 4
    # Each step but the simulations reads what an earlier one writes.
    written = []
    for step in steps:
        words = step.split()
        read = [w for w in words if "{run}/" in w and words[words.index(w) - 1] != "--output"]
        for place in (w.split("=")[-1] for w in read):
            assert any(place.startswith(folder) for folder in written), place
        written.append(words[words.index("--output") + 1])


def test_release_goes_on_with_the_step_that_failed(tmp_path, recipe, capsys):
    bundle = tiny_bundle(tmp_path / "bundle")
    steps = recipe(
        "# comment", "", COHORT, f'average "{bundle}" "{tmp_path / "other"}" \\', "  --output {run}/averaged"
    )
    run = tmp_path / "a release"
    arguments = ["release", "--recipe", steps, "--output", run, "--processes", "1"]
    assert cli.main(arguments) == 1
    assert (run / "cohort" / "manifest.csv").is_file() and not (run / "averaged").exists()
    assert cli.main([*arguments, "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["done", "open"]
    manifest = (run / "cohort" / "manifest.csv").stat().st_mtime_ns
    tiny_bundle(tmp_path / "other")
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "Step 1 of 2" not in printed and "Step 2 of 2: average" in printed
    assert (run / "cohort" / "manifest.csv").stat().st_mtime_ns == manifest
    assert ModelBundle.load(run / "averaged").metadata["derived_from"]
    assert cli.main(arguments) == 0
    assert "Step" not in capsys.readouterr().out


def test_options_go_to_the_steps_that_have_them(tmp_path):
    seen = []

    def simulate(parser):
        parser.add_argument("--processes", type=int, default=1)
        parser.set_defaults(run=seen.append)

    def average(parser):
        parser.set_defaults(run=seen.append)

    class Commands(dict):
        def label(self, name):
            return name

    run_steps(["simulate", "average"], tmp_path, Commands(simulate=simulate, average=average), "cpu", 3)
    assert seen[0].processes == 3 and not hasattr(seen[0], "device") and not hasattr(seen[1], "processes")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["# nothing"], "has no steps"),
        (["simulat --patients 2 --output {run}/a"], "known"),
        (["simulate --patients none --output {run}/a"], "not a valid command"),
        ([COHORT, "evaluate"], "not a valid command"),
    ],
)
def test_a_typo_is_found_before_the_first_step(tmp_path, recipe, lines, words, capsys):
    assert cli.main(["release", "--recipe", recipe(*lines), "--output", tmp_path / "run"]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there(tmp_path, capsys):
    assert cli.main(["release", "--recipe", tmp_path / "none.txt", "--output", tmp_path / "run"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_another_recipe_needs_another_folder(tmp_path):
    (tmp_path / "finished.json").write_text('["simulate --patients 3"]', encoding="utf-8")
    assert finished_steps(tmp_path, ["simulate --patients 3", "train x"]) == 1
    for steps in (["simulate --patients 4"], []):
        with pytest.raises(InputError, match="belongs to another recipe"):
            finished_steps(tmp_path, steps)
    (tmp_path / "finished.json").write_text("[", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        finished_steps(tmp_path, [])


@pytest.mark.slow
def test_the_recipe_of_the_next_model_as_a_whole_in_small(tmp_path):
    """Every step with its own options, on few small scans: from nothing to a bundle with its measurements."""
    small = RECIPE.read_text(encoding="utf-8").replace("--matrix 256", "--matrix 64")
    small = re.sub(r"--patients \d000", "--patients 24", small)
    small = re.sub(r"epochs=\d+", "epochs=1", small).replace("architecture.width=24", "architecture.width=4")
    small = small.replace("validation_fraction=0.05", "validation_fraction=0.2")
    settings = "preprocessing.shape_kji=[16,32,32]", "coarse_epochs=[]", "epochs=1"
    small = small.replace(FIRST, " --set ".join([FIRST, *settings]))
    small = small.replace("robustness ", "robustness --patients 1 ")
    recipe = tmp_path / "recipe.txt"
    recipe.write_text(small, encoding="utf-8")
    assert cli.main(["release", "--recipe", recipe, "--output", tmp_path / "run", "--processes", "1"]) == 0
    bundle = ModelBundle.load(tmp_path / "run" / "model")
    assert bundle.metadata["calibration"]["scans"] == 24
    assert bundle.metadata["metrics"]["held_out"]["volume"]["mae_ml"] > 0 and bundle.metadata["metrics"]["robustness"]
