"""Model bundles: what is saved is loaded, and nothing else is."""

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ICHMultiTaskLib.common.errors import BundleError, OutputError
from ICHMultiTaskLib.model import bundle as bundle_module
from ICHMultiTaskLib.model.bundle import (
    LICENSE,
    METADATA,
    MODEL_CARD,
    WEIGHTS,
    ModelBundle,
    default_bundle,
    find_bundles,
    save_bundle,
)
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet

REPOSITORY = Path(__file__).parents[3]
ARCHITECTURE = {"width": 4, "stem_stride": [2, 4, 4], "stage_strides": [1, 2, 2, 1], "final_relu": False}
METADATA_VALUES = {
    "name": "tiny",
    "version": "0.0.1",
    "license": "Apache-2.0",
    "intended_use": "Tests.",
    "training_data": "Random weights; no scans.",
    "architecture": ARCHITECTURE,
    "preprocessing": {"window_hu": [0.0, 100.0], "shape_kji": [32, 224, 224]},
    "target": "cube_root_ml",
    "calibration": {
        "volume_interval": {
            "coverage": 0.9,
            "strata": [
                {"up_to_ml": 8.0, "half_width_cm": 0.5},
                {"up_to_ml": None, "half_width_cm": 0.1},
            ],
        },
        "temperature": 2.0,
        "bias": 0.5,
    },
    "metrics": {},
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MultiTaskResNet(**ARCHITECTURE).eval()


@pytest.fixture
def saved(tmp_path, network):
    save_bundle(tmp_path / "tiny", network.state_dict(), METADATA_VALUES, "# Tiny\n")
    return tmp_path / "tiny"


def edit(folder, **changes):
    path = folder / METADATA
    metadata = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}), encoding="utf-8")


def test_round_trip_gives_the_same_outputs(saved, network):
    loaded = ModelBundle.load(saved)
    assert (loaded.name, loaded.version, loaded.training_data) == ("tiny", "0.0.1", "Random weights; no scans.")
    assert loaded.sha256 == hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    image = torch.rand(1, 1, 16, 32, 32)
    again = loaded.network()
    assert not again.training and next(again.parameters()).dtype == torch.float32
    with torch.no_grad():
        for found, expected in zip(again(image), network(image)):
            torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)  # weights are stored in 16 bits


def test_bundles_of_versions_that_named_an_attention_map_load(saved):
    edit(saved, attention={"head": "volume", "stage": "stage4", "method": "gradcam"})
    assert ModelBundle.load(saved).name == "tiny"


def test_layout_and_keys_follow_monai_bundles(saved):
    assert {p.relative_to(saved).as_posix() for p in saved.rglob("*") if p.is_file()} == {
        "configs/metadata.json",
        "models/model.safetensors",
        "docs/README.md",
        "LICENSE",
    }
    metadata = ModelBundle.load(saved).metadata
    required_by_monai = {
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    }
    assert required_by_monai <= metadata.keys()
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 224, 224]


def test_interval_is_symmetric_in_the_cube_root_and_takes_the_stratum_of_the_prediction(saved):
    loaded = ModelBundle.load(saved)
    assert loaded.interval_coverage == 0.9
    assert loaded.volume_interval_ml(8.0) == pytest.approx((1.5**3, 2.5**3))
    assert loaded.volume_interval_ml(27.0) == pytest.approx((2.9**3, 3.1**3))
    assert loaded.volume_interval_ml(0.0) == pytest.approx((0.0, 0.125))
    edit(saved, calibration={"volume_interval": None})
    assert ModelBundle.load(saved).volume_interval_ml(8.0) is None
    assert ModelBundle.load(saved).interval_coverage is None


def test_probability_is_the_scaled_logistic(saved):
    loaded = ModelBundle.load(saved)
    assert loaded.probability(3.0) == pytest.approx(1 / (1 + math.exp(-(3.0 / 2.0 + 0.5))))
    assert loaded.probability(-1e9) == 0.0
    edit(saved, calibration={})
    scores = torch.tensor([0.3, 1.1])
    assert ModelBundle.load(saved).probability(0.8) == pytest.approx(float(scores.softmax(0)[1]), rel=1e-5)


