"""Codes that are shown as they are stored: English words of the enumerations, with their translations."""

from __future__ import annotations

from .translation import tr as _

_WORDS = {
    word: word
    for word in (
        # heads of the network, and what they give
        _("volume"), _("prognosis"), _("survival"), _("death"),
        # sides and locations of a bleed
        _("left"), _("right"), _("midline"),
        _("lobar"), _("deep"), _("putamen"), _("thalamus"), _("caudate"), _("cerebellum"), _("brainstem"),
        _("infratentorial"),
        # sources of a finding
        _("measured on the marked bleed"), _("DICOM header"), _("entered"),
    )
}  # fmt: skip


def word(code: str) -> str:
    """What stands for a code on the screen: a `translation.Text`, or the code itself if it has no words.

    Parameters
    ----------
    code : str
        Such as "deep", or a member of an enumeration.
    """
    return _WORDS.get(code, code)
