"""From a head CT to volume, prognosis and attention, without Slicer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..common.choices import Head
from ..common.clinical_variables import VARIABLES
from ..common.errors import InputError
from ..common.progress import NO_PROGRESS, Progress, part
from ..common.provenance import provenance
from ..common.translation import joined
from ..common.translation import tr as _
from ..common.words import word
from ..model.attention import LOCATOR, MapChoice, check_choice
from ..model.bundle import ModelBundle, default_bundle
from ..model.preprocessing import NetworkInput, PreprocessingSettings, prepare
from ..model.runners import load_runner
from ..scan.head_ct import HeadCT
from ..scan.head_region import head_region
from ..scan.reading import read_head_ct
from ..scan.validation import check_head_ct
from .attention import Attention, Prediction, map_of
from .findings.finding import Findings
from .marking import Marking, compared, look_around, propose
from .plausibility import thickness_warnings, volume_warnings
from .prognosis_range import percentile_range, varied_images
from .result import Analysis
from .second_look import WITHOUT_PROGNOSIS, Hemorrhage, decide

MIN_MARKED_ML = 0.5
"""The second look searches for at least this volume, so that it finds bleeds that the model underestimates."""


@dataclass(frozen=True)
class SecondLook:
    """What the scan shows at the network's attention; attributes as in `Analysis`, `outlined_ml` in mL."""

    hemorrhage: Hemorrhage | None = None
    reason: str = ""
    marking: Marking | None = None
    findings: Findings | None = None
    outlined_ml: float | None = None
    volume_ml: float | None = None


