"""Check whether a hematoma of the measured volume fits into this head."""

from ..common.errors import InputError
from ..common.translation import tr as _

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
    share = _("{percent:.0f} % of the {intracranial:.0f} mL inside the skull").format(
        percent=100 * volume_ml / intracranial_ml, intracranial=intracranial_ml
    )
    if volume_ml > IMPOSSIBLE_SHARE * intracranial_ml:
        raise InputError(
            _(
                "The measured volume cannot be that of a hemorrhage and is not shown; expected at most "
                "{most:.0f} % of the space inside the skull, found {share}: check the body "
                "part, the spacing and the Hounsfield units of the scan."
            ).format(most=100 * IMPOSSIBLE_SHARE, share=share)
        )
    return (
        _(
            "The measured volume is {share}, more than hemorrhages reach; check the body part, the spacing "
            "and the Hounsfield units of the scan."
        ).format(share=share),
    )
