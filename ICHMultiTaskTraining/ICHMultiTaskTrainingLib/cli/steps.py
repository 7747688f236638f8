"""Run the commands listed in a text file one after the other."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.registry import Registry
from ICHMultiTaskLib.common.shell import parse
from ICHMultiTaskLib.common.writing import write_json

RECIPE = Path(__file__).with_name("release.txt")
"""How the next shipped model is made."""
FOLDER = "{run}"
"""Placeholder in a recipe for the folder of `--output`."""
FINISHED = "finished.json"
PROGRAM = "ichmultitask-train"


def read_recipe(path: str | os.PathLike, commands: Registry) -> list[str]:
    """Read the steps of a recipe and check each, so that a typo is found before hours of work.

    Parameters
    ----------
    path : path
        One command of `ichmultitask-train` per line, without the program's name; ``#`` begins a comment, a backslash
        at the end continues the line.
    commands : Registry

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If it cannot be read, has no steps, or a step is not a valid command.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} cannot be read: {error}.") from error
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    steps = [" ".join(line.split()) for line in lines if line and not line.startswith("#")]
    if not steps:
        raise InputError(f"The recipe {path} has no steps: expected one command of {PROGRAM} per line.")
    for step in steps:
        name = step.split()[0]
        commands.check(name)
        try:
            _parse(step, Path(), commands)
        except SystemExit as error:
            raise InputError(f"A step of the recipe {path} is not a valid command (see above): {step}") from error
    return steps


def run_steps(
    steps: Sequence[str],
    folder: str | os.PathLike,
    commands: Registry,
    device: str | None = None,
    processes: int | None = None,
) -> None:
    """Run the steps that are not finished yet.

    Parameters
    ----------
    steps : list of str
        From `read_recipe`.
    folder : path
        Replaces ``{run}``; records which steps are finished.
    commands : Registry
    device : str, optional
    processes : int, optional
        For every step that has such an option.

    Raises
    ------
    InputError
        If the folder belongs to other steps.
    """
    folder = Path(folder)
    finished = finished_steps(folder, steps)
    for n, step in enumerate(steps):
        if n < finished:
            continue
        print(f"Step {n + 1} of {len(steps)}: {step}", flush=True)
        options = _parse(step, folder, commands)
        for name, value in (("device", device), ("processes", processes)):
            if value is not None and hasattr(options, name):
                setattr(options, name, value)
        folder.mkdir(parents=True, exist_ok=True)
        options.run(options)
        write_json(folder / FINISHED, steps[: n + 1])


def finished_steps(folder: str | os.PathLike, steps: Sequence[str]) -> int:
    """Number of steps already finished in the folder; InputError if it belongs to other steps."""
    path = Path(folder) / FINISHED
    if not path.exists():
        return 0
    try:
        finished = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged; it is unknown which steps are finished: {error}.") from error
    for n, step in enumerate(finished):
        if n >= len(steps) or steps[n] != step:
            wanted = steps[n] if n < len(steps) else "no further step"
            raise InputError(
                f"The folder {folder} belongs to another recipe: its step {n + 1} was `{step}`, now it is `{wanted}`. "
                "Choose another folder."
            )
    return len(finished)


def _parse(step, folder, commands):
    words = [word.replace(FOLDER, str(folder)) for word in shlex.split(step)]
    return parse(PROGRAM, commands, words, "")
