"""Weights files: what is stored in 8 bits is near what was given, and read back as it was stored."""

import hashlib
import json

import pytest
import safetensors.torch
import torch

from ICHMultiTaskLib.common.choices import Weights
from ICHMultiTaskLib.common.errors import BundleError
from ICHMultiTaskLib.model.bundle import METADATA, NO_CALIBRATION, WEIGHTS, ModelBundle, save_bundle
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskLib.model.weights import as_stored, pack

LAYER = "stage4.0.conv1.weight"


def stored_by(state, weights=Weights.INT8):
    return safetensors.torch.load(pack(state, weights))


def one_layer(channels):
    """A state of one dense layer; a row is an output channel."""
    return {LAYER: torch.tensor(channels)}


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    return ModelBundle.load(tiny_bundle(tmp_path_factory.mktemp("half") / "bundle"))


@pytest.fixture
def int8(half, tmp_path):
    metadata = {key: value for key, value in half.metadata.items() if key != "sha256"}
    return save_bundle(tmp_path / "int8", half.network().state_dict(), metadata, "card", weights="int8")


def rewrite(bundle, change):
    """Change a bundle's stored tensors, with a fitting checksum."""
    tensors = safetensors.torch.load_file(str(bundle.folder / WEIGHTS))
    change(tensors)
    data = safetensors.torch.save(tensors)
    (bundle.folder / WEIGHTS).write_bytes(data)
    path = bundle.folder / METADATA
    metadata = json.loads(path.read_text(encoding="utf-8")) | {"sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(metadata), encoding="utf-8")
    return ModelBundle.load(bundle.folder)


def test_bundle_in_8_bits_is_near_the_same_in_16_bits(half, int8):
    assert int8.metadata["weights"] == "int8" and "weights" not in half.metadata
    found, expected = int8.network().state_dict(), half.network().state_dict()
    stored = safetensors.torch.load_file(str(int8.folder / WEIGHTS))
    assert (
        stored["stage3.0.conv1.weight"].dtype == torch.int8 and stored["stage2.0.conv1.weight"].dtype == torch.float16
    )
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        if stored[name].dtype != torch.int8:
            assert torch.equal(found[name], value), name
            continue
        largest = value.flatten(1).abs().amax(1)
        error = (found[name] - value).flatten(1).abs().amax(1)
        # Half a step; the step is the 127th part of the largest, rounded to 8 significant bits.
        assert (error <= 0.5 * largest / 127 * (1 + 2**-8)).all(), name
    ratio = (int8.folder / WEIGHTS).stat().st_size / (half.folder / WEIGHTS).stat().st_size
    assert ratio < 0.75  # of a network of width 4, whose norms are much of the file


def test_integers_are_rounded_to_nearest_and_zero_is_exact():
    stored = stored_by(one_layer([[127.0, 1.4, -1.6, 0.0], [-254.0, 2.8, 3.2, 0.0]]))
    assert stored[LAYER].tolist() == [[127, 1, -2, 0], [-127, 1, 2, 0]]
    assert stored[f"{LAYER}.scale"].tolist() == [1.0, 2.0] and stored[f"{LAYER}.scale"].dtype == torch.float32


@pytest.mark.parametrize("value", [0.0, 1e-40])
def test_channel_that_vanished_is_zero(value):
    state = one_layer([[value, -value], [1.0, 0.5]])
    stored = stored_by(state)
    assert stored[LAYER][0].tolist() == [0, 0] and stored[f"{LAYER}.scale"][0] == 0.0
    assert as_stored(state, "int8")[LAYER][0].tolist() == [0.0, 0.0]


def test_stored_weights_are_reproduced_bit_by_bit():
    """Whatever the scale, from the smallest normal numbers on."""
    generator = torch.Generator().manual_seed(0)
    magnitude = 10.0 ** torch.linspace(-37, 30, 2000)[:, None]
    state = {LAYER: magnitude * torch.randn(2000, 27, generator=generator)}
    once = as_stored(state, "int8")
    assert pack(once, "int8") == pack(state, "int8")
    assert torch.equal(as_stored(once, "int8")[LAYER], once[LAYER])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_that_is_not_finite_is_refused(value):
    with pytest.raises(BundleError, match=f"The weight '{LAYER}' is not finite"):
        pack(one_layer([[1.0, value]]), "int8")


@pytest.mark.parametrize(
    "scale, found",
    [
        (None, "none"),
        (torch.ones(3), r"float32 of shape \[3\]"),
        (torch.ones(32, dtype=torch.float16), r"float16 of shape \[32\]"),
        (torch.full((32,), float("nan")), "nan"),
        (torch.full((32,), -0.5), "-0.5"),
    ],
)
def test_unusable_scale_is_reported(int8, scale, found):
    def change(tensors):
        assert len(tensors.pop(f"{LAYER}.scale")) == 32
        if scale is not None:
            tensors[f"{LAYER}.scale"] = scale

    with pytest.raises(BundleError, match=rf"'{LAYER}' of .* has no usable scale: expected .* found {found}\.$"):
        rewrite(int8, change).network()


def test_scale_without_integers_belongs_to_another_network(int8):
    with pytest.raises(BundleError, match=r"another network: 0 weights are missing, 1 unknown .*'stem.0.weight.scale'"):
        rewrite(int8, lambda tensors: tensors.update({"stem.0.weight.scale": torch.ones(4)})).network()


@pytest.mark.parametrize("entry, found", [("int4", "'int4'"), (None, "None"), (["int8"], r"\['int8'\]")])
def test_unknown_format_is_reported(int8, entry, found):
    path = int8.folder / METADATA
    path.write_text(json.dumps({**int8.metadata, "weights": entry}), encoding="utf-8")
    with pytest.raises(BundleError, match=f"cannot read: expected half or int8, found {found}"):
        ModelBundle.load(int8.folder)


def test_unknown_format_is_not_written(half, tmp_path):
    metadata = {key: value for key, value in half.metadata.items() if key != "sha256"}
    with pytest.raises(BundleError, match="found 'int4'"):
        save_bundle(tmp_path / "bundle", half.network().state_dict(), metadata, "card", weights="int4")
    assert not (tmp_path / "bundle").exists()


def test_derived_bundles_keep_the_weights_format(int8, tmp_path):
    metadata = {key: value for key, value in int8.metadata.items() if key != "sha256"}
    state = int8.network().state_dict()
    assert save_bundle(tmp_path / "again", state, metadata, "card").sha256 == int8.sha256
    wide = save_bundle(tmp_path / "half", state, metadata, "card", weights="half")
    assert wide.metadata["weights"] == "half"
    error = (wide.network().state_dict()[LAYER] - state[LAYER]).abs()
    assert (error <= 2**-11 * state[LAYER].abs() + 2**-25).all()  # half a unit in the last place of 16 bits


@pytest.mark.parametrize(
    "name", ["resnet50", "densenet121", "x3d", "r2plus1d18", "tin18", "timesformer", "uniformizing3d"]
)
def test_other_networks_are_8_bits_in_their_last_stages_alone(name):
    state = build_network({"network": name, "width": 16}).state_dict()
    stored = stored_by(state)
    small = {key for key, value in stored.items() if value.dtype == torch.int8}
    assert small and {key.split(".")[0] for key in small} == {"stage3", "stage4"}
    assert stored.keys() == state.keys() | {f"{key}.scale" for key in small}
    assert all(value.ndim < 2 for key, value in stored.items() if value.dtype == torch.float32)


def test_ensemble_is_8_bits_in_each_member(tmp_path, half):
    member = half.metadata["architecture"]
    architecture = {"network": "ensemble", "members": 2, "member": member}
    state = build_network(architecture).state_dict()
    metadata = {key: value for key, value in half.metadata.items() if key != "sha256"}
    metadata |= {"architecture": architecture, "calibration": NO_CALIBRATION}
    bundle = save_bundle(tmp_path / "both", state, metadata, "card", weights="int8")
    stored = safetensors.torch.load_file(str(bundle.folder / WEIGHTS))
    assert {stored[f"members.{n}.{LAYER}"].dtype for n in range(2)} == {torch.int8}
    assert stored["members.0.volume_head.dense.weight"].dtype == torch.float16
    expected = as_stored(state, "int8")
    for name, value in bundle.network().state_dict().items():
        assert torch.equal(value, expected[name].to(value.dtype)), name
