"""Check whether a hematoma of the measured volume fits into this head."""

from ..common.errors import InputError

DOUBTFUL_SHARE, IMPOSSIBLE_SHARE = 0.25, 0.40
"""Of the intracranial volume: in an adult about 350 and 560 mL."""


def volume_warnings(volume_ml: float, intracranial_ml: float | None) -> tuple[str, ...]:
    """Check a measured volume against the intracranial volume.

    Parameters
    ----------
    volume_ml : float
    intracranial_ml : float or None
        From `scan.validation.check_head_ct`; None if it could not be measured.

    Returns
    -------
    tuple of str
        A warning above a quarter of it.

    Raises
    ------
    InputError
        Above two fifths of it: a number that cannot be right must not be shown.
    """
    if not intracranial_ml or volume_ml <= DOUBTFUL_SHARE * intracranial_ml:
        return ()
    share = f"{100 * volume_ml / intracranial_ml:.0f} % of the {intracranial_ml:.0f} mL inside the skull"
    if volume_ml > IMPOSSIBLE_SHARE * intracranial_ml:
        raise InputError(
            f"The measured volume cannot be that of a hemorrhage and is not shown; expected at most "
            f"{100 * IMPOSSIBLE_SHARE:.0f} % of the space inside the skull, found {share}: check the body part, the "
            "spacing and the Hounsfield units of the scan."
        )
    return (
        f"The measured volume is {share}, more than hemorrhages reach; check the body part, the spacing and the "
        "Hounsfield units of the scan.",
    )
