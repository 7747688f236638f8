"""Scans preprocessed once for training and cached on disk."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError, OutputError
from ICHMultiTaskLib.common.processes import in_processes
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.writing import remove_partial, whole_file
from ICHMultiTaskLib.model.clinical import ClinicalInputs
from ICHMultiTaskLib.model.preprocessing import NetworkInput, PreprocessingSettings, prepare, resize
from ICHMultiTaskLib.scan.geometry import spacing_kji, voxel_volume_mm3
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.validation import check_head_ct

from .auxiliary import AuxiliaryTarget, labels_of
from .labels import check_mask_volume, read_mask
from .manifest import Row

if TYPE_CHECKING:
    import torch

CELL = 4
"""Rows and columns of the network's grid over which the fraction of blood is averaged."""
SCANS_WORTH_A_PROCESS = 12
"""Starting a process takes as long as preparing about this many scans."""
VERSION = 4
"""Version of the cached files: raise it when their contents or the way they are made change."""


def content_key(path: Path, settings: dict) -> str:
    """SHA-256 of a file, or of every file in a folder, with the preprocessing settings and `VERSION`."""
    digest = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True).encode())
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def prepare_row(row: Row, settings: dict, folder: str | os.PathLike) -> Path:
    """Prepare one scan and its mask in `folder`; return the cached file.

    The file contains `image` (uint8 [D, H, W]: 255 × the network's input, a step of 0.4 HU in the default window),
    `crop_volume_mm3`, `size_mm` (depth, height and width of the image) and, if there is a mask, `occupancy`
    (uint8 [D, H/4, W/4]: 255 × the fraction of blood) and `mask_ml`, its volume.
    """
    settings = PreprocessingSettings(**settings)
    plain = settings.as_dict()  # one spelling of equal settings: [0, 100] is [0.0, 100.0]
    key = content_key(row.image, plain) + (content_key(row.mask, {}) if row.mask else "")
    target = Path(folder) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    if target.exists():
        if row.mask:  # volume_ml may have changed since
            check_mask_volume(row, float(read_prepared(target)["mask_ml"]))
        return target
    head_ct = check_head_ct(read_head_ct(row.image))
    prepared = prepare(head_ct, settings)
    arrays = {
        "image": np.round(prepared.array[0] * 255).astype(np.uint8),
        "crop_volume_mm3": np.float64(prepared.crop_volume_mm3),
        "size_mm": np.array(_size_mm(prepared, head_ct), np.float32),
    }
    if row.mask:
        mask = read_mask(row.mask, head_ct)
        arrays["mask_ml"] = mask.sum() * voxel_volume_mm3(head_ct.ijk_to_ras) / 1000.0
        check_mask_volume(row, float(arrays["mask_ml"]))
        arrays["occupancy"] = np.round(occupancy(mask, prepared) * 255).astype(np.uint8)
    with whole_file(target) as file:
        np.savez_compressed(file, **arrays)
    return target


def _size_mm(prepared, head_ct):
    """Depth, height and width of the image."""
    spacing = spacing_kji(head_ct.ijk_to_ras)
    return [spacing[axis] * (high - low) for axis, (low, high) in zip(prepared.axes, prepared.crop)]


