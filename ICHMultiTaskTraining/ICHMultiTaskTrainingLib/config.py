"""Settings of a training run."""

from dataclasses import asdict, dataclass, field, fields

from ICHMultiTaskLib.errors import InputError
from ICHMultiTaskLib.preprocessing import PRESETS as PREPROCESSING

REDUCTIONS = (2, 4)


@dataclass(frozen=True)
class TrainingConfig:
    """Every setting of a run; saved with it.

    Attributes
    ----------
    preset : str
        The preset it came from.
    architecture : dict
        Keyword arguments of `MultiTaskResNet`.
    preprocessing : dict
        Fields of `PreprocessingSettings`.
    target : str
        What the regression head learns; see `ICHMultiTaskLib.calibration`.
    optimizer : str
        "sgd" or "adamw".
    learning_rate, momentum, weight_decay : float
    schedule : str
        "constant", or "linear": warm-up over a tenth of the steps, then linear decay to zero.
    batch_size, seed : int
    coarse_epochs : list of [int, int]
        First phases of the run: the factor by which rows and columns are reduced, and for how many epochs. An epoch
        at a factor of 2 costs a quarter.
    epochs : int
        At full resolution, after the coarse ones.
    volume_weight, prognosis_weight, mask_weight : float
        Weights of the summed losses; `mask_weight` counts only for rows that have a mask.
    outcome : str
        Column of the manifest that the prognosis is trained on: "died", or one of probabilities of death, which
        simulated cohorts know.
    augment : bool
        Mirror, turn, scale, blur, HU offset and scale, noise.
    validation_fraction : float
        Patients held out for the curves and for calibration where the manifest has no `split`.
    """

    preset: str = "default"
    architecture: dict = field(
        default_factory=lambda: {
            "width": 16,
            "stem_stride": [1, 2, 2],
            "stage_strides": [1, 2, [1, 2, 2], 1],
            "final_relu": False,
        }
    )
    preprocessing: dict = field(default_factory=lambda: PREPROCESSING["default"].as_dict())
    target: str = "fraction_percent"
    optimizer: str = "adamw"
    learning_rate: float = 1.5e-3
    momentum: float = 0.9
    weight_decay: float = 1e-2
    schedule: str = "linear"
    batch_size: int = 4
    coarse_epochs: list = field(default_factory=lambda: [[4, 14], [2, 8]])
    epochs: int = 2
    volume_weight: float = 1.0
    prognosis_weight: float = 0.2
    mask_weight: float = 1.0
    outcome: str = "died"
    augment: bool = True
    validation_fraction: float = 0.15
    seed: int = 0

    def reductions(self):
        """Factor by which rows and columns are reduced, for each epoch of the run.

        Returns
        -------
        list of int
        """
        return [factor for factor, epochs in self.coarse_epochs for _ in range(epochs)] + [1] * self.epochs

    def as_dict(self):
        """Plain values for JSON."""
        return asdict(self)


PRESETS = {
    "default": TrainingConfig(),
    # Gong et al. 2023, section 4.5; the paper augments nothing and states no weights for the sum of losses.
    "paper": TrainingConfig(
        preset="paper",
        architecture={"width": 64, "stem_stride": 2, "stage_strides": [1, 2, 2, 2], "final_relu": True},
        preprocessing=PREPROCESSING["paper"].as_dict(),
        target="cube_root_ml",
        optimizer="sgd",
        learning_rate=1e-4,
        weight_decay=5e-4,
        schedule="constant",
        batch_size=8,
        coarse_epochs=[],
        epochs=300,
        prognosis_weight=1.0,
        mask_weight=0.0,
        augment=False,
        validation_fraction=0.2,
    ),
}


def make_config(preset="default", **changes):
    """A preset with some settings changed.

    Raises
    ------
    InputError
        If the preset or a setting is unknown.
    """
    if preset not in PRESETS:
        raise InputError(f"The preset is unknown: expected one of {', '.join(PRESETS)}, found {preset!r}.")
    known = {f.name for f in fields(TrainingConfig)}
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise InputError(f"Settings are unknown: expected some of {', '.join(sorted(known))}, found {unknown}.")
    config = TrainingConfig(**(PRESETS[preset].as_dict() | changes))
    for name in ("batch_size", "epochs"):
        if getattr(config, name) < 1:
            raise InputError(f"The setting {name} is too small: expected at least 1, found {getattr(config, name)}.")
    for phase in config.coarse_epochs:
        if len(phase) != 2 or phase[0] not in REDUCTIONS or phase[1] < 0:
            raise InputError(
                f"coarse_epochs is malformed: expected pairs of a factor ({', '.join(map(str, REDUCTIONS))}) and a "
                f"number of epochs, found {config.coarse_epochs}."
            )
    if not 0 < config.validation_fraction < 1:
        raise InputError(
            f"validation_fraction is out of range: expected between 0 and 1, found {config.validation_fraction}."
        )
    return config
