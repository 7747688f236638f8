"""What accuracy on held-out scans does not show: a head scanned differently, a head without its blood, real heads."""

import csv
import itertools
import json

import numpy as np

from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.writing import new_folder
from ICHMultiTaskLib.comparison.statistics import plain, volume_metrics
from ICHMultiTaskLib.simulation import find_scans

from .evaluation import locate_attention
from .robustness_scans import (
    AS_IT_IS,
    ERASED,
    INSERTED,
    OFFSETS,
    PARTS,
    anatomy_scans,
    manifest_scans,
    rows_with_mask,
    simulated_scans,
)
from .variations import REFERENCE, VARIATIONS, words

SEED = 303
COLUMNS = (
    "part", "case", "patient_id", "location", "scan", "volume_ml", "predicted_volume_ml", "peak_inside", "problem"
)  # fmt: skip


def robustness(
    output, bundle=None, device="auto", patients=20, seed=SEED, manifest=None, anatomy=None, insertions=8, matrix=256,
    progress=None,
):  # fmt: skip
    """Measure how steady a model is, and that it is the blood that it measures.

    Parameters
    ----------
    output : path
        New or empty folder, or that of an earlier run. It appears whole or not at all, with `robustness.json`,
        `readings.csv` (a row a reading; a scan that could not be read says why in `problem`) and figures as PNG.
    bundle : ModelBundle, path or None
        None: the shipped bundle.
    device : str
    patients : int
        Simulated patients with a bleed of at least 5 mL, each scanned in the reference manner and in all `VARIATIONS`,
        and read with the hematoma erased.
    seed : int
        Must not be that of a cohort for training.
    manifest : path, optional
        Also erase the hematomas of these scans: those with a mask, from 5 mL.
    anatomy : path, optional
        Folder of head CTs without a hemorrhage: files, or folders of DICOM files.
    insertions : int
        Hematomas of 5 to 80 mL inserted into each of these.
    matrix : int
        Rows and columns of the simulated reference scan.
    progress : callable (fraction, message), optional
        May raise Canceled.

    Returns
    -------
    dict
        The content of `robustness.json`: `scanner` (see `scanner_metrics`), `erased` and `erased_of_manifest` (see
        `erasure_metrics`; None without a manifest), `real_anatomy` (see `anatomy_metrics`; None without a folder),
        `data`, `skipped`, `model` and `figures`.

    Raises
    ------
    InputError
        If the manifest has no usable mask, the folder no scan, or no scan can be analyzed.
    OutputError
        If the folder is taken or cannot be written.
    """
    from ICHMultiTaskLib.analysis.analyzer import Analyzer

    from .robustness_figures import write_figures

    rows = () if manifest is None else rows_with_mask(manifest)
    heads = () if anatomy is None else find_scans(anatomy)
    steps = patients * (len(VARIATIONS) + 2) + 2 * len(rows) + len(heads) * (len(OFFSETS) + insertions)
    inputs = [path for path in (manifest, anatomy) if path is not None]
    with new_folder(output, "robustness", overwrite=True, inputs=inputs) as folder:
        if progress is not None:
            progress(0.0, "Loading the model")
        analyzer = Analyzer(bundle, device)
        scans = itertools.chain(
            simulated_scans(patients, seed, matrix), manifest_scans(rows), anatomy_scans(heads, insertions, seed)
        )
        readings = []
        for n, (record, load) in enumerate(scans):
            if progress is not None:
                progress(n / steps, f"{record['patient_id']}, {words(record['scan'])}")
            readings.append(_read(record, load, analyzer))
        results = {
            "data": f"{patients} simulated patients of seed {seed}",
            **summarize(readings),
            "model": {name: getattr(analyzer.bundle, name) for name in ("name", "version", "sha256", "training_data")},
        }
        results["figures"] = write_figures(readings, results, folder)
        _write_table(readings, folder / "readings.csv")
        text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "robustness.json").write_text(text + "\n", encoding="utf-8")
        if progress is not None:
            progress(1.0, "Done")
    return results


