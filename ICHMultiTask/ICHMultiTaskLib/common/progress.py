"""Progress of long work: everything that takes long takes a callable (fraction, message), which may raise Canceled."""

import sys
import time

LINE_SECONDS = 60.0
"""Where a bar cannot be drawn over, a line is written at most this often."""


class ShellProgress:
    """A bar on a terminal; elsewhere a line for each step, and now and then one within it.

    Parameters
    ----------
    stream : file
        None: standard error.
    """

    def __init__(self, stream=None):
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

    def __call__(self, fraction, message):
        """Show how far the work is, 0 to 1, and what it does."""
        if self._bar is None:
            if time.monotonic() - self._last >= LINE_SECONDS:
                self.line(f"{message} ({fraction:.0%})")
            return
        if self._bar.n == 0 or fraction < self._bar.n:
            self._bar.reset()
            # What an earlier run has done says nothing of the speed of this one.
            self._bar.initial = self._bar.n = fraction
        self._bar.set_description_str(message, refresh=False)
        self._bar.update(fraction - self._bar.n)

    def step(self, name, start, stop):
        """Begin a step, which covers `start` to `stop` of the whole; return its progress."""
        if self._bar is None:
            self.line(f"{name} …")
        return part(lambda fraction, message: self(fraction, message or name), start, stop)

    def line(self, text):
        """Write a line that stays, above the bar where there is one."""
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class NullProgress:
    """Discards progress."""

    def __call__(self, fraction, message):
        """Show nothing."""

    def line(self, text):
        """Write nothing."""


NO_PROGRESS = NullProgress()
"""What a function takes where it is given no other."""


def part(progress, start, stop):
    """The progress of a step, which covers `start` to `stop` of the whole.

    Parameters
    ----------
    progress : callable (fraction, message)
    start, stop : float

    Returns
    -------
    callable (fraction, message)
    """
    return lambda fraction, message: progress(start + (stop - start) * fraction, message)


def duration(seconds):
    """A duration in words, such as "2 h 05 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
