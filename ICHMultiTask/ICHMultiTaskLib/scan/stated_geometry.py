"""Consistency checks of the geometry that a header states: one set of rules for every format.

A reader collects the statements of its header by name; `checked_affine` checks them against each other. Checks of the
geometry against the voxels are in `head_shape`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from .geometry import spacing_kji

MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001}
SPACING_TOLERANCE = 0.01
"""Relative; 1 % along each axis is 3 % of the volume."""
TURN_TOLERANCE_DEG = 2.0
PLACE_TOLERANCE_MM = 5.0
MAX_TILT_DEG = 36.0
"""Gantries tilt by up to 30°; this leaves a margin."""
MAX_OBLIQUE_DEG = 41.0
"""Beyond this the axes nearest to superior, posterior and left are ambiguous; `series_class` has the same limit (a
normal with less than 0.75 along the body)."""


def checked_affine(
    name: str,
    matrices: Mapping[str, np.ndarray],
    spacings: Mapping[str, Sequence[float | None]] | None = None,
    lesser: Mapping[str, Sequence[float | None]] | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check the statements of a header against each other.

    Parameters
    ----------
    name : str
        Name of the file, series or node, for messages.
    matrices : dict of str to ndarray of shape (4, 4)
        At least one: IJK-to-RAS in mm by the name of the statement; the first one is returned.
    spacings : dict of str to sequence of 3
        Other statements of the distance between voxels along i, j and k in mm; None if not stated.
    lesser : dict of str to sequence of 3
        The same for less authoritative fields: a difference causes a warning, not an error.

    Returns
    -------
    ijk_to_ras : ndarray of shape (4, 4)
    warnings : tuple of str

    Raises
    ------
    InputError
        If orientation or spacing is impossible, or two statements of it differ.
    """
    (first, affine), *others = ((key, np.array(value, dtype=float)) for key, value in matrices.items())
    for key, matrix in ((first, affine), *others):
        _refuse_impossible(name, key, matrix)
    warnings = []
    for key, other in others:
        _refuse_difference(name, first, affine, key, np.linalg.norm(other[:3, :3], axis=0))
        _compare_orientation(name, first, affine, key, other)
        warnings.extend(_compare_position(first, affine, key, other))
    for key, spacing in (spacings or {}).items():
        _refuse_difference(name, first, affine, key, spacing)
    for key, spacing in (lesser or {}).items():
        for axis, own, other in _differences(affine, spacing):
            warnings.append(
                _(
                    "The header states two spacings along the axis {axis}: {own:.4g} mm by {first} and "
                    "{other:.4g} mm by {field}; {first} was used. If it is wrong, so is every volume."
                ).format(axis=axis, own=own, first=first, other=other, field=key)
            )
    return affine, tuple(warnings)


def refuse_defaults(ijk_to_ras: np.ndarray, name: str | None = None) -> None:
    """Refuse the default geometry of libraries: 1 mm voxels along the axes, the first one at the origin.

    Parameters
    ----------
    ijk_to_ras : ndarray of shape (4, 4)
    name : str, optional
        Of the file, for the message; by default it is the scan.

    Raises
    ------
    InputError
    """
    if np.array_equal(np.abs(ijk_to_ras), np.eye(4)):
        raise InputError(
            _(
                "{name} states no spacing; expected the distance between its voxels in mm, found only "
                "the default of 1 × 1 × 1 mm with the first voxel at the origin."
            ).format(name=name or _("The scan"))
        )


def refuse_oblique(ijk_to_ras: np.ndarray) -> None:
    """Refuse a grid so oblique that its axes cannot be assigned to the patient's.

    Raises
    ------
    InputError
    """
    columns = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    # The normal of each pair of axes: the shear of a tilted gantry rotates it by no more than the tilt.
    normals = np.linalg.inv(columns)
    shares = np.abs(normals) / np.linalg.norm(normals, axis=1, keepdims=True)
    nearest = shares.argmax(axis=1)
    worst = float(np.degrees(np.arccos(np.clip(shares.max(axis=1).min(), 0.0, 1.0))))
    if worst > MAX_OBLIQUE_DEG or len(set(nearest.tolist())) < 3:
        raise InputError(
            _(
                "The scan lies {angle:.0f}° oblique to the patient's axes; expected axial slices, or "
                "others along the patient's axes, within {most:.0f}°."
            ).format(angle=worst, most=MAX_OBLIQUE_DEG)
        )