def summarize(readings):
    """Metrics of readings.

    Parameters
    ----------
    readings : list of dict
        Rows of `readings.csv`; those with a `problem` are only listed.

    Returns
    -------
    dict
        `scanner`, `erased`, `erased_of_manifest`, `real_anatomy`, `skipped`.
    """
    done = [reading for reading in readings if not reading["problem"]]
    if not done:
        raise InputError(f"No scan could be analyzed: {readings[0]['problem']}")
    simulated, of_manifest, anatomy = ([r for r in done if r["part"] == part] for part in PARTS)
    return {
        "scanner": scanner_metrics(simulated),
        "erased": erasure_metrics(simulated),
        "erased_of_manifest": erasure_metrics(of_manifest) if of_manifest else None,
        "real_anatomy": anatomy_metrics(anatomy) if anatomy else None,
        "skipped": [
            {"patient_id": r["patient_id"], "scan": r["scan"], "reason": r["problem"]} for r in readings if r["problem"]
        ],
    }


def scanner_metrics(readings):
    """How much the reading of a head changes with the way it is scanned.

    Returns
    -------
    dict
        `patients`; `reference_mae_ml`: of the reference scans against the true volume; `variations`: for each of
        `VARIATIONS` and for `all` of them `scans`; `change_median_percent`: signed, of the reference reading;
        `absolute_change_median_percent`, `absolute_change_p90_percent`; `below_10_percent_fraction`; `mae_ml`.
        A patient whose reference scan reads 0 has an error but no change.
    """
    reference = {r["case"]: r["predicted_volume_ml"] for r in readings if r["scan"] == REFERENCE}
    varied = [r for r in readings if r["scan"] in VARIATIONS]
    return {
        "patients": len(reference),
        "reference_mae_ml": _mean_error([r for r in readings if r["scan"] == REFERENCE]),
        "variations": {"all": _change(varied, reference)}
        | {name: _change([r for r in varied if r["scan"] == name], reference) for name in VARIATIONS},
    }


def changes_percent(readings, reference):
    """Signed changes in percent against the reference reading of the same case, where that is above 0."""
    return np.array(
        [
            100.0 * (r["predicted_volume_ml"] / reference[r["case"]] - 1.0)
            for r in readings
            if reference.get(r["case"], 0.0) > 0.0
        ]
    )


def _change(readings, reference):
    change = changes_percent(readings, reference)
    size = np.abs(change)
    known = len(change) > 0
    return {
        "scans": len(change),
        "change_median_percent": float(np.median(change)) if known else None,
        "absolute_change_median_percent": float(np.median(size)) if known else None,
        "absolute_change_p90_percent": float(np.percentile(size, 90)) if known else None,
        "below_10_percent_fraction": float((size < 10.0).mean()) if known else None,
        "mae_ml": _mean_error(readings),
    }


def _mean_error(readings):
    errors = [abs(r["predicted_volume_ml"] - r["volume_ml"]) for r in readings]
    return float(np.mean(errors)) if errors else None


def erasure_metrics(readings):
    """How much of the true volume a reading loses when the hematoma is erased.

    Returns
    -------
    dict
        `patients`; `fall_of_truth_median`, `fall_of_truth_quartiles` [25 %, 75 %]: (reading − reading without the
        hematoma) ÷ true volume; `at_least_70_percent_fraction`; `reading_left_median_ml`.
    """
    falls, left = erased_falls(readings)
    known = len(falls) > 0
    return {
        "patients": len(falls),
        "fall_of_truth_median": float(np.median(falls)) if known else None,
        "fall_of_truth_quartiles": [float(q) for q in np.percentile(falls, [25, 75])] if known else None,
        "at_least_70_percent_fraction": float((falls >= 0.7).mean()) if known else None,
        "reading_left_median_ml": float(np.median(left)) if known else None,
    }


def erased_falls(readings):
    """Fall of each reading by the erased hematoma as a share of the true volume, and the reading left in mL."""
    before = {r["case"]: r["predicted_volume_ml"] for r in readings if r["scan"] in (REFERENCE, AS_IT_IS)}
    pairs = [
        ((before[r["case"]] - r["predicted_volume_ml"]) / r["volume_ml"], r["predicted_volume_ml"])
        for r in readings
        if r["scan"] == ERASED and r["case"] in before
    ]
    return np.array(pairs).reshape(-1, 2).T


