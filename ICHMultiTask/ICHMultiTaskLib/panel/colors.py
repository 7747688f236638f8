"""Text colors that are legible in light and dark themes."""

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
    """Secondary text, such as the source of a value."""
    return "#b0b4ba" if is_dark() else "#5a5f66"


def disagrees() -> str:
    """A mark of disagreement."""
    return "#ff8a80" if is_dark() else "#b3261e"


def set_warning(label: qt.QLabel, warns: bool) -> None:
    """Style a label as a warning, or not; no-op if it already is, because styling a widget takes time."""
    style = WARNING_STYLE if warns else ""
    if label.styleSheet != style:
        label.styleSheet = style
