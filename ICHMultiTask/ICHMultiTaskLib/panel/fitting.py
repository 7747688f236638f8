"""Labels as high as their texts, which a collapsible section does not request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer

MAX_FITS = 4


class TextFitter:
    """Gives each label the height of its text, once the layout has settled.

    Heights change the layout, which changes the widths; so this repeats until nothing changes, `MAX_FITS` times at
    most.

    Parameters
    ----------
    widgets : sequence of QWidget
        Whose labels are fitted.
    fitMore : callable () -> bool, optional
        Fits something else as well; returns whether it changed anything.
    """

    def __init__(self, widgets: Sequence[qt.QWidget], fitMore: Callable[[], bool] = lambda: False):
        self._widgets, self._fitMore, self._fits = widgets, fitMore, 0
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(0)
        self.timer.connect("timeout()", self._fit)

    def start(self) -> None:
        """Fit the texts, which have changed, in the next turn of the event loop."""
        self._fits = 0
        self.timer.start()

    def stop(self) -> None:
        """Fit nothing any more."""
        self.timer.stop()

    def _fit(self):
        changed = self._fitMore()
        for widget in self._widgets:
            for label in slicer.util.findChildren(widget, className="QLabel"):
                if label.wordWrap and label.visible:
                    needed = label.heightForWidth(label.width)
                    if label.minimumHeight != needed:
                        label.minimumHeight, changed = needed, True
        self._fits += 1
        if changed and self._fits < MAX_FITS:
            self.timer.start()
