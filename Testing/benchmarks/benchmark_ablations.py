"""One setting at a time: short trainings that differ from a base in one of them, measured on the same patients.

    ichmultitask-train simulate --patients 500 --seed 98 --matrix 256 --output train
    ichmultitask-train simulate --patients 200 --seed 94 --matrix 256 --output test
    python Testing/benchmarks/benchmark_ablations.py train/manifest.csv test/manifest.csv --output DIR [--runs NAME …]

Prints a table in Markdown of all runs in the folder, with 95 % bootstrap intervals over the test patients; interrupted
runs are continued and finished ones are not repeated. Nothing is calibrated. The AUC is that of the bleeds, as an
expectation over draws of the deaths from the probabilities of the simulation. Each run's `predictions.csv` can be given
to `compare-models`, which writes a table into a model card.
"""

import argparse
import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from scipy.special import expit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask"), str(ROOT / "ICHMultiTaskTraining")]

from ICHMultiTaskLib.common.tables import write_csv  # noqa: E402
from ICHMultiTaskLib.comparison.statistics import divide, with_intervals  # noqa: E402
from ICHMultiTaskTrainingLib.data.cache import CachedScans, prepare_all  # noqa: E402
from ICHMultiTaskTrainingLib.data.manifest import outcomes, read_manifest  # noqa: E402
from ICHMultiTaskTrainingLib.evaluation.model_comparison import read_predictions  # noqa: E402
from ICHMultiTaskTrainingLib.training.config import make_config  # noqa: E402
from ICHMultiTaskTrainingLib.training.trainer import Trainer  # noqa: E402

PROBABILITY = "death_probability_image"
BASE = {"preprocessing.shape_kji": [32, 56, 56], "coarse_epochs": [], "epochs": 10, "outcome": PROBABILITY}
PATIENTS, SEEDS = 500, 10
PREDICTIONS = "predictions.csv"
RUNS = {
    "base": {},
    "no mask loss": {"mask_weight": 0.0},
    "no mask loss, volume alone": {"mask_weight": 0.0, "tasks": "volume"},
    "no mask loss, prognosis alone": {"mask_weight": 0.0, "tasks": "prognosis"},
    "auxiliary outputs": {"auxiliary_weight": 0.5},
    "learning rate halved": {"learning_rate": 0.00075},
    "learning rate doubled": {"learning_rate": 0.003},
    "batches of 2": {"batch_size": 2},
    "batches of 8": {"batch_size": 8},
    "250 patients": {"patients": 250},
    "1000 patients": {"patients": 1000},
    "width 8": {"architecture.width": 8},
    "width 24": {"architecture.width": 24},
    "grid of 32×112×112": {"preprocessing.shape_kji": [32, 112, 112]},
}
"""What each run changes of the base; `patients` are the first of the training cohort."""
REFERENCES = {name: "no mask loss" for name in RUNS if name.startswith("no mask loss, ")}
"""The run that another is compared with, if not with the base: a single task with both, neither of them with masks."""
WATCHED = 40
"""Test patients whose error is logged after each epoch; nothing is selected by it."""


def joint_manifest(train, test, patients, path):
    """One table of the first training patients and the test patients, by the column `split`."""
    rows = []
    for source, splits in ((train, ["train"] * patients), (test, ["validation"] * WATCHED)):
        with source.open(newline="", encoding="utf-8") as file:
            for n, row in enumerate(csv.DictReader(file)):
                split = splits[n] if n < len(splits) else "test"
                if split == "test" and source == train:
                    break
                places = {key: str((source.parent / row[key]).resolve()) for key in ("image", "mask")}
                rows.append(row | places | {"split": split})
    if sum(row["split"] == "train" for row in rows) < patients:
        sys.exit(f"The training cohort is too small: expected {patients} patients in {train}.")
    write_csv(path, rows, tuple(rows[0]))
    return path


def folder_of(name, seed, options):
    """Folder of a run."""
    return options.output / f"{name.replace(',', '').replace(' ', '-').replace('×', 'x')}-seed-{seed}"


