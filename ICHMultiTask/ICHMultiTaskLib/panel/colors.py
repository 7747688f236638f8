"""Colors of text that light and dark themes both leave legible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from .work import WARNING_STYLE

if TYPE_CHECKING:
    import qt


def is_dark() -> bool:
    """Whether the application's theme is dark."""
    palette = slicer.app.palette()
    return palette.window().color().lightness() < palette.windowText().color().lightness()


def quiet() -> str:
    """Of what stands beside a value, such as its source."""
    return "#b0b4ba" if is_dark() else "#5a5f66"


def disagrees() -> str:
    """Of a mark that says no."""
    return "#ff8a80" if is_dark() else "#b3261e"


def set_warning(label: qt.QLabel, warns: bool) -> None:
    """Make a label stand out, or not; no-op where it is so already, since styling a widget takes time."""
    style = WARNING_STYLE if warns else ""
    if label.styleSheet != style:
        label.styleSheet = style
