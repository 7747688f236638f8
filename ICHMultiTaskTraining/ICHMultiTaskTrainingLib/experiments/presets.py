"""Presets of a reproduction: number of patients and folds, and training settings that differ from the paper's."""

from dataclasses import dataclass, field

from ICHMultiTaskLib.common.errors import InputError

PAPER_PATIENTS, PAPER_DEATHS = 258, 31


@dataclass(frozen=True)
class Preset:
    """Settings that all rows of a reproduction share.

    Attributes
    ----------
    about : str
        Sentence shown on the page.
    patients : int
        Size of the simulated cohort, if no manifest is given.
    matrix : int
        Rows and columns of its scans.
    slices : int or None
        Slices of its scans; None: a slice thickness is drawn as in practice.
    folds : int
        Each patient is predicted by the network whose training did not include it.
    changes : dict
        Settings that differ from the trainer's preset "paper", by name.
    width_share : float
        Width of every network relative to its published one.
    explained : int
        Number of patients on whom the interpretation methods are compared.
    """

    about: str
    patients: int
    matrix: int
    slices: int | None
    folds: int
    changes: dict = field(default_factory=dict)
    width_share: float = 1.0
    explained: int = 8

    @property
    def deaths(self) -> int:
        """Number of simulated patients who die: 31 of 258 as in the paper, and the same share of another number."""
        return round(self.patients * PAPER_DEATHS / PAPER_PATIENTS)


FEW_EPOCHS = {
    "optimizer": "adamw",
    "learning_rate": 5e-4,
    "weight_decay": 1e-2,
    "schedule": "linear",
    "gradient_clip": 5.0,
}
"""The paper's learning rate of 1e-4 needs thousands of steps: a run of few epochs would learn nothing."""

PRESETS = {
    "smoke": Preset(
        about="It shows that every part works. So few steps teach the network nothing: the numbers have no meaning.",
        patients=24,
        matrix=96,
        slices=32,
        folds=2,
        changes={**FEW_EPOCHS, "preprocessing.shape_kji": [16, 48, 48], "epochs": 1, "batch_size": 4},
        explained=2,
    ),
    "cpu": Preset(
        about="A smaller grid, few epochs and a quarter of each network's width, for two cores: rows can be compared "
        "with each other, but not with the paper's numbers.",
        patients=PAPER_PATIENTS,
        matrix=256,
        slices=None,
        folds=5,
        changes={
            **FEW_EPOCHS,
            "learning_rate": 1e-3,
            "preprocessing.shape_kji": [16, 48, 48],
            # With linear interpolation to so coarse a grid most voxels would be skipped, and a third of it be neck.
            "preprocessing.average": True,
            "preprocessing.max_height_mm": 170.0,
            "preprocessing.window_hu": [0.0, 100.0],
            "target": "fraction_percent",
            "prognosis_weight": 0.2,  # as in the trainer's default: the volume loss of this target is smaller
            "augment": True,
            "epochs": 60,
        },
        width_share=0.25,
        explained=8,
    ),
    "paper": Preset(
        about="All settings that the paper states. It states no split; each of five folds holds out 51 or 52 of 258 "
        "patients.",
        patients=PAPER_PATIENTS,
        matrix=512,
        slices=None,
        folds=5,
        explained=16,
    ),
}


def preset_of(name: str) -> Preset:
    """Look up a preset; raises InputError with the known names."""
    if name not in PRESETS:
        raise InputError(f"The preset is unknown: expected one of {', '.join(PRESETS)}, found {name!r}.")
    return PRESETS[name]
