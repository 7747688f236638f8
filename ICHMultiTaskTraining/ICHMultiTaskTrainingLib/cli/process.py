"""The command `ichmultitask-train` in a separate process, started by a program that does not wait for it."""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ICHMultiTaskLib.common.errors import OutputError
from ICHMultiTaskLib.common.writing import os_error_sentence

TAIL_BYTES = 200_000
"""Bytes of an existing log that are shown."""


def python_executable() -> str:
    """The Python interpreter; inside 3D Slicer the real one, without the process of the launcher in between."""
    name = "python-real.exe" if os.name == "nt" else "python-real"
    real = Path(sys.executable).with_name(name)
    return str(real if real.is_file() else sys.executable)


def command(arguments: Sequence[object]) -> list[str]:
    """The command with its arguments, for `subprocess`.

    Parameters
    ----------
    arguments : sequence of str
        Such as ("train", "manifest.csv", "--output", "run").

    Returns
    -------
    list of str
    """
    # The path is set in the code because a launcher may replace the environment's.
    modules = Path(__file__).resolve().parents[2]
    folders = [str(modules), str(modules.parent / "ICHMultiTask")]
    code = f"import sys; sys.path[:0] = {folders}; from ICHMultiTaskTrainingLib.cli import main; sys.exit(main())"
    return [python_executable(), "-u", "-c", code, *map(str, arguments)]


class CommandProcess:
    """The running command; its output goes to a file, so that it survives a crash of the starting program.

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

    def __init__(self, arguments: Sequence[object], log: str | os.PathLike):
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
                    # Its own group, so that `stop` also reaches the processes that prepare scans.
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise OutputError(os_error_sentence(error, error.filename or self.log)) from error

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End the process; checkpoints are written atomically, so the run can be continued."""
        if self.status is not None:
            return
        self.stopped = True
        if os.name == "nt":
            self._process.terminate()
        else:
            os.killpg(self._process.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> int | None:
        """Wait until it has ended or the time is up; return its status or None."""
        end = time.monotonic() + seconds
        while self.status is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.status


class LogReader:
    """Reads each line of a growing UTF-8 text file once.

    Parameters
    ----------
    path : path
        Need not exist yet.
    """

    def __init__(self, path: str | os.PathLike):
        self._path, self._offset, self._rest = Path(path), None, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def lines(self) -> list[str]:
        """Lines completed since the last call."""
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
