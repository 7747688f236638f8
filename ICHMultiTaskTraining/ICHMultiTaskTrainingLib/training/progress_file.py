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
"""Progress of a run when its scans are prepared, and when its last epoch is done; then model and report follow."""
WRITE_SECONDS = 0.5
"""The file is written at most this often."""
_LENGTH = 2000
"""Bytes of the file: always as many, so that one write replaces all of it."""
_LOCKED_BYTE = 1 << 30
"""Windows lets nobody read what is locked; this byte is far behind the end."""


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
        When it said so, in seconds since 1970.
    began, first : float
        When the phase began in this process, and the fraction that earlier processes had done by then.
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
    """The phase of a run that a fraction of it lies in, as (start, stop)."""
    ends = (0.0, PREPARED, TRAINED, 1.0)
    return next(((a, b) for a, b in pairwise(ends) if fraction < b), ends[-2:])


class FollowedProgress:
    """A progress callable (fraction, message) that also writes the file; `line` is passed on."""

    def __init__(self, file: BinaryIO, progress: ShellProgress | NullProgress):
        self._file, self._progress, self.line = file, progress, progress.line
        self._phase = None
        self._write(0.0, "Starting")
        self._phase = None  # time before the first report does not count as speed

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
    """Lock a run's folder for this process and keep its progress there.

    The lock ends with the process, whatever ends it.

    Parameters
    ----------
    folder : path
        Made if missing.
    progress : callable (fraction, message)
        With a method `line`; called as well.
    rank : int
        Of several processes that train together, only the first locks and reports.

    Yields
    ------
    FollowedProgress or NullProgress

    Raises
    ------
    InputError
        If another process is at work in the folder.
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
    """Whether a process other than this one is at work in a run's folder."""
    try:
        with (Path(folder) / NAME).open("rb") as file:
            return not _lock(file, exclusive=False)
    except OSError:
        return False


def _lock_patiently(file):
    """Lock a file for this process alone, though others look for a moment whether it is locked."""
    for _ in range(5):
        if _lock(file, exclusive=True):
            return True
        time.sleep(0.1)
    return False


def _lock(file, exclusive):
    """Lock a file until it is closed; whether that went well."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # A lock of the process: one of the open file would be handed down to forked children that outlive it.
            fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
