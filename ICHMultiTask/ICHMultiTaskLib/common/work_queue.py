"""Pieces of work one after another, each in a thread. Knows nothing of any window system: its owner drains it."""

import logging
import time

from .background import BackgroundTask
from .errors import Canceled, ICHMultiTaskError


class Job:
    """One piece of work in a queue.

    Attributes
    ----------
    kind : str
        There is at most one job of a kind: a new one takes the place of the old one.
    about : tuple
        What the work is about, such as the nodes that it was read from.
    submitted : float
        When, by `time.monotonic`.
    """

    def __init__(self, kind, work, when_done, when_ended, about):
        self.kind, self.about = kind, tuple(about)
        self.submitted = time.monotonic()
        self._work, self._when_done, self._when_ended = work, when_done, when_ended
        self._task = None

    @property
    def waiting(self):
        """Whether it has not been started."""
        return self._task is None

    @property
    def canceled(self):
        """Whether it was asked to stop."""
        return self._task is not None and self._task.canceled

    @property
    def fraction(self):
        """0 to 1, as last reported."""
        return 0.0 if self._task is None else self._task.fraction

    @property
    def message(self):
        """As last reported; empty while it waits."""
        return "" if self._task is None else self._task.message


class WorkQueue:
    """One queue for all work on a scene, so that two pieces never use one network at once.

    `submit`, `cancel`, `drop` and `drain` are called from one thread, the owner's; so are the callbacks of a job.
    """

    def __init__(self):
        self.listeners = []
        """Callables (), called whenever what `job` says has changed."""
        self._running = None
        self._waiting = []
        self._stopping = []
        self._told = None

    def submit(self, kind, work, when_done, when_ended=None, about=()):
        """Let work wait for its turn.

        Parameters
        ----------
        kind : str
            A job of the same kind is dropped.
        work : callable (progress)
            As in `BackgroundTask`; touches nothing that belongs to the owner's thread.
        when_done : callable (result)
            Called by `drain`. What it raises counts as the work's error.
        when_ended : callable (error), optional
            Called by `drain` after that, or by `cancel`; error is None, or what was raised: `Canceled`, another
            `ICHMultiTaskError`, or any exception.
        about : sequence
            What the work is about.

        Returns
        -------
        Job
        """
        self._drop(lambda job: job.kind == kind)
        job = Job(kind, work, when_done, when_ended, about)
        self._waiting.append(job)
        self._start_next()
        self._tell()
        return job

    def job(self, kind):
        """The job of a kind that runs or waits, or None."""
        return next((job for job in self._jobs() if job.kind == kind), None)

    @property
    def busy(self):
        """Whether `drain` has to be called again."""
        return bool(self._running or self._waiting)

    def cancel(self, kind):
        """Ask the job of a kind to stop; it ends with `Canceled`. No-op where there is none."""
        job = self.job(kind)
        if job is None:
            return
        if job.waiting:
            self._waiting.remove(job)
            if job._when_ended is not None:
                job._when_ended(Canceled("Canceled."))
        else:
            job._task.cancel()
        self._tell()

    def drop(self, about=None):
        """Stop and forget the jobs about something, or all; nothing more is heard of them."""
        self._drop(lambda job: about is None or any(about is other for other in job.about))
        self._tell()

    def drain(self, seconds=0.0):
        """Start what waits and hand over what has ended.

        Parameters
        ----------
        seconds : float
            The running work gets the processor for so long, if it needs that; the call returns earlier when it ends.

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
        if state != self._told:  # not at every turn of the owner's clock
            self._told = state
            self._tell()
        return self.busy

    def _jobs(self):
        return [*([self._running] if self._running else ()), *self._waiting]

    def _start_next(self):
        # What was dropped may still be using the network until its next report of progress.
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

    def _tell(self):
        for listener in tuple(self.listeners):
            listener()
