"""The command `ichmultitask`: one file for each of its subcommands."""

from __future__ import annotations

from collections.abc import Sequence

from .. import __version__
from ..common.registry import Registry
from ..common.research_use import RESEARCH_USE
from ..common.shell import parse, run_command

COMMANDS = Registry(
    "command",
    __package__,
    {
        "analyze": ("analyze one head CT", ".analyze:add_arguments"),
        "compare": ("compare the volumes of a cohort", ".compare:add_arguments"),
        "mark": ("propose a segmentation of the bleed", ".mark:add_arguments"),
    },
)
"""Each adds its arguments to a parser and sets the default `run`, a callable (options)."""
DESCRIPTION = "Volume, prognosis and attention of an intracerebral hemorrhage on a non-contrast head CT."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 refused or failed, 2 wrong usage."""

    def work():
        options = parse("ichmultitask", COMMANDS, arguments, DESCRIPTION, RESEARCH_USE, __version__)
        options.run(options)

    return run_command(work)
