"""Disclaimers to show with every number of the model."""

from .translation import tr as _

RESEARCH_USE = _("Research use only; not validated on patients.")
"""For panels, tables and command-line help."""

RESEARCH_USE_IN_FULL = _(
    "Research use only. Not a medical device, not validated on patients. A probability of this kind must not be the "
    "sole basis for prognosis or for limiting care."
)
"""For reports and results; the last sentence follows the AHA/ASA guideline of 2022 on ICH."""
