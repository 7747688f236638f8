"""Several hospitals train one model: what each does in a round, and the whole of it in processes of their own."""

import csv

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.federated.job import make_job
from ICHMultiTaskTrainingLib.federated.site import START, Site


@pytest.fixture(scope="module")
def hospitals(training_manifest, tmp_path_factory):
    """The training heads in two manifests, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("two hospitals")
    with training_manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in ("image", "mask"):
            row[name] = str(training_manifest.parent / row[name])
    rows.sort(key=lambda row: row["died"])  # both need deaths and survivors
    for name, chosen in (("north", rows[::2]), ("south", rows[1::2][:8])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(chosen)
    return folder


@pytest.fixture
def settings(small_settings):
    """Settings of a run of two epochs."""
    return small_settings | {"coarse_epochs": [], "epochs": 2, "validation_fraction": 0.3}


def test_hospitals_start_and_end_with_equal_weights(hospitals, settings, tmp_path):
    sites = [Site(hospitals / f"{name}.csv", tmp_path / name, settings, "cpu") for name in ("north", "south")]
    first = [dict(site.trainer.network.state_dict()) for site in sites]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    sent = [site.round({START: 0.0}, 0, 2) for site in sites]
    assert [site.trainer.epoch for site in sites] == [2, 2]
    assert not np.allclose(sent[0]["volume_head.dense.weight"], sent[1]["volume_head.dense.weight"])
    weights = np.array([site.scans for site in sites], float)
    mean = {name: np.average([each[name] for each in sent], axis=0, weights=weights) for name in sent[0]}
    final = [site.round(mean, 1, 2) for site in sites]
    assert all(np.array_equal(final[0][name], final[1][name]) for name in mean)
    for site in sites:
        bundle = ModelBundle.load(site.output / "bundle")
        for name, value in bundle.network().state_dict().items():
            if name in mean:  # stored in 16 bits
                np.testing.assert_allclose(value.numpy(), mean[name], rtol=1e-3, atol=1e-4)
        assert "several hospitals" in bundle.training_data
        assert bundle.metadata["metrics"]["validation_scans"] == len(site.trainer.validation.died)


def test_rounds_share_the_epochs(hospitals, settings, tmp_path):
    site = Site(hospitals / "north.csv", tmp_path / "north", settings | {"coarse_epochs": [[2, 1]]}, "cpu")
    done = []
    weights = {START: 0.0}
    for number in range(3):
        weights = site.round(weights, number, 4)
        done.append(site.trainer.epoch)
    assert done == [1, 2, 3]


@pytest.mark.parametrize(
    "arguments, changes, words",
    [
        (["--site", "north=north.csv"], {}, "at least 2, found 1"),
        (["--site", "north=north.csv", "--site", "north=south.csv"], {}, "appears twice"),
        (["--site", "north", "--site", "south=south.csv"], {}, "expected name=manifest"),
        (["--site", "münchen=north.csv", "--site", "south=south.csv"], {}, "letters a to z"),
        (["--site", "server=north.csv", "--site", "south=south.csv"], {}, "other than server and flare"),
        (["--site", "north=north.csv", "--site", "south=south.csv", "--rounds", "3"], {}, "expected 1 to 2 rounds"),
        (["--site", "north=north.csv", "--site", "south=none.csv"], {}, "south: "),
        (["--site", "north=north.csv", "--site", "south=south.csv"], {"patience": 2}, "no patience"),
        (["--site", "north=north.csv", "--site", "south=south.csv"], {"clinical": "[age]"}, "Clinical variables need"),
    ],
)
def test_impossible_values_are_refused(hospitals, tmp_path, monkeypatch, capsys, arguments, changes, words):
    monkeypatch.chdir(hospitals)
    command = ["federate", "--output", str(tmp_path / "out"), "--rounds", "2", *arguments]
    changes = {"coarse_epochs": "[]", "epochs": 2, "validation_fraction": 0.3} | changes
    command += [f"--set={name}={value}" for name, value in changes.items()]
    assert cli.main(command) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_server_needs_no_network(hospitals, settings, tmp_path):
    pytest.importorskip("nvflare", reason="NVIDIA FLARE is not installed: pip install 'ichmultitask[federated]'")
    sites = {name: hospitals / f"{name}.csv" for name in ("north", "south")}
    job = make_job(sites, tmp_path / "out", 2, settings, "cpu")
    job.export_job(str(tmp_path / "job"))
    server = next((tmp_path / "job").rglob("config_fed_server.json")).read_text()
    assert "ICHMultiTask" not in server and "torch" not in server
    with pytest.raises(InputError, match="at least 2"):
        make_job({"north": hospitals / "north.csv"}, tmp_path / "other", 2, settings)


@pytest.mark.slow
def test_two_hospitals_train_in_processes_of_their_own(hospitals, settings, tmp_path):
    pytest.importorskip("nvflare", reason="NVIDIA FLARE is not installed: pip install 'ichmultitask[federated]'")
    import json

    arguments = [f"--set={name}={json.dumps(value, separators=(',', ':'))}" for name, value in settings.items()]
    command = ["federate", "--output", str(tmp_path / "out"), "--rounds", "2", "--device", "cpu", *arguments]
    command += [f"--site={name}={hospitals / name}.csv" for name in ("north", "south")]
    assert cli.main(command) == 0
    north, south = (ModelBundle.load(tmp_path / "out" / name / "bundle") for name in ("north", "south"))
    assert north.sha256 == south.sha256  # the same weights, to the last bit
    assert north.metadata["metrics"] != south.metadata["metrics"]  # of their own patients
