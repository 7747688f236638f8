"""What limits a measured volume: the size of the head, and thick slices."""

from collections.abc import Mapping

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.head_ct import HeadCT

DOUBTFUL_SHARE, IMPOSSIBLE_SHARE = 0.25, 0.40
"""Of the intracranial volume: in an adult about 350 and 560 mL."""
THICK_MM = 7.95
"""Slices from 8 mm on, however their positions were rounded."""
THICKEST_MM = 20.0
"""A larger slice thickness in a header is not believed."""


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


def thickness_warnings(head_ct: HeadCT, metrics: Mapping) -> tuple[str, ...]:
    """Say how much thick slices change the volume, as measured with this model.

    Parameters
    ----------
    head_ct : HeadCT
    metrics : mapping
        Of the bundle's metadata; `ichmultitask-train robustness --record` adds the effect of slices of 10 mm.

    Returns
    -------
    tuple of str
        A warning for slices from 8 mm on.
    """
    stated = head_ct.facts.slice_thickness_mm or 0.0
    thickness = max(float(head_ct.spacing_kji.max()), stated if stated <= THICKEST_MM else 0.0)
    if thickness < THICK_MM:
        return ()
    scanner = (metrics.get("robustness") or {}).get("scanner") or {}
    measured = scanner.get("variations", {}).get("slices_of_10_mm")
    if not measured:
        return (
            _(
                "The slices are {thickness:.3g} mm thick: volumes from them are less certain than from slices of 5 mm; "
                "how much was not measured for this model."
            ).format(thickness=thickness),
        )
    return (
        _(
            "The slices are {thickness:.3g} mm thick: on {scans} simulated heads, slices of 10 mm in place of 5 mm "
            "changed the measured volume by {median:.0f} % in the median, and by {most:.0f} % or more in one of ten."
        ).format(
            thickness=thickness,
            scans=measured["scans"],
            median=measured["absolute_change_median_percent"],
            most=measured["absolute_change_p90_percent"],
        ),
    )
