"""The progress of a run in a file of its folder, locked while it runs, so that other programs can follow it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.common.progress import NO_PROGRESS, NullProgress, ShellProgress
from ICHMultiTaskLib.common.writing import os_error_sentence

NAME = "progress.json"
PREPARED, TRAINED = 0.1, 0.95
"""Progress of a run after its scans are prepared, and after its last epoch; model and report follow."""
WRITE_SECONDS = 0.5
"""The file is written at most this often."""
_LENGTH = 2000
"""Size of the file in bytes: constant, so that one write replaces all of it."""
_LOCKED_BYTE = 1 << 30
"""Position of the locked byte: far beyond the end, since Windows does not allow reading locked bytes."""


@dataclass(frozen=True)
class RunProgress:
    """The last progress of a run.

    Attributes
    ----------
    process : int
        Its process ID.
    computer : str
        Name of the computer that it runs on.
    fraction : float
        0 to 1, of the whole run. Its phases end at `PREPARED`, at `TRAINED` and at 1.
    message : str
    time : float
        Time of this report, in seconds since 1970.
    began, first : float
        Time at which the phase began in this process, and the fraction that was complete then.
    """

    process: int
    computer: str
    fraction: float
    message: str
    time: float
    began: float
    first: float

    @property
    def phase(self) -> tuple[float, float]:
        """Start and end of the phase, as fractions of the run."""
        return phase_of(self.fraction)

    @property
    def seconds_left(self) -> float | None:
        """Remaining time of the phase at its speed so far; None if the speed is unknown."""
        done = self.fraction - self.first
        return (self.time - self.began) * (self.phase[1] - self.fraction) / done if done > 0 else None


def phase_of(fraction: float) -> tuple[float, float]:
    """The phase that a fraction of the run belongs to, as (start, stop)."""
    ends = (0.0, PREPARED, TRAINED, 1.0)
    return next(((a, b) for a, b in pairwise(ends) if fraction < b), ends[-2:])


class FollowedProgress:
    """A progress callable (fraction, message) that also writes the file; `line` is passed on."""

    def __init__(self, file: BinaryIO, progress: ShellProgress | NullProgress):
        self._file, self._progress, self.line = file, progress, progress.line
        self._phase = None
        self._write(0.0, "Starting")
        self._phase = None  # time before the first report does not count toward the speed

    def __call__(self, fraction: float, message: str) -> None:
        """Pass the progress on and write it to the file."""
        self._progress(fraction, message)
        begins = self._phase is None or phase_of(fraction) != phase_of(self._last)
        if begins or fraction in (0.0, 1.0) or time.time() - self._written >= WRITE_SECONDS:
            self._write(fraction, message)

    def _write(self, fraction, message):
        now = time.time()
        if self._phase is None or phase_of(fraction) != phase_of(self._last) or fraction < self._last:
            self._phase = (now, fraction)
        self._last, self._written = fraction, now
        progress = RunProgress(os.getpid(), socket.gethostname(), fraction, message[:200], now, *self._phase)
        self._file.seek(0)
        self._file.write(json.dumps(asdict(progress)).ljust(_LENGTH)[:_LENGTH].encode())
        self._file.flush()


@contextmanager
def followed(
    folder: str | os.PathLike, progress: ShellProgress | NullProgress, rank: int = 0
) -> Iterator[FollowedProgress | NullProgress]:
    """Lock a run's folder for this process and write its progress there.

    The lock ends with the process, even if it is killed.

    Parameters
    ----------
    folder : path
        Created if missing.
    progress : callable (fraction, message)
        Also called; has a method `line`.
    rank : int
        If several processes train together, only the first one locks and reports.

    Yields
    ------
    FollowedProgress or NullProgress

    Raises
    ------
    InputError
        If another process uses the folder.
    OutputError
        If the file cannot be written.
    """
    if rank:
        yield NO_PROGRESS
        return
    path = Path(folder) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error
    with file:
        if not _lock_patiently(file):
            other = read_progress(folder)
            place = f" in process {other.process} on {other.computer}" if other else ""
            raise InputError(f"The run folder {folder} is in use: another training is running in this folder{place}.")
        yield FollowedProgress(file, progress)


def read_progress(folder: str | os.PathLike) -> RunProgress | None:
    """The last progress of the run in a folder, or None.

    Returns
    -------
    RunProgress or None
    """
    try:
        return RunProgress(**json.loads((Path(folder) / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def is_running(folder: str | os.PathLike) -> bool:
    """Whether another process is training in a run's folder."""
    try:
        with (Path(folder) / NAME).open("rb") as file:
            return not _lock(file, exclusive=False)
    except OSError:
        return False


def _lock_patiently(file):
    """Lock a file for this process; retries, since others lock it briefly to check whether it is locked."""
    for _ in range(5):
        if _lock(file, exclusive=True):
            return True
        time.sleep(0.1)
    return False


def _lock(file, exclusive):
    """Lock a file until it is closed; returns whether that succeeded."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # A lock of the process, since forked children that outlive it would inherit a lock of the open file.
            fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
