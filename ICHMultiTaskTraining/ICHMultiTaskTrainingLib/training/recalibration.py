"""Fit a model's interval and probability anew, on scans that it was not trained on."""

import numpy as np

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.calibration import fit_prognosis, fit_volume, output_to_volume
from ICHMultiTaskLib.model.preprocessing import prepare
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct

from ..data.manifest import outcomes, read_manifest

FEWEST_SCANS = 20
"""Below this many a 90 % interval would rest on one or two scans."""


def recalibrate(manifest_path, bundle, output, outcome="died", device="auto", progress=None):
    """Fit volume, interval and probability on a manifest and write the bundle with them; the weights stay as they are.

    Parameters
    ----------
    manifest_path : path
        Of scans that neither trained nor chose the model, else the interval comes out too narrow.
    bundle : ModelBundle or path
    output : path
        Folder of the new bundle; may be that of `bundle`, which is then replaced.
    outcome : str
        As in `TrainingConfig`.
    device : str
    progress : callable (fraction, message), optional
        May raise Canceled; nothing is written then.

    Returns
    -------
    ModelBundle

    Raises
    ------
    InputError
        With every scan that cannot be used and its reason, all at once; or if there are too few.
    """
    from ICHMultiTaskLib.analysis.analyzer import Analyzer

    from .export import model_card

    manifest = read_manifest(manifest_path)
    death = outcomes(manifest.rows, outcome)
    if len(death) < FEWEST_SCANS:
        raise InputError(
            f"Too few scans to calibrate on: expected at least {FEWEST_SCANS}, found {len(death)} in {manifest.path}."
        )
    analyzer = Analyzer(bundle, device)
    metadata = {key: value for key, value in analyzer.bundle.metadata.items() if key != "sha256"}
    volumes, log_odds, problems = [], [], []
    for n, row in enumerate(manifest.rows):
        if progress is not None:
            progress(n / len(death), f"Scan {n + 1} of {len(death)}")
        try:
            network_input = prepare(check_head_ct(read_head_ct(row.image)), analyzer.settings)
        except ICHMultiTaskError as error:
            problems.append(f"{row.patient_id}: {error}")
            continue
        prediction = analyzer.predict(network_input)
        volumes.append(output_to_volume(prediction.output, metadata["target"], network_input.crop_volume_mm3))
        log_odds.append(prediction.log_odds)
    if problems:
        raise InputError(f"{len(problems)} of {len(death)} scans cannot be used: " + "; ".join(problems))
    simulated = all(row.extra.get("simulated") == "1" for row in manifest.rows)
    metadata["calibration"] = {
        **fit_volume(np.array(volumes), [row.volume_ml for row in manifest.rows]),
        **fit_prognosis(np.array(log_odds), death),
        "scans": len(death),
        "data": f"{'simulated ' if simulated else ''}scans of their own, used for nothing else",
    }
    # What was measured with the old calibration is no longer true.
    kept = ("validation", "validation_scans", "comparison")
    metadata["metrics"] = {key: value for key, value in metadata["metrics"].items() if key in kept}
    state = ModelBundle.load(analyzer.bundle.folder).network().state_dict()
    if progress is not None:
        progress(1.0, "Done")
    return save_bundle(output, state, metadata, model_card(metadata), overwrite=True)
