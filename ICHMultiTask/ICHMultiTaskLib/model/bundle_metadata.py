"""The metadata of a model bundle: its keys, reading and checking.

The metadata has the keys of MONAI's schema and those of `REQUIRED_KEYS`:

``architecture``
    Argument of `ICHMultiTaskLib.model.networks.build_network`: the network's name and keyword arguments.
``preprocessing``
    Fields of `ICHMultiTaskLib.model.preprocessing.PreprocessingSettings`.
``target``
    Meaning of the regression output, one of `ICHMultiTaskLib.model.calibration.TARGETS`.
``training_data``
    One sentence, shown with every number.
``calibration``
    ``volume_correction``: null or missing, or ``knots_cm`` (cube roots before and after the correction, in ascending
    order) and ``softening_ml``; in earlier versions one line of ``slope`` and ``offset_cm`` in place of the knots. See
    `ICHMultiTaskLib.model.calibration.fit_volume`.
    ``outline``: null or missing, or ``weight``, 0 to 1, of the outlined volume in the reported one, and its
    ``correction``, as ``volume_correction``; see `ICHMultiTaskLib.model.two_readings.joint_volume`.
    ``volume_interval``: null, or ``coverage``, ``softening_ml`` (0 if missing) and ``strata``, a list of
    ``{up_to_ml, half_width_cm}`` in ascending order of ``up_to_ml``, which is null in the last one; see
    `ICHMultiTaskLib.model.bundle.ModelBundle.volume_interval_ml`.
    ``temperature`` and ``bias``: see `ICHMultiTaskLib.model.bundle.ModelBundle.probability`.
    ``notes``: sentences on anything that was not calibrated; may be missing.
``weights``
    Number format of the weights file, see `ICHMultiTaskLib.model.weights`; if missing, "half".
``clinical``
    Missing, or the clinical inputs of the prognosis head: ``name``, ``mean`` and ``spread`` of each variable, see
    `ICHMultiTaskLib.model.clinical.ClinicalInputs`.
``derived_from``
    Missing, or for each model that this one was made from: ``how``, ``name``, ``version``, ``license``,
    ``training_data`` and ``sha256``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from ..common.errors import BundleError, InputError
from ..common.translation import tr as _
from .calibration import TARGETS
from .clinical import ClinicalInputs
from .preprocessing import PreprocessingSettings
from .volume_correction import is_increasing, knots
from .weights import weights_format

METADATA = "configs/metadata.json"
"""Path in the bundle's folder."""

REQUIRED_KEYS = {
    "name": str,
    "version": str,
    "license": str,
    "intended_use": str,
    "training_data": str,
    "architecture": dict,
    "preprocessing": dict,
    "target": str,
    "calibration": dict,
    "metrics": dict,
    "sha256": str,
}


def read_metadata(folder: Path) -> dict:
    """Metadata of the bundle in `folder`, not yet checked.

    Raises
    ------
    BundleError
        If it cannot be read.
    """
    path = folder / METADATA
    if not path.is_file():
        found = _("no such folder") if not folder.is_dir() else _("a folder without it")
        raise BundleError(
            _("{folder} is not a model bundle: expected {metadata}, found {found}.").format(
                folder=folder, metadata=METADATA, found=found
            )
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            _("{path} cannot be read: expected JSON in UTF-8, found: {error}.").format(path=path, error=error)
        ) from error
    if not isinstance(metadata, dict):
        raise BundleError(_("{path} is not a model's metadata: expected a JSON object.").format(path=path))
    return metadata


def check_metadata(metadata: Mapping, folder: str | os.PathLike) -> None:
    """Check the metadata of the bundle in `folder`.

    Raises
    ------
    BundleError
        If a key is missing or a value unusable.
    """
    missing = [key for key in REQUIRED_KEYS if key not in metadata]
    if missing:
        raise BundleError(
            _("The metadata of the model bundle {folder} is incomplete: {missing} missing.").format(
                folder=folder, missing=", ".join(missing)
            )
        )
    for key, kind in REQUIRED_KEYS.items():
        if not isinstance(metadata[key], kind) or metadata[key] == "":
            expected = "a text" if kind is str else "an object"
            raise BundleError(
                _("{key} in the metadata of {folder} is unusable: expected {expected}, found {metadata!r}.").format(
                    key=key, folder=folder, expected=expected, metadata=metadata[key]
                )
            )

    if metadata["target"] not in TARGETS:
        raise BundleError(
            _("target in the metadata of {folder} is unknown: expected {targets}; found {target!r}.").format(
                folder=folder, targets=", ".join(TARGETS), target=metadata["target"]
            )
        )
    weights_format(metadata, folder)
    _check_preprocessing(metadata["preprocessing"], folder)
    _check_calibration(metadata["calibration"], folder)
    _check_clinical(metadata, folder)


