"""Mark the bleed: a segmentation proposed from attention and density.

No masks are needed for training. Attention says where to look, density (HU) what is blood: see `outline`. The volume
of the marked blood is the second reading of the bleed's volume, beside the network's: see `model.two_readings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..common.errors import InputError
from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..measures.grids import bounding_box
from ..measures.segment import LARGEST_ML, TOUCHING
from ..model.attention import LOCATOR
from ..scan.head_ct import HeadCT
from .findings.find import find
from .findings.finding import Findings
from .outline import MIN_COMPONENT_ML, is_same, outline
from .second_look import Evidence, Hemorrhage

if TYPE_CHECKING:
    from .attention import Attention
    from .result import Analysis

NO_BLOOD = _("Nothing is marked: nothing near the attention is as dense as blood.")


@dataclass(frozen=True)
class Marking:
    """A proposed segmentation, to be checked and corrected by a person.

    Attributes
    ----------
    mask : ndarray of shape (K, J, I), bool
        On the scan's grid; all False if nothing could be marked.
    volume_ml : float
        Of the mask.
    expected_ml : float or None
        Volume that the mask is compared with: the one that the analysis reports, or a requested one.
    components_ml : tuple of float
        Volumes of the separate parts, descending.
    agrees : bool
        Whether the mask has that volume.
    notes : tuple of str
        For the user: why nothing was marked, what was left out, or why the volumes differ.
    evidence : Evidence or None
        How much the marked region resembles blood; None if nothing was marked.
    """

    mask: np.ndarray = field(repr=False)
    volume_ml: float
    expected_ml: float | None
    components_ml: tuple
    agrees: bool = True
    notes: tuple = ()
    evidence: Evidence | None = None


def check_volume(volume_ml: float) -> None:
    """Raise InputError unless a bleed may have this volume."""
    if not 0 <= volume_ml <= LARGEST_ML:
        raise InputError(
            _("The volume to mark is not usable: expected 0 to {most:g} mL, found {wanted:g}.").format(
                most=LARGEST_ML, wanted=volume_ml
            )
        )


def mark(analysis: Analysis, volume_ml: float | None = None, progress: Progress | None = None) -> Marking:
    """Propose a segmentation of the bleed.

    Parameters
    ----------
    analysis : Analysis
        The attention of its volume head shows where the bleed is.
    volume_ml : float, optional
        Requested volume of the mask; by default the mask follows the borders in the scan alone.
    progress : callable (fraction, message), optional
        May raise Canceled.

    Returns
    -------
    Marking
        Also with a requested volume the mask follows the borders: if they enclose clearly more or less, so does the
        mask, `agrees` is False and a note says so.

    Raises
    ------
    InputError
        If `volume_ml` cannot be that of a hemorrhage.
    """
    requested = volume_ml is not None
    wanted = float(volume_ml) if requested else analysis.volume_ml
    if wanted is None:
        raise InputError(_("Nothing can be marked: expected a model trained to measure volume, or a volume in mL."))
    if requested:
        check_volume(wanted)
    head_ct = analysis.head_ct
    if not requested and analysis.hemorrhage == Hemorrhage.NONE:
        reason = _("Nothing is marked. {reason}").format(reason=analysis.hemorrhage_reason)
        return _nothing(head_ct, wanted, reason)
    if wanted == 0:
        return _nothing(head_ct, wanted, _("Nothing is marked: the volume is 0 mL."))
    if not requested and analysis.marking is not None:
        return analysis.marking
    attention = _attention(analysis)
    found = propose(head_ct, attention, wanted, requested, progress)
    return compared(look_around(head_ct, found, attention, wanted)[1], wanted, requested)


def propose(
    head_ct: HeadCT,
    attention: Attention,
    volume_ml: float,
    requested: bool = False,
    progress: Progress | None = None,
) -> Marking:
    """Mark the region at the attention that is denser than brain, whether it is blood or not.

    Parameters
    ----------
    head_ct : HeadCT
    attention : Attention
        The map of `LOCATOR`.
    volume_ml : float
        Volume of the bleed, above 0: the network's reading, or a requested one.
    requested : bool
        Whether the mask's border moves toward this volume. Otherwise the mask is a reading of its own.
    progress : callable (fraction, message), optional

    Returns
    -------
    Marking
    """
    if attention.peak_ras_mm is None:
        sentence = _("Nothing is marked: the attention map of the volume head is blank.")
        return replace(_nothing(head_ct, None, sentence), agrees=False)
    target = volume_ml if requested else None
    found = outline(head_ct, attention.array, volume_ml, target, progress or NO_PROGRESS)
    if found.evidence is None:
        return replace(_nothing(head_ct, None, NO_BLOOD), agrees=False)
    return _measured(head_ct, found.mask, found.evidence)


def look_around(
    head_ct: HeadCT, marking: Marking, attention: Attention, volume_ml: float
) -> tuple[Findings | None, Marking]:
    """Derive the findings of the scan, and remove intraventricular blood from the marking.

    Parameters
    ----------
    head_ct : HeadCT
    marking : Marking
        From `propose`.
    attention : Attention
        As in `propose`.
    volume_ml : float
        Volume of the parenchymal bleed.

    Returns
    -------
    findings : Findings or None
        None if nothing is marked, or no closed skull is found.
    marking : Marking
    """
    findings, mask = find(head_ct, marking.mask, attention.array, volume_ml)
    left_out_ml = float(np.count_nonzero(marking.mask) - np.count_nonzero(mask)) * head_ct.voxel_volume_mm3 / 1000.0
    if left_out_ml < MIN_COMPONENT_ML:
        return findings, marking
    note = _("Left out of the mark: {volume:.1f} mL of blood in the ventricles.").format(volume=left_out_ml)
    return findings, _measured(head_ct, mask, marking.evidence, (note,))


def compared(marking: Marking, expected_ml: float, requested: bool = False) -> Marking:
    """The marking with a note if its volume differs from the reported or requested one."""
    if not marking.mask.any():
        return replace(marking, expected_ml=expected_ml)
    if is_same(marking.volume_ml, expected_ml):
        return replace(marking, expected_ml=expected_ml, agrees=True)
    note = _(
        "The borders in the scan enclose {volume:.1f} mL near the attention, {difference:.1f} mL {more} than {source} "
        "({expected:.1f} mL): check both."
    ).format(
        volume=marking.volume_ml,
        difference=abs(marking.volume_ml - expected_ml),
        more=_("more") if marking.volume_ml > expected_ml else _("less"),
        source=_("was requested") if requested else _("the model measured"),
        expected=expected_ml,
    )
    return replace(marking, expected_ml=expected_ml, agrees=False, notes=(*marking.notes, note))


def _attention(analysis):
    """The map of `LOCATOR`, whichever map is on display."""
    shown = analysis.attention
    if shown is not None and (shown.head, shown.stage, shown.method) == LOCATOR:
        return shown
    return analysis.attention_for(*LOCATOR)


def _nothing(head_ct, expected_ml, sentence):
    return Marking(np.zeros(head_ct.hu.shape, bool), 0.0, expected_ml, (), notes=(sentence,))


def _measured(head_ct, mask, evidence, notes=()):
    labels = ndimage.label(mask[box], TOUCHING)[0] if (box := bounding_box(mask)) else np.zeros(1, int)
    components = np.sort(np.bincount(labels.ravel())[1:])[::-1] * head_ct.voxel_volume_mm3 / 1000.0
    volumes = tuple(float(ml) for ml in components)
    return Marking(mask, float(components.sum()), None, volumes, notes=notes, evidence=evidence)
