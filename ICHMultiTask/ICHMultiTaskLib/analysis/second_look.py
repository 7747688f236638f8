"""Second look: decides whether the scan shows a hemorrhage at all.

A network trained to measure bleeds also gives a small volume for heads without one, and its interval never contains 0.
Therefore the region at its attention is checked: blood is denser than the surrounding brain, and is neither bone nor
calcium. Error rates of these limits: `Docs/user-guide.md`, "Is there a hemorrhage?".
"""

from __future__ import annotations

from dataclasses import dataclass

from ..common.choices import Choice
from ..common.translation import tr as _

SMALL_ML = 1.0
"""A volume below this without matching density in the scan means no hemorrhage; a larger one is uncertain."""
TRACE_ML = 0.3
"""A volume below this counts as none measured."""
CONTRAST_HU = 11.0
"""Blood is at least this much denser than its surroundings."""
NEAR_BONE = 0.4
DENSE = 0.25
"""Largest shares of a bleed that may lie along bone, and that may be denser than blood."""


class Hemorrhage(Choice):
    """Whether the scan shows a hemorrhage."""

    FOUND = "found"
    UNCERTAIN = "uncertain"
    NONE = "none"


WITHOUT_PROGNOSIS = {
    Hemorrhage.NONE: _("No prognosis without a hemorrhage."),
    Hemorrhage.UNCERTAIN: _("No prognosis while the hemorrhage is uncertain."),
}
"""Sentences shown to users in place of a prognosis, even if the model predicted one."""


@dataclass(frozen=True)
class Evidence:
    """How much a marked region resembles blood.

    Attributes
    ----------
    contrast_hu : float
        Median HU of its deeper half minus the 80th percentile of HU 2 to 6 mm around it; independent of a HU offset.
    near_bone : float
        Share of it within 4 mm of bone, 0 to 1.
    dense : float
        Share of it and its border above 100 HU.
    hidden_hu : float
        By how much unusual noise lowers `contrast_hu`.
    """

    contrast_hu: float
    near_bone: float
    dense: float
    hidden_hu: float = 0.0


def decide(volume_ml: float, evidence: Evidence | None, marked_ml: float) -> tuple[Hemorrhage, str]:
    """Decide from the model's volume and the region marked at its attention.

    A large volume is never classified as "none", since the marking may have failed instead of the model.

    Parameters
    ----------
    volume_ml : float
        Measured by the model.
    evidence : Evidence or None
        Of the region marked at the model's attention; None if nothing was marked.
    marked_ml : float
        Volume of that region.

    Returns
    -------
    hemorrhage : Hemorrhage
    reason : str
        A sentence for the user; empty if a hemorrhage was found.
    """
    doubt = _doubt(evidence, volume_ml)
    if not doubt:
        if volume_ml >= TRACE_ML:
            return Hemorrhage.FOUND, ""
        return Hemorrhage.UNCERTAIN, (
            _(
                "Hemorrhage uncertain: the model measured {volume:.1f} mL, but {marked:.1f} mL at its "
                "attention are as dense as blood. Check the scan there."
            ).format(volume=volume_ml, marked=marked_ml)
        )
    if volume_ml < SMALL_ML:
        return Hemorrhage.NONE, _("No hemorrhage found: the model measured {volume:.1f} mL, and {doubt}.").format(
            volume=volume_ml, doubt=doubt
        )
    return Hemorrhage.UNCERTAIN, (
        _(
            "Hemorrhage uncertain: the model measured {volume:.1f} mL, but {doubt}. Check the scan before "
            "you use the volume."
        ).format(volume=volume_ml, doubt=doubt)
    )


def _doubt(evidence, volume_ml):
    """Why a marked region is not blood, as a clause; empty if it may be."""
    if evidence is None:
        return _("nothing near its attention is as dense as blood")
    if evidence.dense > DENSE:
        return _("the dense region near its attention is bone, calcium or metal")
    if evidence.near_bone > NEAR_BONE:
        return _("the dense region near its attention lies along bone")
    # Where little was measured, what noise hides is no reason to believe it.
    contrast = evidence.contrast_hu + (evidence.hidden_hu if volume_ml >= SMALL_ML else 0.0)
    if contrast < CONTRAST_HU:
        more = _("not denser than")
        if contrast >= 0.5:
            more = _("only {hu:.0f} HU denser than").format(hu=contrast)
        return _(
            "the dense region near its attention is {more} its surroundings; fresh blood is clearly denser"
        ).format(more=more)
    return ""
