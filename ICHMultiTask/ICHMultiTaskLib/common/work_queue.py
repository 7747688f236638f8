"""Jobs run one after another, each in a thread; independent of the GUI toolkit: the owner polls the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from .background import BackgroundTask
from .errors import Canceled, ICHMultiTaskError
from .progress import Progress


class Job:
    """One job in a queue.

    Attributes
    ----------
    kind : str
        There is at most one job of a kind: a new one replaces the old one.
    about : tuple
        Objects that the job depends on, such as its input nodes.
    submitted : float
        Time of submission, by `time.monotonic`.
    """

    def __init__(
        self,
        kind: str,
        work: Callable[[Progress], Any],
        when_done: Callable[[Any], object],
        when_ended: Callable[[Exception | None], object] | None,
        about: Sequence[object],
    ):
        self.kind, self.about = kind, tuple(about)
        self.submitted = time.monotonic()
        self._work, self._when_done, self._when_ended = work, when_done, when_ended
        self._task = None

    @property
    def waiting(self) -> bool:
        """Whether it has not started yet."""
        return self._task is None

    @property
    def canceled(self) -> bool:
        """Whether it was asked to stop."""
        return self._task is not None and self._task.canceled

    @property
    def fraction(self) -> float:
        """0 to 1, as last reported."""
        return 0.0 if self._task is None else self._task.fraction

    @property
    def message(self) -> str:
        """As last reported; empty while waiting."""
        return "" if self._task is None else self._task.message


class WorkQueue:
    """One queue for all work on a scene, so that two jobs never use the same network at once.

    All methods are called from the owner's thread only; so are the callbacks of a job.
    """

    def __init__(self):
        self.listeners: list[Callable[[], object]] = []
        """Called whenever the state of a job has changed."""
        self._running = None
        self._waiting = []
        self._stopping = []
        self._notified = None

    def submit(
        self,
        kind: str,
        work: Callable[[Progress], Any],
        when_done: Callable[[Any], object],
        when_ended: Callable[[Exception | None], object] | None = None,
        about: Sequence[object] = (),
    ) -> Job:
        """Add a job to the queue.

        Parameters
        ----------
        kind : str
            An earlier job of the same kind is dropped.
        work : callable (progress)
            As in `BackgroundTask`; must not touch anything that belongs to the owner's thread.
        when_done : callable (result)
            Called by `drain`. An exception counts as an error of the job.
        when_ended : callable (error), optional
            Called by `drain` afterwards, or by `cancel`, with None or the exception: `Canceled`, another
            `ICHMultiTaskError`, or any other.
        about : sequence
            Objects that the job depends on.

        Returns
        -------
        Job
        """
        self._drop(lambda job: job.kind == kind)
        job = Job(kind, work, when_done, when_ended, about)
        self._waiting.append(job)
        self._start_next()
        self._notified = None  # the end is reported even if the work ends before the first call of `drain`
        self._notify()
        return job

    def job(self, kind: str) -> Job | None:
        """The running or waiting job of a kind, or None."""
        return next((job for job in self._jobs() if job.kind == kind), None)

    @property
    def busy(self) -> bool:
        """Whether `drain` must be called again."""
        return bool(self._running or self._waiting)

    def cancel(self, kind: str) -> None:
        """Ask the job of a kind to stop; it ends with `Canceled`. Does nothing if there is none."""
        job = self.job(kind)
        if job is None:
            return
        if job.waiting:
            self._waiting.remove(job)
            if job._when_ended is not None:
                job._when_ended(Canceled("Canceled."))
        else:
            job._task.cancel()
        self._notify()

    def drop(self, about: object = None) -> None:
        """Stop and forget the jobs that depend on an object, or all jobs; their callbacks are not called."""
        self._drop(lambda job: about is None or any(about is other for other in job.about))
        self._notify()

    def stop(self, seconds: float) -> bool:
        """Drop all jobs, and wait until the running ones have ended or the time in seconds is up.

        Returns
        -------
        bool
            Whether all have ended.
        """
        self.drop()
        end = time.monotonic() + seconds
        return all([task.wait(max(0.0, end - time.monotonic())) for task in self._stopping])

    def drain(self, seconds: float = 0.0) -> bool:
        """Start waiting jobs, and call the callbacks of jobs that have ended.

        Parameters
        ----------
        seconds : float
            Longest time to wait for the running job.

        Returns
        -------
        bool
            `busy`.
        """
        self._start_next()
        job = self._running
        if job is None:
            if self._stopping and self._waiting:
                self._stopping[0].wait(seconds)
        elif job._task.wait(seconds):
            self._running = None
            self._hand_over(job)
            self._start_next()
        running = self._running
        state = running and (running.fraction, running.message), running, len(self._waiting)
        if state != self._notified:  # not at every call of the owner's timer
            self._notified = state
            self._notify()
        return self.busy

    def _jobs(self):
        return [*([self._running] if self._running else ()), *self._waiting]

    def _start_next(self):
        # A dropped job may use the network until its next report of progress.
        self._stopping = [task for task in self._stopping if not task.done]
        if self._running is None and self._waiting and not self._stopping:
            job = self._running = self._waiting.pop(0)
            job._task, job._work = BackgroundTask(job._work), None

    def _drop(self, unwanted):
        if self._running is not None and unwanted(self._running):
            self._running._task.cancel()
            self._stopping.append(self._running._task)
            self._running = None
        self._waiting = [job for job in self._waiting if not unwanted(job)]

    @staticmethod
    def _hand_over(job):
        error = None
        try:
            job._when_done(job._task.result())
        except ICHMultiTaskError as found:
            error = found
        except Exception as found:
            logging.exception("ICHMultiTask")
            error = found
        if job._when_ended is not None:
            job._when_ended(error)

    def _notify(self):
        for listener in tuple(self.listeners):
            listener()
