"""Model bundles: a trained network with everything needed to use it and to assess it.

A bundle is a folder in the layout of a MONAI Bundle, with metadata of its schema but no inference configuration: it is
run by this software, not by `monai.bundle`::

    configs/metadata.json     description, training, calibration
    models/model.safetensors  the weights
    docs/README.md            the model card
    LICENSE
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import BundleError, DependencyError, InputError
from ..common.provenance import provenance
from ..common.translation import tr as _
from ..common.writing import check_folder, new_folder, write_text
from .bundle_metadata import METADATA, REQUIRED_KEYS, check_metadata, monai_keys, read_metadata
from .calibration import output_to_volume
from .clinical import ClinicalInputs
from .networks import build_network
from .two_readings import joint_volume
from .volume_correction import correct_volume
from .weights import WEIGHTS, pack, read_verified, unpack, weights_format

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .networks.base import MultiTaskNetwork

MODEL_CARD = "docs/README.md"
LICENSE = "LICENSE"
FILES = (METADATA, WEIGHTS, MODEL_CARD, LICENSE)

NO_CALIBRATION = {"volume_interval": None, "temperature": 1.0, "bias": 0.0}


@dataclass(frozen=True)
class ModelBundle:
    """A verified bundle; create it with `ModelBundle.load`.

    Attributes
    ----------
    folder : Path
    metadata : dict
        Content of ``configs/metadata.json``.
    """

    folder: Path
    metadata: dict

    @classmethod
    def load(cls, folder: str | os.PathLike) -> ModelBundle:
        """Read a bundle and verify it, including the checksum of the weights.

        Raises
        ------
        BundleError
            If a file or key is missing, a value unusable, or the checksum differs.
        """
        folder = Path(folder).expanduser()
        metadata = read_metadata(folder)
        check_metadata(metadata, folder)
        bundle = cls(folder, metadata)
        read_verified(folder, bundle.sha256)
        return bundle

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.metadata["name"]

    @property
    def version(self) -> str:
        """Version of the model, not of the software."""
        return self.metadata["version"]

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file, 64 hexadecimal digits."""
        return self.metadata["sha256"]

    @property
    def identity(self) -> tuple[str, str]:
        """Version and checksum: the same weights may be calibrated anew, under another version."""
        return self.version, self.sha256

    @property
    def training_data(self) -> str:
        """One sentence on the training data, shown with every number."""
        return self.metadata["training_data"]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Heads that were trained: "volume", "prognosis" or both; the output of an untrained head is meaningless."""
        tasks = self.metadata.get("training", {}).get("config", {}).get("tasks", "both")
        return ("volume", "prognosis") if tasks == "both" else (tasks,)

    @property
    def clinical(self) -> ClinicalInputs | None:
        """Clinical inputs of the prognosis head; None if it uses the image alone."""
        entries = self.metadata.get("clinical")
        return ClinicalInputs.from_metadata(entries) if entries else None

    @property
    def interval_coverage(self) -> float | None:
        """Nominal coverage of the volume interval, or None without an interval."""
        interval = self.metadata["calibration"].get("volume_interval")
        return float(interval["coverage"]) if interval else None

    def volume_ml(self, output: float, crop_volume_mm3: float) -> float:
        """The network's reading of the hematoma volume in mL: `output_to_volume` with the calibrated correction."""
        volume = output_to_volume(output, self.metadata["target"], crop_volume_mm3)
        return float(correct_volume(volume, self.metadata["calibration"].get("volume_correction")))

    def joint_volume_ml(self, network_ml: float, outlined_ml: float | None) -> float:
        """Hematoma volume in mL from the network's reading and the outlined volume, see `two_readings.joint_volume`.

        The network's reading if nothing was outlined, or the bundle has no calibrated ``outline``.
        """
        outline = self.metadata["calibration"].get("outline")
        return network_ml if outlined_ml is None or not outline else joint_volume(network_ml, outlined_ml, outline)

    def volume_interval_ml(self, volume_ml: float) -> tuple[float, float] | None:
        """Interval of a predicted volume.

        The interval is symmetric in the cube root of the volume, a length in cm, in which errors are homogeneous:
        ``(c - h)³ - s … (c + h)³ - s`` with ``c = (volume + s)^(1/3)``, ``s = softening_ml`` and
        ``h = half_width_cm``, taken from the stratum of the *predicted* volume, so that coverage holds
        within each (split-conformal).

        Parameters
        ----------
        volume_ml : float

        Returns
        -------
        tuple of float or None
            (low, high) in mL; None if the bundle has no interval.
        """
        interval = self.metadata["calibration"].get("volume_interval")
        if not interval:
            return None
        stratum = next(s for s in interval["strata"] if s["up_to_ml"] is None or volume_ml <= s["up_to_ml"])
        softening = interval.get("softening_ml", 0.0)
        center = (max(volume_ml, 0.0) + softening) ** (1 / 3)
        half_width = stratum["half_width_cm"]
        low, high = (max(center + side * half_width, 0.0) ** 3 - softening for side in (-1, 1))
        return max(low, 0.0), high

    def probability(self, margin: float) -> float:
        """Probability of death from the network's margin: score of death minus score of survival.

        ``1 / (1 + exp(-(margin ÷ temperature + bias)))``; temperature 1 and bias 0 give the plain softmax.
        """
        calibration = self.metadata["calibration"]
        logit = margin / calibration.get("temperature", 1.0) + calibration.get("bias", 0.0)
        return 0.5 * (1.0 + math.tanh(0.5 * logit))  # the same function, without overflow

    def weights(self, expected: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        """Verify and read the weights; needs no PyTorch.

        Parameters
        ----------
        expected : dict of str to sequence of int
            Names and shapes of the weights of the network that is to take them.

        Raises
        ------
        BundleError
            If the file was altered, or its weights belong to another network.
        DependencyError
            If safetensors is not installed.
        """
        return unpack(read_verified(self.folder, self.sha256), expected, self.folder)

    def cannot_be_built(self, error: Exception) -> BundleError:
        """The error to raise if a library cannot build the network of the metadata."""
        return BundleError(
            _("The model bundle {folder} describes a network that this version cannot build: {error}.").format(
                folder=self.folder, error=error
            )
        )

    def network(self, device: str = "cpu") -> MultiTaskNetwork:
        """Build the network with the bundle's weights, in evaluation mode.

        Returns
        -------
        ICHMultiTaskLib.model.networks.base.MultiTaskNetwork
            In float32 on `device`.

        Raises
        ------
        BundleError
            If the weights do not belong to the network described in the metadata.
        """
        try:
            import torch
        except ImportError as error:
            raise DependencyError(_("PyTorch is needed to run a model, and it is not installed.")) from error
        try:
            network = build_network(self.metadata["architecture"])
        except (InputError, TypeError, ValueError, RuntimeError) as error:
            raise self.cannot_be_built(error) from error
        weights = self.weights({name: tensor.shape for name, tensor in network.state_dict().items()})
        network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
        return network.to(torch.device(device)).eval()


def find_bundles(extra_folders: Iterable[str | os.PathLike] = ()) -> list[Path]:
    """List the bundles that come with the software and those in the user's folders.

    Parameters
    ----------
    extra_folders : iterable of path-like
        Bundles, or folders of bundles.

    Returns
    -------
    list of Path
        Bundle folders, not yet verified; those that come with the software first.
    """
    found = []
    for folder in [*_shipped_models(), *(Path(extra).expanduser() for extra in extra_folders)]:
        if (folder / METADATA).is_file():
            found.append(folder)
        elif folder.is_dir():
            found += sorted(child for child in folder.iterdir() if (child / METADATA).is_file())
    return list(dict.fromkeys(path.resolve() for path in found))


def default_bundle() -> Path:
    """Folder of the first bundle that comes with the software."""
    bundles = find_bundles()
    if not bundles:
        raise BundleError(
            _(
                "No model bundle came with this installation: expected one in {shipped_models}; choose the "
                "folder of another bundle."
            ).format(shipped_models=_shipped_models()[0])
        )
    return bundles[0]


def save_bundle(
    folder: str | os.PathLike,
    network_state: Mapping[str, torch.Tensor],
    metadata: Mapping,
    model_card: str,
    overwrite: bool = False,
    weights: str | None = None,
) -> ModelBundle:
    """Write a bundle, atomically.

    Parameters
    ----------
    folder : path-like
    network_state : dict of str to torch.Tensor
        The network's ``state_dict``.
    metadata : dict
        `REQUIRED_KEYS` except ``sha256``; MONAI's keys and ``provenance`` are added if missing.
    model_card : str
        Markdown.
    overwrite : bool
        Replace an existing bundle at `folder`.
    weights : str, optional
        Number format of the stored weights, one of `Weights`. None: as in the metadata ("half" if missing there), so
        that a bundle made from another one keeps its format.

    Returns
    -------
    ModelBundle

    Raises
    ------
    BundleError
        If the metadata is incomplete, the format of the weights unknown or a weight not finite.
    OutputError
        If the folder cannot be written.
    """
    if weights is not None:
        metadata = {**metadata, "weights": str(weights)}
    data = pack(network_state, weights_format(metadata, folder))
    metadata = {
        **monai_keys(metadata), "provenance": provenance(), **metadata, "sha256": hashlib.sha256(data).hexdigest(),
        "model_card_sha256": hashlib.sha256(model_card.encode(errors="replace")).hexdigest(),
    }  # fmt: skip
    check_metadata(metadata, folder)
    try:
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BundleError(
            _("The metadata of {folder} cannot be written as JSON: {error}.").format(folder=folder, error=error)
        ) from error
    notice = f"{metadata['name']} {metadata['version']}\n{metadata['copyright']}\n"
    notice += f"SPDX-License-Identifier: {metadata['license']}\n"
    for origin in metadata.get("derived_from", ()):
        notice += f"{origin['how'].capitalize()} from {origin['name']} {origin['version']} ({origin['license']})\n"
    with new_folder(folder, "bundle", overwrite, written=_written) as partial:
        for name in (METADATA, WEIGHTS, MODEL_CARD):
            (partial / name).parent.mkdir()
        write_text(partial / METADATA, text)
        (partial / WEIGHTS).write_bytes(data)
        write_text(partial / MODEL_CARD, model_card)
        write_text(partial / LICENSE, notice)
    return ModelBundle.load(folder)


def check_bundle_folder(folder: str | os.PathLike) -> None:
    """Check in advance that a bundle can be written to a folder.

    Raises
    ------
    OutputError
    """
    check_folder(folder, "bundle", overwrite=True, written=_written)


def _written(folder):
    """SHA-256 of a bundle's files by name (None if its metadata has none); None if the folder is not such a bundle.

    Other MONAI bundles have files of the same names.
    """
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if not all(isinstance(metadata[key], kind) for key, kind in REQUIRED_KEYS.items()):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = {WEIGHTS: metadata["sha256"], MODEL_CARD: metadata.get("model_card_sha256")}
    return {name: known.get(name) for name in FILES}


def remove_bundle(folder: str | os.PathLike) -> None:
    """Delete a bundle; other files in its folder are kept."""
    folder = Path(folder)
    if not (folder / METADATA).is_file():
        return
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for place in (*{(folder / name).parent for name in FILES} - {folder}, folder):
        with suppress(OSError):  # not empty
            place.rmdir()


def _shipped_models():
    """Folders of shipped bundles: in the source tree and the Slicer extension; in an installed wheel."""
    here = Path(__file__).resolve().parents[1]
    return [here.parent / "Resources" / "Models", here / "Resources" / "Models"]
