"""Settings of a training run."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import get_type_hints

from ICHMultiTaskLib.common.choices import SliceSampling
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle, default_bundle
from ICHMultiTaskLib.model.networks import ARGUMENTS, DEFAULT_NETWORK, NETWORKS
from ICHMultiTaskLib.model.preprocessing import PRESETS as PREPROCESSING

from .config_checks import (
    WITH_A_START,
    can_be_dense,
    check_heads,
    check_pull,
    check_settings,
    inner_settings,
)

SHIPPED = "shipped"
"""Value of `start_from` for the bundle shipped with the software."""
FROM_BUNDLE = ("architecture", "preprocessing", "target")
"""Settings that a run takes from the bundle it starts from."""
NESTED = ("architecture", "preprocessing")
"""Settings with inner settings, written as ``architecture.width``."""
UNWRITTEN = {"network": DEFAULT_NETWORK, "slice_sampling": SliceSampling.LINEAR}
"""Inner settings that a bundle may leave out, with what is then meant."""


def tasks_of(heads: Collection[str]) -> str | None:
    """The setting `tasks` that trains these heads, "volume", "prognosis" or both; None for none."""
    return "both" if len(heads) > 1 else next(iter(heads), None)


@dataclass(frozen=True)
class TrainingConfig:
    """Every setting of a run; saved with it.

    Attributes
    ----------
    preset : str
        The preset that these settings are based on.
    architecture : dict
        The network's name in `ICHMultiTaskLib.model.networks.NETWORKS` and the keyword arguments of its class.
        A network other than the preset's keeps the preset's strides and width if it has these arguments, otherwise only
        `final_relu`; the other arguments then default to those of its publication.
    dense_from : str or None
        Stage from which the bundle's network is computed without strides, for a finer attention map; only for
        `MultiTaskResNet`. Training keeps the strides, which give the same features at a fraction of the cost.
    preprocessing : dict
        Fields of `PreprocessingSettings`.
    target : str
        Training target of the regression head; see `ICHMultiTaskLib.model.calibration`.
    optimizer : str
        "sgd" or "adamw".
    learning_rate, momentum, weight_decay : float
    schedule : str
        "constant", or "linear": warm-up over a tenth of the steps, then linear decay to zero.
    batch_size : int
        Scans that a process passes through the network at once.
    accumulate : int
        Batches whose gradients are summed before an optimizer step. A step sees `batch_size` × `accumulate` × processes
        scans, and the losses are averaged over all of them.
    precision : str
        Number format of the encoder; losses and weights are float32. "auto": bf16 on a GPU that supports it, fp16 on an
        older GPU, otherwise fp32.
    seed : int
    coarse_epochs : list of [int, int]
        First phases of the run: the factor by which rows and columns are reduced, and the number of epochs. An epoch
        at a factor of 2 costs a quarter.
    epochs : int
        Epochs at full resolution, after the coarse ones.
    volume_weight, prognosis_weight, mask_weight : float
        Weights of the losses; `mask_weight` applies only to rows with a mask. With `start_from` it is 0 unless set
        explicitly: the layers of the mask loss are new, and their first gradients would harm the encoder.
    auxiliary_weight : float
        Weight of the mean loss of the auxiliary outputs: findings of the manifest that the encoder must show; see
        `ICHMultiTaskTrainingLib.data.auxiliary.TARGETS`. 0: none.
    death_weighting : bool
        Weight a death by the ratio of survivals to deaths; the calibration removes the resulting bias.
    gradient_clip : float or None
        Largest norm of a step's gradient.
    tasks : str
        "both"; with "volume" or "prognosis" only that head is trained, and the other keeps its initial weights.
    start_from : str or None
        Folder of a bundle whose weights the run starts with, or "shipped" for the one shipped with the software.
    frozen_encoder : bool
        Train only the heads; only with `start_from`.
    frozen_norm : bool
        Keep the statistics of the batch norms; only with `start_from`. Statistics of small batches from one hospital
        would replace those of the start's training data.
    anchor : float
        Strength of the pull toward the start's weights; each step moves the weights by `anchor` × learning rate of the
        distance (L2-SP, Li et al. 2018, arXiv:1802.01483, decoupled from the gradient as in AdamW); only with
        `start_from`.
    mix_with_start : bool
        After training, use the weighted mean of the start's and the trained weights with the largest share of the
        latter that is surely better on the held-out patients, or the start itself if none is (Wortsman et al. 2022,
        "Robust fine-tuning of zero-shot models"); only with `start_from`.
    patience : int or None
        Stop after this many epochs at full resolution without a smaller validation loss, and use the best epoch.
    outcome : str
        Column of the manifest for training the prognosis: "died", or a column of probabilities of death, as in
        simulated cohorts.
    clinical : list of str
        Clinical inputs of the prognosis head: columns of the manifest that are listed in
        `ICHMultiTaskLib.common.clinical_variables.VARIABLES`; a cell may be empty.
    augment : bool
        Mirror, rotate, scale and blur; change HU offset and scale; add noise.
    rotation_deg : list of float, length 2
        Largest rotation of `augment` out of the axial plane, and in it. Small, because blood moved out of the image
        would still count.
    validation_fraction : float
        Fraction of patients held out for the curves and for calibration if the manifest has no `split`.
    fold : int or None
        Cross-validation: the fold, from 0, that is held out instead of `validation_fraction`.
    folds : int
        Number of folds; the manifest's column `fold` is followed if there is one.
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
    dense_from: str | None = "stage3"
    preprocessing: dict = field(default_factory=lambda: PREPROCESSING["default"].as_dict())
    target: str = "fraction_percent"
    optimizer: str = "adamw"
    learning_rate: float = 1.5e-3
    momentum: float = 0.9
    weight_decay: float = 1e-2
    schedule: str = "linear"
    batch_size: int = 4
    accumulate: int = 1
    precision: str = "auto"
    coarse_epochs: list = field(default_factory=lambda: [[2, 12]])
    epochs: int = 7
    volume_weight: float = 1.0
    prognosis_weight: float = 0.2
    mask_weight: float = 1.0
    auxiliary_weight: float = 0.0
    death_weighting: bool = True
    gradient_clip: float | None = 5.0
    tasks: str = "both"
    start_from: str | None = None
    frozen_encoder: bool = False
    frozen_norm: bool = False
    anchor: float = 0.0
    mix_with_start: bool = False
    patience: int | None = None
    outcome: str = "died"
    clinical: list = field(default_factory=list)
    augment: bool = True
    rotation_deg: list = field(default_factory=lambda: [4.0, 10.0])
    validation_fraction: float = 0.15
    fold: int | None = None
    folds: int = 5
    seed: int = 0

    def reductions(self) -> list[int]:
        """Factor by which rows and columns are reduced in each epoch of the run.

        Returns
        -------
        list of int
        """
        return [factor for factor, epochs in self.coarse_epochs for _ in range(epochs)] + [1] * self.epochs

    def training_architecture(self) -> dict:
        """Architecture of the network in training."""
        # With frozen norms, the bundle's own network is trained, since its calibration is valid only for that network.
        return self.bundle_architecture() if self.frozen_norm or self.frozen_encoder else self.architecture

    def learned_heads(self) -> tuple[str, ...]:
        """Heads that the run trains: "volume", "prognosis" or both."""
        weights = {"volume": self.volume_weight, "prognosis": self.prognosis_weight}
        return tuple(head for head, weight in weights.items() if self.tasks in ("both", head) and weight > 0)

    def learns_deaths(self) -> bool:
        """Whether the prognosis is trained on the column `died`, and so needs both outcomes."""
        return "prognosis" in self.learned_heads() and self.outcome == "died"

    def bundle_architecture(self) -> dict:
        """Architecture of the bundle's network."""
        return self.architecture | ({"dense_from": self.dense_from} if self.dense_from else {})

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)


