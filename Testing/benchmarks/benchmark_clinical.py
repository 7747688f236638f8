"""What age, GCS and other columns add to the image, by the network's own clinical branch on a frozen image part.

    python Testing/benchmarks/benchmark_clinical.py MANIFEST predictions.csv [--clinical age gcs]

`predictions.csv` is that of `ichmultitask-train evaluate` on the manifest with a model of the image alone. The branch
is trained as in a run whose encoder and image head are frozen, and cross-validated by patient. Seconds of one core.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask"), str(ROOT / "ICHMultiTaskTraining")]

from ICHMultiTaskLib.common.tables import read_csv  # noqa: E402
from ICHMultiTaskLib.comparison.statistics import with_intervals  # noqa: E402
from ICHMultiTaskLib.model.clinical import ClinicalInputs  # noqa: E402
from ICHMultiTaskLib.model.networks.base import ClinicalBranch  # noqa: E402
from ICHMultiTaskTrainingLib.data.batches import HIDDEN_SHARE  # noqa: E402
from ICHMultiTaskTrainingLib.data.manifest import read_manifest  # noqa: E402
from ICHMultiTaskTrainingLib.data.splits import draw_folds  # noqa: E402
from ICHMultiTaskTrainingLib.evaluation.metrics import auc  # noqa: E402
from ICHMultiTaskTrainingLib.training.losses import prognosis_loss  # noqa: E402

STEPS, RATE, BATCH = 600, 1e-2, 32


def train_branch(inputs, image, clinical, died, seed):
    """A clinical branch beside frozen image scores, as `train` would train it."""
    torch.manual_seed(seed)
    branch = ClinicalBranch(inputs.width)
    optimizer = torch.optim.AdamW(branch.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    owners = torch.from_numpy(inputs.owners)
    for _ in range(STEPS):
        rows = torch.randint(len(died), (BATCH,))
        known = (torch.rand(BATCH, len(inputs.names)) >= HIDDEN_SHARE)[:, owners]
        optimizer.zero_grad()
        prognosis_loss(image[rows] + branch(clinical[rows] * known), died[rows], 1.0).backward()
        optimizer.step()
        schedule.step()
    return branch


def main():
    """Cross-validate and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--clinical", nargs="+", default=["age", "gcs"])
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    rows = read_manifest(options.manifest).rows
    rows = [row for row in rows if row.split == "test"] or rows  # as evaluate does
    records = [record for _, record in read_csv(options.predictions).records()]
    if [record["patient_id"] for record in records] != [row.patient_id for row in rows]:
        parser.error(
            f"expected the table that evaluate makes of {options.manifest}, with {len(rows)} rows in its order"
        )
    read = [record["mortality_probability"] for record in records]
    pairs = [(row, float(p)) for row, p in zip(rows, read, strict=True) if p and row.volume_ml > 0]
    rows = [row for row, _ in pairs]
    odds = np.log(np.array([p / (1 - p) for _, p in pairs]))
    image = torch.tensor(np.stack([np.zeros_like(odds), odds], axis=1), dtype=torch.float32)
    died = np.array([row.died for row in rows])
    fold_of = draw_folds(rows, options.folds, 0)
    folds = np.array([fold_of[row.patient_id] for row in rows])
    scores = np.empty(len(rows))
    for fold in range(options.folds):
        fitted, left = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inputs = ClinicalInputs.fit(options.clinical, {rows[n].patient_id: rows[n].extra for n in fitted})
        encoded = torch.from_numpy(inputs.encode_all([row.extra for row in rows], [row.patient_id for row in rows]))
        target = torch.tensor(died[fitted], dtype=torch.float32)
        branch = train_branch(inputs, image[fitted], encoded[fitted], target, fold)
        with torch.no_grad():
            both = image[left] + branch(encoded[left])
        scores[left] = (both[:, 1] - both[:, 0]).numpy()

    def areas(alone, together, death):
        return {
            "image": auc(alone, death),
            "together": auc(together, death),
            "gain": auc(together, death) - auc(alone, death),
        }

    found, intervals = with_intervals(areas, [odds, scores, died.astype(float)], {})
    print(f"{len(rows)} patients with a bleed and a prognosis, {died.sum()} died; {', '.join(options.clinical)}")
    for name in ("image", "together", "gain"):
        print(f"{name}: {found[name]:.3f} ({intervals[name][0]:.3f} to {intervals[name][1]:.3f})")


if __name__ == "__main__":
    main()