def run(name, seed, options):
    """Train one variation and write what it predicts for the test patients."""
    folder = folder_of(name, seed, options)
    if (folder / PREDICTIONS).exists():
        return
    settings = BASE | RUNS[name] | {"seed": seed}
    patients = settings.pop("patients", PATIENTS)
    options.output.mkdir(parents=True, exist_ok=True)
    manifest = options.output / f"{patients}.csv"
    if not manifest.exists():
        joint_manifest(options.train, options.test, patients, manifest)
    config, cache = make_config(**settings), options.output / "cache"
    trainer = Trainer(read_manifest(manifest), config, folder, options.device, log=print, cache=cache)
    trainer.run()
    rows = read_manifest(options.test).rows
    scans = CachedScans(rows, prepare_all(rows, config.preprocessing, cache))
    write_predictions(folder / PREDICTIONS, rows, *trainer.predict(scans), config.tasks)


def write_predictions(path, rows, volumes, log_odds, tasks):
    """Write predictions of the trained heads as `evaluate` does; as there, none has a prognosis without a bleed."""
    records = [
        {
            "patient_id": row.patient_id,
            "volume_ml": row.volume_ml,
            "predicted_volume_ml": float(volume) if tasks != "prognosis" else "",
            "died": row.died,
            "mortality_probability": float(expit(odds)) if tasks != "volume" and row.volume_ml > 0 else "",
        }
        for row, volume, odds in zip(rows, volumes, log_odds, strict=True)
    ]
    write_csv(path, records, tuple(records[0]))


def expected_auc(score, probability):
    """Mean AUC of a score over draws of the deaths, along the last axis."""
    p = np.take_along_axis(probability, np.argsort(score, axis=-1, kind="stable"), -1)
    below = np.cumsum(1 - p, -1) - (1 - p)
    return divide((p * below).sum(-1), p.sum(-1) * (1 - p).sum(-1) - (p * (1 - p)).sum(-1))


def table(options):
    """The table of all runs in the folder."""
    rows = read_manifest(options.test).rows
    truth, probability = np.array([row.volume_ml for row in rows]), outcomes(rows, PROBABILITY).astype(float)
    bleeds = truth > 0
    head = ("run", "seed", "compared with", "MAE (mL)", "difference", "bias (mL)", "AUC of bleeds", "difference")
    lines = [head, ["---"] * len(head)]
    for name, seed in itertools.product(RUNS, range(SEEDS)):
        reference = REFERENCES.get(name, "base")
        files = [folder_of(of, seed, options) / PREDICTIONS for of in (name, reference)]
        if not all(file.exists() for file in files):
            continue
        both = [read_predictions(file) for file in files]
        volumes, scores = (
            [read[column] for read in both] for column in ("predicted_volume_ml", "mortality_probability")
        )
        volume, area = ("–", "", "–"), ("–", "")  # of heads that were not trained
        if np.isfinite(volumes[0]).all():
            columns = [np.abs(values - truth) for values in volumes]
            errors, intervals = with_intervals(lambda a, b: {"mae": a.mean(-1), "more": (a - b).mean(-1)}, columns, {})
            bias = f"{np.mean(volumes[0] - truth):+.2f}".replace("-", "−")
            more = shown(errors["more"], intervals["more"], 2, "+") if name != reference else ""
            volume = (shown(errors["mae"], intervals["mae"], 2), more, bias)
        if np.isfinite(scores[0][bleeds]).all():
            areas, bounds = with_intervals(areas_of, [*(s[bleeds] for s in scores), probability[bleeds]], {})
            more = shown(areas["more"], bounds["more"], 3, "+") if name != reference else ""
            area = (shown(areas["auc"], bounds["auc"], 3), more)
        lines.append((name, str(seed), reference if name != reference else "", *volume, *area))
    best = expected_auc(probability[bleeds], probability[bleeds])
    print(f"\n{len(rows)} test patients, {bleeds.sum()} with a bleed; best reachable AUC among these {best:.3f}.\n")
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


def areas_of(score, base, probability):
    """AUC of a run, and by how much it is larger than that of the run it is compared with."""
    own, other = (expected_auc(values, probability) for values in (score, base))
    return {"auc": own, "more": own - other}


def shown(value, interval, digits, sign=""):
    """A number with its interval."""
    low, high = interval
    return f"{value:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})".replace("-", "−")


def main():
    """Train the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, choices=range(SEEDS))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for name in options.runs:
        run(name, options.seed, options)
    table(options)


if __name__ == "__main__":
    main()
