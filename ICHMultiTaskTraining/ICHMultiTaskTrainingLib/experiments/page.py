"""Results page of a reproduction; it lists the rows that are still missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from ICHMultiTaskLib.common.numbers import counted, number, percent
from ICHMultiTaskLib.common.writing import write_json, write_text
from ICHMultiTaskLib.report.pages import render

from ..data.manifest import Manifest, Row
from ..evaluation.metrics import auc
from ..training.config import PRESETS as TRAINING
from ..training.config import UNWRITTEN, TrainingConfig
from ..training.validation import is_silent
from .cohort import formula_volumes, held_out_patients, is_simulated, median_of_others, rater_volumes
from .figures import covering_curves, error_curves, roc_curves, volume_histograms
from .interpretation import LEVELS
from .presets import Preset
from .rows import INTERPRETATION, OURS, SINGLE_PROGNOSIS, all_rows
from .store import Store
from .tables import PAPER, PROGNOSIS, by_patient, prognosis_table, volume_table

TEMPLATES = Path(__file__).parent / "templates"
PAGE, NUMBERS = "report.html", "results.json"
MEDIAN = "The median of the other folds for everyone"
"""Row of Table 1 that a network must be better than to have learned anything."""
HEADINGS = {
    "accuracy": ("Accuracy at a threshold of 50 % (%)", 1, 100),
    "auc": ("AUC", 3, 1),
    "sensitivity": ("Sensitivity (%)", 1, 100),
    "specificity": ("Specificity (%)", 1, 100),
    "auprc": ("AUPRC", 3, 1),
    "brier": ("Brier score", 3, 1),
}
"""Columns of Table 2: heading, decimals, factor."""


def write_page(
    store: Store,
    manifest: Manifest,
    preset: Preset,
    settings: dict,
    configs: dict[str, TrainingConfig],
    processes: int = 1,
) -> Path:
    """Write `report.html` and `results.json` into the folder of a reproduction.

    Parameters
    ----------
    store : Store
    manifest : Manifest
    preset : Preset
    settings : dict
        Settings as passed to `Store.claim`.
    configs : dict of str to TrainingConfig
        Settings of the first fold of each row with a training.
    processes : int
        Number of processes for measuring the bedside formulas.

    Returns
    -------
    Path
        Path of the page.
    """
    rows = [row for row in manifest.rows if row.split != "test"]
    known, done, missing = all_rows(), {}, []
    held_out = held_out_patients(rows, settings["folds"], settings["seed"])
    for name in known:
        own = row_settings(settings, configs[name])
        folds = [store.read(name, n, own, held_out[n]) for n in range(settings["folds"])]
        there = [fold for fold in folds if fold is not None]
        if there:
            done[name] = there
        if len(there) < len(folds):
            found = f"{len(there)} of {len(folds)} folds" if there else "not run"
            missing.append(f"{known[name].label} ({name}): {found}")
    interpreted = store.read_interpretation(row_settings(settings, configs[OURS]))
    if interpreted is None:
        missing.append(f"Interpretation methods ({INTERPRETATION}): not run")
    volumes = {n: by_patient(rows, folds, "predicted_volume_ml") for n, folds in done.items()}
    odds = {n: by_patient(rows, folds, "log_odds") for n, folds in done.items()}
    networks = [(known[n].label, volumes[n]) for n in done if np.isfinite(volumes[n]).any()]
    formulas = formula_volumes(rows, store.folder, processes)
    if not formulas:
        missing.append("Bedside formulas: the table of scans has no masks to measure them on")
    raters = rater_volumes(rows)
    if not raters:
        missing.append("Raters: the table of scans has no columns rater_1 … rater_8")
    others = median_of_others(rows, settings["folds"], settings["seed"])
    table1 = volume_table(rows, networks, {MEDIAN: others} | formulas, raters, settings["seed"])
    table2 = prognosis_table(rows, {n: o for n, o in odds.items() if np.isfinite(o).any()}, settings["seed"])
    costs = {known[n].label: _cost(folds) for n, folds in done.items() if "cost" in folds[0].facts}  # of the first fold
    silent = [
        f"{known[n].label}: {count} of {counted(len(folds), 'fold')}"
        for n, folds in done.items()
        if (count := sum(map(_is_silent, folds)))
    ]
    results = {
        "data": data_sentence(rows, settings), "simulated": is_simulated(rows), "settings": settings,
        "missing": missing,
        "table_1": table1 and {"rows": table1.rows, "against": table1.against, "tests": table1.tests},
        "table_2": table2, "silent_prognosis": silent,
        "cost": costs, "interpretation": interpreted and interpreted["measured"], "paper": PAPER,
    }  # fmt: skip
    write_json(store.folder / NUMBERS, results)
    page = render(
        "reproduction.html",
        TEMPLATES,
        title="the paper's experiments",
        results=results,
        preset=preset,
        labels={name: row.label for name, row in known.items()},
        departures=departures(configs[OURS]),
        prognosis=[(name, *HEADINGS[name]) for name in PROGNOSIS],
        figures=_figures(rows, done, odds, known),
        maps=[(known[n].label, folds[0].maps.read_bytes()) for n, folds in done.items() if folds[0].maps],
        interpreted=interpreted and interpreted | {"curves": covering_curves(interpreted["measured"], LEVELS)},
        machines=_machines(done, known),
        settings={name: str(value) for name, value in settings.items() if value is not None},
    )
    write_text(store.folder / PAGE, page)
    return store.folder / PAGE


def row_settings(settings: dict, config: TrainingConfig) -> dict:
    """Settings that a finished row must share with this reproduction: manifest, and training apart from the fold."""
    return {
        "manifest_sha256": settings["manifest_sha256"],
        **{name: value for name, value in config.as_dict().items() if name != "fold"},
    }


def data_sentence(rows: Sequence[Row], settings: dict) -> str:
    """Sentence that describes the data behind all numbers."""
    patients = {row.patient_id: row for row in rows}
    died, simulated = sum(row.died for row in patients.values()), is_simulated(rows)
    volumes = [row.volume_ml for row in rows]
    kind = "simulated patients" if simulated else "patients"
    source = (
        f"simulated with seed {settings['seed']}" if settings["manifest"] is None else Path(settings["manifest"]).name
    )
    return (
        f"{len(patients)} {kind} ({counted(len(rows), 'scan')}; {source}), of whom {died} died "
        f"({percent(died / len(patients))}); volumes {number(min(volumes))} to {number(max(volumes))} mL, median "
        f"{number(float(np.median(volumes)))} mL. The paper's: 258 patients, of whom 31 died (12 %)."
    )


def departures(config: TrainingConfig) -> list[str]:
    """Settings that differ from those stated in the paper, as phrases."""
    stated, found = (_flat(settings.as_dict()) for settings in (TRAINING["paper"], config))
    own = ("preset", "fold", "folds", "seed", "tasks")
    pairs = {name: (value, stated.get(name, UNWRITTEN.get(name.rpartition(".")[2]))) for name, value in found.items()}
    return [
        f"{name}: {value} in place of {paper}"
        for name, (value, paper) in pairs.items()
        if name not in own and value != paper
    ]


def _flat(settings):
    """Flatten nested settings to dotted names such as ``architecture.width``."""
    flat = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _is_silent(fold):
    odds = [record["log_odds"] for record in fold.records]
    return None not in odds and is_silent(np.array(odds))


def _cost(folds):
    taken = [sum(entry.get("seconds", 0.0) for entry in fold.history) for fold in folds]
    return folds[0].facts["cost"] | {"training_seconds": taken, "device": folds[0].facts["device"]}


def _machines(done, known):
    lines = []
    for name, folds in done.items():
        places = sorted({f"{fold.facts['device']}, {fold.facts['provenance']['system']}" for fold in folds})
        lines.append(f"{known[name].label}: {'; '.join(places)}")
    return lines


def _figures(rows, done, odds, known):
    """Caption and PNG of Figures 2 to 4, as far as there is data."""
    figures = [
        ("Figure 2. Hematoma volumes of the cohort in mL, and their cube roots.", volume_histograms(
            np.array([row.volume_ml for row in rows])
        )),
    ]  # fmt: skip
    if OURS in done:
        caption = (
            "Figure 3. Errors of our network by epoch, in training and on the patients held out: mean of the folds."
        )
        figures.append((caption, error_curves([fold.history for fold in done[OURS]])))
    died = np.array([row.died for row in rows])
    curves = []
    for name in (OURS, SINGLE_PROGNOSIS):
        known_odds = np.isfinite(odds[name]) if name in odds else np.zeros(len(rows), bool)
        if known_odds.any() and np.isfinite(auc(odds[name][known_odds], died[known_odds])):
            curves.append((known[name].label, expit(odds[name][known_odds]), died[known_odds]))
    if curves:
        figures.append(("Figure 4. ROC curves of the prognosis.", roc_curves(curves)))
    return figures
