"""The ichmultitask command as a process: what it prints, writes and leaves behind."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.cli import analyze as analyze_command
from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.model.bundle import WEIGHTS, save_bundle
from ICHMultiTaskLib.model.networks import resnet as network
from ICHMultiTaskLib.model.preprocessing import PRESETS
from ICHMultiTaskLib.report.result import write_nrrd

REPOSITORY = Path(__file__).parents[3]
BLEED_ML = 4 / 3 * np.pi * 2.0**3
TO_RAS = np.array([[-1.8, 0, 0, 115], [0, -1.8, 0, 115], [0, 0, 5, -75], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A tiny network with random weights and a volume of about 27 mL."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(1)
    architecture = {"width": 2, "stem_stride": [2, 4, 4], "stage_strides": [1, 2, 2, 1], "final_relu": False}
    tiny = network.MultiTaskResNet(**architecture)
    tiny.volume_head.dense.weight.data.mul_(1e-3)
    tiny.volume_head.dense.bias.data.fill_(3.0)
    save_bundle(folder, tiny.state_dict(), {
        "name": "tiny", "version": "0.0.1", "license": "Apache-2.0", "intended_use": "Tests.",
        "training_data": "Random weights; no scans.", "architecture": architecture,
        "preprocessing": PRESETS["default"].as_dict(), "target": "cube_root_ml",

        "calibration": {"volume_interval": {"coverage": 0.8, "strata": [{"up_to_ml": None, "half_width_cm": 0.3}]}},
        "metrics": {},
    }, "# Tiny\n")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A head of ellipsoids with a round bleed, as NRRD."""
    k, j, i = np.indices((30, 128, 128))
    x, y, z = np.moveaxis(np.stack([i, j, k], axis=-1) @ TO_RAS[:3, :3].T + TO_RAS[:3, 3], -1, 0)
    radius = np.sqrt((x / 70) ** 2 + (y / 90) ** 2 + (z / 72) ** 2)
    hu = np.select([radius < 0.88, radius < 0.95, radius < 1.0], [34, 1100, 20], -1000)
    hu[np.sqrt((x - 25) ** 2 + y**2 + (z - 5) ** 2) < 20] = 65
    hu = (hu + np.random.default_rng(0).normal(0, 4, hu.shape)).astype(np.int16)
    path = tmp_path_factory.mktemp("scan") / "head.nrrd"
    write_nrrd(hu, TO_RAS, path)
    return path


def command(*arguments):
    return [sys.executable, "-m", "ICHMultiTaskLib.cli", *map(str, arguments)]


def environment():
    paths = [str(REPOSITORY / "ICHMultiTask"), str(REPOSITORY / "ICHMultiTaskTraining")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


def run(*arguments, cwd, **options):
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(), capture_output=True, encoding="utf-8", timeout=300, **options
    )


