"""Work in a thread, followed by polling: for windows that must not freeze. Knows nothing of any window system."""

import threading

from .errors import Canceled


class BackgroundTask:
    """One call that runs in a thread of its own.

    The work must not touch Qt or MRML. PyTorch and NumPy release Python's lock while they compute, so that the
    window stays alive.

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

    def __init__(self, work):
        self.fraction = 0.0
        self.message = ""
        self._work = work
        self._result = None
        self._error = None
        self._canceled = threading.Event()
        # A daemon, so that an application that quits does not wait for a long computation.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self):
        """Whether the work has ended, in whatever way."""
        return not self._thread.is_alive()

    @property
    def canceled(self):
        """Whether `cancel` was called."""
        return self._canceled.is_set()

    def cancel(self):
        """Ask the work to stop at its next report of progress."""
        self._canceled.set()

    def wait(self, seconds=None):
        """Block until the work has ended or the time is up; return `done`."""
        self._thread.join(seconds)
        return self.done

    def result(self):
        """Wait for the work and return what it returned, or raise what it raised.

        Raises
        ------
        Canceled
            If it was canceled, even if the work came to its end first.
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
        self._work = None  # what the work holds, such as a scan, is freed with it

    def _progress(self, fraction, message):
        if self.canceled:
            raise Canceled("Canceled.")
        self.fraction, self.message = fraction, message
