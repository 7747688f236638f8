"""Checks of the settings of a training run."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import fields
from types import NoneType
from typing import get_args

from ICHMultiTaskLib.common.choices import Precision, Stage
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.calibration import TARGETS
from ICHMultiTaskLib.model.clinical import check_names
from ICHMultiTaskLib.model.networks import ARGUMENTS, DEFAULT_NETWORK, NETWORKS, TRAINABLE
from ICHMultiTaskLib.model.preprocessing import PreprocessingSettings

REDUCTIONS = (2, 4)
LARGEST_ROTATION_DEG = 45
FEWEST_SLICES = 3
"""Of a scan that the augmentation blurs."""
GRID_STEP = 4
"""Rows and columns of the network's grid must be multiples of this, for the cells of masks and the coarsest epochs."""
CHOICES = {
    "tasks": ("both", "volume", "prognosis"),
    "target": TARGETS,
    "optimizer": ("sgd", "adamw"),
    "schedule": ("constant", "linear"),
    "precision": Precision.values(),
    "dense_from": (None, *Stage.values()),
}
KINDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list", dict: "named values",
    NoneType: "null",
}  # fmt: skip
"""The kinds of values of settings, in words."""
WITH_A_START = {"frozen_encoder": False, "frozen_norm": False, "anchor": 0.0, "mix_with_start": False}
"""Settings that need `start_from`, with their values for runs without it."""


def check_settings(settings: dict, kinds: dict) -> None:
    """Refuse invalid settings.

    Parameters
    ----------
    settings : dict
        By name, as in `TrainingConfig`.
    kinds : dict
        Their types, from `typing.get_type_hints`.

    Raises
    ------
    InputError
        What is wrong, what was expected and what was found.
    """
    for name, kind in kinds.items():
        _check_type(name, settings[name], kind)
    for name, choices in CHOICES.items():
        if settings[name] not in choices:
            expected = ", ".join("null" if choice is None else choice for choice in choices)
            raise InputError(f"The {name} is unknown: expected {expected}, found {settings[name]!r}.")
    for name, least in (("batch_size", 1), ("accumulate", 1), ("epochs", 1), ("folds", 2)):
        if settings[name] < least:
            raise InputError(f"The setting {name} is too small: expected at least {least}, found {settings[name]}.")
    for name in ("learning_rate", "gradient_clip", "patience"):
        if settings[name] is not None and not 0 < settings[name] < math.inf:
            raise InputError(f"The setting {name} is out of range: expected above 0, found {settings[name]}.")
    weights = "volume_weight", "prognosis_weight", "mask_weight", "auxiliary_weight"
    for name in (*weights, "weight_decay", "anchor", "seed"):
        if not 0 <= settings[name] < math.inf:
            raise InputError(f"The setting {name} is out of range: expected at least 0, found {settings[name]}.")
    if settings["seed"] >= 2**63:
        raise InputError(f"The seed is out of range: expected below 2^63, found {settings['seed']}.")
    if not 0 <= settings["momentum"] < 1:
        raise InputError(f"The momentum is out of range: expected from 0 to below 1, found {settings['momentum']}.")
    for phase in settings["coarse_epochs"]:
        if not (isinstance(phase, (list, tuple)) and len(phase) == 2 and all(type(n) is int for n in phase)
                and phase[0] in REDUCTIONS and phase[1] >= 0):  # fmt: skip
            raise InputError(
                f"coarse_epochs is malformed: expected pairs of a factor ({', '.join(map(str, REDUCTIONS))}) and a "
                f"number of epochs, found {settings['coarse_epochs']}."
            )
    if settings["auxiliary_weight"] and settings["frozen_encoder"]:
        raise InputError(
            "The setting auxiliary_weight has no effect on a frozen encoder: expected 0 with frozen_encoder, found "
            f"{settings['auxiliary_weight']}."
        )
    _check_clinical(settings)
    _check_architecture(settings)
    _check_preprocessing(settings["preprocessing"])
    slices = settings["preprocessing"].get("shape_kji", [FEWEST_SLICES])[0]
    if settings["augment"] and slices < FEWEST_SLICES:
        raise InputError(
            f"There are too few slices for augment, which blurs over {FEWEST_SLICES}: expected preprocessing.shape_kji "
            f"with at least so many, or augment=false; found {slices}."
        )
    turns = settings["rotation_deg"]
    if len(turns) != 2 or any(type(t) not in (int, float) or not 0 <= t <= LARGEST_ROTATION_DEG for t in turns):
        raise InputError(f"rotation_deg is malformed: expected two from 0 to {LARGEST_ROTATION_DEG}, found {turns}.")
    if not 0 < settings["validation_fraction"] < 1:
        raise InputError(
            f"validation_fraction is out of range: expected between 0 and 1, found {settings['validation_fraction']}."
        )
    if settings["fold"] is not None and not 0 <= settings["fold"] < settings["folds"]:
        raise InputError(f"The fold is out of range: expected 0 to {settings['folds'] - 1}, found {settings['fold']}.")
    for name, off in WITH_A_START.items():
        if settings["start_from"] is None and settings[name] != off:
            raise InputError(
                f"The setting {name} needs trained weights to start from: expected start_from with a trained bundle, "
                "found none."
            )


def check_heads(settings: dict, trained: Collection[str] = ()) -> None:
    """Refuse a model with a head that nobody has trained, which would look like the others.

    Parameters
    ----------
    settings : dict
        By name, as in `TrainingConfig`.
    trained : collection of str
        Heads that were trained in the bundle to start from: "volume", "prognosis" or both.

    Raises
    ------
    InputError
    """
    tasks = settings["tasks"]
    for head, other in (("volume", "prognosis"), ("prognosis", "volume")):
        name = f"{head}_weight"
        if settings[name] == 0 and (tasks == head or (tasks == "both" and head not in trained)):
            raise InputError(
                f"The {head} would not be trained: expected {name} above 0, or tasks={other} for a model of the "
                f"{other} alone; found {name} {settings[name]:g} and tasks {tasks}."
            )


