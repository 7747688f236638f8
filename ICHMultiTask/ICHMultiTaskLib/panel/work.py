"""One piece of work at a time in a thread, followed by a timer on the main thread."""

import logging
import time

import qt
from slicer.i18n import tr as _

from ..common.background import BackgroundTask
from ..common.errors import Canceled, ICHMultiTaskError

WARNING_STYLE = "background-color: #fff3cd; color: #5c4400; border-radius: 4px; padding: 6px;"
POLL_MSEC = 10
YIELD_SECONDS = 0.03
"""The application's event loop keeps Python's lock; at each poll it is left to the working thread for this long."""


class Work:
    """Runs work that touches no node and no widget.

    Parameters
    ----------
    followed : callable (task)
        Called while the task runs, to show its progress.
    ended : callable (text, failed)
        Called after it, whatever came of it: empty text where `whenDone` got the result.

    Attributes
    ----------
    task : BackgroundTask or None
        What runs now.
    whenDone : callable
        What gets, or got, its result.
    started : float
        When it was started, by `time.monotonic`.
    """

    def __init__(self, followed, ended):
        self.task = None
        self.started = 0.0
        self._followed = followed
        self._ended = ended
        self.whenDone = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MSEC)
        self._timer.connect("timeout()", self._poll)

    def start(self, work, whenDone):
        """Run work in place of what ran before; `whenDone` gets its result on the main thread."""
        self.stop()
        self.started = time.monotonic()
        self.task, self.whenDone = BackgroundTask(work), whenDone
        self._timer.start()

    def stop(self):
        """Cancel the work and forget it, whatever it will say."""
        if self.task is not None:
            self.task.cancel()
        self.task = None
        self._timer.stop()

    def _poll(self):
        task = self.task
        if not task.wait(YIELD_SECONDS):
            self._followed(task)
            return
        self._timer.stop()
        self.task = None
        text, failed = "", False
        try:
            self.whenDone(task.result())
        except Canceled:
            text = _("Canceled.")
        except ICHMultiTaskError as error:
            text, failed = str(error), True
        except Exception as error:
            logging.exception("ICHMultiTask")
            text, failed = _("Failed: {error} (details in the error log)").format(error=error), True
        self._ended(text, failed)
