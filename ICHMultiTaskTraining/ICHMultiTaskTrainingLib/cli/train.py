"""The `ichmultitask-train train` command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.processes import usable_cores
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.shell import positive
from ICHMultiTaskLib.common.writing import check_folder
from ICHMultiTaskLib.model.bundle import check_bundle_folder
from ICHMultiTaskLib.model.networks import TRAINABLE

from ..data.manifest import read_manifest
from ..evaluation.cross_validation import FOLDER, report_run
from ..training.config import PRESETS, make_config
from ..training.progress_file import TRAINED, followed
from ..training.run_folder import RunFolder, check_start
from ..training.settings_text import parse_assignments
from .analyzing_options import LABELED_SCANS, add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Train on a table of scans; write a model bundle, a report and the files of the run. The same command "
        "continues an interrupted run."
    )
    parser.add_argument("manifest", type=Path, help=LABELED_SCANS)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="run folder; continued if interrupted"
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="default: that of --config, or gpu on a GPU and default on a CPU"
    )
    parser.add_argument(
        "--config", type=Path, metavar="JSON", help="file of settings that differ from the preset; config.json of a run"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, such as epochs=50; repeatable"
    )
    parser.add_argument("--network", metavar="NAME", help=f"one of {', '.join(TRAINABLE)} (default: the preset's)")
    parser.add_argument("--fold", type=int, metavar="N", help="cross-validation: hold out this fold, from 0")
    parser.add_argument("--folds", type=positive, metavar="K", help="number of folds (default 5)")
    add_device(parser)
    parser.add_argument(
        "--processes",
        type=positive,
        default=usable_cores(),
        metavar="N",
        help="processes that prepare the scans (default: one per processor)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared scans; runs and folds may share it")
    parser.add_argument("--skip-unusable", action="store_true", help="leave out unusable scans and list them")
    parser.add_argument("--name", help="of the bundle (default: ich-multitask, or that of the start with -fine-tuned)")
    parser.add_argument("--bundle-version", metavar="VERSION", help="default: 0.1.0")
    parser.add_argument(
        "--training-data", metavar="SENTENCE", help="what it was trained on; shown next to every result"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do the command's work."""
    from ICHMultiTaskLib.model.runtime import choose_device

    from ..bundles.export import export_best, export_bundle
    from ..training.distributed import launched_workers
    from ..training.preflight import check_network
    from ..training.trainer import Trainer

    preset, settings = read_settings(options)
    config = make_config(preset, **settings)
    manifest = read_manifest(options.manifest)
    device = choose_device(options.device)
    check_network(config, device)
    if not RunFolder(options.output).begun:
        check_start(manifest, config)
    for name in ("bundle", "bundle-best"):
        check_bundle_folder(options.output / name)
    check_folder(options.output / FOLDER, "training report", overwrite=True)
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
        progress(TRAINED, "Calibrating and writing the model")
        choice = trainer.choose()
        if choice.note:
            progress.line(choice.note)
        described = (options.name, options.bundle_version, options.training_data, options.command_line)
        bundle = export_bundle(trainer, options.output / "bundle", *described, choice)
        best = export_best(trainer, options.output / "bundle-best", *described, choice)
        progress((1.0 + TRAINED) / 2, "Writing the report")
        report_run(trainer, bundle, options.output / FOLDER, options.command_line, choice)
    print(f"Model bundle: {bundle.folder}")
    if best is not None:
        print(f"Model bundle of the best epoch: {best.folder}")
    print(f"Report: {options.output / FOLDER / 'report.html'}")


def read_settings(options: argparse.Namespace) -> tuple[str, dict]:
    """The preset and the settings that differ from it, from the file and the command line."""
    from ICHMultiTaskLib.model.runtime import choose_device

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
    by_device = "gpu" if choose_device(options.device) == "cuda" else "default"
    of_flags = {
        "preset": options.preset, "fold": options.fold, "folds": options.folds, "architecture.network": options.network,
    }  # fmt: skip
    flags, assigned = {name: v for name, v in of_flags.items() if v is not None}, parse_assignments(options.set)
    sources = (("--preset", flags), ("--set", assigned), (options.config, settings))
    presets = {str(given["preset"]): place for place, given in sources if "preset" in given}
    if len(presets) > 1:
        found = " and ".join(f"{name} in {place}" for name, place in presets.items())
        raise InputError(f"The presets differ: expected one, found {found}.")
    asked = assigned | flags
    settings |= asked
    preset = settings.pop("preset", by_device)
    if "folds" in asked and settings.get("fold") is None:
        raise InputError(
            "The number of folds has no effect without the fold that is held out: expected --fold with it, from 0, "
            f"one run for each; found --folds {asked['folds']} alone."
        )
    if "validation_fraction" in asked and settings.get("fold") is not None:
        raise InputError(
            "The patients that are held out are those of a fold or a share of all: expected one of both, found fold "
            f"{settings['fold']} and validation_fraction {asked['validation_fraction']}."
        )
    return preset, settings
