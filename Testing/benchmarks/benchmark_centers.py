"""One model by several simulated hospitals: federated, pooled and local training on the same scans.

    python Testing/benchmarks/benchmark_centers.py --output FOLDER [--patients 80 --epochs 30 --rounds 6]

Needs NVIDIA FLARE. Prints a table in Markdown, with 95 % bootstrap intervals over the test patients; what it says
depends on the size, which stands above it.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask"), str(ROOT / "ICHMultiTaskTraining")]

from ICHMultiTaskLib.comparison.statistics import mean_where, with_intervals  # noqa: E402
from ICHMultiTaskLib.model.calibration import output_to_volume  # noqa: E402
from ICHMultiTaskLib.simulation import SimulationSettings, write_cohort  # noqa: E402
from ICHMultiTaskTrainingLib.data.batches import load  # noqa: E402
from ICHMultiTaskTrainingLib.data.cache import CachedScans, prepare_all  # noqa: E402
from ICHMultiTaskTrainingLib.data.manifest import read_manifest  # noqa: E402
from ICHMultiTaskTrainingLib.evaluation.metrics import auc  # noqa: E402
from ICHMultiTaskTrainingLib.federated.job import federate  # noqa: E402
from ICHMultiTaskTrainingLib.training.config import make_config  # noqa: E402
from ICHMultiTaskTrainingLib.training.trainer import Trainer  # noqa: E402

CENTERS = {
    "thick": {"thickness_mm": 8.0, "noise_hu": 3.0, "offset_hu": 0.0},
    "thin": {"thickness_mm": 4.0, "noise_hu": 6.0, "offset_hu": 6.0},
}
"""Slice thickness, noise and offset of HU: what scanners and protocols differ in."""
SMALL = {
    "architecture": {"width": 8, "stem_stride": [1, 2, 2], "stage_strides": [1, 2, [1, 2, 2], 1], "final_relu": False},
    "preprocessing": {"window_hu": [0, 100], "shape_kji": [16, 48, 48], "average": True, "max_height_mm": 170},
    "dense_from": None,
    "batch_size": 4,
    "coarse_epochs": [],
    "validation_fraction": 0.2,
}


def simulate(folder, patients, matrix):
    """Manifests of each center, for training and for testing, and one of all training scans."""
    found, pooled = {}, []
    for n, (name, scanner) in enumerate(CENTERS.items()):
        settings = SimulationSettings(slices=None, matrix=matrix, bleed=True, **scanner)
        train = write_cohort(patients, 100 + n, folder / f"{name}-train", settings=settings)
        test = write_cohort(patients, 200 + n, folder / f"{name}-test", settings=settings)
        found[name] = train, test
        with train.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                pooled.append(row | {key: str(train.parent / row[key]) for key in ("image", "mask")})
    path = folder / "pooled.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, pooled[0])
        writer.writeheader()
        writer.writerows(pooled)
    return found, path


def measure(network, config, scans):
    """Absolute errors in mL and margins of death on prepared scans, nothing calibrated."""
    import torch

    with torch.no_grad():
        outputs = [network(load(scans, np.array([n]), 1, "cpu")[0]) for n in range(len(scans.died))]
    volumes = output_to_volume(np.array([float(o) for o, _ in outputs]), config.target, scans.crop_volume_mm3)
    margins = np.array([float(s[0, 1] - s[0, 0]) for _, s in outputs])
    return np.abs(volumes - scans.volume_ml), margins


def cells(errors, margins, pooled, died, center):
    """A row of the table: numbers with their 95 % bootstrap intervals over the test patients."""

    def measures(errors, margins, pooled, died, center):
        found = {f"center {n}": mean_where(errors, center == n) for n in range(len(CENTERS))}
        return found | {"both": errors.mean(-1), "more": (errors - pooled).mean(-1), "auc": auc(margins, died)}

    found, intervals = with_intervals(measures, [errors, margins, pooled, died, center], {})
    digits = {"auc": 3}
    numbers = [(value, *intervals[name], digits.get(name, 2)) for name, value in found.items()]
    return [f"{value:.{n}f} ({low:.{n}f} to {high:.{n}f})" for value, low, high, n in numbers]


def main():
    """Simulate, train in three ways, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=80, help="of each center, for training and again for testing")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--matrix", type=int, default=96)
    options = parser.parse_args()
    began = time.process_time()
    centers, pooled = simulate(options.output / "scans", options.patients, options.matrix)
    settings = SMALL | {"epochs": options.epochs}
    config = make_config(**settings)
    networks = {}
    bundles = federate(
        {name: train for name, (train, _) in centers.items()},
        options.output / "federated",
        options.rounds,
        settings,
        "cpu",
    )
    from ICHMultiTaskLib.model.bundle import ModelBundle

    networks[f"federated, {options.rounds} rounds"] = ModelBundle.load(next(iter(bundles.values()))).network()
    alone = {f"{name} alone": train for name, (train, _) in centers.items()}
    for name, manifest in {"pooled": pooled, **alone}.items():
        trainer = Trainer(read_manifest(manifest), config, options.output / name.replace(" ", "-"), "cpu")
        trainer.run()
        networks[name] = trainer.bundle_network()
    tests = {}
    for name, (_, test) in centers.items():
        rows = read_manifest(test).rows
        tests[name] = CachedScans(rows, prepare_all(rows, config.preprocessing, options.output / "cache"))
    print(
        f"\n{options.patients} training and {options.patients} test patients with a bleed in each of "
        f"{len(CENTERS)} simulated centers; {options.epochs} epochs, width {SMALL['architecture']['width']}, grid "
        f"{SMALL['preprocessing']['shape_kji']}; CPU {time.process_time() - began:.0f} s without the hospitals' own.\n"
    )
    headings = ["training", *(f"MAE on {name} (mL)" for name in tests), "on both", "− that of pooled", "AUC on both"]
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    columns = {"died": [], "volume_ml": [], "center": []}
    for n, scans in enumerate(tests.values()):
        columns["died"].append(scans.died.astype(float))
        columns["volume_ml"].append(scans.volume_ml)
        columns["center"].append(np.full(len(scans.died), n))
    died, volumes, center = (np.concatenate(parts) for parts in columns.values())
    found = {}
    for name, network in networks.items():
        measured = [measure(network.eval(), config, scans) for scans in tests.values()]
        found[name] = [np.concatenate(parts) for parts in zip(*measured)]
    trained = [row.volume_ml for train, _ in centers.values() for row in read_manifest(train).rows]
    found["the median of their volumes"] = np.abs(volumes - np.median(trained)), np.zeros(len(died))
    for name, (errors, margins) in found.items():
        print(f"| {name} | {' | '.join(cells(errors, margins, found['pooled'][0], died, center))} |")
    print(f"\n{died.sum():.0f} of the {len(died)} test patients died.")


if __name__ == "__main__":
    main()
