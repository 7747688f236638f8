"""What every command that analyzes one scan has: options of the scan, its series, the model and the device."""

from __future__ import annotations

import argparse

from ..analysis.analyzer import Analyzer
from ..common.choices import Device, RuntimeLibrary
from ..model.attention import LOCATOR
from ..model.bundle import ModelBundle
from ..model.runners import soonest_ready


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
        "default: auto, ONNX Runtime where it can do what is asked, since it starts faster",
    )  # fmt: skip


def load_analyzer(
    options: argparse.Namespace, bundle: ModelBundle, stage: str = LOCATOR.stage, method: str = LOCATOR.method
) -> Analyzer:
    """The analyzer for the options, and for the attention map that is wanted."""
    runtime = options.runtime
    if runtime == RuntimeLibrary.AUTO:
        runtime = soonest_ready(bundle, options.device, stage, method)
    return Analyzer(bundle, options.device, runtime)
