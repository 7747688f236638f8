"""Readings of the same simulated heads before and after surgery on the skull.

    python Testing/benchmarks/benchmark_surgery.py [--patients 40 --model BUNDLE]

Prints a table in Markdown. Every row has the same heads, bleeds and scanners.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask")]

from ICHMultiTaskLib.analysis.analyzer import Analyzer  # noqa: E402
from ICHMultiTaskLib.common.progress import ShellProgress  # noqa: E402
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient  # noqa: E402
from ICHMultiTaskLib.simulation.cohort import patient_seed  # noqa: E402
from ICHMultiTaskLib.simulation.surgery import SHARES  # noqa: E402

SEED = 91


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--model", type=Path, help="default: the shipped one")
    options = parser.parse_args()
    analyzer = Analyzer(options.model)
    headings = ("heads", "surgery", "MAE (mL)", "bias (mL)", "largest error (mL)", "hemorrhage", "with findings")
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for bleed, name in ((False, "without a bleed"), (True, "with a bleed")):
        for kind in ("none", *SHARES):
            print(f"| {name} | {kind} | {' | '.join(row(analyzer, options.patients, bleed, kind))} |", flush=True)


def row(analyzer, patients, bleed, kind):
    """Cells of one row of the table."""
    errors, decisions, findings = [], Counter(), 0
    settings = SimulationSettings(matrix=256, slices=None, bleed=bleed, surgery=kind)
    with ShellProgress() as bar:
        progress = bar.step(kind, 0, 1)
        for n in range(patients):
            progress(n / patients, "")
            patient = simulate_patient(patient_seed(SEED, n), settings)
            found = analyzer.analyze(patient.head_ct, attention=False)
            errors.append(found.volume_ml - patient.volume_ml)
            decisions[found.hemorrhage.value] += 1
            findings += found.findings is not None
    errors = np.array(errors)
    return [
        f"{np.abs(errors).mean():.2f}", f"{errors.mean():+.2f}", f"{np.abs(errors).max():.1f}",
        ", ".join(f"{count} {word}" for word, count in decisions.most_common()), str(findings),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
