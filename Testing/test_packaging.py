"""What is installed, what is imported when, and how a bare clone starts."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import ICHMultiTaskLib

REPOSITORY = Path(__file__).parents[1]
LIBRARIES = {"ICHMultiTaskLib": "ICHMultiTask", "ICHMultiTaskTrainingLib": "ICHMultiTaskTraining"}
PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture
def run_py(tmp_path, monkeypatch):
    """run.py as a module, in an empty folder of its own whose path has a space."""
    root = tmp_path / "a clone"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "run.py"):
        (root / name).write_bytes((REPOSITORY / name).read_bytes())
    module = types.ModuleType("run_py")
    module.__file__ = str(root / "run.py")
    exec(compile((root / "run.py").read_text(encoding="utf-8"), module.__file__, "exec"), module.__dict__)
    return module


def python(code):
    paths = os.pathsep.join(str(REPOSITORY / folder) for folder in LIBRARIES.values())
    environment = {**os.environ, "PYTHONPATH": paths}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_source_is_lint_free():
    pytest.importorskip("ruff")
    found = subprocess.run([sys.executable, "-m", "ruff", "check"], cwd=REPOSITORY, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_version_is_the_same_everywhere():
    assert re.search(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)[1] == ICHMultiTaskLib.__version__


def test_importing_the_library_loads_neither_pytorch_nor_slicer():
    code = "import sys, ICHMultiTaskLib, ICHMultiTaskLib.cli; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    assert not {"torch", "slicer", "vtk", "vtkmodules", "SimpleITK", "numpy"} & set(re.findall(r"\w+", python(code)))


def test_simulation_needs_only_what_slicer_ships():
    absent = ("threadpoolctl", "sklearn", "torch", "tqdm", "matplotlib")
    code = f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
    code += "from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient\n"
    code += "print(simulate_patient(1, SimulationSettings(matrix=32, slices=2)).head_ct.hu.shape)"
    assert python(code).strip() == "(2, 32, 32)"


def test_the_science_never_imports_slicer():
    modules = [
        ".".join(path.relative_to(REPOSITORY / folder).with_suffix("").parts)
        for library, folder in LIBRARIES.items()
        for path in (REPOSITORY / folder / library).rglob("*.py")
        if not {"mrml", "panel"} & set(path.parts) and path.stem != "__main__"
    ]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
    code += "print([m for m in sys.modules if m.partition('.')[0] in ('slicer', 'vtk', 'vtkmodules', 'qt', 'monai')])"
    assert python(code).strip() == "[]"


def test_every_room_says_what_it_is_for():
    folders = {path.parent for top, folder in LIBRARIES.items() for path in (REPOSITORY / folder / top).rglob("*.py")}
    for folder in folders:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), f"{folder} needs an __init__.py that says what the room is for"


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        ([], 2, "Expected a command, analyze or test; found none"),
        (["analyse"], 2, "found 'analyse'"),
        (["--help"], 0, "python3 run.py test"),
    ],
)
def test_run_py_says_what_it_expects(run_py, capsys, arguments, status, words):
    assert run_py.main(arguments) == status
    assert words in "".join(capsys.readouterr())
    assert not run_py.ENVIRONMENT.exists()


@pytest.fixture
def installed(run_py, monkeypatch):
    """Replace what takes minutes by records of what would run."""
    calls = []

    def fake_run(command, failure):
        calls.append([str(part) for part in command])
        if "venv" in command:
            run_py.environment_python().parent.mkdir(parents=True)
            run_py.environment_python().touch()

    monkeypatch.setattr(run_py, "run_quietly", fake_run)
    monkeypatch.setattr(run_py, "start", lambda command, arguments: calls.append([command, *arguments]) or 7)
    return calls


def test_run_py_installs_once_and_passes_arguments_and_status_through(run_py, installed):
    assert run_py.main(["analyze", "scan folder", "--device", "cpu"]) == 7
    assert [call[-1] for call in installed] == [str(run_py.ENVIRONMENT), ".", "cpu"]
    del installed[:]
    assert run_py.main(["analyze"]) == 7
    assert installed == [["analyze"]]


def test_run_py_adds_the_test_packages_without_starting_over(run_py, installed):
    run_py.main(["analyze"])
    del installed[:]
    run_py.main(["test", "-k", "bundle"])
    assert [call[-2:] for call in installed] == [["-e", ".[test]"], ["monai", "pytorchvideo"], ["-k", "bundle"]]
    assert "--no-deps" not in installed[0] and "--no-deps" in installed[1]
    del installed[:]
    run_py.main(["analyze"])
    assert installed == [["analyze"]]


def test_run_py_installs_again_when_requirements_change(run_py, installed):
    run_py.main(["analyze"])
    (run_py.ROOT / "constraints.txt").write_text("torch==3.0\n")
    del installed[:]
    run_py.main(["analyze"])
    assert [call[-1] for call in installed] == [".", "analyze"]  # into the environment at hand


@pytest.mark.parametrize("stop", [KeyboardInterrupt, "Failure", OSError(28, "No space left on device")])
def test_run_py_starts_over_after_a_first_run_that_was_stopped(run_py, installed, monkeypatch, capsys, stop):
    error = run_py.Failure("No network.") if stop == "Failure" else stop
    with monkeypatch.context() as patch:
        patch.setattr(run_py, "install", lambda requirements: (_ for _ in ()).throw(error))
        assert run_py.main(["analyze"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not run_py.ENVIRONMENT.exists()
    assert run_py.main(["analyze"]) == 7


def test_run_py_replaces_a_half_made_environment(run_py, installed):
    run_py.ENVIRONMENT.mkdir()
    (run_py.ENVIRONMENT / run_py.OURS).touch()
    (run_py.ENVIRONMENT / "pyvenv.cfg").touch()
    assert run_py.main(["analyze"]) == 7
    assert not (run_py.ENVIRONMENT / "pyvenv.cfg").exists()


def test_run_py_leaves_an_environment_of_the_user_alone(run_py, installed, capsys):
    run_py.environment_python().parent.mkdir(parents=True)
    run_py.environment_python().touch()
    assert run_py.main(["analyze"]) == 1
    assert "was not made by run.py; rename or remove it" in capsys.readouterr().err
    assert installed == [] and run_py.environment_python().exists()


def test_run_py_says_why_an_installation_failed(run_py):
    code = "print('Collecting torch'); print('ERROR: No matching distribution found for torch==9'); raise SystemExit(1)"
    with pytest.raises(run_py.Failure, match=r"^It failed: No matching distribution found for torch==9\.$"):
        run_py.run_quietly([sys.executable, "-c", code], "It failed")
    assert "the disk of" in run_py.reason(["ERROR: [Errno 28] No space left on device"])
    assert "needs a network" in run_py.reason(["NewConnectionError('…')", "ERROR: No matching distribution found"])
