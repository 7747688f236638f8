"""The command `ichmultitask-train`: simulate, train, evaluate, check."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from ICHMultiTaskLib.common.choices import Cohort, Device
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import run_command

from ..training.config import PRESETS, make_config
from ..training.settings_text import parse_assignments
from . import robustness as robustness_command


def main(arguments=None):
    """Run the command; returns the exit status: 0 done, 1 input refused or work failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    return run_command(lambda: _run(arguments), "Canceled; a training run can be continued with the same command.")


def _run(arguments):
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(["ichmultitask-train", *arguments])
    options.run(options)


def _parser():
    parser = argparse.ArgumentParser(
        prog="ichmultitask-train", description="Simulate head CTs, train the multi-task network, evaluate a model."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    simulate = commands.add_parser("simulate", help="write a cohort of simulated patients with exact volumes")
    simulate.add_argument("--patients", type=_positive, required=True, metavar="N")
    simulate.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default 0)")
    simulate.add_argument("--output", type=Path, required=True, metavar="DIR", help="an interrupted one is continued")
    simulate.add_argument("--format", choices=("dicom", "nifti"), default="nifti")
    simulate.add_argument("--matrix", type=_positive, metavar="N", help="rows and columns of a slice (default 512)")
    simulate.add_argument(
        "--slices", type=_positive, metavar="N", help="in every scan (default: by a thickness drawn as in practice)"
    )
    simulate.add_argument(
        "--composition",
        choices=Cohort.values(),
        default=Cohort.TRAINING.value,
        help="what kind of patients: training (default; many without a bleed but with other lesions, a third of bleeds "
        "fatal) or paper (all with a bleed, an eighth of them fatal)",
    )
    simulate.add_argument(
        "--anatomy", type=Path, metavar="DIR", help="insert hematomas into the head CTs in DIR, not simulated heads"
    )
    simulate.add_argument("--processes", type=_positive, default=1, metavar="N")
    simulate.set_defaults(run=_simulate)

    train = commands.add_parser("train", help="train on a manifest and write a model bundle")
    train.add_argument("manifest", type=Path, help="CSV with patient_id, image, volume_ml, died")
    train.add_argument("--output", type=Path, required=True, metavar="DIR", help="run folder; continued if interrupted")
    train.add_argument("--preset", choices=tuple(PRESETS), help="default: that of --config, or default")
    train.add_argument(
        "--config", type=Path, metavar="JSON", help="a file of settings unlike the preset's; config.json of a run"
    )
    train.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, such as epochs=50; repeatable"
    )
    train.add_argument("--fold", type=int, metavar="N", help="cross-validation: hold out this fold, from 0")
    train.add_argument("--folds", type=_positive, metavar="K", help="their number (default 5)")
    train.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    train.add_argument("--processes", type=_positive, default=1, metavar="N", help="for preparing the scans")
    train.add_argument("--cache", type=Path, metavar="DIR", help="of prepared scans, which runs and folds may share")
    train.add_argument("--skip-unusable", action="store_true", help="leave out scans that cannot be used; say which")
    train.add_argument("--name", help="of the bundle (default: ich-multitask, or that of the start with -fine-tuned)")
    train.add_argument("--bundle-version", help="default: 0.1.0")
    train.add_argument("--training-data", metavar="SENTENCE", help="what it was trained on; shown beside every number")
    train.set_defaults(run=_train)

    gather = commands.add_parser("gather", help="put the folds of a cross-validation together")
    gather.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run, one a fold")
    gather.add_argument("--output", type=Path, required=True, metavar="DIR")
    gather.set_defaults(run=_gather)

    evaluate = commands.add_parser("evaluate", help="measure a model on a manifest")
    evaluate.add_argument("manifest", type=Path)
    evaluate.add_argument("--output", type=Path, required=True, metavar="DIR")
    evaluate.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    evaluate.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    evaluate.add_argument("--record", action="store_true", help="write the metrics into the bundle's model card")
    evaluate.set_defaults(run=_evaluate)

    calibrate = commands.add_parser("calibrate", help="fit a model's interval and probability on scans it has not seen")
    calibrate.add_argument("manifest", type=Path)
    calibrate.add_argument("--model", type=Path, required=True, metavar="BUNDLE")
    calibrate.add_argument("--output", type=Path, metavar="DIR", help="the new bundle (default: replace the old one)")
    calibrate.add_argument("--name", help="default: that of the model with -calibrated; unchanged where it is replaced")
    calibrate.add_argument("--bundle-version", help="default: 0.1.0; unchanged where it is replaced")
    calibrate.add_argument("--outcome", default="died", metavar="COLUMN", help="0, 1 or a probability of death")
    calibrate.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    calibrate.set_defaults(run=_calibrate)

    average = commands.add_parser("average", help="average the weights of a model and of its further training")
    average.add_argument("models", type=Path, nargs="+", metavar="BUNDLE", help="at least two")
    average.add_argument("--output", type=Path, required=True, metavar="DIR", help="the new bundle, to be calibrated")
    average.add_argument("--name", help="default: that of the last with -averaged")
    average.add_argument("--bundle-version", help="default: 0.1.0")
    average.set_defaults(run=_average)

    robustness_command.add_parsers(commands, _positive)
    return parser