def anatomy_metrics(readings):
    """How a model reads real heads, without a hemorrhage and with inserted ones.

    Returns
    -------
    dict
        `heads`; `without_hemorrhage`: for the heads as they are and with their HU shifted `median_ml`, `highest_ml`,
        `below_2_ml_fraction`; `inserted`: some of `volume_metrics`; `peak_inside_fraction`: of the inserted hematomas
        that hold the hottest point of the attention.
    """
    inserted = [r for r in readings if r["scan"] == INSERTED]
    read, true = (np.array([r[name] for r in inserted]) for name in ("predicted_volume_ml", "volume_ml"))
    metrics = volume_metrics(read, true)[0] if inserted else {"patients": 0}
    names = ("patients", "mae_ml", "bias_ml", "r", "mape_percent_from_5_ml", "within_5_ml", "within_20_percent")
    return {
        "heads": len({r["case"] for r in readings}),
        "without_hemorrhage": {
            name: _without([r["predicted_volume_ml"] for r in readings if r["scan"] == name]) for name in OFFSETS
        },
        "inserted": {name: metrics.get(name) for name in names},
        "peak_inside_fraction": plain(np.mean([r["peak_inside"] for r in inserted])) if inserted else None,
    }


def _without(volumes):
    return {
        "median_ml": float(np.median(volumes)) if volumes else None,
        "highest_ml": max(volumes, default=None),
        "below_2_ml_fraction": float(np.mean(np.array(volumes) < 2.0)) if volumes else None,
    }


def _read(record, load, analyzer):
    """The row of `readings.csv` for one scan."""
    record = dict.fromkeys(COLUMNS) | {"problem": ""} | record
    if load is None:
        return record
    try:
        scan, mask = load(record)
        analysis = analyzer.analyze(scan, attention=mask is not None)
    except (Canceled, BundleError, DependencyError):
        raise
    except ICHMultiTaskError as error:
        return record | {"problem": str(error)}
    record["predicted_volume_ml"] = analysis.volume_ml
    if mask is not None:
        record["peak_inside"] = locate_attention(analysis.attention, mask, scan.ijk_to_ras)["peak_inside"]
    return record


def summary(results):
    """The results in a few lines of plain text."""
    scanner, erased, real = results["scanner"], results["erased"], results["real_anatomy"]
    width = max(map(len, VARIATIONS)) + 2
    lines = [
        f"The same head scanned differently: {scanner['patients']} patients, change of the volume in %",
        f"{'':{width}}{'median':>8}{'|median|':>10}{'|90th|':>8}{'below 10 %':>12}",
    ]
    for name, metrics in scanner["variations"].items():
        values = (
            _shown(metrics["change_median_percent"], "+.1f"),
            _shown(metrics["absolute_change_median_percent"], ".1f"),
            _shown(metrics["absolute_change_p90_percent"], ".1f"),
            _shown(metrics["below_10_percent_fraction"], ".0%"),
        )
        lines.append(f"{words(name):{width}}{values[0]:>8}{values[1]:>10}{values[2]:>8}{values[3]:>12}")
    for kind, metrics in (("simulated", erased), ("manifest's", results["erased_of_manifest"])):
        if metrics is not None:
            lines.append(
                f"Hematoma erased in {metrics['patients']} {kind} scans: the volume falls by "
                f"{_shown(metrics['fall_of_truth_median'], '.0%')} of the truth (median)."
            )
    if real is not None:
        inserted = real["inserted"]
        for name, metrics in real["without_hemorrhage"].items():
            lines.append(
                f"{real['heads']} real heads without a hemorrhage, {words(name)}: median "
                f"{_shown(metrics['median_ml'], '.1f')} mL, highest {_shown(metrics['highest_ml'], '.1f')} mL."
            )
        lines.append(
            f"{_shown(inserted['patients'], 'd')} inserted hematomas: MAE {_shown(inserted['mae_ml'], '.1f')} mL, bias "
            f"{_shown(inserted['bias_ml'], '+.1f')} mL, r {_shown(inserted['r'], '.3f')}, attention peak inside "
            f"{_shown(real['peak_inside_fraction'], '.0%')}."
        )
    lines += [f"Not read: {one['patient_id']}, {one['scan']}: {one['reason']}" for one in results["skipped"]]
    return "\n".join(lines)


def _shown(value, form):
    return "–" if value is None else format(value, form)


def _write_table(readings, path):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(readings)  # None is written as an empty field
