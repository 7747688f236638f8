"""Options that several commands share: on which device, and to analyze many scans, in how many processes."""

from __future__ import annotations

import argparse

from ICHMultiTaskLib.common.choices import Device
from ICHMultiTaskLib.common.shell import positive

from ..data.analyzing import processes_for

RESULT_FOLDER = "new or empty folder, or that of an earlier result of this command, which is replaced"
LABELED_SCANS = "table of scans (CSV) with patient_id, image, volume_ml, died"


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device` to a parser."""
    parser.add_argument(
        "--device", choices=Device.values(), default=Device.AUTO,
        help="where the network runs (default: auto, a CUDA GPU if there is one, else the CPU)",
    )  # fmt: skip


def add_analyzing_options(parser: argparse.ArgumentParser) -> None:
    """Add `--device` and `--processes` to a parser."""
    add_device(parser)
    parser.add_argument(
        "--processes", type=positive, metavar="N",
        help="processes that analyze scans (default: one per processor, as memory allows; on a GPU one)",
    )  # fmt: skip


def number_of_processes(options: argparse.Namespace) -> int:
    """The processes that were asked for, or the default."""
    return options.processes or processes_for(options.device)
