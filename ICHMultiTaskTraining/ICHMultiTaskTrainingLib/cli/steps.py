"""Commands that are run one after the other, as a text file lists them."""

import json
import shlex
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.shell import parse
from ICHMultiTaskLib.common.writing import write_json

RECIPE = Path(__file__).with_name("release.txt")
"""How the next shipped model is made."""
FOLDER = "{run}"
"""In a recipe: the folder that `--output` names."""
FINISHED = "finished.json"
PROGRAM = "ichmultitask-train"


def read_recipe(path, commands):
    """Read the steps of a recipe and check each, so that a typo is found before the first hour of work.

    Parameters
    ----------
    path : path
        One command of `ichmultitask-train` a line, without the program's name; ``#`` begins a comment, a backslash at
        its end continues a line.
    commands : Registry

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If it cannot be read, has no steps, or one of them is no command or has arguments that the command refuses.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} cannot be read: {error}.") from error
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    steps = [" ".join(line.split()) for line in lines if line and not line.startswith("#")]
    if not steps:
        raise InputError(f"The recipe {path} has no steps: expected one command of {PROGRAM} a line.")
    for step in steps:
        name = step.split()[0]
        commands.check(name)
        try:
            _parse(step, Path(), commands)
        except SystemExit as error:
            raise InputError(f"A step of the recipe {path} is no valid command (see above): {step}") from error
    return steps


def run_steps(steps, folder, commands, device=None, processes=None):
    """Run the steps that are not finished yet.

    Parameters
    ----------
    steps : list of str
        As `read_recipe` gives them.
    folder : path
        Takes the place of ``{run}``; remembers which steps are finished.
    commands : Registry
    device : str, optional
    processes : int, optional
        Of every step that has such an option.

    Raises
    ------
    InputError
        If other steps were run in the folder before.
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


def finished_steps(folder, steps):
    """How many of the steps were finished in the folder before; InputError if these were other steps."""
    path = Path(folder) / FINISHED
    if not path.exists():
        return 0
    try:
        finished = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged, so that nobody knows which steps are finished: {error}.") from error
    for n, step in enumerate(finished):
        if n >= len(steps) or steps[n] != step:
            wanted = steps[n] if n < len(steps) else "no further step"
            raise InputError(
                f"Another recipe was begun in {folder}: its step {n + 1} was `{step}`, now it is `{wanted}`. Give "
                "another folder."
            )
    return len(finished)


def _parse(step, folder, commands):
    words = [word.replace(FOLDER, str(folder)) for word in shlex.split(step)]
    return parse(PROGRAM, commands, words, "")
