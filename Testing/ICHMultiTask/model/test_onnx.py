"""ONNX Runtime gives what PyTorch gives, from the same bundles and without PyTorch."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.attention import attention_grid
from ICHMultiTaskLib.common.errors import BundleError, DependencyError, InputError
from ICHMultiTaskLib.model import runners
from ICHMultiTaskLib.model.attention import LOCATOR, WITHOUT_PYTORCH
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle, save_bundle
from ICHMultiTaskLib.model.clinical import ClinicalInputs
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.resnet_onnx import ResNetOnnx
from ICHMultiTaskLib.model.onnx_runner import thread_count
from ICHMultiTaskLib.model.preprocessing import PreprocessingSettings, prepare
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle

DENSE = {"width": 4, "stem_stride": [1, 4, 4], "stage_strides": [1, 2, [1, 2, 2], 2], "dense_from": "stage3"}
ARCHITECTURES = {
    "tiny": {"width": 4, "stem_stride": [2, 4, 4], "stage_strides": [1, 2, 2, 1], "final_relu": False},
    "dilated": DENSE | {"final_relu": False},
    "relu before the softmax": DENSE | {"final_relu": True},
    "resnet18": {"network": "resnet18", "width": 4, "stem_stride": [2, 4, 4], "final_relu": False},
    "odd sizes": {"width": 4, "stem_stride": [2, 4, 4], "stage_strides": [1, 1, 2, [1, 2, 2]], "final_relu": False},
    "resnet50": {"network": "resnet50", "final_relu": False} | DENSE,
    "clinical": DENSE | {"final_relu": False, "clinical": 4},
}
MAPS = [("cam", "stage4"), *itertools.product(("gradcam", "hirescam", "gradcam++", "layercam"), WITHOUT_PYTORCH)]
SMALL = {"shape_kji": [16, 48, 48]}


def bundle_of(folder, architecture, weights="half"):
    """A bundle with random weights and norms that, unlike new ones, do something."""
    torch.manual_seed(3)
    network = build_network(architecture)
    state = network.state_dict()
    for name, values in state.items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            state[name] = values + 0.5 * torch.rand_like(values)
        elif name.endswith(("running_mean", ".bias", "clinical.dense.weight")):
            state[name] = 0.3 * torch.randn_like(values)
    start = ModelBundle.load(tiny_bundle(folder.with_name(f"{folder.name}-start")))
    metadata = start.metadata | {"architecture": architecture}
    if "clinical" in architecture:
        patients = {"a": {"age": 60, "gcs": 15}, "b": {"age": 80, "gcs": 7}}
        metadata["clinical"] = ClinicalInputs.fit(["age", "gcs"], patients).metadata()
    metadata = {key: value for key, value in metadata.items() if key != "sha256"} | {"preprocessing": SMALL}
    return save_bundle(folder, state, metadata, "card", weights=weights)


@pytest.fixture(scope="module")
def network_input():
    return prepare(phantom(), PreprocessingSettings(**SMALL))


@pytest.mark.parametrize("name, weights", [*((name, "half") for name in ARCHITECTURES), ("dilated", "int8")])
def test_outputs_and_maps_are_those_of_pytorch(name, weights, network_input, tmp_path):
    bundle = bundle_of(tmp_path / "bundle", ARCHITECTURES[name], weights)
    known = {"age": 74, "gcs": 11}
    torch_, onnx = (
        Analyzer(bundle, "cpu", library).predict(network_input, clinical=known) for library in ("torch", "onnx")
    )
    assert onnx.output == pytest.approx(torch_.output, rel=1e-4, abs=1e-4)
    assert onnx.log_odds == pytest.approx(torch_.log_odds, rel=1e-4, abs=1e-4)
    for head in ("volume", "prognosis"):
        for method, stage in MAPS:
            expected, *placed = attention_grid(torch_, head, stage, method)
            found, *same = attention_grid(onnx, head, stage, method)
            assert placed == same and found.dtype == expected.dtype
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * max(float(expected.max()), 1e-6))


def test_no_gradient_passes_the_relu_before_the_softmax(network_input, tmp_path):
    """The score of death is made negative: PyTorch's map is blank, and so is the other."""
    bundle = bundle_of(tmp_path / "bundle", ARCHITECTURES["relu before the softmax"])
    state = bundle.network().state_dict()
    state["prognosis_head.dense.bias"] = torch.tensor([1.0, -1e4])
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    bundle = save_bundle(tmp_path / "bundle", state, metadata, "card", overwrite=True)
    for library in ("torch", "onnx"):
        prediction = Analyzer(bundle, "cpu", library).predict(network_input)
        for stage in ("stage3", "stage4"):
            assert not attention_grid(prediction, "prognosis", stage, "gradcam")[0].any()
            assert attention_grid(prediction, "volume", stage, "gradcam")[0].any()


