"""Write a cohort of simulated patients with its manifest: resumable, with constant memory use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..common.errors import InputError, OutputError
from ..common.processes import in_processes
from ..common.progress import NO_PROGRESS, Progress
from ..common.tables import write_csv
from ..common.writing import check_folder, new_folder, os_error_sentence, remove_partial, write_json, write_text
from .deaths import draw_deaths
from .follow_up import growth_probability, simulate_follow_up
from .insertion import insert_hematoma
from .patient import SimulationSettings, simulate_patient
from .raters import EXPERIENCE_YEARS
from .scans import load_anatomy
from .writers import write_dicom, write_nifti

RATERS = tuple(f"rater_{number}" for number in range(1, 1 + len(EXPERIENCE_YEARS)))
COLUMNS = (
    "patient_id", "image", "mask", "volume_ml", "died", "location", "side", "ivh", "ivh_ml", "midline_shift_mm",
    "edema_ml", "hydrocephalus", "atrophy", "age", "sex", "gcs", "nihss", "anticoagulation", "onset_hours", "ich_score",
    "death_probability", "death_probability_image", *RATERS, "seed", "simulated", "anatomy",
)  # fmt: skip
FOLLOW_UP_COLUMNS = ("scan_number", "hours_since_first", "growth_probability")
"""Additional columns of a cohort with second scans."""
FORMATS = ("nifti", "dicom")
FOLDERS = ("images", "masks", "rows")


def write_cohort(
    patients: int,
    seed: int,
    output: str | os.PathLike,
    format: str = "nifti",
    settings: SimulationSettings | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    scans: Sequence[Path] = (),
    follow_up: bool = False,
    deaths: int | None = None,
) -> Path:
    """Write simulated patients, `manifest.csv` and `summary.json`; an interrupted cohort is continued.

    Parameters
    ----------
    patients : int
    seed : int
        The same seed gives identical files; a larger cohort with the same seed starts with the smaller one.
    output : path
        Folder; must be empty, or contain an unfinished or smaller cohort with the same seed, format and settings.
    format : {"nifti", "dicom"}
    settings : SimulationSettings, optional
    processes : int
    progress : callable(float, str), optional
    scans : sequence of Path
        Head CTs; each patient's hematoma is inserted into a randomly drawn one. Without, heads are simulated.
    follow_up : bool
        Scan every patient twice, see `follow_up`: the manifest has two rows each, `scan_number` 1 and 2, with
        `volume_ml`, `gcs` and `onset_hours` of their own and one outcome.
    deaths : int, optional
        Number of patients who die, see `draw_deaths`; a larger cohort then starts with the same scans, but others die.
        None: each patient dies independently of the others.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    InputError
        If a number or the format is not possible, or the folder holds a cohort of other settings.
    OutputError
        If the folder holds something else or cannot be written.
    """
    progress = progress or NO_PROGRESS
    if format not in FORMATS:
        raise InputError(f"Unknown format of a cohort: expected one of {', '.join(FORMATS)}, found '{format}'.")
    if patients < 1:
        raise InputError(f"A cohort needs patients: expected at least 1, found {patients}.")
    if follow_up and scans:
        raise InputError("Only simulated heads are scanned twice: expected no scans to insert hematomas into.")
    settings = settings or SimulationSettings()
    output = Path(output)
    if deaths is not None and not 0 <= deaths <= patients:
        raise InputError(f"Deaths are of these patients: expected 0 to {patients}, found {deaths}.")
    further = ({"anatomy": [path.name for path in scans]} if scans else {}) | ({"follow_up": True} if follow_up else {})
    further |= {} if deaths is None else {"deaths": int(deaths)}
    lock_settings(output, {"seed": int(seed), "format": format, **asdict(settings), **further})
    jobs = [
        (output, f"sim{seed}-{n:05d}", own_seed, format, settings, follow_up, _draw_scan(scans, own_seed))
        for n, own_seed in ((n, patient_seed(seed, n)) for n in range(patients))
    ]
    done = {n: row for n, job in enumerate(jobs) if (row := _finished_rows(job)) is not None}
    # Patients with the same scan are written one after the other, since preparing the scan takes longest.
    todo = sorted((n for n in range(patients) if n not in done), key=lambda n: (str(jobs[n][-1]), n))

    def report():
        progress(len(done) / patients, f"{len(done)} of {patients} patients simulated")

    report()
    for number, rows in in_processes(_write_patient, [jobs[n] for n in todo], processes):
        done[todo[number]] = rows
        report()
    # The outcome was drawn from the findings of the last scan.
    last = [done[n][-1] for n in range(patients)]
    if deaths is not None:
        chances = [float(row["death_probability"]) for row in last]
        died = draw_deaths(chances, deaths, np.random.default_rng([int(seed), patients, deaths]))
        for n in range(patients):
            done[n] = [row | {"died": int(died[n])} for row in done[n]]
        last = [done[n][-1] for n in range(patients)]
    write_json(output / "summary.json", summarize(last))
    rows = [row for n in range(patients) for row in done[n]]
    write_csv(output / "manifest.csv", rows, COLUMNS + (FOLLOW_UP_COLUMNS if follow_up else ()))
    return output / "manifest.csv"


def summarize(rows: Sequence[Mapping]) -> dict[str, float | int | None]:
    """Size, mortality and best reachable AUC of a cohort.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the manifest, with `died` and both probabilities of death.

    Returns
    -------
    dict
        `patients`, `bleeds`, `died`, `mortality` (of bleeds), and the best reachable AUC among bleeds: from the image
        alone (`auc_best_image`), and with age and GCS (`auc_best_clinical`). It is the expectation over draws of the
        outcome, not the value of one draw; None without two bleeds.
    """
    bleeds = [row for row in rows if float(row["volume_ml"]) > 0]
    died = [int(row["died"]) for row in bleeds]
    columns = {"auc_best_image": "death_probability_image", "auc_best_clinical": "death_probability"}
    best = {name: expected_auc([float(row[column]) for row in bleeds]) for name, column in columns.items()}
    mortality = round(sum(died) / len(died), 4) if died else None
    return {"patients": len(rows), "bleeds": len(bleeds), "died": sum(died), "mortality": mortality, **best}


def expected_auc(probability: Sequence[float]) -> float | None:
    """Mean AUC of the true probabilities of death over draws of the outcome; None if undefined."""
    p = np.sort(np.asarray(probability, float))
    higher, lower = p[:, None], p[None, :]
    weight = higher * (1.0 - lower)
    np.fill_diagonal(weight, 0.0)
    if not weight.sum() > 0.0:
        return None
    return round(float((weight * ((higher > lower) + 0.5 * (higher == lower))).sum() / weight.sum()), 4)


def patient_seed(seed: int, number: int) -> int:
    """Seed of one patient of a cohort, independent of the cohort's size."""
    return int(np.random.SeedSequence([int(seed), int(number)]).generate_state(1, np.uint32)[0])


