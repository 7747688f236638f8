"""Labels as high as their texts, and buttons and tables with a font that fits their width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer

MAX_FITS = 4
SMALLEST_POINTS = 7
_FRAME = 8
"""Pixels of a button beside its text."""


class TextFitter:
    """Fits labels and buttons once the layout has settled.

    Labels get the height of their text, which a collapsible section does not request; buttons a smaller font where a
    large one of the system leaves no room for their text. Heights change the layout, which changes the widths; so this
    repeats until nothing changes, `MAX_FITS` times at most.

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
            for button in slicer.util.findChildren(widget, className="QPushButton"):
                if button.visible and not button.styleSheet:  # one with a style has a font of its own
                    changed |= _fit_button(button)
        self._fits += 1
        if changed and self._fits < MAX_FITS:
            self.timer.start()


def fitting_font(font: qt.QFont, width: int, width_with: Callable[[qt.QFontMetrics], int]) -> qt.QFont:
    """The font in the largest size, up to that of the application, in which something fits into a width in pixels.

    Parameters
    ----------
    font : QFont
    width : int
    width_with : callable (QFontMetrics) -> int
        Pixels that are needed in a size.
    """
    found = qt.QFont(font)
    for points in range(slicer.app.font().pointSize(), SMALLEST_POINTS - 1, -1):
        found.setPointSize(points)
        if width_with(qt.QFontMetrics(found)) <= width:
            break
    return found


def _fit_button(button):
    if button.font.pointSize() > slicer.app.font().pointSize():  # larger on purpose
        return False
    fitted = fitting_font(button.font, button.width - _FRAME, lambda metrics: metrics.horizontalAdvance(button.text))
    changed = fitted.pointSize() != button.font.pointSize()
    if changed:
        button.setFont(fitted)
    return changed