def test_nothing_known_of_a_patient_is_nothing_to_either(network_input, tmp_path):
    bundle = bundle_of(tmp_path / "bundle", ARCHITECTURES["clinical"])
    image = network_input.array[None]
    torch_, onnx = (runners.load_runner(bundle, "cpu", library) for library in ("torch", "onnx"))
    assert onnx.run(image)[2] == pytest.approx(torch_.run(image)[2], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("asked, threads", [("3", 3), ("2,4", 2)])
def test_threads_are_those_that_are_allowed(asked, threads):
    assert thread_count({"OMP_NUM_THREADS": asked}) == threads


@pytest.mark.parametrize("asked", ["", "0", "all"])
def test_without_a_usable_limit_every_processor_is_used(asked):
    assert thread_count({"OMP_NUM_THREADS": asked}) == thread_count({}) >= 1


def test_weights_have_the_names_and_shapes_of_pytorch():
    for architecture in ARCHITECTURES.values():
        state = build_network(architecture).state_dict()
        assert ResNetOnnx(architecture).shapes == {name: tuple(values.shape) for name, values in state.items()}


def test_shipped_model_reads_a_scan_alike():
    scan = prepare(phantom())
    torch_, onnx = (Analyzer(default_bundle(), "cpu", library) for library in ("torch", "onnx"))
    expected, found = torch_.predict(scan), onnx.predict(scan)
    crop = scan.crop_volume_mm3
    volume = torch_.bundle.volume_ml(expected.output, crop)
    assert onnx.bundle.volume_ml(found.output, crop) == pytest.approx(volume, abs=0.05) and volume > 1
    probability = torch_.bundle.probability(expected.log_odds)
    assert onnx.bundle.probability(found.log_odds) == pytest.approx(probability, abs=0.01)
    maps = [attention_grid(prediction, *LOCATOR)[0].ravel() for prediction in (expected, found)]
    assert np.corrcoef(*maps)[0, 1] > 0.999


def test_what_needs_pytorch_says_so(tmp_path):
    tiny = bundle_of(tmp_path / "bundle", ARCHITECTURES["tiny"])
    analyzer = Analyzer(tiny, runtime="onnx")
    for choice, words in (
        ({"method": "saliency"}, "Saliency of the input"),
        ({"stage": "stage2"}, "HiResCAM of stage 2"),
        ({"method": "gradcam++", "stage": "stage1"}, r"Grad-CAM\+\+ of stage 1"),
    ):
        expected = f"needs PyTorch: expected one of the features of stage 3 or stage 4, found {words}\\."
        with pytest.raises(InputError, match=expected):
            analyzer.analyze(phantom(), **choice)
    with pytest.raises(InputError, match="expected the device auto or cpu, found cuda"):
        Analyzer(tiny, "cuda", "onnx")
    other = bundle_of(tmp_path / "other", {"network": "densenet121", "width": 8, "final_relu": False})
    with pytest.raises(InputError, match="The model needs PyTorch: .* found 'densenet121'"):
        Analyzer(other, runtime="onnx")
    with pytest.raises(InputError, match="runtime is unknown: expected one of auto, torch, onnx, found 'tensorrt'"):
        Analyzer(tiny, runtime="tensorrt")


def test_weights_of_another_network_are_refused(tmp_path):
    bundle = bundle_of(tmp_path / "bundle", ARCHITECTURES["tiny"])
    other = ModelBundle(bundle.folder, bundle.metadata | {"architecture": ARCHITECTURES["tiny"] | {"width": 8}})
    with pytest.raises(BundleError, match="belong to another network: 0 weights are missing"):
        Analyzer(other, runtime="onnx")


@pytest.mark.parametrize(
    "installed, asked, found",
    [
        ({"torch", "onnxruntime"}, "auto", "torch"),
        ({"onnxruntime"}, "auto", "onnx"),
        ({"torch", "onnxruntime"}, "onnx", "onnx"),
        ({"torch"}, "torch", "torch"),
    ],
)
def test_pytorch_is_taken_where_it_is_installed(installed, asked, found, monkeypatch):
    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda name: name if name in installed else None)
    assert runners.choose_library(asked) == found