def _average(options):
    from ..bundles.averaging import average_bundles

    bundle = average_bundles(options.models, options.output, options.bundle_version, options.name)
    print(f"Averaged model bundle, to be calibrated: {bundle.folder}")


def _calibrate(options):
    from ..bundles.recalibration import recalibrate

    output = options.output or options.model
    with ShellProgress() as progress:
        bundle = recalibrate(
            options.manifest, options.model, output, options.outcome, options.device, progress,
            options.name, options.bundle_version,
        )  # fmt: skip
    for note in bundle.metadata["calibration"]["notes"]:
        print(note)
    print(f"Calibrated model bundle: {bundle.folder}")


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def _simulate(options):
    from ICHMultiTaskLib.common.errors import InputError
    from ICHMultiTaskLib.simulation import SimulationSettings, usable_scans, write_cohort

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


def _train(options):
    from ICHMultiTaskLib.model.runtime import choose_device

    from ..bundles.export import export_best, export_bundle
    from ..data.manifest import read_manifest
    from ..evaluation.cross_validation import FOLDER, report_run
    from ..training.distributed import launched_workers
    from ..training.progress_file import followed
    from ..training.run_folder import RunFolder, check_start
    from ..training.trainer import Trainer

    preset, settings = _settings(options)
    config = make_config(preset, **settings)
    manifest = read_manifest(options.manifest)
    device = choose_device(options.device)
    if not RunFolder(options.output).begun:
        check_start(manifest, config)
    with (
        ShellProgress() as shell,
        launched_workers(device) as workers,
        followed(options.output, shell, workers.rank) as progress,
    ):
        trainer = Trainer(
            manifest, config, options.output, device, options.processes, progress, progress.line, workers,
            options.skip_unusable, options.cache,
        )  # fmt: skip
        trainer.run()
        if workers.rank:
            return
        progress(1.0, "Calibrating and writing the model")
        choice = trainer.choose()
        if choice.note:
            progress.line(choice.note)
        described = (options.name, options.bundle_version, options.training_data, options.command_line)
        bundle = export_bundle(trainer, options.output / "bundle", *described, choice)
        best = export_best(trainer, options.output / "bundle-best", *described, choice)
        progress(1.0, "Writing the report")
        report_run(trainer, bundle, options.output / FOLDER, options.command_line, choice)
    print(f"Model bundle: {bundle.folder}")
    if best is not None:
        print(f"That of the best epoch: {best.folder}")
    print(f"Report: {options.output / FOLDER / 'report.html'}")


def _gather(options):
    from ..evaluation.cross_validation import gather_folds

    gather_folds(options.runs, options.output)
    print(f"Report: {options.output / 'report.html'}")


def _settings(options):
    """The preset and the settings that differ from it, of the file and of the shell."""
    from ICHMultiTaskLib.common.errors import InputError

    settings = {}
    if options.config:
        try:
            settings = json.loads(options.config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"The config file {options.config} is not JSON: {error}.") from error
        if isinstance(settings, dict) and isinstance(settings.get("config"), dict):
            settings = settings["config"]  # config.json of a run, which holds its manifest beside the settings
        if not isinstance(settings, dict):
            raise InputError(
                f"The config file {options.config} is malformed: expected settings by name, found {settings}."
            )
    preset = settings.pop("preset", options.preset or "default")
    if options.preset not in (None, preset):
        raise InputError(f"The presets differ: expected one, found {options.preset} and {preset} in {options.config}.")
    settings |= parse_assignments(options.set)
    of_flags = {"fold": options.fold, "folds": options.folds}
    return preset, settings | {name: value for name, value in of_flags.items() if value is not None}


def _evaluate(options):
    from ..evaluation.evaluation import evaluate

    with ShellProgress() as progress:
        metrics = evaluate(options.manifest, options.output, options.model, options.device, progress)
    if options.record:
        from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle

        from ..bundles.model_card import record_metrics

        record_metrics(ModelBundle.load(options.model or default_bundle()), metrics)
    print(json.dumps({part: metrics[part] for part in ("volume", "prognosis", "attention")}, indent=2))
    print(f"Metrics: {options.output / 'metrics.json'}")