def test_altered_weights_are_refused_by_checksum(saved):
    data = bytearray((saved / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (saved / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleError, match=r"altered or cut off: expected SHA-256 \w{12}…, found \w{12}…\.$"):
        ModelBundle.load(saved)


def test_weights_altered_after_loading_are_refused_too(saved):
    loaded = ModelBundle.load(saved)
    (saved / WEIGHTS).write_bytes(b"other")
    with pytest.raises(BundleError, match="altered or cut off"):
        loaded.network()


def test_cut_off_weights_with_a_fitting_checksum_are_refused(saved):
    data = (saved / WEIGHTS).read_bytes()[:-100]
    (saved / WEIGHTS).write_bytes(data)
    edit(saved, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(BundleError, match="is not a safetensors file"):
        ModelBundle.load(saved).network()


def test_pickled_weights_are_never_opened(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "opened",))

    torch.save(Trap(), saved / WEIGHTS)
    edit(saved, sha256=hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest())
    with pytest.raises(BundleError, match="is not a safetensors file"):
        ModelBundle.load(saved).network()
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "architecture, message",
    [
        (
            {**ARCHITECTURE, "width": 8},
            r"belong to another network: 0 weights are missing, 0 unknown and \d+ of another",
        ),
        ({**ARCHITECTURE, "kernel": 5}, "describes a network that this version cannot build"),
    ],
)
def test_foreign_network_is_refused(saved, architecture, message):
    edit(saved, architecture=architecture)
    with pytest.raises(BundleError, match=message) as error:
        ModelBundle.load(saved).network()
    assert "\n" not in str(error.value)


def test_foreign_weights_are_refused(tmp_path):
    save_bundle(tmp_path / "foreign", {"layer.weight": torch.ones(2, 2)}, METADATA_VALUES, "")
    with pytest.raises(BundleError, match="belong to another network: .* 1 unknown"):
        ModelBundle.load(tmp_path / "foreign").network()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"training_data": None}, "is incomplete: training_data missing"),
        ({"training_data": ""}, "training_data .* expected a text, found ''"),
        ({"architecture": []}, "architecture .* expected an object"),
        ({"target": "liters"}, "expected cube_root_ml, cube_root_fraction, fraction_percent; found 'liters'"),
        ({"preprocessing": {"window": [0, 100]}}, "preprocessing in the metadata of .* is unusable: .* 'window'"),
        ({"preprocessing": {"slice_sampling": "odd"}}, "expected one of linear, spline, even, found 'odd'"),
        ({"calibration": {"temperature": 0}}, "expected a temperature above 0"),
        ({"calibration": {"temperature": "1"}}, "calibration .* is unusable"),
        ({"calibration": {"volume_interval": {"coverage": 0.9}}}, "'strata'"),
        (
            {"calibration": {"volume_interval": {"coverage": 0.9, "strata": [{"up_to_ml": 9, "half_width_cm": 1}]}}},
            "the last without a limit",
        ),
    ],
)
def test_unusable_metadata_is_reported(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(BundleError, match=message):
        ModelBundle.load(saved)


def test_incomplete_folders_are_reported(saved, tmp_path):
    with pytest.raises(BundleError, match=r"expected configs/metadata.json, found no such folder\.$"):
        ModelBundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match="found a folder without it"):
        ModelBundle.load(tmp_path)
    (saved / WEIGHTS).unlink()
    with pytest.raises(BundleError, match="is incomplete: expected models/model.safetensors"):
        ModelBundle.load(saved)
    (saved / METADATA).write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="expected JSON in UTF-8"):
        ModelBundle.load(saved)


def test_saving_writes_whole_bundles_only(saved, tmp_path, network):
    state = network.state_dict()
    with pytest.raises(OutputError, match="is not empty"):
        save_bundle(saved, state, METADATA_VALUES, "")
    with pytest.raises(BundleError, match="is not finite"):
        save_bundle(tmp_path / "a", {**state, "stem.0.weight": torch.full((4, 1, 7, 7, 7), 1e6)}, METADATA_VALUES, "")
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        save_bundle(tmp_path / "a", state, {**METADATA_VALUES, "metrics": {"mae_ml": np.nan}}, "")
    with pytest.raises(BundleError, match="incomplete: name missing"):
        save_bundle(tmp_path / "a", state, {k: v for k, v in METADATA_VALUES.items() if k != "name"}, "")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]
    assert save_bundle(saved, state, {**METADATA_VALUES, "version": "0.0.2"}, "", overwrite=True).version == "0.0.2"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_only_a_bundle_of_ours_that_nobody_changed_is_replaced(saved, network):
    """Other bundles of MONAI have files of the same names."""
    state = network.state_dict()
    kept = {
        path: path.read_bytes() for path in (saved / METADATA, saved / WEIGHTS, saved / MODEL_CARD, saved / LICENSE)
    }

    def refused(path, content, words):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=words):
            save_bundle(saved, state, METADATA_VALUES, "", overwrite=True)
        assert path.read_bytes() == content and all(
            other.read_bytes() == before for other, before in kept.items() if other != path
        )
        path.write_bytes(kept[path])

    refused(
        saved / METADATA, b'{"version": "1.0", "network_data_format": {}}', "only an earlier result of the same kind"
    )
    refused(saved / WEIGHTS, b"weights of somebody", "model.safetensors was changed since it was written")
    refused(saved / MODEL_CARD, b"# What I found out about it", "README.md was changed since it was written")
    (saved / "notes.txt").write_text("mine")
    save_bundle(saved, state, METADATA_VALUES, "", overwrite=True)
    assert (saved / "notes.txt").read_text() == "mine"


def test_bundles_are_found_in_folders_of_bundles_and_as_bundles(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "_shipped_models", lambda: [tmp_path / "shipped"])
    with pytest.raises(BundleError, match="No model bundle came with this installation"):
        default_bundle()
    assert find_bundles([tmp_path, saved, tmp_path / "missing"]) == [saved.resolve()]
    monkeypatch.setattr(bundle_module, "_shipped_models", lambda: [tmp_path])
    assert default_bundle() == saved.resolve()


def test_reading_metadata_needs_no_pytorch(saved):
    code = (
        "import sys; from ICHMultiTaskLib.model.bundle import ModelBundle; "
        f"ModelBundle.load({str(saved)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY / "ICHMultiTask")


def test_large_weights_are_halved_and_norms_are_not(tmp_path, network):
    """Statistics of norms span more orders of magnitude than half precision has."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["stem.1.running_var"][:] = 1e-7  # half precision makes 1.2e-7 of it
    state["stem.1.running_mean"][:] = 70000.0  # and infinity of this
    save_bundle(tmp_path / "bundle", state, METADATA_VALUES, "card")
    stored = safetensors.torch.load_file(str(tmp_path / "bundle" / WEIGHTS))
    for name, value in stored.items():
        if value.is_floating_point():
            assert value.dtype == (torch.float16 if value.ndim >= 2 else torch.float32), name
    loaded = ModelBundle.load(tmp_path / "bundle").network().state_dict()
    assert torch.equal(loaded["stem.1.running_var"], state["stem.1.running_var"])
    assert torch.equal(loaded["stem.1.running_mean"], state["stem.1.running_mean"])
