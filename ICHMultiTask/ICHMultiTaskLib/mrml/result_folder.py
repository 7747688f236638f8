"""The shell's folder of one analysis: report, attention map, pictures and scene."""

import time
from dataclasses import replace
from pathlib import Path

from ..common.progress import NO_PROGRESS
from ..report.result import SCENE_FILE, write_report
from .pictures import slice_pictures, thumbnail
from .scene import save_mrb

PICTURES_FOLDER = "slices"


def write_result_folder(scene, analysis, volumeNode, attentionNode, folder, progress=None, comparison=None):
    """Write report.json, report.html, attention.nrrd, slices/*.png and scene.mrb into an existing folder.

    Parameters
    ----------
    scene : vtkMRMLScene
    analysis : Analysis
    volumeNode, attentionNode : vtkMRMLScalarVolumeNode
        As `show_analysis` made them.
    folder : path-like
        `ICHMultiTaskLib.common.writing.new_folder` makes one that appears whole or not at all.
    progress : callable (fraction, message), optional
    comparison : dict, optional
        As `comparison.report.comparison_dict` makes it.

    Returns
    -------
    dict
        As `write_report` returns it.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    progress = progress or NO_PROGRESS
    folder = Path(folder)
    start = time.perf_counter()
    progress(0.0, "Drawing slices")
    (folder / PICTURES_FOLDER).mkdir()
    pictures = slice_pictures(scene, volumeNode, attentionNode, folder / PICTURES_FOLDER)
    timing = {"pictures": time.perf_counter() - start}
    progress(0.3, "Saving the scene")
    start = time.perf_counter()
    mrb = save_mrb(scene, folder / SCENE_FILE, thumbnail(pictures[len(pictures) // 2]))
    timing["save_scene"] = time.perf_counter() - start
    progress(0.8, "Writing the report")
    files = write_report(replace(analysis, timing_s=analysis.timing_s | timing), folder, pictures, mrb, comparison)
    progress(1.0, "Report written")
    return files
