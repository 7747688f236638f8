"""Progress of long work in a shell, in a log file and in Slicer's panel."""

import sys
import time

LINE_SECONDS = 60.0
"""Where a bar cannot be drawn over, a line is written at most this often."""


class ShellProgress:
    """A progress callable (fraction, message): a bar on a terminal, now and then a line elsewhere.

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

    def line(self, text):
        """Write a line that stays, above the bar where there is one."""
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class Silent:
    """Progress that nobody sees: of a process whose neighbor tells the same."""

    def __call__(self, fraction, message):
        """Show nothing."""

    def line(self, text):
        """Write nothing."""


def duration(seconds):
    """A duration in words, such as "2 h 05 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
