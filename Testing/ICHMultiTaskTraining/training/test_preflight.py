"""What cannot be trained is refused before anything is written: wrong settings, grids too small, too little memory."""

import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training import preflight
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.preflight import check_network
from ICHMultiTaskTrainingLib.training.trainer import Trainer


def config_of(name, **changes):
    settings = {"architecture.network": name, "precision": "fp32"} | changes
    return make_config(**settings)


def test_another_network_leaves_behind_what_it_does_not_have():
    default = make_config()
    config = config_of("x3d")
    assert config.architecture == {"network": "x3d", "final_relu": False} and config.dense_from is None
    config = config_of("resnet50")
    assert config.architecture == default.architecture | {"network": "resnet50"} and config.dense_from == "stage3"
    config = config_of("tsm18", **{"architecture.width": 16, "architecture.dropout": 0.2})
    assert config.architecture == {"network": "tsm18", "final_relu": False, "width": 16, "dropout": 0.2}
    assert make_config(**config.as_dict() | {"preset": "default"}) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture.network": "x4d"}, "The network is unknown: expected one of resnet34, .*found 'x4d'"),
        ({"architecture.network": "ensemble"}, "ensemble cannot be trained directly"),
        ({"architecture.network": "x3d", "dense_from": "stage3"}, "dense_from does not apply to the network x3d"),
        ({"architecture.network": "x3d", "architecture.stem_stride": 1}, "expected architecture of network, width"),
        ({"architecture": {"network": "x3d", "stem_stride": 1}}, "architecture of x3d is unknown.*found stem_stride"),
    ],
)
def test_invalid_architectures_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tin18", {"architecture.width": 10}, "width is 10; expected a multiple of 16"),
        ("tin18", {"architecture.slices": 16}, "built for 16 slices.*found 32"),
        ("timesformer", {"architecture.width": 100}, "a multiple of it"),
        ("x3d", {"architecture.dropout": 5}, "between 0 and 1"),
        (
            "uniformizing3d",
            {"coarse_epochs": [[4, 1]], "preprocessing.shape_kji": [32, 32, 32]},
            "cannot be trained on 32×8×8 voxels, its grid in coarse epochs",
        ),
        (
            "resnet18",
            {"architecture.stem_stride": 1, "architecture.stage_strides": [1, 1, 1, 1]},
            "steps of a multiple of 4 voxels, found 2; mask_weight=0",
        ),
    ],
)
def test_networks_that_cannot_be_built_or_run_are_refused(name, changes, message):
    with pytest.raises(InputError, match=message):
        check_network(config_of(name, **changes), "cpu")


def test_too_large_a_network_says_what_would_fit(monkeypatch, training_manifest, tmp_path):
    config = config_of("r2plus1d18", batch_size=8, **{"preprocessing.shape_kji": [32, 224, 224]})
    monkeypatch.setattr(preflight, "free_memory", lambda device: 20e9)
    with pytest.raises(InputError, match="at least 32.. GB, and 20.0 GB are free.*batch_size=4 with accumulate=2"):
        Trainer(read_manifest(training_manifest), config, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1e9)
    with pytest.raises(InputError, match="Not even one scan would fit"):
        check_network(config, "cpu")
    for plenty in (40e9, None):
        monkeypatch.setattr(preflight, "free_memory", lambda device, plenty=plenty: plenty)
        check_network(config, "cpu")
