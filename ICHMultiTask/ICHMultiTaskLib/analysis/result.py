"""The results of the analysis of one scan."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..common.progress import NO_PROGRESS, Progress
from ..model.attention import LOCATOR
from ..scan.head_ct import HeadCT
from .attention import Attention, Prediction, map_of
from .findings.finding import Findings
from .marking import Marking
from .second_look import Hemorrhage


@dataclass(frozen=True)
class Analysis:
    """Results of the analysis of one scan.

    Attributes
    ----------
    head_ct : HeadCT
    volume_ml : float or None
        From `network_volume_ml` and `outlined_volume_ml`, see `model.two_readings`; None if the model was not trained
        to measure it.
    volume_interval_ml : (float, float) or None
        None if the bundle has no calibrated interval.
    interval_coverage : float or None
    mortality_probability : float or None
        Probability of death within 30 days; None if no hemorrhage was found, or the model was not trained to predict
        it. Not to be shown to users if `hemorrhage` is uncertain, see `second_look.WITHOUT_PROGNOSIS`.
    prognosis : str or None
        "survival" or "death", at a probability threshold of 0.5.
    attention : Attention or None
    model : dict
        `name`, `version`, `sha256`, `training_data`.
    warnings : tuple of str
    timing_s : dict of str to float
        Seconds by step.
    provenance : dict
        From `common.provenance.provenance`.
    hemorrhage : Hemorrhage or None
        "found", "uncertain" or "none", see `second_look`; None if the model was not trained to measure the volume.
    hemorrhage_reason : str
        A sentence to show before every number; empty if a hemorrhage was found.
    mortality_range : (float, float) or None
        Stability of the probability, see `prognosis_range.MEANING`; None if not requested.
    marking : Marking or None
        The region that the second look marked at the attention, blood or not.
    findings : Findings or None
        Findings besides the volume; None if no hemorrhage was found, or its location is unclear.
    clinical : dict or None
        For a model with clinical inputs: the given values by name, None for missing ones.
    network_volume_ml : float or None
        The volume as the network reads it.
    outlined_volume_ml : float or None
        Volume of the marked blood, without that in the ventricles; None if no hemorrhage was found.
    """

    head_ct: HeadCT
    volume_ml: float | None
    volume_interval_ml: tuple | None
    interval_coverage: float | None
    mortality_probability: float | None
    prognosis: str | None
    attention: Attention | None
    model: dict
    warnings: tuple
    timing_s: dict
    prediction: Prediction = field(repr=False)
    provenance: dict = field(default_factory=dict, repr=False)
    hemorrhage: Hemorrhage | None = Hemorrhage.FOUND
    hemorrhage_reason: str = ""
    mortality_range: tuple | None = None
    marking: Marking | None = field(default=None, repr=False)
    findings: Findings | None = None
    clinical: dict | None = None
    network_volume_ml: float | None = None
    outlined_volume_ml: float | None = None

    def attention_for(
        self,
        head: str = LOCATOR.head,
        stage: str = LOCATOR.stage,
        method: str = LOCATOR.method,
        progress: Progress = NO_PROGRESS,
    ) -> Attention:
        """Compute another attention map from the same run; the encoder runs again only for a method of the image.

        Returns
        -------
        Attention

        Raises
        ------
        InputError
            If there is no such map for this network, or it needs PyTorch and ONNX Runtime ran the network.
        """
        return map_of(self.prediction, self.head_ct, head, stage, method, progress)
