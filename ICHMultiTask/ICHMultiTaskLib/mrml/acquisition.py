"""Check the geometry of a loaded scan against its files.

An image reader that only supports evenly spaced, upright slices silently distorts a tilted or unevenly spaced scan. The
application's DICOM module corrects such a scan by a transform node; `correct` does the same for scans loaded in other
ways. Needs no Qt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.dicom_files import find_images
from ..scan.geometry import LPS_TO_RAS, apply_affine
from ..scan.volume_files import read_stored, suffix_of
from .hierarchy import file_beside
from .scene import nodes_of_class
from .transforms import world_points
from .volumes import add_warning, ijk_to_ras_of

TOLERANCE_MM = 0.5
"""Geometries differ if distances between corners of slices differ by more."""
NOTE = _(
    "The volume was loaded without the tilt or the spacing of its slices; a transform node applies them, as stated in "
    "its files."
)
_SCAN_ROLE = "ICHMultiTask.Scan"
_KIND = "ICHMultiTask.Acquisition"


@dataclass(frozen=True)
class Grid:
    """Corners of the slices of a node.

    Attributes
    ----------
    name : str
        Of the node.
    ijk_to_ras : ndarray of shape (4, 4)
        Of the node itself, without parent transforms.
    size_ijk : tuple of 3 int
    own_mm, world_mm : ndarray of shape (K, 4, 3)
        Corners of each slice, without and with the parent transforms.
    """

    name: str
    ijk_to_ras: np.ndarray
    size_ijk: tuple
    own_mm: np.ndarray
    world_mm: np.ndarray


@dataclass(frozen=True)
class Correction:
    """Corners of a node's slices according to its files: RAS mm, of shape (K, 4, 3)."""

    corners_mm: np.ndarray


def source_files(scan: slicer.vtkMRMLScalarVolumeNode | None) -> list[Path]:
    """Files that a scan was loaded from, if they still exist.

    Parameters
    ----------
    scan : vtkMRMLScalarVolumeNode or None

    Returns
    -------
    list of Path
        DICOM images from the application's database, else the files of the storage node; empty if unknown.
    """
    if scan is None or scan.GetScene() is None or scan.GetImageData() is None:
        return []
    database, names = getattr(slicer, "dicomDatabase", None), []
    uids = (scan.GetAttribute("DICOM.instanceUIDs") or "").split()
    if uids and database is not None and getattr(database, "isOpen", True):
        names = [database.fileForInstance(uid) for uid in uids]
    storage = scan.GetStorageNode()
    if not any(names) and storage is not None and storage.GetFileName():
        names = [storage.GetFullNameFromFileName()]
        names += [storage.GetFullNameFromNthFileName(n) for n in range(storage.GetNumberOfFileNames())]
    return [path for path in dict.fromkeys(Path(name) for name in names if name) if path.is_file()]


def own_grid(scan: slicer.vtkMRMLScalarVolumeNode) -> Grid:
    """Read the corners of a node's slices."""
    size, matrix = scan.GetImageData().GetDimensions(), ijk_to_ras_of(scan)
    own = apply_affine(matrix, _corner_indices(size))
    world = world_points(own.reshape(-1, 3), scan.GetParentTransformNode()).reshape(own.shape)
    return Grid(scan.GetName(), matrix, size, own, world)


def correction(files: Sequence[Path], grid: Grid) -> Correction | None:
    """Compare a node's geometry with that of its files; accesses no node, so that it can run in a thread.

    A rigid movement of the scan since it was loaded is not an error.

    Parameters
    ----------
    files : list of Path
        From `source_files`.
    grid : Grid

    Returns
    -------
    Correction or None
        None if the geometry matches the files, or the files do not define it.

    Raises
    ------
    InputError
        If the files' slices are tilted or unevenly spaced, and cannot be assigned to those of the node.
    """
    if not files:
        return None
    expected = _of_volume_file(files, grid) if suffix_of(files[0]) else _of_dicom(files, grid)
    if expected is None or any(_same_shape(found, expected) for found in (grid.world_mm, grid.own_mm)):
        return None
    return Correction(expected)


def correct(scan: slicer.vtkMRMLScalarVolumeNode, found: Correction) -> slicer.vtkMRMLTransformNode:
    """Move a scan's slices to the positions in its files, by a transform node between the scan and its parents.

    Returns
    -------
    vtkMRMLTransformNode
    """
    scene = scan.GetScene()
    for node in nodes_of_class(scene, "vtkMRMLTransformNode"):
        if node.GetAttribute(_KIND) and node.GetNodeReferenceID(_SCAN_ROLE) == scan.GetID():
            scene.RemoveNode(node)
    columns, rows, slices = scan.GetImageData().GetDimensions()
    spacing, directions = scan.GetSpacing(), vtk.vtkMatrix4x4()
    scan.GetIJKToRASDirectionMatrix(directions)
    grid = vtk.vtkImageData()
    grid.SetOrigin(*scan.GetOrigin())
    grid.SetDimensions(2, 2, slices)
    grid.SetSpacing(spacing[0] * (columns - 1), spacing[1] * (rows - 1), spacing[2])
    own = apply_affine(ijk_to_ras_of(scan), _corner_indices((columns, rows, slices)))
    grid.GetPointData().SetScalars(numpy_to_vtk((found.corners_mm - own).reshape(-1, 3), deep=True))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(grid)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", f"{scan.GetName()} acquisition transform")
    node.SetAttribute(_KIND, "1")
    node.AddNodeReferenceID(_SCAN_ROLE, scan.GetID())
    node.SetAndObserveTransformToParent(transform)
    file_beside(node, scan)
    node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())
    scan.SetAndObserveTransformNodeID(node.GetID())
    add_warning(scan, NOTE)
    return node


