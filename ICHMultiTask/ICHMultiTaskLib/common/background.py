"""Run work in a thread: polled, so that a window stays responsive, or one step ahead of a loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .errors import Canceled
from .progress import Progress

Item, Result = TypeVar("Item"), TypeVar("Result")


def one_ahead(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Call a function with each item in a thread, one item ahead of the loop: the next scan is read meanwhile.

    Parameters
    ----------
    function : callable (item)
    items : sequence

    Yields
    ------
    (item, callable)
        To be called before the next item: waits for the function, and returns what it returned or raises its error.
    """
    pool, results = ThreadPoolExecutor(1), []
    try:
        for n, item in enumerate(items):
            results += [pool.submit(function, following) for following in items[n + len(results) : n + 2]]
            yield item, results.pop(0).result
    finally:  # also when the loop ends early
        pool.shutdown(wait=False, cancel_futures=True)


class BackgroundTask:
    """One call that runs in its own thread.

    The work must not touch Qt or MRML. PyTorch and NumPy release Python's lock while they compute, so that the
    window stays responsive.

    Parameters
    ----------
    work : callable (progress)
        `progress(fraction, message)` raises Canceled once `cancel` was called.

    Attributes
    ----------
    fraction : float
        0 to 1, as last reported.
    message : str
    """

    def __init__(self, work: Callable[[Progress], Any]):
        self.fraction = 0.0
        self.message = ""
        self._work = work
        self._result = None
        self._error = None
        self._canceled = threading.Event()
        # A daemon thread, so that an application can quit during a long computation.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the work has ended: completed, failed or canceled."""
        return not self._thread.is_alive()

    @property
    def canceled(self) -> bool:
        """Whether `cancel` was called."""
        return self._canceled.is_set()

    def cancel(self) -> None:
        """Ask the work to stop at its next report of progress."""
        self._canceled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the work has ended or the time is up; return `done`."""
        self._thread.join(seconds)
        return self.done

    def result(self) -> Any:
        """Wait for the work and return what it returned, or raise what it raised.

        Raises
        ------
        Canceled
            If it was canceled, even if the work had already finished.
        """
        self.wait()
        if self.canceled:
            raise Canceled("Canceled.")
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self):
        try:
            self._result = self._work(self._progress)
        except BaseException as error:
            self._error = error
        self._work = None  # frees the objects that the work refers to, such as a scan

    def _progress(self, fraction, message):
        if self.canceled:
            raise Canceled("Canceled.")
        self.fraction, self.message = fraction, message
