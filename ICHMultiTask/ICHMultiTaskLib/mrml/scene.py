"""The MRML scene: the application's scene in 3D Slicer, a new one on slicer-core."""

from __future__ import annotations

import functools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import slicer
import vtk

from ..common.errors import InputError, OutputError
from ..common.translation import tr as _
from ..common.writing import whole_path

INFERNO_ID = "vtkMRMLColorTableNodeFileInferno.txt"
"""Slicer's Inferno color table; perceptually uniform."""

_INFERNO_ANCHORS = (
    (0, 0, 4), (12, 8, 38), (36, 12, 79), (66, 10, 104), (93, 18, 110), (120, 28, 109), (147, 38, 103), (174, 48, 92),
    (199, 62, 76), (221, 81, 58), (237, 105, 37), (248, 133, 15), (252, 165, 10), (250, 198, 45), (242, 230, 97),
    (252, 255, 164),
)  # fmt: skip


def create_scene() -> slicer.vtkMRMLScene:
    """Return the application's scene in 3D Slicer; elsewhere create one, once per process.

    Returns
    -------
    vtkMRMLScene
        With color tables, Red, Yellow and Green slice nodes driven by slice logics, and a layout with a table view.
    """
    return getattr(slicer, "mrmlScene", None) or _slicer_core().scene


def application_logic() -> slicer.vtkSlicerApplicationLogic:
    """Return the application logic that belongs to `create_scene()`."""
    return slicer.app.applicationLogic() if hasattr(slicer, "mrmlScene") else _slicer_core().applicationLogic


def let_views_settle() -> None:
    """Let the application resize new views, which would undo earlier settings; elsewhere does nothing."""
    if hasattr(slicer, "mrmlScene"):
        from qt import QEventLoop

        slicer.app.processEvents(QEventLoop.ExcludeUserInputEvents)


def nodes_of_class(scene: slicer.vtkMRMLScene, className: str) -> list[slicer.vtkMRMLNode]:
    """Return the scene's nodes of a class or of classes derived from it, as a list."""
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]


def save_mrb(scene: slicer.vtkMRMLScene, path: str | os.PathLike, thumbnail: vtk.vtkImageData | None = None) -> Path:
    """Write the scene with all its data to one .mrb file that the application opens.

    Parameters
    ----------
    scene : vtkMRMLScene
    path : path-like
        Must end in ".mrb". An existing file is replaced when the new one is complete.
    thumbnail : vtkImageData, optional

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the name does not end in ".mrb".
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".mrb":
        raise InputError(
            _("A scene is saved as a file that ends in .mrb; the name given is {name}.").format(name=path.name)
        )
    messages = slicer.vtkMRMLMessageCollection()
    with whole_path(path) as draft, _names_for_files(scene):
        # The scene must not remember the temporary folder.
        url, root = scene.GetURL(), scene.GetRootDirectory()
        try:
            written = scene.WriteToMRB(str(draft), thumbnail, messages)
        finally:
            scene.SetURL(url)
            scene.SetRootDirectory(root)
        if not written:
            reason = messages.GetAllMessagesAsString().strip().splitlines()
            raise OutputError(
                _("The scene could not be saved as {path}{reason}.").format(
                    path=path, reason=": " + reason[0] if reason else ""
                )
            )
    return path


@contextmanager
def _names_for_files(scene):
    """Write "+" for "&" in the names of nodes with files: Slicer leaves it in their paths and cannot open the scene."""
    names = {node: node.GetName() or "" for node in nodes_of_class(scene, "vtkMRMLStorableNode")}
    names = {node: name for node, name in names.items() if "&" in name}
    try:
        for node, name in names.items():
            node.SetName(name.replace("&", "+"))
        yield
    finally:
        for node, name in names.items():
            node.SetName(name)


@functools.cache
def _slicer_core():
    """Scene, application logic and module logics, which the application creates at startup."""
    scene = slicer.vtkMRMLScene()
    applicationLogic = slicer.vtkSlicerApplicationLogic()
    applicationLogic.SetMRMLScene(scene)
    applicationLogic.GetColorLogic().SetMRMLScene(scene)
    core = SimpleNamespace(scene=scene, applicationLogic=applicationLogic, logics=[])

    # Reading a .mrb needs a folder to unpack it to.
    core.cacheFolder = tempfile.TemporaryDirectory(prefix="ICHMultiTask-", ignore_cleanup_errors=True)
    core.cacheManager = slicer.vtkCacheManager()
    core.cacheManager.SetRemoteCacheDirectory(core.cacheFolder.name)
    core.dataIOManager = slicer.vtkDataIOManager()
    core.dataIOManager.SetCacheManager(core.cacheManager)
    scene.SetCacheManager(core.cacheManager)
    scene.SetDataIOManager(core.dataIOManager)

    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    _add_inferno(scene)
    for name, logicClass in (
        ("Volumes", slicer.vtkSlicerVolumesLogic),
        ("Tables", slicer.vtkSlicerTablesLogic),
        ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("Markups", slicer.vtkSlicerMarkupsLogic),
        ("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
    ):
        logic = logicClass()
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        applicationLogic.SetModuleLogic(name, logic)
        core.logics.append(logic)

    layoutLogic = slicer.vtkMRMLLayoutLogic()
    layoutLogic.SetMRMLScene(scene)
    layoutLogic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    core.logics.append(layoutLogic)

    sliceLogics = vtk.vtkCollection()
    for color in ("Red", "Yellow", "Green"):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(scene.GetNodeByID(f"vtkMRMLSliceNode{color}"))
        sliceLogics.AddItem(logic)
    applicationLogic.SetSliceLogics(sliceLogics)
    core.sliceLogics = sliceLogics
    return core


def _add_inferno(scene):
    """Add the table under the application's ID, and not saved, so that a saved scene uses Slicer's own."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    positions = np.linspace(0, 255, len(_INFERNO_ANCHORS))
    channels = [np.interp(np.arange(256), positions, channel) / 255 for channel in zip(*_INFERNO_ANCHORS, strict=True)]
    for index, color in enumerate(zip(*channels, strict=True)):
        node.SetColor(index, str(index), *color)
    node.SetName("Inferno")
    node.SetSingletonTag("FileInferno.txt")
    node.SetSaveWithScene(False)
    scene.AddNode(node)
