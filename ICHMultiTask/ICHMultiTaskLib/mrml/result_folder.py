"""Output folder of the analyze command: report, attention map, pictures and scene."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import NO_PROGRESS
from ..common.translation import tr as _
from ..report.result import SCENE_FILE, write_report
from .pictures import slice_pictures, thumbnail
from .scene import save_mrb

if TYPE_CHECKING:
    import slicer

    from ..analysis.result import Analysis
    from ..common.progress import Progress

PICTURES_FOLDER = "slices"


def write_result_folder(
    scene: slicer.vtkMRMLScene,
    analysis: Analysis,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    attentionNode: slicer.vtkMRMLScalarVolumeNode | None,
    folder: str | os.PathLike,
    progress: Progress | None = None,
    comparison: dict | None = None,
) -> dict[str, Path | None]:
    """Write report.json, report.html, attention.nrrd, slices/*.png and scene.mrb to an existing folder.

    Parameters
    ----------
    scene : vtkMRMLScene
    analysis : Analysis
    volumeNode, attentionNode : vtkMRMLScalarVolumeNode
        From `show_analysis`.
    folder : path-like
        Use `ICHMultiTaskLib.common.writing.new_folder` to write it atomically.
    progress : callable (fraction, message), optional
    comparison : dict, optional
        From `report.comparison.comparison_dict`.

    Returns
    -------
    dict
        From `write_report`.

    Raises
    ------
    OutputError
        If the pictures, the scene or the attention map cannot be written. Other files raise the system's own OSError.
    """
    progress = progress or NO_PROGRESS
    folder = Path(folder)
    start = time.perf_counter()
    progress(0.0, _("Drawing slices"))
    (folder / PICTURES_FOLDER).mkdir()
    pictures = slice_pictures(scene, volumeNode, attentionNode, folder / PICTURES_FOLDER)
    timing = {"pictures": time.perf_counter() - start}
    progress(0.3, _("Saving the scene"))
    start = time.perf_counter()
    mrb = save_mrb(scene, folder / SCENE_FILE, thumbnail(pictures[len(pictures) // 2]))
    timing["save_scene"] = time.perf_counter() - start
    progress(0.8, _("Writing the report"))
    files = write_report(replace(analysis, timing_s=analysis.timing_s | timing), folder, pictures, mrb, comparison)
    progress(1.0, _("Report written"))
    return files
