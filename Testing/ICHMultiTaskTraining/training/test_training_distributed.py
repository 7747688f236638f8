"""Training by two real processes: the same gradients and losses as by one with twice the batch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import distributed

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, save_bundle
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet
from ICHMultiTaskTrainingLib.data.augmentation import augment
from ICHMultiTaskTrainingLib.data.auxiliary import TARGETS
from ICHMultiTaskTrainingLib.data.batches import TrainingBatches
from ICHMultiTaskTrainingLib.data.cache import CachedScans
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.distributed import Workers, launched_workers
from ICHMultiTaskTrainingLib.training.learner import Learner, choose_runtime
from ICHMultiTaskTrainingLib.training.losses import prognosis_loss, volume_loss
from ICHMultiTaskTrainingLib.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch cannot train in several processes")

WORKER = """
import sys
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)
from test_training_distributed import gradients
gradients({output!r})
"""


def launch(*arguments):
    """Two processes by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    if sys.platform == "linux":
        # Both processes are here: the address that the host's name stands for need not be one that can be reached.
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def gradients(output=None):
    """Gradients of one step on five images, two of them with masks, by all processes."""
    with launched_workers("cpu") as workers:
        torch.manual_seed(0)
        network = MultiTaskResNet(width=4, stem_stride=[1, 2, 2], stage_strides=[1, 2, [1, 2, 2], 1])
        # Norms with statistics of their own: on a CPU those of a batch are each process's.
        learner = Learner(network, choose_runtime("fp32", "cpu"), frozen_norm=True, targets=TARGETS[:3])
        learner.double().train()
        parallel = workers.wrap(learner, "cpu", some_unused=True)
        scans = object.__new__(CachedScans)
        rng = np.random.default_rng(0)
        scans.images = rng.integers(0, 255, (5, 8, 32, 32)).astype(np.uint8)
        scans.occupancy = rng.integers(0, 255, (5, 8, 8, 8)).astype(np.uint8)
        scans.has_mask = np.array([True, False, False, False, True])
        scans.volume_ml, scans.died = rng.uniform(1, 90, 5).astype(np.float32), np.array([0, 1, 0, 1, 1])
        scans.crop_volume_mm3 = np.full(5, 3e6)
        scans.size_mm, scans.clinical = np.full((5, 3), 160, np.float32), None
        scans.labels = np.array([[0, 1, 2], [np.nan] * 3, [1, 0, np.nan], [np.nan] * 3, [np.nan, 1, 0]], np.float32)
        config = make_config(batch_size=-(-5 // workers.count), augment=True, coarse_epochs=[], epochs=1)
        batches = TrainingBatches(scans, scans.died.astype(np.float32), 3.0, config, workers, "cpu")
        assert batches.steps == 1
        (batch,) = batches.epoch(0, 1)
        images, occupancy, target, death = (
            tensor.double() for tensor in (batch.images, batch.occupancy, batch.target, batch.death)
        )
        output_, scores, mask_loss, auxiliary = parallel(images, occupancy, batch.has_mask, 1, labels=batch.labels)
        losses = torch.stack(
            [volume_loss(output_, target, config.target), prognosis_loss(scores, death, 3.0), mask_loss, *auxiliary]
        )
        (losses @ torch.from_numpy(batch.shares * workers.count)).backward()
        found = {name: value.grad for name, value in learner.named_parameters()}
        if output and workers.rank == 0:
            torch.save(found, output)
    return found


@pytest.mark.slow
def test_gradients_are_those_of_one_process_with_the_whole_batch(tmp_path):
    path = [os.path.dirname(__file__), *sys.path]
    (tmp_path / "worker.py").write_text(WORKER.format(path=path, output=str(tmp_path / "gradients.pt")))
    launch(str(tmp_path / "worker.py"))
    expected, found = gradients(), torch.load(tmp_path / "gradients.pt")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        # Float64, so that a wrong share or statistic cannot hide behind rounding.
        assert (found[name] - value).norm() <= 1e-9 * value.norm(), name


@pytest.fixture(scope="module")
def two_processes(training_manifest, small_settings, tmp_path_factory):
    """The settings of a run of two processes with batches of 3, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    metadata = {
        "name": "start", "version": "1.0.0", "license": "Apache-2.0", "intended_use": "Tests.",
        "target": "cube_root_ml", "training_data": "Random weights; no scans.",
        "architecture": small_settings["architecture"],
        "preprocessing": small_settings["preprocessing"], "calibration": NO_CALIBRATION, "metrics": {},

    }  # fmt: skip
    torch.manual_seed(0)
    start = build_network(small_settings["architecture"])
    save_bundle(folder / "start", start.state_dict(), metadata, "# Start\n")
    settings = {
        "coarse_epochs": [], "epochs": 1, "batch_size": 3, "optimizer": "sgd", "learning_rate": 1e-3,
        "start_from": str(folder / "start"), "frozen_norm": True, "mask_weight": 1.0,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    arguments = ["train", str(training_manifest), "--device", "cpu", "--config", str(folder / "settings.json")]
    done = launch("-m", "ICHMultiTaskTrainingLib", *arguments, "--output", str(folder / "two"))
    return folder, settings, done


@pytest.mark.slow
def test_losses_are_those_of_one_process_with_twice_the_batch(two_processes, training_manifest):
    folder, settings, done = two_processes
    one = Trainer(read_manifest(training_manifest), make_config(**settings | {"batch_size": 6}), folder / "one", "cpu")
    one.run()
    one, two = one.history[-1], json.loads((folder / "two" / "history.json").read_text())[-1]
    for name in ("volume_loss", "prognosis_loss", "mask_loss", "train_mae_ml"):
        assert two[name] == pytest.approx(one[name], rel=1e-3), name
    assert done.stdout.count("Model bundle") == 1, "only the first process writes and tells"
    assert "Warning" not in done.stderr
    made = {path.name for path in (folder / "one").iterdir()}
    made |= {"bundle", "report", "progress.json", "curves.png"}
    assert {path.name for path in (folder / "two").iterdir()} == made


@pytest.mark.slow
def test_run_of_two_processes_is_not_continued_by_one(two_processes, training_manifest):
    folder, settings, _ = two_processes
    with pytest.raises(InputError, match="found processes 2 there"):
        Trainer(read_manifest(training_manifest), make_config(**settings), folder / "two", "cpu")


def test_images_change_alike_however_many_processes_there_are():
    images = torch.rand(5, 1, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    occupancy = torch.rand(5, 1, 8, 8, 8)
    size = torch.tensor([[160.0, 190.0, 180.0]]).expand(5, 3)
    whole = augment(images, occupancy, torch.Generator().manual_seed(1), (4.0, 10.0), size)
    for own in (slice(0, 3), slice(3, 5)):
        generator = torch.Generator().manual_seed(1)
        part = augment(images[own], occupancy[own], generator, (4.0, 10.0), size[own], count=5, own=own)
        for expected, found in zip(whole, part):
            torch.testing.assert_close(found, expected[own])


def test_every_row_has_one_worker():
    rows = np.arange(7)
    shares = [Workers(rank, 3).shard(rows) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 2, 2]
    np.testing.assert_array_equal(np.concatenate(shares), rows)
