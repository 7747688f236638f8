"""The command `ichmultitask-train`: one file for each of its subcommands."""

from ICHMultiTaskLib import __version__
from ICHMultiTaskLib.common.registry import Registry
from ICHMultiTaskLib.common.shell import parse, run_command

COMMANDS = Registry(
    "command",
    __package__,
    {
        "simulate": ("write a cohort of simulated patients with exact volumes", ".simulate:add_arguments"),
        "manifest": ("make the table of scans from segmentations beside them", ".manifest:add_arguments"),
        "train": ("train on a manifest and write a model bundle", ".train:add_arguments"),
        "gather": ("put the folds of a cross-validation together", ".gather:add_arguments"),
        "evaluate": ("measure a model on a manifest", ".evaluate:add_arguments"),
        "predict": ("analyze a folder of scans without labels", ".predict:add_arguments"),
        "calibrate": ("fit a model's interval and probability on scans it has not seen", ".calibrate:add_arguments"),
        "average": ("average the weights of a model and of its further training", ".average:add_arguments"),
        "ensemble": ("put several models, such as those of folds, into one bundle", ".ensemble:add_arguments"),
        "robustness": ("measure how steady a model is", ".robustness:add_arguments"),
        "compare-models": (
            "compare models, patient by patient, on scans that all of them were evaluated on",
            ".compare_models:add_arguments",
        ),
        "interpret": ("measure interpretation methods on scans with masks", ".interpret:add_arguments"),
        "reproduce": (
            "rerun the paper's experiments: rows, tables and figures on one page",
            ".reproduce:add_arguments",
        ),
        "release": ("make a model from nothing: simulate, train, calibrate, evaluate", ".release:add_arguments"),
        "compare-run": ("compare a finished run's model with the shipped one", ".compare_run:add_arguments"),
    },
)
"""Each adds its arguments to a parser and sets the default `run`, a callable (options)."""
DESCRIPTION = "Simulate head CTs, train the multi-task network, evaluate a model."


def main(arguments=None):
    """Run the command; return its exit status: 0 done, 1 input refused or work failed, 2 wrong usage."""

    def work():
        options = parse("ichmultitask-train", COMMANDS, arguments, DESCRIPTION, version=__version__)
        options.run(options)

    return run_command(work, "Canceled; a training run can be continued with the same command.")