PRESETS = {
    "default": TrainingConfig(),
    # A GPU needs large batches to be kept busy, and coarse epochs would save it little. At width 24, the first training
    # of the shipped model had this batch, rate and number of epochs: 168 s for 3000 patients on one H200.
    "gpu": TrainingConfig(preset="gpu", learning_rate=3e-3, batch_size=32, coarse_epochs=[], epochs=46),
    # Gong et al. 2023, section 4.5; the paper uses no augmentation, states no weights for the losses or for deaths, and
    # does not clip the gradient.
    "paper": TrainingConfig(
        preset="paper",
        architecture={"width": 64, "stem_stride": 2, "stage_strides": [1, 2, 2, 2], "final_relu": True},
        dense_from=None,
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
        death_weighting=False,
        gradient_clip=None,
        augment=False,
        validation_fraction=0.2,
    ),
    "fine-tune": TrainingConfig(
        preset="fine-tune",
        start_from=SHIPPED,
        coarse_epochs=[],
        epochs=20,
        learning_rate=3e-4,
        weight_decay=0.0,
        # The few deaths of one hospital would harm the prognosis more than improve it.
        prognosis_weight=0.0,
        mask_weight=0.0,
        death_weighting=False,
        frozen_encoder=True,
        frozen_norm=True,
        anchor=10.0,
        mix_with_start=True,
        augment=False,
        validation_fraction=0.3,
    ),
}
RENAMED = {"turn_deg": "rotation_deg"}
"""New names of renamed settings, by their old names."""


