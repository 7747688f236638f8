"""A second look: whether the scan shows a hemorrhage at all.

A network that was trained to measure bleeds reads a little blood into heads without one, and no interval holds 0 there.
So what it attends to is looked at again: blood is denser than the brain around it, and is neither bone nor calcium.
The one place that decides this. Limits and how often they are wrong: `Docs/user-guide.md`, "Is there a hemorrhage?".
"""

from dataclasses import dataclass

from ..common.choices import Choice

SMALL_ML = 1.0
"""Below it a reading that nothing in the scan bears out is no hemorrhage; above it, it stays uncertain."""
TRACE_ML = 0.3
"""Below it nothing was read, whatever lies at the attention."""
CONTRAST_HU = 11.0
"""Blood is at least this much denser than its surroundings."""
NEAR_BONE = 0.4
DENSE = 0.25
"""Largest shares of a bleed that lie along bone, and that are denser than blood can be."""


class Hemorrhage(Choice):
    """Whether the scan shows a hemorrhage."""

    FOUND = "found"
    UNCERTAIN = "uncertain"
    NONE = "none"


WITHOUT_PROGNOSIS = {
    Hemorrhage.NONE: "No prognosis without a hemorrhage.",
    Hemorrhage.UNCERTAIN: "No prognosis while the hemorrhage is uncertain.",
}
"""What people read in the place of a prognosis, also where the model gave a number."""


@dataclass(frozen=True)
class Evidence:
    """How much like blood a marked region is.

    Attributes
    ----------
    contrast_hu : float
        Median HU of its deeper half, less the 80th percentile of HU 2 to 6 mm around it: free of a scanner's offset.
    near_bone : float
        Share of it within 4 mm of bone, 0 to 1.
    dense : float
        Share of it and its border above 100 HU.
    """

    contrast_hu: float
    near_bone: float
    dense: float


def decide(volume_ml: float, evidence: Evidence | None, marked_ml: float) -> tuple[Hemorrhage, str]:
    """Decide from what the model read and what was marked there.

    A large reading is never called "none": the marking may have failed, not the model.

    Parameters
    ----------
    volume_ml : float
        The model's.
    evidence : Evidence or None
        Of the region marked at the model's attention; None where nothing was marked.
    marked_ml : float
        Volume of that region.

    Returns
    -------
    hemorrhage : Hemorrhage
    reason : str
        A sentence for the user; empty where a hemorrhage was found.
    """
    doubt = _doubt(evidence)
    if not doubt:
        if volume_ml >= TRACE_ML:
            return Hemorrhage.FOUND, ""
        return Hemorrhage.UNCERTAIN, (
            f"Hemorrhage uncertain: the model reads {volume_ml:.1f} mL, but {marked_ml:.1f} mL at its attention are as "
            "dense as blood. Look at the scan there."
        )
    if volume_ml < SMALL_ML:
        return Hemorrhage.NONE, f"No hemorrhage found: the model reads {volume_ml:.1f} mL, and {doubt}."
    return Hemorrhage.UNCERTAIN, (
        f"Hemorrhage uncertain: the model reads {volume_ml:.1f} mL, but {doubt}. Look at the scan before you use the "
        "volume."
    )


def _doubt(evidence):
    """Why a marked region is no blood, as a clause; empty where it may be."""
    if evidence is None:
        return "nothing near its attention is as dense as blood"
    if evidence.dense > DENSE:
        return "what is dense near its attention is bone, calcium or metal"
    if evidence.near_bone > NEAR_BONE:
        return "what is dense near its attention lies along bone"
    if evidence.contrast_hu < CONTRAST_HU:
        more = f"only {evidence.contrast_hu:.0f} HU denser than" if evidence.contrast_hu >= 0.5 else "not denser than"
        return f"what is dense near its attention is {more} what surrounds it; fresh blood is plainly denser"
    return ""