def _refuse_impossible(name, key, matrix):
    """Refuse a matrix that no scanner produces: not finite, singular, or sheared other than by a gantry tilt."""
    columns = matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(matrix).all() or lengths.min() == 0.0:
        found = " × ".join(f"{length:g}" for length in lengths)
        raise InputError(
            _("{name} states no usable spacing ({field}); expected three lengths above 0 mm, found {found}.").format(
                name=name, field=key, found=found
            )
        )
    cosines = np.abs((columns / lengths).T @ (columns / lengths))[[0, 0, 1], [1, 2, 2]]
    # One pair of axes spans the images; the third may be inclined to their normal.
    volume = abs(np.linalg.det(columns / lengths))
    lean = np.degrees(np.arccos(np.clip(volume, 0.0, 1.0)))
    if cosines.min() > np.sin(np.radians(1.0)) or lean > MAX_TILT_DEG:
        raise InputError(
            _(
                "{name} states a sheared grid ({field}); expected perpendicular axes, or slices shifted by a "
                "gantry tilt of up to {most:.0f}°, found axes at {angles}."
            ).format(
                name=name,
                field=key,
                most=MAX_TILT_DEG,
                angles=", ".join(f"{np.degrees(np.arccos(cosine)):.0f}°" for cosine in cosines),
            )
        )


def _refuse_difference(name, first, affine, key, spacing):
    for axis, own, other in _differences(affine, spacing):
        raise InputError(
            _(
                "{name} states two different spacings along its axis {axis}; expected {first} and {field} to "
                "agree, found {own:.4g} and {other:.4g} mm."
            ).format(name=name, axis=axis, first=first, field=key, own=own, other=other)
        )


def _differences(affine, spacing):
    """Axis, own and other spacing, for each axis along which they differ."""
    along = spacing_kji(affine)[::-1]
    # With a gantry tilt, some programs write the step along the axis, others the distance between planes.
    across = 1.0 / np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    for axis, own, plane, other in zip("ijk", along, across, spacing, strict=True):
        if other is None:
            continue
        if not np.isfinite(other) or min(abs(other / own - 1), abs(other / plane - 1)) > SPACING_TOLERANCE:
            yield axis, own, other


def _compare_orientation(name, first, affine, key, other):
    """Compare two orientations after removing shear."""
    turns = []
    for matrix in (affine[:3, :3], other[:3, :3]):
        left, _values, right = np.linalg.svd(matrix / np.linalg.norm(matrix, axis=0))
        turns.append(left @ right)
    if np.linalg.det(turns[0]) * np.linalg.det(turns[1]) < 0:
        raise InputError(
            _(
                "{name} states two orientations that mirror each other; expected {first} and {field} to "
                "agree, found a right-handed and a left-handed one."
            ).format(name=name, first=first, field=key)
        )
    turn = np.degrees(np.arccos(np.clip((np.trace(turns[0].T @ turns[1]) - 1) / 2, -1.0, 1.0)))
    if turn > TURN_TOLERANCE_DEG:
        raise InputError(
            _(
                "{name} states two different orientations; expected {first} and {field} to agree, found a "
                "rotation of {angle:.0f}° between them."
            ).format(name=name, first=first, field=key, angle=turn)
        )


def _compare_position(first, affine, key, other):
    shift = float(np.linalg.norm(affine[:3, 3] - other[:3, 3]))
    if shift > PLACE_TOLERANCE_MM:
        yield _("The header states two positions {shift:.0f} mm apart ({first} and {field}); {first} was used.").format(
            shift=shift, first=first, field=key
        )
