"""Presets of a reproduction: how many patients, which folds, and in what the training departs from the paper's."""

from dataclasses import dataclass, field

from ICHMultiTaskLib.common.errors import InputError


@dataclass(frozen=True)
class Preset:
    """What every row of a reproduction is trained and measured by.

    Attributes
    ----------
    about : str
        A sentence for the page.
    patients : int
        Of the simulated cohort, where no manifest is given.
    matrix : int
        Rows and columns of its scans.
    slices : int or None
        Of its scans; None: by a thickness drawn as in practice.
    folds : int
        Every patient is predicted by the network that has not seen it.
    changes : dict
        Settings that differ from the trainer's preset "paper", by name; the same for every row.
    explained : int
        Patients whose maps the interpretation methods are compared on.
    """

    about: str
    patients: int
    matrix: int
    slices: int | None
    folds: int
    changes: dict = field(default_factory=dict)
    explained: int = 8


FEW_EPOCHS = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-2, "schedule": "linear"}
"""The paper's rate of 1e-4 needs its thousands of steps; a run of a few epochs learns nothing by it."""

PRESETS = {
    "smoke": Preset(
        about="It shows that every part works. Nothing is learned in so few steps: the numbers mean nothing.",
        patients=24,
        matrix=96,
        slices=32,
        folds=2,
        changes={**FEW_EPOCHS, "preprocessing.shape_kji": [16, 48, 48], "epochs": 1, "batch_size": 4},
        explained=2,
    ),
    "cpu": Preset(
        about="A smaller grid and few epochs, for two cores: rows can be compared with each other, not with the "
        "paper's numbers.",
        patients=258,
        matrix=256,
        slices=None,
        folds=5,
        changes={**FEW_EPOCHS, "preprocessing.shape_kji": [16, 64, 64], "epochs": 8},
        explained=8,
    ),
    "paper": Preset(
        about="Every setting that the paper states. It states no split; five folds hold out 52 of 258 patients each.",
        patients=258,
        matrix=512,
        slices=None,
        folds=5,
        explained=16,
    ),
}


def preset_of(name: str) -> Preset:
    """The preset of that name; InputError lists the known ones."""
    if name not in PRESETS:
        raise InputError(f"The preset is unknown: expected one of {', '.join(PRESETS)}, found {name!r}.")
    return PRESETS[name]
