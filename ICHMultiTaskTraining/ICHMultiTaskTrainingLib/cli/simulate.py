"""The `ichmultitask-train simulate` command."""

import json
from pathlib import Path

from ICHMultiTaskLib.common.choices import Cohort
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive
from ICHMultiTaskLib.simulation import SimulationSettings, usable_scans, write_cohort


def add_arguments(parser):
    """Add the command's arguments to its parser."""
    parser.add_argument("--patients", type=positive, required=True, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default 0)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="an interrupted one is continued")
    parser.add_argument("--format", choices=("dicom", "nifti"), default="nifti")
    parser.add_argument("--matrix", type=positive, metavar="N", help="rows and columns of a slice (default 512)")
    parser.add_argument(
        "--slices", type=positive, metavar="N", help="in every scan (default: by a thickness drawn as in practice)"
    )
    parser.add_argument(
        "--composition",
        choices=Cohort.values(),
        default=Cohort.TRAINING.value,
        help="what kind of patients: training (default; many without a bleed but with other lesions, a third of bleeds "
        "fatal) or paper (all with a bleed, an eighth of them fatal)",
    )
    parser.add_argument(
        "--anatomy", type=Path, metavar="DIR", help="insert hematomas into the head CTs in DIR, not simulated heads"
    )
    parser.add_argument("--processes", type=positive, default=1, metavar="N")
    parser.set_defaults(run=run)


def run(options):
    """Do the command's work."""
    if options.anatomy and (options.matrix or options.slices):
        raise InputError("Scans given by --anatomy keep their own grid: expected no --matrix and no --slices with it.")
    settings, scans = SimulationSettings(options.slices, options.matrix or 512, composition=options.composition), ()
    with ShellProgress() as progress:
        if options.anatomy:
            scans, reasons = usable_scans(options.anatomy, progress)
            for reason in reasons:
                progress.line(f"Left out: {reason}")
        manifest = write_cohort(
            options.patients, options.seed, options.output, options.format, settings, options.processes, progress, scans
        )
    summary = json.loads((options.output / "summary.json").read_text(encoding="utf-8"))
    print(f"{summary['patients']} patients, {summary['bleeds']} with a bleed, {summary['died']} died: {manifest}")
    if summary["auc_best_image"] is not None:
        print(
            f"Of the bleeds {summary['mortality']:.0%} died. Best reachable AUC of the prognosis among them: "
            f"{summary['auc_best_image']:.3f} from the image, {summary['auc_best_clinical']:.3f} with age and GCS."
        )
