"""Evaluate a model's interpretation methods on a table of scans, and write the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.choices import Stage
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.writing import new_folder, write_json, write_text
from ICHMultiTaskLib.report.pages import render

from ..data.manifest import read_manifest
from .cohort import is_simulated
from .figures import covering_curves
from .interpretation import LEVELS, compare_methods
from .page import TEMPLATES
from .reproduce import draw_example

KIND = "comparison of interpretation methods"
PICTURE = "attention.png"


def interpret(
    manifest: str | os.PathLike,
    output: str | os.PathLike,
    bundle: str | os.PathLike | None = None,
    methods: Sequence[str] | None = None,
    patients: int = 8,
    device: str = "auto",
    progress: Progress = NO_PROGRESS,
    stage: str = Stage.STAGE4.value,
) -> dict:
    """Compare methods; write `metrics.json`, `attention.png` (Figure 5 for each method) and `report.html`.

    Parameters
    ----------
    manifest : path
        If its column `split` marks test rows, only these are used.
    output : path
        New or empty folder, or that of an earlier comparison. It is written completely or not at all.
    bundle : path, optional
        None: the default bundle.
    methods : sequence of str, optional
        None: all.
    patients : int
        Largest number of patients.
    device : str
    progress : callable (fraction, message)
        May raise Canceled.
    stage : str
        As in `compare_methods`.

    Returns
    -------
    dict
        Result of `compare_methods`, with `data`, `simulated` and `model` added.
    """
    table = read_manifest(manifest)
    rows = [row for row in table.rows if row.split == "test"] or list(table.rows)
    with new_folder(output, KIND, overwrite=True, inputs=[manifest]) as folder:
        analyzer = Analyzer(bundle, device)
        measured, example = compare_methods(analyzer, rows, methods, patients, progress, stage)
        kind = "simulated scans" if is_simulated(rows) else "scans"
        measured |= {
            "data": f"{measured['patients']} {kind} of {Path(manifest).name}",
            "simulated": is_simulated(rows),
            "model": {name: getattr(analyzer.bundle, name) for name in ("name", "version", "sha256", "training_data")},
        }
        write_json(folder / "metrics.json", measured)
        draw_example(folder / PICTURE, example, measured)
        page = render(
            "interpretation.html", TEMPLATES, title="interpretation methods", measured=measured,
            picture=(folder / PICTURE).read_bytes(), curves=covering_curves(measured, LEVELS),
        )  # fmt: skip
        write_text(folder / "report.html", page)
    return measured
