"""The command `ichmultitask-train` with the Python of 3D Slicer, without its window.

`Slicer --no-main-window --python-script .../ICHMultiTaskTrainingLib/cli/in_slicer.py train manifest.csv --output run`
takes the arguments of the command, runs it in a process of its own, passes on what it prints and ends with its status.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main(arguments):
    """Run the command and wait for it; return its exit status."""
    modules = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(modules), str(modules.parent / "ICHMultiTask")]
    from .process import command

    # The pipe tells the command when this process ends, in whatever way.
    environment = {**os.environ, "ICHMULTITASK_ENDS_WITH_INPUT": "1"}
    process = subprocess.Popen(command(arguments), stdin=subprocess.PIPE, env=environment)
    # Whoever ends 3D Slicer means the training; it can be continued.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    status = process.wait()
    return status if status >= 0 else 128 - status  # as shells say that a signal ended it


if __name__ == "__main__":
    import slicer

    status = 1
    try:
        status = main(sys.argv[1:])
    finally:  # after an error, 3D Slicer would wait forever
        slicer.util.exit(status)
