"""What stands wherever a number of the model is shown."""

RESEARCH_USE = "Research use only; not validated on patients."
"""For panels, tables and the shell's help."""

RESEARCH_USE_IN_FULL = (
    "Research use only. Not a medical device, not validated on patients. A probability of this kind must not be the "
    "sole basis for prognosis or for limiting care."
)
"""For reports and results; the last sentence follows the AHA/ASA guideline of 2022 on ICH."""
