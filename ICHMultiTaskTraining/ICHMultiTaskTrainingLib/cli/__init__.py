"""The command `ichmultitask-train`: one file for each of its subcommands."""

from __future__ import annotations

from collections.abc import Sequence

from ICHMultiTaskLib import __version__
from ICHMultiTaskLib.common.registry import Registry
from ICHMultiTaskLib.common.shell import parse, run_command

COMMANDS = Registry(
    "command",
    __package__,
    {
        "simulate": ("write a cohort of simulated patients with exact volumes", ".simulate:add_arguments"),
        "manifest": ("make the table of scans from scans and their segmentations", ".manifest:add_arguments"),
        "train": ("train on a manifest and write a model bundle", ".train:add_arguments"),
        "federate": ("train one model in several hospitals that share no scans", ".federate:add_arguments"),
        "gather": ("combine the folds of a cross-validation", ".gather:add_arguments"),
        "evaluate": ("evaluate a model on a manifest", ".evaluate:add_arguments"),
        "networks": ("list the networks with their parameters and multiply-adds", ".networks:add_arguments"),
        "predict": ("analyze a folder of scans without labels", ".predict:add_arguments"),
        "calibrate": ("calibrate a model's interval and probability on unseen scans", ".calibrate:add_arguments"),
        "average": ("average the weights of a model and its fine-tuned version", ".average:add_arguments"),
        "ensemble": ("combine several models, such as those of folds, in one bundle", ".ensemble:add_arguments"),
        "robustness": ("measure how robust a model is", ".robustness:add_arguments"),
        "logistic": ("predict death by logistic regression, as a baseline for models", ".logistic:add_arguments"),
        "sample-size": ("say how many patients a validation needs", ".sample_size:add_arguments"),
        "compare-models": (
            "compare models, patient by patient, on scans that all of them were evaluated on",
            ".compare_models:add_arguments",
        ),
        "interpret": ("evaluate interpretation methods on scans with masks", ".interpret:add_arguments"),
        "reproduce": (
            "rerun the paper's experiments: tables and figures on one page",
            ".reproduce:add_arguments",
        ),
        "release": ("make a model from scratch: simulate, train, calibrate, evaluate", ".release:add_arguments"),
        "compare-run": ("compare a finished run's model with the shipped one", ".compare_run:add_arguments"),
    },
)
"""Each entry adds its arguments to a parser and sets the default `run`, a callable (options)."""
DESCRIPTION = "Simulate head CTs, train the multi-task network, evaluate a model."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 input refused or run failed, 2 wrong usage."""

    def work():
        options = parse("ichmultitask-train", COMMANDS, arguments, DESCRIPTION, version=__version__)
        options.run(options)

    return run_command(work, "Canceled; a training run can be continued with the same command.")
