"""Options of the commands that analyze many scans: on which device, in how many processes."""

from __future__ import annotations

import argparse

from ICHMultiTaskLib.common.choices import Device
from ICHMultiTaskLib.common.shell import positive

from ..data.analyzing import processes_for


def add_analyzing_options(parser: argparse.ArgumentParser) -> None:
    """Add `--device` and `--processes` to a parser."""
    parser.add_argument("--device", choices=Device.values(), default=Device.AUTO)
    parser.add_argument(
        "--processes", type=positive, metavar="N",
        help="processes that analyze scans (default: one per processor, as memory allows; on a GPU one)",
    )  # fmt: skip


def number_of_processes(options: argparse.Namespace) -> int:
    """The processes that were asked for, or the default."""
    return options.processes or processes_for(options.device)
