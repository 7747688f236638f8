"""From `train --network NAME` to a bundle, and from the bundle to volume, prognosis and attention of a scan."""

import json

import numpy as np
import pytest

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.choices import Stage
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.testing import phantom
from ICHMultiTaskTrainingLib import cli


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "architecture", "sampling"),
    [
        ("timesformer", [8, 32, 32], {"width": 16}, "linear"),
        ("tin18", [8, 32, 32], {"width": 16, "slices": 8}, "linear"),
        ("x3d", [8, 32, 32], {"width": 4}, "linear"),
        ("r2plus1d18", [8, 32, 32], {"width": 4}, "linear"),
        ("p3d50", [16, 32, 32], {"width": 4}, "linear"),
        ("tsm18", [8, 32, 32], {"width": 8}, "linear"),
        ("uniformizing3d", [16, 32, 32], {"width": 4}, "spline"),
        ("uniformizing3d", [16, 32, 32], {"width": 4}, "even"),
        ("densenet121", [32, 64, 64], {"width": 4}, "linear"),
    ],
)
def test_a_network_is_trained_exported_and_used(name, shape, architecture, sampling, training_manifest, tmp_path):
    preprocessing = {"window_hu": [0, 100], "shape_kji": shape, "average": True, "max_height_mm": 170}
    if sampling != "linear":
        preprocessing["slice_sampling"] = sampling
    settings = {"preprocessing": preprocessing, "batch_size": 4, "coarse_epochs": [[2, 1]], "epochs": 1}
    settings |= {f"architecture.{key}": value for key, value in architecture.items()}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    run = tmp_path / "run"
    command = ["train", str(training_manifest), "--output", str(run), "--network", name, "--device", "cpu", *sets]
    assert cli.main(command) == 0
    analyzer = Analyzer(run / "bundle", "cpu")
    assert analyzer.bundle.metadata["architecture"]["network"] == name
    assert analyzer.bundle.metadata["preprocessing"] == preprocessing and analyzer.settings.slice_sampling == sampling
    head_ct = phantom()
    analysis = analyzer.analyze(head_ct)
    assert np.isfinite(analysis.volume_ml)
    for stage in Stage.values():
        attention = analysis.attention_for("prognosis", stage)
        assert attention.array.shape == head_ct.hu.shape and np.isfinite(attention.array).all()
    if name == "timesformer":
        assert analysis.attention_for("volume", "stage1", "rollout").array.max() == 1
    else:
        with pytest.raises(InputError, match="expected the network timesformer"):
            analyzer.analyze(head_ct, method="rollout")
