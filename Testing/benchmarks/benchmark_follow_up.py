"""How much a second scan adds to the prognosis for a perfect reader, on simulated patients whose scans are not drawn.

    python Testing/benchmarks/benchmark_follow_up.py [--patients 300 --seed 1]

Of each scan the reader knows the exact volume and the probability of death given what that scan shows; a logistic
regression, cross-validated by patient, makes of it what `ichmultitask-train logistic` makes of a model's readings.
Some 0.1 s of one core a patient.
"""

import argparse
import sys
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask"), str(ROOT / "ICHMultiTaskTraining")]

from ICHMultiTaskLib.comparison.statistics import with_intervals  # noqa: E402
from ICHMultiTaskLib.simulation import (  # noqa: E402
    SimulationSettings,
    growth_probability,
    patient,
    patient_seed,
    simulate_follow_up,
    simulate_patient,
)
from ICHMultiTaskTrainingLib.evaluation.metrics import auc  # noqa: E402

SETTINGS = SimulationSettings(slices=2, matrix=32, bleed=True)


def blank(rng, head, hematoma, acquisition, progress):
    """In place of the scanner: slices without anything in them."""
    shape = (len(acquisition.offsets_mm), acquisition.matrix, acquisition.matrix)
    return np.zeros(shape, np.int16), np.zeros(shape, np.uint8), {"ivh_ml": 0.0, "edema_ml": 0.0}


def reading(scan):
    """Cube root of the volume and log odds of death, as of `logistic`."""
    probability = np.clip(scan.death_probability_image, 1e-4, 1 - 1e-4)
    return [np.cbrt(scan.volume_ml), np.log(probability / (1 - probability))]


def predicted(features, died, folds=5):
    """Cross-validated probabilities of a logistic regression on standardized features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    return cross_val_predict(model, features, died, cv=parts, method="predict_proba")[:, 1]


def main():
    """Simulate and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    alone, both, died, grown, chance, known = [], [], [], [], [], []
    with mock.patch.object(patient, "scan", blank), mock.patch.object(patient, "read_volumes", lambda *_: (0.0,) * 8):
        for n in range(options.patients):
            first = simulate_patient(patient_seed(options.seed, n), SETTINGS)
            _, second = simulate_follow_up(first, SETTINGS)
            alone.append(reading(first))
            both.append(reading(first) + reading(second))
            died.append(second.died)
            known.append(second.death_probability_image)
            grown.append(second.volume_ml / first.volume_ml > 1.3)
            chance.append(growth_probability(first))
    died = np.array(died, float)
    columns = [predicted(np.array(alone), died), predicted(np.array(both), died), np.array(known), died]

    def areas(one, two, best, death):
        return {
            "first alone": auc(one, death),
            "both": auc(two, death),
            "gain": auc(two, death) - auc(one, death),
            "best reachable from the second": auc(best, death),
        }

    found, intervals = with_intervals(areas, columns, {})
    print(
        f"{options.patients} patients, {died.sum():.0f} died; {np.mean(grown):.0%} grew, {np.mean(chance):.0%} expected"
    )
    for name, value in found.items():
        print(f"{name}: {value:.3f} ({intervals[name][0]:.3f} to {intervals[name][1]:.3f})")


if __name__ == "__main__":
    main()