class Analyzer:
    """A network loaded and ready to analyze scans.

    Parameters
    ----------
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
        "auto", "cpu", "cuda" or "mps".
    runtime : str
        Library that runs the network: "torch", "onnx", or "auto", PyTorch where it is installed. ONNX Runtime gives the
        same numbers on the processor, and maps of the last two stages; the rest needs PyTorch.

    Raises
    ------
    BundleError
        If the bundle is incomplete or altered.
    InputError
        If the device is not available, or the model needs PyTorch.
    DependencyError
        If the library is not installed.
    """

    def __init__(
        self,
        bundle: ModelBundle | str | os.PathLike | None = None,
        device: str = "auto",
        runtime: str = "auto",
    ):
        self.bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle or default_bundle())
        self.settings = PreprocessingSettings(**self.bundle.metadata["preprocessing"])
        self.runner = load_runner(self.bundle, device, runtime)

    def predict(
        self,
        network_input: NetworkInput,
        progress: Progress = NO_PROGRESS,
        clinical: Mapping[str, object] | None = None,
    ) -> Prediction:
        """Run the network on a prepared scan; `progress` is called between the stages and may raise Canceled.

        `clinical` is as `analyze` takes it.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            If the network's output is not finite, or a value of `clinical` is not usable.
        """
        known = None if self.bundle.clinical is None else self.bundle.clinical.encode(clinical or {})[None]
        features, output, log_odds = self.runner.run(network_input.array[None], known, progress)
        if not np.isfinite([output, log_odds]).all():
            raise InputError(_("The network's output is not finite: expected numbers, found NaN or infinity."))
        return Prediction(network_input, output, log_odds, features, self.runner, known)

    def mortality_range(self, head_ct: HeadCT, prediction: Prediction) -> tuple[float, float]:
        """Range of the probability of death under small changes of the scan, see `prognosis_range.MEANING`.

        Returns
        -------
        (float, float)
        """
        images = varied_images(prediction.network_input, head_ct.spacing_kji, self.settings.window_hu)
        log_odds = [prediction.log_odds, *self.runner.log_odds(images, prediction.clinical)]
        return percentile_range([self.bundle.probability(value) for value in log_odds])

    def second_look(self, head_ct: HeadCT, locator: Attention, network_ml: float) -> SecondLook:
        """Mark what is at the network's attention, decide whether it is a hemorrhage, and read its volume again.

        Parameters
        ----------
        head_ct : HeadCT
        locator : Attention
            The map of `LOCATOR`.
        network_ml : float
            The network's reading of the volume.

        Returns
        -------
        SecondLook
        """
        marking = propose(head_ct, locator, max(network_ml, MIN_MARKED_ML))
        hemorrhage, reason = decide(network_ml, marking.evidence, marking.volume_ml)
        findings = outlined = None
        if hemorrhage == Hemorrhage.FOUND:
            findings, marking = look_around(head_ct, marking, locator, network_ml)
            outlined = marking.volume_ml
        volume = self.bundle.joint_volume_ml(network_ml, outlined)
        return SecondLook(hemorrhage, reason, compared(marking, volume), findings, outlined, volume)

    def analyze(
        self,
        head_ct: HeadCT,
        head: str = LOCATOR.head,
        stage: str = LOCATOR.stage,
        method: str = LOCATOR.method,
        attention: bool = True,
        progress: Progress | None = None,
        prognosis_range: bool = False,
        clinical: Mapping[str, object] | None = None,
    ) -> Analysis:
        """Analyze one scan.

        Parameters
        ----------
        head_ct : HeadCT
        head, stage, method : str
            Of the attention map.
        attention : bool
            Whether to compute an attention map.
        progress : callable (fraction, message)
            May raise Canceled.
        prognosis_range : bool
            Whether to compute `mortality_range` from nine more runs of the network.
        clinical : mapping, optional
            What is known of the patient, by the names of `ICHMultiTaskLib.common.clinical_variables.VARIABLES`; read by
            a model whose prognosis was trained on it, and by no other. An age that is not given is that of the header.

        Returns
        -------
        Analysis

        Raises
        ------
        InputError
            If the network cannot read the scan, the volume is larger than a head can hold, or a clinical value is
            impossible.
        """
        clock, progress = _Clock(), progress or NO_PROGRESS
        self._check_request(head_ct, head, stage, method)
        clinical = _with_age(clinical, head_ct)
        read = self.bundle.clinical.read(clinical) if self.bundle.clinical else None
        progress(0.0, _("Checking the scan"))
        head_ct = check_head_ct(head_ct)
        clock.lap("check")
        progress(0.05, _("Preparing"))
        network_input = prepare(head_ct, self.settings, self.runner.device)
        clock.lap("prepare")
        prediction = self.predict(network_input, part(progress, 0.15, 0.6), clinical)
        clock.lap("network")
        warnings = [*head_ct.facts.warnings, *_clinical_warnings(read)]
        network_volume = None
        if Head.VOLUME in self.bundle.tasks:
            network_volume = self._network_volume(head_ct, prediction)
            warnings.extend(self._volume_warnings(head_ct))
        warnings.extend(_task_warnings(self.bundle.tasks, head))
        progress(0.6, _("Attention map"))
        if attention or network_volume is not None:
            prediction = replace(prediction, head_region=head_region(head_ct))
        # The second look uses the coarse map of the volume head, whichever map is requested.
        locator = shown = None
        if network_volume is not None:
            locator = shown = map_of(prediction, head_ct, *LOCATOR)
        if attention:
            wanted = MapChoice(head if head in self.bundle.tasks else self.bundle.tasks[0], stage, method)
            if locator is None or wanted != LOCATOR:
                shown = map_of(prediction, head_ct, *wanted, part(progress, 0.6, 0.7))
            warnings.extend(_blank_warnings(shown))
        clock.lap("attention")
        look = SecondLook()
        if network_volume is not None:
            progress(0.7, _("Second look"))
            look = self.second_look(head_ct, locator, network_volume)
            warnings.extend(volume_warnings(look.volume_ml, head_ct.facts.intracranial_ml))
            clock.lap("second_look")
        death = death_range = None
        if Head.PROGNOSIS in self.bundle.tasks and look.hemorrhage != Hemorrhage.NONE:
            death = self.bundle.probability(prediction.log_odds)
            if prognosis_range and look.hemorrhage not in WITHOUT_PROGNOSIS:
                progress(0.8, _("Range of the prognosis"))
                death_range = self.mortality_range(head_ct, prediction)
                clock.lap("prognosis_range")
        progress(1.0, _("Done"))
        return Analysis(
            head_ct=head_ct,
            volume_ml=look.volume_ml,
            volume_interval_ml=None if look.volume_ml is None else self.bundle.volume_interval_ml(look.volume_ml),
            interval_coverage=self.bundle.interval_coverage,
            mortality_probability=death,
            prognosis=None if death is None else "death" if death > 0.5 else "survival",
            attention=shown if attention else None,
            model={
                "name": self.bundle.name,
                "version": self.bundle.version,
                "sha256": self.bundle.sha256,
                "training_data": self.bundle.training_data,
            },
            warnings=tuple(warnings),
            timing_s=clock.laps,
            prediction=prediction,
            provenance=provenance(self.runner.device, self.runner.number_format),
            hemorrhage=look.hemorrhage,
            hemorrhage_reason=look.reason,
            mortality_range=death_range,
            marking=look.marking,
            findings=look.findings,
            clinical=read,
            network_volume_ml=network_volume,
            outlined_volume_ml=look.outlined_ml,
        )

    def _check_request(self, head_ct, head, stage, method):
        """Refuse what cannot be analyzed or shown, before the work."""
        check_choice(head, stage, method)
        if not isinstance(head_ct, HeadCT):
            raise InputError(
                _("There is no scan to analyze; expected a HeadCT, as read_head_ct gives, found {kind}.").format(
                    kind=type(head_ct).__name__
                )
            )
        self.runner.check_map(stage, method)

    def _network_volume(self, head_ct, prediction):
        """The volume as the network reads it, mL; refuses one that no head can hold."""
        volume = self.bundle.volume_ml(prediction.output, prediction.network_input.crop_volume_mm3)
        volume_warnings(volume, head_ct.facts.intracranial_ml)
        return volume

    def _volume_warnings(self, head_ct):
        """What the model was not trained or calibrated for."""
        yield from thickness_warnings(head_ct, self.bundle.metadata["metrics"])
        if self.bundle.interval_coverage is None:
            yield _("The model has no calibrated interval; the volume is shown without one.")