def occupancy(mask: np.ndarray, prepared: NetworkInput, cell: int = CELL) -> np.ndarray:
    """Fraction of blood in each cell of the network's grid.

    Parameters
    ----------
    mask : ndarray of bool, shape (K, J, I)
        On the scan's grid.
    prepared : NetworkInput
        Of the scan.
    cell : int
        Rows and columns of the network's grid in a cell.

    Returns
    -------
    ndarray of shape (D, H / cell, W / cell), float32
    """
    depth, height, width = prepared.array.shape[1:]
    grid = resize(prepared.cropped(mask), (0.0, 1.0), (depth, height // cell, width // cell), average=True)
    return grid[tuple(slice(None, None, -1) if f else slice(None) for f in prepared.flips)]


def prepare_all(
    rows: Sequence[Row],
    settings: dict,
    folder: str | os.PathLike,
    processes: int = 1,
    progress: Progress = NO_PROGRESS,
    unusable: Callable[[str], object] | None = None,
) -> list[Path | None]:
    """Prepare every row in the cache.

    Parameters
    ----------
    unusable : callable (sentence), optional
        If given, unusable rows are left out, and it is called with a list of them; otherwise they are an error.

    Returns
    -------
    list of Path or None
        One cached file per row; None for a row left out.

    Raises
    ------
    InputError
        With every unusable row and its reason, all at once.
    OutputError
        If the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    jobs = [(row, settings, folder) for row in rows]
    results = [None] * len(jobs)
    for done, (number, result) in enumerate(in_processes(_try_row, jobs, processes, SCANS_WORTH_A_PROCESS), start=1):
        results[number] = result
        progress(done / len(rows), "Preparing scans")
    problems = [f"{row.patient_id}: {result}" for row, result in zip(rows, results) if isinstance(result, str)]
    if problems:
        sentence = f"{len(problems)} of {len(rows)} scans cannot be used: " + "; ".join(problems)
        if unusable is None:
            raise InputError(sentence)
        unusable(sentence)
    return [None if isinstance(result, str) else result for result in results]


def _try_row(job):
    try:
        return prepare_row(*job)
    except OutputError:
        raise  # a full disk is not a problem of the scan
    except ICHMultiTaskError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"


def read_prepared(file: Path) -> dict[str, np.ndarray]:
    """The arrays written by `prepare_row`.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        with np.load(file) as data:
            return dict(data)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"The prepared scan {file} is missing or damaged ({error}): delete it if it is damaged, and start the same "
            "command again."
        ) from error


class CachedScans:
    """Prepared scans held in memory: images uint8 [N, D, H, W], volumes, outcomes, masks.

    Attributes
    ----------
    images : ndarray of shape (N, D, H, W), uint8
    occupancy : ndarray of shape (N, D, H/4, W/4), uint8
    has_mask : ndarray of bool, shape (N,)
    volume_ml, died, crop_volume_mm3 : ndarray of shape (N,)
    size_mm : ndarray of shape (N, 3), float32
        Depth, height and width of the images.
    clinical : ndarray of shape (N, width), float32, or None
        Clinical variables, as `inputs` encodes them; None without.
    labels : ndarray of shape (N, number of targets), float32
        Labels of the auxiliary outputs, NaN where unknown.

    Parameters
    ----------
    rows : sequence of Row
    files : sequence of path
        Of `prepare_all`.
    inputs : ClinicalInputs, optional
    targets : sequence of AuxiliaryTarget
    """

    _resident = None
    """Images and occupancies on a device, if they are kept there."""

    def __init__(
        self,
        rows: Sequence[Row],
        files: Sequence[Path],
        inputs: ClinicalInputs | None = None,
        targets: Sequence[AuxiliaryTarget] = (),
    ):
        first = read_prepared(files[0])["image"].shape
        self.images = np.empty((len(rows), *first), np.uint8)
        self.occupancy = np.zeros((len(rows), first[0], first[1] // CELL, first[2] // CELL), np.uint8)
        self.has_mask = np.zeros(len(rows), bool)
        self.volume_ml = np.array([row.volume_ml for row in rows], np.float32)
        self.died = np.array([row.died for row in rows], np.int64)
        self.crop_volume_mm3 = np.empty(len(rows), np.float64)
        self.size_mm = np.empty((len(rows), 3), np.float32)
        self.labels = labels_of(rows, targets)
        self.inputs, self.clinical = inputs, None
        if inputs is not None:
            self.clinical = inputs.encode_all([row.extra for row in rows], [row.patient_id for row in rows])

        # Not in threads: np.load parses headers, which fails at random in several threads of Python 3.11.
        for n, file in enumerate(files):
            data = read_prepared(file)
            self.images[n] = data["image"]
            self.crop_volume_mm3[n] = data["crop_volume_mm3"]
            self.size_mm[n] = data["size_mm"]
            if "occupancy" in data:
                self.occupancy[n] = data["occupancy"]
                self.has_mask[n] = True

    def keep_on(self, device: str) -> None:
        """Keep images and occupancies on a device from now on."""
        import torch

        self._resident = [torch.from_numpy(values).to(device) for values in (self.images, self.occupancy)]

    def take(self, chosen: np.ndarray, device: str) -> list[torch.Tensor]:
        """Images and occupancies of chosen scans.

        Parameters
        ----------
        chosen : ndarray of int, shape (N,)
        device : str

        Returns
        -------
        list of tensor, uint8 [N, …]
            On the device; the copy from pinned CPU memory may still be in progress.
        """
        import torch

        if self._resident:
            index = torch.from_numpy(chosen).to(device, non_blocking=True)
            return [values.index_select(0, index) for values in self._resident]
        taken = [torch.from_numpy(values[chosen]) for values in (self.images, self.occupancy)]
        if device == "cuda":
            taken = [values.pin_memory() for values in taken]
        return [values.to(device, non_blocking=True) for values in taken]
