"""From a head CT to volume, prognosis and attention: the whole way, without Slicer."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from ..common.choices import Head
from ..common.errors import InputError
from ..common.progress import NO_PROGRESS
from ..common.provenance import provenance
from ..model.attention import check_choice
from ..model.bundle import ModelBundle, default_bundle
from ..model.preprocessing import NetworkInput, PreprocessingSettings, prepare
from ..scan.geometry import apply_affine
from ..scan.head_ct import HeadCT
from ..scan.head_region import head_region
from ..scan.reading import read_head_ct
from ..scan.validation import check_head_ct
from .findings.find import find
from .findings.finding import Findings
from .marking import Marking, propose
from .plausibility import volume_warnings
from .prognosis_range import percentile_range, varied_images
from .second_look import WITHOUT_PROGNOSIS, Hemorrhage, decide

LEAST_MARKED_ML = 0.5
"""The second look seeks at least this much, or it would miss what the model reads too small."""


@dataclass(frozen=True)
class Attention:
    """An attention map in the scan's geometry.

    Attributes
    ----------
    array : ndarray of shape (K, J, I), float32
        0 to 1, the highest attention being 1; scaled for each map by itself, so not comparable between patients.
    head, stage, method : str
    peak_ras_mm : tuple of float or None
        RAS position of the highest attention; None if the map is blank.
    """

    array: np.ndarray
    head: str
    stage: str
    method: str
    peak_ras_mm: tuple | None


@dataclass(frozen=True)
class Prediction:
    """The network's outputs and features, kept so that other attention maps need no second run."""

    network_input: NetworkInput
    output: float
    log_odds: float
    features: dict
    network: object


