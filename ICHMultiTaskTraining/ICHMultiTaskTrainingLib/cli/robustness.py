"""The subcommands `robustness` and `compare-models` of `ichmultitask-train`."""

from pathlib import Path

from ICHMultiTaskLib.common.choices import Device
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.common.writing import check_file, write_json


def add_parsers(commands, positive):
    """Add both to the subcommands of a parser; `positive` turns text into a number of at least 1."""
    robustness = commands.add_parser(
        "robustness",
        help="measure how steady a model is",
        description="Read simulated heads scanned in different ways and with their hematoma erased, and real heads "
        "with inserted hematomas; write robustness.json, readings.csv and figures.",
    )
    robustness.add_argument("--output", type=Path, required=True, metavar="DIR")
    robustness.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the shipped one")
    robustness.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    robustness.add_argument("--patients", type=positive, default=20, metavar="N", help="simulated (default 20)")
    robustness.add_argument(
        "--seed", type=int, default=303, help="of the simulated patients; never that of a training cohort (default 303)"
    )
    robustness.add_argument(
        "--manifest", type=Path, metavar="CSV", help="erase the hematomas of these scans too, where they have a mask"
    )
    robustness.add_argument(
        "--anatomy", type=Path, metavar="FOLDER", help="head CTs without a hemorrhage, to insert hematomas into"
    )
    robustness.add_argument(
        "--insertions", type=positive, default=8, metavar="N", help="into each of these (default 8)"
    )
    robustness.add_argument("--record", action="store_true", help="write the metrics into the bundle's model card")
    robustness.set_defaults(run=_robustness)

    compare = commands.add_parser(
        "compare-models", help="compare models, patient by patient, on scans that all of them were evaluated on"
    )
    compare.add_argument("first", type=Path, help="predictions.csv of the evaluation of one model")
    compare.add_argument("others", type=Path, nargs="+", help="those of other models on the same manifest")
    compare.add_argument("--output", type=Path, required=True, metavar="JSON", help="file to write")
    compare.add_argument("--note", default="", metavar="TEXT", help="what is compared, to stand above the table")
    compare.add_argument("--record", type=Path, metavar="BUNDLE", help="write the table into this bundle's model card")
    compare.set_defaults(run=_compare_models)


def _robustness(options):
    from ..evaluation.robustness.metrics import summary
    from ..evaluation.robustness.run import robustness

    with ShellProgress() as progress:
        results = robustness(
            options.output, options.model, options.device, options.patients, options.seed, options.manifest,
            options.anatomy, options.insertions, progress=progress,
        )  # fmt: skip
    if options.record:
        from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle

        from ..bundles.model_card import record_metrics

        record_metrics(ModelBundle.load(options.model or default_bundle()), results, "robustness")
    print(summary(results))
    print(f"Robustness: {options.output / 'robustness.json'}")


def _compare_models(options):
    from ..evaluation.model_comparison import compare_models, comparison_table, is_comparison

    check_file(options.output, is_comparison)
    comparison = {"note": options.note, **compare_models(options.first, *options.others)}
    write_json(options.output, comparison)
    if options.record:
        from ICHMultiTaskLib.model.bundle import ModelBundle

        from ..bundles.model_card import record_metrics

        record_metrics(ModelBundle.load(options.record), comparison, "comparison")
    print(comparison_table(comparison))
