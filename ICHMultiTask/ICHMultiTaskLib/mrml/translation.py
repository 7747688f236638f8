"""Translation of texts for the user: by the application in 3D Slicer; elsewhere unchanged."""

from __future__ import annotations

try:
    from slicer.i18n import tr
except ImportError:  # slicer-core has no translations

    def tr(text: str) -> str:
        """Return the text."""
        return text
