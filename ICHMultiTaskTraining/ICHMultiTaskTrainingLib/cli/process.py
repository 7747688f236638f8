"""The command `ichmultitask-train` in a process of its own, started by a program that is not to wait for it."""

import codecs
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ICHMultiTaskLib.common.errors import OutputError
from ICHMultiTaskLib.common.writing import os_error_sentence

TAIL_BYTES = 200_000
"""Of a log that was there before, this much is shown."""


def python_executable():
    """The interpreter; inside 3D Slicer the real one, since its launcher would be a process in between."""
    name = "python-real.exe" if os.name == "nt" else "python-real"
    real = Path(sys.executable).with_name(name)
    return str(real if real.is_file() else sys.executable)


def command(arguments):
    """The command with its arguments, for `subprocess`.

    Parameters
    ----------
    arguments : sequence of str
        Such as ("train", "manifest.csv", "--output", "run").

    Returns
    -------
    list of str
    """
    # The path is set in the code: a launcher may replace the one in the environment.
    modules = Path(__file__).resolve().parents[2]
    folders = [str(modules), str(modules.parent / "ICHMultiTask")]
    code = f"import sys; sys.path[:0] = {folders}; from ICHMultiTaskTrainingLib.cli import main; sys.exit(main())"
    return [python_executable(), "-u", "-c", code, *map(str, arguments)]


class CommandProcess:
    """The running command; what it prints goes to a file, so that it outlives a program that crashes.

    Parameters
    ----------
    arguments : sequence of str
    log : path
        Appended to.

    Attributes
    ----------
    stopped : bool
        Whether `stop` has ended it.

    Raises
    ------
    OutputError
        If the log cannot be written.
    """

    def __init__(self, arguments, log):
        self.stopped = False
        self.log = Path(log)
        try:
            with self.log.open("ab") as file:
                self._process = subprocess.Popen(
                    command(arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                    # A group of its own, so that `stop` reaches the processes that prepare scans as well.
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise OutputError(os_error_sentence(error, error.filename or self.log)) from error

    @property
    def status(self):
        """Exit status, None while it runs."""
        return self._process.poll()

    def stop(self):
        """End the process; checkpoints are written whole, so that a run can be continued."""
        if self.status is not None:
            return
        self.stopped = True
        if os.name == "nt":
            self._process.terminate()
        else:
            os.killpg(self._process.pid, signal.SIGTERM)

    def wait(self, seconds):
        """Block until it has ended or the time is up; return its status or None."""
        end = time.monotonic() + seconds
        while self.status is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.status


class LogReader:
    """Lines of a growing text file in UTF-8, each once.

    Parameters
    ----------
    path : path
        Need not exist yet.
    """

    def __init__(self, path):
        self._path, self._offset, self._rest = Path(path), None, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def lines(self):
        """Lines that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                if self._offset is None:
                    file.seek(0, os.SEEK_END)
                    self._offset = max(0, file.tell() - TAIL_BYTES)
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return [line.rstrip("\r") for line in lines]
