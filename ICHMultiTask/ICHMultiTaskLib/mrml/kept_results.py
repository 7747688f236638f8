"""Store the result of each scan in the scene as text, with the content of report.json."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..analysis.attention import Attention
from ..analysis.findings.finding import Findings
from ..analysis.result import Analysis
from ..analysis.second_look import Hemorrhage
from ..common.clinical_variables import VARIABLES
from ..common.translation import records_of, with_texts
from ..report.result import report_dict
from . import results
from .hierarchy import file_beside
from .placement import peak_of
from .scan_state import is_changed, state_of
from .transforms import array_from_image
from .volumes import head_ct_from_node

if TYPE_CHECKING:
    import slicer

KIND = "facts"
FORMAT = 1
"""Version of the text. Results of versions without it are read from their tables."""
EARLIER_LIMIT_ML = 1.0
"""Versions without the second look called smaller volumes "no hemorrhage"."""
_MODEL = ("name", "version", "sha256", "training_data")


def keep_result(
    scene: slicer.vtkMRMLScene,
    analysis: Analysis,
    scan_node: slicer.vtkMRMLScalarVolumeNode,
    run: str | None = None,
    read: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Store the result of an analysis with its scan, replacing an earlier one.

    Paths and identifiers are left out: they belong to the subject hierarchy and must not enter exported files.

    Parameters
    ----------
    scene : vtkMRMLScene
    analysis : Analysis
    scan_node : vtkMRMLScalarVolumeNode
    run : str, optional
        Identifies the run, see `analyzed` of `kept_result`; None: it ended now.
    read : dict, optional
        `scan_state.state_of` the scan when it was read for the analysis; None: as it is now.

    Returns
    -------
    dict
        From `kept_result`.

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    facts = report_dict(analysis)
    for key in ("path", "series_uid"):
        facts["scan"].pop(key, None)
    facts |= {"format": FORMAT, "analyzed": run or datetime.now(timezone.utc).isoformat()}
    facts["read"] = read or state_of(scan_node)
    facts["texts"] = records_of(facts)  # the facts are in English; these make them translatable
    node = results.make_result_node(scene, scan_node, KIND)
    node.SetText(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    node.SetHideFromEditors(True)
    file_beside(node, scan_node)
    return kept_result(scan_node)


def kept_result(scan_node: slicer.vtkMRMLScalarVolumeNode | None) -> dict[str, Any] | None:
    """Stored result of a scan; None if it was not analyzed, or the stored result cannot be read.

    Parameters
    ----------
    scan_node : vtkMRMLScalarVolumeNode or None

    Returns
    -------
    dict or None
        As report.json, with `format`, `analyzed` (time in UTC, which identifies the run) and `read` (the state of the
        scan that was read, see `is_outdated`). Values not stored by an earlier version are None or empty.
    """
    if scan_node is None or scan_node.GetScene() is None:
        return None
    node = results.result_node(scan_node, KIND)
    if node is not None:
        return _completed(_parsed(node.GetText()))
    table = results.result_node(scan_node, "table")
    return None if table is None else _completed(_from_table(table))


def current_result(scan_node: slicer.vtkMRMLScalarVolumeNode | None) -> dict[str, Any] | None:
    """The stored result of a scan, as `kept_result`; None also if the scan was changed since, see `is_outdated`."""
    facts = kept_result(scan_node)
    return None if facts is None or is_changed(facts["read"], scan_node) else facts


def is_outdated(scan_node: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """Whether the voxels or the shape of a scan were changed since it was read for its stored result."""
    facts = kept_result(scan_node)
    return facts is not None and is_changed(facts["read"], scan_node)


def restored_analysis(scan_node: slicer.vtkMRMLScalarVolumeNode, facts: dict[str, Any]) -> Analysis:
    """Restore the stored analysis, without the network's features.

    Parameters
    ----------
    scan_node : vtkMRMLScalarVolumeNode
    facts : dict
        From `kept_result`.

    Returns
    -------
    Analysis
        `prediction` is None; `attention` is the map on display, or None.
    """
    interval = facts["volume_interval_ml"]
    return Analysis(
        head_ct=head_ct_from_node(scan_node),
        volume_ml=facts["volume_ml"],
        volume_interval_ml=interval and tuple(interval),
        interval_coverage=facts["interval_coverage"],
        mortality_probability=facts["mortality_probability"],
        prognosis=facts["prognosis"],
        attention=attention_on_show(scan_node),
        model=facts["model"],
        warnings=tuple(facts["scan"]["warnings"]),
        timing_s=facts["timing_s"],
        prediction=None,
        hemorrhage=facts["hemorrhage"],
        hemorrhage_reason=facts["hemorrhage_reason"],
        mortality_range=facts["mortality_range"] and tuple(facts["mortality_range"]),
        findings=Findings.from_dict(facts["findings"]),
        clinical=facts["clinical_inputs"],
        network_volume_ml=facts["network_volume_ml"],
        outlined_volume_ml=facts["outlined_volume_ml"],
    )


def attention_on_show(scan_node: slicer.vtkMRMLScalarVolumeNode) -> Attention | None:
    """The attention map of a scan from the scene, or None."""
    node = results.result_node(scan_node, "attention")
    image = node and node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return None
    head, stage, method = (node.GetAttribute(f"ICHMultiTask.{key}") or "" for key in ("head", "stage", "method"))
    return Attention(array_from_image(image), head, stage, method, peak_of(node))


def _parsed(text):
    try:
        facts = json.loads(text or "")
    except ValueError:
        return None
    return with_texts(facts, facts.pop("texts", None)) if isinstance(facts, dict) else None


def _completed(facts):
    """Add missing keys; None if the volume is not a number."""
    if facts is None or not _is_number(facts.get("volume_ml")):
        return None
    defaults = {
        "format": 0, "analyzed": "", "volume_interval_ml": None, "interval_coverage": None, "prognosis": "",
        "mortality_probability": None, "attention": None, "timing_s": {}, "hemorrhage_reason": "",
        "mortality_range": None, "findings": None, "clinical_inputs": None, "network_volume_ml": None,
        "outlined_volume_ml": None, "read": None,
    }  # fmt: skip
    facts = defaults | facts
    for name in ("mortality_probability", "network_volume_ml", "outlined_volume_ml"):
        if not _is_number(facts[name]):
            facts[name] = None
    if facts.get("hemorrhage") not in Hemorrhage.values():
        # Versions without the second look decided by the volume.
        facts["hemorrhage"] = "none" if facts["volume_ml"] < EARLIER_LIMIT_ML else "found"
    if not isinstance(facts["clinical_inputs"], dict) or not facts["clinical_inputs"].keys() <= VARIABLES.keys():
        facts["clinical_inputs"] = None
    if not _is_pair(facts["mortality_range"]):
        facts["mortality_range"] = None
    scan, model = (found if isinstance(found := facts.get(key), dict) else {} for key in ("scan", "model"))
    facts["scan"] = {**scan, "warnings": [w if isinstance(w, str) else str(w) for w in scan.get("warnings") or ()]}
    facts["model"] = {key: str(model.get(key, "")) for key in _MODEL}
    if not _is_pair(facts["volume_interval_ml"]):
        facts["volume_interval_ml"] = facts["interval_coverage"] = None
    return facts


def _is_pair(value):
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _from_table(table):
    """Result of an earlier version, which only stored a table."""
    rows = [[table.GetCellText(row, column) for column in range(2)] for row in range(table.GetNumberOfRows())]
    found = dict(reversed(rows))
    number = re.match(r"[\d.]+$", found.get("Hematoma volume", ""))
    if number is None:
        return None
    facts = {"volume_ml": float(number[0]), "prognosis": found.get("Prognosis", "")}
    for title, value in rows:
        coverage, span = re.match(r"(\d+)\s?% interval$", title), re.match(r"([\d.]+) to ([\d.]+)$", value)
        if coverage and span:
            facts["volume_interval_ml"] = [float(span[1]), float(span[2])]
            facts["interval_coverage"] = int(coverage[1]) / 100
    percent = re.match(r"(below |above )?(\d+) %$", found.get("30-day mortality probability", ""))
    if percent:
        facts["mortality_probability"] = {"below ": 0.005, "above ": 0.995}.get(percent[1], int(percent[2]) / 100)
    name, _, version = found.get("Model", "").rpartition(" ")
    facts["model"] = {
        "name": name, "version": version, "sha256": found.get("Weights (SHA-256)", ""),
        "training_data": found.get("Training data", ""),
    }  # fmt: skip
    facts["scan"] = {"warnings": [value for title, value in rows if title == "Warning"]}
    return facts
