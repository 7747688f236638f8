"""Rerun the paper's experiments: rows in any order, also on several machines, with one page for all results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.progress import ShellProgress
from ICHMultiTaskLib.model.runtime import choose_device

from ..data.splits import draw_split
from ..training.trainer import TrainingError
from .cohort import check_deaths, fold_of, held_out_patients, the_manifest
from .figures import five_slices
from .interpretation import compare_methods
from .page import row_settings, write_page
from .presets import preset_of
from .rows import INTERPRETATION, OURS, all_rows, chosen
from .store import Store
from .training import MODELS, remove_run, row_config, train_fold

NOT_SET = {
    "preset": "--preset",
    "seed": "--seed",
    "fold": "--fold",
    "folds": "--folds",
    "tasks": "--only single-volume or --only single-prognosis",
    "architecture.network": "--only with the name of the network",
    "architecture": "one argument at a time, such as architecture.width",
}
"""Settings that `changes` cannot have, since a row or the reproduction fixes them, and what takes their place."""


def reproduce(
    output: str | os.PathLike,
    preset_name: str,
    progress: ShellProgress,
    manifest: str | os.PathLike | None = None,
    only: Sequence[str] | None = None,
    fold: int | None = None,
    folds: int | None = None,
    patients: int | None = None,
    changes: dict | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int = 1,
    page_only: bool = False,
    command: str = "",
) -> Path:
    """Train the unfinished rows and write the page.

    Parameters
    ----------
    output : path
        Folder of the reproduction; finished rows in it are kept.
    preset_name : str
        A name in `experiments.presets.PRESETS`.
    progress : ShellProgress
    manifest : path, optional
        Table of a hospital's scans; None: patients are simulated.
    only : sequence of str, optional
        Names of rows; None: all, the most important first.
    fold : int, optional
        Train only this fold of the chosen rows.
    folds, patients : int, optional
        Replace the preset's values.
    changes : dict, optional
        Training settings for every row, in addition to the preset's.
    seed : int
        Seed of the simulation, the folds, the initial weights and the order of the scans.
    device : str
    processes : int
        Number of processes for simulating and preparing scans.
    page_only : bool
        Only write the page, without any training.
    command : str
        Command line, for the model cards.

    Returns
    -------
    Path
        Path of the page.

    Raises
    ------
    InputError
        If a name or setting is unknown, too few patients died for the folds, or the folder belongs to another
        reproduction. If a row cannot be trained, the error is raised after all other work is done.
    """
    preset, names = preset_of(preset_name), chosen(only)
    folds = folds or preset.folds
    if folds < 2:
        raise InputError(f"There are too few folds: expected at least 2, found {folds}.")
    if fold is not None and not 0 <= fold < folds:
        raise InputError(f"The fold is out of range: expected 0 to {folds - 1}, found {fold}.")
    for name in sorted(NOT_SET.keys() & (changes or {}).keys()):
        raise InputError(f"The setting {name} is not set for all rows: expected {NOT_SET[name]}, found --set {name}.")
    if manifest is not None and patients is not None:
        raise InputError("Patients are either simulated or read: expected --patients or --manifest, found both.")
    preset = preset if patients is None else replace(preset, patients=patients)
    changes = preset.changes | (changes or {})
    known, store = all_rows(), Store(output)
    configs = {name: row_config(row, changes, 0, folds, seed, preset.width_share) for name, row in known.items()}
    table = the_manifest(store.folder, preset, seed, manifest, processes, progress)
    check_deaths(table.rows, folds)
    # A column `fold` that cannot be followed is refused before any training.
    draw_split(table.rows, 0.0, seed, 0, folds)
    settings = {
        "preset": preset_name, "seed": seed, "folds": folds, "changes": changes,
        "patients": preset.patients if manifest is None else None,
        "manifest": None if manifest is None else str(manifest),
        "manifest_sha256": table.sha256,
    }  # fmt: skip
    store.claim({name: value for name, value in settings.items() if name != "manifest"})
    device = choose_device(device)
    failures, held_out = [], held_out_patients(table.rows, folds, seed)
    for name in [] if page_only else names:
        if name == INTERPRETATION:
            own = row_settings(settings, configs[OURS])
            _interpret(store, table, preset, folds, seed, own, device, progress)
            continue
        for n in range(folds) if fold is None else [fold]:
            if store.read(name, n, row_settings(settings, configs[name]), held_out[n]) is not None:
                remove_run(store, name, n)  # which a kill may have left behind the finished fold
                continue
            progress.line(f"Row {name}, fold {n + 1} of {folds} …")
            config = replace(configs[name], fold=n)
            kept = row_settings(settings, config)
            try:
                train_fold(store, known[name], n, table, config, kept, device, processes, progress, command)
            except (
                InputError,
                TrainingError,
            ) as error:  # concerns only this row, such as a network too large for the memory
                progress.line(f"Row {name}: {error}")
                failures.append(f"{name} ({error})")
                break
    progress.line("Writing the page …")
    page = write_page(store, table, preset, settings, configs, processes)
    if failures:
        raise InputError(f"Rows were not trained: {'; '.join(failures)} The others are on the page: {page}.")
    return page


def _interpret(store, table, preset, folds, seed, settings, device, progress):
    """Compare the methods on the patients that were held out in the first fold."""
    if store.has_interpretation():
        return
    bundle = store.folder / MODELS / OURS
    if not bundle.is_dir():
        progress.line(f"Row {INTERPRETATION}: waits for fold 1 of the row {OURS}, whose model is not in {bundle}.")
        return
    held_out = fold_of(table.rows, folds, seed)
    rows = [row for row in table.rows if held_out.get(row.patient_id) == 0]
    try:
        measured, example = compare_methods(Analyzer(bundle, device), rows, None, preset.explained, progress)
    except InputError as error:
        progress.line(f"Row {INTERPRETATION}: {error}")
        return
    store.write_interpretation(measured, settings, lambda path: draw_example(path, example, measured))


def draw_example(path: str | os.PathLike, example: dict, measured: dict) -> None:
    """Draw Figure 5 for all methods that were compared.

    Parameters
    ----------
    path : Path
    example, measured : dict
        Return values of `compare_methods`.
    """
    maps = {measured["methods"][method]["label"]: shown for method, shown in example["maps"].items()}
    five_slices(Path(path), example["image"], maps, example["mask"])
