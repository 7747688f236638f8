"""Whether a volume can be that of a hematoma in this head."""

from ..common.errors import InputError

DOUBTFUL_SHARE, IMPOSSIBLE_SHARE = 0.25, 0.40
"""Of the intracranial volume: in an adult some 350 and 560 mL."""


def volume_warnings(volume_ml: float, intracranial_ml: float | None) -> tuple[str, ...]:
    """Hold a measured volume against the space inside the skull.

    Parameters
    ----------
    volume_ml : float
    intracranial_ml : float or None
        As `scan.validation.check_head_ct` measures it; None where it could not.

    Returns
    -------
    tuple of str
        A warning above a quarter of the space.

    Raises
    ------
    InputError
        Above two fifths of it: no number is better than this one.
    """
    if not intracranial_ml or volume_ml <= DOUBTFUL_SHARE * intracranial_ml:
        return ()
    share = f"{100 * volume_ml / intracranial_ml:.0f} % of the {intracranial_ml:.0f} mL inside the skull"
    if volume_ml > IMPOSSIBLE_SHARE * intracranial_ml:
        raise InputError(
            f"The measured volume cannot be a hemorrhage's, so none is given; expected at most "
            f"{100 * IMPOSSIBLE_SHARE:.0f} % of the space inside the skull, found {share}: check what was scanned, its "
            "spacing and its Hounsfield units."
        )
    return (
        f"The measured volume is {share}, more than hemorrhages reach; check what was scanned, its spacing and its "
        "Hounsfield units.",
    )