@pytest.mark.parametrize(
    "choice, found",
    [
        ({}, "onnx"),
        ({"device": "cpu", "stage": "stage4", "method": "cam"}, "onnx"),
        ({"device": "cuda"}, "auto"),
        ({"stage": "stage1"}, "auto"),
        ({"method": "saliency"}, "auto"),
        ({"architecture": {"network": "densenet121"}}, "auto"),
    ],
)
def test_one_scan_is_analyzed_by_what_starts_faster(choice, found, tmp_path):
    asked = {"device": "auto", "stage": LOCATOR.stage, "method": LOCATOR.method} | choice
    architecture = asked.pop("architecture", ARCHITECTURES["tiny"])
    bundle = ModelBundle(tmp_path, {"architecture": architecture})
    assert runners.soonest_ready(bundle, **asked) == found


def test_pytorch_analyzes_where_onnx_runtime_cannot_be_imported(tmp_path, monkeypatch):
    """It is installed, but a system library is missing."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    bundle = ModelBundle(tmp_path, {"architecture": ARCHITECTURES["tiny"]})
    assert runners.soonest_ready(bundle, "auto", LOCATOR.stage, LOCATOR.method) == "auto"


def test_onnx_runtime_is_told_to_report_nothing_before_it_is_imported(tmp_path, monkeypatch):
    """Its builds for Linux and macOS report while they are imported; a call afterwards is too late."""
    lines = "import os", "asked, on = os.environ['ORT_DISABLE_TELEMETRY'], [1]", "disable_telemetry_events = on.clear"
    (tmp_path / "onnxruntime.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    del sys.modules["onnxruntime"]
    bundle = ModelBundle(tmp_path, {"architecture": ARCHITECTURES["tiny"]})
    assert runners.soonest_ready(bundle, "auto", LOCATOR.stage, LOCATOR.method) == "onnx"
    assert sys.modules["onnxruntime"].asked == "1" and not sys.modules["onnxruntime"].on


def test_onnx_runtime_leaves_no_identifier_of_the_computer(tmp_path):
    """Neither in the home folder nor among the temporary files, where its telemetry keeps one."""
    bundle = tiny_bundle(tmp_path / "bundle")
    folder = tmp_path / "home"
    folder.mkdir()
    where = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(folder))
    unsaid = {"ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "CI", "GITHUB_ACTIONS"}
    environment = {name: value for name, value in os.environ.items() if name not in unsaid} | where
    code = "import sys; from ICHMultiTaskLib.analysis.analyzer import Analyzer; Analyzer(sys.argv[1], runtime='onnx')"
    subprocess.run([sys.executable, "-c", code, bundle], env=environment, check=True, timeout=300)
    assert list(folder.iterdir()) == []


def test_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda name: None)
    for asked, words in (("auto", "PyTorch or ONNX Runtime"), ("torch", "PyTorch"), ("onnx", "ONNX Runtime")):
        with pytest.raises(DependencyError, match=f"^{words} is needed to run a model, and it is not installed"):
            runners.choose_library(asked)
