"""The command `ichmultitask-train` run by 3D Slicer's Python, without a window.

`Slicer --no-main-window --python-script .../ICHMultiTaskTrainingLib/cli/in_slicer.py train manifest.csv --output run`
takes the arguments of the command, runs it in a separate process and exits with its status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Run the command and wait for it; return its exit status."""
    modules = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(modules), str(modules.parent / "ICHMultiTask")]
    from ICHMultiTaskTrainingLib.cli.process import command  # a script belongs to no package

    # The pipe tells the command when this process ends, even by a crash.
    environment = {**os.environ, "ICHMULTITASK_ENDS_WITH_INPUT": "1"}
    process = subprocess.Popen(command(arguments), stdin=subprocess.PIPE, env=environment)
    # Ending 3D Slicer also ends the training; it can be continued.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    status = process.wait()
    return status if status >= 0 else 128 - status  # the convention of shells for a process ended by a signal


if __name__ == "__main__":
    import slicer

    status = 1
    try:
        status = main(sys.argv[1:])
    finally:  # otherwise 3D Slicer would wait forever after an error
        slicer.util.exit(status)