def check_pull(settings: dict, trained: Collection[str]) -> None:
    """Refuse to keep a head near that of a start where it was never trained; parameters as of `check_heads`."""
    pulls = settings["anchor"] > 0 or settings["mix_with_start"]
    for head in ("volume", "prognosis"):
        learned = settings["tasks"] in ("both", head) and settings[f"{head}_weight"] > 0
        if pulls and learned and head not in trained:
            raise InputError(
                f"The {head} of the model to start from was not trained: expected a start with it, or anchor 0 and "
                f"mix_with_start false, found anchor {settings['anchor']:g} and mix_with_start "
                f"{str(settings['mix_with_start']).lower()}."
            )


def _check_clinical(settings):
    check_names(settings["clinical"])
    if settings["clinical"] and (settings["tasks"] == "volume" or settings["prognosis_weight"] == 0):
        raise InputError(
            "The setting clinical is only used by the prognosis: expected tasks both or prognosis and a "
            f"prognosis_weight above 0, found {settings['tasks']} and {settings['prognosis_weight']}."
        )


def _check_architecture(settings):
    architecture = settings["architecture"]
    network = architecture.get("network", DEFAULT_NETWORK)
    NETWORKS.check(network)
    if network not in TRAINABLE:
        raise InputError(
            f"The network {network} cannot be trained directly: expected one of {', '.join(TRAINABLE)}, found "
            f"{network!r}."
        )
    known = inner_settings("architecture", settings)
    unknown = sorted(set(architecture) - set(known))
    if unknown:
        raise InputError(
            f"The architecture of {network} is unknown: expected {', '.join(known)}, found {', '.join(unknown)}."
        )
    if settings["dense_from"] is not None and not can_be_dense(network):
        dense = ", ".join(filter(can_be_dense, TRAINABLE))
        raise InputError(
            f"The setting dense_from does not apply to the network {network}: expected null, or one of the networks "
            f"{dense}; found {settings['dense_from']}."
        )
    strides = architecture.get("stage_strides", [1] * len(Stage))
    if not isinstance(strides, (list, tuple)) or len(strides) != len(Stage):
        raise InputError(f"stage_strides is malformed: expected {len(Stage)} strides, found {strides}.")
    for stride in [architecture.get("stem_stride", 1), *strides]:
        axes = stride if isinstance(stride, (list, tuple)) and len(stride) == 3 else [stride]
        if any(type(n) is not int or not 1 <= n <= 8 for n in axes):
            raise InputError(
                f"A stride of the architecture is malformed: expected a number from 1 to 8, or three, found {stride}."
            )
    if type(architecture.get("width", 1)) is not int or not 1 <= architecture.get("width", 1) <= 2048:
        raise InputError(f"The width is out of range: expected from 1 to 2048, found {architecture['width']!r}.")
    if type(architecture.get("final_relu", True)) is not bool:
        raise InputError(f"final_relu has a wrong value: expected {KINDS[bool]}, found {architecture['final_relu']!r}.")


def _check_preprocessing(preprocessing):
    try:
        settings = PreprocessingSettings(**preprocessing)
        low, high = settings.window_hu
        depth, rows, columns = settings.shape_kji
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        names = ", ".join(inner_settings("preprocessing", {}))
        raise InputError(
            f"The preprocessing is malformed: expected {names} with a window of two HU and a grid of three sizes, "
            f"found {preprocessing} ({error})."
        ) from None
    if not -math.inf < low < high < math.inf:
        raise InputError(f"window_hu is malformed: expected a low and a higher HU, found {list(settings.window_hu)}.")
    stated = preprocessing.get("shape_kji", settings.shape_kji)
    whole = all(type(n) is int for n in stated)
    if not whole or depth < 1 or any(n < 4 * GRID_STEP or n % GRID_STEP for n in (rows, columns)):
        raise InputError(
            f"shape_kji is malformed: expected slices from 1, and rows and columns from {4 * GRID_STEP} in multiples "
            f"of {GRID_STEP}, found {list(stated)}."
        )
    height = settings.max_height_mm
    if type(settings.average) is not bool or not (height is None or (type(height) in (int, float) and height > 0)):
        raise InputError(
            f"The preprocessing has a wrong value: expected average true or false and max_height_mm null or above 0, "
            f"found {settings.average!r} and {height!r}."
        )


def _check_type(name, value, kind):
    """Refuse a setting from the command line or a file that has the wrong type."""
    kinds = get_args(kind) or (kind,)
    # Not isinstance, for which True is a number.
    if type(value) not in ((*kinds, int) if float in kinds else kinds):
        expected = " or ".join(KINDS[k] for k in kinds)
        raise InputError(f"The setting {name} has a wrong value: expected {expected}, found {value!r}.")


def can_be_dense(network: str) -> bool:
    """Whether the bundle's network can be computed without strides from a stage on."""
    return "dense_from" in ARGUMENTS.get(network, ())


def inner_settings(outer: str, settings: dict) -> tuple[str, ...]:
    """Names of the inner settings of a setting."""
    if outer == "preprocessing":
        return tuple(f.name for f in fields(PreprocessingSettings))
    network = settings["architecture"].get("network", DEFAULT_NETWORK)
    return ("network", *(key for key in ARGUMENTS.get(network, ()) if key != "dense_from"))
