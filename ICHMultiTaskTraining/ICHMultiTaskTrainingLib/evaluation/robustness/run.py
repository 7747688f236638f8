"""What accuracy on held-out scans does not show: a head scanned differently, a head without its blood, real heads."""

import itertools

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import BundleError, Canceled, DependencyError, ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.tables import write_csv
from ICHMultiTaskLib.common.writing import new_folder, write_json
from ICHMultiTaskLib.simulation import find_scans

from ..evaluation import locate_attention
from .figures import write_figures
from .metrics import summarize
from .scans import OFFSETS, anatomy_scans, manifest_scans, read_masks, rows_with_mask, simulated_scans
from .variations import VARIATIONS, words

SEED = 303
COLUMNS = (
    "part", "case", "patient_id", "location", "scan", "volume_ml", "predicted_volume_ml", "peak_inside", "in_interval",
    "problem",
)  # fmt: skip


def robustness(
    output, bundle=None, device="auto", patients=20, seed=SEED, manifest=None, anatomy=None, insertions=8, matrix=256,
    progress=None, masks=None,
):  # fmt: skip
    """Measure how steady a model is, and that it is the blood that it measures.

    Parameters
    ----------
    output : path
        New or empty folder, or that of an earlier run. It appears whole or not at all, with `robustness.json`,
        `readings.csv` (one row per reading; a scan that could not be read says why in `problem`) and figures as PNG.
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
    masks : path, optional
        Folder of segmentations of real hematomas, drawn on other heads: as many of them are inserted into each head of
        `anatomy`. They are for measuring alone.

    Returns
    -------
    dict
        The content of `robustness.json`: `scanner` (see `scanner_metrics`), `erased` and `erased_of_manifest` (see
        `erasure_metrics`; None without a manifest), `real_anatomy` (see `anatomy_metrics`; None without a folder),
        `data`, `skipped`, `model`, `provenance` and `figures`.

    Raises
    ------
    InputError
        If the manifest has no usable mask, the folder no scan, or no scan can be analyzed.
    OutputError
        If the folder is taken or cannot be written.
    """
    progress = progress or NO_PROGRESS
    rows = () if manifest is None else rows_with_mask(manifest)
    heads = () if anatomy is None else find_scans(anatomy)
    if masks is not None and not heads:
        raise InputError("Masks need heads to be inserted into: expected a folder of head CTs as anatomy, found none.")
    shapes = () if masks is None else read_masks(masks)
    steps = (
        patients * (len(VARIATIONS) + 2)
        + 2 * len(rows)
        + len(heads) * (len(OFFSETS) + insertions * (2 if shapes else 1))
    )
    inputs = [path for path in (manifest, anatomy, masks) if path is not None]
    with new_folder(output, "robustness", overwrite=True, inputs=inputs) as folder:
        progress(0.0, "Loading the model")
        analyzer = Analyzer(bundle, device)
        scans = itertools.chain(
            simulated_scans(patients, seed, matrix),
            manifest_scans(rows),
            anatomy_scans(heads, insertions, seed, shapes),
        )
        readings = []
        for n, (record, load) in enumerate(scans):
            progress(n / steps, f"{record['patient_id']}, {words(record['scan'])}")
            readings.append(_read(record, load, analyzer))
        results = {
            "data": f"{patients} simulated patients of seed {seed}",
            **summarize(readings),
            "model": {name: getattr(analyzer.bundle, name) for name in ("name", "version", "sha256", "training_data")},
            "provenance": provenance(analyzer.device, analyzer.runtime.name),
        }
        results["figures"] = write_figures(readings, results, folder)
        write_csv(folder / "readings.csv", readings, COLUMNS)
        write_json(folder / "robustness.json", results)
        progress(1.0, "Done")
    return results


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
    if analysis.volume_interval_ml is not None:
        low, high = analysis.volume_interval_ml
        record["in_interval"] = int(low <= record["volume_ml"] <= high)
    if mask is not None:
        record["peak_inside"] = locate_attention(analysis.attention, mask, scan.ijk_to_ras)["peak_inside"]
    return record