def _check_preprocessing(preprocessing, folder):
    try:
        PreprocessingSettings(**preprocessing)
    except (TypeError, ValueError) as error:
        raise BundleError(
            _("preprocessing in the metadata of {folder} is unusable: {error}.").format(
                folder=folder, error=str(error).rstrip(".")
            )
        ) from error


def _check_clinical(metadata, folder):
    architecture = metadata["architecture"]
    taken = architecture.get("clinical", architecture.get("member", {}).get("clinical", 0))
    try:
        entries = metadata.get("clinical")
        width = ClinicalInputs.from_metadata(entries).width if entries else 0
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            _("clinical in the metadata of {folder} is unusable: {error}.").format(folder=folder, error=error)
        ) from error
    if width != taken:
        raise BundleError(
            _(
                "clinical in the metadata of {folder} is unusable: expected {taken} numbers, as the "
                "network has inputs, found {width}."
            ).format(folder=folder, taken=taken, width=width)
        )


def _check_calibration(calibration, folder):
    def problem(found):
        words = _("calibration in the metadata of {folder} is unusable: {problem}.")
        return BundleError(words.format(folder=folder, problem=found))

    try:
        if not calibration.get("temperature", 1.0) > 0 or not math.isfinite(calibration.get("bias", 0.0)):
            raise problem(_("expected a temperature above 0 and a finite bias"))
        outline = calibration.get("outline")
        if outline and not 0 <= outline["weight"] <= 1:
            raise problem(_("expected a weight of the outlined volume between 0 and 1"))
        for correction in (calibration.get("volume_correction"), outline and outline["correction"]):
            if not correction:
                continue
            places, heights = knots(correction)
            if not (is_increasing(places) and is_increasing(heights) and correction["softening_ml"] >= 0):
                raise problem(_("expected a volume correction that rises, with finite numbers"))
        interval = calibration.get("volume_interval")
        if not interval:
            return
        limits = [math.inf if s["up_to_ml"] is None else s["up_to_ml"] for s in interval["strata"]]
        widths = [s["half_width_cm"] for s in interval["strata"]]
        if not 0 < interval["coverage"] < 1 or limits != sorted(limits) or limits[-1] != math.inf or min(widths) < 0:
            raise problem(
                _("expected a coverage between 0 and 1 and strata in ascending order, the last without a limit")
            )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise problem(repr(error)) from error


def monai_keys(metadata: Mapping) -> dict:
    """Additional keys that MONAI's schema requires, for a bundle with this metadata."""
    import numpy
    import torch

    shape = list(metadata.get("preprocessing", {}).get("shape_kji", (32, 224, 224)))
    version = metadata.get("version", "")
    scan = {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "windowed, cropped and resized head CT"},
    }
    volume = {"type": "tuples", "format": "regression", "num_channels": 1, "dtype": "float32", "value_range": []}
    prognosis = {"type": "probabilities", "format": "classes", "num_channels": 2, "dtype": "float32"}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "changelog": {version: "trained"},
        "monai_version": "1.5.0",
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {},
        "task": "Hematoma volume and prognosis of intracerebral hemorrhage on non-contrast head CT",
        "description": "Multi-task 3D ResNet-34: one encoder, a regression head for the volume, a classification head "
        "for the prognosis.",
        "authors": "ICHMultiTask contributors",
        "copyright": "ICHMultiTask contributors",
        "network_data_format": {
            "inputs": {"image": scan},
            "outputs": {
                "volume": {**volume, "channel_def": {"0": metadata.get("target", "")}},
                "prognosis": {**prognosis, "value_range": [0, 1], "channel_def": {"0": "survival", "1": "death"}},
            },
        },
    }
