"""Classify a volume of CT slices by its header and rank it: by DICOM attributes first, then by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ..common.translation import joined
from ..common.translation import tr as _
from . import series_words
from .dicom_files import other_class
from .series_words import SeriesClass

if TYPE_CHECKING:
    from .dicom_files import Slice
    from .stacks import Stack

USUAL_THICKNESS_MM = (2.5, 6.0)
MIN_COVERAGE_MM = 100.0
"""A volume that covers less does not contain the whole head of an adult."""
MIN_FIELD_MM = 150.0
"""A smaller field of view cuts off the head, as in scans of the petrous bone or the orbits."""
SLAB_STEPS, THINNEST_SLAB_MM = 2.5, 7.0
"""Slices thicker than both, the first in steps from slice to slice, are averages or projections of slabs."""
USUAL_KV = (90.0, 145.0)
"""Outside this range the HU of blood differ; such images are one energy of a dual-energy scan."""


class Rank(IntEnum):
    """Preference of a volume; lower is better."""

    USUAL = 1
    THIN = 2
    THICK = 3
    REFORMAT = 4
    SHARP = 5
    INCOMPLETE = 6
    OTHER_PART = 7
    NEVER = 9
    """Analyzed only if requested by its UID."""


RANK_WORDS = {
    Rank.USUAL: _("original axial slices of 2.5 to 6 mm, soft-tissue kernel, no contrast"),
    Rank.THIN: _("thin original axial slices, soft-tissue kernel, no contrast"),
    Rank.THICK: _("thick original axial slices, soft-tissue kernel, no contrast"),
}
_CLASS_NAMES = {
    SeriesClass.CAPTURE: _("a screen picture, report or rendering"),
    SeriesClass.LOCALIZER: _("a localizer"),
    SeriesClass.SLAB: _("a projection of a slab"),
    SeriesClass.MATERIAL: _("material or single-energy images"),
    SeriesClass.PERFUSION: _("a perfusion or dynamic series"),
    SeriesClass.ANGIOGRAPHY: _("angiography"),
    SeriesClass.CONE_BEAM: _("cone-beam CT, whose values are only near Hounsfield units"),
    SeriesClass.OTHER_PLANE: _("a reformat of another plane"),
    SeriesClass.CONTRAST: _("contrast-enhanced"),
    SeriesClass.ATTENUATION: _("a CT for the attenuation correction of a PET"),
    SeriesClass.AXIAL_REFORMAT: _("an axial reformat"),
    SeriesClass.PLAIN: "a plain",
}
CLASS_RANKS = {
    SeriesClass.PLAIN: Rank.USUAL,
    SeriesClass.AXIAL_REFORMAT: Rank.REFORMAT,
    SeriesClass.SHARP: Rank.SHARP,
    SeriesClass.OTHER_PART: Rank.OTHER_PART,
    SeriesClass.ATTENUATION: Rank.OTHER_PART,
}
_PIXEL_CONTRAST = {
    "MAXIMUM": SeriesClass.SLAB,
    "MINIMUM": SeriesClass.SLAB,
    "SUBTRACTION": SeriesClass.ANGIOGRAPHY,
    "MASKED": SeriesClass.ANGIOGRAPHY,
    "DIVISION": SeriesClass.MATERIAL,
    "MULTIPLICATION": SeriesClass.MATERIAL,
    "STD_DEVIATION": SeriesClass.MATERIAL,
    "QUANTITY": SeriesClass.MATERIAL,
}
"""What the fourth value of ImageType says of the pixels of an enhanced CT."""
MOST_AT_A_PLACE = 2
"""A scan that was repeated has two images at a place; more are a series in time."""


@dataclass(frozen=True)
class Verdict:
    """How suitable a volume is.

    Attributes
    ----------
    rank : Rank
    reasons : tuple of str
        Reasons against it, the most important first; empty for an original axial soft-tissue series.
    """

    rank: Rank
    reasons: tuple

    @property
    def words(self) -> str:
        """The reasons, or what the volume is, in words."""
        return joined(", ", self.reasons) if self.reasons else RANK_WORDS[self.rank]


def judge(stack: Stack, repeats: int = 1) -> Verdict:
    """Rank a volume by its header.

    Parameters
    ----------
    stack : Stack
    repeats : int
        Number of volumes of its series that cover the same range; three or more are a dynamic series.

    Returns
    -------
    Verdict
    """
    first = stack.slices[len(stack.slices) // 2]
    found = _classes(first, stack.slices)
    if abs(first.normal[2]) < 0.75:
        found.pop(SeriesClass.AXIAL_REFORMAT, None)
        found[SeriesClass.OTHER_PLANE] = _("not axial")
    at_a_place = 1 + len(stack.repeats) // len(stack.slices)
    if at_a_place > MOST_AT_A_PLACE and len(stack.slices) > 1:
        found[SeriesClass.PERFUSION] = _("a dynamic series of {count} images at each place").format(count=at_a_place)
    if repeats > MOST_AT_A_PLACE:
        found[SeriesClass.PERFUSION] = _("a dynamic series of {repeats} volumes").format(repeats=repeats)
    ranked = [(CLASS_RANKS.get(kind, Rank.NEVER), text) for kind, text in found.items()]
    ranked += _physical(stack, first)
    if any(item.image_type.startswith("DERIVED") for item in stack.slices):
        ranked.append((Rank.REFORMAT, _("derived images")))
    ranked.sort(key=lambda item: -item[0])
    rank = max([rank for rank, _ in ranked], default=_thickness_rank(stack.thickness_mm))
    return Verdict(rank, tuple(dict.fromkeys(text for _rank, text in ranked)))


def judge_foreign(slices: Sequence[Slice], why: str) -> Verdict:
    """Describe a series without any slice of a volume.

    Parameters
    ----------
    slices : list of Slice
    why : str
        Why its images are not slices of a volume, from `stacks.reason_unusable`.

    Returns
    -------
    Verdict
        With rank NEVER, and the kind of the images as its reason.
    """
    first = slices[0]
    modality = first.text("Modality")
    names = {
        "MR": "MR",
        "US": _("ultrasound"),
        "PT": "PET",
        "CR": _("radiograph"),
        "DX": _("radiograph"),
        "XA": _("angiography"),
    }
    if "LOCALIZER" in first.image_type:
        kind = _("localizer")
    elif first.sop_class.startswith("1.2.840.10008.5.1.4.1.1.7"):
        kind = _("secondary capture (modality {modality})").format(modality=modality or "unknown")
    elif first.is_ct:
        kind = _("CT images {why}").format(why=why)
    else:
        name = names.get(modality) or other_class(first.header) or _("not CT")
        kind = _("{name} (modality {modality})").format(name=name, modality=modality or _("unknown"))
    return Verdict(Rank.NEVER, (kind,))


def _classes(item, slices):
    """Classes stated by the header of a slice, in order, with words for each; contrast of any slice counts."""
    description = item.text("SeriesDescription")
    kernel = max((other.text("ConvolutionKernel") for other in slices), key=series_words.is_sharp_kernel)
    values = item.image_type.replace("\\", " ").split(" ")
    of_type = series_words.classes_in(" ".join(values[2:]).replace("_", " "))
    of_text = series_words.classes_in(description)
    found = dict.fromkeys(
        [*of_type, *of_text, *(_PIXEL_CONTRAST[value] for value in values if value in _PIXEL_CONTRAST)]
    )
    if item.text("Modality") == "XA":
        found[SeriesClass.CONE_BEAM] = None
    if not kernel:
        kernel = series_words.kernel_in(description)
    elif series_words.is_sharp_kernel(kernel):
        found[SeriesClass.SHARP] = None
    elif SeriesClass.SHARP in of_text and series_words.is_known_kernel(kernel):
        found.pop(SeriesClass.SHARP)  # the name of a protocol; the kernel decides
    if item.normal is not None and SeriesClass.OTHER_PLANE in found:
        # ImageOrientationPatient decides which plane it is.
        found.pop(SeriesClass.OTHER_PLANE)
        found[SeriesClass.AXIAL_REFORMAT] = None
    agents = {other.agent for other in slices} - {""}
    amounts = ("ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastFlowRate")
    if any(not series_words.denies_contrast(agent) for agent in agents):
        found[SeriesClass.CONTRAST] = None
    elif agents:
        found.pop(SeriesClass.CONTRAST, None)
    elif any(item.number(keyword) > 0 for keyword in amounts):
        found[SeriesClass.CONTRAST] = None
    if item.text("RescaleType").upper() not in ("", "HU", "US"):
        found[SeriesClass.MATERIAL] = None
    body = item.text("BodyPartExamined")
    if SeriesClass.OTHER_PART in series_words.classes_in(body) and not series_words.names_head(description):
        found[SeriesClass.OTHER_PART] = None
    words = {
        SeriesClass.SHARP: _("sharp kernel {kernel}").format(kernel=kernel) if kernel else _("sharp kernel"),
        SeriesClass.OTHER_PART: _("not of the head ({part})").format(
            part=body if series_words.classes_in(body) else description
        ),
    }
    return {kind: words.get(kind, _CLASS_NAMES.get(kind)) for kind in SeriesClass if kind in found}


def _physical(stack, first):
    """Reasons from numbers in the header: coverage, number of slices, field of view, tube voltage."""
    coverage = stack.coverage_mm + (stack.thickness_mm or 0.0)
    count = len(stack.slices)
    if count < 8:
        yield Rank.INCOMPLETE, _("only {count} slices").format(count=count) if count > 1 else _("only 1 slice")
    elif coverage < MIN_COVERAGE_MM:
        yield (
            Rank.INCOMPLETE,
            _("covers {coverage:.0f} mm with {count} slices").format(coverage=stack.coverage_mm, count=count),
        )
    step = stack.coverage_mm / max(1, count - 1)
    if (stack.thickness_mm or 0.0) > max(THINNEST_SLAB_MM, SLAB_STEPS * step) and step > 0:
        words = _("slabs of {thickness:.3g} mm every {step:.3g} mm")
        yield Rank.REFORMAT, words.format(thickness=stack.thickness_mm, step=step)
    field = first.number("Rows") * first.pixel_spacing[0]
    if field < MIN_FIELD_MM:
        yield Rank.INCOMPLETE, _("field of view of only {field:.0f} mm").format(field=field)
    in_words = re.search(r"(?<!\d)(\d{2,3})\s?kVp?(?![a-z])", first.text("SeriesDescription"), re.IGNORECASE)
    voltage = first.number("KVP", float(in_words[1]) if in_words else 0.0)
    if voltage and not USUAL_KV[0] <= voltage <= USUAL_KV[1]:
        yield Rank.SHARP, _("tube voltage of {voltage:g} kV").format(voltage=voltage)


def _thickness_rank(thickness):
    if thickness is None or USUAL_THICKNESS_MM[0] <= thickness <= USUAL_THICKNESS_MM[1]:
        return Rank.USUAL
    return Rank.THIN if thickness < USUAL_THICKNESS_MM[0] else Rank.THICK


def study_date(item: Slice) -> int:
    """Date and time of the study as one number, 0 where missing."""
    digits = re.sub(r"\D", "", item.text("StudyDate"))[:8]
    time = re.sub(r"\D", "", item.text("StudyTime").split(".")[0])[:6].ljust(6, "0")
    return int(digits + time) if len(digits) == 8 else 0
