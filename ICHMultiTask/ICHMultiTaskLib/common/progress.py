"""Progress of long work: every long function takes a callable (fraction, message), which may raise Canceled."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[float, str], object]
"""Called with the completed fraction, 0 to 1, and a message; may raise Canceled."""
LINE_SECONDS = 60.0
"""In a log, where there is no bar, lines within a step are at least this far apart."""


class ShellProgress:
    """A progress bar on a terminal; in a log, a line for each step and occasional lines within it.

    Parameters
    ----------
    stream : file
        None: standard error.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._bar, self._last = None, time.monotonic()

    def __enter__(self):
        if self._stream.isatty():
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
            self._bar = tqdm(total=1.0, miniters=0, bar_format=form, file=self._stream)
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, fraction: float, message: str) -> None:
        """Show the completed fraction, 0 to 1, and a message."""
        if self._bar is None:
            if time.monotonic() - self._last >= LINE_SECONDS:
                self.line(f"{message} ({fraction:.0%})")
            return
        if self._bar.n == 0 or fraction < self._bar.n:
            self._bar.reset()
            # The work of an earlier run must not count toward the speed of this one.
            self._bar.initial = self._bar.n = fraction
        self._bar.set_description_str(message, refresh=False)
        self._bar.update(fraction - self._bar.n)

    def step(self, name: str, start: float, stop: float) -> Progress:
        """Begin a step that covers `start` to `stop` of the whole; return its progress."""
        if self._bar is None:
            self.line(f"{name} …")
        return part(lambda fraction, message: self(fraction, message or name), start, stop)

    def line(self, text: str) -> None:
        """Write a line that stays, above the bar if there is one."""
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class NullProgress:
    """Discards progress."""

    def __call__(self, fraction: float, message: str) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Write nothing."""


NO_PROGRESS = NullProgress()
"""Default of functions that take a progress."""


def part(progress: Progress, start: float, stop: float) -> Progress:
    """Progress of a step that covers `start` to `stop` of the whole.

    Parameters
    ----------
    progress : callable (fraction, message)
    start, stop : float

    Returns
    -------
    callable (fraction, message)
    """
    return lambda fraction, message: progress(start + (stop - start) * fraction, message)


def duration(seconds: float) -> str:
    """A duration as text, such as "2 h 05 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
