"""Speed of training, as ratios within one run: they mean the same on any machine.

    python Testing/benchmarks/benchmark_training.py
    python Testing/benchmarks/benchmark_training.py --device cuda --scans 288 --batch 32

Everything compared is run in turns, and ratios are taken within each turn, so that other load on the machine falls on
both sides. Prints tables in Markdown. An epoch is that of training: drawing and augmenting the batches, the network,
the optimizer, sums and progress; validation and checkpoint follow it and are not in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
PATHS = [str(REPOSITORY / "ICHMultiTask"), str(REPOSITORY / "ICHMultiTaskTraining")]
sys.path[:0] = PATHS
GOALS = {"cpu": 1.1, "cuda": 1.2}
WORKER = """
import sys
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from benchmark_training import write_speed
write_speed({folder!r}, {scans!r})
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=16, help="in an epoch (default 16)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4, help="scans at once (default 4)")
    parser.add_argument("--width", type=int, default=16, help="of the network (default 16)")
    parser.add_argument("--threads", type=int, help="default: PyTorch's choice")
    options = parser.parse_args()

    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{options.scans} scans, batches of {options.batch}, width {options.width}, {device},")
    print(f"{torch.get_num_threads()} threads, median of {options.turns} turns.\n")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = [(f"1/{r}" if r > 1 else "full", *against_bare(folder / str(r), r, options)) for r in (2, 1)]
        goal = GOALS[options.device]
        table(("resolution", "epoch (s)", "bare (s)", "scans a second", f"epoch ÷ bare (goal {goal})"), rows)
        counts = [options.scans, 2 * options.scans, 4 * options.scans]
        rows = growth(folder / "growth", counts, options)
        table(("scans", "epoch (s)", "per scan ÷ that of the fewest"), rows)
        rows = by_processes(folder / "processes", options) if options.device == "cpu" else []
        table(("processes, a thread each", "scans a second ÷ those of one"), rows)


def trainer_of(folder, scans, reduction, device, workers=None, batch=4, width=16):
    """A trainer whose first epoch is at a resolution; all its rows are of one head, which is prepared once."""
    from ICHMultiTaskTrainingLib.data.manifest import read_manifest
    from ICHMultiTaskTrainingLib.training.config import make_config
    from ICHMultiTaskTrainingLib.training.distributed import ALONE
    from ICHMultiTaskTrainingLib.training.trainer import Trainer

    workers = workers or ALONE
    manifest = folder / "manifest.csv"
    if workers.rank == 0:
        write_cohort(folder, scans)
    settings = {"coarse_epochs": [[reduction, 1]] if reduction > 1 else [], "epochs": 1, "batch_size": batch}
    manifest = workers.run_on_first(lambda: read_manifest(manifest))
    return Trainer(
        manifest, make_config(**settings, **{"architecture.width": width}), folder / "run", device, workers=workers
    )