def analyze(
    scan: str | os.PathLike | HeadCT,
    bundle: ModelBundle | str | os.PathLike | None = None,
    device: str = "auto",
    head: str = LOCATOR.head,
    stage: str = LOCATOR.stage,
    method: str = LOCATOR.method,
    progress: Progress | None = None,
    clinical: Mapping[str, object] | None = None,
    runtime: str = "auto",
) -> Analysis:
    """Analyze a scan: from a file, folder or HeadCT to volume, prognosis and attention map.

    Parameters
    ----------
    scan : path or HeadCT
        As `read_head_ct` takes it, or a scan already read.
    bundle, device, runtime
        As in `Analyzer`.
    head, stage, method, progress, clinical
        As in `Analyzer.analyze`.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError, BundleError, DependencyError
        As `read_head_ct`, `Analyzer` and `Analyzer.analyze`.

    Examples
    --------
    >>> from ICHMultiTaskLib import analyze
    >>> result = analyze("scan.nii.gz")  # doctest: +SKIP
    >>> print(result.volume_ml, result.volume_interval_ml, result.mortality_probability)  # doctest: +SKIP
    """
    clock, progress = _Clock(), progress or NO_PROGRESS
    if not isinstance(scan, HeadCT):
        scan = read_head_ct(scan, progress=part(progress, 0.0, 0.3))
        clock.lap("read")
    analyzer = Analyzer(bundle, device, runtime)
    clock.lap("load_model")
    analysis = analyzer.analyze(scan, head, stage, method, progress=part(progress, 0.4, 1.0), clinical=clinical)
    return replace(analysis, timing_s=clock.laps | analysis.timing_s)


def _with_age(clinical, head_ct):
    """The clinical values, with the age of the DICOM header where none is given."""
    clinical = dict(clinical or {})
    if clinical.get("age") in (None, "") and head_ct.facts.patient_age is not None:
        clinical["age"] = head_ct.facts.patient_age
    return clinical


def _clinical_warnings(read):
    missing = [VARIABLES[name].words for name, value in (read or {}).items() if value is None]
    if missing:
        yield _("The prognosis was made without what the model also reads: {missing}.").format(
            missing=joined(", ", missing)
        )


def _task_warnings(tasks, head):
    """What a model that was trained for one task alone cannot give."""
    for task in set(Head.values()) - set(tasks):
        yield _("The model was trained for the {trained} only: it gives no {other}.").format(
            trained=word(tasks[0]), other=word(task)
        )
    if head not in tasks:
        yield _("The attention map is of the {trained} head: the {head} head was not trained.").format(
            trained=word(tasks[0]), head=word(head)
        )


def _blank_warnings(shown):
    if shown.peak_ras_mm is None:
        yield _("The attention map of the {head} head is blank: nothing in the scan raises its score.").format(
            head=word(shown.head)
        )


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self):
        self.laps = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
