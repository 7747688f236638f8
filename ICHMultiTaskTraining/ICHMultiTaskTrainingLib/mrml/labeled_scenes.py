"""Scans and segmentations in saved 3D Slicer scenes, for a table of scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from ICHMultiTaskLib.common.errors import ICHMultiTaskError
from ICHMultiTaskLib.common.names import safe_name
from ICHMultiTaskLib.comparison.scan_table import write_labeled
from ICHMultiTaskLib.measures.grids import resampled_mask
from ICHMultiTaskLib.measures.labeled_scan import choose_segment, label_of
from ICHMultiTaskLib.mrml.focus import scans
from ICHMultiTaskLib.mrml.scene import create_scene
from ICHMultiTaskLib.mrml.segments import belongs_to, list_segments, read_segment
from ICHMultiTaskLib.mrml.volumes import head_ct_from_node

from ..data.labeling import Entry


def measure_scene(path: Path, segment: str | None = None, may_be_empty: bool = False) -> list[Entry]:
    """Measure the segments of each scan in a scene.

    Parameters
    ----------
    path : Path
        Of a .mrb or .mrml file.
    segment : str, optional
    may_be_empty : bool
        As in `label_of` and `choose_segment`.

    Returns
    -------
    list of Entry
        One per scan with segments, or one that states what is wrong. Scan and mask are kept in memory, as integers, for
        the export.
    """
    scene = create_scene()
    scene.Clear(False)
    try:
        if not _read(scene, path):
            return [Entry(path, path, problems=["the scene cannot be read: expected one saved by 3D Slicer"])]
        entries = [_measured(path, scan, scene, segment, may_be_empty) for scan in scans(scene)]
    finally:
        scene.Clear(False)
    entries = [entry for entry in entries if entry is not None]
    return entries or [Entry(path, path, problems=["the scene contains no scan with a segmentation"])]


def _read(scene, path):
    messages = slicer.vtkMRMLMessageCollection()
    if path.suffix.lower() == ".mrb":
        return bool(scene.ReadFromMRB(str(path), False, messages))
    scene.SetURL(str(path))
    return bool(scene.Connect(messages))


def _measured(path, scan, scene, segment, may_be_empty):
    choices = [c for c in list_segments(scene) if belongs_to(scene.GetNodeByID(c.node_id), scan) is not False]
    if not choices:
        return None
    name = safe_name(f"{path.stem}-{scan.GetName()}", "scan")
    entry = Entry(Path(f"{name}.nii.gz"), path, segmentation=path)
    try:
        head_ct = head_ct_from_node(scan)
        found = [read_segment(scene.GetNodeByID(c.node_id), c.segment_id) for c in choices]
        chosen = choose_segment(found, segment)
        label = label_of(chosen, head_ct, may_be_empty)
    except ICHMultiTaskError as error:
        entry.problems.append(str(error).rstrip("."))
        return entry
    entry.segment, entry.volume_ml = chosen.name, label.volume_ml
    entry.problems += label.problems
    mask = resampled_mask(chosen, head_ct.ijk_to_ras, head_ct.hu.shape)
    entry.mask = Path(f"{name}-mask.nii.gz")
    hu = np.rint(head_ct.hu).astype(np.int16)  # a copy, because the scene is cleared
    entry.export = lambda folder: write_labeled(folder / entry.image.name, folder / entry.mask.name,
                                                hu, mask, head_ct.ijk_to_ras)  # fmt: skip
    return entry