def _corner_indices(size_ijk):
    """Indices (i, j, k) of the corners of each slice, of shape (K, 4, 3): i runs faster than j."""
    i, j, k = size_ijk
    corners = [(x, y) for y in (0, j - 1) for x in (0, i - 1)]
    return np.array([[(x, y, z) for x, y in corners] for z in range(k)], dtype=float)


def _same_shape(found, expected):
    """Whether two sets of corners are equal up to a rigid movement or reflection."""
    step = max(1, len(found) // 40)  # all pairs of slices of a thin scan would be millions
    picked = np.r_[0 : len(found) : step, len(found) - 1]
    distances = []
    for corners in (found, expected):
        points = corners[picked].reshape(-1, 3)
        distances.append(np.linalg.norm(points[:, None] - points, axis=-1))
    neighbors = [np.linalg.norm(np.diff(corners.mean(axis=1), axis=0), axis=-1) for corners in (found, expected)]
    differ = max(np.abs(np.subtract(*pair)).max(initial=0.0) for pair in (distances, neighbors))
    return differ <= TOLERANCE_MM


def _of_volume_file(files, grid):
    """Corners from a NIfTI, NRRD or MetaImage file, read as by the command; None if it now contains another volume."""
    try:
        stored = read_stored(files[0])
    except (InputError, OSError):  # the command would refuse the file; the loaded volume is checked by itself
        return None
    if stored.values.shape[:3][::-1] != tuple(grid.size_ijk):
        return None
    return apply_affine(stored.ijk_to_ras, _corner_indices(grid.size_ijk))


def _of_dicom(files, grid):
    """Corners from the headers of DICOM images; None if they are not images, or of another size."""
    series = [
        item
        for item in _series_of(files)
        if item.is_ct and (item.number("Columns"), item.number("Rows")) == tuple(grid.size_ijk[:2])
    ]
    corners = np.array([found for item in series if (found := _corners_of(item)) is not None])
    if not len(corners):
        return None
    along = grid.ijk_to_ras[:3, 2] / np.linalg.norm(grid.ijk_to_ras[:3, 2])
    corners = corners[np.argsort(corners.mean(axis=1) @ along, kind="stable")]
    if len(corners) != grid.size_ijk[2]:
        if _is_upright_and_even(corners):  # a simple reader places any part of it correctly
            return None
        raise InputError(
            _(
                "“{name}” cannot be measured as it was loaded: its files hold tilted or unevenly spaced "
                "slices, {count} instead of the {expected} expected. Load the scan with the DICOM module, "
                "or analyze its folder with the command ichmultitask."
            ).format(name=grid.name, count=len(corners), expected=grid.size_ijk[2])
        )
    # The corners are put in the order of the node's own, which may count rows or columns in the other direction.
    rolled = [corners[:, order] for order in ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0])]
    return min(rolled, key=lambda found: np.linalg.norm(_edges(found) - _edges(grid.own_mm)))


def _edges(corners):
    """Row and column direction of the first slice."""
    return corners[0, [1, 2]] - corners[0, 0]


def _is_upright_and_even(corners):
    steps = np.diff(corners.mean(axis=1), axis=0)
    across, down = corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0]
    normal = np.cross(across, down)
    aside = np.cross(steps, normal / np.linalg.norm(normal))
    uneven = np.ptp(np.linalg.norm(steps, axis=1)) if len(steps) else 0.0
    return uneven <= TOLERANCE_MM and np.linalg.norm(aside.sum(axis=0)) <= TOLERANCE_MM


def _series_of(files):
    """Headers of the files; for a single file, of its series, since readers find the other files of a series."""
    slices = []
    for folder in sorted({path.parent for path in files}):
        try:
            slices += find_images(folder, recursive=False).slices
        except (InputError, OSError):
            return []
    if len(files) > 1:
        return [item for item in slices if item.path in set(files)]
    uids = {item.text("SeriesInstanceUID") for item in slices if item.path == files[0]}
    return [item for item in slices if item.text("SeriesInstanceUID") in uids]


def _corners_of(item):
    """RAS corners of one image, in the order of `_corner_indices`; None if not stated."""
    position, orientation, spacing = item.position, item.orientation, item.pixel_spacing
    if position is None or orientation is None or spacing is None:
        return None
    columns, rows = item.number("Columns"), item.number("Rows")
    across = orientation[:3] * spacing[1] * (columns - 1)
    down = orientation[3:] * spacing[0] * (rows - 1)
    lps = [position + x * across + y * down for y in (0, 1) for x in (0, 1)]
    return apply_affine(LPS_TO_RAS, lps)
