"""The help texts of all commands, of both programs."""

import argparse

import pytest

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.common.shell import parse
from ICHMultiTaskTrainingLib import cli as trainer

COMMANDS = [(program, name) for program in (cli, trainer) for name in program.COMMANDS]


@pytest.mark.parametrize("program, name", COMMANDS, ids=lambda value: getattr(value, "__name__", value))
def test_every_argument_is_explained(program, name):
    parser = argparse.ArgumentParser()
    program.COMMANDS[name](parser)
    assert not [action.dest for action in parser._actions if not action.help]


@pytest.mark.parametrize("program, name", COMMANDS, ids=lambda value: getattr(value, "__name__", value))
def test_help_says_what_the_command_does_and_how_it_ends(program, name, capsys):
    with pytest.raises(SystemExit):
        parse("program", program.COMMANDS, [name, "--help"], "")
    text = " ".join(capsys.readouterr().out.split())
    described = text.partition("positional arguments:")[0].partition("options:")[0].rpartition("]")[2]
    assert described.rstrip().endswith(".") and "Exit status: 0 done" in text
