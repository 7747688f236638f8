"""Interpretation methods evaluated on scans with a hematoma mask."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import rankdata

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.attention import attention_grid
from ICHMultiTaskLib.common.choices import Stage
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.model.attention import INPUT, METHODS, check_network, plain_label, stage_of_map, supports
from ICHMultiTaskLib.model.attention.occlusion import cover
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.preprocessing import NetworkInput, prepare
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct

from ..data.cache import occupancy
from ..data.labels import read_mask
from ..data.manifest import Row

LEVELS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the head's voxels that are covered or shown. A hematoma takes about 1 % of them, so equal steps would skip
it. The area under the curve gives every interval between these levels the same width."""
MIN_ML = 5.0
"""A smaller hematoma takes only one or two voxels of the network's grid."""
BATCH = 4
CURVES = ("deletion", "insertion")


def compare_methods(
    analyzer: Analyzer,
    rows: Sequence[Row],
    methods: Sequence[str] | None = None,
    patients: int = 8,
    progress: Progress = NO_PROGRESS,
    stage: str = Stage.STAGE4.value,
) -> tuple[dict, dict]:
    """Evaluate each method on the volume head of a model.

    Parameters
    ----------
    analyzer : Analyzer
    rows : sequence of Row
        Rows with a mask and a hematoma of at least 5 mL are used, spread evenly over the sorted volumes.
    methods : sequence of str, optional
        None: all.
    patients : int
        Largest number of patients.
    progress : callable (fraction, message)
    stage : str
        Of the methods that have one; the last one is the paper's.

    Returns
    -------
    dict
        `patients`; `share_of_hematoma`: mean share of the head's voxels within the hematoma, the expected
        `share_inside` of a random map; `methods`: by name `label`, `stage` and the means over patients of
        `peak_inside` (pointing game: the highest attention lies in the hematoma; Zhang et al. 2018, doi
        10.1007/s11263-017-1059-x), `share_inside` (of the map's total), `deletion` and `insertion` (area under the
        curve of the volume, relative to that of the whole scan, as voxels are covered or shown in order of falling
        attention; Petsiuk et al. 2018, arXiv:1806.07421), `sanity` (rank correlation with the map of a network with
        random weights: near 0 if the map depends on the training; Adebayo et al. 2018, arXiv:1810.03292) and
        `seconds` (median); `curves`: by name the mean `deletion` and `insertion` at each of `LEVELS`.
    example : dict
        `image`, `mask` and `maps` of the first patient, on the network's grid.

    Raises
    ------
    InputError
        If no scan of the table can be used, or the model's volume head was not trained.
    """
    if "volume" not in analyzer.bundle.tasks:
        raise InputError(
            "The methods are measured on the volume: expected a model that reads it, found prognosis alone."
        )
    chosen = chosen_rows(rows, patients)
    methods = list(methods or [method for method in METHODS if supports(analyzer.runner.network, method)])
    for method in methods:
        METHODS.check(method)
        check_network(analyzer.runner.network, method)
    random = _random_copy(analyzer)
    found, example, taken_up = {method: [] for method in methods}, None, []
    steps = len(chosen) * len(methods)
    for row in chosen:
        case = _Case(row, analyzer, stage)
        unlearned = random.predict(case.input)
        taken_up.append(float(case.mask[case.head].mean()))
        maps = {}
        for method in methods:
            done = (sum(map(len, found.values()))) / steps
            progress(done, f"{METHODS.label(method)}, patient {row.patient_id}")
            start = time.perf_counter()
            maps[method] = case.map_of(case.prediction, method)
            taken = time.perf_counter() - start
            found[method].append(case.measures(maps[method], case.map_of(unlearned, method)) | {"seconds": taken})
        example = example or {"image": case.image, "mask": case.mask > 0.5, "maps": maps}
    measured = {
        method: {
            "label": plain_label(method),
            "stage": stage_of_map(stage, method),
            **_summary(records),
        }
        for method, records in found.items()
    }
    curves = {
        method: {kind: np.mean([r[f"{kind}_curve"] for r in records], axis=0).tolist() for kind in CURVES}
        for method, records in found.items()
    }
    share = float(np.mean(taken_up))
    return {"patients": len(chosen), "share_of_hematoma": share, "methods": measured, "curves": curves}, example


