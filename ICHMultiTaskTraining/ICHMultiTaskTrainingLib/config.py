"""Settings of a training run."""

from dataclasses import asdict, dataclass, field, fields

from ICHMultiTaskLib.errors import InputError
from ICHMultiTaskLib.preprocessing import PRESETS as PREPROCESSING


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
    batch_size, epochs, seed : int
    coarse_epochs : int
        So many first epochs run at half the rows and columns, at a quarter of the cost.
    volume_weight, prognosis_weight, mask_weight : float
        Weights of the summed losses; `mask_weight` counts only for rows that have a mask.
    augment : bool
        Mirror, shift, HU offset and scale, noise.
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
    epochs: int = 30
    coarse_epochs: int = 25
    volume_weight: float = 1.0
    prognosis_weight: float = 0.2
    mask_weight: float = 1.0
    augment: bool = True
    validation_fraction: float = 0.15
    seed: int = 0

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
        epochs=300,
        coarse_epochs=0,
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
    if not 0 < config.validation_fraction < 1:
        raise InputError(
            f"validation_fraction is out of range: expected between 0 and 1, found {config.validation_fraction}."
        )
    return config
