"""Pictures of slices with the attention map, rendered by Slicer's slice pipeline without a display."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..common.progress import NO_PROGRESS, Progress
from ..common.translation import tr as _
from ..common.writing import whole_file
from ..scan.geometry import apply_affine
from .results import FOREGROUND_OPACITY
from .volumes import array_in_world, head_ct_from_node

PIXELS = 384
"""Width and height of one view; a picture has two views, without and with the map."""
_HEAD_HU = -300
_MARGIN_MM = 18
"""Around the head, for the letters."""
_NEARBY_MM = 30
_GAP = 8


def slice_pictures(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    attentionNode: slicer.vtkMRMLScalarVolumeNode | None,
    folder: str | os.PathLike,
    axial: int = 5,
    opacity: float = FOREGROUND_OPACITY,
    progress: Progress | None = None,
) -> list[Path]:
    """Write PNG pictures of axial slices around the attention peak and of the coronal and sagittal planes through it.

    The left view shows the scan, the right one also the map. Axial pictures show the slices as acquired, including
    gantry tilt, in radiological convention (patient's right on the left). The user's scene and views are not changed.

    Parameters
    ----------
    scene : vtkMRMLScene
        Holds both nodes.
    volumeNode, attentionNode : vtkMRMLScalarVolumeNode
        From `show_analysis`; without an attention node the center of the scan is shown.
    folder : path-like
        Existing folder for ``axial_1.png`` (lowest) …, ``coronal.png`` and ``sagittal.png``.
    axial : int
        Number of axial slices.
    opacity : float
        Of the map, 0 to 1.
    progress : callable (fraction, message), optional
        Called before each picture.

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        If a picture cannot be written.
    """
    progress = progress or NO_PROGRESS
    head_ct = head_ct_from_node(volumeNode)
    stage = _Stage(scene, volumeNode, attentionNode, opacity)
    peak = _peak(head_ct, attentionNode)
    outline = _head_points(head_ct)
    written = []
    planes = list(_planes(head_ct, peak, axial))
    for name, axes, center in planes:
        progress(len(written) / len(planes), _("Drawing slices"))
        # All slices of one direction are framed at the peak, so that the head does not move between them.
        shift, extent = _framing(outline, axes, peak)
        stage.look_at(axes, center + shift, extent)
        views = [_labeled(stage.draw(overlay), axes, center) for overlay in (False, True)]
        gap = np.zeros((PIXELS, _GAP, 3), np.uint8)
        written.append(_write_png(np.concatenate([views[0], gap, views[1]], axis=1), Path(folder) / f"{name}.png"))
    return written


def thumbnail(picture: str | os.PathLike) -> vtk.vtkImageData:
    """Read a PNG picture as vtkImageData, for `save_mrb`."""
    return _image_data(_read_png(picture))


class _Stage:
    """A private scene with one slice view of both volumes, which share their voxels with the user's nodes."""

    def __init__(self, scene, volumeNode, attentionNode, opacity):
        self.scene = slicer.vtkMRMLScene()
        self.opacity = opacity
        applicationLogic = slicer.vtkMRMLApplicationLogic()
        applicationLogic.SetMRMLScene(self.scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        self.logic.SetMRMLScene(self.scene)
        self.sliceNode = self.logic.AddSliceNode("Picture")
        self.sliceNode.SetDimensions(PIXELS, PIXELS, 1)
        self.composite = self.logic.GetSliceCompositeNode()
        self.composite.SetBackgroundVolumeID(self._add(volumeNode))
        self.attentionID = self._add(attentionNode) if attentionNode else None
        self._applicationLogic = applicationLogic

    def _add(self, node):
        """Add a volume, shown as in the user's scene, and return its ID."""
        copy = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        copy.CopyOrientation(node)
        copy.SetAndObserveImageData(node.GetImageData())
        display = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        source = node.GetScalarVolumeDisplayNode()
        display.CopyContent(source)
        display.SetAndObserveColorNodeID(self.scene.CopyNode(source.GetColorNode()).GetID())
        copy.SetAndObserveDisplayNodeID(display.GetID())
        parent = node.GetParentTransformNode()
        if parent is not None:
            toWorld = vtk.vtkGeneralTransform()
            parent.GetTransformToWorld(toWorld)
            world = self.scene.AddNewNodeByClass("vtkMRMLTransformNode")
            world.SetAndObserveTransformToParent(toWorld)
            copy.SetAndObserveTransformNodeID(world.GetID())
        return copy.GetID()

    def look_at(self, axes, center, extent):
        """Show `extent` mm around `center`; the columns of `axes` are right, up and out of the picture."""
        matrix = np.eye(4)
        matrix[:3, :3] = axes
        matrix[:3, 3] = center
        self.sliceNode.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
        self.sliceNode.SetFieldOfView(extent, extent, 1)
        self.sliceNode.UpdateMatrices()

    def draw(self, overlay):
        """Render the view as an RGB array of shape (PIXELS, PIXELS, 3), top row first."""
        self.composite.SetForegroundVolumeID(self.attentionID if overlay else None)
        self.composite.SetForegroundOpacity(self.opacity)
        port = self.logic.GetImageDataConnection()
        port.GetProducer().Update()
        image = port.GetProducer().GetOutputDataObject(port.GetIndex())
        rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(PIXELS, PIXELS, -1)[::-1].astype(np.float32)
        if rgba.shape[2] == 4:
            rgba[..., :3] *= rgba[..., 3:] / 255
        return rgba[..., :3].round().astype(np.uint8)


def _peak(head_ct, attentionNode):
    """World position of the highest attention, or the center of the scan."""
    if attentionNode is not None:
        array, affine, _ = array_in_world(attentionNode)
        if array.max() > 0:
            index = np.unravel_index(int(array.argmax()), array.shape)
            return apply_affine(affine, index[::-1])
    return apply_affine(head_ct.ijk_to_ras, (np.array(head_ct.hu.shape[::-1]) - 1) / 2)


def _head_points(head_ct):
    """World positions of a sample of voxels denser than air."""
    steps = [max(1, size // 24) for size in head_ct.hu.shape]
    sample = head_ct.hu[tuple(slice(None, None, step) for step in steps)]
    indices = np.argwhere(sample > _HEAD_HU) * steps
    if len(indices) == 0:
        indices = np.stack(np.meshgrid(*[(0, n - 1) for n in head_ct.hu.shape]), axis=-1).reshape(-1, 3)
    return apply_affine(head_ct.ijk_to_ras, indices[:, ::-1])


def _framing(outline, axes, peak):
    """In-plane shift from the peak to the center of the head near it, and the head's larger diameter with a margin."""
    positions = (outline - peak) @ axes
    near = positions[np.abs(positions[:, 2]) < _NEARBY_MM, :2]
    low, high = np.percentile(near if len(near) else positions[:, :2], (0.5, 99.5), axis=0)
    return axes[:, :2] @ ((low + high) / 2), float((high - low).max()) + 2 * _MARGIN_MM


def _planes(head_ct, peak, axial):
    """(name, axes, center) of each picture; the columns of `axes` are right, up and out of the picture, in RAS."""
    affine = head_ct.ijk_to_ras
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    slices = int(np.abs(directions[2]).argmax())  # the axis (i, j, k) from foot to head
    in_plane = [n for n in range(3) if n != slices]
    across = max(in_plane, key=lambda n: abs(directions[0, n]))
    down = next(n for n in in_plane if n != across)
    right = directions[:, across] * (-1 if directions[0, across] > 0 else 1)
    up = directions[:, down] * (-1 if directions[1, down] < 0 else 1)
    axes = np.stack([right, up, np.cross(right, up)], axis=1)

    index = apply_affine(np.linalg.inv(affine), peak)
    count = head_ct.hu.shape[2 - slices]
    step = max(1, round(5.0 / head_ct.spacing_kji[2 - slices]))
    upward = 1 if directions[2, slices] > 0 else -1
    offsets = (np.arange(axial) - axial // 2) * step * upward
    # All are shifted if the peak is near an end, so that no slice is shown twice.
    chosen = np.round(index[slices]) + offsets
    chosen += max(0, -chosen.min()) - max(0, chosen.max() - (count - 1))
    for number, position in enumerate(np.unique(chosen.clip(0, count - 1))[::upward], 1):
        center = index.copy()
        center[slices] = position
        yield f"axial_{number}", axes, apply_affine(affine, center)
    left, superior, anterior = np.array([-1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    yield "coronal", np.stack([left, superior, anterior], axis=1), peak
    yield "sagittal", np.stack([-anterior, superior, left], axis=1), peak


def _labeled(view, axes, center):
    """Draw the patient's directions at the borders and the position at the bottom."""
    view = view.copy()
    height, width = view.shape[:2]
    for direction, x, y in (
        (-axes[:, 0], 12, height // 2),
        (axes[:, 0], width - 12, height // 2),
        (axes[:, 1], width // 2, 14),
        (-axes[:, 1], width // 2, height - 14),
    ):
        _draw_text(view, _letter(direction), x, y, 18)
    along = np.zeros(3)
    main = int(np.abs(axes[:, 2]).argmax())
    along[main] = center[main]
    _draw_text(view, f"{_letter(along)} {abs(center[main]):.1f} mm", 48, height - 14, 14)
    return view


def _letter(direction):
    main = int(np.abs(direction).argmax())
    return ("RAS" if direction[main] >= 0 else "LPI")[main]


def _draw_text(view, text, x, y, size):
    """Blend white text, centered at column x and row y."""
    image = vtk.vtkImageData()
    style = vtk.vtkTextProperty()
    style.SetFontSize(size)
    style.SetColor(1, 1, 1)
    style.SetBold(True)
    extent = [0, 0]
    vtk.vtkTextRenderer.GetInstance().RenderString(style, text, image, extent, 72)
    shape = (image.GetDimensions()[1], image.GetDimensions()[0], 4)
    rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)[: extent[1], : extent[0]][::-1]
    alpha = rgba[..., 3:] / 255.0
    top = int(np.clip(y - alpha.shape[0] // 2, 0, view.shape[0] - alpha.shape[0]))
    start = int(np.clip(x - alpha.shape[1] // 2, 0, view.shape[1] - alpha.shape[1]))
    patch = view[top : top + alpha.shape[0], start : start + alpha.shape[1]]
    patch[:] = (patch * (1 - alpha) + 255 * alpha).astype(np.uint8)


def _image_data(rgb):
    image = vtk.vtkImageData()
    image.SetDimensions(rgb.shape[1], rgb.shape[0], 1)
    pixels = np.ascontiguousarray(rgb[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(pixels, deep=True))
    return image


def _write_png(rgb, path):
    # Encoded in memory, so that Python writes the file and a full disk raises an error instead of a log message.
    writer = vtk.vtkPNGWriter()
    writer.WriteToMemoryOn()
    writer.SetInputData(_image_data(rgb))
    writer.Write()
    with whole_file(path) as file:
        file.write(memoryview(vtk_to_numpy(writer.GetResult())))
    return Path(path)


def _read_png(path):
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    width, height, _depth = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]
