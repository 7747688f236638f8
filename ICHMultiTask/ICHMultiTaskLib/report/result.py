"""The result as files: report.json for programs, report.html for users, the attention map for viewers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..analysis.prognosis_range import MEANING
from ..analysis.result import Analysis
from ..common import writing
from ..common.choices import Choice
from ..common.errors import OutputError
from ..scan.geometry import LPS_TO_RAS
from . import WRITERS
from .html import report_html

JSON_FILE = "report.json"
HTML_FILE = "report.html"
ATTENTION_FILE = "attention.nrrd"
SCENE_FILE = "scene.mrb"


@dataclass(frozen=True)
class ReportContent:
    """Input of a writer.

    Attributes
    ----------
    analysis : Analysis
    report : dict
        Content of report.json, see `report_dict`.
    pictures : sequence of path
        PNG files.
    scene : str or None
        File name of the saved .mrb scene.
    """

    analysis: Analysis
    report: dict
    pictures: tuple
    scene: str | None


def write_report(
    analysis: Analysis,
    folder: str | os.PathLike,
    pictures: Sequence[str | os.PathLike] = (),
    scene: str | os.PathLike | None = None,
    comparison: dict | None = None,
    outputs: Iterable[str] = WRITERS,
) -> dict[str, Path | None]:
    """Write outputs of an analysis to an existing folder: report.json, report.html and attention.nrrd.

    Parameters
    ----------
    analysis : Analysis
    folder : path-like
        Use `ICHMultiTaskLib.common.writing.new_folder` to write it atomically.
    pictures : sequence of path-like
        PNG files to embed in the HTML page.
    scene : path-like, optional
        The saved .mrb scene, linked from the HTML page.
    comparison : dict, optional
        From `comparison_dict`.
    outputs : iterable of str
        Their names in `WRITERS`; by default all.

    Returns
    -------
    dict of str to Path or None
        Files by name; None if there was nothing to write.

    Raises
    ------
    OutputError
        If the attention map cannot be written. Other files raise the system's own OSError.
    """
    report = report_dict(analysis, comparison)
    content = ReportContent(analysis, report, tuple(pictures), Path(scene).name if scene else None)
    return {name: WRITERS[name](content, Path(folder)) for name in outputs}


def write_json(content: ReportContent, folder: Path) -> Path:
    """Write report.json, for programs."""
    path = folder / JSON_FILE
    writing.write_json(path, content.report)
    return path


def write_html(content: ReportContent, folder: Path) -> Path:
    """Write report.html, for users."""
    path = folder / HTML_FILE
    page = report_html(content.report, content.analysis.head_ct.facts, content.pictures, content.scene)
    writing.write_text(path, page)
    return path


def write_attention(content: ReportContent, folder: Path) -> Path | None:
    """Write the attention map, for viewers; nothing if there is none."""
    attention = content.analysis.attention
    if attention is None:
        return None
    path = folder / ATTENTION_FILE
    write_nrrd(attention.array, content.analysis.head_ct.ijk_to_ras, path)
    return path


def report_dict(analysis: Analysis, comparison: dict | None = None) -> dict:
    """Content of report.json; has the key `comparison` only if something was compared.

    Numbers that are not finite become None, each with a warning. `spacing_mm` is in the order of `shape_kji`; on a
    tilted scan its first number is the step along the tilted axis.

    Returns
    -------
    dict
    """
    head_ct, attention = analysis.head_ct, analysis.attention
    unusable = []
    report = _plain(
        {
            "hemorrhage": analysis.hemorrhage,
            "hemorrhage_reason": analysis.hemorrhage_reason,
            "volume_ml": analysis.volume_ml,
            "volume_interval_ml": analysis.volume_interval_ml,
            "interval_coverage": analysis.interval_coverage,
            "network_volume_ml": analysis.network_volume_ml,
            "outlined_volume_ml": analysis.outlined_volume_ml,
            "mortality_probability": analysis.mortality_probability,
            "mortality_range": analysis.mortality_range,
            "mortality_range_meaning": analysis.mortality_range and MEANING,
            "prognosis": analysis.prognosis,
            "clinical_inputs": analysis.clinical,
            "findings": analysis.findings and analysis.findings.as_dict(),
            "scan": {
                "path": head_ct.facts.path,
                "series_uid": head_ct.facts.series_uid,
                "series_choice": head_ct.facts.series_choice or None,
                "shape_kji": head_ct.hu.shape,
                "spacing_mm": head_ct.spacing_kji,
                "gantry_tilt_deg": head_ct.facts.gantry_tilt_deg,
                "warnings": analysis.warnings,
            },
            "model": {key: analysis.model[key] for key in ("name", "version", "sha256", "training_data")},
            "attention": attention
            and {
                "file": ATTENTION_FILE,
                "head": attention.head,
                "stage": attention.stage,
                "method": attention.method,
                "peak_ras_mm": attention.peak_ras_mm,
            },
            "timing_s": analysis.timing_s,
            "provenance": analysis.provenance,
            **({"comparison": comparison} if comparison else {}),
        },
        "",
        unusable,
    )
    report["scan"]["warnings"] += [f"{key} is not a finite number and was left out." for key in unusable]
    return report


def _plain(value, key, unusable):
    """Built-in types for JSON; names of numbers that are not finite are added to `unusable`."""
    if isinstance(value, dict):
        return {k: _plain(v, f"{key}.{k}".lstrip("."), unusable) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v, f"{key}[{n}]", unusable) for n, v in enumerate(value)]
    if isinstance(value, Choice):
        return value.value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        unusable.append(key)
        return None
    return value


def write_nrrd(array: np.ndarray, ijk_to_ras: np.ndarray, path: str | os.PathLike) -> None:
    """Write an array [k, j, i] with its affine, including shear, as a compressed NRRD file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import SimpleITK

    ijk_to_lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(array)
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    with writing.whole_path(path) as draft:
        try:
            SimpleITK.WriteImage(image, str(draft), useCompression=True, compressionLevel=1)
        except RuntimeError as error:
            raise OutputError(f"{path} could not be written: the disk is full or read-only.") from error
