"""The mean of several models' weights as a model of its own."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle, save_bundle
from ICHMultiTaskLib.model.preprocessing import prepare
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.averaging import average_bundles, ensemble_bundles
from ICHMultiTaskTrainingLib.training.config import make_config


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three bundles of one architecture whose weights and statistics differ."""
    folder = tmp_path_factory.mktemp("models")
    first = ModelBundle.load(tiny_bundle(folder / "0"))
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2):
        state = first.network().state_dict()
        for value in state.values():
            if value.is_floating_point():
                value += 0.1 * torch.rand(value.shape, generator=generator)
        metadata = {key: value for key, value in first.metadata.items() if key != "sha256"} | {
            "version": f"{n}",
            "training": {"command": f"train {n}", "config": {}, "scans": n},
            "calibration": {"volume_interval": None, "temperature": 2.0, "bias": 1.0},
            "metrics": {"validation": {"validation_mae_ml": n}, "validation_scans": 4, "held_out": {}},
        }
        save_bundle(folder / str(n), state, metadata, "card")
    return [folder / str(n) for n in range(3)]


def test_weights_are_the_mean_and_what_was_measured_before_is_gone(models, tmp_path, capsys):
    command = ["average", *map(str, models), "--output", str(tmp_path / "mean"), "--bundle-version", "3"]
    assert cli.main(command) == 0
    assert "to be calibrated" in capsys.readouterr().out
    mean = ModelBundle.load(tmp_path / "mean")
    expected = AveragedModel(ModelBundle.load(models[0]).network(), use_buffers=True)
    for model in models:
        expected.update_parameters(ModelBundle.load(model).network())
    for name, value in expected.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(mean.network().state_dict()[name], value, rtol=2e-3, atol=1e-4)
    assert mean.version == "3" and mean.metadata["calibration"]["temperature"] == 1.0
    assert set(mean.metadata["metrics"]) == {"validation", "validation_scans"}
    card = (mean.folder / "docs/README.md").read_text(encoding="utf-8")
    assert "mean of 3 models' (tiny 0.0.1, tiny 1, tiny 2)" in card and "train 2" in card


def test_other_architectures_and_single_models_are_refused(models, tmp_path, capsys):
    folder = tmp_path / "mean"
    assert cli.main(["average", str(models[2]), "--output", str(folder)]) == 1
    assert "expected at least 2, found 1" in capsys.readouterr().err
    assert cli.main(["average", str(default_bundle()), str(models[2]), "--output", str(folder)]) == 1
    assert "expected the same architecture, found" in capsys.readouterr().err
    assert cli.main(["average", str(tmp_path / "none"), str(models[2]), "--output", str(folder)]) == 1
    assert "none" in capsys.readouterr().err
    assert not folder.exists()


def test_a_head_counts_as_trained_where_all_have_trained_it(models, tmp_path):
    """The mean with a head of random weights means nothing."""
    for tasks in ("volume", "prognosis"):
        bundle = ModelBundle.load(models[1])
        metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
        metadata["training"] = {"command": "train", "config": {"tasks": tasks}}
        save_bundle(tmp_path / tasks, bundle.network().state_dict(), metadata, "# One\n")
    for combine in (average_bundles, ensemble_bundles):
        made = combine([tmp_path / "volume", models[2]], tmp_path / combine.__name__)
        assert made.tasks == ("volume",)
        with pytest.raises(InputError, match="expected a head that was trained in all, found volume in .*prognosis in"):
            combine([tmp_path / "volume", tmp_path / "prognosis"], tmp_path / "none")


def test_ensemble_outputs_the_mean_and_is_used_like_other_models(models, tmp_path, capsys):
    command = ["ensemble", *map(str, models), "--output", str(tmp_path / "all")]
    assert cli.main(command) == 0
    bundle = ModelBundle.load(tmp_path / "all")
    assert bundle.name == "tiny-ensemble" and [origin["version"] for origin in bundle.metadata["derived_from"]] == [
        "0.0.1", "1", "2"
    ]  # fmt: skip
    analyzers = [Analyzer(model, "cpu") for model in (*models, tmp_path / "all")]
    *single, found = [analyzer.predict(prepare(phantom(), analyzer.settings)) for analyzer in analyzers]
    assert found.output == pytest.approx(sum(p.output for p in single) / 3, rel=1e-4)
    assert found.log_odds == pytest.approx(sum(p.log_odds for p in single) / 3, rel=1e-4, abs=1e-4)
    for stage in ("stage2", "stage4"):
        maps = [
            attention_map(prediction.runner.network, prediction.features[stage], stage, "prognosis")
            for prediction in (*single, found)
        ]
        assert maps[-1].shape == maps[0].shape and maps[-1].isfinite().all()
    with pytest.raises(InputError, match="ensemble cannot be trained further"):
        make_config(start_from=str(tmp_path / "all"))
    assert cli.main(["average", str(tmp_path / "all"), str(models[0]), "--output", str(tmp_path / "no")]) == 1


def test_ensemble_of_models_in_8_bits_has_their_weights_unchanged(models, tmp_path):
    for n, model in enumerate(models[:2]):
        bundle = ModelBundle.load(model)
        metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
        save_bundle(tmp_path / str(n), bundle.network().state_dict(), metadata, "card", weights="int8")
    both = ensemble_bundles([tmp_path / "0", tmp_path / "1"], tmp_path / "both")
    assert both.metadata["weights"] == "int8"
    found = both.network().state_dict()
    for n in range(2):
        for name, value in ModelBundle.load(tmp_path / str(n)).network().state_dict().items():
            assert torch.equal(found[f"members.{n}.{name}"], value), name