def chosen_rows(rows: Sequence[Row], patients: int) -> list[Row]:
    """Rows with a mask and a hematoma of at least `MIN_ML`, spread evenly over the sorted volumes.

    Raises
    ------
    InputError
        If there is none.
    """
    usable = sorted((row for row in rows if row.mask and row.volume_ml >= MIN_ML), key=lambda row: row.volume_ml)
    if not usable:
        raise InputError(
            f"No scan can be used: expected rows with a mask and a volume_ml of at least {MIN_ML:g}, found none of "
            f"{len(rows)}."
        )
    # The median volume comes first, since the maps of the first patient are drawn.
    places = np.linspace(0, len(usable) - 1, min(patients, len(usable)) + 2).round().astype(int)[1:-1]
    places = sorted(set(places.tolist()), key=lambda place: abs(place - len(usable) // 2))
    return [usable[place] for place in places]


def on_input_grid(
    grid: np.ndarray, shape: Sequence[int], strides: Sequence[int], offsets: Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Interpolate the map of a stage to the network's input grid, as the analysis does for a scan.

    Parameters
    ----------
    grid : ndarray of shape (d, h, w)
    shape : sequence of int
        (D, H, W).
    strides : tuple of int
        Input voxels per step of the grid.
    offsets : tuple of float
        Input index of the grid's first node.

    Returns
    -------
    ndarray of shape (D, H, W), float32
    """
    shape = tuple(map(int, shape))
    frame = NetworkInput(
        np.empty((1, *shape), np.float32), (0, 1, 2), (False,) * 3, tuple((0, n) for n in shape), shape, 1.0
    )
    return frame.to_scan(grid, strides, offsets)


class _Case:
    """One scan on the network's grid: image, mask and prediction."""

    def __init__(self, row, analyzer, stage):
        self.analyzer, self.stage = analyzer, stage
        head_ct = check_head_ct(read_head_ct(row.image))
        self.input = prepare(head_ct, analyzer.settings)
        self.prediction = analyzer.predict(self.input)
        self.image = self.input.array[0]
        mask = read_mask(row.mask, head_ct)
        self.mask = occupancy(mask, self.input, cell=1)
        self.head = self.image > 0
        tensor = torch.from_numpy(self.input.array)[None]
        self.covered = float(cover(tensor))
        self.volume_ml = max(self._volumes(self.image[None])[0], 1e-6)

    def map_of(self, prediction, method):
        stage = stage_of_map(self.stage, method)
        grid, *placed = attention_grid(prediction, "volume", stage, method)
        return grid if stage == INPUT else on_input_grid(grid, self.image.shape, *placed)

    def measures(self, found, unlearned):
        total = float(found.sum(dtype=float))
        peak = np.unravel_index(int(found.argmax()), found.shape)
        curves = self._curves(found)
        return {
            "peak_inside": float(total > 0 and self.mask[peak] > 0),
            "share_inside": float((found * self.mask).sum(dtype=float) / total) if total > 0 else 0.0,
            "sanity": _rank_correlation(found[self.head], unlearned[self.head]),
            **{name: float(np.mean((curve[1:] + curve[:-1]) / 2)) for name, curve in curves.items()},
            **{f"{name}_curve": curve for name, curve in curves.items()},
        }

    def _curves(self, found):
        """Volume relative to that of the whole scan, as voxels are covered or shown in order of falling attention."""
        places = np.flatnonzero(self.head)
        order = places[np.argsort(-found.ravel()[places], kind="stable")]
        blank = np.where(self.head, np.float32(self.covered), self.image)
        images = {kind: [] for kind in CURVES}
        for share in LEVELS:
            first = order[: round(share * len(order))]
            for name, start, end in (("deletion", self.image, blank), ("insertion", blank, self.image)):
                changed = start.copy()
                changed.ravel()[first] = end.ravel()[first]
                images[name].append(changed)
        return {name: self._volumes(np.stack(list_)) / self.volume_ml for name, list_ in images.items()}

    def _volumes(self, images):
        """Predicted volumes in mL of images [N, D, H, W]."""
        analyzer, runner, outputs = self.analyzer, self.analyzer.runner, []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                batch = torch.from_numpy(images[start : start + BATCH, None]).to(runner.device)
                outputs += runner.network(runner.runtime.arrange(batch))[0].float().cpu().tolist()
        return np.array([analyzer.bundle.volume_ml(output, self.input.crop_volume_mm3) for output in outputs])


def _random_copy(analyzer):
    """Copy of the analyzer whose network has random weights."""
    copy = object.__new__(type(analyzer))
    copy.__dict__.update(analyzer.__dict__)
    torch.manual_seed(0)
    runner = analyzer.runner
    network = build_network(runner.network.architecture).eval().requires_grad_(False).to(runner.device)
    copy.runner = replace(runner, network=runner.runtime.arrange(network))
    return copy


def _rank_correlation(a, b):
    """Spearman's rank correlation; 0 if a map is constant."""
    a, b = rankdata(a), rankdata(b)
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def _summary(records):
    names = ("peak_inside", "share_inside", "deletion", "insertion", "sanity")
    means = {name: float(np.mean([record[name] for record in records])) for name in names}
    return means | {"seconds": float(np.median([record["seconds"] for record in records]))}
