"""Group the slices of a series into volumes: a series may hold several acquisitions, copies and unrelated images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.translation import joined
from ..common.translation import tr as _
from .series_words import denies_contrast

if TYPE_CHECKING:
    from .dicom_files import Slice

ANGLE_TOLERANCE = 0.005
"""Largest difference of a direction cosine within a volume: 0.3°."""
SPACING_TOLERANCE = 0.003
"""Largest relative difference of the pixel spacing within a volume; other fields of view differ by more."""
SAME_PLACE_MM = 0.02
"""Slices closer than this are at the same position."""
MIN_VOLUME = 5
"""Fewer slices do not count as a separate volume next to another one."""
MAX_SHARED = 2
"""Blocks of one scan (skull base, vertex) overlap by at most this many slices."""


@dataclass(frozen=True)
class Stack:
    """The slices of one volume.

    Attributes
    ----------
    slices : list of Slice
        Ordered along their normal, one at each position.
    offsets : ndarray of shape (K,)
        Position of each slice along the normal in mm, ascending.
    copies : list of (Slice, Slice)
        Images left out because their headers call them copies of others, each after the image that it is a copy of.
    repeats : list of (Slice, Slice)
        Images left out because another one is at the same position, each after that one.
    """

    slices: list
    offsets: np.ndarray
    copies: Sequence = ()
    repeats: Sequence = ()

    @property
    def coverage_mm(self) -> float:
        """Distance from the first to the last slice plane."""
        return float(self.offsets[-1] - self.offsets[0])

    @property
    def thickness_mm(self) -> float | None:
        """Slice thickness in mm; the median step if the header states none; None for a single slice."""
        stated = self.slices[len(self.slices) // 2].number("SliceThickness", 0.0)
        if stated > 0:
            return stated
        return float(np.median(np.diff(self.offsets))) if len(self.offsets) > 1 else None

    @property
    def start(self) -> tuple[float, float]:
        """Sort key: the stack acquired first comes first."""
        times = [item.time for item in self.slices if item.time is not None]
        return min(map(sequence, self.slices)), min(times, default=0.0)

    def repeats_of(self, other: Stack) -> bool:
        """Whether the other stack covers the same range like another time point; True for itself."""
        return (
            _are_similar(self.slices[0], other.slices[0])
            and self.thickness_mm == other.thickness_mm
            and abs(self.coverage_mm - other.coverage_mm) <= 0.2 * self.coverage_mm
        )

    def continues_in(self, other: Stack) -> bool:
        """Whether the other stack begins or ends one slice beyond this one and is similar to it."""
        one, two = self.slices[0], other.slices[0]
        if len(self.slices) < 2 or not _are_similar(one, two):
            return False
        step = float(np.median(np.diff(self.offsets)))
        gaps = self.offsets[0] - other.offsets[-1], other.offsets[0] - self.offsets[-1]
        return any(0.5 * step < gap < 1.6 * step for gap in gaps)


def reason_unusable(item: Slice) -> str | None:
    """Why an image cannot be a slice of a volume, or None if it can."""
    # The pixels of a palette are numbers of colors, as in maps of perfusion.
    if item.number("SamplesPerPixel", 1) != 1 or item.text("PhotometricInterpretation").upper().startswith("PALETTE"):
        return _("in color")
    if "LOCALIZER" in item.image_type:
        return _("of a localizer")
    if not item.is_ct:
        return _("of another modality than CT")
    if item.frame is None and item.number("NumberOfFrames", 1) > 1:
        return _("of several frames without positions")
    if item.position is None:
        return _("without a slice position")
    if item.orientation is None:
        return _("without a usable slice orientation")
    if item.pixel_spacing is None:
        return _("without a usable pixel spacing")
    return None


def split_stacks(slices: Sequence[Slice]) -> list[Stack]:
    """Split the usable slices of a series into volumes.

    Slices of one volume agree in patient and size, and within tolerances in orientation and pixel spacing. Volumes that
    cover the same range are distinguished by study, kind, kernel, contrast agent, series number and description,
    acquisition number, time point, slice thickness, time and runs of instance numbers. Slices that follow each other,
    or fill each other's gaps, stay together even if their headers differ.

    Parameters
    ----------
    slices : list of Slice
        Those for which `reason_unusable` is None.

    Returns
    -------
    list of Stack
        Largest first, and in the order of acquisition among equals.
    """
    stacks = []
    for alike in _group(slices):
        singles, copies = _without_copies(alike)
        normal = np.mean([item.normal for item in singles], axis=0)
        offsets = np.array([item.position for item in singles]) @ normal
        parts = _acquisitions(np.arange(len(singles)), singles, offsets)
        for number, part in enumerate(parts):
            order = part[np.lexsort(([sequence(singles[index]) for index in part], offsets[part]))]
            first = np.concatenate(([True], np.diff(offsets[order]) > SAME_PLACE_MM))
            kept = order[first]
            places = np.cumsum(first) - 1
            repeats = [(singles[kept[places[n]]], singles[order[n]]) for n in np.flatnonzero(~first)]
            stacks.append(Stack([singles[n] for n in kept], offsets[kept], () if number else copies, repeats))
    return sorted(stacks, key=lambda stack: (-len(stack.slices), stack.start))


def count_interleaved(stack: Stack) -> int:
    """Count slices that are close to both neighbors, as in interleaved acquisitions."""
    steps = np.diff(stack.offsets)
    if len(steps) < 3:
        return 0
    return int(np.sum(steps[1:-1] < 0.5 * np.minimum(steps[:-2], steps[2:])))


def find_gaps(stack: Stack) -> list[tuple[int, float, float]]:
    """Find gaps where slices are missing: steps of more than 1.6 times the median of their neighbors.

    A step that changes for a whole block, as from the skull base to the vertex, is not a gap.

    Returns
    -------
    list of (int, float, float)
        Number of the slice before the gap, width of the gap and usual step in mm.
    """
    steps = np.diff(stack.offsets)
    found = []
    for index, step in enumerate(steps):
        around = np.concatenate((steps[max(index - 2, 0) : index], steps[index + 1 : index + 3]))
        if len(around) and step > 1.6 * np.median(around):
            found.append((index + 1, float(step), float(np.median(around))))
    return found


def _group(slices):
    """Group slices of one patient and grid; each is compared with the first of a group."""
    groups = []
    for item in slices:
        patient = item.text("PatientID").casefold()
        for group, stated in groups:
            if not (patient and stated[0] and patient != stated[0]) and _has_same_grid(group[0], item):
                group.append(item)
                stated[0] = stated[0] or patient
                break
        else:
            groups.append(([item], [patient]))
    return [group for group, _ in groups]


def _are_similar(one, other):
    """Whether two slices have the same grid and no contradicting attributes."""
    pairs = [(trait(one), trait(other)) for trait in TRAITS]
    return _has_same_grid(one, other) and all(mine == yours or not (mine and yours) for mine, yours in pairs)


def _has_same_grid(one, other):
    return bool(
        all(one.number(keyword) == other.number(keyword) for keyword in ("Rows", "Columns"))
        and np.abs(one.orientation - other.orientation).max() <= ANGLE_TOLERANCE
        and np.abs(other.pixel_spacing / one.pixel_spacing - 1.0).max() <= SPACING_TOLERANCE
    )


def _agent(item):
    """Contrast agent; "" if none was given."""
    return "" if denies_contrast(item.agent) else item.agent.casefold()


TRAITS = (
    lambda item: item.text("StudyInstanceUID"),
    lambda item: {"O": "original", "D": "derived"}.get(item.image_type[:1], ""),
    lambda item: item.text("ConvolutionKernel"),
    _agent,
)
"""Header attributes in which volumes of the same range may differ; "" if not stated."""


def _without_copies(slices):
    """Images without their duplicates, and pairs of both; the larger file is kept: the smaller may be incomplete."""
    kept, pairs = {}, []
    for item in slices:
        name = item.text("SOPInstanceUID") or item.path.name
        # Some anonymizers give every image one name.
        key = (name, item.frame or 0, *_number_and_time(item), *_place_and_traits(item))
        other = kept.setdefault(key, item)
        if other is not item:
            kept[key] = max(other, item, key=lambda one: one.path.stat().st_size)
            pairs.append((other, item))
    # A second export gives its images new UIDs.
    exports = {}
    for item in kept.values():
        moment = _number_and_time(item)
        key = (*moment, item.number("SliceThickness"), *_place_and_traits(item))
        other = exports.setdefault(id(item) if None in moment else key, item)
        if other is not item:
            pairs.append((other, item))
    return list(exports.values()), pairs


def _number_and_time(item):
    return item.acquisition, item.number("InstanceNumber", None), item.time


def _place_and_traits(item):
    series = item.text("SeriesNumber"), item.text("SeriesDescription")
    return *np.round(item.position, 2).tolist(), *series, *(trait(item) for trait in TRAITS)


def sequence(item: Slice) -> float:
    """Sort key of a slice: acquisition, then instance number."""
    return item.acquisition * 1e6 + item.number("InstanceNumber")


def _acquisitions(indices, slices, offsets):
    """Split similar slices that cover the same range several times into volumes; lists of indices."""
    if len(indices) < 2 * MIN_VOLUME:
        return [indices]
    for parts in _ways_to_split(indices, slices, offsets):
        volumes = _join_blocks(parts, slices, offsets)
        if len(volumes) < 2:
            continue
        largest = max(map(len, volumes))
        whole = [volume for volume in volumes if len(volume) >= max(MIN_VOLUME, 0.2 * largest)]
        if len(whole) > 1:
            return [part for volume in volumes for part in _acquisitions(volume, slices, offsets)]
    return [indices]


def _ways_to_split(indices, slices, offsets):
    """Yield lists of parts: by traits, numbers in the headers, runs in time, runs of numbers, and their repetition."""
    stated = (
        lambda item: item.text("SeriesNumber"),
        lambda item: item.text("SeriesDescription"),
        lambda item: item.acquisition,
        lambda item: item.number("TemporalPositionIdentifier"),
        lambda item: round(item.number("SliceThickness"), 1),
    )
    for trait in (*TRAITS, *stated):
        values = np.array([trait(slices[index]) for index in indices])
        if len(np.unique(values)) > 1:
            yield [indices[values == value] for value in np.unique(values)]
    numbers = [slices[index].number("InstanceNumber", None) for index in indices]
    times = [slices[index].time for index in indices]
    for order in (times, numbers):
        if None in order:
            continue
        ranked = indices[np.lexsort(([number or 0 for number in numbers], order))]
        runs = _runs(ranked, offsets)
        # Many short runs are unordered numbers, not acquisitions.
        if 1 < len(runs) <= max(2, len(indices) // MIN_VOLUME):
            yield runs
    # Acquisitions each numbered from 1, in the order of their files.
    seen, turns = Counter(), np.empty(len(indices), dtype=int)
    for place in sorted(range(len(indices)), key=lambda place: slices[indices[place]].path):
        turns[place] = seen[numbers[place]]
        seen[numbers[place]] += 1
    if None not in numbers and 0 < turns.max() < len(indices) // MIN_VOLUME:
        yield [indices[turns == turn] for turn in np.unique(turns)]


def _runs(indices, offsets):
    """Split an ordered list of slices wherever the direction of the steps changes."""
    runs, direction = [[indices[0]]], 0.0
    for before, index in zip(indices[:-1], indices[1:], strict=True):
        step = offsets[index] - offsets[before]
        if abs(step) > SAME_PLACE_MM and step * direction >= 0:
            runs[-1].append(index)
            direction = step
        else:
            runs.append([index])
            direction = 0.0
    return [np.array(run) for run in runs]


def _join_blocks(parts, slices, offsets):
    """Join parts that follow each other along the stack; parts that cover the same range stay separate."""
    volumes = []
    for part in sorted(parts, key=lambda part: (-len(part), offsets[part].min())):
        for number, volume in enumerate(volumes):
            if not _covers_same(part, volume, slices, offsets):
                volumes[number] = np.concatenate((volume, part))
                break
        else:
            volumes.append(part)
    return volumes


def _covers_same(part, volume, slices, offsets):
    """Whether two parts each cover the same range completely."""
    one, other = np.sort(offsets[part]), np.sort(offsets[volume])
    if len(one) < 2:
        return False
    step = float(np.median(np.diff(one)))
    places = np.clip(np.searchsorted(other, one), 1, max(1, len(other) - 1))
    nearest = np.minimum(np.abs(one - other[places - 1]), np.abs(one - other[np.minimum(places, len(other) - 1)]))
    if np.sum(nearest <= 0.55 * step + SAME_PLACE_MM) <= MAX_SHARED:
        return False
    # Interleaved acquisition, odd slices first: each part alone has gaps.
    thickness = float(np.median([slices[index].number("SliceThickness") for index in part]))
    is_gapped = step > 1.5 * thickness > 0 and np.median(np.diff(other)) > 1.5 * thickness
    return not (is_gapped and nearest.min() > 0.7 * thickness)


def left_out_sentence(
    series_size: int, chosen: Stack, others: Sequence[Stack], odd: Sequence[tuple[Slice, str]]
) -> str | None:
    """Describe which images of a series were not used; None if all were.

    Parameters
    ----------
    series_size : int
        Number of images in the series.
    chosen : Stack
    others : list of Stack
    odd : list of (Slice, str)
        Images that are not slices, and why.

    Returns
    -------
    str or None
    """
    parts = []
    if chosen.copies:
        words = _("{count} copied images") if len(chosen.copies) > 1 else _("1 copied image")
        parts.append(words.format(count=len(chosen.copies)))
    if chosen.repeats:
        words = _("{count} images at the position of another")
        words = words if len(chosen.repeats) > 1 else _("1 image at the position of another")
        parts.append(words.format(count=len(chosen.repeats)))
    for kind, count in Counter(kind for _item, kind in odd).items():
        names = [item.path.name for item, its_kind in odd if its_kind == kind]
        words = _("{count} images {kind} ({name}, …)") if count > 1 else _("1 image {kind} ({name})")
        parts.append(words.format(count=count, kind=kind, name=names[0]))
    for stack in others:
        first = stack.slices[0]
        several = len(stack.slices) > 1
        details = [(_("another stack of {count} slices") if several else _("1 slice")).format(count=len(stack.slices))]
        if stack.thickness_mm:
            details.append(_("of {thickness:.3g} mm").format(thickness=stack.thickness_mm))
        if first.text("ConvolutionKernel") != chosen.slices[0].text("ConvolutionKernel"):
            kernel = first.text("ConvolutionKernel") or _("unknown")
            details.append(_("with kernel {kernel}").format(kernel=kernel))
        elif first.acquisition != chosen.slices[0].acquisition:
            details.append(_("of acquisition {number:.0f}").format(number=first.acquisition))
        if (name := first.text("SeriesDescription")) not in ("", chosen.slices[0].text("SeriesDescription")):
            details.append(_("called “{name}”").format(name=name))
        if first.text("StudyDate") != chosen.slices[0].text("StudyDate"):
            details.append(_("of the study of {date}").format(date=first.text("StudyDate") or _("unknown date")))
        parts.append(joined(" ", details))
    if not parts:
        return None
    listed = joined(", ", [*parts[:6], *(["…"] if len(parts) > 6 else [])])
    return _("{used} of the series' {count} images were used; left out: {parts}.").format(
        used=len(chosen.slices), count=series_size, parts=listed
    )
