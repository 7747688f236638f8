"""The `ichmultitask-train sample-size` command."""

from __future__ import annotations

import argparse

from ..evaluation.sample_size import (
    for_auc,
    for_bias,
    for_calibration_slope,
    for_coverage,
    for_limits_of_agreement,
    for_observed_to_expected,
)

WIDTHS = {"auc": (0.20, 0.15, 0.10), "ratio": (0.6, 0.4, 0.3), "slope": (1.0, 0.6, 0.4),
          "share": (0.20, 0.15, 0.10), "ml": (4.0, 2.0, 1.0)}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = "How many patients with a bleed a validation needs, by the width of each 95 % interval."
    add = parser.add_argument
    add("--auc", type=float, default=0.85, help="expected AUC of the prognosis (default 0.85)")
    add("--mortality", type=float, default=0.35, help="expected 30-day mortality (default 0.35)")
    add("--coverage", type=float, default=0.90, help="expected coverage of the volume's interval (default 0.90)")
    add("--spread", type=float, default=8.0, metavar="ML", help="standard deviation of the volume's error (default 8)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    auc, mortality, spread = options.auc, options.mortality, options.spread
    rows = [
        (f"AUC of {auc:g}", "auc", lambda width: for_auc(width, auc, mortality)),
        ("observed to expected deaths, around 1", "ratio", lambda width: for_observed_to_expected(width, mortality)),
        ("calibration slope, around 1", "slope", lambda width: for_calibration_slope(width, auc, mortality)),
        (f"coverage of {options.coverage:g}", "share", lambda width: for_coverage(width, options.coverage)),
        ("mean error of the volume, mL", "ml", lambda width: for_bias(width, spread)),
        ("each limit of agreement, mL", "ml", lambda width: for_limits_of_agreement(width, spread)),
    ]
    lines = ["| what | width: patients (deaths) | | |", "|---|---|---|---|"]
    for what, kind, patients in rows:
        cells = [f"{width:g}: {(n := patients(width)):,} ({round(n * mortality):,})" for width in WIDTHS[kind]]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    print(f"For a mortality of {mortality:g} and a volume error with a standard deviation of {spread:g} mL:\n")
    print("\n".join(lines))
