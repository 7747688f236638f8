"""The `ichmultitask-train simulate` command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ICHMultiTaskLib.common.choices import Cohort
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive, seed
from ICHMultiTaskLib.simulation import SimulationSettings, usable_scans, write_cohort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Write simulated head CTs with hematomas of exactly known volume, their masks, manifest.csv (the table of "
        "scans) and summary.json."
    )
    parser.add_argument("--patients", type=positive, required=True, metavar="N", help="number of patients")
    parser.add_argument("--seed", type=seed, default=0, help="the same seed gives the same files (default 0)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="continued if interrupted")
    parser.add_argument("--format", choices=("dicom", "nifti"), default="nifti", help="of the scans (default: nifti)")
    parser.add_argument("--matrix", type=positive, metavar="N", help="rows and columns of a slice (default 512)")
    parser.add_argument(
        "--slices", type=positive, metavar="N", help="per scan (default: from a random, realistic slice thickness)"
    )
    parser.add_argument(
        "--composition",
        choices=Cohort.values(),
        default=Cohort.TRAINING.value,
        help="kind of patients: training (default; many without a bleed but with other lesions, a third of the bleeds "
        "fatal) or paper (all with a bleed, an eighth of them fatal)",
    )
    parser.add_argument(
        "--anatomy",
        type=Path,
        metavar="DIR",
        help="insert hematomas into the head CTs in DIR, not into simulated heads",
    )
    parser.add_argument(
        "--follow-up",
        action="store_true",
        help="scan every patient twice; some bleeds grow",
    )
    parser.add_argument(
        "--deaths",
        type=positive,
        metavar="N",
        help="so many patients die, whoever they are (default: each independently of the others)",
    )
    parser.add_argument("--processes", type=positive, default=1, metavar="N", help="that simulate (default: 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    if options.anatomy and (options.matrix or options.slices):
        raise InputError("The scans of --anatomy keep their own grid: expected neither --matrix nor --slices with it.")
    settings, scans = SimulationSettings(options.slices, options.matrix or 512, composition=options.composition), ()
    with ShellProgress() as progress:
        if options.anatomy:
            scans, reasons = usable_scans(options.anatomy, progress)
            for reason in reasons:
                progress.line(f"Left out: {reason}")
        manifest = write_cohort(
            options.patients,
            options.seed,
            options.output,
            options.format,
            settings,
            options.processes,
            progress,
            scans,
            options.follow_up,
            options.deaths,
        )
    summary = json.loads((options.output / "summary.json").read_text(encoding="utf-8"))
    print(f"{summary['patients']} patients, {summary['bleeds']} with a bleed, {summary['died']} died: {manifest}")
    if summary["auc_best_image"] is not None:
        print(
            f"Mortality of the bleeds: {summary['mortality']:.0%}. Best possible AUC of the prognosis among them: "
            f"{summary['auc_best_image']:.3f} from the image, {summary['auc_best_clinical']:.3f} with age and GCS."
        )
