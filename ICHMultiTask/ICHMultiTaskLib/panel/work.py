"""Timer on the main thread that drains a work queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..common.errors import Canceled
from ..common.progress import Progress
from ..common.work_queue import Job, WorkQueue
from .state import outcome_text

WARNING_STYLE = "background-color: #fff3cd; color: #5c4400; border-radius: 4px; padding: 6px;"
"""Has its own background, to look the same in every theme."""
YIELD_SECONDS = 0.005
"""The application's event loop holds Python's lock. Between events it is released to the worker thread for this long,
which is not noticeable; the window's own events come first."""

STOP_SECONDS = 10.0
"""Work is told to stop at its next report of progress, a second or two away even in a large scan."""


class Ticker:
    """Drains a queue while it is busy.

    Parameters
    ----------
    queue : WorkQueue
    """

    def __init__(self, queue: WorkQueue):
        self.queue = queue
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._drain)
        queue.listeners.append(self._wake)

    def stop(self) -> None:
        """Stop the timer and all work, and wait for the work that is still running.

        The application crashes if it ends while a thread computes.
        """
        self._timer.stop()
        self.queue.stop(STOP_SECONDS)

    def _wake(self):
        if self.queue.busy and not self._timer.isActive():
            self._timer.start()

    def _drain(self):
        if not self.queue.drain(YIELD_SECONDS):
            self._timer.stop()


class Work:
    """One piece of work at a time, for a panel with a queue of its own.

    Parameters
    ----------
    followed : callable (task)
        Called while the work runs, to show its progress.
    ended : callable (text, failed)
        Called when the work has ended; the text is empty if `whenDone` got the result.

    Attributes
    ----------
    whenDone : callable
        Receives the result.
    """

    def __init__(self, followed: Callable[[Job], object], ended: Callable[[str, bool], object]):
        self._queue = WorkQueue()
        self._ticker = Ticker(self._queue)
        self._followed, self._ended = followed, ended
        self.whenDone = None
        self._queue.listeners.append(self._follow)

    @property
    def task(self) -> Job | None:
        """The running work, or None."""
        return self._queue.job("work")

    def start(self, work: Callable[[Progress], Any], whenDone: Callable[[Any], object]) -> None:
        """Run work in place of what ran before; `whenDone` gets its result on the main thread."""
        self.whenDone = whenDone
        self._queue.submit("work", work, whenDone, self._whenEnded)

    def stop(self) -> None:
        """Cancel the work and ignore its result."""
        self._queue.drop()

    def _follow(self):
        if self.task is not None:
            self._followed(self.task)

    def _whenEnded(self, error):
        text = "" if error is None else outcome_text(error)
        self._ended(text, error is not None and not isinstance(error, Canceled))