def make_config(preset: str = "default", **changes: object) -> TrainingConfig:
    """A preset with some settings changed.

    Parameters
    ----------
    preset : str
    **changes
        Settings by name; inner settings as ``architecture.width``.

    Raises
    ------
    InputError
        If the preset or a setting is unknown, has a wrong value, or conflicts with the bundle to start from.
    BundleError
        If the bundle to start from cannot be used.
    """
    if preset not in PRESETS:
        raise InputError(f"The preset is unknown: expected one of {', '.join(PRESETS)}, found {preset!r}.")
    changes = present_names(changes)
    known = [f.name for f in fields(TrainingConfig)]
    inner = {name: value for name, value in changes.items() if name.partition(".")[0] in NESTED and "." in name}
    changes = {name: value for name, value in changes.items() if name not in inner}
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise InputError(f"Settings are unknown: expected some of {', '.join(sorted(known))}, found {unknown}.")
    settings = PRESETS[preset].as_dict() | changes
    if settings["start_from"] is None:
        settings = {name: WITH_A_START.get(name, value) if name not in changes else value
                    for name, value in settings.items()}  # fmt: skip
    elif "mask_weight" not in changes:
        settings["mask_weight"] = 0.0
    if settings["start_from"] is None:
        settings |= _of_the_network(settings, changes, inner.get("architecture.network"))
    for name, value in inner.items():
        outer, _, key = name.partition(".")
        if not isinstance(settings[outer], dict):
            continue
        known = inner_settings(outer, settings)
        if key not in known:
            raise InputError(f"The setting {name} is unknown: expected {outer} of {', '.join(known)}, found {key!r}.")
        settings[outer] = settings[outer] | {key: value}
    check_settings(settings, get_type_hints(TrainingConfig))
    if settings["start_from"] is None:
        check_heads(settings)
    else:
        settings |= _of_the_start(settings, changes, inner)
    return TrainingConfig(**settings)


def _of_the_network(settings, changes, chosen):
    """Settings that depend on the network; settings of the preset that do not apply to it are left out."""
    architecture = settings["architecture"]
    if not isinstance(architecture, dict):
        return {}
    before = architecture.get("network", DEFAULT_NETWORK)
    name = before if chosen is None else chosen
    NETWORKS.check(name)
    if name != before and ARGUMENTS.get(name) != ARGUMENTS.get(before):
        architecture = {key: value for key, value in architecture.items() if key == "final_relu"}
    found = {"architecture": architecture | ({"network": name} if chosen is not None else {})}
    if "dense_from" not in changes and not can_be_dense(name):
        found["dense_from"] = None
    return found


def _of_the_start(settings, changes, inner):
    """Settings fixed by the bundle to start from."""
    start = starting_bundle(settings["start_from"])
    metadata = start.metadata
    check_heads(settings, start.tasks)
    check_pull(settings, start.tasks)
    architecture = dict(metadata["architecture"])
    if "member" in architecture:
        raise InputError(
            "An ensemble cannot be trained further: expected start_from to be one of its models, found "
            f"{settings['start_from']}."
        )
    dense_from = architecture.pop("dense_from", None)
    of_start = [entry["name"] for entry in metadata.get("clinical") or ()]
    if architecture.pop("clinical", 0) and settings["clinical"] not in ([], of_start):
        raise InputError(
            f"The setting clinical cannot differ from that of the bundle to start from: expected {of_start}, found "
            f"{settings['clinical']}."
        )
    found = {"architecture": architecture, "preprocessing": metadata["preprocessing"], "target": metadata["target"]}
    asked = [(name, found[name], changes[name]) for name in FROM_BUNDLE if name in changes]
    asked += [(name, found[outer].get(key, UNWRITTEN.get(key)), value)
              for name, value in inner.items() for outer, _, key in [name.partition(".")]]  # fmt: skip
    for name, expected, value in asked:
        if json.dumps(value) != json.dumps(expected):
            raise InputError(
                f"The setting {name} cannot differ from that of the bundle to start from: expected {expected}, found "
                f"{value}."
            )
    found["clinical"] = of_start or settings["clinical"]
    return found | ({} if "dense_from" in changes else {"dense_from": dense_from})


def present_names(settings: dict) -> dict:
    """Settings of an earlier version under their current names."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def starting_bundle(start_from: str) -> ModelBundle:
    """The verified bundle named by `start_from`."""
    return ModelBundle.load(default_bundle() if start_from == SHIPPED else start_from)