def write_cohort(folder, scans):
    """A table of as many scans for training and two for validation."""
    from ICHMultiTaskLib.model.testing import HEMATOMA_ML, phantom
    from ICHMultiTaskLib.simulation.writers import write_nifti

    folder.mkdir(parents=True, exist_ok=True)
    scan = phantom()
    write_nifti(scan.hu, scan.ijk_to_ras, folder / "scan.nii.gz")
    write_nifti(((scan.hu > 55) & (scan.hu < 90)).astype(np.uint8), scan.ijk_to_ras, folder / "mask.nii.gz")
    lines = ["patient_id,image,mask,volume_ml,died,split"]
    for n in range(scans + 2):
        split = "train" if n < scans else "validation"
        lines.append(f"p{n},scan.nii.gz,mask.nii.gz,{HEMATOMA_ML},{n % 2},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def seconds(function, device):
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def epoch_of(trainer):
    """A function that trains the first epoch, again and again."""

    def epoch():
        trainer._train_epoch()
        trainer._begin_epoch()

    return epoch


def bare_of(trainer):
    """Forward, backward and step on the epoch's batches, which are in memory, and nothing else."""
    import torch

    from ICHMultiTaskTrainingLib.training.losses import prognosis_loss, volume_loss

    reduction, config = trainer.reductions[0], trainer.config
    batches = list(trainer.batches.epoch(0, reduction))
    for batch in batches:
        object.__setattr__(batch, "images", trainer.runtime.arrange(batch.images))
    weights = torch.tensor(trainer.weights, dtype=torch.float32, device=trainer.device)

    def bare():
        trainer.learner.train()
        for batch in batches:
            output, scores, mask_loss, _ = trainer.learner(batch.images, batch.occupancy, batch.has_mask, reduction)
            losses = [
                volume_loss(output, batch.target, config.target),
                prognosis_loss(scores, batch.death, trainer.death_weight),
                mask_loss,
            ]
            (torch.stack(losses) @ weights).backward()
            trainer.optimization.optimizer.step()
            trainer.optimization.clear()

    return bare


def against_bare(folder, reduction, options):
    """Median seconds of an epoch and of the bare work in it, and their median ratio."""
    trainer = trainer_of(folder, options.scans, reduction, options.device, batch=options.batch, width=options.width)
    runs = {"epoch": epoch_of(trainer), "bare": bare_of(trainer)}
    times = {name: [] for name in runs}
    for turn in range(options.turns + 1):
        for name, function in runs.items():
            spent = seconds(function, options.device)
            if turn:  # the first turn warms up
                times[name].append(spent)
    ratio = np.median(np.divide(times["epoch"], times["bare"]))
    epoch, bare = (float(np.median(times[name])) for name in runs)
    return f"{epoch:.2f}", f"{bare:.2f}", f"{options.scans / epoch:.0f}", f"{ratio:.2f}"


def growth(folder, counts, options):
    """An epoch at half the resolution for several numbers of scans."""
    epochs = [epoch_of(trainer_of(folder / str(count), count, 2, options.device)) for count in counts]
    times = np.array([[seconds(epoch, options.device) for epoch in epochs] for _ in range(options.turns + 1)])[
        1:
    ]  # the first turn warms up
    per_scan = times / counts
    ratios = np.median(per_scan / per_scan[:, :1], axis=0)
    return [(count, f"{spent:.2f}", f"{ratio:.2f}") for count, spent, ratio in zip(counts, np.median(times, 0), ratios)]


def by_processes(folder, options):
    """How many times as many scans a second two processes learn from, and as many as there are processors."""
    from ICHMultiTaskLib.common.processes import usable_cores

    speeds = {}
    for turn in range(options.turns):
        for count in sorted({1, 2, usable_cores()}):
            place = folder / f"{count}-{turn}"
            place.mkdir(parents=True)
            code = WORKER.format(paths=[str(Path(__file__).parent), *PATHS], folder=str(place), scans=2 * options.scans)
            (place / "worker.py").write_text(code)
            launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([*launch, str(place / "worker.py")], check=True, capture_output=True, env=environment)
            speeds.setdefault(count, []).append(json.loads((place / "speed.json").read_text()))
    return [(count, f"{np.median(np.divide(speeds[count], speeds[1])):.2f}") for count in speeds]


def write_speed(folder, scans):
    """In one of the processes: write how many scans a second all of them together learn from."""
    from ICHMultiTaskTrainingLib.training.distributed import launched_workers

    with launched_workers("cpu") as workers:
        epoch = epoch_of(trainer_of(Path(folder), scans, 2, "cpu", workers))
        epoch()  # warms up
        spent = seconds(epoch, "cpu")
        if workers.rank == 0:
            (Path(folder) / "speed.json").write_text(json.dumps(scans / spent))


def table(head, rows):
    if not rows:
        return
    print("| " + " | ".join(map(str, head)) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
