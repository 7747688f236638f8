"""Settings and tables of scans as text for users."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import counted

from ..data.manifest import Manifest
from .config import FROM_BUNDLE, PRESETS, TrainingConfig


def differences(there: dict, here: dict) -> list[str]:
    """Differences between the settings of a folder and the given ones, one text per name."""
    return [
        f"{name} {json.dumps(there.get(name))} there and {json.dumps(here.get(name))} here"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]


def parse_settings(text: str) -> dict:
    """Parse settings written as on a command line, such as ``learning_rate=0.001 coarse_epochs=[[2,4]]``.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If an assignment is malformed.
    """
    try:
        assignments = shlex.split(text)
    except ValueError as error:
        raise InputError(f"The other settings cannot be read: {error}, found {text!r}.") from error
    return parse_assignments(assignments)


def parse_assignments(assignments: Iterable[str]) -> dict:
    """Parse a list of "name=value"; the value is JSON, a plain word, or a list of words such as [age,gcs].

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If one is malformed.
    """
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"A setting is malformed: expected name=value, found {assignment!r}.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            words = re.fullmatch(r"\[\s*([\w-]+(?:\s*,\s*[\w-]+)*)\s*\]", value)
            settings[name] = re.split(r"\s*,\s*", words[1]) if words else value
    return settings


def settings_text(settings: dict) -> str:
    """Settings as text for `parse_settings`.

    Parameters
    ----------
    settings : dict

    Returns
    -------
    str
    """
    return shlex.join(assignments(settings))


def assignments(settings: dict) -> list[str]:
    """Settings as a list of "name=value", the value in JSON."""
    return [f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in settings.items()]


def changes_of(config: dict) -> dict:
    """Settings of a run that differ from its preset; `make_config` with them gives the same run.

    Parameters
    ----------
    config : dict
        As in `config.json`.

    Returns
    -------
    dict
    """
    preset = json.loads(json.dumps(PRESETS[config["preset"]].as_dict()))
    taken = FROM_BUNDLE if config["start_from"] is not None else ()
    return {name: value for name, value in config.items() if name not in taken and value != preset[name]}


def plan_text(config: TrainingConfig) -> str:
    """The epochs of a run in words, with the reason if there are more than requested.

    Parameters
    ----------
    config : TrainingConfig

    Returns
    -------
    str
    """
    coarse = sum(epochs for _, epochs in config.coarse_epochs)
    if not coarse:
        return counted(config.epochs, "epoch")
    return (
        f"{coarse + config.epochs} epochs: first {coarse} at lower resolution, at a fraction of the cost (setting "
        f"coarse_epochs), then the {config.epochs} chosen"
    )


def problem_lines(text: str) -> list[str]:
    """The problems of a refused table, one per line, after a line with their number."""
    head, unusable, rows = text.partition(" unusable rows: ")
    return [head + unusable.rstrip(), *rows.replace("; row ", "\nrow ").split("\n")] if unusable else [text]


def manifest_text(manifest: Manifest) -> str:
    """Describe a table of scans in one sentence.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    str
    """
    rows = manifest.rows
    volumes = np.array([row.volume_ml for row in rows])
    patients = len({row.patient_id for row in rows})
    died = sum(row.died for row in rows)
    masks = sum(row.mask is not None for row in rows)
    splits = {name: sum(row.split == name for row in rows) for name in ("train", "validation", "test")}
    text = (
        f"{counted(len(rows), 'scan')} of {counted(patients, 'patient')}, "
        f"{died} died ({died / len(rows):.0%}); volumes {volumes.min():.1f} to {volumes.max():.1f} mL, median "
        f"{np.median(volumes):.1f} mL; {masks or 'no'} mask{'s' if masks != 1 else ''}"
    )
    if any(splits.values()):
        text += "; split: " + ", ".join(f"{count} {name}" for name, count in splits.items() if count)
    return text + "."