def assert_refused(result, words, folder, kept=()):
    """One sentence on standard error, exit status 1, and nothing new in the folder."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    steps = re.compile(".* …$")
    sentences = [line for line in result.stderr.splitlines() if line and not steps.match(line)]
    assert len(sentences) == 1 and re.search(words, sentences[0]), result.stderr
    assert result.stdout == ""
    assert sorted(p.name for p in folder.iterdir()) == sorted(kept)


def run_here(capfd, *arguments):
    """As `run`, what libraries print included, without the seconds that a new process takes to import them."""
    status = cli.main([str(argument) for argument in arguments])
    shown = capfd.readouterr()
    return subprocess.CompletedProcess(arguments, status, shown.out, shown.err)


def run_analyze(capfd, scan, bundle, folder, *options):
    done = run_here(capfd, "analyze", scan, "--model", bundle, "--output", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


def test_scan_file_to_result_folder(scan, bundle, tmp_path):
    pytest.importorskip("slicer", reason="needs slicer-core")
    kind = ("--stage", "stage3", "--method", "layercam")
    result = run("analyze", scan, "--model", bundle, "--output", "deep/result", "--device", "cpu", *kind, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "deep" / "result"
    written = {"report.html", "report.json", "attention.nrrd", "scene.mrb", "slices", LIST_FILE}
    assert {p.name for p in folder.iterdir()} == written
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["result"]
    assert len(list((folder / "slices").glob("*.png"))) >= 3
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["scan"]["path"] == str(scan)
    assert report["attention"]["stage"] == "stage3" and report["attention"]["method"] == "layercam"
    assert report["model"]["training_data"] == "Random weights; no scans."
    for words in (f"{report['volume_ml']:.1f} mL", "80 % interval", "Prognosis", "Random weights; no scans.",
                  "Research use only", str((folder / "report.html").resolve())):  # fmt: skip
        assert words in result.stdout
    assert "Analyzing …" in result.stderr
    image = SimpleITK.ReadImage(str(folder / "attention.nrrd"))
    source = SimpleITK.ReadImage(str(scan))
    assert image.GetSize() == source.GetSize()
    np.testing.assert_allclose(image.GetOrigin(), source.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(image.GetDirection(), source.GetDirection(), atol=1e-9)


def test_quick_result_has_the_same_numbers_without_pictures_and_scene(scan, bundle, tmp_path, capfd):
    pytest.importorskip("slicer", reason="needs slicer-core")
    whole = json.loads((run_analyze(capfd, scan, bundle, tmp_path / "whole") / "report.json").read_text())
    folder = run_analyze(capfd, scan, bundle, tmp_path / "quick", "--quick")
    assert {path.name for path in folder.iterdir()} == {"report.json", "attention.nrrd", LIST_FILE}
    quick = json.loads((folder / "report.json").read_text())
    changing = ("timing_s", "provenance")
    assert {k: v for k, v in quick.items() if k not in changing} == {
        k: v for k, v in whole.items() if k not in changing
    }
    maps = [
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / name / "attention.nrrd"))
        for name in ("whole", "quick")
    ]
    np.testing.assert_array_equal(*maps)


def run_without(module, *arguments):
    """The command in a process that cannot import a module."""
    code = f"import sys; sys.modules[{module!r}] = None; from ICHMultiTaskLib.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def test_quick_result_needs_no_slicer(scan, bundle, tmp_path):
    result = tmp_path / "result"
    done = run_without("slicer", "analyze", scan, "--model", bundle, "--output", result, "--quick")
    assert str(result / "report.json") in done.stdout and "scene.mrb" not in done.stdout
    # PyTorch is installed, but was not loaded for a single scan.
    assert "torch" not in json.loads((result / "report.json").read_text())["provenance"]["libraries"]


def test_quick_result_without_pytorch_has_the_same_numbers(scan, bundle, tmp_path, capfd):
    """By ONNX Runtime, which is chosen, in a process that cannot import PyTorch."""
    folder = run_analyze(capfd, scan, bundle, tmp_path / "torch", "--quick", "--runtime", "torch")
    arguments = ["analyze", scan, "--model", bundle, "--output", tmp_path / "onnx", "--quick"]
    run_without("torch", *arguments)
    expected, found = (json.loads((path / "report.json").read_text()) for path in (folder, tmp_path / "onnx"))
    assert "torch" not in found["provenance"]["libraries"] and found["provenance"]["libraries"]["onnxruntime"]
    assert found["volume_ml"] == pytest.approx(expected["volume_ml"], abs=0.05)
    assert found["volume_interval_ml"] == pytest.approx(expected["volume_interval_ml"], abs=0.05)
    assert found["mortality_probability"] == pytest.approx(expected["mortality_probability"], abs=0.01)
    assert found["mortality_range"] == pytest.approx(expected["mortality_range"], abs=0.01)
    assert found["hemorrhage"] == expected["hemorrhage"]
    assert found["attention"]["peak_ras_mm"] == pytest.approx(expected["attention"]["peak_ras_mm"], abs=2.0)


def test_without_a_scan_one_is_simulated_as_dicom_and_analyzed(bundle, tmp_path, monkeypatch, capfd):
    pytest.importorskip("slicer", reason="needs slicer-core")
    monkeypatch.chdir(tmp_path)
    result = run_here(capfd, "analyze", "--model", bundle)
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / "ichmultitask-output").iterdir()
    assert folder.name.startswith("simulated-")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert Path(report["scan"]["path"]) == (folder / "simulated-dicom").resolve()
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(report["scan"]["path"], report["scan"]["series_uid"])
    assert len(files) == report["scan"]["shape_kji"][0]
    assert "simulated scan, no patient" in (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"the simulated hematoma has \d+\.\d mL", result.stdout)


def test_unusable_scans_are_refused_in_one_sentence(scan, bundle, tmp_path, monkeypatch, capfd):
    inputs = tmp_path / "inputs"
    (inputs / "empty").mkdir(parents=True)
    (inputs / "cut.nrrd").write_bytes(scan.read_bytes()[:5000])
    (inputs / "text.dcm").write_text("not a scan")
    write_nrrd(np.zeros((1, 64, 64), np.int16), TO_RAS, inputs / "single.nrrd")
    write_nrrd(np.full((20, 64, 64), -1000, np.int16), TO_RAS, inputs / "air.nrrd")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, words in (
        ("missing", "missing does not exist; expected a folder"),
        ("empty", "empty holds no DICOM image"),
        ("cut.nrrd", r"cut\.nrrd"),
        ("text.dcm", r"text\.dcm"),
        ("single.nrrd", "slice"),
        ("air.nrrd", "."),
    ):
        result = run_here(capfd, "analyze", inputs / name, "--model", bundle, "--output", "result")
        assert_refused(result, words, work)


def test_unusable_models_and_folders_are_refused_before_the_scan_is_read(scan, bundle, tmp_path, monkeypatch, capfd):
    result = run("analyze", scan, "--model", tmp_path / "none", "--output", "result", cwd=tmp_path)
    assert_refused(result, r"none is not a model bundle: expected configs/metadata\.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    altered = tmp_path / "altered"
    for source in (p for p in bundle.rglob("*") if p.is_file()):
        target = altered / source.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (altered / WEIGHTS).write_bytes(b"x" + (altered / WEIGHTS).read_bytes())
    result = run_here(capfd, "analyze", "missing", "--model", altered, "--output", "result")
    assert_refused(result, "altered or cut off: expected SHA-256", tmp_path, ["altered"])
    result = run_here(capfd, "analyze", "missing", "--model", bundle, "--output", altered)
    assert_refused(result, "is not empty; expected a new or an empty folder", tmp_path, ["altered"])
    result = run_here(capfd, "analyze", "missing", "--model", bundle, "--output", scan / "below")
    assert_refused(result, "below could not be written", tmp_path, ["altered"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_full_disk_leaves_nothing_behind(scan, bundle, tmp_path):
    pytest.importorskip("slicer", reason="needs slicer-core")
    import resource

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    result = run("analyze", scan, "--model", bundle, "--output", "r", cwd=tmp_path, preexec_fn=small_files)
    assert_refused(result, "^The disk is full: .*could not be written", tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to a process")
@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_interruption_leaves_nothing_behind(scan, bundle, tmp_path, sent):
    process = subprocess.Popen(
        command("analyze", scan, "--model", bundle, "--output", "result"), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        # A background job of a shell inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr.readline() == "Reading the scan …\n"
    process.send_signal(getattr(signal, sent))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and output == ""
    assert errors.splitlines()[-1] == "Canceled; nothing was written." and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "the following arguments are required: COMMAND"),
        (["analyze", "--device", "tpu"], "invalid choice: 'tpu'"),
        (["analyze", "a", "b"], "unrecognized arguments: b"),
        (["analyze", ""], "an argument is empty"),
        (["analyze", "a", "--output="], "an argument is empty"),
        (["analyze", "--list-series"], "--series and --list-series need the PATH"),
    ],
)
def test_wrong_usage_is_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "error, words",
    [
        (InputError("Wrong: expected a, found b."), "Wrong: expected a, found b."),
        (Canceled(), "Canceled; nothing was written."),
        (MemoryError(), "There is not enough memory"),
        (RuntimeError("CUDA out of memory.\nmore lines"), "There is not enough memory; close other programs"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "The disk is full: /tmp/x could not be written"),
        (OSError(errno.EIO, "Input/output error", "/cd/1.dcm"), "/cd/1.dcm cannot be read: Input/output error."),
        (ModuleNotFoundError("No module named 'x'", name="x"), "The package x is not installed"),
    ],
)
def test_every_expected_error_is_one_sentence(monkeypatch, capsys, error, words):
    monkeypatch.setattr(analyze_command, "_analyze", lambda options: (_ for _ in ()).throw(error))
    assert cli.main(["analyze"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(words) and shown.err.count("\n") == 1 and shown.out == ""


def test_errors_of_the_program_itself_are_not_hidden(monkeypatch):
    error = RuntimeError("shapes differ")
    monkeypatch.setattr(analyze_command, "_analyze", lambda options: (_ for _ in ()).throw(error))
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main(["analyze"])


def test_help_of_the_command_is_complete(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["analyze", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("PATH", "--output", "--model", "--device", "--series", "--list-series", "Exit status: 0 done"):
        assert option in shown


@pytest.mark.parametrize(
    "path, name", [("/data/Case 7 (a).nii.gz", "Case-7-a"), ("scan.nrrd", "scan"), ("/", "scan"), (None, "simulated")]
)
def test_default_output_is_new_and_named_after_the_scan(tmp_path, monkeypatch, path, name):
    monkeypatch.chdir(tmp_path)
    first = analyze_command._default_output(path)
    assert re.fullmatch(rf"{name}-\d{{8}}-\d{{6}}", first.name) and first.parent == Path("ichmultitask-output")
    first.mkdir(parents=True)
    assert not analyze_command._default_output(path).exists()