@dataclass(frozen=True)
class Analysis:
    """Everything known of one scan after the analysis.

    Attributes
    ----------
    head_ct : HeadCT
    volume_ml : float or None
        None where the model was never trained for it.
    volume_interval_ml : (float, float) or None
        None where the bundle holds no interval.
    interval_coverage : float or None
    mortality_probability : float or None
        Of death within 30 days; None where no hemorrhage was found, or the model was never trained for it. Not for
        people to read where `hemorrhage` is uncertain, see `second_look.WITHOUT_PROGNOSIS`.
    prognosis : str or None
        "survival" or "death", by a probability of 0.5.
    attention : Attention or None
    model : dict
        `name`, `version`, `sha256`, `training_data`.
    warnings : tuple of str
    timing_s : dict of str to float
        Seconds by step.
    provenance : dict
        As `common.provenance.provenance` makes it.
    hemorrhage : Hemorrhage or None
        "found", "uncertain" or "none", see `second_look`; None where the model was never trained for the volume.
    hemorrhage_reason : str
        A sentence that belongs before every number; empty where a hemorrhage was found.
    mortality_range : (float, float) or None
        How steady the probability is, as `prognosis_range.MEANING` says; None where it was not asked for.
    marking : Marking or None
        What the second look found at the attention, blood or not.
    findings : Findings or None
        What the scan shows besides the volume; None where no hemorrhage was found, or its place cannot be told.
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

    def attention_for(self, head="volume", stage="stage4", method="gradcam"):
        """Another attention map of the same run, without running the encoder again.

        Returns
        -------
        Attention
        """
        return _attention(self.prediction, self.head_ct, head, stage, method)


def _attention(prediction, head_ct, head, stage, method):
    from ..model.attention.maps import attention_map

    check_choice(head, stage, method)
    grid = attention_map(prediction.network, prediction.features[stage], stage, head, method)[0].cpu().numpy()
    strides, offsets = (
        placed[stage] for placed in (prediction.network.feature_strides, prediction.network.feature_offsets)
    )
    array = prediction.network_input.to_scan(grid, strides, offsets)
    highest = float(array.max())
    if highest <= 0 or not np.isfinite(highest):
        return Attention(np.zeros_like(array), head, stage, method, None)
    array /= highest
    return Attention(array, head, stage, method, _peak(array, head_ct))


def _peak(array, head_ct):
    peak_kji = np.unravel_index(int(array.argmax()), array.shape)
    return tuple(float(v) for v in apply_affine(head_ct.ijk_to_ras, peak_kji[::-1]))


def restricted_to_head(attention, head_ct):
    """An attention map without what lies around the head.

    The network's fine stages answer to the border of the head, and to what it lies on.

    Parameters
    ----------
    attention : Attention
    head_ct : HeadCT
        The scan that it is of.

    Returns
    -------
    Attention
    """
    array = attention.array * head_region(head_ct)
    highest = float(array.max())
    if highest <= 0:
        return replace(attention, array=array, peak_ras_mm=None)
    array /= highest
    return replace(attention, array=array, peak_ras_mm=_peak(array, head_ct))


class Analyzer:
    """A network held ready to analyze scans.

    Parameters
    ----------
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
        "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    BundleError
        If the bundle is incomplete or altered.
    InputError
        If the device is not there.
    """

    def __init__(self, bundle=None, device="auto"):
        from ..model.runtime import choose_device, inference_runtime

        self.bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle or default_bundle())
        self.settings = PreprocessingSettings(**self.bundle.metadata["preprocessing"])
        self.device = choose_device(device)
        self.network = self.bundle.network(self.device).eval().requires_grad_(False)
        self.runtime = inference_runtime(self.device)
        self.runtime.arrange(self.network)

    def predict(self, network_input, progress=NO_PROGRESS):
        """Run the network on a prepared scan; `progress` is called between the stages and may raise Canceled.

        Returns
        -------
        Prediction
        """
        import torch

        from ..model.runtime import repeatable

        image = torch.from_numpy(network_input.array)[None].to(self.device)
        features = {}
        with torch.no_grad(), repeatable(self.device), self.runtime.context():
            for name, output in self.network.features(self.runtime.arrange(image)):
                features[name] = output
                progress(len(features) / 4, f"Network: {name}")
            volume, scores = self.network.heads(features[name])
        output, log_odds = float(volume[0]), float(scores[0, 1] - scores[0, 0])
        if not np.isfinite([output, log_odds]).all():
            raise InputError("The network's output is not finite: expected numbers, found NaN or infinity.")
        return Prediction(network_input, output, log_odds, features, self.network)

    def mortality_range(self, head_ct, prediction):
        """How far the probability of death moves under small changes of the scan, as `prognosis_range.MEANING` says.

        Returns
        -------
        (float, float)
        """
        import torch

        images = varied_images(prediction.network_input, head_ct.spacing_kji, self.settings.window_hu)
        with torch.inference_mode(), self.runtime.context():
            scores = self.network(self.runtime.arrange(images.to(self.device)))[1].float().cpu()
        log_odds = [prediction.log_odds, *(scores[:, 1] - scores[:, 0]).tolist()]
        return percentile_range([self.bundle.probability(value) for value in log_odds])

    def analyze(
        self, head_ct, head="volume", stage=None, method=None, attention=True, progress=None, prognosis_range=False
    ):
        """Analyze one scan.

        Parameters
        ----------
        head_ct : HeadCT
        head, stage, method : str
            Of the attention map; None: the bundle's own stage and method.
        attention : bool
            Whether to make an attention map.
        progress : callable (fraction, message)
            May raise Canceled.
        prognosis_range : bool
            Whether to make nine more readings for `mortality_range`, which take several times as long as the one.

        Returns
        -------
        Analysis

        Raises
        ------
        InputError
            If the scan is not one the network can read, or the volume is more than a head can hold.
        """
        clock, progress = _Clock(), progress or NO_PROGRESS

        metadata = self.bundle.metadata
        stage = stage or metadata["attention"].get("stage", "stage4")
        method = method or metadata["attention"].get("method", "gradcam")
        check_choice(head, stage, method)  # before the work, not after it
        tasks = self.bundle.tasks
        progress(0.0, "Checking the scan")
        head_ct = check_head_ct(head_ct)
        clock.lap("check")
        progress(0.05, "Preparing")
        network_input = prepare(head_ct, self.settings)
        clock.lap("prepare")
        prediction = self.predict(network_input, lambda f, message: progress(0.15 + 0.45 * f, message))
        clock.lap("network")
        warnings = list(head_ct.facts.warnings)
        volume = interval = None
        if Head.VOLUME in tasks:
            volume = self.bundle.volume_ml(prediction.output, network_input.crop_volume_mm3)
            warnings.extend(volume_warnings(volume, head_ct.facts.intracranial_ml))
            interval = self.bundle.volume_interval_ml(volume)
            if interval is None:
                warnings.append("The model holds no calibrated interval; the volume is shown without one.")
        for task in set(Head.values()) - set(tasks):
            warnings.append(f"The model was trained for the {tasks[0]} alone: it gives no {task}.")
        if head not in tasks:
            warnings.append(f"The attention map is of the {tasks[0]} head: the {head} head was never trained.")
            head = tasks[0]
        progress(0.6, "Attention map")
        # The coarse map of the volume head tells where to look, whatever map is asked for.
        looked = found = None
        if volume is not None:
            looked = found = _attention(prediction, head_ct, "volume", "stage4", "gradcam")
        if attention and (looked is None or (head, stage, method) != (looked.head, looked.stage, looked.method)):
            found = _attention(prediction, head_ct, head, stage, method)
        if attention and found.peak_ras_mm is None:
            warnings.append(f"The attention map of the {head} head is blank: nothing in the scan raises its score.")
        clock.lap("attention")
        hemorrhage, reason, marking, findings = None, "", None, None
        if volume is not None:
            progress(0.7, "Second look")
            marking = propose(head_ct, looked, max(volume, LEAST_MARKED_ML))
            hemorrhage, reason = decide(volume, marking.evidence, marking.volume_ml)
            if hemorrhage == Hemorrhage.FOUND:
                findings = find(head_ct, marking.mask)
            clock.lap("second_look")
        death = death_range = None
        if Head.PROGNOSIS in tasks and hemorrhage != Hemorrhage.NONE:
            death = self.bundle.probability(prediction.log_odds)
            if prognosis_range and hemorrhage not in WITHOUT_PROGNOSIS:
                progress(0.8, "Range of the prognosis")
                death_range = self.mortality_range(head_ct, prediction)
                clock.lap("prognosis_range")
        progress(1.0, "Done")
        return Analysis(
            head_ct=head_ct,
            volume_ml=volume,
            volume_interval_ml=interval,
            interval_coverage=self.bundle.interval_coverage,
            mortality_probability=death,
            prognosis=None if death is None else "death" if death > 0.5 else "survival",
            attention=found if attention else None,
            model={
                "name": self.bundle.name,
                "version": self.bundle.version,
                "sha256": self.bundle.sha256,
                "training_data": self.bundle.training_data,
            },
            warnings=tuple(warnings),
            timing_s=clock.laps,
            prediction=prediction,
            provenance=provenance(self.device, self.runtime.name),
            hemorrhage=hemorrhage,
            hemorrhage_reason=reason,
            mortality_range=death_range,
            marking=marking,
            findings=findings,
        )


def analyze(scan, bundle=None, device="auto", head="volume", stage=None, method=None, progress=None):
    """Analyze a scan: from a file, folder or HeadCT to volume, prognosis and attention map.

    Parameters
    ----------
    scan : path or HeadCT
        A folder of DICOM files, a NIfTI or NRRD file, or a scan already read.
    bundle, device
        As in `Analyzer`.
    head, stage, method, progress
        As in `Analyzer.analyze`.

    Returns
    -------
    Analysis

    Examples
    --------
    >>> from ICHMultiTaskLib import analyze
    >>> result = analyze("scan.nii.gz")  # doctest: +SKIP
    >>> print(result.volume_ml, result.volume_interval_ml, result.mortality_probability)  # doctest: +SKIP
    """
    clock, progress = _Clock(), progress or NO_PROGRESS
    if not isinstance(scan, HeadCT):
        scan = read_head_ct(scan, progress=lambda f, message: progress(0.3 * f, message))
        clock.lap("read")
    analyzer = Analyzer(bundle, device)
    clock.lap("load_model")
    analysis = analyzer.analyze(scan, head, stage, method, progress=lambda f, message: progress(0.4 + 0.6 * f, message))
    return replace(analysis, timing_s=clock.laps | analysis.timing_s)


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self):
        self.laps = {}
        self._last = time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