def _draw_scan(scans, seed):
    """Draw one of the scans with the patient's seed; None if there are none."""
    return scans[int(np.random.default_rng([seed, 1]).integers(len(scans)))] if scans else None


def lock_settings(output: Path, what: Mapping) -> None:
    """Refuse a folder with anything other than this cohort; otherwise store the cohort's settings in it."""
    note = output / "simulation.json"
    text = json.dumps(what, indent=1, sort_keys=True)
    try:
        if note.is_file():
            if note.read_text(encoding="utf-8") != text:
                raise InputError(
                    "The folder holds another simulated cohort: expected the same seed, format and settings, or an "
                    f"empty folder, found {output}."
                )
        else:
            check_folder(output, "cohort")
            output.mkdir(parents=True, exist_ok=True)
            write_text(note, text)
        for folder in FOLDERS:
            (output / folder).mkdir(exist_ok=True)
            remove_partial(output / folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(os_error_sentence(error, output)) from error


def _finished_rows(job):
    """Manifest rows (one per scan) of a patient who was written completely, or None."""
    output, patient_id, *_ = job
    try:
        rows = json.loads((output / "rows" / f"{patient_id}.json").read_text(encoding="utf-8"))
        rows = rows if isinstance(rows, list) else [rows]  # versions without second scans wrote a single row
        there = all((output / row[name]).exists() for row in rows for name in ("image", "mask"))
    except (OSError, ValueError):
        return None
    return rows if there else None


def _write_patient(job):
    """Simulate and write one patient; the rows are written last, so that they mark a complete patient."""
    output, patient_id, seed, format, settings, follow_up, scan = job
    if scan is None:
        patient = simulate_patient(seed, settings, patient_id)
    else:
        patient = insert_hematoma(load_anatomy(scan), seed, settings, patient_id)
    description = "Simulated, no patient " if scan is None else "Simulated hematoma"
    if follow_up:
        first, second = simulate_follow_up(patient, settings)
        chance = f"{growth_probability(first):.4f}"
        rows = [
            _write_scan(output, patient_id, first, format, description) | {
                "scan_number": 1, "hours_since_first": 0.0, "growth_probability": chance,
            },
            _write_scan(output, f"{patient_id}-2", second, format, description) | {
                "scan_number": 2, "hours_since_first": second.facts["hours_since_first"], "growth_probability": chance,
            },
        ]  # fmt: skip
    else:
        rows = [_write_scan(output, patient_id, patient, format, description)]
    rows = [row | {"patient_id": patient_id, "seed": seed, "anatomy": scan.name if scan else ""} for row in rows]
    write_json(output / "rows" / f"{patient_id}.json", rows if follow_up else rows[0])
    return rows


def _write_scan(output, name, patient, format, description):
    """Write image and mask of one scan; return its row."""
    mask = Path("masks") / f"{name}.nii.gz"
    write_nifti(patient.mask.astype(np.uint8), patient.head_ct.ijk_to_ras, output / mask, description)
    if format == "dicom":
        image = Path("images") / name
        shutil.rmtree(output / image, ignore_errors=True)  # left by an interrupted run
        with new_folder(output / image, "series", written=lambda path: None) as folder:
            write_dicom(patient.head_ct, folder, patient.source_slices)
    else:
        image = Path("images") / f"{name}.nii.gz"
        write_nifti(patient.head_ct.hu, patient.head_ct.ijk_to_ras, output / image, description)
    return {
        "patient_id": patient.patient_id,
        "image": image.as_posix(),
        "mask": mask.as_posix(),
        "volume_ml": f"{patient.volume_ml:.4f}",
        "died": patient.died,
        "location": patient.location,
        "side": patient.side,
        "ivh": patient.ivh,
        "ivh_ml": f"{patient.ivh_ml:.3f}",
        "midline_shift_mm": f"{patient.midline_shift_mm:.2f}",
        "edema_ml": f"{patient.edema_ml:.2f}",
        "hydrocephalus": patient.hydrocephalus,
        "atrophy": "" if patient.atrophy is None else f"{patient.atrophy:.3f}",
        "age": patient.age,
        "sex": patient.sex,
        "gcs": patient.gcs,
        "nihss": patient.nihss,
        "anticoagulation": patient.anticoagulation,
        "onset_hours": patient.onset_hours,
        "ich_score": patient.ich_score,
        "death_probability": f"{patient.death_probability:.4f}",
        "death_probability_image": _probability_text(patient.death_probability_image),
        **dict(zip(RATERS, patient.rater_ml, strict=True)),
        "simulated": 1,
    }


def _probability_text(probability):
    return "" if np.isnan(probability) else f"{probability:.4f}"
