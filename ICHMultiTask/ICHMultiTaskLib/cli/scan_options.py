"""Options of every command that analyzes a scan: the scan, its series, the model and the device."""

from __future__ import annotations

import argparse

from ..common.choices import Device, RuntimeLibrary


def add_options(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add PATH, --series, --model, --device and --runtime to a parser; `nargs` as in `add_argument`, for PATH."""
    parser.add_argument(
        "path", nargs=nargs, metavar="PATH", help="folder, file or .zip of DICOM images; NIfTI, NRRD or MetaImage file"
    )
    parser.add_argument("--series", metavar="UID", help="DICOM series to analyze (default: the most suitable one)")
    parser.add_argument("--model", metavar="BUNDLE", help="folder of a model bundle (default: the shipped one)")
    parser.add_argument(
        "--device", choices=Device.values(), default=Device.AUTO, help="where the network runs (default: auto)"
    )
    parser.add_argument(
        "--runtime", choices=RuntimeLibrary.values(), default=RuntimeLibrary.AUTO,
        help="library that runs the network: torch, or onnx (ONNX Runtime: on the processor, with the default map); "
        "default: auto, PyTorch if it is installed",
    )  # fmt: skip
