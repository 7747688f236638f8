"""Test data: a head phantom of simple shapes and a bundle with random weights."""

from __future__ import annotations

import os

import numpy as np

from ..scan.head_ct import HeadCT, ScanFacts
from .bundle import NO_CALIBRATION, save_bundle
from .networks import build_network

HEMATOMA_ML = 33.5
"""Volume of the phantom's hematoma, a sphere of 20 mm radius."""


def phantom(
    shape_kji: tuple[int, int, int] = (28, 128, 128), spacing_kji: tuple[float, float, float] = (6.0, 1.8, 1.8)
) -> HeadCT:
    """Make a head phantom: skull, brain and a hematoma in the right hemisphere, as ellipsoids in air.

    Returns
    -------
    HeadCT
    """
    k, j, i = (
        (np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape_kji, spacing_kji, strict=True)
    )  # fmt: skip
    z, y, x = np.meshgrid(k, j, i, indexing="ij", sparse=True)
    noise = np.random.default_rng(0).normal(0, 4, shape_kji)

    def ellipsoid(depth, height, width):
        return (z / depth) ** 2 + (y / height) ** 2 + (x / width) ** 2 < 1

    hu = np.where(ellipsoid(80, 98, 82), 900.0, -1000.0)
    hu[ellipsoid(74, 90, 74)] = 33
    hu[(z - 10) ** 2 + (y - 5) ** 2 + (x + 35) ** 2 < 20**2] = 68
    hu = np.where(hu > -1000, hu + noise, hu).round().astype(np.int16)
    affine = np.diag([-spacing_kji[2], -spacing_kji[1], spacing_kji[0], 1.0])
    affine[:3, 3] = -i[0], -j[0], k[0]
    return HeadCT(hu, affine, ScanFacts(simulated=True))


def tiny_bundle(folder: str | os.PathLike, seed: int = 0) -> str | os.PathLike:
    """Save a bundle with a small network and random weights: fast and complete, but its results mean nothing.

    Returns
    -------
    path-like
        `folder`
    """
    import torch

    torch.manual_seed(seed)
    architecture = {"width": 4, "stem_stride": [2, 4, 4], "stage_strides": [1, 2, 2, 1], "final_relu": False}
    metadata = {
        "name": "tiny",
        "version": "0.0.1",
        "license": "Apache-2.0",
        "intended_use": "Trying the software.",
        "training_data": "Random weights; no scans.",
        "architecture": architecture,
        "preprocessing": {},
        "target": "cube_root_ml",
        "calibration": NO_CALIBRATION,
        "metrics": {},
    }
    save_bundle(folder, build_network(architecture).state_dict(), metadata, "# Tiny\n")
    return folder
