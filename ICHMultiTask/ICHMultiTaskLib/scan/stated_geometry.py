"""Whether the geometry that a header states can be believed: one set of rules for every format.

A reader collects what its header says, each statement under its name; `believed_affine` holds them against each other.
What the voxels themselves say of the geometry is in `head_shape`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..common.errors import InputError
from .geometry import spacing_kji

MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001}
SPACING_TOLERANCE = 0.01
"""Relative; 1 % along each axis is 3 % of a volume."""
TURN_TOLERANCE_DEG = 2.0
PLACE_TOLERANCE_MM = 5.0
MOST_TILT_DEG = 36.0
"""Gantries tilt by up to 30°."""
MOST_OBLIQUE_DEG = 41.0
"""Beyond it the axes nearest to superior, posterior and left are no longer sure; the series choice of DICOM has the
same limit (a normal with less than 0.75 along the body)."""


def believed_affine(
    name: str,
    matrices: Mapping[str, np.ndarray],
    spacings: Mapping[str, Sequence[float | None]] | None = None,
    lesser: Mapping[str, Sequence[float | None]] | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Hold the statements of a header against each other.

    Parameters
    ----------
    name : str
        Of the file, series or node, for the sentences.
    matrices : dict of str to ndarray of shape (4, 4)
        At least one: IJK-to-RAS in mm by the name of the statement, the one that counts first.
    spacings : dict of str to sequence of 3
        Further statements of the distance between voxels along i, j and k in mm; None where nothing is stated.
    lesser : dict of str to sequence of 3
        The same, of fields that the format ranks below: a difference is a warning, not a refusal.

    Returns
    -------
    ijk_to_ras : ndarray of shape (4, 4)
    warnings : tuple of str

    Raises
    ------
    InputError
        If orientation or spacing is impossible, a default, or stated twice and differently.
    """
    (first, affine), *others = ((key, np.array(value, dtype=float)) for key, value in matrices.items())
    for key, matrix in ((first, affine), *others):
        _refuse_impossible(name, key, matrix)
    warnings = []
    for key, other in others:
        _refuse_difference(name, first, affine, key, np.linalg.norm(other[:3, :3], axis=0))
        _compare_turn(name, first, affine, key, other)
        warnings.extend(_compare_place(first, affine, key, other))
    for key, spacing in (spacings or {}).items():
        _refuse_difference(name, first, affine, key, spacing)
    for key, spacing in (lesser or {}).items():
        for axis, own, other in _differences(affine, spacing):
            warnings.append(
                f"The header states two spacings along the axis {axis}: {own:.4g} mm by {first} and {other:.4g} mm by "
                f"{key}; {first} was used, and if it is wrong, so is every volume."
            )
    return affine, tuple(warnings)


def refuse_defaults(ijk_to_ras: np.ndarray) -> None:
    """Refuse what libraries write when they were told nothing: 1 mm voxels along the axes, the first at the origin.

    Raises
    ------
    InputError
    """
    if np.array_equal(np.abs(ijk_to_ras), np.eye(4)):
        raise InputError(
            "The scan states no spacing; expected the distance between its voxels in mm, found only the default of "
            "1 × 1 × 1 mm with the first voxel at the origin."
        )


def refuse_oblique(ijk_to_ras: np.ndarray) -> None:
    """Refuse a grid whose axes lie too far from the patient's: no axis of it would be superior without doubt.

    Raises
    ------
    InputError
    """
    columns = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    # The normal of each pair of axes: the shear of a tilted gantry turns the planes no further than the tilt.
    normals = np.linalg.inv(columns)
    shares = np.abs(normals) / np.linalg.norm(normals, axis=1, keepdims=True)
    nearest = shares.argmax(axis=1)
    worst = float(np.degrees(np.arccos(np.clip(shares.max(axis=1).min(), 0.0, 1.0))))
    if worst > MOST_OBLIQUE_DEG or len(set(nearest.tolist())) < 3:
        raise InputError(
            f"The scan lies {worst:.0f}° oblique to the patient's axes; expected axial slices, or others along the "
            f"patient's axes, within {MOST_OBLIQUE_DEG:.0f}°."
        )


def _refuse_impossible(name, key, matrix):
    """Refuse a matrix that no scanner gives: not finite, flat, or sheared otherwise than by a gantry's tilt."""
    columns = matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(matrix).all() or lengths.min() == 0.0:
        found = " × ".join(f"{length:g}" for length in lengths)
        raise InputError(f"{name} states no usable spacing ({key}); expected three lengths above 0 mm, found {found}.")
    cosines = np.abs((columns / lengths).T @ (columns / lengths))[[0, 0, 1], [1, 2, 2]]
    # One pair of axes is that of the images; the third may lean from their normal.
    volume = abs(np.linalg.det(columns / lengths))
    lean = np.degrees(np.arccos(np.clip(volume, 0.0, 1.0)))
    if cosines.min() > np.sin(np.radians(1.0)) or lean > MOST_TILT_DEG:
        raise InputError(
            f"{name} states a sheared grid ({key}); expected perpendicular axes, or slices shifted by a gantry tilt "
            f"of up to {MOST_TILT_DEG:.0f}°, found axes at "
            f"{', '.join(f'{np.degrees(np.arccos(cosine)):.0f}°' for cosine in cosines)}."
        )


def _refuse_difference(name, first, affine, key, spacing):
    for axis, own, other in _differences(affine, spacing):
        raise InputError(
            f"{name} states two different spacings along its axis {axis}; expected {first} and {key} to agree, found "
            f"{own:.4g} and {other:.4g} mm."
        )


def _differences(affine, spacing):
    """Axis, own and other spacing wherever they differ."""
    along = spacing_kji(affine)[::-1]
    # Across a tilt, some write the step along the axis and some the distance of the planes.
    across = 1.0 / np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    for axis, own, plane, other in zip("ijk", along, across, spacing, strict=True):
        if other is None:
            continue
        if not np.isfinite(other) or min(abs(other / own - 1), abs(other / plane - 1)) > SPACING_TOLERANCE:
            yield axis, own, other


def _compare_turn(name, first, affine, key, other):
    """Hold two orientations against each other, both freed of shear."""
    turns = []
    for matrix in (affine[:3, :3], other[:3, :3]):
        left, _, right = np.linalg.svd(matrix / np.linalg.norm(matrix, axis=0))
        turns.append(left @ right)
    if np.linalg.det(turns[0]) * np.linalg.det(turns[1]) < 0:
        raise InputError(
            f"{name} states two orientations that mirror each other; expected {first} and {key} to agree, found a "
            "right-handed and a left-handed one."
        )
    turn = np.degrees(np.arccos(np.clip((np.trace(turns[0].T @ turns[1]) - 1) / 2, -1.0, 1.0)))
    if turn > TURN_TOLERANCE_DEG:
        raise InputError(
            f"{name} states two different orientations; expected {first} and {key} to agree, found them turned by "
            f"{turn:.0f}° against each other."
        )


def _compare_place(first, affine, key, other):
    shift = float(np.linalg.norm(affine[:3, 3] - other[:3, 3]))
    if shift > PLACE_TOLERANCE_MM:
        yield f"The header places the scan twice, {shift:.0f} mm apart ({first} and {key}); {first} was used."
